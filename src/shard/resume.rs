//! Resume: a member that comes back with a position is sent what it missed, then what is new (P3).
//!
//! From memory that is a cursor placed in the past. Behind the log's floor the store takes over:
//! the member *catches up*, by pages that the edge reads, each sent before the next is asked for,
//! until the log holds all that is left. Two things keep the stretch without a hole: a page is
//! asked for only up to the floor, and only when the store has committed all that was trimmed up
//! to there. The member is in its space all the while (pings, kicks and the drain reach it), but
//! its join is announced last, when its cursor is placed.

use super::Shard;
use super::event::{Effects, Fetch, MemberKey, Stretch};
use super::log::Found;
use super::member::{Member, Resume};
use crate::metrics::Metric;
use crate::wire::close::Close;
use crate::wire::server_message::{self, Missing, Resumed};
use crate::wire::time::{MonoMs, Now};
use crate::wire::{Id, SpaceKey};

/// A resuming member has not been blocked yet: an instant that no deadline counts from.
const NOT_YET: MonoMs = MonoMs(u64::MAX);
/// A resume is given up when so many times what it may have was sent: more is said in its space
/// than is read of it.
const OVERRUN: usize = 2;
/// Waits for a commit that are kept in any case.
const FLOORS_SPARE: usize = 64;

/// A member on its way from the store's part of what it missed to the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct CatchUp {
    /// The position that it came with.
    after: Id,
    /// It is sent everything behind this one; above `after` where that were too many.
    from: Id,
    /// It has been sent everything up to here.
    read: Id,
    /// Chats that it has been sent.
    count: usize,
    /// Of the last page asked for.
    number: u32,
    step: Step,
    /// When it has waited long enough for the store.
    until: MonoMs,
}

/// What it waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The commit of what the log no longer holds, or the next try to read it.
    Store,
    /// A page of what lies up to this id.
    Page(Id),
    /// Its socket, to take the page.
    Socket,
}

impl CatchUp {
    /// Whether its page is on its way, and the next one is due once that is sent.
    pub(super) fn waits_for_socket(&self) -> bool {
        self.step == Step::Socket
    }
}

impl Shard {
    /// A member that has just been seated comes back with a position.
    pub(super) fn resume(&mut self, now: Now, key: MemberKey, after: Id, fx: &mut Effects) {
        self.counts.add(Metric::Resumes, 1);
        let until = MonoMs(now.mono.0 + self.limits.resume_wait);
        let member = self.members.get_mut(key).expect("just seated");
        let step = Step::Store;
        let catch_up =
            CatchUp { after, from: after, read: after, count: 0, number: 0, step, until };
        member.rare().catch_up = Some(catch_up);
        let space = self.spaces.at_mut(member.space).expect("seated in it");
        // The log is kept from here on while it catches up, within half of its bound.
        (member.cursor, member.boundary) = (space.log.start(), space.log.start());
        space.catching_up += 1;
        self.catch_up(now, key, fx);
    }

    /// Goes on: from the log if that reaches back far enough, else from the store.
    fn catch_up(&mut self, now: Now, key: MemberKey, fx: &mut Effects) {
        let Some((catch_up, found)) = self.catching_up(key) else { return };
        let CatchUp { after, from, read, count, .. } = catch_up;
        let missing = (from > after).then_some(Missing::TooMany);
        match found {
            Found::At { offset, chats } => {
                let to = self.newest_of(key).max(read);
                let resumed = Resumed { from, to, count: count + chats, missing };
                self.place(now, key, (offset, resumed), fx);
            }
            Found::Ahead => {
                let (newest, missing) = (self.newest_of(key), Some(Missing::Ahead));
                let resumed = Resumed { from: newest, to: newest, count: 0, missing };
                self.place(now, key, (u64::MAX, resumed), fx);
            }
            Found::Trimmed { record, .. } if record > self.records_committed => {
                self.set_step(key, Step::Store);
                self.wait_for_commit(record, key);
            }
            Found::Trimmed { floor, chats, .. } => {
                let first = count == 0 && read == after;
                let newest = self.limits.resume_messages_max.saturating_sub(chats);
                let newest_max = if first { newest } else { usize::MAX };
                self.ask(key, floor, newest_max, fx);
            }
        }
    }

    /// Has a member go on when a record is committed. Those that went meanwhile are let go before
    /// they outnumber the members: a store may be away for hours, while clients come and go.
    fn wait_for_commit(&mut self, record: u64, key: MemberKey) {
        if self.floors.len() > 2 * self.members.len() + FLOORS_SPARE {
            let members = &self.members;
            self.floors.retain(|_, key| members.get(*key).is_some_and(Member::is_catching_up));
        }
        self.waits_serial += 1;
        self.floors.insert((record, self.waits_serial), key);
    }

    /// The member's way so far, and where its next message is.
    fn catching_up(&self, key: MemberKey) -> Option<(CatchUp, Found)> {
        let member = self.members.get(key).filter(|member| member.is_seated())?;
        let catch_up = member.rare.as_ref()?.catch_up?;
        let log = &self.spaces.at(member.space)?.log;
        Some((catch_up, log.find(catch_up.read)))
    }

    fn newest_of(&self, key: MemberKey) -> Id {
        let member = self.members.get(key).expect("it catches up");
        self.spaces.at(member.space).expect("seated in it").log.newest()
    }

    fn set_step(&mut self, key: MemberKey, step: Step) -> Option<&mut CatchUp> {
        let catch_up = self.members.get_mut(key)?.rare.as_mut()?.catch_up.as_mut()?;
        catch_up.step = step;
        Some(catch_up)
    }

    /// Asks for the next page of `(read, up_to]`.
    fn ask(&mut self, key: MemberKey, up_to: Id, newest_max: usize, fx: &mut Effects) {
        let bytes_max = self.limits.private_bytes_max / 2;
        let Some(member) = self.members.get(key) else { return };
        let SpaceKey::Chat(space) = self.spaces.at(member.space).expect("seated in it").key else {
            return;
        };
        let Some(catch_up) = self.set_step(key, Step::Page(up_to)) else { return };
        catch_up.number += 1;
        let CatchUp { number, read: after, until, .. } = *catch_up;
        let member = key;
        let wanted = Fetch { member, number, space, after, up_to, newest_max, bytes_max, until };
        fx.fetches.push(wanted);
    }

    /// A page has come, or `None`: the store could not be read.
    pub(super) fn fetched(
        &mut self,
        now: Now,
        (key, number): (MemberKey, u32),
        stretch: Option<Stretch>,
        fx: &mut Effects,
    ) {
        let Some((catch_up, _)) = self.catching_up(key) else { return };
        let Step::Page(up_to) = catch_up.step else { return };
        if catch_up.number != number {
            return;
        }
        let Some(stretch) = stretch.filter(|stretch| stretch.chats > 0 || !stretch.more) else {
            // A tick tries again, until it has waited long enough.
            self.set_step(key, Step::Store);
            return;
        };
        let Some(catch_up) = self.set_step(key, Step::Socket) else { return };
        if stretch.from > catch_up.read {
            catch_up.from = stretch.from;
        }
        catch_up.read = if stretch.more { stretch.last } else { up_to };
        catch_up.count += stretch.chats;
        if catch_up.count > OVERRUN * self.limits.resume_messages_max {
            return self.begin_close(now, key, Close::Overloaded, fx);
        }
        if stretch.frames.is_empty() {
            return self.catch_up(now, key, fx);
        }
        // A page is half of what a member's private frames may be.
        _ = self.push_private(key, |private| {
            private.push(|out| out.extend_from_slice(&stretch.frames));
        });
    }

    /// A member's private frames are all sent: if a page was among them, the next one is due.
    pub(super) fn page_sent(&mut self, now: Now, key: MemberKey, fx: &mut Effects) {
        let until = MonoMs(now.mono.0 + self.limits.resume_wait);
        let member = self.members.get_mut(key);
        let catch_up = member.and_then(|member| member.rare.as_mut()?.catch_up.as_mut());
        if let Some(catch_up) = catch_up.filter(|catch_up| catch_up.waits_for_socket()) {
            catch_up.until = until;
            self.catch_up(now, key, fx);
        }
    }

    /// Everything from `offset` on is the log's to send: `resumed` and the own join come behind
    /// what the log holds now. An offset behind the log's end stands for that.
    fn place(
        &mut self,
        now: Now,
        key: MemberKey,
        (offset, resumed): (u64, Resumed),
        fx: &mut Effects,
    ) {
        let incomplete = resumed.missing.is_some();
        self.counts.add(Metric::ResumesIncomplete, incomplete.into());
        let member = self.members.get_mut(key).expect("it catches up");
        let slot = member.space;
        let space = self.spaces.at_mut(slot).expect("seated in it");
        let end = space.log.end();
        space.catching_up -= 1;
        (member.cursor, member.boundary) = (offset.min(end), offset.min(end));
        // Its part of the log is needed from now on, also where no join makes a round due.
        // Blocked by a page, it lags already.
        let lagged = std::mem::replace(&mut member.lagging, true);
        space.lagging += usize::from(!lagged);
        if !member.blocked {
            member.since = NOT_YET;
        }
        let announced = space.announced;
        let rare = member.rare();
        rare.catch_up = None;
        rare.resume = Some(Resume { end, resumed, own_join: !announced });
        if announced && let SpaceKey::Chat(id) = space.key {
            let (user, name) = (member.user, member.username.clone());
            self.announce_join(now, (slot, id), user, &name);
        }
        fx.resumed.push((key, resumed));
        self.make_ready(key);
    }

    /// Judges a member that waits for the store: it tries again, or goes without. Called now and
    /// then.
    pub(super) fn judge_catch_up(&mut self, now: Now, key: MemberKey, fx: &mut Effects) {
        let Some((catch_up, found)) = self.catching_up(key) else { return };
        if catch_up.waits_for_socket() {
            return;
        }
        if now.mono < catch_up.until {
            let committed = |record| record <= self.records_committed;
            match found {
                // The others wait for a commit, which comes to them.
                Found::Trimmed { record, .. } if !committed(record) => {}
                _ if catch_up.step == Step::Store => self.catch_up(now, key, fx),
                _ => {}
            }
            return;
        }
        match found {
            // Memory's part goes out, and history has the rest (WIRE C).
            Found::Trimmed { offset, floor, chats, .. } if catch_up.count == 0 => {
                let missing = Some(Missing::StoreUnavailable);
                let to = self.newest_of(key);
                let resumed = Resumed { from: floor, to, count: chats, missing };
                self.place(now, key, (offset, resumed), fx);
            }
            // What it has been sent ends at its position: it may come back with that.
            _ => self.begin_close(now, key, Close::Overloaded, fx),
        }
    }

    /// The store has committed more: those that wait for it go on.
    pub(super) fn floors_committed(&mut self, now: Now, fx: &mut Effects) {
        while let Some(key) = super::durable::take_durable(&mut self.floors, self.records_committed)
        {
            self.catch_up(now, key, fx);
        }
    }

    /// Appends a join to a space's log.
    pub(super) fn announce_join(
        &mut self,
        now: Now,
        (slot, id): (u32, crate::wire::SpaceId),
        user: crate::wire::UserId,
        name: &str,
    ) {
        let at = *self.time.text(now.unix);
        let bound = super::membership::CHANGE_BYTES_MAX + 6 * name.len();
        self.append(now, slot, bound, |out| server_message::join(out, id, user, name, &at));
    }
}
