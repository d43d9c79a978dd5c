//! Commands that talk to a hub by TLS: whose certificate they believe, and whose they don't.

use super::{Files, TlsHub};
use crate::commands::command;

fn url(hub: &TlsHub) -> String {
    format!("https://localhost:{}", hub.tls.port())
}

#[test]
fn what_the_certificate_is_of_is_believed_and_others_are_not() {
    let files = Files::new();
    let hub = files.hub(&[]);
    let (url, ca) = (url(&hub), files.path("certificate"));
    let say = ["say", "--space", "3", "--user-id", "7", "--wait", "0s", "--url", &url, "hola"];
    let (code, id, err) = command(&[&say[..], &["--ca", &ca]].concat());
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(hub.history(3)[0]["id"], id.trim_end());

    let other = Files::new();
    let (code, _, err) = command(&[&say[..], &["--ca", &other.path("certificate")]].concat());
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(": TLS: "), "{err}");
    // Its name is not that of the certificate.
    let by_address = url.replace("localhost", "127.0.0.1");
    let args = ["say", "--space", "3", "--user-id", "7", "--ca", &ca, "--url", &by_address, "x"];
    assert_eq!(command(&args).0, Some(1));
    let (code, _, err) = command(&[&say[..], &["--ca", "/no/such/file"]].concat());
    assert_eq!(code, Some(78));
    assert!(err.starts_with("cpi-hub: --ca: /no/such/file: "), "{err}");
    assert_eq!(hub.contents(3), ["hola"]);
}

#[test]
fn sockets_of_commands_are_within_tls_too() {
    let files = Files::new();
    let hub = files.hub(&[]);
    let (url, ca) = (url(&hub).replace("https", "wss"), files.path("certificate"));
    let say = ["say", "--space", "3", "--user-id", "7", "--ca", &ca, "--url", &url];
    let (_, id, _) = command(&[&say[..], &["uno"]].concat());
    assert_eq!(command(&[&say[..], &["dos"]].concat()).0, Some(0));
    let tail = ["tail", "--space", "3", "--after", id.trim_end(), "--count", "1"];
    let (code, out, err) = command(&[&tail[..], &["--ca", &ca, "--url", &url]].concat());
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("User7: dos"), "{out}");
    // Its input has ended: it leaves at once.
    let chat = ["chat", "--space", "3", "--user-id", "8", "--ca", &ca, "--url", &url];
    let (code, out, err) = command(&chat);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("* you are in space 3 as User8"), "{out}");
    let bench = ["bench", "--members", "3", "--time", "1s", "--ca", &ca, "--url", &url];
    let (code, out, err) = command(&bench);
    assert_eq!(code, Some(0), "{out}{err}");
    let data = hub.data_dir().to_str().expect("a text path");
    let doctor = ["doctor", "--data-dir", data, "--ca", &ca, "--url", &url];
    let (_, out, _) = command(&doctor);
    assert!(out.contains("a WebSocket is opened"), "{out}");
}
