//! `cpi-hub bench`: its figures, and what it refuses.

use super::{command, json, url};
use crate::support::{Hub, UNLIMITED};

#[test]
fn every_part_has_its_figures_and_nothing_is_lost() {
    let hub = Hub::start(&UNLIMITED);
    let url = url(&hub);
    let (code, report) = json(&[
        "bench",
        "--members",
        "12",
        "--rate",
        "40",
        "--time",
        "1s",
        "--json",
        "--url",
        &url,
    ]);
    assert_eq!(code, 0, "{report}");
    assert_eq!((&report["joins"]["joined"], &report["joins"]["refused"]), (&12.into(), &0.into()));
    for part in ["latency", "fan_out", "durable"] {
        let part = &report[part];
        for wrong in ["lost", "doubled", "reordered", "ended"] {
            assert_eq!(part[wrong], 0, "{wrong}: {report}");
        }
        let messages = part["messages"].as_u64().expect("a count");
        assert!(messages > 0, "{report}");
        assert_eq!(part["delivery"]["count"], messages * 12, "each at each member: {report}");
        assert_eq!(part["ack"]["count"], messages);
        for time in ["p50_ms", "p99_ms", "max_ms"] {
            assert!(part["delivery"][time].as_f64().expect("a time") > 0.0, "{report}");
        }
    }
    // What the hub has stored is what was said.
    let said: u64 = ["latency", "fan_out", "durable"]
        .iter()
        .map(|part| report[part]["messages"].as_u64().expect("a count"))
        .sum();
    assert_eq!(hub.get("/v1/messages?space_id=1900000000").json()["total"], said);
    assert_eq!(report["verdict"]["is_sound"], true);
    assert_eq!(hub.get("/v1/spaces").json()["total"], 0, "all have left");
}

#[test]
fn a_hub_whose_rates_hold_it_back_is_not_called_slow() {
    let hub = Hub::start(&["--message-rate", "5/5"]);
    let (code, out, err) =
        command(&["bench", "--members", "10", "--rate", "2", "--time", "1s", "--url", &url(&hub)]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("held the fan-out back"), "{out}");
    assert!(out.contains("each once and in order."), "{out}");
    for part in ["joins ", "latency ", "fan-out ", "durable "] {
        assert!(out.lines().any(|line| line.starts_with(part)), "{out}");
    }
    assert_eq!(err, "", "no bar but on a terminal");
}

#[test]
fn other_machines_are_not_loaded_unasked() {
    // TEST-NET-1, where nobody is.
    let (code, _, err) = command(&["bench", "--url", "http://192.0.2.1:8080"]);
    assert_eq!(code, Some(78));
    assert_eq!(
        err,
        "cpi-hub: http://192.0.2.1:8080 is not on this machine: say --yes to load it\n"
    );
}
