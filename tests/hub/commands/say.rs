//! `cpi-hub say`: one message, once, whatever becomes of its answers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use super::{command, free_port, json, url};
use crate::auth::{SECRET, token};
use crate::support::{Hub, run_hub};

#[test]
fn it_prints_the_id_of_what_is_stored() {
    let hub = Hub::start(&[]);
    let url = url(&hub);
    let options = ["say", "--space", "3", "--user-id", "7", "--url", &url];
    let (code, id, err) = command(&[&options[..], &["hola \"a\" todos"]].concat());
    assert_eq!(code, Some(0), "{err}");
    let history = hub.history(3);
    assert_eq!(history[0]["id"], id.trim_end());
    assert_eq!(
        (&history[0]["content"], &history[0]["username"]),
        (&"hola \"a\" todos".into(), &"User7".into())
    );
    let (code, told) =
        json(&[&options[..], &["--json", "--username", "Ana", "-8 grados"]].concat());
    assert_eq!((code, &told["state"], &told["attempts"]), (0, &"stored".into(), &1.into()));
    assert_eq!(hub.contents(3), ["hola \"a\" todos", "-8 grados"]);
}

#[test]
fn what_is_said_with_the_same_key_is_said_once() {
    let hub = Hub::start(&[]);
    let url = url(&hub);
    let options = ["say", "--space", "3", "--user-id", "7", "--key", "k1", "--json", "--url", &url];
    let (_, first) = json(&[&options[..], &["hola"]].concat());
    let (_, second) = json(&[&options[..], &["hola"]].concat());
    assert_eq!(first["id"], second["id"]);
    assert_eq!((&first["repeated"], &second["repeated"]), (&false.into(), &true.into()));
    let (code, _, err) = command(&[&options[..], &["other"]].concat());
    assert_eq!(code, Some(1));
    assert!(err.contains("(409 nonce_reused)"), "{err}");
    assert_eq!(hub.contents(3), ["hola"]);
}

/// One connection's request, handed to the hub; its answer.
fn passed_on(client: &mut TcpStream, hub: &Hub) -> Vec<u8> {
    let (mut request, mut piece) = (Vec::new(), [0; 4_096]);
    while !request.ends_with(b"}") {
        let read = client.read(&mut piece).expect("a request");
        assert!(read > 0, "it ends too soon");
        request.extend_from_slice(&piece[..read]);
    }
    let mut server = hub.connect();
    server.write_all(&request).expect("it is sent");
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).expect("an answer");
    answer
}

#[test]
fn an_answer_that_is_lost_is_asked_for_again_and_nothing_is_said_twice() {
    let hub = Hub::start(&[]);
    let between = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://localhost:{}", between.local_addr().expect("an address").port());
    let told = std::thread::scope(|scope| {
        scope.spawn(|| {
            // The first answer is thrown away.
            let (mut client, _) = between.accept().expect("a connection");
            let answer = passed_on(&mut client, &hub);
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            drop(client);
            let (mut client, _) = between.accept().expect("another one");
            let answer = passed_on(&mut client, &hub);
            client.write_all(&answer).expect("it is sent");
        });
        json(&["say", "--space", "3", "--user-id", "7", "--json", "--url", &url, "hola"])
    });
    let (code, told) = told;
    assert_eq!((code, &told["attempts"], &told["repeated"]), (0, &2.into(), &true.into()));
    assert_eq!(hub.contents(3), ["hola"]);
    assert_eq!(hub.history(3)[0]["id"], told["id"]);
}

#[test]
fn its_exit_code_tells_refused_from_not_known() {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let options = ["say", "--space", "3", "--user-id", "7", "--key", "k7", "--wait", "0s"];
    let (code, out, err) = command(&[&options[..], &["--url", &nowhere, "hola"]].concat());
    assert_eq!((code, out.as_str()), (Some(75), ""), "{err}");
    assert!(err.starts_with("cpi-hub: not known whether it was said, --key k7: "), "{err}");

    let hub = Hub::start_with_env(&[], &[("HUB_JWT_SECRET", SECRET)]);
    let url = url(&hub);
    let (code, _, err) = command(&[&options[..], &["--url", &url, "hola"]].concat());
    assert_eq!(code, Some(1));
    assert!(err.contains("(401 unauthorized)"), "{err}");
    let say = ["say", "--space", "3", "--url", &url, "hola"];
    let output = run_hub(&say, &[("HUB_TOKEN", &token(json!({})))]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output =
        run_hub(&[&say[..5], &[&"x".repeat(1_001)]].concat(), &[("HUB_TOKEN", &token(json!({})))]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_store_that_is_slow_is_told_from_one_that_has_it() {
    let hub = Hub::start(&["--durable-wait-max", "50ms"]);
    let locked = hub.lock_store();
    let url = url(&hub);
    let (code, told) =
        json(&["say", "--space", "3", "--user-id", "7", "--json", "--url", &url, "hola"]);
    assert_eq!((code, &told["state"]), (0, &"accepted".into()));
    drop(locked);
    assert_eq!(hub.history_of(3, 1)[0]["id"], told["id"]);
}
