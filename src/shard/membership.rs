//! Coming and going: join, close, kick, who is there.

use bytes::BytesMut;

use super::event::{Effects, Join, MemberKey, Notification, Present, PresentUser, Reply, Ticket};
use super::member::{Member, NO_SEAT, Private, Rare};
use super::rate::Gcra;
use super::{Shard, SpaceKey};
use crate::metrics::Metric;
use crate::wire::close::Close;
use crate::wire::server_message::{self, Welcome};
use crate::wire::time::Now;
use crate::wire::{Dialect, Id, SpaceId, UserId, frame_writer};

/// More than any join, leave or status frame takes, beside the name (6 bytes an escape).
pub(super) const CHANGE_BYTES_MAX: usize = 300;

impl Shard {
    pub(super) fn join(&mut self, now: Now, join: Join, fx: &mut Effects) {
        let resume_from = join.after;
        let space = join.space;
        let key = self.members.insert(new_member(now, join));
        fx.joined = Some(key);
        let refusal = if self.drain.is_some() {
            Some(Close::Restart)
        } else if self.journal_failed {
            Some(Close::Internal)
        } else if self.logs_held > self.limits.logs_bytes_max {
            Some(Close::Overloaded)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.begin_close(now, key, refusal, fx);
        }
        self.counts.add(Metric::Joins, 1);
        let slot = self.space_for(space);
        match space {
            SpaceKey::Chat(id) => self.join_chat(now, key, (slot, id), resume_from, fx),
            SpaceKey::Lobby => self.join_lobby(now, key, slot),
            SpaceKey::Inbox(_) => {
                self.seat(key, slot);
                self.greet(now, key, None);
            }
        }
        self.note_occupancy(slot, fx);
    }

    /// Takes a member into a space, its cursor at the log's end. Returns whether it is its
    /// user's first there.
    fn seat(&mut self, key: MemberKey, slot: u32) -> bool {
        let space = self.spaces.at_mut(slot).expect("the caller made it");
        let member = self.members.get_mut(key).expect("the caller made it");
        let first = space.members_of(member.user).next().is_none();
        member.space = slot;
        member.seat = space.seat(key.slot, member.user);
        member.presence_seen = space.presence_version;
        member.cursor = space.log.end();
        member.boundary = member.cursor;
        first
    }

    fn join_chat(
        &mut self,
        now: Now,
        key: MemberKey,
        (slot, id): (u32, SpaceId),
        after: Option<Id>,
        fx: &mut Effects,
    ) {
        self.seat(key, slot);
        let space = self.spaces.at_mut(slot).expect("seated in it");
        space.settle_announcements(self.limits.announce_members_max);
        space.presence_changed |= !space.announced;
        let (announced, newest, members) =
            (space.announced, space.log.newest(), space.roster.len());
        self.greet(now, key, Some((id, newest, members)));
        if let Some(after) = after {
            return self.resume(now, key, after, fx);
        }
        let member = self.members.get(key).expect("just made");
        let (user, name) = (member.user, member.username.clone());
        if announced {
            return self.announce_join(now, (slot, id), user, &name);
        }
        let at = *self.time.text(now.unix);
        // A fresh member can't be over its private bound.
        _ = self.push_private(key, |private| {
            private.push(|out| _ = server_message::join(out, id, user, &name, &at));
        });
    }

    fn join_lobby(&mut self, now: Now, key: MemberKey, slot: u32) {
        let first = self.seat(key, slot);
        let user = self.members.get(key).expect("just made").user;
        self.greet(now, key, None);
        let utc = *self.utc.text(now.unix);
        if first {
            self.append(now, slot, CHANGE_BYTES_MAX, |out| {
                server_message::user_status(out, user, true, &utc)
            });
        }
        // Its own status comes first and once: privately, so its cursor stands behind the news.
        let space = self.spaces.at(slot).expect("seated in it");
        let (end, lowest) = (space.log.end(), i32::MIN);
        let member = self.members.get_mut(key).expect("just made");
        (member.cursor, member.boundary) = (end, end);
        member.rare().listing = Some(lowest);
        _ = self.push_private(key, |private| {
            private.push(|out| _ = server_message::user_status(out, user, true, &utc));
        });
    }

    /// Welcomes a member of the second dialect.
    fn greet(&mut self, now: Now, key: MemberKey, space: Option<(SpaceId, Id, usize)>) {
        let member = self.members.get_mut(key).expect("just made");
        if member.dialect == Dialect::Seed {
            return;
        }
        let name = std::mem::take(&mut member.username);
        let welcome = Welcome {
            connection: (self.number, key.slot, key.generation),
            user: member.user,
            username: &name,
            space,
            message_bytes_max: self.limits.message_bytes_max,
            content_chars_max: self.limits.content_chars_max,
            ping_period_ms: self.limits.ping_period,
        };
        let at = *self.time.text(now.unix);
        _ = self.push_private(key, |private| {
            private.push(|out| server_message::welcome(out, &welcome, &at));
        });
        self.members.get_mut(key).expect("just made").username = name;
    }

    /// A peer's goodbye, a broken rule, or the end of its socket.
    pub(super) fn close(&mut self, now: Now, key: MemberKey, close: Close, fx: &mut Effects) {
        let Some(member) = self.members.get(key) else { return };
        match (member.closing, close) {
            (None, _) => self.begin_close(now, key, close, fx),
            // The answer to our close frame, or the end of the socket.
            (Some(_), Close::Peer(_) | Close::Gone) => self.end(key, fx),
            (Some(_), _) => {}
        }
    }

    /// Lets a member go: it leaves its space at once, and gets what can still be said at a frame
    /// boundary, then a close frame. `close_wait` later its socket ends in any case.
    pub(super) fn begin_close(&mut self, now: Now, key: MemberKey, close: Close, fx: &mut Effects) {
        let Some(member) = self.members.get(key) else { return };
        assert!(member.closing.is_none(), "a member closes once");
        self.counts.close(close);
        let queue = if close == Close::Gone { None } else { self.last_frames(now, key, close) };
        let slot = self.members.get(key).expect("looked up above").space;
        if self.members.get(key).expect("looked up above").is_seated() {
            if self.spaces.at(slot).is_some_and(|space| space.paused.is_some()) {
                // The pause is not its own any more: its goodbye, or its end, is to be read.
                fx.readable.push(key);
            }
            self.unseat(now, key);
            self.note_occupancy(slot, fx);
        }
        let member = self.members.get_mut(key).expect("looked up above");
        let before = member.private_bytes();
        let sendable = queue.is_some();
        member.rare = None;
        member.closing = Some(close);
        member.since = now.mono;
        member.private = queue.map(|bytes| {
            let mut private = Box::new(Private::default());
            private.push(|out| *out = bytes);
            private
        });
        let grown = (member.private_bytes() as u64).wrapping_sub(before as u64);
        self.counts.add(Metric::PrivateBytes, grown);
        if sendable { self.make_ready(key) } else { self.end(key, fx) }
    }

    /// What a closing member is sent: the rest of the log if it is small, or of the frame that
    /// it is in the middle of; its private frames; `closing`; the close frame. `None`: no frame
    /// boundary can be reached.
    fn last_frames(&mut self, now: Now, key: MemberKey, close: Close) -> Option<BytesMut> {
        let max = self.limits.private_bytes_max as u64;
        let member = self.members.get(key)?;
        let mut queue = BytesMut::new();
        if self.journal_failed {
            // What it is owed may be of the turn that failed.
            if member.is_cut() {
                return None;
            }
            self.last_words(now, key, close, &mut queue);
            return Some(queue);
        }
        let private = member.private.as_ref().map_or(&[][..], |private| private.bytes());
        if member.at_boundary() {
            queue.extend_from_slice(private);
        }
        if member.is_seated() {
            let log = &self.spaces.at(member.space)?.log;
            let held_back = member.rare.as_ref().is_some_and(|rare| rare.holds_back());
            let end = if log.end() - member.cursor <= max && !held_back {
                log.end()
            } else if member.at_boundary() {
                member.cursor
            } else {
                // What it was to be sent next ends a frame too, and no resume is overshot.
                let end = log.boundary_from(member.cursor).min(member.boundary);
                Some(end).filter(|end| end - member.cursor <= max)?
            };
            let mut from = member.cursor;
            while from < end {
                let (first, second) = log.slices(from, end);
                queue.extend_from_slice(first);
                queue.extend_from_slice(second);
                from += (first.len() + second.len()) as u64;
            }
        }
        if !member.at_boundary() {
            queue.extend_from_slice(private);
        }
        self.last_words(now, key, close, &mut queue);
        Some(queue)
    }

    /// Says that and why a connection is closed.
    fn last_words(&mut self, now: Now, key: MemberKey, close: Close, queue: &mut BytesMut) {
        let retry = close.retry_after_ms(self.jitter());
        let at = *self.time.text(now.unix);
        let dialect = self.members.get(key).map(|member| member.dialect);
        if dialect == Some(Dialect::V1)
            && close.is_ours()
            && let Some(code) = close.code()
        {
            server_message::closing(queue, code, close.reason(), retry, &at);
        }
        frame_writer::close(queue, close.code(), close.reason());
    }

    /// Takes a member out of its space and says so there.
    fn unseat(&mut self, now: Now, key: MemberKey) {
        let member = self.members.get_mut(key).expect("the caller's member");
        let (slot, seat, user) = (member.space, member.seat, member.user);
        member.seat = NO_SEAT;
        let lagged = std::mem::take(&mut member.lagging);
        let unannounced = member.is_catching_up();
        let space = self.spaces.at_mut(slot).expect("a seated member has a space");
        space.lagging -= usize::from(lagged);
        space.catching_up -= usize::from(unannounced);
        if let Some(moved) = space.unseat(seat, key.slot, user) {
            self.members.at_mut(moved).expect("a seat is taken").seat = seat;
        }
        space.settle_announcements(self.limits.announce_members_max);
        space.presence_changed |= !space.announced;
        let (kind, announced) = (space.key, space.announced);
        let last = space.members_of(user).next().is_none();
        self.counts.add(Metric::Leaves, 1);
        match kind {
            SpaceKey::Chat(id) if announced && !unannounced => {
                let at = *self.time.text(now.unix);
                self.append(now, slot, CHANGE_BYTES_MAX, |out| {
                    server_message::leave(out, id, user, &at)
                });
            }
            SpaceKey::Lobby if last => {
                let utc = *self.utc.text(now.unix);
                self.append(now, slot, CHANGE_BYTES_MAX, |out| {
                    server_message::user_status(out, user, false, &utc)
                });
            }
            _ => {}
        }
        self.unsettled.push(slot);
    }

    /// Everything is sent to a member that closes.
    pub(super) fn close_sent(&mut self, key: MemberKey, fx: &mut Effects) {
        if let Some(member) = self.members.get(key)
            && let Some(Close::Peer(_)) = member.closing
        {
            // The peer began: nothing more is to come.
            self.end(key, fx);
        }
    }

    /// The socket is to be shut; the member is no more.
    pub(super) fn end(&mut self, key: MemberKey, fx: &mut Effects) {
        let Some(member) = self.members.remove(key) else { return };
        assert!(!member.is_seated(), "it left its space before");
        self.counts.sub(Metric::PrivateBytes, member.private_bytes() as u64);
        self.counts.sub(Metric::MembersBlocked, member.blocked.into());
        fx.ended.push((key, member.closing.unwrap_or(Close::Gone)));
    }

    fn note_occupancy(&mut self, slot: u32, fx: &mut Effects) {
        let Some(space) = self.spaces.at(slot) else { return };
        let members = space.roster.len();
        match fx.occupancy.last_mut() {
            Some((key, last)) if *key == space.key => *last = members,
            _ => fx.occupancy.push((space.key, members)),
        }
    }

    pub(super) fn kick(
        &mut self,
        now: Now,
        ticket: Ticket,
        (space, user): (SpaceId, UserId),
        fx: &mut Effects,
    ) {
        let slot = self.by_key.get(&SpaceKey::Chat(space)).copied();
        let space = slot.and_then(|slot| self.spaces.at(slot));
        let slots: Vec<u32> = space.map_or(Vec::new(), |space| space.members_of(user).collect());
        for slot in &slots {
            let key = self.members.key_at(*slot).expect("a seat is taken");
            self.begin_close(now, key, Close::Kicked, fx);
        }
        fx.replies.push((ticket, Reply::Count(slots.len() as u32)));
    }

    pub(super) fn notify(
        &mut self,
        now: Now,
        ticket: Ticket,
        user: UserId,
        push: &Notification,
        fx: &mut Effects,
    ) {
        let slot = self.by_key.get(&SpaceKey::Inbox(user)).copied();
        let members =
            slot.and_then(|slot| self.spaces.at(slot)).map_or(0, |space| space.roster.len());
        if let Some(slot) = slot
            && members > 0
        {
            let at = self.time.string(now.unix);
            let timestamp = push.timestamp.as_deref().unwrap_or(&at);
            let bound = 100 + 6 * (push.kind.len() + timestamp.len()) + push.data.len();
            self.append(now, slot, bound, |out| {
                server_message::notification(out, &push.kind, &push.data, timestamp)
            });
            self.counts.add(Metric::NotificationsPushed, 1);
        }
        fx.replies.push((ticket, Reply::Count(members as u32)));
    }

    /// Who is in a space, by user id.
    pub(super) fn present(&self, key: SpaceKey, users_max: usize) -> Present {
        let slot = self.by_key.get(&key).copied();
        let Some(space) = slot.and_then(|slot| self.spaces.at(slot)) else {
            return Present::default();
        };
        let mut users: Vec<PresentUser> = Vec::new();
        let mut truncated = false;
        for (user, slot) in &space.users {
            if let Some(last) = users.last_mut().filter(|last| last.user == *user) {
                last.connections += 1;
                continue;
            }
            if users.len() == users_max {
                truncated = true;
                break;
            }
            let username = self.members.at(*slot).expect("a seat is taken").username.clone();
            users.push(PresentUser { user: *user, username, connections: 1 });
        }
        Present { members: space.roster.len(), users, truncated }
    }
}

fn new_member(now: Now, join: Join) -> Member {
    Member {
        space: u32::MAX,
        seat: NO_SEAT,
        user: join.user,
        presence_seen: 0,
        cursor: 0,
        boundary: 0,
        heard: now.mono,
        since: now.mono,
        rate: Gcra::default(),
        control: Gcra::default(),
        address: join.address.unwrap_or(0),
        username: join.username,
        private: None,
        rare: None::<Box<Rare>>,
        closing: None,
        dialect: join.dialect,
        blocked: false,
        lagging: false,
        queued: false,
        pinged: false,
    }
}
