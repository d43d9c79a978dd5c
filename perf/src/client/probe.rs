//! Somebody who asks for one page again and again while a server is under load: a thread with one
//! plain connection for each question, counted from when the question was due.
//!
//! What could not be asked in time, because the answer before was late, counts from when it was
//! due too: nobody who would have waited is left out.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::engine::micros;
use super::http;
use crate::measure::marks::histogram;

/// Longer than anybody waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// A thread that asks.
#[derive(Debug)]
pub struct Probe {
    over: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Probed>>,
}

/// What it was answered.
#[derive(Debug)]
pub struct Probed {
    /// From when a question was due to the whole answer.
    pub latency_us: Histogram<u64>,
    /// How many answers of each status; 0: none came.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers 429 and 503 that don't say when to come again.
    pub without_hint: u64,
}

impl Probe {
    /// Begins to ask for a path, once in each `every`.
    pub fn begin(address: SocketAddr, path: &str, every: Duration) -> io::Result<Probe> {
        let over = Arc::new(AtomicBool::new(false));
        let host = address.to_string();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (seen, mut probed) = (Arc::clone(&over), Probed::new()?);
        let thread = thread::spawn(move || {
            let mut due = Instant::now();
            while !seen.load(Ordering::Relaxed) {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let answer = ask(address, request.as_bytes());
                probed.enter(answer.ok(), due.elapsed());
                due += every;
            }
            Ok(probed)
        });
        Ok(Probe { over, thread })
    }

    /// Ends it.
    pub fn end(self) -> io::Result<Probed> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the probe panicked")))
    }
}

impl Probed {
    fn new() -> io::Result<Probed> {
        Ok(Probed { latency_us: histogram()?, statuses: BTreeMap::new(), without_hint: 0 })
    }

    fn enter(&mut self, answer: Option<http::Answer>, took: Duration) {
        self.latency_us.saturating_record(micros(took));
        let status = answer.map_or(0, |answer| answer.status);
        *self.statuses.entry(status).or_default() += 1;
        let is_hinted = answer.is_none_or(|answer| answer.retry_after_s.is_some());
        self.without_hint += u64::from(matches!(status, 429 | 503) && !is_hinted);
    }

    /// How many answers of each status, as `200:812 503:3`; `none`: there was no answer.
    pub fn told(&self) -> String {
        told(&self.statuses)
    }
}

/// Counts by status, as a text.
pub fn told(statuses: &BTreeMap<u16, u64>) -> String {
    let each = statuses.iter().map(|(status, count)| match status {
        0 => format!("none:{count}"),
        status => format!("{status}:{count}"),
    });
    each.collect::<Vec<_>>().join(" ")
}

fn ask(address: SocketAddr, request: &[u8]) -> io::Result<http::Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut input = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        if let Some(answer) = http::answer(&input) {
            return answer.map_err(io::Error::other);
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => input.extend_from_slice(&chunk[..count]),
        }
    }
}
