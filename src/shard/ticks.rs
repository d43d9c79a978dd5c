//! What time asks for: a tick (about every 100 ms) looks at a tenth of the members and spaces, so
//! that each is judged once a second without a timer of its own; and the drain at shutdown.

use super::commits::Commits;
use super::door::Door;
use super::event::MemberKey;
use super::member::Member;
use super::rooms::Rooms;
use super::turn::Turn;
use crate::wire::close::Close;
use crate::wire::time::MonoMs;

/// Members, and spaces, that a tick looks at in any case.
const STRIPE_MIN: u32 = 1_024;

/// Where the ticks are on their way round, and a shutdown that is in progress.
#[derive(Default, Debug)]
pub(super) struct Ticks {
    /// The slots of the member and of the space that were looked at last.
    member: u32,
    space: u32,
    drain: Option<Drain>,
}

/// Members are closed evenly over a window.
#[derive(Clone, Copy, Debug)]
struct Drain {
    since: MonoMs,
    window: u64,
    members: usize,
    closed: usize,
    next_slot: u32,
}

impl Drain {
    /// How many members are to be closed by now.
    fn due(&self, now: MonoMs) -> usize {
        let elapsed = now.since(self.since) + 1;
        if elapsed >= self.window {
            return usize::MAX;
        }
        (self.members as u64 * elapsed / self.window.max(1)) as usize
    }
}

impl Ticks {
    /// Time has passed.
    pub(super) fn tick(
        &mut self,
        turn: &mut Turn,
        rooms: &mut Rooms,
        door: &mut Door,
        commits: &mut Commits,
    ) {
        let now = turn.now.mono;
        turn.tick();
        let grace = turn.is_grace();
        door.tick(now);
        rooms.release(turn);
        let catching_up = self.tick_members(turn, rooms, grace);
        self.tick_spaces(turn, rooms);
        self.tick_drain(turn, rooms);
        rooms.expire(turn);
        rooms.settle(turn);
        for key in catching_up {
            rooms.judge(turn, key, grace);
            if !grace {
                rooms.judge_catch_up(turn, commits, key);
            }
        }
    }

    /// Judges a tenth of the members; those of them that catch up are still to be judged.
    fn tick_members(&mut self, turn: &mut Turn, rooms: &mut Rooms, grace: bool) -> Vec<MemberKey> {
        let mut catching_up = Vec::new();
        let slots = rooms.members.slots();
        for _ in 0..stripe(slots) {
            self.member = next(self.member, slots);
            let Some(key) = rooms.members.key_at(self.member) else { continue };
            if rooms.members.get(key).is_some_and(Member::is_catching_up) {
                catching_up.push(key);
            } else {
                rooms.judge(turn, key, grace);
            }
        }
        catching_up
    }

    fn tick_spaces(&mut self, turn: &mut Turn, rooms: &mut Rooms) {
        let slots = rooms.spaces.slots();
        // Short of memory, all are looked at, and no log is kept for clients that might come back.
        let pressed = turn.logs.held() > turn.limits.logs_bytes_max;
        let window = if pressed { 0 } else { turn.limits.resume_window };
        for _ in 0..if pressed { slots } else { stripe(slots) } {
            self.space = next(self.space, slots);
            rooms.spaces.tick(turn, self.space, window);
        }
    }

    /// Shutdown: members are closed over this many milliseconds. Only the first call counts.
    pub(super) fn drain(&mut self, now: MonoMs, window: u64, members: usize) {
        let drain = Drain { since: now, window, members, closed: 0, next_slot: 0 };
        self.drain.get_or_insert(drain);
    }

    /// Closes as many members as the window's elapsed part asks for.
    fn tick_drain(&mut self, turn: &mut Turn, rooms: &mut Rooms) {
        let Some(drain) = &mut self.drain else { return };
        let due = drain.due(turn.now.mono);
        while drain.closed < due && drain.next_slot < rooms.members.slots() {
            if let Some(key) = rooms.members.key_at(drain.next_slot)
                && rooms.members.get(key).is_some_and(Member::is_seated)
            {
                rooms.let_go(turn, key, Close::Restart);
                drain.closed += 1;
            }
            drain.next_slot += 1;
        }
    }
}

/// How many of a number of slots a tick looks at.
fn stripe(slots: u32) -> u32 {
    slots.div_ceil(10).max(STRIPE_MIN).min(slots)
}

/// The slot behind another, around at the end.
fn next(slot: u32, slots: u32) -> u32 {
    if slot + 1 >= slots { 0 } else { slot + 1 }
}
