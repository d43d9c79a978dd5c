//! What is told about storing: acks when a record is in the journal and when it is committed, and
//! what becomes of a turn whose records the journal could not take.

use std::collections::{BTreeMap, BTreeSet};

use super::Shard;
use super::chat::Accepted;
use super::event::{Effects, MemberKey, Reply, Ticket, Verdict};
use crate::wire::Id;
use crate::wire::client_message::AckLevel;
use crate::wire::close::Close;
use crate::wire::reject::Reject;
use crate::wire::server_message::{self, Ack, Refusal};
use crate::wire::time::{MonoMs, Now};

/// Posts that wait for a commit, and acks that do. Beyond it the post of the oldest record is
/// forgotten, which was answered 202 long ago, and members that ask for `durable` are refused.
const WAITS_MAX: usize = 65_536;
/// Commits that one member may wait for.
const DURABLE_WAITS_MAX: u32 = 1_024;

/// Where the journal, and this shard, stood after an append.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appended {
    /// The journal's end.
    pub offset: u64,
    /// Records made up to there.
    pub records: u64,
    /// The highest id up to there.
    pub highest: Id,
}

/// A member that is told by an ack when a record is durable.
#[derive(Debug)]
pub(super) struct AckTo {
    key: MemberKey,
    nonce: Box<str>,
    id: Id,
    duplicate: bool,
}

/// Who waits for which record, and in which order they came: records first.
pub(super) type Waits<T> = BTreeMap<(u64, u64), T>;

impl Shard {
    /// Gives a sender the acks that it asked for.
    pub(super) fn ack(
        &mut self,
        now: Now,
        key: MemberKey,
        (nonce, level): (&str, AckLevel),
        accepted: Accepted,
        fx: &mut Effects,
    ) {
        if level == AckLevel::None {
            return;
        }
        let Accepted { id, duplicate, record, .. } = accepted;
        let at = *self.time.text(now.unix);
        let ack = Ack { nonce, id, level: AckLevel::Accepted, duplicate };
        self.answer(now, key, fx, |private| {
            private.push(|out| server_message::ack(out, &ack, &at))
        });
        if level == AckLevel::Durable {
            let Some(member) = self.members.get_mut(key) else { return };
            if member.closing.is_some() {
                return;
            }
            member.rare().durable_waits += 1;
            let to = AckTo { key, nonce: nonce.into(), id, duplicate };
            self.when_durable(record, to, now, fx);
        }
    }

    /// Whether a member, or all together, wait for as many commits as they may. A member's may all
    /// come at once, when a store is back, and are not to be what brings its private frames over
    /// their bound.
    pub(super) fn waits_for_too_many(&self, key: MemberKey) -> bool {
        let rare = self.members.get(key).and_then(|member| member.rare.as_ref());
        let waits = rare.map_or(0, |rare| rare.durable_waits);
        waits >= DURABLE_WAITS_MAX || self.acks.len() >= WAITS_MAX
    }

    /// Sends a member its ack now or when the record is committed.
    pub(super) fn when_durable(&mut self, record: u64, to: AckTo, now: Now, fx: &mut Effects) {
        if record <= self.records_committed {
            return self.tell_durable(to, Ok(()), now, fx);
        }
        self.waits_serial += 1;
        self.acks.insert((record, self.waits_serial), to);
    }

    /// The same for a post. A store that is away for hours stops none of them (P5).
    pub(super) fn when_stored(
        &mut self,
        record: u64,
        (ticket, id): (Ticket, Id),
        fx: &mut Effects,
    ) {
        if record <= self.records_committed {
            return fx.replies.push((ticket, Reply::Durable(Ok(()))));
        }
        if self.posts.len() >= WAITS_MAX {
            self.posts.pop_first();
        }
        self.waits_serial += 1;
        self.posts.insert((record, self.waits_serial), (ticket, id));
    }

    fn tell_durable(&mut self, to: AckTo, stored: Result<(), Reject>, now: Now, fx: &mut Effects) {
        let AckTo { key, nonce, id, duplicate } = to;
        let Some(member) = self.members.get_mut(key) else { return };
        if let Some(rare) = &mut member.rare {
            rare.durable_waits -= 1;
        }
        if !member.is_seated() {
            return;
        }
        let at = *self.time.text(now.unix);
        let Err(reject) = stored else {
            let ack = Ack { nonce: &nonce, id, level: AckLevel::Durable, duplicate };
            return self.answer(now, key, fx, |private| {
                private.push(|out| server_message::ack(out, &ack, &at));
            });
        };
        self.counts.reject(reject);
        let space = self.spaces.at(member.space).expect("a seated member has one").key;
        let (dialect, whose) = (member.dialect, member.whose(space));
        let refusal = Refusal { reject, nonce: Some(&nonce), id: Some(id) };
        self.answer(now, key, fx, |private| {
            private.push(|out| server_message::error(out, dialect, &refusal, whose, &at));
        });
    }

    /// The store has found something out.
    pub(super) fn verdict(&mut self, now: MonoMs, verdict: Verdict) {
        let until = MonoMs(now.0 + self.limits.absent_window);
        match verdict {
            Verdict::Refused { id, nonce, reject } => {
                self.refused.insert(id, reject);
                if let Some(nonce) = nonce {
                    self.nonces.forget(&nonce);
                }
            }
            Verdict::NoUser(user) => self.absent.no_user(user, until),
            Verdict::NoSpace(space) => self.absent.no_space(space, until),
        }
    }

    /// The store has committed the journal up to an offset.
    pub(super) fn committed(&mut self, now: Now, offset: u64, fx: &mut Effects) {
        let mut newest = None;
        while let Some(appended) = self.appended.front().filter(|it| it.offset <= offset) {
            self.records_committed = appended.records;
            newest = Some(appended.highest);
            self.appended.pop_front();
        }
        let committed = self.records_committed;
        while let Some((ticket, id)) = take_durable(&mut self.posts, committed) {
            let stored = self.refused.get(&id).map_or(Ok(()), |reject| Err(*reject));
            if let Err(reject) = stored {
                self.counts.reject(reject);
            }
            fx.replies.push((ticket, Reply::Durable(stored)));
        }
        while let Some(to) = take_durable(&mut self.acks, committed) {
            let stored = self.refused.get(&to.id).map_or(Ok(()), |reject| Err(*reject));
            self.tell_durable(to, stored, now, fx);
        }
        if let Some(newest) = newest {
            // Nobody asks again: their nonces are forgotten.
            self.refused = self.refused.split_off(&Id(newest.0.saturating_add(1)));
        }
        self.floors_committed(now, fx);
    }

    /// The turn's records are not in the journal: nothing of the turn may be sent. The logs are
    /// dropped, their members closed, and no more chat is taken until a restart.
    pub(super) fn append_failed(&mut self, now: Now, fx: &mut Effects) {
        fx.records.clear();
        self.journal_failed = true;
        let refused = self.take_back_posts(fx);
        // What earlier turns made is in the journal and may still be committed.
        let appended = self.appended.back().map_or(self.records_committed, |it| it.records);
        self.records_made = appended;
        drop(self.acks.split_off(&(appended + 1, 0)));
        drop(self.posts.split_off(&(appended + 1, 0)));
        // A post of the turn may have repeated an earlier one.
        self.posts.retain(|_, (ticket, _)| !refused.contains(ticket));
        self.nonces.clear();
        self.floors.clear();
        for slot in 0..self.members.slots() {
            let Some(key) = self.members.key_at(slot) else { continue };
            let member = self.members.at(slot).expect("a key's slot is taken");
            if member.closing.is_none() {
                self.begin_close(now, key, Close::Internal, fx);
            } else if member.private.is_some() {
                // Its last frames may be of this turn.
                self.end(key, fx);
            }
        }
        self.drop_logs();
    }

    /// Posts of a turn that failed are refused instead, and hear of no commit. Returns which.
    fn take_back_posts(&mut self, fx: &mut Effects) -> BTreeSet<Ticket> {
        let mut refused = BTreeSet::new();
        for (ticket, reply) in &mut fx.replies {
            if matches!(reply, Reply::Posted { .. }) {
                self.counts.reject(Reject::StoreUnavailable);
                *reply = Reply::Rejected(Reject::StoreUnavailable);
                refused.insert(*ticket);
            }
        }
        fx.replies.retain(|(ticket, reply)| {
            !(matches!(reply, Reply::Durable(_)) && refused.contains(ticket))
        });
        refused
    }

    fn drop_logs(&mut self) {
        let floor = self.cold_floor();
        for slot in 0..self.spaces.slots() {
            let Some(space) = self.spaces.at_mut(slot) else { continue };
            assert!(space.roster.is_empty(), "its members were closed");
            self.logs_held -= space.log.held();
            space.log = super::log::SpaceLog::new(floor);
        }
    }
}

/// The next of those whose record is among the first `committed`.
pub(super) fn take_durable<T>(waits: &mut Waits<T>, committed: u64) -> Option<T> {
    let first = waits.first_entry()?;
    (first.key().0 <= committed).then(|| first.remove())
}
