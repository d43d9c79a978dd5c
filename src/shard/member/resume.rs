//! The way of a member that comes back with a position: what it missed, then what is new
//! (docs/WIRE.md, P3).
//!
//! From memory that is a cursor placed in the past. Behind the log's floor the store takes over:
//! the member *catches up*, by pages that the edge reads, each sent before the next is asked for,
//! until the log holds all that is left. Two things keep the stretch without a hole: a page is
//! asked for only up to the floor, and only when the store has committed all that was trimmed up
//! to there.

use super::Member;
use crate::limits::RESUME_TIMES_MAX;
use crate::shard::event::Stretch;
use crate::shard::position::{Floor, Struck, Whereabouts};
use crate::wire::Id;
use crate::wire::server_message::{Missing, Resumed};
use crate::wire::time::{MonoMs, Now};

/// A member on its way from the store's part of what it missed to the log.
#[derive(Clone, Copy, Debug)]
pub(in crate::shard) struct CatchUp {
    /// The position that it came with.
    after: Id,
    /// It is sent the ids above this one: `after`, or a higher one where it missed more than
    /// `resume_messages_max`.
    from: Id,
    /// It has been sent everything up to here.
    read: Id,
    /// Chats that it has been sent.
    count: usize,
    /// Number of the last page that was asked for.
    number: u32,
    step: Step,
    /// When it came.
    came: Now,
    /// When it has waited long enough for the store.
    until: MonoMs,
}

/// What a member that catches up waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The commit of what the log no longer holds, or the next try to read it.
    Store,
    /// A page of what lies up to this id.
    Page(Id),
    /// Its socket, to take the page.
    Socket,
}

/// How a member that catches up goes on.
#[derive(Clone, Copy, Debug)]
pub(in crate::shard) enum WayBack {
    /// The log has the rest, from this offset on, or from its end where the offset lies behind
    /// that. Then the member is told this.
    Log { offset: u64, resumed: Resumed },
    /// The store has to commit this record first.
    Commit(u64),
    /// The store is asked for the page of this number: for ids above `after` and up to `up_to`, the
    /// newest of them, `newest_max` at most. The member waits for it until then.
    Store { number: u32, after: Id, up_to: Id, newest_max: usize, until: MonoMs },
}

/// What the log of a member's space has of what it missed.
#[derive(Clone, Copy, Debug)]
pub(in crate::shard) struct Memory {
    pub found: Whereabouts,
    /// The space's newest chat.
    pub newest: Id,
}

/// A resume on its way through the log.
#[derive(Clone, Copy, Debug)]
pub(in crate::shard) struct Resume {
    /// Where in the log it ends; the member's own join comes behind.
    pub end: u64,
    /// What will be said then.
    pub resumed: Resumed,
    /// The own join is not in the log (a big space): it is to be sent then.
    pub own_join: bool,
    /// When the member came.
    pub came: Now,
}

impl CatchUp {
    /// Behind this position, from now on; the store is waited for until then.
    pub(crate) fn new(after: Id, came: Now, until: MonoMs) -> CatchUp {
        let (from, read, step) = (after, after, Step::Store);
        CatchUp { after, from, read, count: 0, number: 0, step, came, until }
    }

    /// When the member came.
    pub(crate) fn came(&self) -> Now {
        self.came
    }

    /// The last id that it needs not be sent.
    pub(crate) fn read(&self) -> Id {
        self.read
    }

    /// Finds out how it goes on: from the log if that reaches back far enough, else from the
    /// store. `has` says whether the store has committed a record.
    pub(crate) fn go_on(
        &mut self,
        memory: Memory,
        messages_max: usize,
        has: impl FnOnce(u64) -> bool,
    ) -> WayBack {
        let CatchUp { after, from, read, count, .. } = *self;
        let missing = (from > after).then_some(Missing::TooMany);
        let newest = memory.newest;
        match memory.found {
            Whereabouts::At { offset, chats } => {
                let (to, count) = (newest.max(read), count + chats);
                WayBack::Log { offset, resumed: Resumed { from, to, count, missing } }
            }
            Whereabouts::Ahead => {
                let missing = Some(Missing::Ahead);
                let resumed = Resumed { from: newest, to: newest, count: 0, missing };
                WayBack::Log { offset: u64::MAX, resumed }
            }
            Whereabouts::Trimmed { floor: Floor { record, .. }, .. } if !has(record) => {
                self.step = Step::Store;
                WayBack::Commit(record)
            }
            Whereabouts::Trimmed { floor, chats, .. } => {
                self.step = Step::Page(floor.id);
                self.number += 1;
                let is_first = count == 0 && read == after;
                let newest = messages_max.saturating_sub(chats);
                let newest_max = if is_first { newest } else { usize::MAX };
                let (number, until) = (self.number, self.until);
                WayBack::Store { number, after: read, up_to: floor.id, newest_max, until }
            }
        }
    }

    /// A page has come, or `None`: the store could not be read. Says what is to be done.
    pub(crate) fn take(
        &mut self,
        number: u32,
        page: Option<Stretch>,
        messages_max: usize,
    ) -> PageTaken {
        let Step::Page(up_to) = self.step else { return PageTaken::Nothing };
        if self.number != number {
            return PageTaken::Nothing;
        }
        let Some(page) = page.filter(|page| page.chats > 0 || !page.more) else {
            // A tick tries again, until it has waited long enough.
            self.step = Step::Store;
            return PageTaken::Nothing;
        };
        self.step = Step::Socket;
        if page.from > self.read {
            self.from = page.from;
        }
        self.read = if page.more { page.last } else { up_to };
        self.count += page.chats;
        if self.count > RESUME_TIMES_MAX * messages_max {
            return PageTaken::TooMuch;
        }
        if page.frames.is_empty() { PageTaken::GoOn } else { PageTaken::Send(page) }
    }

    /// Whether its page is on its way, and the next one is due once that is sent.
    pub(crate) fn waits_for_socket(&self) -> bool {
        self.step == Step::Socket
    }

    /// Its page is sent, and the next one may take until then.
    pub(crate) fn page_sent(&mut self, until: MonoMs) {
        self.until = until;
    }

    /// What a member is to do that waits for the store: called now and then.
    pub(crate) fn judge(
        &self,
        now: MonoMs,
        memory: Memory,
        has: impl FnOnce(u64) -> bool,
    ) -> StoreWait {
        if self.waits_for_socket() {
            return StoreWait::Wait;
        }
        if now < self.until {
            return match memory.found {
                // A commit comes to those that wait for it.
                Whereabouts::Trimmed { floor, .. } if !has(floor.record) => StoreWait::Wait,
                _ if self.step == Step::Store => StoreWait::TryAgain,
                _ => StoreWait::Wait,
            };
        }
        match memory.found {
            // Memory's part goes out, and history has the rest (docs/WIRE.md, C).
            Whereabouts::Trimmed { offset, floor, chats } if self.count == 0 => {
                let missing = Some(Missing::StoreUnavailable);
                let resumed = Resumed { from: floor.id, to: memory.newest, count: chats, missing };
                StoreWait::GoWithout { offset, resumed }
            }
            // What it has been sent ends at its position: it may come back with that.
            _ => StoreWait::GiveUp,
        }
    }
}

/// What is to be done about a page that has come.
#[derive(Debug)]
pub(in crate::shard) enum PageTaken {
    /// It is not waited for.
    Nothing,
    /// It held nothing: the member goes on.
    GoOn,
    /// Its frames are to be sent.
    Send(Stretch),
    /// The member was sent more than a resume may have.
    TooMuch,
}

/// What is to be done about a member that waits for the store.
#[derive(Debug)]
pub(in crate::shard) enum StoreWait {
    Wait,
    TryAgain,
    /// It has waited long enough, and goes on with what memory has.
    GoWithout {
        offset: u64,
        resumed: Resumed,
    },
    /// It has waited long enough, and is closed.
    GiveUp,
}

impl Member {
    /// It came back, and is to be sent what it missed. Its space keeps count, so only that calls
    /// this.
    pub(crate) fn begin_catch_up(&mut self, catch_up: CatchUp) {
        self.rare().catch_up = Some(catch_up);
    }

    /// Its way through what it missed, while the store's part of that is sent to it, so that it
    /// gets nothing of the log.
    pub(crate) fn catch_up(&mut self) -> Option<&mut CatchUp> {
        self.rare.as_mut()?.catch_up.as_mut()
    }

    /// Whether it is sent the store's part of what it missed.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.catch_up.is_some())
    }

    /// The log has the rest of what it missed. Its space keeps count, so only that calls this.
    pub(crate) fn end_catch_up(&mut self, resume: Resume) {
        let rare = self.rare();
        (rare.catch_up, rare.resume) = (None, Some(resume));
    }

    /// Its way through the log's part of what it missed.
    pub(crate) fn resume(&self) -> Option<Resume> {
        self.rare.as_ref()?.resume
    }

    /// A chat of the log that nobody has been sent is none any more.
    pub(crate) fn strike(&mut self, struck: &Struck) {
        let from = self.queue.cursor();
        let Some(Resume { end, resumed, .. }) =
            self.rare.as_mut().and_then(|it| it.resume.as_mut())
        else {
            return;
        };
        if (from..*end).contains(&struck.offset) {
            resumed.count -= 1;
        }
        if resumed.missing == Some(Missing::Ahead) && resumed.from == struck.id {
            resumed.from = struck.before;
        }
        if resumed.to == struck.id {
            resumed.to = struck.before.max(resumed.from);
        }
    }

    /// It has been sent what it missed, and is live.
    pub(crate) fn end_resume(&mut self) {
        self.rare().resume = None;
    }
}
