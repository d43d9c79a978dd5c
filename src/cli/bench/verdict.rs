//! What the figures mean, in words; and the figures as people read them.

use serde::Serialize;

use super::Report;
use super::scenarios::{Measured, Said, Times};
use crate::cli::table::table;

/// How soon messages come, at the 99th of a hundred, in milliseconds.
const EXCELLENT: f64 = 20.0;
const GOOD: f64 = 100.0;
const USABLE: f64 = 500.0;
/// The share of this machine above which the measuring itself was the limit.
const BUSY: f64 = 0.8;

/// A judgement.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(super) struct Verdict {
    /// Nothing was lost, doubled or reordered, and nobody was cut.
    pub is_sound: bool,
    /// In one word: `excellent`, `good`, `usable`, `slow` or `broken`.
    pub grade: &'static str,
    /// In sentences.
    pub words: Vec<String>,
}

impl Verdict {
    pub(super) fn of(measured: &Measured, members: usize, client_cpu: f64) -> Verdict {
        let sum = |count: fn(&Said) -> u64| measured.said().into_iter().map(count).sum::<u64>();
        let (lost, doubled) = (sum(|said| said.lost), sum(|said| said.doubled));
        let reordered = sum(|said| said.reordered);
        let ended = measured.said().into_iter().map(|said| said.ended).sum::<usize>();
        let is_silent = measured.said().into_iter().any(|said| said.messages == 0);
        let is_sound = lost + doubled + reordered == 0 && ended == 0 && !is_silent;
        let mut words = Vec::new();
        if lost + doubled + reordered == 0 {
            let count = sum(|said| said.delivery.count);
            words.push(format!("{count} messages came, each once and in order."));
        } else {
            words.push(format!(
                "Of what was said {lost} were lost, {doubled} came twice, {reordered} out of order."
            ));
        }
        if ended > 0 {
            let why = measured.said().into_iter().find_map(|said| said.first_end.clone());
            let why = why.unwrap_or_default();
            words.push(format!("{ended} members were cut: {why}."));
        }
        if is_silent {
            words.push("In a part the hub took no message at all.".into());
        }
        let joins = &measured.joins;
        if joins.refused > 0 {
            let why = joins.first_refusal.clone().unwrap_or_default();
            words.push(format!("{} of {members} could not join: {why}.", joins.refused));
        }
        words.extend(held_back(&measured.fan_out));
        let p99 = measured.latency.delivery.p99_ms;
        let grade = match p99 {
            _ if !is_sound => "broken",
            ..=EXCELLENT => "excellent",
            ..=GOOD => "good",
            ..=USABLE => "usable",
            _ => "slow",
        };
        words.push(format!("At the rate asked for 99 of 100 came within {p99:.1} ms: {grade}."));
        let durable = measured.durable.ack;
        if durable.count > 0 {
            words.push(format!("Half were stored within {:.1} ms.", durable.p50_ms));
        }
        if client_cpu > BUSY {
            words.push("This machine was busy with measuring: the hub can do more.".into());
        }
        Verdict { is_sound, grade, words }
    }
}

/// What kept the eager ones from saying more.
fn held_back(fan_out: &Said) -> Option<String> {
    let refused: u64 = fan_out.refused.values().sum();
    let by_rate = fan_out.refused.get("rate_limited").copied().unwrap_or_default();
    match refused {
        0 => None,
        _ if by_rate == refused => Some(
            "The hub's rates (message_rate, user_message_rate) held the fan-out back, so this is \
             not its limit."
                .into(),
        ),
        _ => {
            let codes: Vec<&str> = fan_out.refused.keys().map(String::as_str).collect();
            Some(format!("The hub refused {refused} messages: {}.", codes.join(", ")))
        }
    }
}

/// The figures and the verdict, for people.
pub(super) fn shown(report: &Report) -> String {
    let Measured { joins, latency, fan_out, durable } = &report.measured;
    let row = |name: &str, times: Times, rate: f64, unit: &str| {
        let ms = |time: f64| format!("{time:.1}");
        let rate = format!("{rate:.0} {unit}");
        vec![
            name.to_owned(),
            times.count.to_string(),
            rate,
            ms(times.p50_ms),
            ms(times.p99_ms),
            ms(times.max_ms),
        ]
    };
    let rows = [
        row("joins", joins.times, joins.joins_per_second, "joins/s"),
        row("latency", latency.delivery, latency.deliveries_per_second, "deliveries/s"),
        row("fan-out", fan_out.delivery, fan_out.deliveries_per_second, "deliveries/s"),
        row("durable", durable.ack, durable.messages_per_second, "messages/s"),
    ];
    let heading = ["part", " count", " rate", " p50 ms", " p99 ms", " max ms"];
    let Report { hub, members, rate, seconds, verdict, .. } = report;
    let first = format!("{hub}: {members} members, {rate} messages a second, {seconds} s a part");
    format!("{first}\n\n{}\n\n{}", table(&heading, &rows), verdict.words.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::scenarios::Joins;
    use super::*;

    fn measured() -> Measured {
        let times = Times { count: 100, p50_ms: 1.0, p99_ms: 3.0, max_ms: 9.0 };
        let said = Said {
            delivery: times,
            ack: times,
            messages: 10,
            messages_per_second: 2.0,
            deliveries_per_second: 20.0,
            lost: 0,
            doubled: 0,
            reordered: 0,
            refused: BTreeMap::new(),
            ended: 0,
            first_end: None,
        };
        let joins =
            Joins { times, joined: 10, refused: 0, first_refusal: None, joins_per_second: 9.0 };
        Measured { joins, latency: said.clone(), fan_out: said.clone(), durable: said }
    }

    #[test]
    fn a_hub_is_judged_by_its_slowest_of_a_hundred() {
        for (p99, grade) in [(3.0, "excellent"), (60.0, "good"), (200.0, "usable"), (900.0, "slow")]
        {
            let mut measured = measured();
            measured.latency.delivery.p99_ms = p99;
            let verdict = Verdict::of(&measured, 10, 0.1);
            assert_eq!((verdict.grade, verdict.is_sound), (grade, true));
        }
    }

    #[test]
    fn a_fast_hub_that_loses_a_message_is_broken() {
        type Change = fn(&mut Measured);
        let changes: [Change; 5] = [
            |it| it.latency.lost = 1,
            |it| it.fan_out.doubled = 1,
            |it| it.durable.reordered = 1,
            |it| it.durable.ended = 1,
            |it| it.durable.messages = 0,
        ];
        for change in changes {
            let mut measured = measured();
            change(&mut measured);
            let verdict = Verdict::of(&measured, 10, 0.1);
            assert_eq!((verdict.grade, verdict.is_sound), ("broken", false), "{verdict:?}");
        }
    }

    #[test]
    fn what_held_it_back_is_said() {
        let mut measured = measured();
        measured.fan_out.refused.insert("rate_limited".into(), 5);
        let words = Verdict::of(&measured, 10, 0.9).words.join(" ");
        assert!(words.contains("message_rate") && words.contains("busy with measuring"));
    }
}
