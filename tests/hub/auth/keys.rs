//! Keys that come and go while a hub runs, and how tokens' keys change.

use std::path::Path;

use serde_json::json;

use super::{SECRET, get, new_key, now, token, token_by, write_keys};
use crate::support::{Closed, Hub, eventually, run_hub};

fn text(path: &Path) -> &str {
    path.to_str().expect("a text path")
}

/// Waits until a token or a key is answered so.
fn becomes(hub: &Hub, path: &str, shown: &str, status: u16) {
    eventually(&format!("{path} is {status}"), || {
        (get(hub, path, shown).status == status).then_some(())
    });
}

#[test]
fn the_file_of_keys_is_read_again_and_one_that_is_broken_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("keys");
    let ((first, first_line), (second, second_line)) =
        (new_key("first", "operate"), new_key("second", "operate,metrics"));
    write_keys(&file, &[&first_line]);
    let hub = Hub::start(&["--log", "info", "--api-keys-file", text(&file)]);
    let spaces = "/v1/spaces";
    assert_eq!((get(&hub, spaces, &first).status, get(&hub, spaces, &second).status), (200, 401));
    write_keys(&file, &[&first_line, &second_line]);
    hub.signal("HUP");
    becomes(&hub, spaces, &second, 200);
    assert_eq!(get(&hub, "/metrics", &first).status, 403, "it has no scope for that");
    write_keys(&file, &[&second_line, "third operate nonsense"]);
    hub.signal("HUP");
    let broken = "nothing is reloaded: --api-keys-file:";
    eventually(broken, || hub.log().contains(broken).then_some(()));
    assert!(hub.log().contains("line 2: the digest is not 64 hexadecimal digits"));
    assert_eq!((get(&hub, spaces, &first).status, get(&hub, spaces, &second).status), (200, 200));
    write_keys(&file, &[&second_line]);
    hub.signal("HUP");
    becomes(&hub, spaces, &first, 401);
    assert_eq!(get(&hub, "/metrics", &second).status, 200);
}

#[test]
fn a_key_that_goes_takes_its_sockets_and_its_tokens_sockets_with_it() {
    const NEXT: &str = "canary-next-secret-of-the-hub-that-is-long";
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name);
    let (keys, old, new) = (file("keys"), file("old"), file("new"));
    let ((bot, bot_line), (other, other_line)) =
        (new_key("bot", "read,say"), new_key("other", "read"));
    write_keys(&keys, &[&bot_line, &other_line]);
    std::fs::write(&old, SECRET).expect("a file");
    std::fs::write(&new, NEXT).expect("a file");
    let config = file("hub.toml");
    let configure = |secrets: &str| {
        let lines =
            format!("jwt_secret_file = \"{secrets}\"\napi_keys_file = \"{}\"\n", text(&keys));
        std::fs::write(&config, lines).expect("a file");
    };
    configure(&format!("{},{}", text(&new), text(&old)));
    let hub = Hub::start(&["--config", text(&config)]);
    let by_key = |key: &str| {
        let path = "/v1/ws/spaces/5?user_id=9";
        let mut client = hub.socket_with(path, Some("cpi-hub.v1"), &[("X-Api-Key", key)]);
        client.next_of("join");
        client
    };
    let by_token = |token: &str| {
        let mut client = hub.socket(&format!("/v1/ws/spaces/5?token={token}"), None);
        client.next_of("join");
        client
    };
    let (bots, mut others) = (by_key(&bot), by_key(&other));
    let (olds, mut news) = (by_token(&token(json!({}))), by_token(&token_by(NEXT, json!({}))));
    others.send(&json!({"type": "auth", "data": {"token": token(json!({}))}}).to_string());
    let refused = others.next_of("error");
    assert_eq!(refused["data"]["code"], "unknown_message_type", "a key has no end to put off");
    write_keys(&keys, &[&other_line]);
    hub.signal("HUP");
    assert_eq!(bots.until_closed().1, Closed::by(4001, "unauthorized"));
    configure(text(&new));
    hub.signal("HUP");
    assert_eq!(olds.until_closed().1, Closed::by(4001, "unauthorized"));
    for client in [&mut others, &mut news] {
        client.send(r#"{"type":"ping"}"#);
        client.next_of("pong");
    }
}

#[test]
fn a_secret_changes_while_tokens_of_both_are_good() {
    const NEXT: &str = "canary-next-secret-of-the-hub-that-is-long";
    let dir = tempfile::tempdir().expect("a directory");
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    std::fs::write(&old, format!("{SECRET}\n")).expect("a file");
    std::fs::write(&new, NEXT).expect("a file");
    let config = dir.path().join("hub.toml");
    let configure = |files: &str| {
        std::fs::write(&config, format!("jwt_secret_file = \"{files}\"\n")).expect("a file");
    };
    configure(text(&old));
    let hub = Hub::start(&["--config", text(&config)]);
    let history = "/v1/messages?space_id=5";
    let (of_old, of_new) = (token(json!({})), token_by(NEXT, json!({})));
    assert_eq!(
        (get(&hub, history, &of_old).status, get(&hub, history, &of_new).status),
        (200, 401)
    );
    configure(&format!("{},{}", text(&new), text(&old)));
    hub.signal("HUP");
    becomes(&hub, history, &of_new, 200);
    assert_eq!(get(&hub, history, &of_old).status, 200);
    configure(text(&new));
    hub.signal("HUP");
    becomes(&hub, history, &of_old, 401);
    assert_eq!(get(&hub, history, &of_new).status, 200);
    // Nobody would be asked any more: that waits for a restart.
    std::fs::write(&config, "").expect("a file");
    hub.signal("HUP");
    let refused = "waits for a restart";
    eventually(refused, || hub.log().contains(refused).then_some(()));
    assert_eq!(get(&hub, history, &of_old).status, 401);
}

#[test]
fn a_token_for_trying_out_is_made_from_the_hubs_secret() {
    let made = |args: &[&str]| {
        let output = run_hub(&[&["token"], args].concat(), &[("HUB_JWT_SECRET", SECRET)]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    };
    let hub = super::hub(&[]);
    let history = |space: i32, token: &str| {
        get(&hub, &format!("/v1/messages?space_id={space}"), token).status
    };
    let all = made(&["--user", "7"]);
    let some = made(&["--user", "7", "--spaces", "5, 6", "--read-spaces", "8", "--for", "2m"]);
    assert_eq!((history(4, &all), history(5, &all)), (200, 200));
    let seen = [4, 5, 6, 8].map(|space| history(space, &some));
    assert_eq!(seen, [403, 200, 200, 200]);
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<serde_json::Value>(&some);
    let claims = claims.expect("claims");
    let left = claims["exp"].as_i64().expect("a number") - now();
    assert!((60..=120).contains(&left), "{left}");
    let refused = |args: &[&str], env: &[(&str, &str)]| {
        let output = run_hub(&[&["token"], args].concat(), env);
        assert_eq!(output.status.code(), Some(78), "{args:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let none = refused(&["--user", "7"], &[]);
    let expected = "HUB_JWT_SECRET, or jwt_secret_file: not given, and tokens are made with it";
    assert_eq!(none, format!("cpi-hub: {expected}\n"));
    let secret = [("HUB_JWT_SECRET", SECRET)];
    for (args, expected) in [
        (&["--user", "ana"][..], "--user: `ana` is not a number such as 7"),
        (&["--user", "7", "--for", "1"], "--for: `1` is not a time such as 15m or 1h"),
        (&["--user", "7", "--spaces", "a"], "--spaces: `a` is not a list of numbers such as 1,2"),
    ] {
        assert_eq!(refused(args, &secret), format!("cpi-hub: {expected}\n"));
    }
}
