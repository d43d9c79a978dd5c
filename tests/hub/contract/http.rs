//! The examples of `/openapi.json`, asked of hubs that are set up for them.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::{Value, json};

use super::{differing, document, resolved};
use crate::auth::{SECRET, bearer, new_key, token, write_keys};
use crate::support::{Answer, Client, Hub, KEY, UNLIMITED};

/// The hubs that the examples name, and who is in them.
struct Hubs {
    /// Where nobody is asked who they are, and user 1 is in space 1.
    open: Hub,
    /// Where everybody is.
    asking: Hub,
    /// Where one may do little.
    strict: Hub,
    /// Which waits for its database.
    starting: Hub,
    /// A key for everything.
    key: String,
    _members: [Client; 2],
    _keys: tempfile::TempDir,
}

impl Hubs {
    fn start() -> Hubs {
        let open = Hub::start(&[&UNLIMITED[..], &["--debug-endpoints", "--search"]].concat());
        let strict = Hub::start(&["--user-message-rate", "1/1", "--user-connections-max", "1"]);
        let keys = tempfile::tempdir().expect("a directory");
        let file = keys.path().join("keys");
        let (key, line) = new_key("all", "say,read,notify,kick,operate,metrics");
        write_keys(&file, &[&line]);
        let file = ["--api-keys-file", file.to_str().expect("a text path"), "--debug-endpoints"];
        let asking = Hub::start_with_env(&file, &[("HUB_JWT_SECRET", SECRET)]);
        let starting = Hub::start_waiting(&["--database-url", "postgresql://hub@127.0.0.1:1/hub"]);
        let body = json!({"message": "hola", "user_id": 7, "username": "Ana Paz"}).to_string();
        assert_eq!(open.post("/v1/ws/spaces/4/chat", &body).status, 200);
        let mut members = [open.join(1, 1, "Beto Rey"), strict.join(1, 1, "Beto Rey")];
        members.iter_mut().for_each(|member| _ = member.next_of("join"));
        Hubs { open, asking, strict, starting, key, _members: members, _keys: keys }
    }

    fn of(&self, name: &str) -> &Hub {
        match name {
            "open" => &self.open,
            "asking" => &self.asking,
            "strict" => &self.strict,
            "starting" => &self.starting,
            name => panic!("there is no hub `{name}`"),
        }
    }

    /// What is shown by whoever an example names.
    fn shown(&self, who: &str) -> String {
        match who {
            "operator" => self.key.clone(),
            "user" => token(json!({"spaces": [1]})),
            "reader" => token(json!({"spaces": {"read": [1]}})),
            who => panic!("there is nobody called `{who}`"),
        }
    }

    /// Asks what an example asks, as often as it says; the last answer.
    fn ask(&self, method: &str, request: &Value) -> Answer {
        let hub = self.of(request["hub"].as_str().expect("a hub"));
        let method = request["method"].as_str().unwrap_or(method).to_ascii_uppercase();
        let path = request["path"].as_str().expect("a path");
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", hub.address);
        if let Some(who) = request["as"].as_str() {
            head.push_str(&format!("Authorization: {}\r\n", bearer(&self.shown(who))));
        }
        for (name, value) in request["headers"].as_object().into_iter().flatten() {
            head.push_str(&format!("{name}: {}\r\n", value.as_str().expect("a text")));
        }
        match request["socket"].as_str() {
            None if request["socket"].is_null() => {}
            // The seed's dialect has no name.
            Some("seed") => head.push_str(&handshake("")),
            _ => head.push_str(&handshake("Sec-WebSocket-Protocol: cpi-hub.v1\r\n")),
        }
        let body = match (&request["body"], request["body_bytes"].as_u64()) {
            (_, Some(bytes)) => "x".repeat(usize::try_from(bytes).expect("a size")),
            (Value::Null, None) => String::new(),
            (Value::String(text), None) => text.clone(),
            (body, None) => body.to_string(),
        };
        if method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let mut last = None;
        for _ in 0..request["times"].as_u64().unwrap_or(1) {
            let mut stream = hub.connect();
            stream.write_all(format!("{head}\r\n").as_bytes()).expect("the hub reads the head");
            // A refused body may be answered before it is read to its end.
            _ = stream.write_all(body.as_bytes());
            last = Some(Answer::read_of(&mut stream, &method));
        }
        last.expect("it is asked once at least")
    }
}

/// The header lines of a handshake, with further ones.
fn handshake(lines: &str) -> String {
    format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n{lines}"
    )
}

/// What the replay has seen.
#[derive(Default)]
struct Seen {
    replayed: usize,
    wrong: Vec<String>,
    headers: BTreeSet<String>,
    told: Vec<Value>,
}

impl Seen {
    fn check(&mut self, at: &str, (status, kind): (&str, &str), example: &Value, answer: &Answer) {
        self.replayed += 1;
        self.headers.extend(answer.headers.iter().map(|(name, _)| name.to_ascii_lowercase()));
        let mut wrong = Vec::new();
        if answer.status.to_string() != status {
            wrong.push(format!("status {}", answer.status));
        }
        let its_kind = answer.header("content-type").unwrap_or_default();
        if its_kind != kind {
            wrong.push(format!("content-type `{its_kind}`, not `{kind}`"));
        }
        let request = &example["x-request"];
        let mut wanted: Vec<&str> =
            request["has"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match status {
            "429" | "503" if kind == "application/json" && example["value"]["code"].is_string() => {
                wanted.push("Retry-After");
            }
            "401" => wanted.push("WWW-Authenticate"),
            _ => {}
        }
        let missing = wanted.into_iter().filter(|name| answer.header(name).is_none());
        wrong.extend(missing.map(|name| format!("no {name}")));
        wrong.extend(body_differs(example, answer, kind));
        self.wrong.extend(wrong.into_iter().map(|what| format!("{at}: {what}")));
    }
}

fn body_differs(example: &Value, answer: &Answer, kind: &str) -> Option<String> {
    let value = &example["value"];
    if kind == "application/json" {
        let (mut value, mut actual) = (value.clone(), answer.json());
        for key in example["x-request"]["loose"].as_array().into_iter().flatten() {
            let key = key.as_str().expect("a key");
            value.as_object_mut().expect("an object").remove(key);
            actual.as_object_mut().expect("an object").remove(key);
        }
        return differing(&value, &actual, "");
    }
    let (value, text) = (value.as_str().expect("a text"), answer.text());
    let fits = match example["x-request"]["holds"] == true {
        true => text.contains(value),
        false => text == value,
    };
    (!fits).then(|| format!("`{text}`, not `{value}`"))
}

#[test]
fn every_example_of_http_is_answered_as_it_says() {
    let hubs = Hubs::start();
    let api = document(&hubs.open, "/openapi.json");
    let mut seen = Seen::default();
    let mut shared = BTreeSet::new();
    for (path, operations) in api["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            for (status, response) in operation["responses"].as_object().expect("responses") {
                // What many have in common is asked once.
                if response["$ref"].as_str().is_some_and(|name| !shared.insert(name.to_owned())) {
                    continue;
                }
                let at = format!("{method} {path} {status}");
                replay(&hubs, (&at, method, status), resolved(&api, response), &mut seen);
            }
        }
    }
    assert!(seen.wrong.is_empty(), "{} wrong:\n{}", seen.wrong.len(), seen.wrong.join("\n"));
    assert!(seen.replayed > 60, "{} examples", seen.replayed);
    let known: BTreeSet<String> = api["components"]["headers"]
        .as_object()
        .expect("headers")
        .keys()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    let unknown: Vec<&String> = seen.headers.difference(&known).collect();
    assert!(unknown.is_empty(), "headers that the document lacks: {unknown:?}");
    refusals_are_those_of_the_table(&seen.told);
}

fn replay(
    hubs: &Hubs,
    (at, method, status): (&str, &str, &str),
    response: &Value,
    seen: &mut Seen,
) {
    let upgrade = &response["x-request"];
    if upgrade.is_object() {
        let answer = hubs.ask(method, upgrade);
        let status_is = answer.status.to_string() == status;
        seen.replayed += 1;
        if !status_is || answer.header("sec-websocket-protocol") != Some("cpi-hub.v1") {
            seen.wrong.push(format!("{at}: {} {:?}", answer.status, answer.headers));
        }
        seen.headers.extend(answer.headers.iter().map(|(name, _)| name.to_ascii_lowercase()));
    }
    for (kind, content) in response["content"].as_object().into_iter().flatten() {
        for (name, example) in content["examples"].as_object().into_iter().flatten() {
            match example["x-not-replayed"].is_string() {
                true => seen.told.push(example["value"].clone()),
                false => {
                    let answer = hubs.ask(method, &example["x-request"]);
                    seen.check(&format!("{at} {name}"), (status, kind), example, &answer);
                }
            }
        }
    }
}

/// What can't be asked for here is at least what the hub would say.
fn refusals_are_those_of_the_table(told: &[Value]) {
    use cpi_hub::wire::reject::Reject;
    let table = [
        Reject::UnknownUser,
        Reject::UnknownSpace,
        Reject::StoreRefused,
        Reject::Internal,
        Reject::Overloaded,
        Reject::Draining,
    ];
    // These are the edge's own, and have tests in tests/hub/input and tests/faults/stored.
    let own = ["request_timeout", "not_yet_stored"];
    for value in told.iter().filter(|value| own.iter().all(|code| value["code"] != *code)) {
        let known = table.iter().find(|reject| value["code"] == reject.code());
        let known = known.unwrap_or_else(|| panic!("it can be asked for: {value}"));
        let expected = json!({
            "status_code": known.status(),
            "message": known.message(),
            "code": known.code(),
        });
        assert_eq!(*value, expected);
    }
    assert!(told.len() > table.len());
}

#[test]
fn refusals_have_their_other_form_for_those_who_ask_for_it() {
    let hub = Hub::start(&[]);
    let accept = [("Accept", "application/problem+json")];
    let answer = hub.request("GET", "/v1/messages", &accept, b"");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let api = document(&hub, "/openapi.json");
    let schema = &api["components"]["schemas"]["Problem"];
    let problem = answer.json();
    for key in problem.as_object().expect("an object").keys() {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    for key in schema["required"].as_array().expect("keys") {
        assert!(problem.get(key.as_str().expect("a key")).is_some(), "{key}");
    }
}

#[test]
fn the_page_that_shows_both_is_served_with_all_that_it_needs() {
    let hub = Hub::start(&[]);
    let page = hub.get("/docs");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let text = page.text();
    for file in ["/docs.css", "/docs.js", "/openapi.json", "/asyncapi.json"] {
        assert!(text.contains(file), "{file}");
        assert_eq!(hub.get(file).status, 200, "{file}");
    }
    for elsewhere in ["=\"http", "=\"//", "url(http", "url(//"] {
        assert!(!text.contains(elsewhere), "nothing from elsewhere: {elsewhere}");
    }
}
