//! The drain scenario: a hub is asked to end while everybody chats.
//!
//! Measured are when each member is told, with which hint, and how long the process takes to end.
//! Which messages were acknowledged is written to a file, to be held against the store.

use std::fs;
use std::io;
use std::time::Duration;

use super::crowd::{Closing, Crowd, Size, TURN};
use super::keys::Keys;
use super::kind::{Kind, Target};
use crate::client::engine::micros;
use crate::measure::figures::Figures;
use crate::measure::marks::{Mark, mib};
use crate::measure::process;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    size: Size,
    /// Messages a second, all together.
    rate: f64,
    /// How long they chat before the end.
    talk: Duration,
    /// The time over which the hub spreads its closes.
    window: Duration,
    /// How long the end may take.
    wait: Duration,
    /// Where the ids of acknowledged messages are written; empty: nowhere.
    acked: String,
}

impl Plan {
    pub(super) fn read(keys: &mut Keys) -> Result<Plan, String> {
        Ok(Plan {
            size: Size {
                spaces: keys.count("spaces", None)?,
                members: keys.count("members", None)?,
                connect_rate: keys.connect_rate()?,
                content_bytes: keys.count("content_bytes", Some(64))?,
            },
            rate: keys.positive("rate", None)?,
            talk: keys.time("talk", 5.0)?,
            window: keys.time("window", 10.0)?,
            wait: keys.time("wait", 40.0)?,
            acked: keys.text("acked", "")?,
        })
    }
}

impl Kind for Plan {
    fn connections(&self) -> usize {
        self.size.spaces * self.size.members
    }

    fn run(&self, target: Target) -> io::Result<Figures> {
        let pid = target.pid.ok_or_else(|| io::Error::other("drain: it takes --pid"))?;
        let mut crowd = Crowd::new(self.size, target.server, target.first_space, "accepted")?;
        crowd.tally.acked_ids = Some(Vec::new());
        crowd.open()?;
        let mut talk = Talk { started: crowd.engine.now(), said: 0, rate: self.rate };
        let end = talk.started + micros(self.talk);
        while crowd.engine.now() < end {
            talk.go_on(&mut crowd);
            crowd.turn(TURN)?;
        }
        let before = Mark::now(crowd.engine.now(), Some(pid))?;
        process::terminate(pid)?;
        let deadline = before.at + micros(self.wait);
        let mut ended_at = None;
        while crowd.engine.now() < deadline {
            if ended_at.is_none() {
                talk.go_on(&mut crowd);
            }
            crowd.turn(TURN)?;
            let now = crowd.engine.now();
            if ended_at.is_none() && process::is_over(pid) {
                ended_at = Some(now);
            }
            if ended_at.is_some() && crowd.engine.open().next().is_none() {
                break;
            }
        }
        if let (false, Some(ids)) = (self.acked.is_empty(), &crowd.tally.acked_ids) {
            fs::write(&self.acked, ids)?;
        }
        let mut figures = Figures::default();
        figures.count("members", crowd.count()).number("rate_per_s", self.rate);
        figures.number("hub_rss_mib", before.server.map_or(0.0, |it| mib(it.rss_bytes as f64)));
        if let Some(at) = ended_at {
            figures.number("ended_after_s", (at - before.at) as f64 / 1e6);
        }
        self.closings(&crowd.tally.closings, before.at, &mut figures);
        crowd.books(&mut figures);
        figures.count("not_told", crowd.count().saturating_sub(crowd.tally.closings.len()));
        Ok(figures)
    }
}

impl Plan {
    /// How closes and hints are spread.
    fn closings(&self, closings: &[Closing], begun: u64, figures: &mut Figures) {
        let told = |closing: &Closing| closing.at.saturating_sub(begun) as f64 / 1e6;
        let waits: Vec<f64> = closings.iter().map(told).collect();
        figures.text("closes_by_tenths", tenths(&waits, 0.0, self.window.as_secs_f64()));
        let last = waits.iter().copied().fold(0.0, f64::max);
        figures.number("last_close_s", last);
        let hints: Vec<f64> = closings
            .iter()
            .filter_map(|closing| closing.retry_after_ms)
            .map(|hint| hint as f64 / 1e3)
            .collect();
        let least = hints.iter().copied().fold(f64::INFINITY, f64::min);
        let most = hints.iter().copied().fold(0.0, f64::max);
        figures.number("hint_min_s", least).number("hint_max_s", most);
        figures.text("hints_by_tenths", tenths(&hints, least, most - least));
        let restart = closings.iter().filter(|closing| closing.code == 1012).count();
        figures.count("told_restart", restart);
    }
}

/// How many fall into each tenth of a span; what lies beyond counts to the last one.
fn tenths(values: &[f64], from: f64, span: f64) -> String {
    let mut counts = [0; 10];
    for value in values {
        counts[((value - from) / span * 10.0).clamp(0.0, 9.0) as usize] += 1;
    }
    counts.map(|count| count.to_string()).join(" ")
}

/// Everybody in turn, at a rate in all.
pub(super) struct Talk {
    pub started: u64,
    pub said: u64,
    pub rate: f64,
}

impl Talk {
    /// Says what is due; who is not there leaves its turn to nobody.
    pub(super) fn go_on(&mut self, crowd: &mut Crowd) {
        let passed = crowd.engine.now() - self.started;
        let due = (passed as f64 * self.rate / 1e6) as u64;
        while self.said < due {
            let at = self.started + (self.said as f64 * 1e6 / self.rate) as u64;
            crowd.say((self.said % crowd.count() as u64) as usize, at);
            self.said += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_are_of_the_span_and_the_rest_is_the_last_ones() {
        assert_eq!(tenths(&[0.0, 0.9, 1.0, 9.9, 12.0, -1.0], 0.0, 10.0), "3 1 0 0 0 0 0 0 0 2");
    }
}
