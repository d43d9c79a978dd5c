//! A bug that is met costs what met it and nothing else: a connection, a thread of the store.
//! Parts without which a hub is none are in `parts.rs`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cpi_hub::conditions::Condition;
use cpi_hub::wire::{SpaceId, SpaceKey};
use tempfile::TempDir;

use crate::support::health::{mended, planted, told};
use crate::support::ledger::{Ledger, Load};
use crate::support::returning::{self, Crowd};
use crate::support::{Client, GOOD, Hub, UNLIMITED, eventually, frame, upgrade};

fn plant(file: &Path, part: &str) {
    // Whole from the first moment on: the part may look at any time.
    let whole = file.with_extension("new");
    std::fs::write(&whole, format!("{part} once")).expect("a file");
    std::fs::rename(whole, file).expect("a file");
}

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
        plant(&self.file, part);
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
    let args =
        ["--message-bytes-max", "8KiB", "--journal-bytes-max", "4MiB", "--shards", "2", "--search"];
    let mut buggy = Buggy::start(&[&UNLIMITED[..], &args].concat());
    let load = Load::start(&buggy.hub, 0);
    load.reach(100);
    for (place, part) in [
        ("hub-store", "store"),
        ("hub-flush", "flush"),
        ("hub-journal", "journal"),
        ("hub-reader", "reader"),
        ("hub-search", "search"),
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

/// A space of each of two shards.
fn spaces() -> [i32; 2] {
    [0, 1].map(|shard| {
        let is_there = |space: &i32| SpaceKey::Chat(SpaceId(*space)).shard(2) == shard;
        (1..).find(is_there).expect("both have some")
    })
}

/// Says something, hears it, and says the next, until it is told to stop; how long each took.
fn talk(mut client: Client, stop: &AtomicBool) -> Vec<(Instant, Duration)> {
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (begun, content) = (Instant::now(), took.len().to_string());
        client.chat(&content);
        let heard = client.next_of("chat");
        assert_eq!(heard["data"]["content"], content, "neither gap nor double");
        took.push((begun, begun.elapsed()));
    }
    took
}

pub fn a_shard_that_panics_closes_its_members_and_the_other_shards_do_not_notice() {
    let buggy = Buggy::start(&[&UNLIMITED[..], &["--shards", "2"]].concat());
    let hub = &buggy.hub;
    let [here, there] = spaces();
    let stop = Arc::new(AtomicBool::new(false));
    let (bystander, stopped) = (hub.join_v1(there, 1, ""), Arc::clone(&stop));
    let talking = std::thread::spawn(move || talk(bystander, &stopped));
    let quiet: Vec<Client> = (10..20).map(|user| hub.join_v1(here, user, "")).collect();
    let mut ana = hub.join_v1(here, 1, "");
    eventually("all are in", || (hub.metric("hub_members") == 12.0).then_some(()));
    ana.chat("uno");
    let first = ana.next_of("chat")["data"]["id"].as_str().expect("an id").to_owned();
    let begun = Instant::now();
    buggy.plant("shard-0 in the sweep");
    ana.chat("dos");
    // The member whose socket was in hand is cut: what it was sent is not known.
    assert!(ana.until_closed().1.code.is_none_or(|code| code == 1012));
    for member in quiet {
        let closed = member.until_closed().1;
        assert_eq!((closed.code, closed.reason.as_str()), (Some(1012), "restart"));
    }
    let detail = planted(hub, Condition::PartPanicked);
    assert!(detail.starts_with("shard-0: "), "{detail}");
    eventually("their places are free", || {
        (hub.metric("hub_members") == 1.0).then_some(hub.get("/v1/spaces").json())
    });
    assert_eq!(hub.metric("hub_joins_total") - hub.metric("hub_leaves_total"), 1.0);
    assert_eq!(hub.metric("hub_closes_total{reason=\"restart\"}"), 11.0);
    // It was in the journal: whoever comes back gets it.
    let mut ana = hub.join_v1(here, 1, &format!("&after={first}"));
    let second = ana.next_of("chat");
    assert_eq!(second["data"]["content"], "dos");
    let resumed = ana.next_of("resumed");
    assert_eq!(
        (&resumed["data"]["complete"], &resumed["data"]["count"]),
        (&true.into(), &1.into())
    );
    ana.chat("tres");
    let third = ana.next_of("chat");
    let ids = [&second, &third].map(|it| it["data"]["id"].as_str().expect("an id").to_owned());
    assert!(first < ids[0] && ids[0] < ids[1], "{first} {ids:?}");
    let ended = Instant::now();
    stop.store(true, Ordering::Relaxed);
    let took = talking.join().expect("it is not closed");
    let of = |within: bool| {
        let during = |at: &Instant| (*at >= begun && *at <= ended) == within;
        let mut all: Vec<_> = took.iter().filter(|(at, _)| during(at)).map(|it| it.1).collect();
        all.sort_unstable();
        [all.get(all.len() * 99 / 100).copied(), all.last().copied()].map(Option::unwrap_or_default)
    };
    let ([usual, _], [p99, worst]) = (of(false), of(true));
    eprintln!("another shard's p99: {usual:?} before, {p99:?} meanwhile, at worst {worst:?}");
    assert!(worst < Duration::from_secs(1).max(10 * usual), "{worst:?}, and {usual:?} before");
    let rows = hub.history_of(here, 3).len() + hub.history_of(there, took.len()).len();
    assert_eq!(hub.metric("hub_chats_accepted_total"), rows as f64, "the books balance");
    ends_when_met_again(buggy, here);
}

/// A bug that is met again and again is not mended by beginning anew.
fn ends_when_met_again(mut buggy: Buggy, here: i32) {
    let hub = &buggy.hub;
    for place in ["at a command", "before the journal"] {
        let mut bea = hub.join_v1(here, 2, "");
        bea.next_of("welcome");
        buggy.plant(&format!("shard-0 {place}"));
        _ = bea.try_send(tungstenite::Message::text(
            r#"{"type":"chat","data":{"content":"nadie lo oye"}}"#,
        ));
        eventually(place, || {
            // A command for the shard, whose answer may be that there is none.
            hub.get(&format!("/v1/spaces/{here}/presence"));
            buggy.has_panicked().then_some(())
        });
        bea.until_closed();
    }
    assert_eq!(buggy.hub.wait().code(), Some(1));
    let log = buggy.hub.log();
    assert!(log.contains("shard-0 has ended in a panic"), "{log}");
    assert!(told(&log, Condition::PartEnded), "{log}");
}

pub fn a_crowd_misses_nothing_though_its_shards_panic() {
    let mut buggy = Buggy::start(&[&UNLIMITED[..], &["--shards", "2"]].concat());
    let crowd = Crowd::of(4, 6, 1_200, 20_261_130);
    let places = [
        "shard-0 in the sweep",
        "shard-1 behind the journal",
        "shard-0 before the journal",
        "shard-1 at a command",
    ];
    let Buggy { hub, file, .. } = &mut buggy;
    let figures = returning::run_through(hub, crowd, places.len(), |_, number| {
        plant(file, places[number]);
        eventually(places[number], || (!file.exists()).then_some(()));
    });
    assert_eq!(buggy.panics("shard"), 4.0);
    eprintln!("{figures:?}");
    // The next start finds the journals as it does after any other run.
    buggy.hub.kill();
    buggy.hub.restart();
    for space in 1..=crowd.spaces {
        assert_eq!(buggy.hub.history_of(space, crowd.messages_a_space).len(), 1_200);
    }
}
