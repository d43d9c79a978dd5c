//! A condition in the three places where an operator may look: `/readyz`, the metric, the log.
//! Each condition of the hub has a test that plants it and looks there: see `tests/tidy/health.rs`.

use cpi_hub::conditions::{Condition, Effect};
use serde_json::Value;

use super::{Answer, Hub, eventually};

/// Waits until a condition is seen everywhere; what is known of it.
pub fn planted(hub: &Hub, condition: Condition) -> String {
    planted_by(|path| hub.get(path), || hub.log(), condition)
}

/// Waits until a condition is over everywhere.
pub fn mended(hub: &Hub, condition: Condition) {
    mended_by(|path| hub.get(path), || hub.log(), condition);
}

/// A hub that was begun anew knows nothing of it.
pub fn begun_anew(hub: &Hub, condition: Condition) {
    begun_anew_by(|path| hub.get(path), condition);
}

/// As [`begun_anew`], where the hub is asked in another way.
pub fn begun_anew_by(mut ask: impl FnMut(&str) -> Answer, condition: Condition) {
    eventually(condition.name(), || is_over(&mut ask, condition).then_some(()));
}

/// As [`planted`], where the hub is asked, and its log read, in another way.
pub fn planted_by(
    mut ask: impl FnMut(&str) -> Answer,
    log: impl Fn() -> String,
    condition: Condition,
) -> String {
    let detail = eventually(condition.name(), || shown(&mut ask, condition));
    eventually(condition.name(), || told(&log(), condition).then_some(()));
    detail
}

/// As [`mended`], where the hub is asked, and its log read, in another way.
pub fn mended_by(
    mut ask: impl FnMut(&str) -> Answer,
    log: impl Fn() -> String,
    condition: Condition,
) {
    eventually(condition.name(), || is_over(&mut ask, condition).then_some(()));
    let over = format!("over: {}", condition.meaning());
    eventually(&over, || log().contains(&over).then_some(()));
}

/// Whether a log tells of a condition, and what to do; also one that has ended the hub.
pub fn told(log: &str, condition: Condition) -> bool {
    let line = format!("{}; {}", condition.meaning(), condition.remedy());
    log.contains(condition.name()) && log.contains(&line)
}

fn found(ask: &mut impl FnMut(&str) -> Answer, condition: Condition) -> Option<Value> {
    let health = ask("/readyz");
    let json = health.json();
    let name = condition.name();
    let found = json["conditions"].as_array()?.iter().find(|it| it["name"] == name)?.clone();
    let status = json["status"].as_str().expect("a word");
    let fits = match condition.effect() {
        Effect::Noted => true,
        Effect::Degraded => status != "ready",
        Effect::Refusing => health.status == 503 && status != "ready" && status != "degraded",
    };
    // Both may be of two moments.
    fits.then_some(found)
}

/// What is known of a condition, once `/readyz` and the metric show it.
pub fn shown(ask: &mut impl FnMut(&str) -> Answer, condition: Condition) -> Option<String> {
    let found = found(ask, condition)?;
    let has = |key: &str, text: &str| assert_eq!(found[key], text, "{found}");
    has("meaning", condition.meaning());
    has("do", condition.remedy());
    assert!(found["since"].as_str().is_some_and(|since| since.len() == 32), "{found}");
    let detail = found["detail"].as_str().expect("a text").to_owned();
    metric(ask, condition, 1).then_some(detail)
}

fn metric(ask: &mut impl FnMut(&str) -> Answer, condition: Condition, value: u8) -> bool {
    let (name, effect) = (condition.name(), condition.effect().name());
    let line = format!("hub_condition{{name=\"{name}\",effect=\"{effect}\"}} {value}");
    ask("/metrics").text().lines().any(|it| it == line)
}

fn is_over(ask: &mut impl FnMut(&str) -> Answer, condition: Condition) -> bool {
    found(ask, condition).is_none() && metric(ask, condition, 0)
}
