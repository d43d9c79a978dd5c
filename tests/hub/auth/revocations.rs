//! Tokens that are called back before their end.

use serde_json::{Value, json};

use super::{SECRET, get, new_key, now, shake, token, write_keys};
use crate::support::{Answer, Closed, Hub};

struct Called {
    hub: Hub,
    key: String,
    _dir: tempfile::TempDir,
}

impl Called {
    fn start() -> Called {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, secret) = (dir.path().join("keys"), dir.path().join("secret"));
        let (key, line) = new_key("operator", "operate");
        write_keys(&path, &[&line]);
        std::fs::write(&secret, SECRET).expect("a file");
        let text = |path: &std::path::Path| path.to_str().expect("a text path").to_owned();
        let (path, secret) = (text(&path), text(&secret));
        let args = ["--jwt-secret-file", &secret, "--api-keys-file", &path, "--shards", "2"];
        Called { hub: Hub::start(&args), key, _dir: dir }
    }

    fn back(&self, body: &Value) -> Answer {
        let headers = [("X-Api-Key", self.key.as_str())];
        self.hub.request("POST", "/v1/auth/revocations", &headers, body.to_string().as_bytes())
    }

    fn history(&self, token: &str) -> u16 {
        get(&self.hub, "/v1/messages?space_id=5", token).status
    }
}

#[test]
fn a_token_that_is_called_back_is_none_and_its_sockets_are_closed() {
    let mut called = Called::start();
    let by = |id: &str| token(json!({"jti": id}));
    let (stolen, other) = (by("stolen"), by("other"));
    let socket = |token: &str, space: i32| {
        let path = format!("/v1/ws/spaces/{space}?token={token}");
        let mut client = called.hub.socket(&path, Some("cpi-hub.v1"));
        client.next_of("join");
        client
    };
    // Their spaces are of both shards.
    let closes: Vec<_> = (1..9).map(|space| socket(&stolen, space)).collect();
    let mut stays = socket(&other, 5);
    let answer = called.back(&json!({"token_id": "stolen", "until": now() + 3_600}));
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"closed\":8}\n"));
    for client in closes {
        assert_eq!(client.until_closed().1, Closed::by(4001, "unauthorized"));
    }
    assert_eq!((called.history(&stolen), called.history(&other)), (401, 200));
    assert_eq!(
        shake(&called.hub, &format!("/v1/ws/spaces/5?token={stolen}&user_id=7"), "").status,
        401
    );
    stays.send(&json!({"type": "auth", "data": {"token": stolen}}).to_string());
    assert_eq!(stays.next_of("error")["data"]["code"], "unauthorized");
    // A restart forgets nothing.
    called.hub.kill();
    called.hub.restart();
    assert_eq!((called.history(&stolen), called.history(&other)), (401, 200));
}

#[test]
fn a_list_that_can_not_be_read_is_no_empty_one() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("revocations.json"), "{\"user_id\":7}\n").expect("a file");
    let folder = dir.path().to_str().expect("a text path");
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", folder, "--log", "error"];
    let output = crate::support::run_hub(&args, &[("HUB_JWT_SECRET", SECRET)]);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("revocations.json: line 1 is none; mend it or move it away"), "{text}");
}

#[test]
fn a_users_tokens_of_before_are_called_back_and_new_ones_are_good() {
    let called = Called::start();
    let made = |iat: Value, user: i32| token(json!({"iat": iat, "user_id": user}));
    let (before, undated) = (made((now() - 60).into(), 7), made(Value::Null, 7));
    let (after, others) = (made((now() + 60).into(), 7), made((now() - 60).into(), 8));
    let path = |token: &str| format!("/v1/ws/spaces/5?token={token}");
    let closed = called.hub.socket(&path(&before), None);
    let undated_one = called.hub.socket(&path(&undated), None);
    let mut stays = called.hub.socket(&path(&after), None);
    stays.next_of("join");
    let answer = called.back(&json!({"user_id": 7}));
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"closed\":2}\n"));
    for client in [closed, undated_one] {
        assert_eq!(client.until_closed().1, Closed::by(4001, "unauthorized"));
    }
    stays.chat("still here");
    assert_eq!(stays.next_of("chat")["data"]["content"], "still here");
    let seen = [&before, &undated, &after, &others].map(|token| called.history(token));
    assert_eq!(seen, [401, 401, 200, 200]);
    for (bad, status) in [(json!({}), 400), (json!({"user_id": "7"}), 400), (json!([7]), 400)] {
        assert_eq!(called.back(&bad).status, status, "{bad}");
    }
    let nobody = Hub::start(&[]);
    assert_eq!(nobody.post("/v1/auth/revocations", "{\"user_id\":7}").status, 404);
}
