//! The store: what was accepted goes through a journal into a sink, and is read as history.
//!
//! Here live what a store is opened with, how it starts and how it stops; the ways in are
//! [`open_sqlite`] and [`open_postgres`], and the parts have a file each.
//! The store owns the data directory. It never decides what is accepted, and no part of it but
//! [`journal::Writer`] is ever on a shard's thread.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::faults::{Faults, Lives, is_passing};
use crate::limits::Limits;
use crate::limits::QUERY_MAX;
use crate::metrics::Part;
use crate::shard::event::Verdict;
use crate::telemetry::Traces;
use crate::wire::Id;
use crate::wire::nonce::First;

pub use batcher::batch::{Batch, BatchLimits, Origin};
pub use batcher::{NonceLimits, RetryWait, Unstored};
pub use data_dir::holes::{Count, Missing, acknowledge, missing};
pub(crate) use data_dir::private::openness as data_dir_openness;
pub use dead_letters::file::{Letter, Letters};
pub(crate) use dead_letters::newest::Newest as NewestLetters;
pub use dead_letters::retry::{Retried, retry};
pub use journal::{JournalId, JournalLimits};
pub use open::{open_postgres, open_sqlite};
pub use postgres::copy;
pub use postgres::{DatabaseUrl, PostgresSink};
pub use query::{
    Existing, Page, PageOrder, PageQuery, Range, RangeQuery, ReadFault, StoredMessage,
};
pub use reader::Reader;
pub use search::{BadTerms, Found, SearchQuery, Terms};
pub use sink::Sink;
pub use sqlite::backup::{BackedUp, BackupError, backup};
pub use sqlite::look::stored_positions;
pub use sqlite::{DATABASE_FILE, SqliteSink};
pub use upgrade::upgrade;

pub(crate) use batcher::Published;
use batcher::{
    Anew, Batcher, DeadRows, Ends, JournalSources, NonceFiles, Reopen, Retrials, Stop, Truth,
};
use care::copies::Copies;
pub(crate) use care::{Care, NotDone, Shown as CopiesShown};
use data_dir::strayed::{Watch, WatchPlan};
use dead_letters::tally::Tally;
use journal::{Journals, Opened, Writer};
use latest::Latest;
use migrate::MigrateError;
pub use offset::OtherOffset;
use reader::Readers;
use recent::Recent;
use runtime::OwnRuntime;
use sink::SinkError;
use sqlite::check::Checking;

mod batcher;
mod care;
mod data_dir;
mod dead_letters;
mod files;
pub(crate) use files::replace as replace_file;
pub(crate) mod journal;
pub(crate) mod latest;
pub(crate) mod migrate;
mod offset;
mod open;
pub(crate) mod postgres;
mod query;
mod readable;
mod reader;
mod recent;
mod runtime;
mod search;
mod sink;
pub(crate) mod sqlite;
mod turns;
mod upgrade;

#[cfg(test)]
mod tests;

/// What the sink is doing, for `/readyz`, logs and people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreState {
    /// Not yet reached since the start.
    Connecting,
    /// Committing.
    Ready,
    /// Committing, with a backlog of more than a few seconds, or failing and trying again.
    Behind,
    /// Refused for a reason that waiting does not mend.
    Refused,
}

/// How far ahead of the clock an id may be that is believed.
const DAY_MS: i64 = 86_400_000;
/// What a record is longer than its texts, rounded up; a test holds it against the record.
const RECORD_BYTES_BESIDE_TEXT: usize = 64;

/// What a store is opened with.
#[derive(Clone)]
pub struct StoreConfig {
    /// Where journals, database and dead letters are; made if it is not there.
    pub data_dir: PathBuf,
    /// One journal for each.
    pub shards: usize,
    /// The journals' bounds.
    pub journal: JournalLimits,
    /// The batches' bounds.
    pub batch: BatchLimits,
    /// How long after a batch rows wait that nobody waits for, in milliseconds.
    pub batch_linger: u64,
    /// What is kept of nonces.
    pub nonces: NonceLimits,
    /// The most that dead letters may take on the disk, in bytes.
    pub letters_bytes_max: u64,
    /// How long to wait after failures.
    pub retry: RetryWait,
    /// The longest that a history query may run, in milliseconds.
    pub query_max: u64,
    /// Longer pictures are left out of ranges, as they are when fanned out (docs/WIRE.md B21).
    pub image_bytes_max: usize,
    /// The fixed offset of stored times, in seconds east of UTC.
    pub utc_offset: i32,
    /// Tells the time.
    pub clock: Clock,
    /// Where the store counts, says what is wrong, and tells what nothing mends, its own threads'
    /// ends included.
    pub faults: Faults,
    /// Whether journals that were made for another store are to be stored in this one.
    pub take_journals: bool,
    /// Whether what was said is to be found by its words, for which the store keeps an index.
    pub search: bool,
    /// Where batches are traced.
    pub traces: Traces,
}

impl StoreConfig {
    /// From the hub's bounds; the longest record is what they let in.
    pub fn new(
        data_dir: PathBuf,
        shards: usize,
        limits: &Limits,
        clock: Clock,
        faults: Faults,
    ) -> StoreConfig {
        // A character takes four bytes at most.
        let text_bytes_max = 4 * (limits.content_chars_max + limits.username_chars_max);
        StoreConfig {
            data_dir,
            shards,
            journal: JournalLimits {
                bytes_max: limits.journal_bytes_max,
                record_bytes_max: RECORD_BYTES_BESIDE_TEXT + text_bytes_max,
                flush_period: Some(limits.sync_period),
                nonces_max: limits.nonces_max,
            },
            batch: BatchLimits {
                rows_max: limits.batch_rows_max,
                bytes_max: limits.batch_bytes_max,
                wait: limits.batch_wait,
            },
            batch_linger: limits.batch_linger,
            nonces: NonceLimits { max: limits.nonces_max, window: limits.nonce_window },
            letters_bytes_max: limits.dead_letters_bytes_max,
            retry: RetryWait::default(),
            query_max: QUERY_MAX,
            image_bytes_max: limits.image_bytes_max,
            utc_offset: limits.utc_offset,
            clock,
            faults,
            take_journals: false,
            search: false,
            traces: Traces::default(),
        }
    }
}

/// Why a store can't be opened; each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journals can't be.
    #[error(transparent)]
    Journal(#[from] journal::JournalOpenError),
    /// The database can't be, or its schema does not fit.
    #[error("{}: {error}", path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        error: MigrateError,
    },
    /// The database is no sound one.
    #[error(
        "{}: is damaged: {what}; put a backup in its place (docs/BACKUP.md), and no -wal file \
         beside it",
        path.display()
    )]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Its ids can't be read.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The journals hold what waits for another store.
    #[error(
        "{}: {waiting} for {old}, not for {new}: {way_back}, or say --take-journals to store them \
         in the new one",
        data_dir.display()
    )]
    Bound {
        /// The data directory.
        data_dir: PathBuf,
        /// How many messages.
        waiting: String,
        /// What they were accepted for.
        old: String,
        /// What was configured.
        new: String,
        /// How they come to where they belong.
        way_back: &'static str,
    },
    /// The store's times are of another offset.
    #[error("{0}")]
    Offset(OtherOffset),
    /// A directory or a thread can't be made.
    #[error("{}: {error}", path.display())]
    Io {
        /// The data directory.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

impl OpenError {
    /// Whether something was short that may be there at the next start.
    pub fn is_passing(&self) -> bool {
        match self {
            OpenError::Io { error, .. } => is_passing(error),
            OpenError::Journal(journal::JournalOpenError::Io { error, .. }) => is_passing(error),
            OpenError::Journal(_)
            | OpenError::Database { .. }
            | OpenError::Damaged { .. }
            | OpenError::Sink(_)
            | OpenError::Offset(_)
            | OpenError::Bound { .. } => false,
        }
    }
}

/// A store that is open.
#[derive(Debug)]
pub struct Store {
    /// One a shard, in order; each goes to its shard's thread.
    pub writers: Vec<Writer>,
    /// How far each shard's journal is stored, as an offset that `Writer::append` returns; `None`:
    /// what earlier runs have left is not stored yet.
    pub committed: Vec<Arc<Latest<Option<u64>>>>,
    /// All new ids must be above this one.
    pub highest: Id,
    /// What earlier runs have published once, oldest first.
    pub published: Vec<First>,
    /// The same at any later time.
    pub(crate) remembered: Published,
    /// One a shard: what it is told of rows that the sink refuses, before they count as committed.
    pub verdicts: Vec<mpsc::Receiver<Verdict>>,
    /// For the edge.
    pub reader: Reader,
    /// For operators.
    pub(crate) care: Care,
    /// What the sink is doing.
    pub state: watch::Receiver<StoreState>,
    /// Ends it all.
    pub handle: StoreHandle,
}

/// The store's threads; they end at [`stop`](StoreHandle::stop).
#[derive(Debug)]
pub struct StoreHandle {
    stop: oneshot::Sender<Stop>,
    batcher: JoinHandle<()>,
    /// Dropped once nothing reads the store any more.
    reading: oneshot::Sender<()>,
    readers: Readers,
    journals: Journals,
    watch: Watch,
    checking: Option<Checking>,
    copies: Option<Copies>,
}

impl StoreHandle {
    /// Stores what the journals hold, within `wait`; then ends the store's threads and gives the
    /// data directory free. Shards should have ended: what they append now is not stored before
    /// the next start. `None`: the batcher had ended before its time, which was told as a fault;
    /// journals keep what it has not stored.
    pub async fn stop(self, wait: Duration) -> Option<Unstored> {
        let (answer, answered) = oneshot::channel();
        let _ = self.stop.send(Stop { wait, answer });
        let left = answered.await.ok();
        // With its last connection a database's log goes, as it should.
        self.watch.stop();
        if let Some(checking) = self.checking {
            checking.stop();
        }
        if let Some(copies) = self.copies {
            copies.stop();
        }
        self.readers.stop().await;
        drop(self.reading);
        // A panic was told when it happened.
        let _ = self.batcher.join();
        self.journals.stop();
        left
    }
}

/// What a store is put together from, whatever its sink.
struct Parts<S> {
    opened: Opened,
    sink: S,
    truth: Truth,
    readers: Readers,
    nonces: NonceFiles,
    published: Vec<First>,
    /// Opens the sink once more, after a panic.
    reopen: Reopen<S>,
    seed: u64,
    /// The embedded database's file.
    database: Option<PathBuf>,
}

fn start<S: Sink + Send + 'static>(config: &StoreConfig, parts: Parts<S>) -> io::Result<Store> {
    let Parts { sink, truth, mut readers, nonces, published, reopen, .. } = parts;
    let Opened { writers, own, found, highest, journals, door } = parts.opened;
    let embedded = parts.database.is_some();
    let copies = embedded.then(|| Copies::start(config)).transpose()?;
    let watch = Watch::start(WatchPlan {
        data_dir: config.data_dir.clone(),
        journals: own.iter().map(journal::Tail::journal).collect(),
        database: parts.database,
        door,
        faults: config.faults.clone(),
        holes: truth.holes.clone(),
        letters: Tally::new(&config.data_dir, config.letters_bytes_max, config.faults.clone()),
    })?;
    let remembered = Published::new(config, &found, &own);
    let (shown, state) = watch::channel(StoreState::Connecting);
    let committed: Vec<_> = own.iter().map(|_| Arc::new(Latest::new())).collect();
    readers.reader.waits_for(Recent::new(&own, &committed, state.clone()));
    let mut sources = JournalSources::new(found, own);
    sources.show_to(&committed);
    sources.leave_elsewhere(truth.bound.elsewhere());
    let (dead, verdicts) = DeadRows::new(config);
    let anew = Anew {
        config: config.clone(),
        reopen,
        published: remembered.clone(),
        shown: committed.clone(),
        dead: dead.beside(config),
        holes: truth.holes.clone(),
        state: shown.clone(),
    };
    let ends = Ends { sink, sources, nonces, dead, truth, state: shown };
    // Made here the first time, since that may fail.
    let first = (OwnRuntime::new()?, ends);
    let (stop, stopped) = oneshot::channel();
    let (reading, unread) = oneshot::channel();
    let (retrials, asked) = mpsc::channel(1);
    let orders = copies.as_ref().map(Copies::orders);
    let care = Care::new(config.data_dir.clone(), retrials, orders);
    let (thread, seed) = (Builder::new().name("hub-store".into()), parts.seed);
    let batcher = thread.spawn(move || batch(first, anew, seed, (stopped, unread, asked)))?;
    let reader = readers.reader.clone();
    let checking = None;
    let handle = StoreHandle { stop, batcher, reading, readers, journals, watch, checking, copies };
    Ok(Store {
        writers,
        committed,
        highest,
        published,
        remembered,
        verdicts,
        reader,
        care,
        state,
        handle,
    })
}

/// The store's thread: lives of the batcher, each from its beginning, until it is told to stop.
fn batch<S: Sink>(
    first: (OwnRuntime, Ends<S>),
    mut anew: Anew<S>,
    seed: u64,
    (mut stopped, unread, mut asked): (oneshot::Receiver<Stop>, oneshot::Receiver<()>, Retrials),
) {
    let (config, mut first) = (anew.config.clone(), Some(first));
    let part = config.faults.watch("hub-store");
    let lives = Lives::new(Part::Store, "hub-store", &config.faults);
    let ended = lives.live(|| {
        if stopped.is_terminated() {
            return Err(io::Error::other("it panicked while it stored the rest"));
        }
        let (runtime, ends) = match first.take() {
            Some(first) => first,
            None => (OwnRuntime::new()?, anew.ends()?),
        };
        let batcher = Batcher::new(&config, ends, seed);
        let sink = runtime.block_on(batcher.run(&mut stopped, &mut asked));
        io::Result::Ok((runtime, sink))
    });
    part.ended_with(&ended);
    drop(anew);
    // The last connection to an embedded database puts its log into it.
    if let Ok((runtime, sink)) = ended {
        let _ = runtime.block_on(unread);
        drop(sink);
    }
}
