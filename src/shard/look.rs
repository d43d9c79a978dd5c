//! How the members of a space stand, as an operator is shown it. Reads, and changes nothing.

use super::event::{Seen, SeenMember};
use super::rooms::Rooms;
use crate::wire::time::MonoMs;
use crate::wire::{SpaceKey, UserId};

impl Rooms {
    /// The members of a space from a user on, `max` of them at most. A user's members are never
    /// parted, so that who asks goes on with the next user.
    pub(super) fn look(&self, now: MonoMs, from: (SpaceKey, UserId), max: usize) -> Seen {
        let (key, first) = from;
        let Some(space) = self.spaces.find(key) else { return Seen::default() };
        let mut seen = Seen { members: space.members(), ..Seen::default() };
        for (user, slot) in space.by_user_from(first) {
            let is_full = seen.listed.len() >= max;
            if is_full && seen.listed.last().is_some_and(|last| last.user != user) {
                seen.more = true;
                break;
            }
            let (Some(member), Some(key)) = (self.members.at(slot), self.members.key_at(slot))
            else {
                continue;
            };
            seen.listed.push(SeenMember {
                key,
                user,
                username: member.who.username.clone(),
                dialect: member.who.dialect,
                address: member.who.address(),
                behind_bytes: space.end(member.who.encoding).saturating_sub(member.queue.cursor()),
                private_bytes: member.queue.private_bytes(),
                is_blocked: member.is_blocked(),
                silent_ms: member.silent_ms(now),
            });
        }
        seen
    }
}
