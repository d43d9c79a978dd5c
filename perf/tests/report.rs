//! A report over a folder of runs as the scripts leave it: everything that was measured, that
//! failed and that was left out must be in all three forms.

use std::fs;
use std::path::PathBuf;

use cpi_hub_perf::report::Report;

fn line(server: &str, round: u32, members: u32, ns: f64, lost: u32) -> String {
    format!(
        "{{\"scenario\":\"fanout-{members}\",\"kind\":\"fanout\",\"about\":\"A <test>.\",\
         \"server\":\"{server}\",\"round\":{round},\"figures\":{{\"spaces\":1,\"in_flight\":4,\
         \"members_per_space\":{members},\"hub_cpu_ns_per_delivery\":{ns},\
         \"deliveries_per_s\":1000,\"p50_ms\":1,\"p99_ms\":2,\"saturated\":\"hub\",\
         \"lost\":{lost},\"latency_ms\":[[0.5,1],[0.99,2]]}}}}\n"
    )
}

/// Writes a folder of runs; it is removed by its test's end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder =
            std::env::temp_dir().join(format!("cpi-hub-perf-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("runs")).expect("a folder");
        Folder(folder)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("writable");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn full(name: &str) -> Folder {
    let folder = Folder::new(name);
    for (round, slow) in [(1, 1.0), (2, 2.0)] {
        let mut lines = String::new();
        for (members, ns) in [(10, 700.0), (1_000, 250.0)] {
            lines.push_str(&line("uws", round, members, ns * slow * 2.0, 3));
            lines.push_str(&line("hub", round, members, ns * slow, 0));
        }
        folder.write(&format!("runs/{round}.json"), &lines);
    }
    folder.write(
        "runs/3.json",
        "{\"scenario\":\"fanout-10\",\"kind\":\"fanout\",\"server\":\"ws\",\"round\":1,\
         \"failed\":\"the server died: out of memory\"}\n",
    );
    folder.write("servers.tsv", "hub\t0.1.0\t\nuws\t20.57\t\nbun\t\tno binary <here>\n");
    folder.write("machine.tsv", "machine\tA & B, 2 cores\n");
    folder
}

#[test]
fn the_table_has_medians_ratios_faults_and_reasons() {
    let folder = full("text");
    let text = Report::load(&folder.0).expect("a good folder").to_text();
    for part in [
        "fanout-10: A <test>.",
        "1,050 (700-1,400)",
        "x 0.500",
        "uws         ! 6 lost",
        "ws          ! run failed: the server died: out of memory",
        "left out: bun: no binary <here>",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(text.find("fanout-10:") < text.find("fanout-1000:"), "ascending by members");
}

/// Five servers, of which two count: the others are faulty, no server, or the hub itself.
fn crowded(name: &str) -> Folder {
    let folder = Folder::new(name);
    let servers = [
        ("hub", 300.0, 0),
        ("floor", 100.0, 0),
        ("no-journal", 200.0, 0),
        ("uws", 400.0, 0),
        ("bun", 375.0, 0),
        ("nats", 150.0, 7),
    ];
    let line = |(server, ns, lost)| line(server, 1, 10, ns, lost);
    folder.write("runs/1.json", &servers.map(line).concat());
    folder
}

#[test]
fn the_best_of_the_others_is_named_with_the_hubs_ratio_to_it() {
    let folder = crowded("best");
    let report = Report::load(&folder.0).expect("a good folder");
    let text = report.to_text();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("best other  bun "));
    let at = at.unwrap_or_else(|| panic!("no best in\n{text}"));
    assert!(lines[at + 1].trim_start().starts_with("x 0.800 "), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("good JSON");
    let best = &json["scenarios"][0]["best_other"]["hub_cpu_ns_per_delivery"];
    assert_eq!((&best["server"], &best["hub_over_this"]["median"]), (&"bun".into(), &0.8.into()));
    let html = report.to_html();
    for part in ["the best other", "<b>0.80</b><small>bun</small>"] {
        assert!(html.contains(part), "{part} is missing");
    }
}

#[test]
fn where_no_other_server_was_without_faults_none_is_best() {
    let folder = full("no-best");
    let report = Report::load(&folder.0).expect("a good folder");
    let text = report.to_text();
    assert!(!text.lines().any(|line| line.starts_with("best other  ")), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("good JSON");
    assert_eq!(json["scenarios"][0]["best_other"], serde_json::json!({}));
    assert!(report.to_html().contains("<td class=\"number dim\">none"));
}

#[test]
fn the_page_stands_alone_and_is_well_formed() {
    let folder = full("html");
    let html = Report::load(&folder.0).expect("a good folder").to_html();
    for part in [
        "<title>",
        "name=\"viewport\"",
        "prefers-color-scheme: dark",
        "A &amp; B, 2 cores",
        "no binary &lt;here&gt;",
        "CPU a delivery against members",
        "<td class=\"number good\"><b>0.50</b>",
        "with faults",
        "store nothing",
    ] {
        assert!(html.contains(part), "{part} is missing");
    }
    for foreign in ["http://", "https://", "<script", "<link", "@import", "url(", "NaN", "inf"] {
        assert!(!html.contains(foreign), "{foreign} has no place in the page");
    }
    for tag in ["svg", "figure", "section", "table", "details", "main", "ul", "style"] {
        let open =
            html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
        assert!(open > 0, "{tag}");
    }
    // Two charts over members and one latency curve for each scenario.
    assert_eq!(html.matches("<svg").count(), 4);
}

#[test]
fn the_json_says_the_same() {
    let folder = full("json");
    let json = Report::load(&folder.0).expect("a good folder").to_json();
    let value: serde_json::Value = serde_json::from_str(&json).expect("good JSON");
    let uws = &value["scenarios"][0]["servers"][1];
    assert_eq!(uws["server"], "uws");
    assert_eq!(uws["hub_over_this"]["hub_cpu_ns_per_delivery"]["median"], 0.5);
    assert_eq!(uws["faults"]["lost"], 6);
    assert_eq!(value["left_out"][0]["server"], "bun");
    assert_eq!(value["facts"]["machine"], "A & B, 2 cores");
}

#[test]
fn a_folder_without_runs_is_one_line() {
    let folder = Folder::new("empty");
    let error = Report::load(&folder.0).expect_err("nothing to report");
    assert!(error.ends_with("no runs") && !error.contains('\n'), "{error}");
    folder.write("runs/1.json", "{");
    let error = Report::load(&folder.0).expect_err("half a line");
    assert!(error.contains("1.json") && !error.contains('\n'), "{error}");
}
