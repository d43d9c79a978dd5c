//! The rooms of a shard: its spaces and the members in them. Who comes and goes, and who is there.

use super::arena::Arena;
use super::event::{
    Effects, Grant, Join, MemberKey, Notification, Present, PresentUser, Revocation,
};
use super::grants::{Expiry, Grants};
use super::member::{Deadline, Member, Standing};
use super::position::Floor;
use super::seated::Seated;
use super::space::{Space, Spaces};
use super::turn::Turn;
use crate::limits::{EXPIRED_MAX, UNSENT_BYTES_MAX};
use crate::metrics::Metric;
use crate::wire::close::Close;
use crate::wire::reject::Reject;
use crate::wire::server_message::{self, Refusal};
use crate::wire::{Dialect, SpaceId, SpaceKey, UserId};

/// Where a list of users begins.
const LOWEST: UserId = UserId(i32::MIN);

/// Spaces and members.
#[derive(Debug)]
pub(super) struct Rooms {
    pub spaces: Spaces,
    pub members: Arena<Member>,
    pub grants: Grants,
}

impl Rooms {
    /// No spaces, and room for this many members.
    pub(super) fn with_room(members: usize) -> Rooms {
        Rooms {
            spaces: Spaces::default(),
            members: Arena::with_room(members),
            grants: Grants::default(),
        }
    }

    /// A member in its space; `None` when it is being closed, or is no more.
    pub(super) fn seated(&mut self, key: MemberKey) -> Option<Seated<'_>> {
        let member = self.members.get_mut(key).filter(|member| member.is_seated())?;
        let space = self.spaces.at_mut(member.space())?;
        Some(Seated { key, member, space })
    }

    /// Does something with a member in its space, and closes the member if that says why.
    pub(super) fn with(
        &mut self,
        turn: &mut Turn,
        key: MemberKey,
        act: impl FnOnce(&mut Seated<'_>, &mut Turn) -> Option<Close>,
    ) {
        let close = self.seated(key).and_then(|mut seated| act(&mut seated, turn));
        if let Some(close) = close {
            self.let_go(turn, key, close);
        }
    }

    /// A connection is not let in: it is told why, and closed.
    pub(super) fn turn_away(&mut self, turn: &mut Turn, mut join: Join, close: Close) -> MemberKey {
        turn.counts.close(close);
        let standing = Standing::Closing { close, since: turn.now.mono };
        let opening = std::mem::take(&mut join.opening);
        let mut member = Member::new(turn.now, join, u32::MAX, standing);
        member.queue.open(&mut turn.counts, opening);
        let last = member.last_frames(turn, close, |_| Some(0));
        let key = self.members.insert(member);
        if let Some(member) = self.members.get_mut(key) {
            member.close(key, turn, close, last);
        }
        key
    }

    /// Makes a connection a member of its space. What that may have seen before, if it is made
    /// now, lies at or below `floor`.
    pub(super) fn join(&mut self, turn: &mut Turn, mut join: Join, floor: Floor) -> MemberKey {
        turn.counts.add(Metric::Joins, 1);
        let opening = std::mem::take(&mut join.opening);
        let space = self.spaces.open(turn, join.space, floor);
        let standing = Standing::Seated { seat: space.next_seat() };
        let (grant, is_told, after) = (join.grant, join.dialect == Dialect::V1, join.after);
        let key = self.members.insert(Member::new(turn.now, join, space.slot(), standing));
        self.grants.set(key, grant, is_told);
        let Some(member) = self.members.get_mut(key) else { return key };
        let is_first = space.seat(turn, key.slot, member);
        if !opening.is_empty() {
            member.queue.open(&mut turn.counts, opening);
            member.make_due(key, &mut turn.due);
        }
        match space.key() {
            SpaceKey::Chat(id) => {
                space.settle_announcements(turn);
                let here = (id, space.newest_secured(), space.members());
                member.greet(key, turn, (Some(here), after));
            }
            SpaceKey::Lobby => {
                let user = member.who.user;
                space.settle_announcements(turn);
                member.greet(key, turn, (None, None));
                if is_first && space.is_announced() {
                    space.announce_status(turn, user, true);
                }
                // Its own status comes first and once: privately, so its cursor stands behind
                // the news.
                member.queue.place(space.end(member.who.encoding));
                if space.is_announced() {
                    member.list_from(Some(LOWEST));
                }
                let utc = turn.utc();
                member.give(key, turn, |out| {
                    server_message::user_status(out, user, true, &utc);
                });
            }
            SpaceKey::Inbox(_) => member.greet(key, turn, (None, None)),
            SpaceKey::Echo => {}
        }
        key
    }

    /// Tells a chat space of a member that is new in it, or that member alone in a big space.
    pub(super) fn announce(&mut self, turn: &mut Turn, key: MemberKey) {
        let Some(Seated { member, space, .. }) = self.seated(key) else { return };
        let SpaceKey::Chat(id) = space.key() else { return };
        if !member.is_shown() {
            return;
        }
        if space.is_announced() {
            return space.announce_join(turn, member);
        }
        member.tell_join(turn, id);
        member.make_due(key, &mut turn.due);
    }

    /// Tells the directory how many members a space has.
    pub(super) fn note_occupancy(&self, fx: &mut Effects, slot: u32) {
        let Some(space) = self.spaces.at(slot) else { return };
        match fx.occupancy.last_mut() {
            Some((key, last)) if *key == space.key() => *last = space.members(),
            _ => fx.occupancy.push((space.key(), space.members())),
        }
    }

    /// A peer's goodbye, a broken rule, or the end of its socket.
    pub(super) fn close(&mut self, turn: &mut Turn, key: MemberKey, close: Close) {
        let Some(member) = self.members.get(key) else { return };
        match (member.closing(), close) {
            (None, _) => self.let_go(turn, key, close),
            // The answer to our close frame, or the end of the socket.
            (Some(_), Close::Peer(_) | Close::Gone) => self.end(turn, key),
            (Some(_), _) => {}
        }
    }

    /// Lets a member go: it leaves its space at once, and gets what can still be said at a frame
    /// boundary, then a close frame. `close_wait` later its socket ends in any case.
    pub(super) fn let_go(&mut self, turn: &mut Turn, key: MemberKey, close: Close) {
        let Some(Seated { member, space, .. }) = self.seated(key) else { return };
        turn.counts.close(close);
        if close.is_offence() {
            turn.fx.offended.push((key, close));
        }
        let max = turn.limits.private_bytes_max as u64;
        let last = if close == Close::Gone {
            None
        } else {
            member.last_frames(turn, close, |out| space.write_rest(member, max, out))
        };
        if space.is_paused() || member.is_blocked() || member.is_held() {
            // Its socket is read again, for its close frame or end.
            turn.fx.readable.push(key);
        }
        let slot = space.slot();
        self.unseat(turn, key);
        self.note_occupancy(&mut turn.fx, slot);
        let is_over = last.is_none();
        if let Some(member) = self.members.get_mut(key) {
            member.close(key, turn, close, last);
        }
        if is_over {
            self.end(turn, key);
        }
    }

    /// Takes a member out of its space and says so there.
    fn unseat(&mut self, turn: &mut Turn, key: MemberKey) {
        let Some(Seated { member, space, .. }) = self.seated(key) else { return };
        let (user, seat) = (member.who.user, member.seat());
        let is_unknown = member.is_catching_up() || !member.is_shown();
        let moved = space.unseat(turn, key.slot, member);
        turn.counts.add(Metric::Leaves, 1);
        let was_announced = space.is_announced();
        let lists_anew = space.settle_announcements(turn);
        match space.key() {
            SpaceKey::Chat(_) if space.is_announced() && !is_unknown => {
                space.announce_leave(turn, user);
            }
            SpaceKey::Lobby if was_announced && space.members_of(user).next().is_none() => {
                space.announce_status(turn, user, false);
            }
            _ => {}
        }
        turn.due.unsettle(space.slot());
        let slot = space.slot();
        if let Some((moved, seat)) = moved.zip(seat)
            && let Some(member) = self.members.at_mut(moved)
        {
            member.move_to(seat);
        }
        if lists_anew {
            self.list_anew(turn, slot);
        }
    }

    /// All members of a space are told who is online.
    fn list_anew(&mut self, turn: &mut Turn, space: u32) {
        let Some(space) = self.spaces.at(space) else { return };
        for (_, slot) in space.by_user() {
            if let Some((key, member)) = self.members.tenant_mut(slot) {
                member.list_from(Some(LOWEST));
                member.make_due(key, &mut turn.due);
            }
        }
    }

    /// Everything is sent to a member that is being closed.
    pub(super) fn close_sent(&mut self, turn: &mut Turn, key: MemberKey) {
        if self.members.get(key).is_some_and(Member::is_answering) {
            self.end(turn, key);
        }
    }

    /// The socket is to be shut; the member is no more.
    pub(super) fn end(&mut self, turn: &mut Turn, key: MemberKey) {
        let Some(mut member) = self.members.remove(key) else { return };
        self.grants.forget(key);
        assert!(!member.is_seated(), "it left its space before");
        member.queue.replace(&mut turn.counts, None);
        member.unblock(&mut turn.counts);
        turn.fx.ended.push((key, member.closing().unwrap_or(Close::Gone)));
    }

    /// Ends everybody of a turn whose records are in no journal: members are closed without what
    /// they are owed, and those that are being closed end, whose last frames may be of that turn.
    pub(super) fn let_all_go(&mut self, turn: &mut Turn, close: Close) {
        for slot in 0..self.members.slots() {
            let Some(key) = self.members.key_at(slot) else { continue };
            let Some(member) = self.members.get(key) else { continue };
            if member.is_seated() {
                self.let_go(turn, key, close);
            } else if member.queue.private_bytes() > 0 {
                self.end(turn, key);
            }
        }
    }

    /// A socket that was full takes bytes again.
    pub(super) fn writable(&mut self, turn: &mut Turn, key: MemberKey) {
        let Some(member) = self.members.get_mut(key) else { return };
        if member.unblock(&mut turn.counts) {
            member.make_due(key, &mut turn.due);
            turn.fx.readable.push(key);
        }
    }

    /// A tick: who floods may be read again, and paused spaces are looked at.
    pub(super) fn release(&mut self, turn: &mut Turn) {
        for key in turn.due.tick() {
            if let Some(Seated { member, .. }) = self.seated(key) {
                member.release();
                turn.fx.readable.push(key);
            }
        }
    }

    /// Closes a user's members of a space. Returns how many.
    pub(super) fn kick(&mut self, turn: &mut Turn, space: SpaceId, user: UserId) -> u32 {
        let space = self.spaces.find(SpaceKey::Chat(space));
        let slots: Vec<u32> = space.map_or(Vec::new(), |space| space.members_of(user).collect());
        for slot in &slots {
            if let Some(key) = self.members.key_at(*slot) {
                self.let_go(turn, key, Close::Kicked);
            }
        }
        slots.len() as u32
    }

    /// Pushes a notification to a user's sockets. Returns to how many.
    pub(super) fn notify(&mut self, turn: &mut Turn, user: UserId, push: &Notification) -> u32 {
        let space = self.spaces.find_mut(SpaceKey::Inbox(user));
        let Some(space) = space.filter(|space| space.members() > 0) else { return 0 };
        let at = turn.at();
        let now = str::from_utf8(&at).unwrap_or_default();
        let timestamp = push.timestamp.as_deref().unwrap_or(now);
        let bound = 100 + 6 * (push.kind.len() + timestamp.len()) + push.data.len();
        space.append(turn, None, bound, |out| {
            server_message::notification(out, &push.kind, &push.data, timestamp)
        });
        turn.counts.add(Metric::NotificationsPushed, 1);
        space.members() as u32
    }

    /// Who is in a space, by user id.
    pub(super) fn present(&self, key: SpaceKey, users_max: usize) -> Present {
        let Some(space) = self.spaces.find(key) else { return Present::default() };
        let mut users: Vec<PresentUser> = Vec::new();
        let mut truncated = false;
        for (user, slot) in space.by_user() {
            let shown = self.members.at(slot).filter(|member| member.is_shown());
            let Some(member) = shown else { continue };
            if let Some(last) = users.last_mut().filter(|last| last.user == user) {
                last.connections += 1;
                continue;
            }
            if users.len() == users_max {
                truncated = true;
                break;
            }
            users.push(PresentUser { user, username: member.who.username.clone(), connections: 1 });
        }
        Present { members: space.members(), users, truncated }
    }

    /// Members whose tokens end soon are told so; those whose tokens have ended are closed.
    pub(super) fn expire(&mut self, turn: &mut Turn) {
        for _ in 0..EXPIRED_MAX {
            let Some((key, expiry)) = self.grants.due(turn.now.unix) else { return };
            match expiry {
                Expiry::Notice(left_ms) => {
                    let at = turn.at();
                    self.with(turn, key, |seated, turn| {
                        seated.answer(turn, |out| server_message::expiring(out, left_ms, &at))
                    });
                }
                Expiry::End => self.let_go(turn, key, Close::Unauthorized),
            }
        }
    }

    /// Closes the members whose tokens are called back. Returns how many.
    pub(super) fn revoke(&mut self, turn: &mut Turn, revocation: Revocation) -> u32 {
        self.grants.revoke(turn.now.mono, revocation);
        let revoked = self.grants.marks().filter(|(key, mark)| {
            let member = self.members.get(*key).filter(|member| member.is_seated());
            member.is_some_and(|member| revocation.is_of(member.who.user, *mark))
        });
        let revoked: Vec<MemberKey> = revoked.map(|(key, _)| key).collect();
        for key in &revoked {
            self.let_go(turn, *key, Close::Unauthorized);
        }
        revoked.len() as u32
    }

    /// A member has shown another token, and may do this from now on.
    pub(super) fn granted(&mut self, turn: &mut Turn, key: MemberKey, grant: Option<Grant>) {
        let Some(Seated { member, .. }) = self.seated(key) else { return };
        let (user, is_told) = (member.who.user, member.who.dialect == Dialect::V1);
        let is_good = |it: &Grant| !self.grants.is_revoked(turn.now.mono, user, it.mark);
        let Some((grant, until)) = grant.filter(is_good).and_then(|it| Some((it, it.until?)))
        else {
            return self.not_renewed(turn, key, Reject::Unauthorized);
        };
        self.grants.set(key, grant, is_told);
        if let Some(Seated { member, .. }) = self.seated(key) {
            member.who.may_say = grant.may_say;
        }
        let left_ms = (until.0 - turn.now.unix.0).max(0) as u64 / 1_000;
        let at = turn.at();
        self.with(turn, key, |seated, turn| {
            seated.answer(turn, |out| server_message::renewed(out, left_ms, &at))
        });
    }

    /// A member's token was not taken; it stays until the end of the one before.
    pub(super) fn not_renewed(&mut self, turn: &mut Turn, key: MemberKey, reject: Reject) {
        turn.counts.reject(reject);
        let refusal = Refusal { reject, nonce: None, id: None };
        self.with(turn, key, |seated, turn| seated.refuse(turn, &refusal));
    }

    /// Closes members that take nothing, those first that are owed most, until this many bytes are
    /// freed. They are cut at once.
    pub(super) fn relieve(&mut self, turn: &mut Turn, bytes: u64) {
        let mut holders: Vec<(u64, MemberKey)> = (0..self.members.slots())
            .filter_map(|slot| {
                let holds = |it: &&Member| it.is_seated() && it.is_blocked();
                let member = self.members.at(slot).filter(holds)?;
                let owed = member.queue.private_bytes() as u64;
                Some((u64::from(UNSENT_BYTES_MAX) + owed, self.members.key_at(slot)?))
            })
            .collect();
        holders.sort_unstable_by_key(|(held, key)| (std::cmp::Reverse(*held), *key));
        let mut freed = 0;
        let enough = holders.iter().take_while(|(held, _)| {
            let is_wanted = freed < bytes;
            freed += held;
            is_wanted
        });
        // They leave in the order of their slots, as all do who leave at once.
        let mut leaving: Vec<MemberKey> = enough.map(|(_, key)| *key).collect();
        leaving.sort_unstable();
        for key in leaving {
            self.let_go(turn, key, Close::Overloaded);
            // What it is to be told would wait behind all that it does not take.
            self.end(turn, key);
        }
    }

    /// One member against its deadlines.
    pub(super) fn judge(&mut self, turn: &mut Turn, key: MemberKey, grace: bool) {
        let Some(member) = self.members.get_mut(key) else { return };
        let space = self.spaces.at(member.space());
        // The sockets of a paused space are not read, so silence proves nothing.
        if member.is_seated() && space.is_some_and(Space::is_paused) {
            member.heard(turn.now.mono);
        }
        match member.deadline(turn.now.mono, &turn.limits, grace) {
            None => {}
            // A ping of a few bytes is not what brings a queue over its bound.
            Some(Deadline::Ping) => member.ping(key, turn),
            Some(Deadline::Close(close)) => self.let_go(turn, key, close),
            Some(Deadline::End) => self.end(turn, key),
        }
    }

    /// Trims the logs that have changed, evicts members that fell out of them or hold up their
    /// space, and begins or ends pauses. Evictions append leaves, which may unsettle again: that is
    /// the next slice's.
    pub(super) fn settle(&mut self, turn: &mut Turn) {
        let mut unsettled = turn.due.take_unsettled();
        for slot in unsettled.drain(..) {
            let Some(space) = self.spaces.at_mut(slot) else { continue };
            space.trim(turn, &self.members);
            let mut fallen = space.fallen(turn, &self.members);
            fallen.append(&mut space.holders(turn, &self.members));
            for key in &fallen {
                self.let_go(turn, *key, Close::TooSlow);
            }
            let Some(space) = self.spaces.at_mut(slot) else { continue };
            if !fallen.is_empty() {
                space.trim(turn, &self.members);
            }
            space.settle_pause(turn, &self.members);
        }
        turn.due.keep(unsettled);
    }
}
