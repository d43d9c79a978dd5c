//! `/metrics` of a real hub beside its page in the docs, the rules of the format, and what
//! `deploy/` has for Prometheus and Grafana.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::exposition::{Family, families, faults};
use crate::support::promql::{Selector, alerts, selectors};
use crate::support::{GOOD, Hub, eventually};

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A hub in which each histogram has something.
fn busy() -> Hub {
    let hub = Hub::unlimited();
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
    let mut member = hub.join_v1(1, 1, "&username=Ana");
    let position = member.next_of("welcome")["data"]["position"].as_str().expect("one").to_owned();
    // One chat in sixteen is timed.
    for number in 0..16 {
        let data = format!(r#""content":"hola","nonce":"n{number}","ack":"durable""#);
        member.send(&format!(r#"{{"type":"chat","data":{{{data}}}}}"#));
        while member.next_of("ack")["data"]["level"] != "durable" {}
    }
    let mut back = hub.join_v1(1, 2, &format!("&username=Bea&after={position}"));
    assert_eq!(back.next_of("resumed")["data"]["count"], 16);
    assert_eq!(hub.get("/v1/messages?space_id=1").json()["total"], 17);
    hub
}

fn shown(hub: &Hub) -> BTreeMap<String, Family> {
    families(&hub.get("/metrics").text())
}

#[test]
fn the_page_has_each_metric_of_a_hub_and_no_other() {
    let shown = shown(&Hub::start(&[]));
    let page = read("docs/METRICS.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let names: BTreeSet<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let of = |name: &str, kind: &str| match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    };
    let there: BTreeSet<String> =
        shown.iter().map(|(name, family)| of(name, &family.kind)).collect();
    let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    assert_eq!(names.difference(&there).collect::<Vec<_>>(), [&""; 0], "no hub shows these");
    assert_eq!(there.difference(&names).collect::<Vec<_>>(), [&""; 0], "the page lacks these");
    for (name, family) in &shown {
        let name = of(name, &family.kind);
        let row = rows.iter().find(|row| row[0].trim_matches('`') == name).expect("it is there");
        assert_eq!((row[1], row[2]), (&*family.kind, &*family.unit), "{name}");
        let labels: BTreeSet<_> =
            family.samples.iter().flat_map(|it| &it.labels).map(|(label, _)| &**label).collect();
        let listed = row[3].split(", ").map(|label| label.trim_matches('`'));
        let listed: BTreeSet<_> = listed.filter(|label| !label.is_empty()).collect();
        let own: BTreeSet<_> = labels.into_iter().filter(|label| *label != "le").collect();
        assert_eq!(listed, own, "{name}");
        assert_eq!(row[4], family.help, "{name}");
    }
}

#[test]
fn metrics_keep_the_rules_of_their_format() {
    let shown = shown(&busy());
    assert_eq!(faults(&shown), [""; 0]);
    assert!(shown.len() > 60, "{}", shown.len());
}

#[test]
fn a_text_that_breaks_a_rule_of_the_format_is_found() {
    let check = |text: &str| faults(&families(&format!("{text}# EOF\n")));
    assert_eq!(check("# HELP hub_a B.\n# TYPE hub_a gauge\nhub_a 1\n"), [""; 0]);
    for bad in [
        "# HELP hub_a B.\n# TYPE hub_a counter\nhub_a 1\n",
        "# HELP hub_a_total B.\n# TYPE hub_a_total gauge\nhub_a_total 1\n",
        "# HELP hub_a B.\n# TYPE hub_a gauge\nhub_a 1\nhub_a 2\n",
        "# HELP hub_a_ms B.\n# TYPE hub_a_ms gauge\nhub_a_ms 1\n",
        "# HELP hub_a_bytes B.\n# TYPE hub_a_bytes gauge\nhub_a_bytes 1\n",
        "# HELP other B.\n# TYPE other gauge\nother 1\n",
        "# HELP hub_a B.\n# TYPE hub_a histogram\nhub_a_sum 1.0\nhub_a_count 2\n\
         hub_a_bucket{le=\"1.0\"} 3\nhub_a_bucket{le=\"+Inf\"} 2\n",
        "# HELP hub_a B.\n# TYPE hub_a histogram\nhub_a_sum 1.0\nhub_a_count 2\n\
         hub_a_bucket{le=\"1.0\"} 1\n",
    ] {
        assert_ne!(check(bad), [""; 0], "{bad}");
    }
}

#[test]
fn what_people_wait_for_is_timed() {
    let hub = busy();
    let counts = [
        ("hub_accept_to_sent_seconds", 2.0),
        ("hub_durable_ack_seconds", 17.0),
        ("hub_store_batch_seconds", 1.0),
        ("hub_history_query_seconds", 1.0),
        ("hub_resume_seconds", 1.0),
        ("hub_handshake_seconds", 2.0),
    ];
    // A shard shows its numbers a moment after it has sent something.
    eventually("all are counted", || {
        let count = |name: &str| hub.metric(&format!("{name}_count"));
        // The first chat had nobody to be sent to, and is timed or not.
        counts.iter().all(|(name, least)| count(name) >= least - 1.0).then_some(())
    });
    for (name, least) in counts {
        let (count, sum) =
            (hub.metric(&format!("{name}_count")), hub.metric(&format!("{name}_sum")));
        assert!(count >= least - 1.0 && sum > 0.0 && sum < 30.0, "{name}: {count} in {sum} s");
    }
    assert_eq!(hub.metric("hub_durable_ack_seconds_count"), 17.0, "each chat");
    assert_eq!(hub.metric("hub_handshake_seconds_count"), 2.0);
    assert_eq!(hub.metric("hub_store_lag_seconds"), 0.0, "all is stored");
    assert_eq!(hub.metric("hub_ready"), 1.0);
}

#[test]
fn the_age_of_what_the_store_has_not_taken_is_shown() {
    let hub = Hub::unlimited_with(&["--durable-wait-max", "10ms"]);
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
    let lock = hub.lock_store();
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 202);
    eventually("it grows", || (hub.metric("hub_store_lag_seconds") > 0.5).then_some(()));
    lock.execute_batch("ROLLBACK").expect("the lock is given back");
    eventually("it is over", || (hub.metric("hub_store_lag_seconds") == 0.0).then_some(()));
    let late = hub.metric("hub_durable_ack_seconds_count")
        - hub.metric("hub_durable_ack_seconds_bucket{le=\"0.5\"}");
    assert_eq!(late, 1.0, "one of them took as long");
}

/// The faults of what an expression asks for.
fn unknown(expression: &str, shown: &BTreeMap<String, Family>) -> Vec<String> {
    let samples: Vec<_> = shown.values().flat_map(|family| &family.samples).collect();
    let mut found = Vec::new();
    for Selector { name, matchers } in selectors(expression) {
        // Prometheus' own, and what it adds to each series.
        let own = ["job", "instance"];
        let of_name: Vec<_> = samples.iter().filter(|sample| sample.name == name).collect();
        if of_name.is_empty() && name != "up" {
            found.push(format!("no hub shows {name}"));
            continue;
        }
        for (label, operator, value) in matchers {
            let values: BTreeSet<_> =
                of_name.iter().filter_map(|sample| sample.label(&label)).collect();
            if values.is_empty() && !own.contains(&&*label) {
                found.push(format!("{name} has no label {label}"));
            }
            let asked =
                value.split('|').filter(|_| operator.ends_with('~') || !value.contains('|'));
            let missing = asked.filter(|it| !own.contains(&&*label) && !values.contains(*it));
            found.extend(missing.map(|it| format!("{name} has no {label}={it}")));
        }
    }
    found
}

#[test]
fn alerts_name_what_a_hub_shows() {
    let (shown, rules) = (shown(&busy()), read("deploy/prometheus/alerts.yml"));
    let alerts = alerts(&rules);
    assert!(alerts.len() >= 15 && rules.matches("- alert:").count() == alerts.len());
    let faults = alerts.iter().flat_map(|(name, expression)| {
        unknown(expression, &shown).into_iter().map(move |fault| format!("{name}: {fault}"))
    });
    assert_eq!(faults.collect::<Vec<_>>(), [""; 0]);
    let bad = "rate(hub_nothing_total[5m]) > hub_condition{nam=\"x\", effect=~\"noted|worse\"}";
    let expected = [
        "no hub shows hub_nothing_total",
        "hub_condition has no label nam",
        "hub_condition has no nam=x",
        "hub_condition has no effect=worse",
    ];
    assert_eq!(unknown(bad, &shown), expected);
    assert!(read("deploy/prometheus/prometheus.yml").contains("job_name: cpi-hub\n"));
}

/// All texts under a key, wherever they are.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == key => found.push(text),
                    value => texts(value, key, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, key, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_names_what_a_hub_shows_and_shows_what_people_wait_for() {
    let shown = shown(&busy());
    let dashboard: Value =
        serde_json::from_str(&read("deploy/grafana/cpi-hub.json")).expect("JSON");
    let mut expressions = Vec::new();
    texts(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 25, "{}", expressions.len());
    let found: Vec<_> = expressions.iter().flat_map(|it| unknown(it, &shown)).collect();
    assert_eq!(found, [""; 0]);
    let all = expressions.join("\n");
    for name in shown.keys().filter(|name| shown[*name].kind == "histogram") {
        assert!(all.contains(name.as_str()), "no panel shows {name}");
    }
    let ids: Vec<_> =
        dashboard["panels"].as_array().expect("panels").iter().map(|panel| &panel["id"]).collect();
    assert_eq!(ids.iter().map(|id| id.to_string()).collect::<BTreeSet<_>>().len(), ids.len());
}
