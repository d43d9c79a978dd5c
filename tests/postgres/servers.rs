//! Several servers in one address: which is taken, and one that swallows everything.

use std::net::TcpListener;

use super::stored::{post, until_store_is};
use crate::support::postgres::Cluster;
use crate::support::{Hub, UNLIMITED, run_hub};

/// The host and port of a cluster on TCP.
fn place(cluster: &Cluster) -> String {
    let socket = cluster.socket();
    let port = socket.extension().and_then(|port| port.to_str()).expect("a port");
    format!("127.0.0.1:{port}")
}

/// A server that takes connections and says nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = listener.local_addr().expect("an address").to_string();
    (listener, place)
}

pub fn a_server_that_swallows_everything_is_passed_by() {
    let cluster = Cluster::start_on_tcp();
    let (_listener, silent) = silent();
    let url = format!("postgresql://postgres@{silent},{}/hub", place(&cluster));
    let hub = Hub::start(&[&["--database-url", &url][..], &UNLIMITED].concat());
    until_store_is(&hub, "ready");
    assert_eq!(post(&hub, (1, 1), "hola").0, 200);
    assert_eq!(hub.contents(1), ["hola"]);
}

/// What a dry run says with an address.
fn dry_run(url: &str) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().to_str().expect("a text path");
    let args = ["migrate", "--dry-run", "--data-dir", dir, "--database-url", url];
    let out = run_hub(&args, &[]);
    let text = String::from_utf8([out.stdout, out.stderr].concat()).expect("text");
    (out.status.success(), text)
}

pub fn each_kind_of_server_that_libpq_knows_can_be_wanted() {
    let primary = Cluster::start_on_tcp();
    let mut standby = Cluster::start_on_tcp();
    standby.end("INT");
    standby.write("standby.signal", "");
    standby.restart();
    assert_eq!(standby.sql("hub", "SELECT pg_is_in_recovery()"), ["t"]);
    let (first, second) = (place(&standby), place(&primary));
    // The primary alone has the tables, by which they are told apart.
    let (done, text) = {
        let url = format!("postgresql://postgres@{second}/hub");
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().to_str().expect("a text path");
        let out = run_hub(&["migrate", "--data-dir", dir, "--database-url", &url], &[]);
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    assert!(done, "{text}");
    for (wanted, is_primary) in [
        ("any", false),
        ("read-write", true),
        ("read-only", false),
        ("primary", true),
        ("standby", false),
        ("prefer-standby", false),
    ] {
        let url =
            format!("postgresql://postgres@{first},{second}/hub?target_session_attrs={wanted}");
        let (done, text) = dry_run(&url);
        assert!(done, "{wanted}: {text}");
        assert_eq!(text.contains(" is up to date"), is_primary, "{wanted}: {text}");
    }
    let of_primary = |wanted: &str| {
        dry_run(&format!("postgresql://postgres@{second}/hub?target_session_attrs={wanted}"))
    };
    assert!(of_primary("prefer-standby").1.contains(" is up to date"));
    let (done, text) = of_primary("standby");
    assert!(!done && text.contains("it is not standby, as target_session_attrs"), "{text}");
    let (done, text) = of_primary("master");
    assert!(!done && text.contains("none of any, read-write, read-only, primary"), "{text}");
    // Each that was tried is named.
    let (_listener, silent) = silent();
    let url = format!("postgresql://postgres@{silent},{first}/hub?target_session_attrs=primary");
    let (done, text) = dry_run(&url);
    assert!(!done && text.contains(&format!("{silent}: no answer within 2s; {first}: ")), "{text}");
}
