//! What time asks for: pings and timeouts, evictions, trimmed logs, pauses, presence counts,
//! spaces that nobody needs any more, and the drain at shutdown.
//!
//! A tick (about every 100 ms) looks at a tenth of the members, so that each is judged once a
//! second without a timer of its own.

use super::Shard;
use super::event::{Effects, MemberKey};
use super::member::Private;
use super::space::Space;
use crate::metrics::Metric;
use crate::wire::close::Close;
use crate::wire::frame_writer;
use crate::wire::time::{MonoMs, Now};

/// Members, and spaces, that a tick looks at in any case.
const STRIPE_MIN: u32 = 1_024;
/// A tick so late means that the process stood still: what came in meanwhile is read first.
const STALL: u64 = 1_000;
/// How long deadlines wait then.
const GRACE: u64 = 2_000;
/// How often a big space's members are told its count.
const PRESENCE_PERIOD: u64 = 1_000;

/// A shutdown in progress: members are closed evenly over a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    since: MonoMs,
    window: u64,
    members: usize,
    closed: usize,
    next_slot: u32,
}

impl Shard {
    /// A socket that was full takes bytes again.
    pub(super) fn writable(&mut self, key: MemberKey) {
        let Some(member) = self.members.get_mut(key) else { return };
        if std::mem::take(&mut member.blocked) {
            self.counts.sub(Metric::MembersBlocked, 1);
            self.make_ready(key);
        }
    }

    pub(super) fn tick(&mut self, now: Now, fx: &mut Effects) {
        if now.mono.since(self.last_tick) > STALL && self.last_tick > MonoMs(0) {
            self.grace_until = MonoMs(now.mono.0 + GRACE);
        }
        self.last_tick = now.mono;
        self.nonces.expire(now.mono);
        let catching_up = self.tick_members(now, fx);
        self.tick_spaces(now);
        self.tick_drain(now, fx);
        self.settle_spaces(now, fx);
        for key in catching_up {
            self.judge_member(now, key, fx);
            if now.mono >= self.grace_until {
                self.judge_catch_up(now, key, fx);
            }
        }
    }

    /// Judges a tenth of the members; those of them that catch up are still to be judged.
    fn tick_members(&mut self, now: Now, fx: &mut Effects) -> Vec<MemberKey> {
        let mut catching_up = Vec::new();
        let slots = self.members.slots();
        let stripe = slots.div_ceil(10).max(STRIPE_MIN).min(slots);
        for _ in 0..stripe {
            self.member_stripe =
                if self.member_stripe + 1 >= slots { 0 } else { self.member_stripe + 1 };
            if let Some(key) = self.members.key_at(self.member_stripe) {
                if self.is_catching_up(key) {
                    catching_up.push(key);
                } else {
                    self.judge_member(now, key, fx);
                }
            }
        }
        catching_up
    }

    /// One member against its deadlines.
    fn judge_member(&mut self, now: Now, key: MemberKey, fx: &mut Effects) {
        let limits = &self.limits;
        let Some(member) = self.members.get_mut(key) else { return };
        if member.closing.is_some() {
            if now.mono.since(member.since) >= limits.close_wait {
                self.end(key, fx);
            }
            return;
        }
        // Whose socket is not read can't be heard.
        let space = self.spaces.at(member.space).expect("a seated member has a space");
        if space.paused.is_some() {
            (member.heard, member.pinged) = (now.mono, false);
        }
        let silent = now.mono.since(member.heard);
        if silent >= limits.ping_period && !member.pinged {
            // Nobody is closed for a silence that it was not asked about.
            member.pinged = true;
            // A ping of 2 bytes is not what brings a queue over its bound.
            _ = self.push_private(key, |private: &mut Private| private.push(frame_writer::ping));
            return;
        }
        if now.mono < self.grace_until {
            return;
        }
        if member.blocked && now.mono.since(member.since) >= limits.write_wait {
            self.begin_close(now, key, Close::TooSlow, fx);
        } else if silent >= limits.pong_wait {
            self.begin_close(now, key, Close::PongTimeout, fx);
        }
    }

    fn tick_spaces(&mut self, now: Now) {
        let slots = self.spaces.slots();
        // Short of memory, all are looked at, and no log is kept for those who might come back.
        let pressed = self.logs_held > self.limits.logs_bytes_max;
        let window = if pressed { 0 } else { self.limits.resume_window };
        let stripe = if pressed { slots } else { slots.div_ceil(10).max(STRIPE_MIN).min(slots) };
        for _ in 0..stripe {
            self.space_stripe =
                if self.space_stripe + 1 >= slots { 0 } else { self.space_stripe + 1 };
            self.tick_space(now, self.space_stripe, window);
        }
    }

    fn tick_space(&mut self, now: Now, slot: u32, window: u64) {
        let Some(space) = self.spaces.at_mut(slot) else { return };
        if space.presence_changed && now.mono.since(space.presence_at) >= PRESENCE_PERIOD {
            space.presence_changed = false;
            space.presence_at = now.mono;
            space.presence_version = space.presence_version.wrapping_add(1);
            space.dirty();
            if !space.queued && space.sweep_left > 0 {
                space.queued = true;
                self.dirty.push_back(slot);
            }
        }
        if space.lagging > 0 || space.paused.is_some() {
            self.unsettled.push(slot);
        }
        let needed = if space.sweep_left == 0 && space.lagging == 0 && space.catching_up == 0 {
            space.log.end()
        } else {
            return;
        };
        // Nobody resumes the other kinds.
        let window = if space.is_resumable() { window } else { 0 };
        let held = space.log.held();
        space.log.expire(needed, now.mono, window);
        self.logs_held -= held - space.log.held();
        if space.roster.is_empty() && space.log.held() == 0 && !space.queued {
            let key = space.key;
            self.by_key.remove(&key);
            let space_key = self.spaces.key_at(slot).expect("looked up above");
            self.spaces.remove(space_key);
            self.logs_held -= super::space::SPACE_BYTES;
        }
    }

    /// Trims the logs that changed, evicts who fell out, and begins or ends pauses.
    pub(super) fn settle_spaces(&mut self, now: Now, fx: &mut Effects) {
        // Evictions append leaves, which may unsettle again: those are the next slice's.
        let mut unsettled = std::mem::take(&mut self.unsettled);
        unsettled.sort_unstable();
        unsettled.dedup();
        for slot in unsettled.drain(..) {
            self.settle_space(now, slot, fx);
        }
        unsettled.append(&mut self.unsettled);
        self.unsettled = unsettled;
    }

    fn settle_space(&mut self, now: Now, slot: u32, fx: &mut Effects) {
        let Some(space) = self.spaces.at(slot) else { return };
        let keep = if space.is_resumable() { self.limits.resume_bytes_max as u64 } else { 0 };
        self.trim(slot, keep);
        let Some(space) = self.spaces.at(slot) else { return };
        let max = self.limits.log_bytes_max as u64;
        if space.log.retained() > max {
            // Only who is blocked falls out, never who is merely not yet visited; nor who needs
            // what is kept in any case for those who come back.
            let lowest = (space.log.end() - max).min(space.log.kept_from(keep));
            let fallen: Vec<MemberKey> = space
                .roster
                .iter()
                .filter(|slot| {
                    let member = self.members.at(**slot).expect("a seat is taken");
                    member.blocked && member.cursor < lowest && !member.is_catching_up()
                })
                .filter_map(|slot| self.members.key_at(*slot))
                .collect();
            for key in &fallen {
                self.begin_close(now, *key, Close::TooSlow, fx);
            }
            if !fallen.is_empty() {
                self.trim(slot, keep);
            }
        }
        self.settle_pause(now, slot, keep, fx);
    }

    /// Frees what nobody needs of a log, beyond `keep` bytes.
    fn trim(&mut self, slot: u32, keep: u64) {
        let Some(space) = self.spaces.at_mut(slot) else { return };
        if space.log.trimmable(keep).is_none() {
            return;
        }
        // The log waits for those that catch up too, but never so that publishers have to.
        let spare = space.log.retained() < self.limits.log_bytes_max as u64 / 2;
        let catching_up = if spare { space.catching_up } else { 0 };
        let needed = if space.lagging == 0 && space.sweep_left == 0 && catching_up == 0 {
            space.log.end()
        } else {
            // Those that were unblocked but not yet visited count too.
            let member = |slot: &u32| self.members.at(*slot).expect("a seat is taken");
            let members = space.roster.iter().map(member);
            let members = members.filter(|member| spare || !member.is_catching_up());
            members.map(|member| member.cursor).min().unwrap_or(space.log.end())
        };
        let held = space.log.held();
        space.log.trim(needed, keep);
        self.logs_held -= held - space.log.held();
    }

    /// Publishers wait while they are ahead of the sweep, and for a bounded time while many of
    /// their readers lag. A few that lag are not waited for: they fall out of the log.
    fn settle_pause(&mut self, now: Now, slot: u32, keep: u64, fx: &mut Effects) {
        let max = self.limits.log_bytes_max as u64;
        let Some(space) = self.spaces.at_mut(slot) else { return };
        let retained = space.log.retained();
        // What is kept for those who come back is no sign of slow readers.
        let caught_up = retained < max / 4 || space.log.kept_from(keep) == space.log.start();
        let many_lag = space.lagging * 10 > space.roster.len() && !caught_up;
        if !many_lag {
            space.pause_spent = false;
        }
        match space.paused {
            None => {
                let wait = many_lag && retained > max / 2 && !space.pause_spent;
                if wait || space.outrun() > max / 2 {
                    space.paused = Some(now.mono);
                    self.counts.add(Metric::SpacePauses, 1);
                }
            }
            Some(since) if space.outrun() <= max / 4 => {
                let spent = now.mono.since(since) >= self.limits.write_wait;
                if spent || !many_lag {
                    space.paused = None;
                    space.pause_spent = many_lag;
                    resume_reads(space, &self.members, fx);
                }
            }
            Some(_) => {}
        }
    }

    pub(super) fn begin_drain(&mut self, now: Now, window: u64) {
        if self.drain.is_none() {
            let members = self.members.len();
            self.drain = Some(Drain { since: now.mono, window, members, closed: 0, next_slot: 0 });
        }
    }

    /// Closes as many members as the window's elapsed part asks for.
    fn tick_drain(&mut self, now: Now, fx: &mut Effects) {
        let Some(mut drain) = self.drain else { return };
        let elapsed = now.mono.since(drain.since) + 1;
        let due = if elapsed >= drain.window {
            usize::MAX
        } else {
            (drain.members as u64 * elapsed / drain.window.max(1)) as usize
        };
        while drain.closed < due && drain.next_slot < self.members.slots() {
            if let Some(key) = self.members.key_at(drain.next_slot)
                && self.members.get(key).is_some_and(|member| member.closing.is_none())
            {
                self.begin_close(now, key, Close::Restart, fx);
                drain.closed += 1;
            }
            drain.next_slot += 1;
        }
        self.drain = Some(drain);
    }
}

fn resume_reads(
    space: &Space,
    members: &super::arena::Arena<super::member::Member>,
    fx: &mut Effects,
) {
    fx.readable.extend(space.roster.iter().filter_map(|slot| members.key_at(*slot)));
}
