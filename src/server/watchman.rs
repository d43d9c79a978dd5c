//! The watchman's rounds: once a second it looks at what no part of the hub would notice by
//! itself, the machine's clock and the reader of the log.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::cli::lines::{Lines, LinesState};
use crate::clock::Clock;
use crate::conditions::{Condition, Conditions};
use crate::limits::CLOCK_STEP_MAX;
use crate::metrics::{Metric, Metrics};
use crate::wire::Id;
use crate::wire::time::{Micros, MonoMs, Now};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Rounds that a clock has to stay where it has jumped before it is followed: one that was set
/// wrong for a moment makes no times that are wrong for good.
const HELD_ROUNDS: u32 = 3;
/// For how long a jump that was followed is told, in ms.
const TOLD: u64 = 600_000;

/// Rounds between two lines about what must not be missed.
const REMIND_ROUNDS: u32 = 60;

/// What the watchman looks after.
pub(super) struct Watchman {
    pub(super) clock: Clock,
    pub(super) lines: Lines,
    pub(super) conditions: Conditions,
    pub(super) metrics: Arc<Metrics>,
    /// The newest message's id, once the store is open.
    pub(super) highest: oneshot::Receiver<Id>,
}

impl Watchman {
    /// Goes its rounds for ever.
    pub(super) async fn run(mut self) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut log = self.lines.state();
        let mut seen = Seen::now(&self.clock);
        let mut jumps = Jumps::default();
        // The first tick comes at once, when lines of the start are still on their way.
        rounds.tick().await;
        let mut remind = (1..=REMIND_ROUNDS).cycle();
        loop {
            rounds.tick().await;
            if remind.next() == Some(REMIND_ROUNDS) {
                self.remind();
            }
            let now = self.lines.state();
            self.conditions.set(Condition::LogBlocked, trouble(log, now));
            log = now;
            let before = std::mem::replace(&mut seen, Seen::now(&self.clock));
            let step = jumps.look(seen, before);
            self.clock.set_forward(step);
            if let Ok(highest) = self.highest.try_recv() {
                jumps.begin(seen.now, highest);
            }
            self.conditions.set(Condition::ClockJumped, jumps.told());
            let awaiting = self.metrics.total().get(Metric::ShardsAwaiting);
            let told = (awaiting > 0).then(|| format!("{awaiting} shards refuse chat"));
            self.conditions.set(Condition::StoreAwaited, told);
            self.conditions.fade();
        }
    }
}

impl Watchman {
    /// Says again, once a minute, what nobody who reads the log must miss.
    fn remind(&self) {
        let open = Condition::Unauthenticated;
        if let Some(detail) = self.conditions.detail(open) {
            tracing::warn!(condition = open.name(), detail, "still: {}", open.meaning());
        }
    }
}

/// What is wrong with a log, from two looks at it.
fn trouble(before: LinesState, now: LinesState) -> Option<String> {
    let stuck = now.waiting > 0 && before.waiting > 0 && now.done == before.done;
    if !stuck && !now.is_untold && now.error.is_none() {
        return None;
    }
    let why = match now.trouble() {
        Some(trouble) if !stuck => trouble,
        _ => format!("{} lines wait to be taken", now.waiting),
    };
    Some(format!("{why}; {} lines are lost", now.lost))
}

/// The clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// What the hub goes by.
    now: Now,
    /// How far the machine's clock is ahead of that, in microseconds.
    ahead: i64,
    /// The time since the machine was started, in milliseconds, when it slept too.
    awake_and_asleep: u64,
}

impl Seen {
    fn now(clock: &Clock) -> Seen {
        let since = clock_gettime(ClockId::Boottime);
        let millis = since.tv_sec.max(0) as u64 * 1_000 + since.tv_nsec.max(0) as u64 / 1_000_000;
        let (now, ahead) = clock.beside_the_machines();
        Seen { now, ahead, awake_and_asleep: millis }
    }
}

/// What is known of jumps of the machine's clock.
#[derive(Default, Debug)]
struct Jumps {
    /// Rounds for which it has been elsewhere, and how far ahead.
    held: u32,
    ahead: i64,
    /// The sum of jumps that were followed, since when, and what is told of them.
    followed: Option<(i64, MonoMs)>,
    /// The newest message's time, where that lay ahead at the start.
    behind: Option<Micros>,
}

impl Jumps {
    /// Takes a look; by how much the hub's time is to be set forward.
    fn look(&mut self, seen: Seen, before: Seen) -> i64 {
        let passed = seen.now.mono.since(before.now.mono);
        let slept = (seen.awake_and_asleep - before.awake_and_asleep.min(seen.awake_and_asleep))
            .saturating_sub(passed) as i64
            * 1_000;
        if self.behind.is_some_and(|newest| seen.now.unix >= newest) {
            self.behind = None;
        }
        let over = |(_, at): &(i64, MonoMs)| seen.now.mono.since(*at) > TOLD;
        if self.followed.as_ref().is_some_and(over) {
            (self.followed, self.behind) = (None, None);
        }
        // What the machine has slept is no jump.
        if (seen.ahead - slept).abs() <= CLOCK_STEP_MAX {
            (self.held, self.ahead) = (0, 0);
            return seen.ahead;
        }
        (self.held, self.ahead) = (self.held + 1, seen.ahead);
        if self.held <= HELD_ROUNDS {
            return 0;
        }
        let sum = self.followed.map_or(0, |(sum, _)| sum) + seen.ahead;
        // It may be back where it was.
        let is_back = sum.abs() <= 2 * CLOCK_STEP_MAX;
        self.followed = (!is_back).then_some((sum, seen.now.mono));
        (self.held, self.ahead) = (0, 0);
        seen.ahead
    }

    /// The store is open: its newest message may be of a time that has not come yet.
    fn begin(&mut self, now: Now, highest: Id) {
        let newest = Micros(highest.unix_ms() * 1_000);
        if newest.0 - now.unix.0 > CLOCK_STEP_MAX {
            self.behind = Some(newest);
            self.followed.get_or_insert((0, now.mono));
        }
    }

    fn told(&self) -> Option<String> {
        if self.held > 0 {
            let now = "messages have the time that it should be until it stays there";
            return Some(format!("it is {} where it should be; {now}", distance(self.ahead)));
        }
        match (self.followed, self.behind) {
            (Some((sum, _)), _) if sum != 0 => {
                Some(format!("it was set {} where it should be, and is followed", distance(sum)))
            }
            (_, Some(newest)) => {
                let mut times = crate::wire::time::TimeFormat::new(0);
                let newest = times.string(newest);
                Some(format!("the newest stored message is of {newest}, which is still to come"))
            }
            _ => None,
        }
    }
}

/// How far ahead of something, or behind it, for people.
fn distance(micros: i64) -> String {
    let seconds = (micros.unsigned_abs() + 500_000) / 1_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let span = match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} days {hours} h"),
    };
    format!("{span} {}", if micros < 0 { "behind" } else { "ahead of" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    /// A hub's time beside a machine's, round by round.
    struct Rounds {
        jumps: Jumps,
        before: Seen,
    }

    impl Rounds {
        fn new() -> Rounds {
            let now = Now { mono: MonoMs(1), unix: Micros(400 * DAY) };
            Rounds { jumps: Jumps::default(), before: Seen { now, ahead: 0, awake_and_asleep: 9 } }
        }

        /// The machine's clock is set forward, and the machine sleeps. By how much the hub
        /// follows in this round.
        fn round(&mut self, forward: i64, slept_ms: u64) -> i64 {
            let Seen { now, ahead, awake_and_asleep } = self.before;
            let now =
                Now { mono: MonoMs(now.mono.0 + 1_000), unix: Micros(now.unix.0 + 1_000_000) };
            let awake_and_asleep = awake_and_asleep + 1_000 + slept_ms;
            let ahead = ahead + forward + slept_ms as i64 * 1_000;
            let mut seen = Seen { now, ahead, awake_and_asleep };
            let step = self.jumps.look(seen, self.before);
            seen.ahead -= step;
            seen.now.unix.0 += step;
            self.before = seen;
            step
        }
    }

    #[test]
    fn a_clock_that_is_wrong_for_a_moment_is_told_and_not_followed() {
        let mut rounds = Rounds::new();
        assert_eq!((rounds.round(700, 0), rounds.jumps.told()), (700, None));
        assert_eq!(rounds.round(400 * DAY, 0), 0);
        let told = rounds.jumps.told().expect("it is told at once");
        assert!(told.starts_with("it is 400 days 0 h ahead of where it should be"), "{told}");
        assert_eq!((rounds.round(-400 * DAY, 0), rounds.jumps.told()), (0, None));
    }

    #[test]
    fn a_clock_that_stays_elsewhere_is_followed_and_so_is_its_way_back() {
        let mut rounds = Rounds::new();
        let steps: Vec<i64> = [-DAY, 0, 0, 0].map(|forward| rounds.round(forward, 0)).into();
        assert_eq!(steps, [0, 0, 0, -DAY]);
        let told = rounds.jumps.told().expect("it is told");
        assert_eq!(told, "it was set 1 days 0 h behind where it should be, and is followed");
        let steps: Vec<i64> = [DAY, 0, 0, 0].map(|forward| rounds.round(forward, 0)).into();
        assert_eq!((&steps[..], rounds.jumps.told()), (&[0, 0, 0, DAY][..], None));
        for forward in [DAY, 0, 0, 0] {
            rounds.round(forward, 0);
        }
        let over = (0..=TOLD / 1_000).find(|_| {
            rounds.round(0, 0);
            rounds.jumps.told().is_none()
        });
        assert_eq!(over, Some(TOLD / 1_000), "it is old news by then");
    }

    #[test]
    fn a_machine_that_has_slept_is_no_jump() {
        let mut rounds = Rounds::new();
        assert_eq!((rounds.round(3, 8 * 3_600_000), rounds.jumps.told()), (28_800_000_003, None));
    }

    #[test]
    fn messages_of_the_future_are_told_at_the_start_until_their_time_has_come() {
        let mut rounds = Rounds::new();
        let now = rounds.before.now;
        rounds.jumps.begin(now, Id::first_of_ms(now.unix.0 / 1_000 - 5));
        assert_eq!(rounds.jumps.told(), None);
        rounds.jumps.begin(now, Id::first_of_ms(now.unix.0 / 1_000 + 20_000));
        let told = rounds.jumps.told().expect("it is told");
        assert!(told.contains("1971-02-05T00:00:20"), "{told}");
        (0..19).for_each(|_| assert_eq!(rounds.round(0, 0), 0));
        assert!(rounds.jumps.told().is_some());
        rounds.round(0, 0);
        rounds.round(0, 0);
        assert_eq!(rounds.jumps.told(), None);
    }

    #[test]
    fn a_log_is_in_trouble_while_it_is_stuck_or_has_lost_what_it_has_not_told() {
        let well = LinesState { waiting: 0, done: 5, lost: 0, is_untold: false, error: None };
        let waits = LinesState { waiting: 3, ..well };
        let untold = LinesState { lost: 7, is_untold: true, ..well };
        assert_eq!((trouble(well, well), trouble(well, waits)), (None, None));
        assert_eq!(trouble(waits, LinesState { done: 6, ..waits }), None);
        let stuck = "3 lines wait to be taken; 0 lines are lost";
        assert_eq!(trouble(waits, waits).as_deref(), Some(stuck));
        let full = LinesState { error: Some(28), ..untold };
        let told = trouble(well, full).expect("trouble");
        assert_eq!(told, "No space left on device (os error 28); 7 lines are lost");
        assert_eq!(trouble(full, LinesState { lost: 7, ..well }), None);
    }
}
