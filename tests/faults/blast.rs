//! A bug that is met costs what met it and nothing else: a connection, a thread of the store.
//! Parts without which a hub is none are in `parts.rs`.

use std::io::{Read, Write};
use std::path::PathBuf;

use cpi_hub::conditions::Condition;
use tempfile::TempDir;

use crate::support::health::{mended, planted};
use crate::support::ledger::{Ledger, Load};
use crate::support::{GOOD, Hub, UNLIMITED, eventually, frame, upgrade};

/// A hub whose parts can be made to panic.
struct Buggy {
    hub: Hub,
    file: PathBuf,
    _dir: TempDir,
}

impl Buggy {
    fn start(args: &[&str]) -> Buggy {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("panic");
        let env = [("CPI_HUB_TEST_PANIC", file.to_str().expect("a text path"))];
        Buggy { hub: Hub::start_with_env(args, &env), file, _dir: dir }
    }

    /// Has a part panic the next time that it comes by.
    fn plant(&self, part: &str) {
        // Whole from the first moment on: the part may look at any time.
        let whole = self.file.with_extension("new");
        std::fs::write(&whole, format!("{part} once")).expect("a file");
        std::fs::rename(whole, &self.file).expect("a file");
    }

    /// Whether what was planted has happened.
    fn has_panicked(&self) -> bool {
        !self.file.exists()
    }

    /// Has a part panic while `meanwhile` goes on.
    fn bring_down(&self, place: &str, part: &str, mut meanwhile: impl FnMut()) {
        let before = self.panics(part);
        self.plant(place);
        eventually(place, || {
            meanwhile();
            (self.panics(part) > before).then_some(())
        });
        assert!(self.has_panicked(), "{place}");
    }

    fn panics(&self, part: &str) -> f64 {
        self.hub.metric(&format!("hub_panics_total{{part=\"{part}\"}}"))
    }
}

pub fn a_connection_that_panics_is_closed_and_nobody_else_notices() {
    let buggy = Buggy::start(&[]);
    let hub = &buggy.hub;
    let mut ana = hub.join(1, 1, "Ana");
    let join = upgrade("/v1/ws/spaces/1?user_id=9", "");
    let post = format!(
        "POST /v1/ws/spaces/1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\
         \r\nContent-Length: {}\r\n\r\n{GOOD}",
        GOOD.len()
    );
    for (n, (part, request)) in
        [("a handshake", &join), ("a request", &post), ("a body", &post)].into_iter().enumerate()
    {
        buggy.plant(part);
        let answer = eventually(part, || {
            let mut stream = hub.connect();
            let mut answer = Vec::new();
            // It may be cut while the request is on its way.
            let sent = stream.write_all(request.as_bytes());
            let read = sent.and_then(|()| stream.read_to_end(&mut answer));
            buggy.has_panicked().then_some((read, answer))
        });
        assert!(answer.1.is_empty(), "{part}: {answer:?}");
        eventually(part, || (buggy.panics("connection") == n as f64 + 1.0).then_some(()));
    }
    let detail = planted(hub, Condition::PartPanicked);
    assert!(detail.contains("a test has a "), "{detail}");
    assert!(hub.log().contains("a panic: "), "where it was is told: {}", hub.log());
    ana.chat("sigo aquí");
    while ana.next_of("chat")["data"]["content"] != "sigo aquí" {}
    let mut bea = hub.join(1, 2, "Bea");
    bea.chat("y yo");
    while ana.next_of("chat")["data"]["content"] != "y yo" {}
    // Their places are free again.
    bea.close();
    eventually("all have left", || (hub.metric("hub_members") == 1.0).then_some(()));
    mended(hub, Condition::PartPanicked);
}

/// What all threads of the store have to do something for.
fn say_and_ask(hub: &Hub) {
    let long = "😀".repeat(990);
    let body = format!(r#"{{"user_id":1,"username":"Ana","message":"{long}"}}"#);
    hub.post("/v1/ws/spaces/9/chat", &body);
    hub.get("/v1/messages?space_id=9");
}

pub fn a_thread_of_the_store_that_panics_begins_anew_and_nothing_is_lost_or_doubled() {
    let args = ["--message-bytes-max", "8KiB", "--journal-bytes-max", "4MiB", "--shards", "2"];
    let mut buggy = Buggy::start(&[&UNLIMITED[..], &args].concat());
    let load = Load::start(&buggy.hub, 0);
    load.reach(100);
    for (place, part) in [
        ("hub-store", "store"),
        ("hub-flush", "flush"),
        ("hub-journal", "journal"),
        ("hub-reader", "reader"),
        // It is there, and can be met by another one.
        ("a batch that is stored", "store"),
        ("hub-flush", "flush"),
        ("hub-journal", "journal"),
    ] {
        buggy.bring_down(place, part, || say_and_ask(&buggy.hub));
        load.reach(load.received() + 100);
    }
    planted(&buggy.hub, Condition::PartPanicked);
    eventually("the reader answers", || {
        (buggy.hub.get("/v1/messages?space_id=9").status == 200).then_some(())
    });
    // Durable acks come: what is said now is stored by a thread that has died twice.
    eventually("it is stored", || {
        (buggy.hub.post("/v1/ws/spaces/9/chat", GOOD).status == 200).then_some(())
    });
    mended(&buggy.hub, Condition::PartPanicked);
    assert!(buggy.hub.stop("TERM").success(), "{}", buggy.hub.log());
    assert!(!buggy.hub.data_dir().join("dead-letters.jsonl").exists());
    let mut ledger = Ledger::default();
    ledger.add(load);
    buggy.hub.restart();
    ledger.check(&buggy.hub);
    eprintln!("{}", ledger.summary());
}

pub fn a_checkpoint_that_panics_is_made_by_the_next_one() {
    let args = [&UNLIMITED[..], &["--message-bytes-max", "8KiB"]].concat();
    let mut buggy = Buggy::start(&args);
    // The thread has nothing to do before the database's log is long.
    let chat = serde_json::json!({"type": "chat", "data": {"content": "😀".repeat(990)}});
    let chats = frame(0x81, chat.to_string().as_bytes()).repeat(20);
    let mut stream = buggy.hub.connect();
    stream.write_all(upgrade("/v1/ws/spaces/1?user_id=1", "").as_bytes()).expect("the hub reads");
    let mut reader = stream.try_clone().expect("a second handle");
    let reading = std::thread::spawn(move || _ = std::io::copy(&mut reader, &mut std::io::sink()));
    for _ in 0..2 {
        buggy.bring_down("hub-checkpoint", "checkpoint", || {
            stream.write_all(&chats).expect("the hub reads");
        });
    }
    drop(stream);
    assert!(buggy.hub.stop("TERM").success(), "{}", buggy.hub.log());
    reading.join().expect("it reads to the end");
}
