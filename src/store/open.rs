//! Opening a store: the journals are taken first, because they hold the lock on the directory;
//! then what their records end in; and only when that is open are new journals begun.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::batcher::{NonceFiles, Reopen, Truth};
use super::data_dir::bound::{Relation, Remembered, Target};
use super::data_dir::holes::Holes;
use super::data_dir::private;
use super::data_dir::served::{Offsets, has_ended};
use super::data_dir::trimmed::Trimmed;
use super::journal::{self, TakenJournals};
use super::postgres::{self, DatabaseUrl, Node, PostgresSink, Search, name_of};
use super::reader::{ReadPlan, Readers};
use super::sink::{Sink, SinkError};
use super::sqlite::check::{self, Checking, Due};
use super::sqlite::look::stored_name;
use super::sqlite::{self, SqliteSink};
use super::{DAY_MS, OpenError, Parts, Store, StoreConfig, start};
use crate::conditions::Condition;
use crate::wire::Id;

const READ_CONNECTIONS: usize = 2;
/// How long a start waits for a database that it can do without for now.
const FIRST_TRY_MAX: Duration = Duration::from_secs(2);
/// Between two looks whether another hub still serves the database.
const CLAIM_POLL: Duration = Duration::from_millis(500);
/// Between two tries to reach a database for the first time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How long a start asks a database that its journals belong to for its name.
const ASK_MAX: Duration = Duration::from_secs(1);

/// Takes the journals, opens a SQLite database beside them, then begins this run's journals.
/// `random` names them and seeds waits.
pub fn open_sqlite(config: &StoreConfig, random: u128) -> Result<Store, OpenError> {
    let io = |error| OpenError::Io { path: config.data_dir.clone(), error };
    let taken = take_journals(config)?;
    let path = config.data_dir.join(sqlite::DATABASE_FILE);
    let due = check::due(&path, has_ended(&config.data_dir));
    if let Some(what) = check::damage_before(&path, due) {
        return Err(OpenError::Damaged { path, what });
    }
    let mut remembered = Remembered::read(&config.data_dir).map_err(io)?;
    let mut target =
        Target { database: sqlite::DATABASE_FILE.into(), store: stored_name(&config.data_dir) };
    // Checked before a database is made, so that a start that is refused leaves none.
    let parted = match remembered.relation(&target) {
        Relation::Other => {
            let mut found = taken.tails(&config.faults);
            Some(remembered.part_with(&mut found, &target, config.take_journals)?)
        }
        _ => None,
    };
    let mut sink = SqliteSink::open(&path, config.utc_offset)
        .map_err(|error| OpenError::Database { path: path.clone(), error })?;
    if let Some(other) = sink.other_offset(config.utc_offset)? {
        return Err(OpenError::Offset(other));
    }
    sink.checkpoint_beside(&path, &config.faults).map_err(io)?;
    if config.search {
        sink.index_words(&path, &config.faults).map_err(io)?;
    }
    target.store = Some(sink.name()?);
    let highest = taken.highest.max(sink.highest(id_limit(config))?);
    let (truth, highest) = bind(config, remembered, target, parted, highest).map_err(io)?;
    let readers = sqlite::start_reader(&path, &read_plan(config), READ_CONNECTIONS).map_err(io)?;
    let checking = match due {
        Due::Beside => Some(Checking::start(&path, &config.faults).map_err(io)?),
        Due::First | Due::Never => None,
    };
    let reopen = reopen_sqlite(path.clone(), config)
        .map_err(|error| OpenError::Database { path: path.clone(), error: error.into() })?;
    let ready = ReadyParts { taken, highest, sink, reopen, truth, readers, database: Some(path) };
    let mut store = begin(config, ready, random)?;
    store.handle.checking = checking;
    Ok(store)
}

/// Takes the journals, for a PostgreSQL database. A data directory that has served this database
/// before opens at once, whether the database is there or not; a new one waits for it, and says
/// in the log what for. May be dropped while it waits: nothing was begun.
pub async fn open_postgres(
    config: &StoreConfig,
    url: &DatabaseUrl,
    random: u128,
) -> Result<Store, OpenError> {
    let io = |error| OpenError::Io { path: config.data_dir.clone(), error };
    let taken = take_journals(config)?;
    let mut remembered = Remembered::read(&config.data_dir).map_err(io)?;
    let (mut target, relation) = meet(config, url, &remembered).await;
    let parted = match relation {
        Relation::Other => {
            let mut found = taken.tails(&config.faults);
            Some(remembered.part_with(&mut found, &target, config.take_journals)?)
        }
        _ => None,
    };
    let (clock, faults) = (config.clock.clone(), config.faults.clone());
    let node = Node::new(&config.data_dir, random, clock, faults).map_err(io)?;
    let (claim, database, utc_offset) = (node.clone(), url.clone(), config.utc_offset);
    let search = Search::of_a_hub(config.search);
    // The same run, so that the claim is its own still.
    let reopen: Reopen<PostgresSink> = Box::new(move || {
        let sink = PostgresSink::new(database.clone(), utc_offset);
        Ok(sink.indexing(search).claiming(claim.clone()))
    });
    let mut sink =
        PostgresSink::new(url.clone(), config.utc_offset).indexing(search).claiming(node);
    let mut highest = taken.highest;
    if matches!(relation, Relation::First | Relation::Other) {
        highest = highest.max(wait_for(&mut sink, config).await);
        if let Some(other) = sink.other_offset() {
            return Err(OpenError::Offset(other));
        }
        // If it can't be asked now, its name is learned with the first batch.
        target.store = sink.identity().await.ok();
    } else if let Some(known) = wait_unless_away(&mut sink, config).await {
        highest = highest.max(known);
    }
    if let Some(other) = sink.other_offset() {
        return Err(OpenError::Offset(other));
    }
    // The store's own thread connects for itself.
    sink.disconnect();
    let (truth, highest) = bind(config, remembered, target, parted, highest).map_err(io)?;
    let readers = postgres::start_reader(url.clone(), read_plan(config)).map_err(io)?;
    let ready = ReadyParts { taken, highest, sink, reopen, truth, readers, database: None };
    begin(config, ready, random)
}

/// Which database an address leads to, and what the journals have to do with it. Where only the
/// database itself can tell, it is waited for.
async fn meet(
    config: &StoreConfig,
    url: &DatabaseUrl,
    remembered: &Remembered,
) -> (Target, Relation) {
    let mut target = Target { database: url.identity(), store: None };
    match remembered.relation(&target) {
        Relation::SameAddress => {
            // A database that is away is asked when it is back, before anything is stored in it.
            let asked = tokio::time::timeout(ASK_MAX, name_of(url)).await;
            target.store = asked.ok().and_then(Result::ok).flatten();
        }
        Relation::Unknown => {
            let what = format!(
                "the journals were made for {}; whether {} is the same store, only it can say",
                remembered.database(),
                target.database,
            );
            config.faults.conditions().raise(Condition::AnotherStore, &what);
            target.store = wait_for_name(url, &what).await;
            config.faults.conditions().clear(Condition::AnotherStore);
        }
        known => return (target, known),
    }
    match remembered.relation(&target) {
        // The store that is remembered has a name, and this database has none yet.
        Relation::Unknown => (target, Relation::Other),
        Relation::Same if remembered.database() != target.database => {
            let (from, to) = (remembered.database(), &target.database);
            tracing::info!(from, to, "the store has moved: it is known by its own name");
            (target, Relation::Same)
        }
        known => (target, known),
    }
}

/// Remembers the store. Returns what is known of it, and the id above which new ones begin.
fn bind(
    config: &StoreConfig,
    remembered: Remembered,
    target: Target,
    parted: Option<Offsets>,
    highest: Id,
) -> io::Result<(Truth, Id)> {
    let mut trimmed = Trimmed::open(&config.data_dir)?;
    let highest = highest.max(trimmed.highest(None)).max(remembered.highest());
    if parted.is_some() {
        trimmed.begin_anew();
    }
    let bound = remembered.bind(target, highest, parted)?;
    let holes = Holes::open(&config.data_dir, config.faults.conditions(), config.faults.metrics())?;
    Ok((Truth { bound, trimmed, holes }, highest))
}

fn take_journals(config: &StoreConfig) -> Result<TakenJournals, OpenError> {
    let io = |error| OpenError::Io { path: config.data_dir.clone(), error };
    private::make(&config.data_dir).map_err(|error| match error.kind() {
        // So the system calls a file that stands in the directory's place.
        io::ErrorKind::AlreadyExists => io(io::ErrorKind::NotADirectory.into()),
        _ => io(error),
    })?;
    Ok(journal::take(&config.data_dir.join("journal"), config.shards, &config.journal)?)
}

/// What a store is made of before anything is begun.
struct ReadyParts<S> {
    taken: TakenJournals,
    /// The highest id of all that is known.
    highest: Id,
    sink: S,
    reopen: Reopen<S>,
    truth: Truth,
    readers: Readers,
    /// The embedded database's file.
    database: Option<PathBuf>,
}

/// Begins what writes, once nothing can fail any more but for the machine.
fn begin<S: Sink + Send + 'static>(
    config: &StoreConfig,
    ready: ReadyParts<S>,
    random: u128,
) -> Result<Store, OpenError> {
    let io = |error| OpenError::Io { path: config.data_dir.clone(), error };
    let ReadyParts { mut taken, highest, sink, reopen, truth, readers, database } = ready;
    let (found, now) = (std::mem::take(&mut taken.published), config.clock.now());
    let opening = NonceFiles::open(&config.data_dir, found, config.shards, config.nonces, now);
    let (nonces, published) = opening.map_err(io)?;
    config.faults.conditions().set(Condition::NoncesLost, nonces.failing());
    let opened = taken.begin(highest, random, &config.faults)?;
    let seed = random as u64;
    let parts = Parts { opened, sink, reopen, truth, readers, nonces, published, seed, database };
    start(config, parts).map_err(io)
}

/// Opens the embedded database again, with a thread beside it that moves its log. Until it is
/// dropped the log stays the file that it is, though the sink may be gone for a moment.
fn reopen_sqlite(path: PathBuf, config: &StoreConfig) -> rusqlite::Result<Reopen<SqliteSink>> {
    let (utc_offset, search) = (config.utc_offset, config.search);
    let faults = config.faults.clone();
    let holds_log = sqlite::hold_log(&path)?;
    Ok(Box::new(move || {
        let _ = &holds_log;
        let mut sink = SqliteSink::open(&path, utc_offset).map_err(io::Error::other)?;
        sink.checkpoint_beside(&path, &faults)?;
        if search {
            sink.index_words(&path, &faults)?;
        }
        Ok(sink)
    }))
}

pub(super) fn read_plan(config: &StoreConfig) -> ReadPlan {
    ReadPlan {
        utc_offset: config.utc_offset,
        clock: config.clock.clone(),
        query_max: config.query_max,
        image_bytes_max: config.image_bytes_max,
        faults: config.faults.clone(),
    }
}

/// The highest id that is believed: one of the far future would put all new ids there.
fn id_limit(config: &StoreConfig) -> Id {
    Id::first_of_ms(config.clock.now().unix.0 / 1000 + DAY_MS)
}

/// For a directory that can do without its database for now: one try, and the highest id; `None`:
/// it is away. A database that answers is never served beside another hub.
async fn wait_unless_away(sink: &mut PostgresSink, config: &StoreConfig) -> Option<Id> {
    match tokio::time::timeout(FIRST_TRY_MAX, sink.highest_id(id_limit(config))).await {
        Ok(Ok(highest)) => Some(highest),
        Ok(Err(SinkError::Taken(_))) => Some(wait_for(sink, config).await),
        Ok(Err(_)) | Err(_) => None,
    }
}

/// Reaches a database, however long it takes, and learns its name; `None`: it has none yet.
async fn wait_for_name(url: &DatabaseUrl, what: &str) -> Option<String> {
    let mut told: Option<SinkError> = None;
    loop {
        match name_of(url).await {
            Ok(name) => return name,
            Err(error) if told.as_ref() == Some(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "{what}; trying again");
                told = Some(error);
            }
        }
        tokio::time::sleep(FIRST_WAIT).await;
    }
}

/// Reaches the database and becomes the one who serves it, however long it takes; its highest id.
/// The lowest, if it can't be served: it holds times of another offset.
async fn wait_for(sink: &mut PostgresSink, config: &StoreConfig) -> Id {
    let mut told: Option<SinkError> = None;
    loop {
        let tried = sink.highest_id(id_limit(config)).await;
        let other = match &tried {
            Err(SinkError::Taken(by)) => Some(by),
            _ => None,
        };
        config.faults.conditions().set(Condition::AnotherHub, other);
        config.faults.conditions().set(Condition::RightsMissing, sink.lacks());
        match tried {
            Ok(highest) => return highest,
            Err(_) if sink.other_offset().is_some() => return Id::MIN,
            Err(SinkError::Taken(_)) => {
                tokio::time::sleep(CLAIM_POLL).await;
                continue;
            }
            Err(error) if told.as_ref() == Some(&error) => {}
            Err(error) => {
                let what = "this data directory is new to the database, and has to reach it first";
                tracing::warn!(%error, "{what}; trying again");
                told = Some(error);
            }
        }
        tokio::time::sleep(FIRST_WAIT).await;
    }
}
