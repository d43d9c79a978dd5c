//! A space: its log, who is in it, and where the sweep stands.

use std::collections::BTreeSet;

use super::log::{Floor, SpaceLog};
use crate::wire::time::MonoMs;
use crate::wire::{SpaceKey, UserId};

/// What a space costs beside its log's segments; counted against the logs' bound.
pub(super) const SPACE_BYTES: usize = 512;

/// One space.
#[derive(Debug)]
pub(super) struct Space {
    /// Its kind and number.
    pub key: SpaceKey,
    /// Its frames.
    pub log: SpaceLog,
    /// Slots of its members, in the order of the sweep; a member knows its seat.
    pub roster: Vec<u32>,
    /// (user, slot) of its members: presence lists, kicks, who is online.
    pub users: BTreeSet<(UserId, u32)>,
    /// Members that were blocked, or resume, and have not come up with the log.
    pub lagging: usize,
    /// Members that are sent the store's part of what they missed.
    pub catching_up: usize,
    /// The seat that the sweep visits next.
    pub sweep_next: usize,
    /// Members still to be visited until all have seen the log's end; 0: clean.
    pub sweep_left: usize,
    /// Up to here everyone who takes bytes has been sent the log.
    sent_floor: u64,
    /// Where the log ended when the present pass over the roster began, and its visits so far.
    pass_began_at: u64,
    visits: usize,
    /// It stands in the sweep's queue of dirty spaces.
    pub queued: bool,
    /// Since when its members' sockets are not read, because its readers lag.
    pub paused: Option<MonoMs>,
    /// A pause ran its full time; no other before the log has shrunk.
    pub pause_spent: bool,
    /// Joins and leaves are announced one by one.
    pub announced: bool,
    /// Grows when the count of members that `cpi-hub.v1` members are told changes.
    pub presence_version: u32,
    /// When that was.
    pub presence_at: MonoMs,
    /// The count changed since.
    pub presence_changed: bool,
}

impl Space {
    /// An empty space; `floor` as [`SpaceLog::new`] has it.
    pub fn new(key: SpaceKey, floor: Floor) -> Space {
        Space {
            key,
            log: SpaceLog::new(floor),
            roster: Vec::new(),
            users: BTreeSet::new(),
            lagging: 0,
            catching_up: 0,
            sweep_next: 0,
            sweep_left: 0,
            sent_floor: 0,
            pass_began_at: 0,
            visits: 0,
            queued: false,
            paused: None,
            pause_spent: false,
            announced: true,
            presence_version: 0,
            presence_at: MonoMs(0),
            presence_changed: false,
        }
    }

    /// Takes a member in; returns its seat.
    pub fn seat(&mut self, slot: u32, user: UserId) -> u32 {
        let seat = u32::try_from(self.roster.len()).expect("members are bounded below 2^32");
        self.roster.push(slot);
        self.users.insert((user, slot));
        // It lengthens a round that is on its way, at whose end someone would be passed over.
        if self.sweep_left > 0 {
            self.sweep_left = self.roster.len();
        }
        seat
    }

    /// Lets a member go. Returns the slot of the member that took its seat, if one did.
    pub fn unseat(&mut self, seat: u32, slot: u32, user: UserId) -> Option<u32> {
        let removed = self.roster.swap_remove(seat as usize);
        assert_eq!(removed, slot, "a member knows its seat");
        self.users.remove(&(user, slot));
        // The one that moved may have been passed over: one more round.
        if self.sweep_left > 0 {
            self.sweep_left = self.roster.len();
        }
        if self.sweep_next >= self.roster.len() {
            self.sweep_next = 0;
        }
        self.roster.get(seat as usize).copied()
    }

    /// Something was appended: everyone is to be visited.
    pub fn dirty(&mut self) {
        self.sweep_left = self.roster.len();
    }

    /// The slot to visit next, and one step on.
    pub fn next_visit(&mut self) -> Option<u32> {
        self.sweep_left = self.sweep_left.checked_sub(1)?;
        let slot = self.roster[self.sweep_next];
        self.sweep_next += 1;
        if self.sweep_next == self.roster.len() {
            self.sweep_next = 0;
        }
        self.visits += 1;
        if self.sweep_left == 0 {
            // Nothing was appended since the first of them was visited.
            (self.sent_floor, self.pass_began_at) = (self.log.end(), self.log.end());
            self.visits = 0;
        } else if self.visits >= self.roster.len() {
            self.sent_floor = self.pass_began_at;
            (self.pass_began_at, self.visits) = (self.log.end(), 0);
        }
        Some(slot)
    }

    /// By how many bytes its publishers are ahead of the sweep, whoever is blocked.
    pub fn outrun(&self) -> u64 {
        if self.sweep_left == 0 { 0 } else { self.log.end() - self.sent_floor }
    }

    /// Slots of a user's members.
    pub fn members_of(&self, user: UserId) -> impl Iterator<Item = u32> {
        self.users.range((user, 0)..=(user, u32::MAX)).map(|(_, slot)| *slot)
    }

    /// Whether clients come back to it with a position.
    pub fn is_resumable(&self) -> bool {
        matches!(self.key, SpaceKey::Chat(_))
    }

    /// Applies the limit on announcements: off above it, on again under 90 % of it.
    pub fn settle_announcements(&mut self, members_max: usize) {
        let members = self.roster.len();
        if members > members_max {
            self.announced = false;
        } else if members * 10 < members_max * 9 || members == 0 && members_max > 0 {
            self.announced = true;
        }
    }
}
