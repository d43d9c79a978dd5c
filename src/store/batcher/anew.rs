//! The store's thread begins anew after a panic: all that the batcher had in its hands is made
//! again from the files and the database, as a start of the hub makes it. What was about to be
//! stored is in the journals, and whether it is stored is for the sink's positions to say.
//!
//! Owns what that takes, none of which a life of the batcher ever changes.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::published::Published;
use super::{DeadRows, Ends, JournalSources, NonceFiles, Truth};
use crate::conditions::Condition;
use crate::store::data_dir::bound::Bound;
use crate::store::data_dir::holes::Holes;
use crate::store::data_dir::trimmed::Trimmed;
use crate::store::journal::{Origin, Tail};
use crate::store::latest::Latest;
use crate::store::{StoreConfig, StoreState};

/// Opens the sink once more.
pub(in crate::store) type Reopen<S> = Box<dyn FnMut() -> io::Result<S> + Send>;

/// What the ends of a batcher are made from, again and again.
pub(in crate::store) struct Anew<S> {
    pub(in crate::store) config: StoreConfig,
    pub(in crate::store) reopen: Reopen<S>,
    pub(in crate::store) published: Published,
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
        let published = self.published.in_all_journals()?;
        // What was stored just before the panic may be in no file of nonces yet.
        let (shards, now) = (config.shards, config.clock.now());
        let (nonces, _) =
            NonceFiles::open(&config.data_dir, published, shards, config.nonces, now)?;
        config.faults.conditions().set(Condition::NoncesLost, nonces.failing());
        let tails = |origins: &[Origin]| -> io::Result<Vec<Tail>> {
            origins.iter().filter_map(|origin| origin.tail().transpose()).collect()
        };
        let bound = Bound::again(&config.data_dir)?;
        let mut sources =
            JournalSources::new(tails(&self.published.found)?, tails(&self.published.own)?);
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
