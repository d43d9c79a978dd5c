//! Test helpers: records by number, journals in a temporary directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod costs;
mod damage;
mod model;

use super::{JournalLimits, JournalOpenError, Opened, Tail, take};
use crate::faults::Faults;
use crate::metrics::Metrics;
use crate::wire::record::{Record, records};
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, UserId};

/// Adds a record with this id and a content of this length in bytes.
pub(crate) fn record(id: u128, length: usize, out: &mut Vec<u8>) {
    let content = "x".repeat(length);
    let record = Record {
        id: Id(id),
        at: Micros(id as i64),
        space: SpaceId((id % 3) as i32),
        user: UserId(2),
        username: "Ana",
        content: &content,
        nonce: None,
    };
    record.append_to(out);
}

/// One record.
pub(crate) fn one(id: u128, length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    record(id, length, &mut out);
    out
}

/// Small journals, flushed by nobody.
pub(crate) const LIMITS: JournalLimits = JournalLimits {
    bytes_max: 256 << 10,
    record_bytes_max: 4 << 10,
    flush_period: None,
    nonces_max: 9,
};

/// Opens journals, named by numbers above `id`.
pub(crate) fn reopen(
    folder: &Path,
    shards: usize,
    limits: &JournalLimits,
    id: u128,
) -> Result<Opened, JournalOpenError> {
    let faults = Faults::unread(Arc::new(Metrics::new(shards)));
    reopen_telling(folder, shards, limits, id, &faults)
}

/// The same, which counts and tells where the test looks.
pub(crate) fn reopen_telling(
    folder: &Path,
    shards: usize,
    limits: &JournalLimits,
    id: u128,
    faults: &Faults,
) -> Result<Opened, JournalOpenError> {
    take(folder, shards, limits)?.begin(Id::MIN, id + 1, faults)
}

/// The ids that a tail gives, to its end.
pub(crate) fn ids(tail: &mut Tail) -> Vec<u128> {
    let mut ids = Vec::new();
    while let Some(stretch) = tail.read().expect("the journal reads") {
        ids.extend(records(stretch.records).map(|record| record.id.0));
    }
    ids
}

/// The segments in a folder, by name.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("it").path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}
