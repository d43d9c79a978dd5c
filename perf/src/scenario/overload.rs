//! The overload scenario: more people say more than a hub can take, over sockets, and every message
//! is accounted for.
//!
//! With `in_flight` it is a closed loop, whose goodput is what the hub can do. With `rate` people
//! say that many messages a second in all, whether or not they are answered; who has
//! `unanswered_max` without an answer says nothing meanwhile, which counts as held back. Beside
//! them `polite` people of the same spaces say one message a second each and wait for its answer,
//! and `floods` people say `flood_rate` a second each, whatever they are answered. Who is closed
//! comes back.

use std::io;

use super::crowd::{Crowd, Size, TURN};
use super::drain::Talk;
use super::keys::{Keys, Times};
use super::kind::{Kind, Target};
use crate::client::engine::micros;
use crate::measure::figures::Figures;
use crate::measure::marks::{Mark, latencies, mib, quantile_ms, shares};
use crate::measure::process;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    size: Size,
    times: Times,
    /// Messages a second of all, but for the polite and the floods.
    rate: f64,
    /// Messages that one says in one go, of those of `rate`.
    burst: u64,
    /// Messages that each keeps on their way; 0: `rate` counts.
    in_flight: u32,
    /// Messages without an answer beyond which nobody but a flood says more.
    unanswered_max: u32,
    polite: usize,
    floods: usize,
    /// Messages a second of each flood.
    flood_rate: f64,
}

const POLITE_PERIOD_US: u64 = 1_000_000;
/// Messages that are said between two looks at what came: people do not keep each other from
/// reading, as one thread for all of them would that says everything which is due.
const SAID_MAX: usize = 2_048;
/// Bytes that wait to be sent beyond which a flood has to wait for its socket.
const UNSENT_BYTES_MAX: usize = 16 << 10;

impl Plan {
    pub(super) fn read(keys: &mut Keys) -> Result<Plan, String> {
        let plan = Plan {
            size: Size {
                spaces: keys.count("spaces", Some(1))?,
                members: keys.count("members", None)?,
                connect_rate: keys.connect_rate()?,
                content_bytes: keys.count("content_bytes", Some(64))?,
            },
            times: Times::read(keys)?,
            rate: keys.positive("rate", Some(1.0))?,
            burst: keys.count("burst", Some(1))? as u64,
            in_flight: keys.number_of("in_flight")?,
            unanswered_max: keys.count("unanswered_max", Some(1_000_000))? as u32,
            polite: keys.number_of("polite")? as usize,
            floods: keys.number_of("floods")? as usize,
            flood_rate: keys.positive("flood_rate", Some(500.0))?,
        };
        match plan.polite + plan.floods < plan.size.spaces * plan.size.members {
            true => Ok(plan),
            false => Err("polite, floods: together fewer than all members".into()),
        }
    }
}

/// What the load has come to.
#[derive(Clone, Copy, Default)]
struct Said {
    due: u64,
    held_back: u64,
}

struct Run<'a> {
    plan: &'a Plan,
    crowd: Crowd,
    /// The first of the crowd are polite, and each has said this many messages.
    polite: Vec<u64>,
    /// The last of the crowd are floods.
    flood: Talk,
    talk: Talk,
    said: Said,
}

impl Kind for Plan {
    fn connections(&self) -> usize {
        self.size.spaces * self.size.members
    }

    fn run(&self, target: Target) -> io::Result<Figures> {
        let mut crowd = Crowd::new(self.size, target.server, target.first_space, "accepted")?;
        crowd.open()?;
        crowd.come_back();
        crowd.tally.polite = self.polite;
        crowd.tally.floods_from = crowd.count() - self.floods;
        let started = crowd.engine.now();
        let talk = |rate| Talk { started, said: 0, rate };
        let mut run = Run {
            plan: self,
            crowd,
            polite: vec![0; self.polite],
            flood: talk(self.flood_rate * self.floods as f64),
            talk: talk(self.rate),
            said: Said::default(),
        };
        run.load_until(started + micros(self.times.warm_up))?;
        let (before, said) = (run.mark(target)?, run.said);
        let [accepted, refused] = [run.crowd.tally.accepted, run.crowd.tally.refused];
        let of_floods = run.crowd.tally.accepted_of_floods;
        run.crowd.tally.measured_from = before.at;
        run.load_until(before.at + micros(self.times.measure))?;
        let after = run.mark(target)?;
        let mut figures = Figures::default();
        self.describe(&mut figures);
        let seconds = (after.at - before.at) as f64 / 1e6;
        let per_s = |from: u64, to: u64| (to - from) as f64 / seconds;
        figures.number("seconds", seconds);
        figures.number("offered_per_s", per_s(said.due, run.said.due));
        figures.number("held_back_per_s", per_s(said.held_back, run.said.held_back));
        figures.number("accepted_per_s", per_s(accepted, run.crowd.tally.accepted));
        if self.floods > 0 {
            let of_floods = per_s(of_floods, run.crowd.tally.accepted_of_floods);
            figures.number("accepted_of_floods_per_s", of_floods);
        }
        figures.number("refused_per_s", per_s(refused, run.crowd.tally.refused));
        figures.number("deliveries_per_s", per_s(before.deliveries, after.deliveries));
        shares(&mut figures, before, after);
        let took = run.settle()?;
        figures.number("all_answered_after_s", took as f64 / 1e6);
        run.verdict(&mut figures);
        if let Some(pid) = target.pid {
            figures.number("hub_peak_rss_mib", mib(process::peak_rss(pid)? as f64));
        }
        Ok(figures)
    }
}

impl Plan {
    fn describe(&self, figures: &mut Figures) {
        figures.count("spaces", self.size.spaces).count("members_per_space", self.size.members);
        match self.in_flight {
            0 => figures.number("rate_per_s", self.rate),
            in_flight => figures.count("in_flight", in_flight),
        };
        figures.count("polite", self.polite).count("floods", self.floods);
        if self.floods > 0 {
            figures.number("flood_rate_per_s", self.flood_rate);
        }
    }
}

impl Run<'_> {
    fn load_until(&mut self, end: u64) -> io::Result<()> {
        while self.crowd.engine.now() < end {
            self.speak_politely();
            match self.plan.in_flight {
                0 => self.speak_on_time(),
                in_flight => self.keep_in_flight(in_flight),
            }
            self.flood();
            self.crowd.turn(TURN)?;
            let (accepted, refused) = (self.crowd.tally.accepted, self.crowd.tally.refused);
            let now = self.crowd.engine.now();
            self.crowd.progress.tell(now, || format!("{accepted} accepted, {refused} refused"));
        }
        Ok(())
    }

    /// Each polite person says its next message when it is time, if the last one was answered.
    fn speak_politely(&mut self) {
        let now = self.crowd.engine.now();
        let count = self.polite.len() as u64;
        for (index, said) in self.polite.iter_mut().enumerate() {
            let offset = POLITE_PERIOD_US * index as u64 / count;
            let due = self.talk.started + offset + *said * POLITE_PERIOD_US;
            let person = self.crowd.tally.people[index];
            if due <= now && person.sent == person.answered && self.crowd.say(index, now) {
                *said = (now - self.talk.started) / POLITE_PERIOD_US + 1;
                self.said.due += 1;
            }
        }
    }

    fn speakers(&self) -> std::ops::Range<usize> {
        self.plan.polite..self.crowd.count() - self.plan.floods
    }

    fn keep_in_flight(&mut self, in_flight: u32) {
        let now = self.crowd.engine.now();
        for index in self.speakers() {
            let person = self.crowd.tally.people[index];
            for _ in person.sent - person.answered..in_flight {
                self.said.due += u64::from(self.crowd.say(index, now));
            }
        }
    }

    fn speak_on_time(&mut self) {
        let (now, speakers, burst) = (self.crowd.engine.now(), self.speakers(), self.plan.burst);
        let due = ((now - self.talk.started) as f64 * self.talk.rate / 1e6) as u64;
        for _ in 0..(SAID_MAX as u64).min(due.saturating_sub(self.talk.said) / burst) {
            let turn = self.talk.said / burst;
            let index = speakers.start + (turn % speakers.len() as u64) as usize;
            let at = self.talk.started + (self.talk.said as f64 * 1e6 / self.talk.rate) as u64;
            let person = self.crowd.tally.people[index];
            let may = person.sent - person.answered < self.plan.unanswered_max;
            let said = if may { self.crowd.say_some(index, at, burst) } else { 0 };
            self.said.held_back += burst - said;
            self.said.due += burst;
            self.talk.said += burst;
        }
    }

    fn flood(&mut self) {
        let (now, first) = (self.crowd.engine.now(), self.crowd.count() - self.plan.floods);
        let due = ((now - self.flood.started) as f64 * self.flood.rate / 1e6) as u64;
        for _ in 0..SAID_MAX.min(due.saturating_sub(self.flood.said) as usize) {
            let index = first + (self.flood.said % self.plan.floods as u64) as usize;
            let member = self.crowd.tally.people[index].member;
            let unsent = member.map_or(0, |member| self.crowd.engine.unsent(member));
            let is_said = unsent < UNSENT_BYTES_MAX && self.crowd.say(index, now);
            self.said.held_back += u64::from(!is_said);
            self.said.due += 1;
            self.flood.said += 1;
        }
    }

    /// Nobody says more: how long until all that was said is answered, in microseconds.
    fn settle(&mut self) -> io::Result<u64> {
        let started = self.crowd.engine.now();
        let deadline = started + micros(self.plan.times.settle);
        while self.crowd.unanswered() > 0 && self.crowd.engine.now() < deadline {
            self.crowd.turn(TURN)?;
        }
        let took = self.crowd.engine.now() - started;
        // The last of them are still on their way to the others.
        while self.crowd.gaps().messages > 0 && self.crowd.engine.now() < deadline + 1_000_000 {
            self.crowd.turn(TURN)?;
        }
        Ok(took)
    }

    fn verdict(&self, figures: &mut Figures) {
        let tally = &self.crowd.tally;
        latencies(figures, &tally.latency_us);
        if !tally.polite_us.is_empty() {
            figures.number("polite_p50_ms", quantile_ms(&tally.polite_us, 0.5));
            figures.number("polite_p99_ms", quantile_ms(&tally.polite_us, 0.99));
            figures.number("polite_max_ms", tally.polite_us.max() as f64 / 1e3);
        }
        self.crowd.books(figures);
        self.crowd.gaps().describe(figures);
    }

    fn mark(&self, target: Target) -> io::Result<Mark> {
        let mark = Mark::now(self.crowd.engine.now(), target.pid)?;
        Ok(Mark { deliveries: self.crowd.tally.deliveries, ..mark })
    }
}
