//! A herd of the front end's sockets upon a hub that is short of descriptors already.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{assert_alive, join, open, post};
use crate::support::{Hub, eventually, trials, upgrade};

const SOCKETS: usize = 480;
const SILENT: usize = 700;
const HERD: usize = 2_000;
/// Callers that connect at the same time.
const CALLERS: usize = 16;
const SPACE: i32 = 1;

/// What the front end opens for one person.
fn path(number: usize) -> String {
    let user = number / 3;
    match number % 3 {
        0 => format!("/v1/ws/spaces/{}?user_id={user}", number % 7 + 2),
        1 => format!("/v1/ws/user-connection?user_id={user}"),
        _ => format!("/v1/ws/notifications?user_id={user}"),
    }
}

/// Opens sockets all at once; whatever each is told, it is told something or closed.
fn herd(hub: &Hub) -> Vec<TcpStream> {
    let call = |caller: usize| {
        let numbers = (0..HERD).filter(move |number| number % CALLERS == caller);
        let connect = |number| {
            let mut stream = hub.connect();
            let asked = stream.write_all(upgrade(&path(number), "").as_bytes());
            asked.ok().map(|()| stream)
        };
        numbers.filter_map(connect).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|it| scope.spawn(move || call(it))).collect();
        callers.into_iter().flat_map(|it| it.join().expect("it calls")).collect()
    })
}

/// Posts until it is told to stop, and some are accepted; the texts that were.
fn talk(hub: &Hub, is_over: &AtomicBool) -> HashSet<String> {
    let mut accepted = HashSet::new();
    let mut longest = Duration::ZERO;
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) && accepted.len() >= 10 {
            break;
        }
        let text = format!("text {number}");
        match post(hub, SPACE, &text) {
            200 | 202 => _ = accepted.insert(text),
            // Refused is not lost.
            status => assert!(matches!(status, 429 | 503), "{status}"),
        }
        longest = longest.max(assert_alive(hub));
        std::thread::sleep(Duration::from_millis(50));
    }
    eprintln!("{} accepted, /livez took {longest:?} at most", accepted.len());
    accepted
}

pub fn under_attack_everything_accepted_is_stored() {
    let (herds, apart) = match trials::is_slow() {
        true => (10, Duration::from_secs(3)),
        false => (1, Duration::from_secs(1)),
    };
    let hub = Hub::start_under(&["prlimit", "--nofile=1024:1024"], &[]);
    let sockets: Vec<_> = (0..SOCKETS).map(|number| join(&hub, &path(number)).1).collect();
    let silent = open(&hub, SILENT, b"");
    let is_over = AtomicBool::new(false);
    let accepted = std::thread::scope(|scope| {
        let talker = scope.spawn(|| talk(&hub, &is_over));
        for _ in 0..herds {
            let herd = herd(&hub);
            std::thread::sleep(apart);
            drop(herd);
        }
        is_over.store(true, Ordering::Relaxed);
        talker.join().expect("it is answered throughout")
    });
    drop((sockets, silent));
    eventually("all is stored", || {
        let history = hub.history(SPACE);
        let texts = history.iter().filter_map(|row| row["content"].as_str().map(str::to_owned));
        accepted.is_subset(&texts.collect()).then_some(())
    });
}
