//! Checkpoints beside the thread that writes: what SQLite's log holds is moved into the database
//! file by a thread of its own, so that no batch waits for that.
//!
//! A log begins anew only when all of it is in the database, which never happens while somebody
//! goes on writing. So the writer moves the last bit itself, as soon as the thread has moved the
//! rest: that is little.

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{Builder, JoinHandle};

use rusqlite::{Connection, OpenFlags, Result};

use super::BUSY_WAIT;
use crate::faults::{Faults, Lives, panic_place};
use crate::metrics::Part;

/// Pages that a log holds before the thread begins: 16 MiB.
const BEGIN_PAGES: i32 = 4_096;
/// Pages by which the log has to grow before the thread is asked again.
const AGAIN_PAGES: i32 = 1_024;

/// The thread; it ends with this.
#[derive(Debug)]
pub(super) struct Checkpointing {
    thread: Option<JoinHandle<()>>,
}

impl Checkpointing {
    /// Has the log of the connection that writes be moved by a thread from now on.
    pub(super) fn start(
        writer: &mut Connection,
        database: &Path,
        faults: &Faults,
    ) -> io::Result<Checkpointing> {
        let (ask, asked) = mpsc::sync_channel(1);
        let (done, is_done) = mpsc::sync_channel(1);
        let (database, part) = (database.to_owned(), faults.watch("hub-checkpoint"));
        let lives = Lives::new(Part::Checkpoint, "hub-checkpoint", faults);
        let thread = Builder::new().name("hub-checkpoint".into()).spawn(move || {
            // A life that ends before it has answered is asked again when the log has grown.
            lives.live(|| run(&database, &asked, &done));
            part.ended();
        })?;
        let mut asking = Asking { ask, is_done, asked_at: None };
        let hook = move |wal: &mut rusqlite::hooks::Wal, pages: i32| {
            // What it returns would be the commit's outcome, and that is over.
            if asking.is_last_bit(pages) {
                _ = wal.checkpoint();
            }
            Ok(())
        };
        writer.wal_hook(Some(hook)).map_err(io::Error::other)?;
        Ok(Checkpointing { thread: Some(thread) })
    }

    /// Ends the thread: the connection that writes asks no more.
    pub(super) fn stop(&mut self, writer: &mut Connection) {
        let none: Option<fn(&mut rusqlite::hooks::Wal, i32) -> Result<()>> = None;
        if writer.wal_hook(none).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // A panic was told when it happened.
            _ = thread.join();
        }
    }
}

/// When the thread is asked, and when the rest is the writer's.
#[derive(Debug)]
struct Asking {
    ask: SyncSender<()>,
    is_done: Receiver<()>,
    /// Pages of the log when the thread was asked last, and it has not begun anew since.
    asked_at: Option<i32>,
}

impl Asking {
    /// A commit has made the log this long. Says whether the writer is to move what is left.
    fn is_last_bit(&mut self, pages: i32) -> bool {
        if self.asked_at.is_some_and(|asked| pages < asked) {
            self.asked_at = None;
        }
        let is_last_bit = self.is_done.try_recv().is_ok();
        let next = self.asked_at.map_or(BEGIN_PAGES, |asked| asked.saturating_add(AGAIN_PAGES));
        if !is_last_bit && pages >= next && self.ask.try_send(()).is_ok() {
            self.asked_at = Some(pages);
        }
        is_last_bit
    }
}

fn run(database: &Path, asked: &Receiver<()>, done: &SyncSender<()>) {
    let mut connection = None;
    while asked.recv().is_ok() {
        panic_place("hub-checkpoint");
        // What is wrong with the database shows where it is read and written.
        if let Err(error) = checkpoint(&mut connection, database) {
            tracing::debug!(%error, "the embedded database's log was not moved; later");
            connection = None;
        }
        if done.send(()).is_err() {
            return;
        }
    }
}

fn checkpoint(connection: &mut Option<Connection>, database: &Path) -> Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(open(database)?),
    };
    // One that finds another at work says so, and is no error.
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

fn open(database: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_is_asked_as_the_log_grows_and_the_writer_moves_the_last_bit() {
        let ((ask, asked), (done, is_done)) = (mpsc::sync_channel(1), mpsc::sync_channel(1));
        let mut asking = Asking { ask, is_done, asked_at: None };
        assert!(!asking.is_last_bit(BEGIN_PAGES - 1) && asked.try_recv().is_err());
        assert!(!asking.is_last_bit(BEGIN_PAGES) && asked.try_recv().is_ok());
        assert!(!asking.is_last_bit(BEGIN_PAGES + 100) && asked.try_recv().is_err());
        done.send(()).expect("it is asked");
        assert!(asking.is_last_bit(BEGIN_PAGES + 200));
        // A reader kept the log from beginning anew: later again, and not with each commit.
        assert!(!asking.is_last_bit(BEGIN_PAGES + 300) && asked.try_recv().is_err());
        assert!(!asking.is_last_bit(BEGIN_PAGES + AGAIN_PAGES) && asked.try_recv().is_ok());
        done.send(()).expect("it is asked");
        assert!(asking.is_last_bit(BEGIN_PAGES + AGAIN_PAGES + 1));
        // Now it has begun anew.
        assert!(!asking.is_last_bit(3) && asked.try_recv().is_err());
        assert!(!asking.is_last_bit(BEGIN_PAGES) && asked.try_recv().is_ok());
    }
}
