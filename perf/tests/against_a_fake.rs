//! The generator against a fake hub that does one thing wrong: each fault must show as what it
//! is, and a faultless run as faultless.

// This binary uses a part of the fake.
#[allow(dead_code)]
mod fake;

use std::time::Duration;

use cpi_hub_perf::client::connection::Server;
use cpi_hub_perf::client::dialect::Dialect;
use cpi_hub_perf::measure::figures::Figures;
use cpi_hub_perf::scenario::fanout::{Load, Plan};
use cpi_hub_perf::scenario::{Kind, Target, Times, idle};
use fake::Fault;

fn target(fault: Fault, first_space: i32) -> Target {
    let server =
        Server { address: fake::start(fault), tls: None, dialect: Dialect::Hub, signer: None };
    Target { server, pid: Some(std::process::id()), first_space }
}

/// Runs two spaces of three members, two of them publishing, against a fake with this fault.
fn run(fault: Fault, load: Load) -> Figures {
    let plan = Plan {
        spaces: 2,
        members: 3,
        publishers: 2,
        load,
        content_bytes: 128,
        times: Times {
            warm_up: Duration::from_millis(50),
            measure: Duration::from_millis(200),
            settle: Duration::from_millis(300),
        },
    };
    plan.run(target(fault, 5)).expect("the fake answers")
}

/// Checks what a fault is counted as: lost, doubled, reordered, foreign, members ended.
fn check(fault: Fault, expected: [u64; 5]) {
    let figures = run(fault, Load::Closed { in_flight: 3 });
    let names = ["lost", "doubled", "reordered", "foreign", "members_ended"];
    assert_eq!(names.map(|name| figures.get_count(name)), expected, "{}", figures.to_text());
    assert!(figures.get_count("deliveries_all") > 100, "{}", figures.to_text());
}

#[test]
fn a_faultless_run_has_no_faults() {
    check(Fault::None, [0; 5]);
}

#[test]
fn a_chat_that_is_kept_back_is_lost_to_each_member() {
    check(Fault::Lose, [3, 0, 0, 0, 0]);
}

#[test]
fn a_chat_that_is_sent_twice_is_doubled_for_each_member() {
    check(Fault::Double, [0, 3, 0, 0, 0]);
}

#[test]
fn a_chat_that_leaks_is_foreign_to_the_other_space() {
    check(Fault::Leak, [0, 0, 0, 3, 0]);
}

#[test]
fn a_member_that_is_closed_is_told_with_its_code() {
    let figures = run(Fault::Close, Load::Closed { in_flight: 3 });
    assert_eq!(figures.get_count("members_ended"), 1);
    assert_eq!(figures.get_count("lost"), 0, "what a closed member misses is no loss");
    assert!(figures.to_text().contains("Closed(4008)"), "{}", figures.to_text());
}

#[test]
fn an_id_that_comes_late_is_seen() {
    let figures = run(Fault::Swap, Load::Closed { in_flight: 3 });
    assert_eq!(figures.get_count("ids_not_ascending"), 3, "{}", figures.to_text());
    assert_eq!(figures.get_count("lost"), 0);
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    // The fake takes no chat until the pong has come, so a run without one stands still.
    let figures = run(Fault::Ping, Load::Open { rate: 500.0 });
    assert!(figures.get_count("deliveries_all") > 100, "{}", figures.to_text());
}

#[test]
fn an_open_loop_sends_what_is_due() {
    let figures = run(Fault::None, Load::Open { rate: 400.0 });
    // 250 ms at 400 a second, and the first one at once.
    let messages = figures.get_count("messages_all");
    assert!(messages >= 95, "{}", figures.to_text());
    assert_eq!(figures.get_count("lost"), 0);
    assert_eq!(figures.get_count("deliveries_all"), messages * 3);
}

#[test]
fn idle_connections_are_counted_and_cost_memory() {
    let plan = idle::Plan {
        steps: vec![25, 50],
        members: 10,
        connect_rate: 1e6,
        hold: Duration::from_millis(20),
    };
    let figures = plan.run(target(Fault::None, 1)).expect("the fake answers");
    assert_eq!(figures.get_count("frames"), 50, "each connection gets its join");
    assert_eq!(figures.get_count("members_ended"), 0);
    assert!(figures.get("rss_bytes_per_connection").is_some());
}
