//! Streams of events where it is asked who is who.

use serde_json::json;

use super::{bearer, hub, new_key, now, token, write_keys};
use crate::support::Hub;
use crate::support::events::Events;

fn open(hub: &Hub, path: &str, shown: &str) -> Result<Events, (u16, String)> {
    Events::open(hub.connect(), path, &format!("Authorization: {}\r\n", bearer(shown)))
}

#[test]
fn a_stream_ends_with_its_token_and_says_so_before() {
    let hub = hub(&[]);
    let short = token(json!({"exp": now() + 3}));
    // An `EventSource` has no header for it.
    let path = format!("/v1/spaces/5/events?token={short}");
    let mut reader = Events::open(hub.connect(), &path, "").expect("a stream");
    assert_eq!(reader.next()["data"]["user_id"], 7, "the token says who it is");
    assert_eq!(reader.next_of("join")["user_id"], 7);
    let left = reader.next_of("expiring")["data"]["expires_in_ms"].as_u64().expect("a number");
    assert!(left <= 3_000, "{left}");
    let events = reader.until_the_end();
    let last = events.last().expect("it is told why");
    assert_eq!((&last["type"], &last["data"]["code"]), (&json!("closing"), &json!(4001)));
    // With a token that has ended nobody comes back.
    let ended = token(json!({"exp": now() - 3_600}));
    assert_eq!(open(&hub, "/v1/spaces/5/events", &ended).map(|_| ()).expect_err("no").0, 401);
}

#[test]
fn a_token_reads_what_it_may_as_its_own_user_or_unseen() {
    let hub = hub(&[]);
    let reader = token(json!({"spaces": {"read": [5], "write": [6]}}));
    let status = |path: &str| open(&hub, path, &reader).map(|_| ()).map_err(|(status, _)| status);
    assert_eq!(status("/v1/spaces/5/events"), Ok(()));
    assert_eq!(status("/v1/spaces/5/events?user_id=7&watch=1"), Ok(()));
    assert_eq!(status("/v1/spaces/5/events?user_id=8"), Err(403));
    assert_eq!(status("/v1/spaces/5/events?user_id=8&watch=1"), Err(403));
    assert_eq!(status("/v1/spaces/7/events"), Err(403));
    let nobody = Events::open(hub.connect(), "/v1/spaces/5/events", "");
    assert_eq!(nobody.map(|_| ()).expect_err("it shows nothing").0, 401);
}

#[test]
fn what_a_user_is_called_back_for_ends_its_streams_and_no_programs() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("keys");
    let (reads, operates) = (new_key("reads", "read"), new_key("operates", "operate"));
    write_keys(&file, &[&reads.1, &operates.1]);
    let hub = hub(&["--api-keys-file", file.to_str().expect("a text path")]);
    let mut own = open(&hub, "/v1/spaces/5/events?watch=1", &token(json!({}))).expect("a stream");
    own.next_of("welcome");
    let mut program = open(&hub, "/v1/spaces/5/events", &reads.0).expect("a stream");
    program.next_of("welcome");
    let called_back = |user: i32| {
        let body = json!({"user_id": user}).to_string();
        let operator = bearer(&operates.0);
        let headers = [("Authorization", &*operator)];
        let answer = hub.request("POST", "/v1/auth/revocations", &headers, body.as_bytes());
        answer.json()["closed"].clone()
    };
    assert_eq!((called_back(0), called_back(7)), (json!(0), json!(1)));
    assert_eq!(own.next_of("closing")["data"]["code"], 4001);
    let post = hub.request(
        "POST",
        "/v1/ws/spaces/5/chat",
        &[("Authorization", &bearer(&token(json!({"user_id": 8}))))],
        br#"{"user_id":8,"username":"Beto","message":"hola"}"#,
    );
    assert_eq!(post.status, 200);
    assert_eq!(program.next_of("chat")["data"]["content"], "hola");
}
