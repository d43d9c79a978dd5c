//! What was published once, read again beside a running store: by a part that begins anew.

use std::io;
use std::path::PathBuf;

use super::nonces::published;
use crate::clock::Clock;
use crate::store::StoreConfig;
use crate::store::journal::{Origin, Tail};
use crate::wire::nonce::First;
use crate::wire::record::records;

/// How often it is tried: segments and files go while they are read, when they are not needed any
/// more, and then what was in them is in the next file.
const TRIES: usize = 8;

/// The journals and the folder where it is read.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    data_dir: PathBuf,
    pub(super) found: Vec<Origin>,
    pub(super) own: Vec<Origin>,
    /// The most that is read of one journal: its last ones.
    nonces_max: usize,
    /// How long it counts, in milliseconds.
    window: u64,
    clock: Clock,
}

impl Published {
    /// In these journals, and in the files beside them.
    pub(in crate::store) fn new(config: &StoreConfig, found: &[Tail], own: &[Tail]) -> Published {
        let origins = |tails: &[Tail]| tails.iter().map(Tail::origin).collect();
        Published {
            data_dir: config.data_dir.clone(),
            found: origins(found),
            own: origins(own),
            nonces_max: config.journal.nonces_max,
            window: config.nonces.window,
            clock: config.clock.clone(),
        }
    }

    /// All that may be of a shard, oldest first.
    pub(crate) fn of_shard(&self, shard: usize) -> io::Result<Vec<First>> {
        let own = self.own.get(shard..=shard).unwrap_or_default();
        let mut tries = 1;
        loop {
            // The journals first: what leaves them is in the files before.
            let read = self.in_journals(own);
            let read =
                read.and_then(|it| published(&self.data_dir, it, self.window, self.clock.now()));
            match read {
                Err(_) if tries < TRIES => tries += 1,
                read => return read,
            }
        }
    }

    /// All that journals hold.
    pub(super) fn in_all_journals(&self) -> io::Result<Vec<First>> {
        self.in_journals(&self.own)
    }

    fn in_journals(&self, own: &[Origin]) -> io::Result<Vec<First>> {
        let mut all = Vec::new();
        for origin in self.found.iter().chain(own) {
            let Some(mut tail) = origin.tail()? else { continue };
            let mut last = Vec::new();
            while let Some(stretch) = tail.read().map_err(io::Error::other)? {
                last.extend(records(stretch.records).filter_map(|record| record.first()));
                // The last ones count; what is dropped is dropped in large pieces.
                if last.len() > 2 * self.nonces_max {
                    last.drain(..last.len() - self.nonces_max);
                }
            }
            all.append(&mut last);
        }
        Ok(all)
    }
}
