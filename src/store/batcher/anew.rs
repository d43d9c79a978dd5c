//! The store's thread begins anew after a panic: all that the batcher had in its hands is made
//! again from the files and the database, as a start of the hub makes it. What was about to be
//! stored is in the journals, and whether it is stored is for the sink's positions to say.
//!
//! Owns what that takes, none of which a life of the batcher ever changes.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::{DeadRows, Ends, JournalSources, NonceFiles, Truth};
use crate::conditions::Condition;
use crate::store::data_dir::bound::Bound;
use crate::store::data_dir::holes::Holes;
use crate::store::data_dir::trimmed::Trimmed;
use crate::store::journal::{Origin, Tail};
use crate::store::latest::Latest;
use crate::store::{StoreConfig, StoreState};
use crate::wire::nonce::First;
use crate::wire::record::records;

/// Opens the sink once more.
pub(in crate::store) type Reopen<S> = Box<dyn FnMut() -> io::Result<S> + Send>;

/// What the ends of a batcher are made from, again and again.
pub(in crate::store) struct Anew<S> {
    pub(in crate::store) config: StoreConfig,
    pub(in crate::store) reopen: Reopen<S>,
    pub(in crate::store) found: Vec<Origin>,
    pub(in crate::store) own: Vec<Origin>,
    /// Where the shards read how far they are stored.
    pub(in crate::store) shown: Vec<Arc<Latest<Option<u64>>>>,
    pub(in crate::store) dead: DeadRows,
    pub(in crate::store) holes: Holes,
    pub(in crate::store) state: watch::Sender<StoreState>,
}

impl<S> Anew<S> {
    /// The ends of the next life.
    pub(in crate::store) fn ends(&mut self) -> io::Result<Ends<S>> {
        let config = &self.config;
        let mut published = Vec::new();
        for origin in self.found.iter().chain(&self.own) {
            if let Some(tail) = origin.tail()? {
                published.extend(nonces_of(tail, config.journal.nonces_max)?);
            }
        }
        // What was stored just before the panic may be in no file of nonces yet.
        let (shards, now) = (config.shards, config.clock.now());
        let (nonces, _) =
            NonceFiles::open(&config.data_dir, published, shards, config.nonces, now)?;
        config.faults.conditions().set(Condition::NoncesLost, nonces.failing());
        let tails = |origins: &[Origin]| -> io::Result<Vec<Tail>> {
            origins.iter().filter_map(|origin| origin.tail().transpose()).collect()
        };
        let bound = Bound::again(&config.data_dir)?;
        let mut sources = JournalSources::new(tails(&self.found)?, tails(&self.own)?);
        sources.show_to(&self.shown);
        sources.leave_elsewhere(bound.elsewhere());
        let trimmed = Trimmed::open(&config.data_dir)?;
        Ok(Ends {
            sink: (self.reopen)()?,
            sources,
            nonces,
            dead: self.dead.beside(config),
            truth: Truth { bound, trimmed, holes: self.holes.clone() },
            state: self.state.clone(),
        })
    }
}

/// The last nonces of a journal, at most `max`.
pub(in crate::store) fn nonces_of(mut tail: Tail, max: usize) -> io::Result<VecDeque<First>> {
    let mut last = VecDeque::new();
    while let Some(stretch) = tail.read().map_err(io::Error::other)? {
        for first in records(stretch.records).filter_map(|record| record.first()) {
            if last.len() >= max {
                last.pop_front();
            }
            last.push_back(first);
        }
    }
    Ok(last)
}
