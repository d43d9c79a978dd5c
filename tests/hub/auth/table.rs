//! Every route with everything that may be shown there: a route without a row here fails.

use std::collections::BTreeSet;

use cpi_hub::ROUTES;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::{SECRET, bearer, new_key, now, shake, token, token_by, write_keys};
use crate::support::Hub;
use crate::support::events::Events;

/// What a route answers to whom.
struct Row {
    method: &'static str,
    path: &'static str,
    /// A sound request of user 7, in space 5 where one is named.
    request: &'static str,
    body: &'static str,
    /// The status for a token that is none, and for no token.
    bad: u16,
    /// The status for a good token of another user; of another space; that may only read.
    other_user: u16,
    other_space: u16,
    reader: u16,
    /// The status for a token of user 7.
    good: u16,
    /// The scope of a key that may, and the status for it.
    scope: &'static str,
    key: u16,
}

const CHAT: &str =
    r#"{"space_id":5,"user_id":7,"username":"Ana","message":"canary-words-that-were-said"}"#;

/// A row of a route where nothing is asked.
const fn open(path: &'static str) -> Row {
    Row {
        method: "GET",
        path,
        request: path,
        body: "",
        bad: 200,
        other_user: 200,
        other_space: 200,
        reader: 200,
        good: 200,
        scope: "operate",
        key: 200,
    }
}

/// A row of a route for programs alone.
const fn operators(
    method: &'static str,
    path: &'static str,
    request: &'static str,
    scope: &'static str,
) -> Row {
    let row = open(path);
    let no = 403;
    Row {
        method,
        request,
        bad: 401,
        other_user: no,
        other_space: no,
        reader: no,
        good: no,
        scope,
        ..row
    }
}

/// A row of a socket.
const fn socket(path: &'static str, request: &'static str) -> Row {
    let row = operators("GET", path, request, "read");
    Row { other_space: 101, reader: 101, good: 101, key: 101, ..row }
}

/// A row of what is read of a space.
const fn reading(path: &'static str, request: &'static str) -> Row {
    let row = operators("GET", path, request, "read");
    Row { other_user: 200, reader: 200, good: 200, ..row }
}

/// A row of what is said in a space.
const fn saying(path: &'static str, request: &'static str) -> Row {
    let row = operators("POST", path, request, "say");
    Row { body: CHAT, good: 200, ..row }
}

fn rows() -> Vec<Row> {
    vec![
        open("/livez"),
        open("/readyz"),
        operators("GET", "/metrics", "/metrics", "metrics"),
        Row {
            other_space: 403,
            ..socket("/v1/ws/spaces/{space_id}", "/v1/ws/spaces/5?user_id=7&username=Ana")
        },
        socket("/v1/ws/user-connection", "/v1/ws/user-connection?user_id=7"),
        Row { key: 101, ..operators("GET", "/v1/debug/echo", "/v1/debug/echo", "operate") },
        socket("/v1/ws/notifications", "/v1/ws/notifications?user_id=7"),
        saying("/v1/ws/spaces/{space_id}/chat", "/v1/ws/spaces/5/chat"),
        saying("/v1/ws/spaces/{space_id}/broadcast", "/v1/ws/spaces/5/broadcast"),
        reading("/v1/messages", "/v1/messages?space_id=5"),
        reading("/v1/spaces/{space_id}/messages", "/v1/spaces/5/messages"),
        reading("/v1/spaces/{space_id}/search", "/v1/spaces/5/search?q=canary"),
        reading("/v1/spaces/{space_id}/presence", "/v1/spaces/5/presence"),
        Row {
            other_user: 403,
            ..reading("/v1/spaces/{space_id}/events", "/v1/spaces/5/events?user_id=7")
        },
        reading("/v1/spaces/{space_id}", "/v1/spaces/5"),
        operators("GET", "/v1/spaces", "/v1/spaces", "operate"),
        operators("GET", "/v1/connections", "/v1/connections", "operate"),
        operators("GET", "/v1/hub/past", "/v1/hub/past", "operate"),
        operators("GET", "/v1/hub/feed", "/v1/hub/feed", "operate"),
        operators("GET", "/v1/hub/hottest", "/v1/hub/hottest", "operate"),
        operators("GET", "/v1/hub/dead-letters", "/v1/hub/dead-letters", "operate"),
        operators("POST", "/v1/hub/dead-letters/retry", "/v1/hub/dead-letters/retry", "operate"),
        operators("GET", "/v1/hub/backups", "/v1/hub/backups", "operate"),
        Row { key: 202, ..operators("POST", "/v1/hub/backups", "/v1/hub/backups", "operate") },
        operators("GET", "/v1/spaces/{space_id}/members", "/v1/spaces/5/members", "operate"),
        Row {
            body: r#"{"token_id":"canary-token-that-was-never-made"}"#,
            ..operators("POST", "/v1/auth/revocations", "/v1/auth/revocations", "operate")
        },
        operators(
            "DELETE",
            "/v1/spaces/{space_id}/members/{user_id}",
            "/v1/spaces/5/members/9",
            "kick",
        ),
        Row {
            body: r#"{"data":{"text":"canary-words-that-were-said"}}"#,
            ..operators(
                "POST",
                "/v1/users/{user_id}/notifications",
                "/v1/users/7/notifications",
                "notify",
            )
        },
    ]
}

/// Everything that is shown somewhere.
struct Shown {
    bad: Vec<(&'static str, String)>,
    other_user: String,
    other_space: String,
    reader: String,
    good: String,
    /// A key of each scope.
    keys: Vec<(&'static str, String)>,
}

const SCOPES: [&str; 6] = ["say", "read", "notify", "kick", "operate", "metrics"];

impl Shown {
    fn new(keys: Vec<(&'static str, String)>) -> Shown {
        let good = token(json!({}));
        let (message, signature) = good.rsplit_once('.').expect("three parts");
        let (header, body) = message.split_once('.').expect("three parts");
        // `{"alg":"none","typ":"JWT"}`
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
        let key = EncodingKey::from_secret(SECRET.as_bytes()).expect("a secret");
        let claims = json!({"user_id": 7, "exp": now() + 3_600});
        let other = encode(&Header::new(Algorithm::HS512), &claims, &key).expect("a token");
        let ends = signature.chars().rev().collect::<String>();
        let bad = vec![
            ("another secret", token_by("canary-other-secret-that-is-long-enough", json!({}))),
            ("no algorithm", none),
            ("another algorithm", other),
            ("a cut signature", good[..good.len() - 2].to_owned()),
            ("no signature", format!("{message}.")),
            ("another signature", format!("{message}.{ends}")),
            ("another header", format!("{}.{body}.{signature}", &header[..header.len() - 1])),
            ("expired", token(json!({"exp": now() - 3_600}))),
            ("no end", token(json!({"exp": null}))),
            ("an end in words", token(json!({"exp": (now() + 3_600).to_string()}))),
            ("not yet", token(json!({"nbf": now() + 3_600}))),
            ("no user", token(json!({"user_id": null}))),
            ("a user in words", token(json!({"user_id": "7"}))),
            ("spaces in words", token(json!({"spaces": "5"}))),
            ("another's audience", token(json!({"aud": "others"}))),
            ("no key", "hubkey_canary-key-that-nobody-knows".into()),
            ("nothing", String::new()),
            ("long", "canary.".repeat(1_500)),
        ];
        Shown {
            bad,
            other_user: token(json!({"user_id": 8})),
            other_space: token(json!({"spaces": [4, 6]})),
            reader: token(json!({"spaces": {"read": [5], "write": [6]}})),
            good,
            keys,
        }
    }

    /// What nobody is to find in a log: parts of all that was shown, without what is the same in
    /// every token.
    fn canaries(&self) -> BTreeSet<String> {
        let one = [&self.other_user, &self.other_space, &self.reader, &self.good];
        let shown = self.bad.iter().chain(&self.keys).map(|(_, shown)| shown).chain(one);
        let parts = shown.flat_map(|shown| shown.split('.').skip(1).map(str::to_owned));
        let keys = self.keys.iter().map(|(_, key)| key["hubkey_".len()..].to_owned());
        let mut all: BTreeSet<String> = parts.chain(keys).filter(|it| it.len() > 8).collect();
        all.extend(["canary".to_owned(), "ana@example.com".to_owned()]);
        all
    }
}

fn status(hub: &Hub, row: &Row, authorization: Option<&str>) -> u16 {
    let line = authorization.map(|it| format!("Authorization: {it}\r\n")).unwrap_or_default();
    if (row.path.starts_with("/v1/ws") || row.key == 101) && row.method == "GET" {
        return shake(hub, row.request, &line).status;
    }
    if row.path.ends_with("/events") {
        return match Events::open(hub.connect(), row.request, &line) {
            Ok(_) => 200,
            Err((status, _)) => status,
        };
    }
    let headers: Vec<_> = authorization.map(|it| ("Authorization", it)).into_iter().collect();
    hub.request(row.method, row.request, &headers, row.body.as_bytes()).status
}

#[test]
fn every_route_answers_each_token_and_key_as_it_should_and_logs_none_of_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("keys");
    let made: Vec<_> = SCOPES.map(|scope| (scope, new_key(scope, scope))).into();
    let lines: Vec<&str> = made.iter().map(|(_, (_, line))| line.as_str()).collect();
    write_keys(&file, &lines);
    let path = file.to_str().expect("a text path").to_owned();
    let args = [
        "--debug-endpoints",
        "--search",
        "--log",
        "trace",
        "--log-format",
        "json",
        "--api-keys-file",
        &path,
    ];
    let hub = super::hub(&args);
    let keys = made.iter().map(|(scope, (key, _))| (*scope, key.clone())).collect();
    let shown = Shown::new(keys);
    let rows = rows();
    let known: BTreeSet<_> = ROUTES.iter().map(|it| (it.method, it.path)).collect();
    let tried: BTreeSet<_> = rows.iter().map(|it| (it.method, it.path)).collect();
    assert_eq!(known, tried, "each route has its row");
    for row in &rows {
        let check = |what: &str, authorization: Option<&str>, expected: u16| {
            let of = format!("{} {} shown {what}", row.method, row.path);
            assert_eq!(status(&hub, row, authorization), expected, "{of}");
        };
        check("nothing at all", None, row.bad);
        for (what, bad) in &shown.bad {
            check(what, Some(&bearer(bad)), row.bad);
        }
        check("another user's", Some(&shown.other_user), row.other_user);
        check("another space's", Some(&shown.other_space), row.other_space);
        check("a reader's", Some(&bearer(&shown.reader)), row.reader);
        check("a good token", Some(&bearer(&shown.good)), row.good);
        for (scope, key) in &shown.keys {
            let is_open = row.bad == 200;
            let expected = if *scope == row.scope || is_open { row.key } else { 403 };
            check(&format!("a key for {scope}"), Some(&bearer(key)), expected);
        }
    }
    // The ways in which handlers see what they were not meant to.
    for line in [format!("?token={}", shown.good), format!("?user_id=7&token={}", shown.reader)] {
        assert_eq!(shake(&hub, &format!("/v1/ws/spaces/5{line}"), "").status, 101);
        assert_eq!(hub.get(&format!("/v1/canary{line}")).status, 404);
        assert_eq!(hub.get(&format!("/v1/messages{line}&space_id=x")).status, 400);
    }
    let log = hub.log();
    assert!(log.contains("connection ended"), "it logs what it does: {log}");
    for canary in shown.canaries() {
        assert!(!log.contains(&canary), "{canary} is in the log");
    }
}
