//! Who is who, against the real binary: tokens, keys of programs, and what each of them may do.

use std::io::Write;
use std::path::Path;

use cpi_hub::clock::unix_now;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::{Answer, Hub, run_hub, upgrade};

mod carriers;
mod events;
mod expiry;
mod first_frame;
mod keys;
mod open;
mod revocations;
mod settings;
mod spaces;
mod table;

/// The hub's secret.
pub(crate) const SECRET: &str = "canary-secret-of-the-hub-thirty-two-bytes";

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    unix_now().0 / 1_000_000
}

/// A token of user 7 for an hour, with other claims put in, or left out as null.
pub(crate) fn token(with: Value) -> String {
    token_by(SECRET, with)
}

fn token_by(secret: &str, with: Value) -> String {
    let mut claims = json!({"email": "ana@example.com", "user_id": 7, "iat": now()});
    claims["exp"] = (now() + 3_600).into();
    for (name, value) in with.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    let key = EncodingKey::from_secret(secret.as_bytes()).expect("a secret");
    encode(&Header::default(), &claims, &key).expect("a token")
}

/// A hub that asks who is who.
fn hub(args: &[&str]) -> Hub {
    Hub::start_with_env(args, &[("HUB_JWT_SECRET", SECRET)])
}

/// Makes a key with the binary; the key, and the line of its file.
pub(crate) fn new_key(name: &str, scopes: &str) -> (String, String) {
    let output = run_hub(&["key", "new", "--name", name, "--scope", scopes], &[]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let [key, line] = lines[..] else { panic!("a key and a line: {text}") };
    (key.into(), line.into())
}

/// Writes a file of keys.
pub(crate) fn write_keys(path: &Path, lines: &[&str]) {
    std::fs::write(path, lines.join("\n") + "\n").expect("a file");
}

/// The `Authorization` of a token or a key.
pub(crate) fn bearer(shown: &str) -> String {
    format!("Bearer {shown}")
}

/// GETs a path with an `Authorization`.
fn get(hub: &Hub, path: &str, shown: &str) -> Answer {
    hub.request("GET", path, &[("Authorization", &bearer(shown))], b"")
}

/// Posts a chat with an `Authorization`.
fn post(hub: &Hub, space: i32, shown: &str, body: &Value) -> Answer {
    let path = format!("/v1/ws/spaces/{space}/chat");
    let body = body.to_string();
    hub.request("POST", &path, &[("Authorization", &bearer(shown))], body.as_bytes())
}

/// The answer to a handshake with further header lines.
fn shake(hub: &Hub, path: &str, lines: &str) -> Answer {
    let mut stream = hub.connect();
    stream.write_all(upgrade(path, lines).as_bytes()).expect("the hub reads");
    Answer::read(&mut stream)
}
