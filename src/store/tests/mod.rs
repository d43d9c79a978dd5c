//! The store as a whole: the batcher against a sink that fails, SQLite against plain models.

use std::path::Path;
use std::sync::Arc;

use super::batcher::batch::BatchLimits;
use super::journal::JournalLimits;
use super::{NonceLimits, RetryWait, StoreConfig};
use crate::clock::Clock;
use crate::faults::Faults;
use crate::metrics::Metrics;
use crate::wire::random::SplitMix64;
use crate::wire::time::{Micros, MonoMs, Now};

mod batcher;
mod refusals;
mod rough;
mod search;
mod sqlite;
mod whole;

/// A clock that stands: everything is due when `wait` is 0.
fn clock() -> Clock {
    Clock::Standing(Now { mono: MonoMs(1_000), unix: Micros(1_767_333_845_678_901) })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(future)
}

/// A message with a picture.
pub(super) fn message(image: &str) -> super::StoredMessage {
    super::StoredMessage {
        id: "01".into(),
        content: "hola".into(),
        user: crate::wire::UserId(1),
        username: "Ana".into(),
        space: crate::wire::SpaceId(1),
        at: Micros(0),
        image: image.into(),
    }
}

const NONCES: NonceLimits = NonceLimits { max: 9, window: 1_000 };

fn config(data_dir: &Path, shards: usize) -> StoreConfig {
    StoreConfig {
        data_dir: data_dir.into(),
        shards,
        journal: JournalLimits {
            bytes_max: 512 << 10,
            record_bytes_max: 8 << 10,
            flush_period: Some(5),
            nonces_max: 9,
        },
        batch: BatchLimits { rows_max: 100, bytes_max: 64 << 10, wait: 0 },
        batch_linger: 0,
        nonces: NONCES,
        letters_bytes_max: 1 << 20,
        retry: RetryWait { min: 0, max: 0 },
        query_max: 5_000,
        image_bytes_max: 0,
        utc_offset: -10_800,
        clock: clock(),
        faults: Faults::unread(Arc::new(Metrics::new(shards))),
        take_journals: false,
        search: false,
        traces: Default::default(),
    }
}

/// A test's choices, which come from its seed.
struct Dice(SplitMix64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(SplitMix64(seed))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.next() % bound
    }
}
