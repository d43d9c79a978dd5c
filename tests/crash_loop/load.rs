//! The load: spaces with talkers, a listener, a reader of events, one of what is compressed and a
//! poster each, who go on through kills.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::book::{Id, Receiver, Sender};
use super::poster::Poster;
use super::reader::{read_deflated, read_events};
use super::talker::{Talker, listen};
use crate::support::Hub;

const SPACES: i32 = 3;
const TALKERS: i32 = 2;
const POST_INTERVAL: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(20);
const HURRY: &str = "no client has panicked";

/// What all clients have counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages sent, those sent again once.
    pub sent: AtomicU64,
    /// Accepted, as told; what was told twice twice.
    pub accepted: AtomicU64,
    /// Refused, as told.
    pub refused: AtomicU64,
    /// Chats received by members.
    pub received: AtomicU64,
    /// Resumes that missed nothing.
    pub resumes: AtomicU64,
    /// Resumes that the hub itself called incomplete, its store being away.
    pub resumes_incomplete: AtomicU64,
    /// Resumes that the hub called incomplete though its store was there.
    pub resumes_broken: AtomicU64,
}

/// What clients and the test share.
#[derive(Debug, Default)]
pub struct Shared {
    port: AtomicU16,
    run: AtomicU32,
    connections: AtomicUsize,
    store_away: AtomicBool,
    finishing: AtomicBool,
    stopped: AtomicBool,
    counts: Counts,
    durable: Mutex<Vec<Id>>,
    settled: Mutex<HashSet<String>>,
}

impl Shared {
    /// The time.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// The hub's run, counted by the test.
    pub fn run(&self) -> u32 {
        self.run.load(Ordering::SeqCst)
    }

    /// Whether nothing new is to be sent.
    pub fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::SeqCst)
    }

    /// Whether clients are to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Whether the store may be out of the hub's reach.
    pub fn is_store_away(&self) -> bool {
        self.store_away.load(Ordering::SeqCst)
    }

    /// Counts one.
    pub fn count(&self, which: fn(&Counts) -> &AtomicU64) {
        which(&self.counts).fetch_add(1, Ordering::Relaxed);
    }

    /// A resume has ended; says whether that was as it should. The store may have been away when it
    /// began.
    pub fn note_resume(&self, complete: bool, began_away: bool) -> bool {
        let away = began_away || self.is_store_away();
        self.count(match (complete, away) {
            (true, _) => |counts| &counts.resumes,
            (false, true) => |counts| &counts.resumes_incomplete,
            (false, false) => |counts| &counts.resumes_broken,
        });
        complete || away
    }

    /// A commit was told.
    pub fn durable(&self, id: Id) {
        self.durable.lock().expect(HURRY).push(id);
    }

    /// A sender says whether all that it has sent was answered.
    pub fn settle(&self, name: &str, settled: bool) {
        if self.is_finishing() {
            let mut all = self.settled.lock().expect(HURRY);
            if settled {
                all.insert(name.into())
            } else {
                all.remove(name)
            };
        }
    }

    /// Does something over a connection to the hub; the test knows how many there are.
    pub fn connected<T>(&self, talk: impl FnOnce(SocketAddr) -> T) -> T {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let port = self.port.load(Ordering::SeqCst);
        let outcome = talk(SocketAddr::from(([127, 0, 0, 1], port)));
        self.connections.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    /// Waits a little before the next try.
    pub fn pause(&self) {
        self.wait(PAUSE);
    }

    /// Waits this long; a client's pace.
    pub fn wait(&self, time: Duration) {
        let until = self.now() + time;
        while let Some(left) = until.checked_duration_since(self.now()).filter(|it| !it.is_zero()) {
            std::thread::park_timeout(left);
        }
    }
}

/// Clients on a hub.
pub struct Load {
    shared: Arc<Shared>,
    talkers: Vec<JoinHandle<(Sender, Receiver)>>,
    posters: Vec<JoinHandle<Sender>>,
    listeners: Vec<JoinHandle<Receiver>>,
    durable_checked: usize,
}

impl Load {
    /// Begins, with this many messages a second over all sockets.
    pub fn start(hub: &Hub, rate: u64) -> Load {
        let shared = Arc::new(Shared::default());
        let mut load = Load {
            shared: Arc::clone(&shared),
            talkers: Vec::new(),
            posters: Vec::new(),
            listeners: Vec::new(),
            durable_checked: 0,
        };
        load.moved_to(hub);
        let talkers = u32::try_from(SPACES * TALKERS).expect("a few");
        let interval = Duration::from_secs(u64::from(talkers)).div_f64(rate.max(1) as f64);
        for space in 1..=SPACES {
            for user in 1..=TALKERS {
                let talker = Talker::new(Arc::clone(&shared), (space, user), interval);
                load.talkers.push(std::thread::spawn(move || talker.run()));
            }
            let poster = Poster::new(Arc::clone(&shared), (space, 50), POST_INTERVAL);
            load.posters.push(std::thread::spawn(move || poster.run()));
            let shared = Arc::clone(&shared);
            let (reading, inflating) = (Arc::clone(&shared), Arc::clone(&shared));
            load.listeners.push(std::thread::spawn(move || listen(&shared, space)));
            load.listeners.push(std::thread::spawn(move || read_events(&reading, space)));
            load.listeners.push(std::thread::spawn(move || read_deflated(&inflating, space)));
        }
        load
    }

    /// The hub runs, perhaps anew and at another address.
    pub fn moved_to(&self, hub: &Hub) {
        self.shared.run.fetch_add(1, Ordering::SeqCst);
        self.shared.port.store(hub.address.port(), Ordering::SeqCst);
    }

    /// The hub's run now, as messages count it.
    pub fn run(&self) -> u32 {
        self.shared.run()
    }

    /// The store goes away, or the hub can reach it.
    pub fn store_is_away(&self, away: bool) {
        self.shared.store_away.store(away, Ordering::SeqCst);
    }

    /// A count so far.
    pub fn counted(&self, which: fn(&Counts) -> &AtomicU64) -> u64 {
        which(&self.shared.counts).load(Ordering::Relaxed)
    }

    /// Waits until this many more were accepted.
    pub fn accept(&self, more: u64) {
        let until = self.counted(|counts| &counts.accepted) + more;
        settled("the load goes on", || self.counted(|counts| &counts.accepted) >= until);
    }

    /// Waits until all clients have read their connections to the end: the hub is gone.
    pub fn disconnected(&self) {
        let none = || self.shared.connections.load(Ordering::SeqCst) == 0;
        settled("clients see the end", none);
    }

    /// The ids told as durable since this was last asked.
    pub fn durable_news(&mut self) -> Vec<Id> {
        let durable = self.shared.durable.lock().expect(HURRY);
        let news = durable[self.durable_checked..].to_vec();
        self.durable_checked = durable.len();
        news
    }

    /// Sends nothing new, and waits until everything is answered.
    pub fn settle(&self) {
        self.shared.finishing.store(true, Ordering::SeqCst);
        let senders = self.talkers.len() + self.posters.len();
        let answered = || self.shared.settled.lock().expect(HURRY).len() == senders;
        settled("everything is answered", answered);
    }

    /// Ends it; what its clients have written down.
    pub fn stop(self) -> (Vec<Sender>, Vec<Receiver>) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for talker in self.talkers {
            let (sender, receiver) = talker.join().expect("no panic");
            senders.push(sender);
            receivers.push(receiver);
        }
        senders.extend(self.posters.into_iter().map(|it| it.join().expect("no panic")));
        receivers.extend(self.listeners.into_iter().map(|it| it.join().expect("no panic")));
        (senders, receivers)
    }
}

/// Asks now and then until it is so; how long that took.
pub fn settled(what: &str, is_so: impl Fn() -> bool) -> Duration {
    const PATIENCE: Duration = Duration::from_secs(90);
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    begun.elapsed()
}
