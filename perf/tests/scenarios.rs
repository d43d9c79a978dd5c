//! The kinds of load against a fake hub, and the files that name them: each file must be read, and
//! each kind must count what goes wrong.

// This binary uses a part of the fake.
#[allow(dead_code)]
mod fake;

use std::fs;
use std::path::Path;

use cpi_hub_perf::client::connection::Server;
use cpi_hub_perf::client::dialect::Dialect;
use cpi_hub_perf::measure::figures::{Figures, Value};
use cpi_hub_perf::scenario::{self, Target};
use fake::Fault;

/// Runs a scenario of a few lines against a fake with this fault.
fn run(fault: Fault, text: &str) -> Figures {
    let scenario = scenario::read("test", text, &[]).expect("a good scenario");
    let server =
        Server { address: fake::start(fault), tls: None, dialect: Dialect::Hub, signer: None };
    let pid = Some(std::process::id());
    scenario.run(Target { server, pid, first_space: 3 }).expect("the fake answers")
}

fn number(figures: &Figures, name: &str) -> f64 {
    match figures.get(name) {
        Some(Value::Number(number)) => *number,
        other => panic!("{name} is {other:?} in\n{}", figures.to_text()),
    }
}

#[test]
fn every_scenario_file_is_read_and_says_what_it_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("readable").path();
        let text = fs::read_to_string(&path).expect("readable");
        let scenario = scenario::read("x", &text, &[]);
        let scenario = scenario.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(scenario.about.ends_with('.'), "{}: a sentence", path.display());
        let error = scenario::read("x", &text, &["surplus=1".into()]).expect_err("unknown key");
        assert!(error.starts_with("surplus: ") && !error.contains('\n'), "{error}");
        count += 1;
    }
    assert!(count > 10, "{count} files");
}

#[test]
fn stalled_members_are_no_loss_and_both_latencies_are_told() {
    let figures = run(
        Fault::None,
        "kind = \"stalled\"\nmembers = 4\npublishers = 2\nrate = 400\nstalled = 1\n\
         warmup = 0.05\nseconds = 0.2\nsettle = 0.5\n",
    );
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    assert!(number(&figures, "p99_without_ms") > 0.0 && number(&figures, "p99_ms") > 0.0);
    assert!(number(&figures, "p99_ratio") > 0.0);
    assert!(number(&figures, "hub_cpu_ns_per_delivery_without") >= 0.0);
    assert_eq!(figures.get_count("stalled_closed"), 0);
}

#[test]
fn a_message_that_the_healthy_miss_beside_the_stalled_is_a_loss() {
    let figures = run(
        Fault::Lose,
        "kind = \"stalled\"\nmembers = 4\npublishers = 2\nrate = 400\nstalled = 1\n\
         warmup = 0.05\nseconds = 0.2\nsettle = 0.5\n",
    );
    assert_eq!(figures.faults(), [("lost", 3)], "{}", figures.to_text());
}

const DURABLE: &str = "kind = \"durable\"\nmembers = 3\npublishers = 2\nrate = 400\n\
                       warmup = 0.05\nseconds = 0.2\nsettle = 0.5\n";

#[test]
fn acknowledgements_are_timed_and_counted() {
    let figures = run(Fault::None, DURABLE);
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    for name in ["accepted_p50_ms", "accepted_p99_ms", "durable_p50_ms", "durable_p99_ms"] {
        assert!(number(&figures, name) > 0.0);
    }
}

#[test]
fn an_acknowledgement_that_never_comes_is_missed() {
    let figures = run(Fault::Unacked, DURABLE);
    assert_eq!(figures.faults(), [("acks_missing", 1)], "{}", figures.to_text());
}

#[test]
fn joiners_come_and_go() {
    let figures = run(
        Fault::None,
        "kind = \"churn\"\nmembers = 5\nrate = 200\nstay = 0.02\nwarmup = 0.05\nseconds = 0.3\n\
         settle = 1\n",
    );
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    let (joins, leaves) = (figures.get_count("joins_all"), figures.get_count("leaves_all"));
    assert!(joins > 20 && joins == leaves, "{}", figures.to_text());
    assert!(number(&figures, "p99_ms") > 0.0);
}

#[test]
fn a_herd_is_back_as_a_whole() {
    let figures = run(
        Fault::None,
        "kind = \"herd\"\nconnections = 60\nhold = 0.05\nwait = 10\nconnect_rate = 1e6\n",
    );
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    assert_eq!(figures.get_count("connections"), 60);
    assert!(number(&figures, "all_back_s") > 0.0);
}

#[test]
fn a_herd_that_nobody_lets_in_is_not_back() {
    let scenario = "kind = \"herd\"\nconnections = 3\nhold = 0\nwait = 0.2\n";
    let scenario = scenario::read("test", scenario, &[]).expect("good");
    let address = fake::start_refusing(3);
    let server = Server { address, tls: None, dialect: Dialect::Hub, signer: None };
    let figures = scenario.run(Target { server, pid: None, first_space: 1 }).expect("it runs");
    assert_eq!(figures.faults(), [("not_back", 3)], "{}", figures.to_text());
    assert_eq!(figures.get_count("refused"), 3);
}

#[test]
fn idle_steps_give_a_curve_from_zero_on() {
    let figures = run(
        Fault::None,
        "kind = \"idle\"\nsteps = [10, 20, 30]\nhold = 0.01\nconnect_rate = 1e6\n",
    );
    let Some(Value::Curve(points)) = figures.get("rss_bytes") else { panic!("no curve") };
    let at: Vec<f64> = points.iter().map(|(connections, _)| *connections).collect();
    assert_eq!(at, [0.0, 10.0, 20.0, 30.0]);
}

const HERD_WITH_POSITIONS: &str = "kind = \"herd\"\nconnections = 40\nhold = 0.05\nwait = 10\n\
                                   connect_rate = 1e6\nresume = true\nloss = \"reset\"\n";

#[test]
fn a_herd_with_positions_is_back_when_it_has_what_it_missed() {
    let figures = run(Fault::None, HERD_WITH_POSITIONS);
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    assert!(number(&figures, "back_99_s") > 0.0);
}

#[test]
fn a_message_that_does_not_come_with_a_resume_is_a_gap_of_each() {
    let figures = run(Fault::Forget, HERD_WITH_POSITIONS);
    assert_eq!(figures.faults(), [("resume_gaps", 40)], "{}", figures.to_text());
}

const OVERLOAD: &str = "kind = \"overload\"\nspaces = 2\nmembers = 3\nrate = 400\npolite = 1\n\
                        connect_rate = 1e6\nwarmup = 0.05\nseconds = 1.2\nsettle = 0.5\n";

#[test]
fn every_message_of_an_overload_is_answered_and_timed() {
    let figures = run(Fault::None, OVERLOAD);
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    assert!(number(&figures, "accepted_per_s") > 100.0, "{}", figures.to_text());
    assert!(number(&figures, "p99_ms") > 0.0 && number(&figures, "polite_p99_ms") > 0.0);
    let closed = format!("{OVERLOAD}in_flight = 2\n");
    let figures = run(Fault::None, &closed);
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    assert!(number(&figures, "accepted_per_s") > 100.0, "{}", figures.to_text());
}

#[test]
fn a_refusal_is_an_answer_and_none_without_a_hint() {
    let figures = run(Fault::Refuse, OVERLOAD);
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    assert_eq!(figures.get_count("messages_refused"), 1);
    let figures = run(Fault::RefuseForGood, OVERLOAD);
    assert_eq!(figures.faults(), [("refused_without_hint", 1)], "{}", figures.to_text());
}

#[test]
fn a_message_that_nobody_answers_is_told() {
    let figures = run(Fault::Swallow, OVERLOAD);
    assert_eq!(figures.faults(), [("unanswered", 1)], "{}", figures.to_text());
}

#[test]
fn who_is_closed_comes_back_and_has_lost_nothing() {
    let figures = run(Fault::Close, OVERLOAD);
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    assert!(figures.to_text().contains("4008:1"), "{}", figures.to_text());
}

#[test]
fn a_hub_that_ends_and_tells_nobody_is_told() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("it runs");
    let scenario = "kind = \"drain\"\nspaces = 1\nmembers = 3\nrate = 100\ntalk = 0.1\n\
                    wait = 0.3\n";
    let scenario = scenario::read("test", scenario, &[]).expect("good");
    let address = fake::start(Fault::None);
    let server = Server { address, tls: None, dialect: Dialect::Hub, signer: None };
    let figures = scenario.run(Target { server, pid: Some(child.id()), first_space: 1 });
    let figures = figures.expect("it runs");
    assert_eq!(figures.faults(), [("not_told", 3)], "{}", figures.to_text());
    assert!(number(&figures, "ended_after_s") < 0.3, "{}", figures.to_text());
    assert!(!child.wait().expect("it was there").success());
}

#[test]
fn posts_are_counted_by_their_answers() {
    let scenario = "kind = \"posts\"\nposters = 4\nwarmup = 0.05\nseconds = 0.2\nsettle = 1\n";
    let scenario = scenario::read("test", scenario, &[]).expect("good");
    let run = |answers: &'static [&'static str]| {
        let address = fake::start_answering(answers);
        let server = Server { address, tls: None, dialect: Dialect::Hub, signer: None };
        scenario.run(Target { server, pid: None, first_space: 1 }).expect("it runs")
    };
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    const HINTED: &str =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    let figures = run(&[OK, HINTED]);
    assert_eq!(figures.faults(), [], "{}", figures.to_text());
    assert!(number(&figures, "stored_per_s") > 0.0 && number(&figures, "refused_per_s") > 0.0);
    let figures = run(&[OK, "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"]);
    let (name, count) = figures.faults()[0];
    assert!(name == "refused_without_hint" && count > 0, "{}", figures.to_text());
    let figures = run(&[OK, ""]);
    let (name, count) = figures.faults()[0];
    assert!(name == "unanswered" && count > 0, "{}", figures.to_text());
}
