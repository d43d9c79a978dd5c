//! What a space's members are told of each other: joins and leaves in small spaces, who is online
//! in a small lobby, a count in big ones. What a space says then grows with those who are in it,
//! and not with their square.

use std::collections::BTreeSet;

use super::Space;
use crate::limits::{LISTED_USERS_MAX, Limits};
use crate::shard::member::Member;
use crate::shard::turn::Turn;
use crate::wire::server_message;
use crate::wire::time::MonoMs;
use crate::wire::{Dialect, SpaceKey, UserId};

/// More than any join, leave or status frame takes, beside the name (6 bytes an escape).
const CHANGE_BYTES_MAX: usize = 300;
/// How often a big space's members are told its count, in ms.
const PERIOD: u64 = 1_000;

/// How a space tells who is there.
#[derive(Debug)]
pub(super) struct Presence {
    /// Joins and leaves are announced one by one.
    is_announced: bool,
    /// Grows when the count of members that `cpi-hub.v1` members are told changes.
    version: u32,
    /// When that was.
    told_at: MonoMs,
    /// The count has changed since.
    has_changed: bool,
    /// Users whom a lobby's members believe to be online since it told changes last.
    believed: BTreeSet<UserId>,
}

impl Default for Presence {
    fn default() -> Presence {
        Presence {
            is_announced: true,
            version: 0,
            told_at: MonoMs(0),
            has_changed: false,
            believed: BTreeSet::new(),
        }
    }
}

impl Presence {
    /// Announcements stop above the limit, and begin again under 90 % of it. Returns which users
    /// were believed to be there before they stopped, where they begin again.
    fn settle(
        &mut self,
        (members, members_max): (usize, usize),
        users: Option<&BTreeSet<(UserId, u32)>>,
    ) -> Option<BTreeSet<UserId>> {
        let before = self.is_announced;
        if members > members_max {
            self.is_announced = false;
        } else if members * 10 < members_max * 9 || members == 0 && members_max > 0 {
            self.is_announced = true;
        }
        self.has_changed |= !self.is_announced;
        if before && !self.is_announced {
            self.believed = users.into_iter().flatten().map(|(user, _)| *user).collect();
        }
        (!before && self.is_announced).then(|| std::mem::take(&mut self.believed))
    }

    /// Whether the count has a new number now, which members are to be told.
    fn is_due(&mut self, now: MonoMs) -> bool {
        let is_due = self.has_changed && now.since(self.told_at) >= PERIOD;
        if is_due {
            (self.has_changed, self.told_at) = (false, now);
            self.version = self.version.wrapping_add(1);
        }
        is_due
    }

    /// A new member needs not be told the count.
    pub(super) fn seen_by(&self, member: &mut Member) {
        member.learn_presence(self.version);
    }
}

impl Space {
    /// Whether joins and leaves are announced one by one.
    pub(crate) fn is_announced(&self) -> bool {
        self.presence.is_announced
    }

    /// The number of members has changed: applies the limit on announcements. Returns whether all
    /// members of a lobby are to be told anew who is online.
    pub(crate) fn settle_announcements(&mut self, turn: &mut Turn) -> bool {
        let Limits { lobby_members_max, announce_members_max, .. } = turn.limits;
        let is_lobby = matches!(self.key, SpaceKey::Lobby);
        let max = if is_lobby { lobby_members_max } else { announce_members_max };
        let users = is_lobby.then_some(&self.users);
        let believed = self.presence.settle((self.members(), max), users);
        let begins_again = is_lobby && believed.is_some();
        for user in believed.into_iter().flatten() {
            if self.members_of(user).next().is_none() {
                self.announce_status(turn, user, false);
            }
        }
        begins_again
    }

    /// Appends a join to a chat space's log.
    pub(crate) fn announce_join(&mut self, turn: &mut Turn, member: &Member) {
        let SpaceKey::Chat(id) = self.key else { return };
        let (at, user, name) = (turn.at(), member.who.user, &member.who.username);
        let bound = CHANGE_BYTES_MAX + 6 * name.len();
        self.append(turn, None, bound, |out| server_message::join(out, id, user, name, &at));
    }

    /// Appends a leave to a chat space's log.
    pub(crate) fn announce_leave(&mut self, turn: &mut Turn, user: UserId) {
        let SpaceKey::Chat(id) = self.key else { return };
        let at = turn.at();
        let bound = CHANGE_BYTES_MAX;
        self.append(turn, None, bound, |out| server_message::leave(out, id, user, &at));
    }

    /// Appends to the lobby's log that a user is online, or is no more.
    pub(crate) fn announce_status(&mut self, turn: &mut Turn, user: UserId, online: bool) {
        let utc = turn.utc();
        let bound = CHANGE_BYTES_MAX;
        self.append(turn, None, bound, |out| server_message::user_status(out, user, online, &utc));
    }

    /// A big space's count is due to be told, now and then.
    pub(super) fn tick_presence(&mut self, turn: &mut Turn) {
        if self.presence.is_due(turn.now.mono) {
            self.make_due(turn);
        }
    }

    /// Gives a member of the second dialect the count of members, if it does not know it.
    #[inline]
    pub(crate) fn tell_count(&self, turn: &mut Turn, member: &mut Member) {
        if member.who.dialect == Dialect::V1 && member.learn_presence(self.presence.version) {
            self.tell_new_count(turn, member);
        }
    }

    fn tell_new_count(&self, turn: &mut Turn, member: &mut Member) {
        let id = match self.key {
            SpaceKey::Chat(id) => Some(id),
            SpaceKey::Lobby => None,
            SpaceKey::Inbox(_) | SpaceKey::Echo => return,
        };
        let (members, at) = (self.members(), turn.at());
        member.push(&mut turn.counts, |out| server_message::presence(out, id, members, &at));
    }

    /// Gives a member the next users of the list of who is online, if it is being sent that.
    pub(crate) fn tell_online(&self, turn: &mut Turn, member: &mut Member) {
        if let Some(from) = member.listing() {
            tell_next(&self.users, turn, member, from);
        }
    }
}

/// Gives a member the next users of the list, from one on.
fn tell_next(users: &BTreeSet<(UserId, u32)>, turn: &mut Turn, member: &mut Member, from: UserId) {
    let step = listing_step(users, member.who.user, from);
    let last = step.last().filter(|_| step.len() == LISTED_USERS_MAX);
    // The list ends with the highest user id there can be.
    member.list_from(last.and_then(|last| last.0.checked_add(1)).map(UserId));
    if step.is_empty() {
        return;
    }
    let utc = turn.utc();
    member.push(&mut turn.counts, |out| {
        for user in &step {
            server_message::user_status(out, *user, true, &utc);
        }
    });
}

/// The next users of the list of who is online, from a user on, without the reader.
fn listing_step(users: &BTreeSet<(UserId, u32)>, reader: UserId, from: UserId) -> Vec<UserId> {
    let mut step: Vec<UserId> = Vec::with_capacity(LISTED_USERS_MAX);
    let mut from = Some(from);
    while let Some(lowest) = from
        && step.len() < LISTED_USERS_MAX
    {
        // One look-up a user, however many sockets it has.
        let next = users.range((lowest, 0)..).next();
        let Some((user, _)) = next else { break };
        if *user != reader {
            step.push(*user);
        }
        from = user.0.checked_add(1).map(UserId);
    }
    step
}
