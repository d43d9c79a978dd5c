//! `cpi-hub chat`, where it can not be had.

use crate::operator::Process;
use crate::support::Hub;

#[test]
fn who_cannot_chat_is_told_why_in_one_line() {
    let hub = Hub::start(&["--user-connections-max", "1"]);
    let _taken = hub.join(1, 1, "Ana");
    let url = format!("ws://{}", hub.address);
    let chat = |args: &[&str]| {
        let all = [&["chat", "--space", "1", "--user-id", "1"], args].concat();
        let (code, text) = Process::start(&all, &[]).end();
        assert_eq!(text.lines().count(), 1, "{text}");
        (code, text)
    };
    let full = "cpi-hub: the hub refused: maximum connections reached (503 too_many_connections)\n";
    let full = full.to_owned();
    assert_eq!(chat(&["--url", &url]), (Some(1), full));
    let (code, text) = chat(&["--url", "ws://127.0.0.1:1"]);
    assert!(code == Some(1) && text.ends_with("is the hub running?\n"), "{text}");
    let (code, text) = chat(&["--url", "wss://127.0.0.1:1"]);
    assert!(code == Some(1) && text.ends_with("is the hub running?\n"), "{text}");
    let (code, text) = chat(&["--url", "ftp://127.0.0.1:1"]);
    assert!(code == Some(78) && text.starts_with("cpi-hub: --url: "), "{code:?} {text}");
}
