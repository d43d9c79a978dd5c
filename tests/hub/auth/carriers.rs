//! The places where a token or a key may stand, and what of it is left for others to see.

use serde_json::json;

use super::{bearer, get, hub, new_key, shake, token, write_keys};
use crate::support::Hub;

#[test]
fn a_token_is_taken_from_each_place_where_a_client_can_put_it() {
    let hub = hub(&[]);
    let good = token(json!({}));
    for value in [bearer(&good), good.clone(), format!("bearer   {good} ")] {
        let answer =
            hub.request("GET", "/v1/messages?space_id=5", &[("Authorization", &value)], b"");
        assert_eq!(answer.status, 200);
        let lines = format!("Authorization: {value}\r\n");
        assert_eq!(shake(&hub, "/v1/ws/spaces/5?user_id=7", &lines).status, 101);
    }
    assert_eq!(hub.get(&format!("/v1/messages?token={good}&space_id=5")).status, 200);
    assert_eq!(shake(&hub, &format!("/v1/ws/spaces/5?token={good}"), "").status, 101);
    let lines = format!("Authorization: {good}\r\nAuthorization: {good}\r\n");
    assert_eq!(shake(&hub, "/v1/ws/spaces/5?user_id=7", &lines).status, 401, "which of the two?");
}

#[test]
fn a_token_among_the_subprotocols_is_never_answered() {
    let hub = hub(&[]);
    let good = token(json!({}));
    for (protocols, answered) in [
        (format!("cpi-hub.v1, token.{good}"), Some("cpi-hub.v1")),
        (format!("token.{good},cpi-hub.v1"), Some("cpi-hub.v1")),
        (format!("token.{good}\r\nSec-WebSocket-Protocol: cpi-hub.v1"), Some("cpi-hub.v1")),
        (format!("token.{good}"), None),
    ] {
        let lines = format!("Sec-WebSocket-Protocol: {protocols}\r\n");
        let answer = shake(&hub, "/v1/ws/spaces/5", &lines);
        assert_eq!(answer.status, 101, "{protocols}");
        assert_eq!(answer.header("sec-websocket-protocol"), answered, "{protocols}");
    }
    let answer = shake(&hub, "/v1/ws/spaces/5", "Sec-WebSocket-Protocol: cpi-hub.v1, token.x\r\n");
    assert_eq!((answer.status, answer.header("www-authenticate")), (400, None), "no user is known");
    let answer = shake(&hub, "/v1/ws/spaces/5?user_id=7", "");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(
        answer.text(),
        "{\"status_code\":401,\"message\":\"no autorizado para realizar esta acción\",\
         \"code\":\"unauthorized\"}\n"
    );
}

#[test]
fn a_token_says_who_it_is_and_nobody_else_can_be_said() {
    let hub = hub(&[]);
    let good = token(json!({}));
    let mut seen = hub.socket(&format!("/v1/ws/spaces/5?username=Eva&token={good}"), None);
    let join = seen.next_of("join");
    assert_eq!((&join["user_id"], &join["username"]), (&json!(7), &json!("Eva")));
    for query in ["user_id=8", "user_id=8&user_id=7", "user_id=-7"] {
        let answer = shake(&hub, &format!("/v1/ws/spaces/5?{query}&token={good}"), "");
        assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("forbidden")), "{query}");
    }
    let say = |body| super::post(&hub, 5, &good, &body);
    let said = say(json!({"username": "Ana", "message": "one"}));
    assert_eq!((said.status, &said.json()["chat_message"]["user_id"]), (200, &json!(7)));
    assert_eq!(say(json!({"user_id": 7, "username": "Ana", "message": "two"})).status, 200);
    let other = say(json!({"user_id": 8, "username": "Ana", "message": "three"}));
    assert_eq!((other.status, &other.json()["code"]), (403, &json!("forbidden")));
    let contents = get(&hub, "/v1/spaces/5/messages", &good).json();
    let contents: Vec<_> = contents["data"].as_array().expect("rows").iter().collect();
    assert_eq!(contents.iter().map(|row| &row["content"]).collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn a_key_speaks_for_any_user_and_stands_in_either_header() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, (key, line)) = (dir.path().join("keys"), new_key("bot", "say,read"));
    write_keys(&path, &["# of the bot", "", &line]);
    // Without a secret there are keys alone.
    let hub = Hub::start(&["--api-keys-file", path.to_str().expect("a text path")]);
    let body = json!({"user_id": 9, "username": "Bot", "message": "hola"}).to_string();
    let say = |name: &str, value: &str| {
        hub.request("POST", "/v1/ws/spaces/5/chat", &[(name, value)], body.as_bytes()).status
    };
    assert_eq!(say("X-Api-Key", &key), 200);
    assert_eq!(say("Authorization", &bearer(&key)), 200);
    assert_eq!(say("Authorization", &key), 200);
    assert_eq!(say("X-Api-Key", &key[..key.len() - 1]), 401);
    assert_eq!(say("X-Api-Key", &key.to_uppercase()), 401);
    assert_eq!(say("X-Api-Key", &line), 401);
    assert_eq!(say("Authorization", &token(json!({}))), 401, "there is no secret");
    let lines = format!("X-Api-Key: {key}\r\n");
    assert_eq!(shake(&hub, "/v1/ws/spaces/5?user_id=9", &lines).status, 101);
    assert_eq!(shake(&hub, "/v1/ws/spaces/5", &lines).status, 400, "a key names nobody");
}
