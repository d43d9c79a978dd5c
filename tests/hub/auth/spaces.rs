//! Tokens that are confined to spaces.

use serde_json::json;

use super::{get, hub, post, shake, token};

#[test]
fn whoever_may_only_read_is_there_and_says_nothing() {
    let hub = hub(&[]);
    let writer = token(json!({"user_id": 8, "spaces": [5]}));
    let reader = token(json!({"spaces": {"read": [5], "write": [6]}}));
    let path = |token: &str| format!("/v1/ws/spaces/5?token={token}");
    let mut reads = hub.socket(&path(&reader), Some("cpi-hub.v1"));
    reads.next_of("join");
    let mut seed = hub.socket(&path(&reader), None);
    seed.next_of("join");
    let mut writes = hub.socket(&path(&writer), None);
    writes.next_of("join");
    reads.send(r#"{"type":"chat","data":{"content":"no","nonce":"n1"}}"#);
    let refused = reads.next_of("error");
    assert_eq!(
        (&refused["data"]["code"], &refused["data"]["ref"]),
        (&json!("forbidden"), &json!("n1"))
    );
    seed.chat("no");
    let refused = seed.next_of("error");
    let text = "no autorizado para realizar esta acción";
    assert_eq!(refused["data"], json!({"code": "forbidden", "message": text}));
    writes.chat("yes");
    for client in [&mut reads, &mut seed, &mut writes] {
        assert_eq!(client.next_of("chat")["data"]["content"], "yes");
    }
    // A ping is answered, and what is refused was said nowhere.
    reads.send(r#"{"type":"ping"}"#);
    reads.next_of("pong");
    let say = |token: &str, space| {
        post(&hub, space, token, &json!({"username": "Ana", "message": "hola"})).status
    };
    assert_eq!(
        (say(&reader, 5), say(&reader, 6), say(&writer, 5), say(&writer, 6)),
        (403, 200, 200, 403)
    );
    assert_eq!(get(&hub, "/v1/spaces/6/presence", &reader).status, 200, "who may say may read");
}

#[test]
fn a_space_that_a_token_does_not_name_is_closed_whatever_is_asked_of_it() {
    let hub = hub(&[]);
    let elsewhere = token(json!({"spaces": [6]}));
    let nowhere = token(json!({"spaces": []}));
    for shown in [elsewhere, nowhere] {
        for path in ["/v1/messages?space_id=5", "/v1/spaces/5/messages", "/v1/spaces/5/presence"] {
            let answer = get(&hub, path, &shown);
            assert_eq!(
                (answer.status, &answer.json()["code"]),
                (403, &json!("forbidden")),
                "{path}"
            );
        }
        for after in ["", "&after=00000000000000000000000000"] {
            let path = format!("/v1/ws/spaces/5?token={shown}{after}");
            assert_eq!(shake(&hub, &path, "").status, 403);
        }
        let body = json!({"username": "Ana", "message": "hola"});
        assert_eq!(post(&hub, 5, &shown, &body).status, 403);
    }
}
