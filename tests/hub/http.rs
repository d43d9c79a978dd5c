//! The HTTP side: posts, history, presence, notifications, health (`docs/WIRE.md` A3-A6, E,
//! H 5-10), against the real binary.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::{Answer, Hub, eventually};

fn refused(answer: &Answer, status: u16, code: &str, message: &str) {
    let body = json!({"status_code": status, "message": message, "code": code});
    assert_eq!((answer.status, answer.json()), (status, body));
}

#[test]
fn the_seeds_own_post_is_seen_on_the_socket_and_stored() {
    let hub = Hub::start(&[]);
    let mut seven = hub.socket("/v1/ws/spaces/1?user_id=7", None);
    assert_eq!(seven.next()["type"], "join");
    let body = r#"{"message": "hola", "user_id": "7", "username": "Ana Paz"}"#;
    let answer = hub.post("/v1/ws/spaces/1/broadcast", body);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.text().ends_with("}\n"));
    let seen = seven.next();
    assert_eq!(seen["type"], "chat");
    let expected = json!({"chat_message": seen["data"], "message": "Mensaje enviado exitosamente"});
    assert_eq!(answer.json(), expected);
    let history = hub.get("/v1/messages?space_id=1").json();
    assert_eq!(history["total"], 1);
    let row = &history["data"][0];
    assert_eq!(row["id"], seen["data"]["id"]);
    assert_eq!(row["created_at"], seen["timestamp"]);
    assert_eq!((&row["content"], &row["user_id"]), (&json!("hola"), &json!(7)));
}

#[test]
fn the_posts_answer_has_its_bytes() {
    let hub = Hub::start(&[]);
    let body = r#"{"space_id":1,"user_id":1,"username":"Ana Paz","message":"hola"}"#;
    let text = hub.post("/v1/ws/spaces/1/chat", body).text();
    let data = serde_json::from_str::<Value>(&text).expect("JSON")["chat_message"].clone();
    let (id, at) = (data["id"].as_str().expect("an id"), data["timestamp"].as_str().expect("T"));
    let expected = format!(
        r#"{{"chat_message":{{"id":"{id}","content":"hola","user_id":1,"username":"Ana Paz","space_id":1,"timestamp":"{at}","image":""}},"message":"Mensaje enviado exitosamente"}}"#
    );
    assert_eq!(text, expected + "\n");
}

/// A path's space, a body, and the code and message of its refusal.
type BadPost = (&'static str, String, (&'static str, &'static str));

fn bad_posts() -> Vec<BadPost> {
    const FORMAT: (&str, &str) = ("invalid_message_format", "Invalid request data");
    const GOOD: &str = r#"{"space_id":1,"user_id":1,"username":"Ana","message":"m"}"#;
    let field = |message| ("invalid_parameter", message);
    let user_id = field("Invalid request data: user_id no es válido");
    let long = "ñ".repeat(1001);
    let too_long = format!(r#"{{"user_id":1,"username":"a","message":"{long}"}}"#);
    let of = |path, body: &str, refusal| (path, body.to_owned(), refusal);
    vec![
        of("1", "", FORMAT),
        of("1", "[]", FORMAT),
        of("1", &format!("{GOOD} x"), FORMAT),
        of("1", r#"{"user_id":1,"user_id":1,"username":"a","message":"m"}"#, FORMAT),
        of(
            "1",
            r#"{"space_id":true,"user_id":"x"}"#,
            field("Invalid request data: space_id no es válido"),
        ),
        of("1", r#"{"user_id":1.5,"username":"a","message":"m"}"#, user_id),
        of("1", r#"{"user_id":1e400,"username":"a","message":"m"}"#, user_id),
        of("1", r#"{"user_id":18446744073709551616,"username":"a","message":"m"}"#, user_id),
        of(
            "1",
            r#"{"username":"a","message":"m"}"#,
            field("Invalid request data: user_id es requerido"),
        ),
        of(
            "1",
            r#"{"user_id":0,"username":"a","message":"m"}"#,
            field("Invalid request data: user_id es requerido"),
        ),
        of(
            "1",
            r#"{"user_id":1,"username":"a"}"#,
            field("Invalid request data: message es requerido"),
        ),
        of(
            "1",
            r#"{"user_id":1,"username":"a","message":7}"#,
            field("Invalid request data: message no es válido"),
        ),
        of(
            "1",
            r#"{"user_id":1,"message":"m"}"#,
            field("Invalid request data: username es requerido"),
        ),
        of("abc", GOOD, field("space_id debe ser un número")),
        of("2", GOOD, ("space_mismatch", "space_id no coincide con la ruta")),
        of("1", &too_long, ("content_too_long", "el mensaje es demasiado largo")),
        of(
            "1",
            r#"{"user_id":1,"username":"a","message":"a\u0000b"}"#,
            ("content_invalid", "el mensaje contiene caracteres no permitidos"),
        ),
        of(
            "1",
            r#"{"user_id":1,"username":"a\u0000","message":"m"}"#,
            field("Invalid request data: username no es válido"),
        ),
    ]
}

#[test]
fn a_bad_post_is_told_the_first_thing_that_is_wrong_and_fans_nothing_out() {
    let hub = Hub::unlimited();
    let mut watcher = hub.join(1, 1, "Ana");
    watcher.next();
    for (path, body, (code, message)) in bad_posts() {
        let answer = hub.post(&format!("/v1/ws/spaces/{path}/chat"), &body);
        println!("{path} {body:.80}");
        refused(&answer, 400, code, message);
    }
    watcher.send(r#"{"type":"ping"}"#);
    assert_eq!(watcher.next()["type"], "pong", "nothing was fanned out");
    assert_eq!(hub.metric("hub_chats_accepted_total"), 0.0);
}

#[test]
fn a_thousand_emoji_and_a_great_avatar_pass() {
    let hub = Hub::unlimited();
    let mut watcher = hub.join(1, 1, "Ana");
    watcher.next();
    let content = "😀".repeat(1000);
    let image = format!("data:image/png;base64,{}", "A".repeat(6 << 20));
    let body = json!({"space_id": "1", "user_id": 1, "username": "Ana", "message": content,
        "image": image});
    let answer = hub.post("/v1/ws/spaces/1/chat", &body.to_string());
    assert_eq!(answer.status, 200);
    let seen = watcher.next();
    assert_eq!(seen["data"]["content"], content);
    assert_eq!(seen["data"]["image"], "", "too large to be fanned out");
    let image = "https://x/y.png";
    let body = json!({"user_id": 1, "username": "Ana", "message": "m", "image": image});
    hub.post("/v1/ws/spaces/1/chat", &body.to_string());
    assert_eq!(watcher.next()["image"], image);
    let huge = vec![b' '; (8 << 20) + 1];
    let answer = hub.request("POST", "/v1/ws/spaces/1/chat", &[], &huge);
    refused(&answer, 413, "body_too_large", "la solicitud es demasiado grande");
}

#[test]
fn a_key_makes_a_post_once_and_async_is_not_waited_for() {
    let hub = Hub::unlimited();
    let body = r#"{"user_id":1,"username":"Ana","message":"once"}"#;
    let post = |headers: &[(&str, &str)], body: &str| {
        hub.request("POST", "/v1/ws/spaces/1/chat", headers, body.as_bytes())
    };
    let first = post(&[("Idempotency-Key", "k-1")], body);
    let repeat = post(&[("Idempotency-Key", "\"k-1\"")], body);
    assert_eq!((first.status, repeat.status), (200, 200));
    assert_eq!(first.body, repeat.body);
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
    let other = post(&[("Idempotency-Key", "k-1")], &body.replace("once", "twice"));
    refused(&other, 409, "nonce_reused", "esta clave ya se usó con otro mensaje");
    let accepted = post(&[("Prefer", "respond-async")], body);
    assert_eq!(accepted.status, 202);
    assert_eq!(accepted.header("preference-applied"), Some("respond-async"));
    assert_eq!(hub.history_of(1, 2).len(), 2);
}

#[test]
fn history_pages_as_the_front_end_asks() {
    let hub = Hub::unlimited();
    let mut client = hub.join(1, 1, "Ana");
    for number in 0..30 {
        client.chat(&number.to_string());
    }
    hub.history_of(1, 30);
    let contents = |query: &str| -> Vec<i64> {
        let page = hub.get(&format!("/v1/messages?space_id=1{query}")).json();
        assert_eq!(page["total"], 30);
        let rows = page["data"].as_array().expect("rows");
        let number = |row: &Value| row["content"].as_str().and_then(|text| text.parse().ok());
        rows.iter().map(|row| number(row).expect("a number")).collect()
    };
    let up = |range: std::ops::Range<i64>| range.collect::<Vec<_>>();
    let down = |range: std::ops::Range<i64>| range.rev().collect::<Vec<_>>();
    assert_eq!(
        contents("&page=1&page_size=25&order_by=timestamp&sort_direction=desc"),
        down(5..30)
    );
    assert_eq!(contents("&page=2&page_size=25&order_by=timestamp&sort_direction=desc"), down(0..5));
    assert_eq!(contents("&page=3&page_size=25&order_by=timestamp"), up(0..0));
    assert_eq!(contents("&order_by=timestamp"), down(5..30));
    assert_eq!(contents("&order_by=id&sort_direction=asc"), up(0..25));
    assert_eq!(contents("&order_by=id&sort_direction=up&page_size=3"), down(27..30));
    assert_eq!(contents(""), up(0..25));
    assert_eq!(contents("&sort_direction=desc"), up(0..25));
    assert_eq!(contents("&page=x&page_size=-1"), up(0..25));
    assert_eq!(contents("&page_size=1000000000").len(), 30);
    let unknown = hub.get("/v1/messages?space_id=99");
    let body = "{\"data\":[],\"page\":1,\"page_size\":25,\"total\":0}\n";
    assert_eq!((unknown.status, unknown.text().as_str()), (200, body));
    let missing = hub.get("/v1/messages");
    refused(&missing, 400, "invalid_parameter", "space_id parameter is required");
    for junk in ["0", "-1", "x", "2147483648"] {
        let answer = hub.get(&format!("/v1/messages?space_id={junk}"));
        let message = "Invalid space_id parameter (must be positive integer)";
        refused(&answer, 400, "invalid_parameter", message);
    }
}

#[test]
fn history_by_position_is_a_range() {
    let hub = Hub::unlimited();
    let mut client = hub.join(1, 1, "Ana");
    let mut ids = Vec::new();
    for number in 0..9 {
        client.chat(&number.to_string());
        ids.push(client.next_of("chat")["data"]["id"].as_str().expect("an id").to_owned());
    }
    hub.history_of(1, 9);
    let range = |query: String| -> (Vec<String>, bool) {
        let page = hub.get(&format!("/v1/spaces/1/messages?{query}")).json();
        let rows = page["data"].as_array().expect("rows").iter();
        let ids = rows.map(|row| row["id"].as_str().expect("an id").to_owned()).collect();
        (ids, page["has_more"] == true)
    };
    assert_eq!(range("limit=4".into()), (ids[5..].to_vec(), true));
    assert_eq!(range(format!("after={}&limit=3", ids[2])), (ids[3..6].to_vec(), true));
    assert_eq!(range(format!("before={}&limit=3", ids[2])), (ids[..2].to_vec(), false));
    assert_eq!(range(format!("before={}&limit=3", ids[7])), (ids[4..7].to_vec(), true));
    assert_eq!(range(format!("after={}&before={}", ids[1], ids[5])), (ids[2..5].to_vec(), false));
    assert_eq!(range(format!("after={}", ids[8])), (Vec::new(), false));
    let junk = hub.get("/v1/spaces/1/messages?after=x");
    assert_eq!((junk.status, junk.json()["code"].clone()), (400, json!("invalid_parameter")));
}

#[test]
fn presence_and_spaces_are_told() {
    let hub = Hub::start(&[]);
    let _ana = (hub.join(1, 1, "Ana Paz"), hub.join(1, 1, "Ana Paz"));
    let _beto = (hub.join(1, 2, "Beto"), hub.join(2, 2, "Beto"));
    eventually("all have joined", || (hub.metric("hub_members") == 4.0).then_some(()));
    let present = hub.get("/v1/spaces/1/presence");
    assert_eq!(
        present.text(),
        "{\"space_id\":1,\"members\":3,\"users\":[\
         {\"user_id\":1,\"username\":\"Ana Paz\",\"connections\":2},\
         {\"user_id\":2,\"username\":\"Beto\",\"connections\":1}],\"truncated\":false}\n"
    );
    let spaces = eventually("the directory knows", || {
        let spaces = hub.get("/v1/spaces?limit=1").json();
        (spaces["total"] == 2).then_some(spaces)
    });
    assert_eq!(spaces, json!({"data": [{"space_id": 1, "members": 3}], "total": 2}));
    let nobody = hub.get("/v1/spaces/77/presence").json();
    assert_eq!(nobody, json!({"space_id": 77, "members": 0, "users": [], "truncated": false}));
    assert_eq!(
        hub.get("/v1/spaces/1").text(),
        "{\"space_id\":1,\"name\":\"\",\"search\":false}\n",
        "SQLite has none"
    );
}

#[test]
fn two_tabs_are_online_once_and_offline_last() {
    let hub = Hub::start(&[]);
    let open = |user: i32| hub.socket(&format!("/v1/ws/user-connection?user_id={user}"), None);
    let status = |user: i32, status: &str, seen: &Value| {
        let expected = json!({"type": "user_status", "user_id": user, "status": status,
            "username": format!("User{user}"), "timestamp": seen["timestamp"]});
        assert_eq!(*seen, expected);
        let at = seen["timestamp"].as_str().expect("a time");
        assert!(at.len() == 20 && at.ends_with('Z'), "{at}");
    };
    let mut watcher = open(1);
    status(1, "online", &watcher.next());
    let first = open(2);
    status(2, "online", &watcher.next());
    let mut second = open(2);
    status(2, "online", &second.next());
    status(1, "online", &second.next());
    first.close();
    second.send("ignored");
    second.close();
    status(2, "offline", &watcher.next());
    open(3).close();
    status(3, "online", &watcher.next());
    status(3, "offline", &watcher.next());
}

#[test]
fn a_notification_reaches_each_socket_of_its_user_only() {
    let hub = Hub::start(&[]);
    let open = |user: i32| hub.socket(&format!("/v1/ws/notifications?user_id={user}"), None);
    let (mut one, mut two, mut other) = (open(7), open(7), open(8));
    eventually("all have joined", || (hub.metric("hub_members") == 3.0).then_some(()));
    let body = r#"{"data":{"id":1,"type":"reaction"},"type":"event","timestamp":"2026-01-02T03:04:05.678901-03:00"}"#;
    let answer = hub.post("/v1/users/7/notifications", body);
    assert_eq!((answer.status, answer.json()), (200, json!({"delivered": 2})));
    let pushed = r#"{"type":"event","data":{"id":1,"type":"reaction"},"timestamp":"2026-01-02T03:04:05.678901-03:00"}"#;
    assert_eq!((one.text().as_str(), two.text().as_str()), (pushed, pushed));
    hub.post("/v1/users/8/notifications", r#"{"data":{}}"#);
    let default = other.next();
    assert_eq!((&default["type"], &default["data"]), (&json!("notification"), &json!({})));
    let nobody = hub.post("/v1/users/9/notifications", r#"{"data":{}}"#);
    assert_eq!(nobody.json(), json!({"delivered": 0}));
}

#[test]
fn foreign_origins_are_refused_everywhere() {
    let hub = Hub::start(&[]);
    let listed = "http://localhost:3000";
    for origin in ["http://evil.example", "null", "http://localhost:3000.evil.example", ""] {
        for (method, path) in [("GET", "/v1/messages?space_id=1"), ("OPTIONS", "/v1/messages")] {
            let answer = hub.request(method, path, &[("Origin", origin)], b"");
            assert_eq!((answer.status, answer.body.len()), (403, 0), "{method} {origin}");
        }
    }
    let answer = hub.request("GET", "/v1/messages?space_id=1", &[("Origin", listed)], b"");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(listed));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.header("vary"), Some("Origin"));
    let preflight = hub.request("OPTIONS", "/anything", &[("Origin", listed)], b"");
    assert_eq!(preflight.status, 204);
    let methods = preflight.header("access-control-allow-methods");
    assert_eq!(methods, Some("GET,POST,PUT,DELETE,OPTIONS"));
    let own = format!("http://{}", hub.address);
    let same = hub.request("GET", "/livez", &[("Origin", &own)], b"");
    assert_eq!((same.status, same.header("access-control-allow-origin")), (200, None));
}

#[test]
fn health_metrics_and_pages_are_served() {
    let hub = Hub::start(&[]);
    assert_eq!(hub.get("/livez").text().trim(), "ok");
    let ready = eventually("the store is ready", || {
        let ready = hub.get("/readyz");
        (ready.json()["store"] == "ready").then_some(ready)
    });
    assert_eq!((ready.status, ready.json()), (200, json!({"status": "ready", "store": "ready"})));
    let metrics = hub.get("/metrics").text();
    assert!(metrics.ends_with("# EOF\n"));
    assert!(metrics.contains("# TYPE hub_members gauge"));
}

#[test]
fn a_foreign_page_can_not_post() {
    let hub = Hub::start(&[]);
    let body = br#"{"user_id":7,"username":"Ana","message":"hola"}"#;
    let evil = [("Origin", "http://evil.example")];
    let answer = hub.request("POST", "/v1/ws/spaces/1/chat", &evil, body);
    assert_eq!((answer.status, answer.body.len()), (403, 0));
    assert_eq!(hub.metric("hub_chats_accepted_total"), 0.0);
}

#[test]
fn every_answer_is_dated_also_those_to_what_is_no_request() {
    let hub = Hub::start(&["--close-wait", "100ms"]);
    let host = "Host: localhost\r\n";
    for (request, status) in [
        (format!("GET /livez HTTP/1.1\r\n{host}\r\n"), 200),
        (format!("GET /livez HTTP/1.0\r\n{host}\r\n"), 200),
        (format!("GET /nothing HTTP/1.1\r\n{host}\r\n"), 404),
        (format!("GET /livez HTTP/1.1\r\n{host}Origin: null\r\n\r\n"), 403),
        (format!("OPTIONS / HTTP/1.1\r\n{host}Origin: http://localhost:3000\r\n\r\n"), 204),
        ("GET /livez HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /livez HTTP/1.1\n\n".into(), 400),
        ("junk\r\n\r\n".into(), 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400),
        (format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(20_000)), 431),
    ] {
        let mut stream = hub.connect();
        stream.write_all(request.as_bytes()).expect("the hub reads");
        let answer = Answer::read(&mut stream);
        let date = answer.header("date").unwrap_or_default();
        // `Sun, 29 Nov 2026 18:48:22 GMT`.
        assert_eq!((answer.status, date.len()), (status, 29), "{request:.40}: {answer:?}");
        assert!(date.ends_with(" GMT"), "{date}");
    }
}

#[test]
fn an_answer_has_the_form_that_is_accepted() {
    let hub = Hub::start(&[]);
    let get = |path: &str, accept: &str| hub.request("GET", path, &[("Accept", accept)], b"");
    let problem = "application/problem+json";
    for (accept, kind) in [
        (problem, problem),
        ("application/json, application/problem+json", problem),
        ("application/problem+json;q=0", "application/json"),
        ("application/problem+json ; Q=0.000, */*", "application/json"),
        ("application/json, application/problem+json;q=0.1", "application/json"),
        ("*/*", "application/json"),
    ] {
        let answer = get("/v1/messages", accept);
        assert_eq!((answer.status, answer.header("content-type")), (400, Some(kind)), "{accept}");
    }
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                      text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, kind) in [
        ("*/*", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (prometheus, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;q=0, */*", "text/plain; version=0.0.4; charset=utf-8"),
    ] {
        let answer = get("/metrics", accept);
        assert_eq!(answer.header("content-type"), Some(kind), "{accept}");
        let text = answer.text();
        let is_older = kind.starts_with("text/plain");
        assert_eq!(text.contains("# TYPE hub_http_requests_total counter\n"), is_older);
        assert_eq!(text.ends_with("# EOF\n"), !is_older);
        assert!(text.contains("\nhub_http_requests_total "), "{text}");
    }
}

#[test]
fn a_repeated_key_is_answered_as_the_first_whatever_name_it_comes_with() {
    let hub = Hub::unlimited();
    let body = |name: &str| format!(r#"{{"user_id":1,"username":"{name}","message":"once"}}"#);
    let post = |key: &str, name: &str, more: &[(&str, &str)]| {
        let headers = [&[("Idempotency-Key", key)], more].concat();
        hub.request("POST", "/v1/ws/spaces/1/chat", &headers, body(name).as_bytes())
    };
    let first = post("k1", "Ana", &[]);
    for name in ["Otra", "Ana", "Ñandú"] {
        let repeat = post("k1", name, &[]);
        assert_eq!((repeat.status, repeat.text()), (200, first.text()), "{name}");
        assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
    }
    let repeat = post("k1", "Otra", &[("Prefer", "respond-async")]);
    assert_eq!((repeat.status, repeat.text()), (202, first.text()));
    // What was said over a socket has the connection's name.
    let mut member = hub.join_v1(1, 1, "&username=Bea");
    member.send(r#"{"type":"chat","data":{"content":"once","nonce":"k2","ack":"durable"}}"#);
    while member.next_of("ack")["data"]["level"] != "durable" {}
    let repeat = post("k2", "Otra", &[]);
    assert_eq!(repeat.json()["chat_message"]["username"], "Bea");
    assert_eq!(hub.history_of(1, 2).len(), 2);
}

#[test]
fn a_push_that_strict_readers_would_lose_is_refused() {
    let hub = Hub::start(&[]);
    let mut reader = hub.socket("/v1/ws/notifications?user_id=7", None);
    for data in [
        r#"{"a":"\ud800","a":1,"n":1e999}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":[{"b":1,"b":1}]}"#,
        r#"{"a":{"n":[1e999]}}"#,
    ] {
        let answer = hub.post("/v1/users/7/notifications", &format!(r#"{{"data":{data}}}"#));
        let message = "Invalid request data: data no es válido";
        refused(&answer, 400, "invalid_parameter", message);
    }
    let sound = r#"{"a":{"a":[{"a":1},{"a":1e308}]}}"#;
    hub.post("/v1/users/7/notifications", &format!(r#"{{"data":{sound}}}"#));
    assert!(reader.text().contains(sound), "nothing came before it");
}
