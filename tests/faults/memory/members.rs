//! Members that cost much: floods, readers of nothing, a lobby that fills at once.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{attack_after_another, attack_with, crowd};
use crate::attacks::floods::{floods, say_and_read_nothing, stay_apart};
use crate::support::trials::{Outcome, is_slow};
use crate::support::{Answer, Hub, upgrade};

pub fn floods_of_frames() -> Outcome {
    // What a quarter of them says within its rates costs a build without optimisation too much.
    let (waves, count) = if is_slow() && !cfg!(debug_assertions) { (5, 100) } else { (1, 20) };
    attack_with(&["--shards", "1", "--flood-wait", "3s"], "", |hub| {
        (0..waves).for_each(|wave| floods(hub, 100 + wave * count, count));
    })
}

pub fn members_that_read_nothing() -> Outcome {
    let settings = ["--shards", "1", "--send-buffer-bytes", "4KiB"];
    attack_with(&settings, "", |hub| {
        let _honest: Vec<_> = (1..=21).map(|user| hub.join(1, user, "Ana")).collect();
        let mut silent = Vec::new();
        let until = Instant::now() + Duration::from_secs(if is_slow() { 30 } else { 8 });
        // They come back for as long as they are let in.
        while Instant::now() < until {
            silent.retain(|it: &std::thread::JoinHandle<()>| !it.is_finished());
            while silent.len() < 30 {
                silent.push(say_and_read_nothing(hub, 101 + silent.len() as i32));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

/// One that reads whatever comes, and how many bytes that were.
struct Reader {
    stream: TcpStream,
    bytes: u64,
}

impl Reader {
    /// Reads what is there.
    fn read(&mut self) {
        let mut some = [0; 1 << 16];
        loop {
            match self.stream.read(&mut some) {
                Ok(0) => panic!("it is not closed"),
                Ok(bytes) => self.bytes += bytes as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("it is not closed: {error}"),
            }
        }
    }
}

/// Longer than thousands need to come, one after the other, to a hub without optimisation.
const COME_MAX: Duration = Duration::from_secs(240);

/// Comes to the lobby as users of these numbers, and reads until `all` have `come`.
fn fill_lobby(hub: &Hub, users: Range<usize>, all: usize, come: &AtomicUsize) -> Vec<Reader> {
    stay_apart();
    let mut readers: Vec<Reader> = Vec::new();
    for user in users {
        let mut stream = hub.connect();
        let head = upgrade(&format!("/v1/ws/user-connection?user_id={user}"), "");
        stream.write_all(head.as_bytes()).expect("the hub reads");
        assert_eq!(Answer::read(&mut stream).status, 101);
        stream.set_nonblocking(true).expect("an option");
        readers.push(Reader { stream, bytes: 0 });
        come.fetch_add(1, Ordering::Relaxed);
        if user % 16 == 0 {
            readers.iter_mut().for_each(Reader::read);
        }
    }
    let begun = Instant::now();
    while come.load(Ordering::Relaxed) < all {
        readers.iter_mut().for_each(Reader::read);
        assert!(begun.elapsed() < COME_MAX, "{come:?} of {all} have come");
    }
    readers.iter_mut().for_each(Reader::read);
    readers
}

pub fn a_lobby_of_thousands() -> Outcome {
    attack_after_another(|hub| {
        let (all, threads, come) = (crowd(10_000), 4, &AtomicUsize::new(0));
        let readers: Vec<Reader> = std::thread::scope(|scope| {
            let part = |n: usize| 1 + n * all / threads..1 + (n + 1) * all / threads;
            let parts: Vec<_> = (0..threads)
                .map(|n| scope.spawn(move || fill_lobby(hub, part(n), all, come)))
                .collect();
            parts.into_iter().flat_map(|it| it.join().expect("nobody is closed")).collect()
        });
        assert!(hub.metric("hub_members") >= all as f64, "nobody is closed");
        let bytes: u64 = readers.iter().map(|reader| reader.bytes).sum();
        eprintln!("{all} users were told {bytes} bytes");
    })
}
