//! A machine's clock that jumps by years: it is told, order stays, and times lie for no longer than
//! the clock does.

use cpi_hub::conditions::Condition;
use serde_json::Value;

use crate::support::faketime::WallClock;
use crate::support::health::{mended, planted};
use crate::support::trials::Outcome;
use crate::support::{GOOD, Hub, UNLIMITED, eventually};

/// Says something; its id, and its time in days.
fn say(hub: &Hub) -> (String, i64) {
    let answer = hub.post("/v1/ws/spaces/1/chat", GOOD).json();
    let message: &Value = &answer["chat_message"];
    let at = message["timestamp"].as_str().unwrap_or_else(|| panic!("a time: {answer}"));
    let part = |range: std::ops::Range<usize>| at[range].parse::<i64>().expect("a number");
    let days = part(0..4) * 365 + part(5..7) * 30 + part(8..10);
    (message["id"].as_str().expect("an id").to_owned(), days)
}

pub fn a_clock_that_jumps_by_years_is_told_and_times_follow_it_back_also_over_a_restart() -> Outcome
{
    let clock = WallClock::new()?;
    let dir = tempfile::tempdir().expect("a directory");
    let mut hub = Hub::start_in(dir, &[&UNLIMITED[..], &["--shards", "2"]].concat(), &clock.env());
    let (mut last, today) = say(&hub);
    // Each message lies above all before it, whatever its time; whether that is of this year.
    let mut is_of_today = |hub: &Hub| {
        let (id, at) = say(hub);
        assert!(id > last, "{id} after {last}");
        last = id;
        (at - today).abs() < 300
    };
    clock.set("+400d");
    let detail = planted(&hub, Condition::ClockJumped);
    assert!(detail.contains("400 days 0 h ahead of where it should be"), "{detail}");
    eventually("a clock that stays there is followed", || (!is_of_today(&hub)).then_some(()));
    clock.set("+0");
    eventually("times follow it back", || is_of_today(&hub).then_some(()));
    mended(&hub, Condition::ClockJumped);
    hub.kill();
    hub.restart();
    assert!(is_of_today(&hub), "in the next run too");
    eventually("it is told at a start", || hub.has_condition("clock_jumped").then_some(()));
    assert!(is_of_today(&hub));
    let stored = hub.history_of(1, 2);
    assert_eq!(stored.last().expect("a row")["id"], last);
    Ok(())
}

pub fn a_clock_that_is_wrong_for_a_moment_is_told_and_makes_no_wrong_time() -> Outcome {
    let clock = WallClock::new()?;
    let dir = tempfile::tempdir().expect("a directory");
    let hub = Hub::start_in(dir, &UNLIMITED, &clock.env());
    let (first, today) = say(&hub);
    clock.set("-400d");
    // The clock that is believed is the one from before, whose second is still going on.
    let (second, at) = say(&hub);
    assert!(second > first && (at - today).abs() < 300, "{at} {today}");
    eventually("it is told", || hub.has_condition("clock_jumped").then_some(()));
    clock.set("+0");
    eventually("it is over", || (!hub.has_condition("clock_jumped")).then_some(()));
    let (third, at) = say(&hub);
    assert!(third > second && (at - today).abs() < 300, "{at} {today}");
    Ok(())
}
