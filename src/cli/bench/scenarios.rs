//! The four scenarios, one after the other, over the same members.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc::channel;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Options;
use super::histogram::Histogram;
use super::member::{Common, Member, Part, Tally};
use crate::cli::CliExit;
use crate::cli::remote::RemoteFault;
use crate::cli::terminal::Progress;
use crate::clock::Clock;

/// Members that connect at once.
const AT_ONCE: usize = 16;
/// Messages a second of one member: less than a hub allows one by default.
const EACH_RATE: u64 = 20;
/// Those who say as much as they may, and how many of theirs are unanswered.
const EAGER: usize = 8;
const IN_FLIGHT: usize = 4;
/// How long answers may be late at the end of a part.
const SETTLE_WAIT: Duration = Duration::from_secs(10);
/// How often the bar moves.
const STEP: Duration = Duration::from_millis(100);

/// How long something took, in milliseconds.
#[derive(Clone, Copy, Serialize, Debug)]
pub(super) struct Times {
    pub count: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Times {
    pub(super) fn of(all: &Histogram) -> Times {
        let ms = |micros: u64| micros as f64 / 1e3;
        Times {
            count: all.total(),
            p50_ms: ms(all.quantile(0.5)),
            p99_ms: ms(all.quantile(0.99)),
            max_ms: ms(all.longest()),
        }
    }
}

/// How members came.
#[derive(Clone, Serialize, Debug)]
pub(super) struct Joins {
    /// From the first byte to the welcome.
    pub times: Times,
    pub joined: usize,
    pub refused: usize,
    /// What the first of the refused was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_refusal: Option<String>,
    pub joins_per_second: f64,
}

/// One part in which messages are said.
#[derive(Clone, Serialize, Debug)]
pub(super) struct Said {
    /// From when a message was to be said until a member had it.
    pub delivery: Times,
    /// From then until its ack.
    pub ack: Times,
    pub messages: u64,
    pub messages_per_second: f64,
    pub deliveries_per_second: f64,
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
    /// Messages that the hub refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// Members whose connection ended.
    pub ended: usize,
    /// Why the first of these ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_end: Option<String>,
}

/// All parts.
#[derive(Clone, Serialize, Debug)]
pub(super) struct Measured {
    pub joins: Joins,
    pub latency: Said,
    pub fan_out: Said,
    pub durable: Said,
}

impl Measured {
    /// The parts in which messages are said.
    pub(super) fn said(&self) -> [&Said; 3] {
        [&self.latency, &self.fan_out, &self.durable]
    }
}

/// The members, and what they share.
pub(super) struct Bench<'a> {
    options: &'a Options,
    run: String,
    clock: Clock,
    members: Vec<Member>,
}

impl Bench<'_> {
    pub(super) fn new(options: &Options, run: String, clock: Clock) -> Bench<'_> {
        Bench { options, run, clock, members: Vec::new() }
    }

    /// All of it. An error: there is nothing to be measured.
    pub(super) async fn measure(&mut self, progress: &mut Progress) -> Result<Measured, CliExit> {
        let joins = self.join(progress).await?;
        let publishers = self.options.rate.div_ceil(EACH_RATE).min(self.members.len() as u64);
        let period = (publishers * 1_000_000 / self.options.rate) as i64;
        let paced = |n: usize| match n as u64 {
            n if n < publishers => {
                Part::Paced { first: n as i64 * period / publishers as i64, period }
            }
            _ => Part::Listens,
        };
        let latency = self.part("latency", paced, progress).await;
        let eager = |n: usize| match n {
            ..EAGER => Part::Eager { in_flight: IN_FLIGHT },
            _ => Part::Listens,
        };
        let fan_out = self.part("fan-out", eager, progress).await;
        // The eager ones have used up what their rates allow at once.
        let last = self.members.len().saturating_sub(1);
        let durable = |n: usize| if n == last { Part::Durable } else { Part::Listens };
        let durable = self.part("durable", durable, progress).await;
        let mut leaving = JoinSet::new();
        for member in self.members.drain(..) {
            leaving.spawn(member.leave());
        }
        leaving.join_all().await;
        Ok(Measured { joins, latency, fan_out, durable })
    }

    async fn join(&mut self, progress: &mut Progress) -> Result<Joins, CliExit> {
        let Options { hub, space, first_user, members, .. } = self.options;
        let names_its_user = hub.names_its_user()?;
        let mut coming = JoinSet::new();
        let (mut times, mut faults) = (Histogram::new(), Vec::new());
        let begin = self.clock.now().unix.0;
        let mut next = 0;
        loop {
            while next < *members && coming.len() < AT_ONCE {
                let user = match names_its_user {
                    true => String::new(),
                    // There is room for all: it was looked at with the options.
                    false => format!("&user_id={}", first_user + next as i32),
                };
                let path = format!("/v1/ws/spaces/{space}?username=bench{next}{user}");
                let (hub, clock, number) = (hub.clone(), self.clock.clone(), next);
                coming.spawn(async move {
                    let before = clock.now().unix.0;
                    let member = Member::join(&hub, &path, number).await;
                    (member, clock.now().unix.0 - before)
                });
                next += 1;
            }
            let Some(joined) = coming.join_next().await else { break };
            match joined {
                Ok((Ok(member), took)) => {
                    times.add(u64::try_from(took).unwrap_or_default());
                    self.members.push(member);
                }
                Ok((Err(fault), _)) => faults.push(fault),
                Err(panicked) => faults.push(RemoteFault::Broken(panicked.to_string())),
            }
            let done = self.members.len() + faults.len();
            progress.show("joins", done as u64, *members as u64);
        }
        progress.end();
        let seconds = (self.clock.now().unix.0 - begin) as f64 / 1e6;
        let (joined, refused) = (self.members.len(), faults.len());
        let mut faults = faults.into_iter();
        let first = faults.next();
        match first {
            Some(fault) if joined < 2 => Err(fault.into()),
            first => Ok(Joins {
                times: Times::of(&times),
                joined,
                refused,
                first_refusal: first.map(|fault| fault.to_string()),
                joins_per_second: round(joined as f64 / seconds.max(1e-6)),
            }),
        }
    }

    /// Has each member take its part for the time that each part has.
    async fn part(
        &mut self,
        name: &'static str,
        part: impl Fn(usize) -> Part,
        progress: &mut Progress,
    ) -> Said {
        // Each member says it once at most.
        let (settled, mut counts) = channel(self.members.len().max(1));
        let (silent, over) = (CancellationToken::new(), CancellationToken::new());
        let mut taking = JoinSet::new();
        let mut publishers = 0;
        for (n, member) in self.members.drain(..).enumerate() {
            let part = part(n);
            publishers += usize::from(part != Part::Listens);
            let common = Common {
                clock: self.clock.clone(),
                mark: format!("bench-{}-{name}", self.run),
                silent: silent.clone(),
                over: over.clone(),
                settled: settled.clone(),
            };
            taking.spawn(member.take_part(part, common));
        }
        let begin = self.clock.now().unix.0;
        let all = self.options.time.as_micros() as i64;
        loop {
            let done = self.clock.now().unix.0 - begin;
            progress.show(name, u64::try_from(done).unwrap_or_default(), all.unsigned_abs());
            if done >= all {
                break;
            }
            tokio::time::sleep(STEP).await;
        }
        let seconds = (self.clock.now().unix.0 - begin) as f64 / 1e6;
        silent.cancel();
        let settle = async {
            for _ in 0..publishers {
                counts.recv().await;
            }
        };
        // A publisher whose answers are late, or whose connection is gone, shows in its counts.
        _ = tokio::time::timeout(SETTLE_WAIT, settle).await;
        over.cancel();
        let mut tallies = Vec::new();
        while let Some(ended) = taking.join_next().await {
            let Ok((member, tally)) = ended else { continue };
            self.members.extend(member);
            tallies.push(tally);
        }
        progress.end();
        summed(&tallies, seconds)
    }
}

fn summed(tallies: &[Tally], seconds: f64) -> Said {
    let (mut times, mut acks) = (Histogram::new(), Histogram::new());
    let mut refused = BTreeMap::new();
    for tally in tallies {
        times.merge(&tally.times);
        acks.merge(&tally.acks);
        for (code, count) in &tally.refused {
            *refused.entry(code.clone()).or_default() += count;
        }
    }
    let sum = |count: fn(&Tally) -> u64| tallies.iter().map(count).sum::<u64>();
    let messages = sum(|tally| tally.accepted);
    let mut ends = tallies.iter().filter_map(|tally| tally.ended.clone());
    // Who was cut is told apart: what it did not get, the hub has not lost.
    let whole = tallies.iter().filter(|tally| tally.ended.is_none());
    let lost = whole.map(|tally| messages.saturating_sub(distinct(tally))).sum();
    Said {
        delivery: Times::of(&times),
        ack: Times::of(&acks),
        messages,
        messages_per_second: round(messages as f64 / seconds),
        deliveries_per_second: round(times.total() as f64 / seconds),
        lost,
        doubled: sum(|tally| tally.doubled),
        reordered: sum(|tally| tally.reordered),
        refused,
        ended: tallies.iter().filter(|tally| tally.ended.is_some()).count(),
        first_end: ends.next(),
    }
}

/// Messages that came for the first time.
fn distinct(tally: &Tally) -> u64 {
    tally.times.total() - tally.doubled
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_member_did_not_get_is_lost_and_who_was_cut_is_told_apart() {
        let tally = |heard: u64, accepted| {
            let mut tally = Tally::new();
            tally.accepted = accepted;
            (0..heard).for_each(|_| tally.times.add(1_000));
            tally
        };
        let mut doubled = tally(11, 0);
        doubled.doubled = 1;
        let mut cut = tally(3, 0);
        cut.ended = Some("4008 too_slow".into());
        let said = summed(&[tally(10, 10), tally(8, 0), doubled, cut], 2.0);
        assert_eq!((said.messages, said.lost, said.doubled, said.ended), (10, 2, 1, 1));
        assert_eq!(said.messages_per_second, 5.0);
        assert_eq!(said.first_end.as_deref(), Some("4008 too_slow"));
    }
}
