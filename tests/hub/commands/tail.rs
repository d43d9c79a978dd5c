//! `cpi-hub tail`: each message once and in order, over restarts; and when it ends.

use serde_json::{Value, json};

use super::{Running, command, free_port, url};
use crate::auth::{SECRET, token};
use crate::support::{Hub, eventually};

fn say(hub: &Hub, text: &str) -> String {
    let body = json!({"user_id": 7, "username": "Ana Paz", "message": text}).to_string();
    let answer = hub.post("/v1/ws/spaces/3/broadcast", &body);
    answer.json()["chat_message"]["id"].as_str().expect("an id").to_owned()
}

fn text_of(frame: &Value) -> &str {
    frame["data"]["content"].as_str().expect("a text")
}

#[test]
fn it_goes_on_behind_the_last_message_through_a_stop_and_a_kill() {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut hub = Hub::start(&["--listen", &listen, "--drain-window", "0ms"]);
    let tail = Running::start(&["tail", "--space", "3", "--json", "--url", &url(&hub)], &[]);
    let welcome = tail.frame("welcome");
    assert_eq!(
        (&welcome["data"]["user_id"], &welcome["data"]["username"]),
        (&0.into(), &"tail".into())
    );
    let mut heard = Vec::new();
    for round in 0..3 {
        say(&hub, &format!("{round} before"));
        heard.push(text_of(&tail.frame("chat")).to_owned());
        match round {
            1 => hub.kill(),
            _ => _ = hub.stop("TERM"),
        }
        hub.restart();
        say(&hub, &format!("{round} after"));
        heard.push(text_of(&tail.frame("chat")).to_owned());
    }
    let said: Vec<String> =
        (0..3).flat_map(|round| [format!("{round} before"), format!("{round} after")]).collect();
    assert_eq!(heard, said);
    assert_eq!(hub.contents(3), said, "nothing was said twice");
}

#[test]
fn it_ends_after_the_messages_that_were_asked_for_and_begins_where_it_is_told() {
    let hub = Hub::start(&[]);
    let first = say(&hub, "uno");
    say(&hub, "dos");
    say(&hub, "tr\u{1b}[2Jes");
    let url = url(&hub);
    let options = ["tail", "--space", "3", "--count", "2", "--after", &first, "--url", &url];
    let (code, out, err) = command(&options);
    assert_eq!(code, Some(0), "{err}");
    let chats: Vec<&str> = out.lines().filter(|line| line.contains("Ana Paz: ")).collect();
    let texts: Vec<&str> = chats.iter().map(|line| &line["HH:MM Ana Paz: ".len()..]).collect();
    assert_eq!(texts, ["dos", "tr\u{FFFD}[2Jes"], "no terminal obeys it");
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let hub = Hub::start(&[]);
    let shell = format!(
        "'{}' tail --space 3 --url {} 2>err | head -n 1; echo \"${{PIPESTATUS[0]}}\"",
        env!("CARGO_BIN_EXE_cpi-hub"),
        url(&hub)
    );
    let dir = tempfile::tempdir().expect("a directory");
    let mut bash = std::process::Command::new("bash");
    let bash =
        bash.args(["-c", &shell]).current_dir(dir.path()).stdout(std::process::Stdio::piped());
    let running = bash.spawn().expect("bash runs");
    // What comes after head has gone is what it ends with.
    let output = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| running.wait_with_output().expect("it ends"));
        eventually("it has ended", || {
            say(&hub, "hola");
            waiting.is_finished().then_some(())
        });
        waiting.join().expect("output")
    });
    let out = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(lines[0].starts_with("* you are in space 3 as tail"), "{out}");
    assert_eq!(lines[1], "0");
    let err = std::fs::read_to_string(dir.path().join("err")).expect("a file");
    assert_eq!(err, "");
}

#[test]
fn a_token_comes_from_a_file_or_the_environment_and_says_who_it_is() {
    let hub = Hub::start_with_env(&[], &[("HUB_JWT_SECRET", SECRET)]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{}\n", token(json!({})))).expect("it writes");
    let url = url(&hub);
    let options = ["tail", "--space", "3", "--json", "--url", &url];
    let file_option = ["--token-file", file.to_str().expect("a text path")];
    let by_file = Running::start(&[&options[..], &file_option].concat(), &[]);
    assert_eq!(by_file.frame("welcome")["data"]["user_id"], 7);
    let by_variable = Running::start(&options, &[("HUB_TOKEN", &token(json!({"user_id": 9})))]);
    assert_eq!(by_variable.frame("welcome")["data"]["user_id"], 9);

    std::fs::write(&file, "a.b.c").expect("it writes");
    let user = ["--user-id", "7"];
    let (code, _, err) = command(&[&options[..], &file_option, &user].concat());
    assert_eq!(code, Some(1), "{err}");
    assert!(err.starts_with("cpi-hub: the hub refused: "), "{err}");
    assert!(err.contains("(401 unauthorized)"), "{err}");
    let (code, _, err) = command(&[&options[..], &file_option].concat());
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("or the token is none that the hub takes"), "{err}");
    assert!(!err.contains("a.b.c"), "{err}");
    std::fs::write(&file, "two words").expect("it writes");
    assert_eq!(command(&[&options[..], &file_option].concat()).0, Some(78));
}

#[test]
fn who_is_kicked_or_finds_no_hub_does_not_come_back() {
    let hub = Hub::start(&[]);
    let url = url(&hub);
    let options = ["tail", "--space", "3", "--user-id", "7", "--json", "--url", &url];
    let tail = Running::start(&options, &[]);
    tail.frame("welcome");
    let answer = hub.request("DELETE", "/v1/spaces/3/members/7", &[], b"");
    assert_eq!(answer.json()["closed"], 1);
    let (status, said) = tail.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(said, "cpi-hub: the hub closed the connection: 4009 kicked\n");

    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let (code, _, err) = command(&["tail", "--space", "3", "--url", &nowhere]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is the hub running?"), "{err}");
}
