//! Members that cost much: floods, readers of nothing, a lobby that fills at once.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{attack, attack_with, crowd};
use crate::attacks::floods::{floods, say_and_read_nothing};
use crate::support::trials::{Outcome, is_slow};
use crate::support::{Answer, Hub, eventually, upgrade};

pub fn floods_of_frames() -> Outcome {
    // What a quarter of them says within its rates costs a build without optimisation too much.
    let count = if is_slow() && !cfg!(debug_assertions) { 100 } else { 20 };
    attack_with(&["--shards", "1", "--flood-wait", "3s"], "", |hub| floods(hub, count))
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

/// Comes to the lobby as users of these numbers, reads until all are there, and says how many bytes
/// came.
fn fill_lobby(hub: &Hub, users: std::ops::Range<usize>, all: usize) -> u64 {
    let mut readers: Vec<Reader> = Vec::new();
    for user in users {
        let mut stream = hub.connect();
        let head = upgrade(&format!("/v1/ws/user-connection?user_id={user}"), "");
        stream.write_all(head.as_bytes()).expect("the hub reads");
        assert_eq!(Answer::read(&mut stream).status, 101);
        stream.set_nonblocking(true).expect("an option");
        readers.push(Reader { stream, bytes: 0 });
        if user % 16 == 0 {
            readers.iter_mut().for_each(Reader::read);
        }
    }
    eventually("all are there", || {
        readers.iter_mut().for_each(Reader::read);
        (hub.metric("hub_members") >= all as f64).then_some(())
    });
    readers.iter_mut().for_each(Reader::read);
    readers.iter().map(|reader| reader.bytes).sum()
}

pub fn a_lobby_of_thousands() -> Outcome {
    attack("", |hub| {
        let (all, threads) = (crowd(10_000), 4);
        let bytes: u64 = std::thread::scope(|scope| {
            let part = |n: usize| 1 + n * all / threads..1 + (n + 1) * all / threads;
            let parts: Vec<_> =
                (0..threads).map(|n| scope.spawn(move || fill_lobby(hub, part(n), all))).collect();
            parts.into_iter().map(|it| it.join().expect("nobody is closed")).sum()
        });
        eprintln!("{all} users were told {bytes} bytes");
    })
}
