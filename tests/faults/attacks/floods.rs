//! Members that flood, and members that read nothing: what the others in their space, and in
//! another space of the same shard, notice of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tungstenite::Message;

use super::join;
use crate::support::peers::connect_from;
use crate::support::trials::{Over, is_slow};
use crate::support::{Answer, Client, Hub, eventually, frame, upgrade};

/// How many times slower an echo may be than before. Below these it does not matter: the floods
/// take their part of the same processors, and so does whatever else the machine does.
const SLOWER_MAX: u32 = 3;
const MEDIAN_FREE: Duration = Duration::from_millis(20);
const ECHO_FREE: Duration = Duration::from_millis(250);

fn path(space: i32, user: i32) -> String {
    format!("/v1/ws/spaces/{space}?user_id={user}&username=N{user}")
}

/// One member's echoes, within its rates.
fn echo(hub: &Hub, user: i32, over: &AtomicBool) -> Vec<Duration> {
    let mut member = hub.join(user, user, "Eco");
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) || took.len() < 75 {
        let begun = Instant::now();
        member.chat("eco");
        member.next_of("chat");
        took.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(25));
    }
    took
}

/// What members' echoes took while something goes on: the median, and 99 of 100 at most.
fn echoes(hub: &Hub, goes_on: impl FnOnce()) -> (Duration, Duration) {
    let over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let echoing: Vec<_> =
            (11..=14).map(|user| scope.spawn(move || echo(hub, user, over))).collect();
        let ends = Over(over);
        goes_on();
        drop(ends);
        let took = echoing.into_iter().flat_map(|it| it.join().expect("it is not closed"));
        let mut took: Vec<Duration> = took.collect();
        took.sort_unstable();
        (took[took.len() / 2], took[took.len() * 99 / 100])
    })
}

/// Keeps this thread to the machine's last core: hundreds that flood would else keep everybody
/// from all of them, and what others notice is to be the hub's doing.
pub fn stay_apart() {
    let last = core_affinity::get_core_ids().and_then(|cores| cores.last().copied());
    last.map(core_affinity::set_for_current);
}

/// Does something on a machine as busy as attackers make it, without an attack: what is seen then
/// is what the same processors give anybody.
pub fn beside_busy_threads<T>(seen: impl FnOnce() -> T) -> T {
    const THREADS: usize = 4;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                stay_apart();
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let _ends = Over(&over);
        seen()
    })
}

/// Sends as fast as it is read until the hub closes the connection; what came before that.
fn flood(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    stay_apart();
    let mut reader = stream.try_clone().expect("a second handle");
    let reading = std::thread::spawn(move || {
        stay_apart();
        let mut heard = Vec::new();
        _ = reader.read_to_end(&mut heard);
        heard
    });
    while stream.write_all(bytes).is_ok() {}
    reading.join().expect("it reads to the end")
}

/// Floods of pings, pongs, chats and junk, a quarter each, until the hub has closed them all.
pub fn floods(hub: &Hub, count: i32) {
    let kinds = [
        frame(0x89, b"").repeat(2_000),
        frame(0x8A, b"").repeat(2_000),
        frame(0x81, br#"{"type":"chat","data":{"content":"x"}}"#).repeat(500),
        frame(0x81, br#"{"type":"ping"}"#).repeat(1_000),
    ];
    let floods: Vec<_> = (0..count)
        .map(|n| {
            let (_, stream) = join(hub, &path(n % 4, 100 + n));
            let bytes = kinds[n as usize % 4].clone();
            std::thread::spawn(move || flood(stream, &bytes))
        })
        .collect();
    for flood in floods {
        let heard = flood.join().expect("it ends");
        let code = 4029_u16.to_be_bytes();
        let is_told = heard.windows(2).any(|two| two == code);
        assert!(is_told, "closed 4029: {:?}", String::from_utf8_lossy(&heard));
    }
}

pub fn floods_of_frames_slow_no_other_space_and_stay_out_for_a_while() {
    let hub = Hub::start(&["--shards", "1", "--flood-wait", "3s"]);
    let before = echoes(&hub, || {});
    // What a quarter of them says within its rates costs a build without optimisation too much.
    let count = if is_slow() && !cfg!(debug_assertions) { 100 } else { 20 };
    let during = echoes(&hub, || floods(&hub, count));
    eprintln!("echo p50, p99: before {before:?}, during {during:?}");
    assert!(during.0 <= (before.0 * SLOWER_MAX).max(MEDIAN_FREE), "{during:?}, before {before:?}");
    assert!(during.1 <= (before.1 * SLOWER_MAX).max(ECHO_FREE), "{during:?}, before {before:?}");
    // Who flooded is not let in at once, and hears when; nobody else is kept out.
    let mut stream = hub.connect();
    stream.write_all(upgrade(&path(0, 100), "").as_bytes()).expect("the hub reads");
    let refused = Answer::read(&mut stream);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("rate_limited")));
    let wait: u64 = refused.header("retry-after").expect("a hint").parse().expect("seconds");
    assert!((1..=10).contains(&wait), "{wait} s");
    assert_eq!(join(&hub, &path(0, 99)).0.status, 101);
}

/// A member that says 40 messages a second and reads nothing, until the hub ends it.
pub fn say_and_read_nothing(hub: &Hub, user: i32) -> std::thread::JoinHandle<()> {
    let mut stream = connect_from(hub, 2, true);
    stream.write_all(upgrade(&path(1, user), "").as_bytes()).expect("the hub reads");
    let chat = serde_json::json!({"type": "chat", "data": {"content": "x".repeat(440)}});
    let bytes = frame(0x81, chat.to_string().as_bytes());
    std::thread::spawn(move || {
        while stream.write_all(&bytes).is_ok() {
            std::thread::sleep(Duration::from_millis(25));
        }
    })
}

pub fn those_who_read_nothing_hold_no_room() {
    let hub = Hub::start(&[
        "--shards",
        "1",
        "--log-bytes-max",
        "64KiB",
        "--resume-bytes-max",
        "0",
        "--send-buffer-bytes",
        "4KiB",
    ]);
    let mut honest: Vec<Client> = (1..=21).map(|user| hub.join(1, user, "Ana")).collect();
    let mut slow: Vec<_> = (101..=103).map(|user| say_and_read_nothing(&hub, user)).collect();
    let mut worst = Duration::ZERO;
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        let begun = Instant::now();
        honest[0].send_message(Message::text(r#"{"type":"chat","data":{"content":"eco"}}"#));
        while honest[0].next_of("chat")["data"]["content"] != "eco" {}
        worst = worst.max(begun.elapsed());
        for member in &mut honest[1..] {
            while member.next_of("chat")["data"]["content"] != "eco" {}
        }
        std::thread::sleep(Duration::from_millis(20));
        // They come back for as long as they are let in.
        slow.retain(|it| !it.is_finished());
        while slow.len() < 3 {
            slow.push(say_and_read_nothing(&hub, 101 + slow.len() as i32));
        }
    }
    assert!(worst < Duration::from_millis(2_500), "an honest member waited {worst:?}");
    let closes = r#"hub_closes_total{reason="too_slow"}"#;
    eventually("they are evicted", || hub.get("/metrics").text().contains(closes).then_some(()));
    eprintln!("an honest member waited {worst:?} at most");
}
