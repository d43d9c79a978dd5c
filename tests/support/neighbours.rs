//! Healthy neighbours of a fault: in two spaces somebody speaks and somebody listens, and what
//! they notice of it is told: a message that is missing, doubled or out of order, and how long
//! echoes took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::figures::figure;
use super::{Client, Hub};

/// Between an echo and the next message: within the default rates.
const PAUSE: Duration = Duration::from_millis(40);
/// Users of these numbers and the next ones.
const USERS: i32 = 900_000;
const LAST: &str = "fin";

/// They go on until they are [settled](Neighbours::settle).
pub struct Neighbours {
    is_over: Arc<AtomicBool>,
    speakers: Vec<JoinHandle<Vec<Duration>>>,
    listeners: Vec<JoinHandle<Vec<usize>>>,
}

/// What they noticed.
#[derive(Clone, Debug)]
pub struct Noticed {
    pub messages: usize,
    pub p99: Duration,
    pub slowest: Duration,
}

impl Neighbours {
    /// They speak and listen in these spaces from here on, over plain connections to the hub.
    pub fn of(hub: &Hub, spaces: [i32; 2]) -> Neighbours {
        let is_over = Arc::new(AtomicBool::new(false));
        let (mut speakers, mut listeners) = (Vec::new(), Vec::new());
        for (user, space) in (USERS..).step_by(2).zip(spaces) {
            let mut listener = hub.join_v1(space, user + 1, "");
            listener.next_of("join");
            listeners.push(std::thread::spawn(move || listen(listener, user)));
            let speaker = hub.join_v1(space, user, "");
            let own = Arc::clone(&is_over);
            speakers.push(std::thread::spawn(move || speak(speaker, user, &own)));
        }
        Neighbours { is_over, speakers, listeners }
    }

    /// Ends them; nobody has missed anything, or seen it twice or out of order. Their figures are
    /// told for these rows.
    pub fn settle(mut self, rows: &[u32]) -> Noticed {
        self.is_over.store(true, Ordering::SeqCst);
        let (mut took, mut gaps, mut doubles) = (Vec::new(), 0, 0);
        for (speaker, listener) in self.speakers.drain(..).zip(self.listeners.drain(..)) {
            let said = speaker.join().expect("the speaker is never closed");
            let heard = listener.join().expect("the listener is never closed");
            gaps += (0..said.len()).filter(|number| !heard.contains(number)).count();
            doubles += heard.len() - (said.len() - gaps);
            assert!(heard.is_sorted(), "out of order: {heard:?}");
            took.extend(said);
        }
        took.sort_unstable();
        let (p99, slowest) = (took[took.len() * 99 / 100], took[took.len() - 1]);
        for row in rows {
            figure(*row, "neighbour_messages", took.len(), "");
            figure(*row, "neighbour_gaps", gaps, 0);
            figure(*row, "neighbour_doubles", doubles, 0);
            figure(*row, "neighbour_ms_p99", p99.as_millis(), "");
            figure(*row, "neighbour_ms_max", slowest.as_millis(), "");
        }
        assert_eq!((gaps, doubles), (0, 0), "neighbours see everything once");
        Noticed { messages: took.len(), p99, slowest }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

/// Says a number after the other, each when the one before has come back; how long that took.
fn speak(mut client: Client, user: i32, is_over: &AtomicBool) -> Vec<Duration> {
    let mut took = Vec::new();
    loop {
        let is_last = is_over.load(Ordering::SeqCst) && took.len() >= 10;
        let content = match is_last {
            true => format!("{user}:{LAST}"),
            false => format!("{user}:{}", took.len()),
        };
        let begun = Instant::now();
        client.chat(&content);
        while client.next_of("chat")["data"]["content"] != content {}
        if is_last {
            return took;
        }
        took.push(begun.elapsed());
        std::thread::sleep(PAUSE);
    }
}

/// The numbers that are heard of a speaker, in their order.
fn listen(mut client: Client, speaker: i32) -> Vec<usize> {
    let mut heard = Vec::new();
    loop {
        let chat = client.next_of("chat");
        let content = chat["data"]["content"].as_str().expect("a text");
        match content.strip_prefix(&format!("{speaker}:")) {
            Some(LAST) => return heard,
            Some(number) => heard.push(number.parse().expect("a number")),
            None => {}
        }
    }
}
