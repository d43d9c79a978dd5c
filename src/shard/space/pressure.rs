//! Pressure: which members lag behind a space's log, up to where that may be trimmed, who has
//! fallen out of it, and when publishers have to wait.

use super::Space;
use super::log::SpaceLog;
use crate::limits::PAUSE_WAIT_MAX;
use crate::metrics::Metric;
use crate::shard::arena::Arena;
use crate::shard::event::MemberKey;
use crate::shard::member::{CatchUp, Member, Resume};
use crate::shard::turn::Turn;
use crate::wire::Encoding;
use crate::wire::server_message::Resumed;
use crate::wire::time::MonoMs;

/// How far a space's readers are behind.
#[derive(Default, Debug)]
pub(super) struct Pressure {
    /// Members that were blocked, or resume, and have not come up with the log.
    lagging: u32,
    /// Members that are sent the store's part of what they missed.
    catching_up: u32,
    /// Since when its members' sockets are not read.
    paused: Option<MonoMs>,
    /// A pause ran its full time; there is no other before the log has shrunk.
    is_pause_spent: bool,
    /// The member that was last seen to be the farthest behind. While that one stays below a
    /// segment's end nobody else need be looked at. One for each encoding, which has a log.
    farthest: [Option<u32>; Encoding::ALL.len()],
}

impl Pressure {
    /// The lowest of the members' cursors, those included that were unblocked but not yet visited;
    /// or any that is below this offset. `None`: nobody has one.
    fn lowest(
        &mut self,
        (encoding, below): (Encoding, u64),
        roster: &[u32],
        cursor: impl Fn(u32) -> Option<u64>,
    ) -> Option<u64> {
        let farthest = &mut self.farthest[encoding as usize];
        let known = farthest.and_then(&cursor).filter(|known| *known < below);
        if known.is_some() {
            return known;
        }
        let cursors = roster.iter().filter_map(|slot| Some((cursor(*slot)?, *slot)));
        let (lowest, slot) = cursors.min().unzip();
        *farthest = slot;
        lowest
    }
}

impl Space {
    /// Says whether a member lags.
    pub(crate) fn set_lagging(&mut self, member: &mut Member, lags: bool) {
        if member.set_lagging(lags) {
            if lags { self.pressure.lagging += 1 } else { self.pressure.lagging -= 1 }
        }
    }

    /// A member is to be sent the store's part of what it missed. The log is kept from here on
    /// meanwhile, within half of its bound.
    pub(crate) fn begin_catch_up(&mut self, member: &mut Member, catch_up: CatchUp) {
        debug_assert!(!member.is_catching_up());
        member.begin_catch_up(catch_up);
        member.queue.place(self.logs.of(member.who.encoding).start());
        self.pressure.catching_up += 1;
    }

    /// A member that catches up is sent the log's frames from `offset` on, or from its end where
    /// the offset lies behind that; at its present end it is told `resumed`.
    pub(crate) fn end_catch_up(&mut self, member: &mut Member, offset: u64, resumed: Resumed) {
        debug_assert!(member.is_catching_up());
        let Some(came) = member.catch_up().map(|catch_up| catch_up.came()) else { return };
        let end = self.logs.of(member.who.encoding).end();
        let own_join = member.is_shown() && !self.is_announced();
        self.pressure.catching_up -= 1;
        member.end_catch_up(Resume { end, resumed, own_join, came });
        member.queue.place(offset.min(end));
        // Its part of the log is needed from now on, also where no join makes a round due.
        self.set_lagging(member, true);
    }

    /// A member leaves.
    pub(super) fn pressure_left(&mut self, member: &mut Member) {
        self.set_lagging(member, false);
        self.pressure.catching_up -= u32::from(member.is_catching_up());
    }

    /// Whether its members' sockets are not read, because its readers lag.
    pub(crate) fn is_paused(&self) -> bool {
        self.pressure.paused.is_some()
    }

    fn pause(&mut self, turn: &mut Turn) {
        self.pressure.paused = Some(turn.now.mono);
        turn.due.watch_pause(self.place.slot, true);
        turn.counts.add(Metric::SpacePauses, 1);
    }

    /// Whether its members lag that are more than a few, behind more than is kept in any case.
    fn many_lag(&self, turn: &Turn) -> bool {
        let (max, keep) = (turn.limits.log_bytes_max as u64, self.keep(turn));
        // What is kept for clients that come back is no sign of slow readers.
        let is_kept = |log: &SpaceLog| log.kept_from(keep) == log.start();
        let is_caught_up = |log: &SpaceLog| log.retained() < max / 4 || is_kept(log);
        self.pressure.lagging as usize * 10 > self.roster.len()
            && !self.logs.all().all(|(_, log)| is_caught_up(log))
    }

    /// The members that hold the space up: publishers wait for them, or would now, and for
    /// `PAUSE_WAIT_MAX` their sockets have taken nothing, though the process ran.
    pub(crate) fn holders(&self, turn: &Turn, members: &Arena<Member>) -> Vec<MemberKey> {
        let is_long = self.logs.retained() > turn.limits.log_bytes_max as u64 / 2;
        if !(is_long || self.is_paused()) || !self.many_lag(turn) || turn.is_grace() {
            return Vec::new();
        }
        those(&self.roster, members, |member| {
            member.is_stuck_for(turn.now.mono, PAUSE_WAIT_MAX) && !member.is_catching_up()
        })
    }

    /// How many bytes publishers are ahead of the sweep, or of the store where all waits for that.
    fn ahead(&self) -> u64 {
        self.round.outrun(self.logs.main().secured()).max(self.unsecured())
    }

    /// A frame was appended: publishers that are too far ahead wait.
    pub(super) fn press(&mut self, turn: &mut Turn) {
        let half = turn.limits.log_bytes_max as u64 / 2;
        // At once: what is read in the same turn would all come on top.
        if !self.is_paused() && self.ahead() > half {
            self.pause(turn);
        }
        // Most appends can neither trim nor pause: those wait for the round's end. Where nobody
        // is to be visited there is no round.
        if self.logs.retained() > half || self.round.is_over() {
            turn.due.unsettle(self.place.slot);
        }
    }

    /// Bytes that are kept for clients that come back.
    fn keep(&self, turn: &Turn) -> u64 {
        if self.is_resumable() { turn.limits.resume_bytes_max as u64 } else { 0 }
    }

    /// Frees what nobody needs of the log, beyond what is kept for clients that come back.
    pub(crate) fn trim(&mut self, turn: &mut Turn, members: &Arena<Member>) {
        let Pressure { lagging, catching_up, .. } = self.pressure;
        let is_read = lagging == 0 && catching_up == 0 && self.round.is_over();
        if is_read && self.is_secured() && !self.logs.has_chats() {
            // Clients come back for chats: a space that only came and went keeps nothing.
            turn.logs.shrank(self.logs.clear());
            return;
        }
        for encoding in Encoding::ALL {
            self.trim_log(turn, members, (encoding, is_read));
        }
    }

    /// As [`Space::trim`], one of its logs.
    fn trim_log(
        &mut self,
        turn: &mut Turn,
        members: &Arena<Member>,
        (encoding, is_read): (Encoding, bool),
    ) {
        let Some(log) = self.logs.get(encoding) else { return };
        let keep = self.keep(turn);
        let Some(trimmable) = log.trimmable(keep) else { return };
        // The log waits for those that catch up too, but never so that publishers have to.
        let spare = log.retained() < turn.limits.log_bytes_max as u64 / 2;
        let end = log.secured();
        let needed = if is_read || self.pressure.lagging == 0 && self.round.is_over() && !spare {
            end
        } else {
            let own = self.place.slot;
            let cursor = |slot: u32| {
                let member = members.at(slot).filter(|it| it.is_seated() && it.space() == own)?;
                let reads = member.who.encoding == encoding && (spare || !member.is_catching_up());
                reads.then(|| member.queue.cursor())
            };
            let lowest = self.pressure.lowest((encoding, trimmable), &self.roster, cursor);
            // Who came back with a position that nobody has been sent stands behind the end.
            lowest.map_or(end, |lowest| lowest.min(end))
        };
        turn.logs.shrank(self.logs.trim(encoding, needed, keep));
    }

    /// The members that have fallen out of a log that is too long. Only blocked ones do, never
    /// those that are merely not yet visited, nor those that need what is kept in any case.
    pub(crate) fn fallen(&self, turn: &Turn, members: &Arena<Member>) -> Vec<MemberKey> {
        let (max, keep) = (turn.limits.log_bytes_max as u64, self.keep(turn));
        let mut fallen = Vec::new();
        for (encoding, log) in self.logs.all().filter(|(_, log)| log.retained() > max) {
            let lowest = (log.end() - max).min(log.kept_from(keep));
            fallen.append(&mut those(&self.roster, members, |member| {
                let is_behind = member.who.encoding == encoding && member.queue.cursor() < lowest;
                member.is_blocked() && is_behind && !member.is_catching_up()
            }));
        }
        fallen
    }

    /// Publishers wait while they are ahead of the sweep, and for `PAUSE_WAIT_MAX` while many of
    /// their readers lag. A few that lag are not waited for: they fall out of the log.
    pub(crate) fn settle_pause(&mut self, turn: &mut Turn, members: &Arena<Member>) {
        let max = turn.limits.log_bytes_max as u64;
        let retained = self.logs.retained();
        let many_lag = self.many_lag(turn);
        if !many_lag {
            self.pressure.is_pause_spent = false;
        }
        match self.pressure.paused {
            None => {
                let wait = many_lag && retained > max / 2 && !self.pressure.is_pause_spent;
                if wait || self.ahead() > max / 2 {
                    self.pause(turn);
                }
            }
            Some(since) if self.ahead() <= max / 4 => {
                let is_spent = turn.now.mono.since(since) >= PAUSE_WAIT_MAX;
                if is_spent || !many_lag {
                    self.pressure.paused = None;
                    turn.due.watch_pause(self.place.slot, false);
                    self.pressure.is_pause_spent = many_lag;
                    let roster = self.roster.iter();
                    turn.fx.readable.extend(roster.filter_map(|slot| members.key_at(*slot)));
                }
            }
            Some(_) => {}
        }
    }

    /// Frees what is older than `window` ms, where nobody lags: only clients that might come back
    /// need that, and those come to chat spaces alone.
    pub(super) fn expire(&mut self, turn: &mut Turn, window: u64) {
        if self.pressure.lagging > 0 || self.is_paused() {
            turn.due.unsettle(self.place.slot);
        }
        let Pressure { lagging, catching_up, .. } = self.pressure;
        if !self.round.is_over() || lagging > 0 || catching_up > 0 {
            return;
        }
        let window = if self.is_resumable() { window } else { 0 };
        turn.logs.shrank(self.logs.expire(turn.now.mono, window));
    }
}

/// The members of a roster that are meant.
fn those(
    roster: &[u32],
    members: &Arena<Member>,
    is_meant: impl Fn(&Member) -> bool,
) -> Vec<MemberKey> {
    let meant = roster.iter().filter(|slot| members.at(**slot).is_some_and(&is_meant));
    meant.filter_map(|slot| members.key_at(*slot)).collect()
}
