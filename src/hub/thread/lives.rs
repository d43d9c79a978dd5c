//! The lives of a shard's thread: after a panic the shard begins anew, from the journal and what
//! the store remembers, as at a start of the hub.
//!
//! What a panic may have left half changed is thrown away whole: the heart, its sockets' readers
//! and queues, the runtime. What goes on is what a turn only ever appends to, or what other threads
//! hold their end of: the journal's writer, unless the panic was in it; the inbox; the cells and
//! queues of the store.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use super::comings::Comings;
use super::host::{ShardJournal, Surroundings};
use super::resuming::Resuming;
use super::{Closing, ShardThread, State};
use crate::faults::{Lives, caught};
use crate::hub::command::Life;
use crate::hub::socket::{Leaving, SocketTable};
use crate::limits::{Limits, room_for};
use crate::metrics::Part;
use crate::shard::ShardSetup;
use crate::shard::anew::Legacy;
use crate::store::journal::Writer;
use crate::wire::close::Close;
use crate::wire::time::{MonoMs, TimeFormat};

/// What a life begins with.
struct Birth {
    setup: ShardSetup,
    journal: Writer,
    /// Which life it is: what an earlier one has asked for is not for this one's members.
    life: Life,
    /// Where the journal ended: what lies before is of earlier lives, and of earlier runs.
    at: u64,
    legacy: Legacy,
    leaving: Leaving,
    comings: Comings,
}

impl ShardThread {
    /// Runs until a drain is done, or a fault is met, or the same bug again and again. Takes the
    /// thread over. It has `begun` once it holds all that it needs of the system.
    pub(in crate::hub) fn run(
        mut self,
        setup: ShardSetup,
        journal: Writer,
        begun: impl FnOnce(),
    ) -> io::Result<()> {
        // However it ends: who waits for an answer is to hear that there is none.
        let _inbox = Closing(self.inbox.clone());
        if let Some(core) = self.core {
            core_affinity::set_for_current(core);
        }
        let name = format!("shard-{}", setup.number);
        let mut lives = Lives::new(Part::Shard, name, &self.faults);
        let (life, legacy, leaving) = (Life::default(), Legacy::default(), Leaving::default());
        let comings = Comings::of_shard(setup.number.into());
        let mut birth = Birth { setup, journal, life, at: 0, legacy, leaving, comings };
        let mut begun = Some(begun);
        loop {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())?;
            let (life, at) = (birth.life, birth.at);
            // What was published is read anew, and not kept for that.
            let published = std::mem::take(&mut birth.setup.published);
            let setup = birth.setup.clone();
            birth.setup.published = published;
            let room = room_for(setup.limits.connections_max);
            let sockets = runtime.block_on(async { SocketTable::with_room(room) })?;
            if let Some(begun) = begun.take() {
                begun();
            }
            let state = Rc::new(RefCell::new(self.state(birth, sockets)));
            let ended = caught(|| runtime.block_on(self.serve(&state, at)));
            // Its tasks go with it, and their shares of the state.
            drop(runtime);
            let panicked = match ended {
                Ok(ended) => return ended,
                Err(panicked) => panicked,
            };
            let state = Rc::into_inner(state).ok_or_else(|| io::Error::other("a task is left"))?;
            let mut state = state.into_inner();
            let mut comings = std::mem::take(&mut state.around.comings);
            comings.all_went(self.clock.now().unix, Close::Restart);
            let (journal, legacy, leaving) = self.wind_up(state, &setup.limits)?;
            lives.end(panicked);
            let setup = self.setup_anew(setup, &journal)?;
            let at = journal.end();
            birth = Birth { setup, journal, life: life.next(), at, legacy, leaving, comings };
        }
    }

    fn state(&self, birth: Birth, sockets: SocketTable) -> State {
        let Birth { setup, journal, life, legacy, leaving, comings, .. } = birth;
        let around = Surroundings {
            journal: ShardJournal { shard: setup.number.into(), writer: journal },
            sockets,
            life,
            pages: self.pages.clone(),
            renewals: self.renewals.clone(),
            waiting: HashMap::new(),
            directory: self.directory.clone(),
            comings,
            resuming: Resuming::default(),
            clock: self.clock.clone(),
        };
        let mut state = State::new(setup, around, self.clock.clone(), self.metrics.clone());
        state.shard.inherit(legacy);
        state.leaving = leaving;
        state
    }

    /// Members are closed, and who waits for an answer hears that there is none.
    fn wind_up(&self, state: State, limits: &Limits) -> io::Result<(Writer, Legacy, Leaving)> {
        let State { shard, around, .. } = state;
        let ShardJournal { shard: number, writer } = around.journal;
        let now = self.clock.now();
        let until = MonoMs(now.mono.0 + limits.close_wait);
        // What the shard says of a member may be a bug too: then the member is cut.
        let can_be_told = |member| caught(|| shard.can_be_told(member)).unwrap_or(None);
        let at = *TimeFormat::new(limits.utc_offset).text(now.unix);
        let leaving = around.sockets.close_all(can_be_told, &at, until);
        if !writer.is_whole() {
            return Err(io::Error::other("it panicked while it wrote its journal"));
        }
        let legacy = caught(|| shard.legacy(writer.highest())).unwrap_or_default();
        self.directory.forget(number, self.shards);
        // To free what a bug has left may be the next one: then it is left.
        _ = caught(move || drop((shard, around.waiting)));
        Ok((writer, legacy, leaving))
    }

    /// As at a start: ids above all that the journal holds, and what was published once.
    fn setup_anew(&self, setup: ShardSetup, journal: &Writer) -> io::Result<ShardSetup> {
        Ok(ShardSetup {
            // Other random parts than those of ids that were made and never written.
            seed: setup.seed.rotate_left(7).wrapping_add(journal.end()),
            highest: journal.highest(),
            published: (self.published)()?,
            now: self.clock.now(),
            ..setup
        })
    }
}
