//! A hub that runs: whether it answers, what it says is wrong, how far it is, whether sockets reach
//! it, and whether its clock agrees with this one.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::{Finding, middle_and_longest, ms};
use crate::cli::CliExit;
use crate::cli::remote::{Answer, Asked, Remote, RemoteFault};
use crate::clock::{Clock, unix_now};
use crate::conditions::{Condition, Effect};

const ASK_WAIT: Duration = Duration::from_secs(5);
/// Questions whose answers are timed.
const QUESTIONS: usize = 10;
/// How far two clocks may be apart, in seconds: a date has whole ones.
const APART: i64 = 3;
const DISTANCE_WANTED: Duration = Duration::from_millis(100);

/// All of it; an error is one of the options.
pub(super) async fn look(hub: &Remote) -> Result<Vec<Finding>, CliExit> {
    let mut found = vec![];
    let alive = match hub.ask(Asked::get("/livez"), ASK_WAIT).await {
        Ok(answer) => answer,
        Err(fault @ (RemoteFault::Token { .. } | RemoteFault::Ca { .. })) => {
            return Err(fault.into());
        }
        Err(fault) => {
            let fix = "start it, or see what stands in between: address, firewall, certificate";
            return Ok(vec![Finding::problem("hub", fault.to_string(), fix)]);
        }
    };
    found.push(is_hub(hub, &alive));
    found.push(clock(&alive));
    match hub.ask(Asked::get("/readyz"), ASK_WAIT).await {
        Ok(answer) => found.extend(readiness(&answer)),
        Err(fault) => found.push(unasked("ready", &fault)),
    }
    found.push(distance(hub).await);
    found.push(socket(hub).await);
    Ok(found)
}

fn unasked(name: &'static str, fault: &RemoteFault) -> Finding {
    Finding::problem(name, fault.to_string(), "see the hub's log")
}

fn is_hub(hub: &Remote, alive: &Answer) -> Finding {
    let place = hub.base();
    match (alive.status.as_u16(), &alive.body[..]) {
        (200, b"ok") => Finding::ok("hub", format!("{place} answers")),
        (status, _) => {
            let what = format!("{place}/livez answers {status}, not as a hub does");
            Finding::problem("hub", what, "see what serves there, and which Host it wants")
        }
    }
}

fn clock(alive: &Answer) -> Finding {
    const NAME: &str = "hub_clock";
    let date = alive.headers.get("date").and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(seconds_of_date) else {
        return Finding::unknown(NAME, "its answers have no date");
    };
    let apart = (unix_now().0 / 1_000_000 - theirs).abs();
    if apart <= APART {
        return Finding::ok(NAME, "the hub's clock and this one agree");
    }
    let what = format!("the hub's clock and this one are {apart} s apart");
    Finding::warning(NAME, what, "have both kept by NTP: tokens end by the hub's clock")
}

/// Seconds since 1970 of a date as HTTP has it.
fn seconds_of_date(date: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// What `/readyz` says: its word, and each condition as a finding of its own.
fn readiness(answer: &Answer) -> Vec<Finding> {
    let json = answer.json();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let status = text(&json, "status");
    let what = format!("it says {status}, its store {}", text(&json, "store"));
    let fix = "what to do stands with each condition below; docs/BAD_DAYS.md says more";
    let mut found = vec![match (answer.status.as_u16(), status.as_str()) {
        (200, "ready") => Finding::ok("ready", what),
        (200, "degraded") => Finding::warning("ready", what, fix),
        _ if status.is_empty() => {
            let what = format!("/readyz answers {}, not as a hub does", answer.status);
            Finding::problem("ready", what, "ask the hub itself, not what stands before it")
        }
        _ => Finding::problem("ready", what, fix),
    }];
    let conditions = json["conditions"].as_array().into_iter().flatten();
    found.extend(conditions.map(|condition| {
        let name = text(condition, "name");
        let mut what = format!("{name}: {}", text(condition, "meaning"));
        let detail = text(condition, "detail");
        if !detail.is_empty() {
            what.push_str(&format!(" ({detail})"));
        }
        // A condition that this version does not know is of a newer hub.
        let known = Condition::ALL.iter().find(|known| known.name() == name);
        match known.map(|known| known.effect()) {
            Some(Effect::Refusing) => Finding::problem("condition", what, &text(condition, "do")),
            _ => Finding::warning("condition", what, &text(condition, "do")),
        }
    }));
    found
}

async fn distance(hub: &Remote) -> Finding {
    const NAME: &str = "hub_latency";
    let clock = Clock::start();
    let mut times = Vec::new();
    for _ in 0..QUESTIONS {
        let before = clock.now().unix.0;
        if let Err(fault) = hub.ask(Asked::get("/livez"), ASK_WAIT).await {
            return Finding::problem(NAME, fault.to_string(), "see what stands in between");
        }
        let took = u64::try_from(clock.now().unix.0 - before).unwrap_or_default();
        times.push(Duration::from_micros(took));
    }
    let (middle, longest) = middle_and_longest(times).unwrap_or_default();
    let what = format!("a request takes {}, the slowest {}", ms(middle), ms(longest));
    match middle <= DISTANCE_WANTED {
        true => Finding::ok(NAME, what),
        false => Finding::warning(NAME, what, "see what stands in between, and the hub's load"),
    }
}

/// The handshake of a socket that joins no space: what a proxy without `Upgrade` breaks.
async fn socket(hub: &Remote) -> Finding {
    const NAME: &str = "sockets";
    let fix = "have what stands in between pass Upgrade on: docs/PROXIES.md";
    match hub.socket("/v1/ws/notifications?user_id=2147483647").await {
        Ok(mut socket) => {
            _ = socket.close(None).await;
            Finding::ok(NAME, "a WebSocket is opened")
        }
        // The hub itself has judged the handshake.
        Err(RemoteFault::Refused(refused)) if !refused.code.is_empty() => match refused.status {
            401 | 403 => Finding::unknown(NAME, format!("{refused}: give --token-file")),
            _ => Finding::problem(NAME, refused.to_string(), "docs/CODES.md has the code"),
        },
        Err(fault) => Finding::problem(NAME, fault.to_string(), fix),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade::{Ok, Problem, Warning};
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        let status = hyper::StatusCode::from_u16(status).expect("a status");
        Answer { status, headers: hyper::HeaderMap::new(), body: body.into() }
    }

    #[test]
    fn a_date_is_read_to_the_second() {
        assert_eq!(seconds_of_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds_of_date("yesterday"), None);
    }

    #[test]
    fn each_condition_is_a_finding_with_what_to_do() {
        let ready = readiness(&answer(200, r#"{"status":"ready","store":"ready"}"#));
        assert_eq!(ready.iter().map(|it| it.grade).collect::<Vec<_>>(), [Ok]);
        let refusing = readiness(&answer(
            503,
            r#"{"status":"refusing","store":"ready","conditions":[{"name":"journal_broken",
            "meaning":"M","detail":"D","do":"look"},{"name":"clock_jumped","meaning":"N",
            "detail":"","do":"see"}]}"#,
        ));
        let grades: Vec<_> = refusing.iter().map(|it| it.grade).collect();
        assert_eq!(grades, [Problem, Problem, Warning]);
        assert_eq!(refusing[1].what, "journal_broken: M (D)");
        assert_eq!(refusing[1].fix.as_deref(), Some("look"));
        assert_eq!(readiness(&answer(404, "x"))[0].grade, Problem);
    }
}
