//! A link to PostgreSQL that loses commits, in each of the ways in which they can be lost.
//!
//! Bytes pass as they are; only the `COMMIT` behind a writer's rows is looked for. One in three is
//! cut: before the server has it, after its answer (the connection ends in order, or by a reset),
//! or so that the server gets it only once its successor asks what became of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::eventually;
use super::gate::find;
use super::{Connection, Fate, Link, Watcher, Way};

/// Its connections end when it is dropped.
pub struct LostCommits {
    link: Link,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    commits: AtomicUsize,
    cuts: AtomicUsize,
    resets: AtomicUsize,
    /// How often positions were asked for.
    asked: AtomicUsize,
}

impl LostCommits {
    /// Starts one before a server's socket.
    pub fn start(server: &Path) -> LostCommits {
        let counts = Arc::new(Counts::default());
        let own = Arc::clone(&counts);
        let watch = move || {
            let counts = Arc::clone(&own);
            Arc::new(Writer { counts, ..Writer::default() }) as Arc<dyn Watcher>
        };
        LostCommits { link: Link::watched(server, Some(Box::new(watch))), counts }
    }

    /// The address of the database `hub` behind it.
    pub fn url(&self) -> String {
        self.link.database_url()
    }

    /// How many commits were cut so far.
    pub fn cuts(&self) -> usize {
        self.counts.cuts.load(Ordering::SeqCst)
    }

    /// How many of them by a reset between the commit and its answer.
    pub fn resets(&self) -> usize {
        self.counts.resets.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
struct Writer {
    counts: Arc<Counts>,
    copied: AtomicBool,
    /// Whether the next answer is lost, and whether by a reset.
    is_mute: AtomicBool,
    resets: AtomicBool,
}

impl Writer {
    /// From the client to the server.
    fn question(&self, connection: &Connection, bytes: Vec<u8>) -> bool {
        // What only asks has a transaction too.
        if find(&bytes, b"PGCOPY\n") {
            self.copied.store(true, Ordering::SeqCst);
        }
        if find(&bytes, b"INSERT INTO hub_positions") {
            self.counts.asked.fetch_add(1, Ordering::SeqCst);
        }
        if !find(&bytes, b"COMMIT\0") || !self.copied.swap(false, Ordering::SeqCst) {
            connection.pass(Way::ToServer, bytes);
            return true;
        }
        let number = self.counts.commits.fetch_add(1, Ordering::SeqCst);
        let cut = matches!(number % 12, 3 | 6 | 8 | 10);
        self.counts.cuts.fetch_add(usize::from(cut), Ordering::SeqCst);
        match number % 12 {
            3 => return false,
            6 => self.is_mute.store(true, Ordering::SeqCst),
            8 => {
                self.is_mute.store(true, Ordering::SeqCst);
                let asked = self.counts.asked.load(Ordering::SeqCst);
                connection.end_client();
                eventually("positions are asked for", || {
                    (self.counts.asked.load(Ordering::SeqCst) > asked).then_some(())
                });
            }
            10 => {
                self.resets.store(true, Ordering::SeqCst);
                self.is_mute.store(true, Ordering::SeqCst);
            }
            _ => {}
        }
        connection.pass(Way::ToServer, bytes);
        true
    }
}

impl Watcher for Writer {
    fn sees(&self, connection: &Connection, way: Way, bytes: Vec<u8>) -> bool {
        if way == Way::ToServer {
            return self.question(connection, bytes);
        }
        if !self.is_mute.load(Ordering::SeqCst) {
            connection.pass(Way::ToClient, bytes);
            return true;
        }
        if self.resets.load(Ordering::SeqCst) {
            self.counts.resets.fetch_add(1, Ordering::SeqCst);
            connection.end(Fate::Reset);
            return true;
        }
        false
    }
}
