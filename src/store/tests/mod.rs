//! The store as a whole: the batcher against a sink that fails, SQLite against plain models.

use std::path::Path;
use std::sync::Arc;

use super::batcher::batch::BatchLimits;
use super::journal::{JournalLimits, SyncMode};
use super::{NonceLimits, ReadClock, RetryWait, StoreConfig};
use crate::clock::Clock;
use crate::conditions::Conditions;
use crate::faults::Faults;
use crate::metrics::Metrics;
use crate::wire::time::{Micros, MonoMs, Now};

mod batcher;
mod refusals;
mod rough;
mod sqlite;
mod whole;

/// A clock that stands: everything is due when `wait` is 0.
fn clock() -> ReadClock {
    Arc::new(|| Now { mono: MonoMs(1_000), unix: Micros(1_767_333_845_678_901) })
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
    let (metrics, conditions) = (Arc::new(Metrics::new(shards)), Conditions::new(Clock::start()));
    StoreConfig {
        data_dir: data_dir.into(),
        shards,
        journal: JournalLimits {
            bytes_max: 512 << 10,
            record_bytes_max: 8 << 10,
            sync: SyncMode::Every(5),
            nonces_max: 9,
        },
        batch: BatchLimits { rows_max: 100, bytes_max: 64 << 10, wait: 0 },
        shard_of: |_, _| 0,
        nonces: NONCES,
        retry: RetryWait { min: 0, max: 0 },
        query_max: 5_000,
        utc_offset: -10_800,
        clock: clock(),
        faults: Faults::new(metrics.clone(), conditions.clone()),
        metrics,
        conditions,
        take_journals: false,
    }
}

/// SplitMix64, so that a test's choices come from its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) % bound
    }
}
