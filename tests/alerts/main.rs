//! The alerts of `deploy/prometheus`, each tried: what it is for is done to a real hub, and
//! Prometheus' own `promtool` evaluates the rules over what that hub shows meanwhile. Without
//! promtool the tests show as ignored.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, ExitCode, Stdio};

use cpi_hub::conditions::Condition;
use rcgen::{CertificateParams, KeyPair};
use story::{Story, deployed, promtool};
use support::exposition;
use support::health::planted;
use support::promql::alerts;
use support::shim::Shim;
use support::trials::{self, Lack, Named, Outcome, named};
use support::{Answer, GOOD, Hub, PATIENCE, UNLIMITED, eventually, rest};

mod story;
#[path = "../support/mod.rs"]
mod support;

const TESTS: &[Named] = &named![
    promtool_takes_the_rules_the_configuration_and_what_a_hub_shows,
    each_alert_is_tried,
    a_hub_that_is_well_raises_no_alert,
    a_database_that_refuses_each_message_makes_a_hub_unready,
    a_store_that_is_locked_lags_and_fills_the_journal_until_chat_is_refused,
    commits_that_take_long_make_acks_slow,
    a_data_directory_that_is_open_to_others_is_noted,
    a_certificate_that_ends_soon_is_told,
    a_reader_that_stalls_is_evicted,
    a_client_that_is_refused_again_and_again_is_told,
    a_log_that_nobody_reads_loses_lines,
    messages_that_the_store_refuses_are_told,
    a_part_that_panics_is_told,
    a_hub_with_all_its_members_is_full,
    a_hub_that_is_killed_is_down,
    a_disk_that_holds_chats_up_makes_a_hub_slow,
    a_hub_that_may_open_few_more_files_is_told,
];

/// Which test tries which alert.
const TRIED: &[(&str, &str)] = &[
    ("HubDown", "a_hub_that_is_killed_is_down"),
    ("HubNotReady", "a_database_that_refuses_each_message_makes_a_hub_unready"),
    ("HubRefusing", "a_database_that_refuses_each_message_makes_a_hub_unready"),
    ("HubDegraded", "a_store_that_is_locked"),
    ("HubNoted", "a_data_directory_that_is_open_to_others_is_noted"),
    ("HubCertificateEnds", "a_certificate_that_ends_soon_is_told"),
    ("HubStoreLags", "a_store_that_is_locked"),
    ("HubStoreRefuses", "a_database_that_refuses_each_message_makes_a_hub_unready"),
    ("HubJournalFills", "a_store_that_is_locked"),
    ("HubEvicts", "a_reader_that_stalls_is_evicted"),
    ("HubOverloaded", "a_store_that_is_locked"),
    ("HubRefusesMuch", "a_client_that_is_refused_again_and_again_is_told"),
    ("HubLogLinesLost", "a_log_that_nobody_reads_loses_lines"),
    ("HubDeadLetters", "messages_that_the_store_refuses_are_told"),
    ("HubPanics", "a_part_that_panics_is_told"),
    ("HubDurableSlow", "commits_that_take_long_make_acks_slow"),
    ("HubFull", "a_hub_with_all_its_members_is_full"),
    ("HubSlow", "a_disk_that_holds_chats_up_makes_a_hub_slow"),
    ("HubFilesShort", "a_hub_that_may_open_few_more_files_is_told"),
];

fn main() -> ExitCode {
    trials::run(TESTS, 2)
}

fn post(hub: &Hub, body: &str) -> u16 {
    hub.post("/v1/ws/spaces/1/chat", body).status
}

fn promtool_takes_the_rules_the_configuration_and_what_a_hub_shows() -> Outcome {
    let path = |name: &str| deployed(name).to_str().expect("a text path").to_owned();
    promtool(&["check", "rules", &path("alerts.yml")])?;
    promtool(&["check", "config", &path("prometheus.yml")])?;
    let hub = Hub::start(&[]);
    let classic = hub.request("GET", "/metrics", &[("Accept", "text/plain")], b"");
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it ran");
    child.stdin.take().expect("it is piped").write_all(&classic.body).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    Ok(())
}

fn each_alert_is_tried() {
    let rules = fs::read_to_string(deployed("alerts.yml")).expect("the rules");
    let all: Vec<String> = alerts(&rules).into_iter().map(|(name, _)| name).collect();
    let tried: Vec<&str> = TRIED.iter().map(|(alert, _)| *alert).collect();
    let mut sorted = (all.iter().map(String::as_str).collect::<Vec<_>>(), tried);
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    assert_eq!(sorted.0, sorted.1);
    let source = include_str!("main.rs");
    for (alert, test) in TRIED {
        let body = source.split(&format!("\nfn {test}")).nth(1).expect("there is such a test");
        let body = body.split("\n}\n").next().expect("it ends");
        assert!(body.contains(&format!("\"{alert}\"")), "{test} does not try {alert}");
    }
}

fn a_hub_that_is_well_raises_no_alert() -> Outcome {
    let hub = Hub::unlimited();
    let mut story = Story::begin(&hub);
    for _ in 0..10 {
        assert_eq!(post(&hub, GOOD), 200);
        story.goes_on(&hub);
    }
    story.stays(70);
    story.is_quiet()
}

fn a_database_that_refuses_each_message_makes_a_hub_unready() -> Outcome {
    let hub = Hub::unlimited_with(&["--durable-wait-max", "10ms"]);
    eventually("a message is stored in time", || (post(&hub, GOOD) == 200).then_some(()));
    let mut story = Story::begin(&hub);
    let database = rusqlite::Connection::open(hub.data_dir().join("hub.sqlite3"));
    let database = database.expect("the hub's database");
    database.busy_timeout(PATIENCE).expect("an option");
    let rename = "ALTER TABLE chat_messages RENAME COLUMN username TO named";
    database.execute_batch(rename).expect("it is renamed");
    assert_eq!(post(&hub, GOOD), 202);
    planted(&hub, Condition::DatabaseRefuses);
    story.goes_on(&hub);
    story.stays(5);
    story.fires(&["HubNotReady", "HubRefusing", "HubStoreRefuses"])
}

fn a_store_that_is_locked_lags_and_fills_the_journal_until_chat_is_refused() -> Outcome {
    let args = ["--journal-bytes-max", "4MiB", "--durable-wait-max", "10ms"];
    let hub = Hub::unlimited_with(&args);
    let mut story = Story::begin(&hub);
    let lock = hub.lock_store();
    let long = GOOD.replace("hola", &"😀".repeat(1_000));
    // Thousands that each waited for a store that is locked would take longer than a test may.
    let headers = [("Content-Type", "application/json"), ("Prefer", "respond-async")];
    let path = "/v1/ws/spaces/1/chat";
    let post_only = || hub.request("POST", path, &headers, long.as_bytes()).status;
    eventually("chat is refused", || (post_only() == 503).then_some(()));
    planted(&hub, Condition::JournalFilling);
    eventually("it is old", || (hub.metric("hub_store_lag_seconds") > 5.0).then_some(()));
    for _ in 0..8 {
        for _ in 0..20 {
            assert_eq!(post(&hub, &long), 503);
        }
        story.goes_on(&hub);
    }
    let alerts = ["HubStoreLags", "HubJournalFills", "HubOverloaded", "HubDegraded", "HubNotReady"];
    story.fires(&alerts)?;
    lock.execute_batch("ROLLBACK").expect("the lock is given back");
    Ok(())
}

fn commits_that_take_long_make_acks_slow() -> Outcome {
    let hub = Hub::unlimited_with(&["--durable-wait-max", "10ms"]);
    let count = || hub.metric("hub_durable_ack_seconds_count");
    assert!([200, 202].contains(&post(&hub, GOOD)), "a machine may be busy");
    eventually("it is stored", || (count() == 1.0).then_some(()));
    let mut story = Story::begin(&hub);
    // A rate over five minutes sees each of them for as long.
    for late in 1..=5 {
        let lock = hub.lock_store();
        assert_eq!(post(&hub, GOOD), 202);
        let lag = || hub.metric("hub_store_lag_seconds");
        eventually("it is late", || (lag() > 1.2).then_some(()));
        lock.execute_batch("ROLLBACK").expect("the lock is given back");
        eventually("it is stored", || (count() == f64::from(1 + late)).then_some(()));
        story.goes_on(&hub);
        story.stays(3);
    }
    story.fires(&["HubDurableSlow"])
}

fn a_data_directory_that_is_open_to_others_is_noted() -> Outcome {
    let hub = Hub::start(&[]);
    let mut story = Story::begin(&hub);
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(hub.data_dir(), open).expect("it is the test's");
    planted(&hub, Condition::DataDirectoryOpen);
    story.goes_on(&hub);
    story.stays(65);
    story.fires(&["HubNoted"])
}

fn a_certificate_that_ends_soon_is_told() -> Outcome {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("it is written");
        path.to_str().expect("a text path").to_owned()
    };
    let made = |days: u32| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["localhost".into()]).expect("a name");
        let now = std::time::SystemTime::now();
        params.not_after = (now + days * std::time::Duration::from_secs(86_400)).into();
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    };
    let (certificate, key) = made(100);
    let (certificate, key) = (write("certificate", &certificate), write("key", &key));
    let files = ["--tls-certificate", &certificate, "--tls-key", &key];
    let hub = Hub::start(&[&files[..], &["--tls-plain-listen", "127.0.0.1:0"]].concat());
    let mut story = Story::begin(&hub);
    let (certificate, key) = made(13);
    write("certificate", &certificate);
    write("key", &key);
    planted(&hub, Condition::CertificateEnds);
    story.goes_on(&hub);
    story.stays(65);
    story.fires(&["HubCertificateEnds"])
}

fn a_reader_that_stalls_is_evicted() -> Outcome {
    let args = ["--write-wait", "200ms", "--send-buffer-bytes", "4KiB", "--close-wait", "100ms"];
    let hub = Hub::unlimited_with(&args);
    let mut story = Story::begin(&hub);
    let _stalled = hub.join(1, 2, "stalls");
    let mut other = hub.join(1, 1, "Ana");
    let content = "x".repeat(400);
    loop {
        other.chat(&content);
        let mut next = other.next();
        while next["type"] == "join" {
            next = other.next();
        }
        if next["type"] == "leave" {
            break;
        }
    }
    eventually("it is counted", || {
        (hub.metric("hub_closes_total{reason=\"too_slow\"}") == 1.0).then_some(())
    });
    story.goes_on(&hub);
    story.stays(2);
    story.fires(&["HubEvicts"])
}

fn a_client_that_is_refused_again_and_again_is_told() -> Outcome {
    let hub = Hub::unlimited();
    let mut story = Story::begin(&hub);
    let empty = GOOD.replace("hola", "");
    let long = GOOD.replace("hola", &"x".repeat(1_001));
    for _ in 0..12 {
        for _ in 0..20 {
            assert_eq!((post(&hub, &empty), post(&hub, &long)), (400, 400));
        }
        story.goes_on(&hub);
    }
    story.fires(&["HubRefusesMuch"])
}

/// A hub whose standard error nobody reads. Killed when dropped.
struct Unread {
    child: std::process::Child,
    address: std::net::SocketAddr,
}

impl Unread {
    fn start(config: &std::path::Path, data_dir: &std::path::Path) -> Unread {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--pinned", "false", "--config"]);
        command.arg(config).arg("--data-dir").arg(data_dir).env_clear().stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ok");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let says = |line: String| line.split_once("http://")?.1.trim().parse().ok();
        let address = lines.map_while(Result::ok).find_map(says).expect("where it listens");
        Unread { child, address }
    }

    fn get(&self, path: &str) -> Answer {
        let mut stream = std::net::TcpStream::connect(self.address).expect("it listens");
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it reads");
        Answer::read(&mut stream)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn a_log_that_nobody_reads_loses_lines() -> Outcome {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("hub.toml");
    fs::write(&config, "drain_window = 0\n").expect("a file");
    let hub = Unread::start(&config, &dir.path().join("data"));
    let mut story = Story::begin_with(&hub.get("/metrics"));
    // Each hang-up is a line that says what is wrong with the file.
    fs::write(&config, format!("write_wait = \"{}\"\n", "x".repeat(50_000))).expect("a file");
    let lost = || {
        let families = exposition::families(&hub.get("/metrics").text());
        families["hub_log_lines_lost"].samples[0].value()
    };
    eventually("lines are lost", || {
        let pid = hub.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "HUP", &pid]).status().expect("kill").success());
        (lost() > 0.0).then_some(())
    });
    story.goes_on_with(&hub.get("/metrics"));
    story.stays(2);
    story.fires(&["HubLogLinesLost"])
}

fn messages_that_the_store_refuses_are_told() -> Outcome {
    let hub = Hub::unlimited();
    let database = rusqlite::Connection::open(hub.data_dir().join("hub.sqlite3"));
    let once = "CREATE UNIQUE INDEX once ON chat_messages (content)";
    database.expect("a database").execute_batch(once).expect("an index");
    assert_eq!(post(&hub, GOOD), 200);
    let mut story = Story::begin(&hub);
    assert_eq!(post(&hub, GOOD), 422);
    eventually("it is counted", || {
        (hub.metric("hub_rows_dead_lettered_total") == 1.0).then_some(())
    });
    story.goes_on(&hub);
    story.stays(2);
    story.fires(&["HubDeadLetters"])
}

fn a_part_that_panics_is_told() -> Outcome {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("panic");
    let env = [("CPI_HUB_TEST_PANIC", file.to_str().expect("a text path"))];
    let hub = Hub::start_with_env(&UNLIMITED, &env);
    if !cfg!(debug_assertions) {
        return Err(Lack("only a build for tests panics when it is asked to".into()));
    }
    let mut story = Story::begin(&hub);
    fs::write(&file, "a request once").expect("a file");
    let mut stream = hub.connect();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    assert_eq!(rest(&mut stream), b"", "it is closed");
    assert_eq!(hub.metric("hub_panics_total"), 1.0);
    story.goes_on(&hub);
    story.stays(2);
    story.fires(&["HubPanics"])
}

fn a_hub_with_all_its_members_is_full() -> Outcome {
    let hub = Hub::unlimited_with(&["--connections-max", "10"]);
    let mut story = Story::begin(&hub);
    let _members: Vec<_> = (1..=10).map(|user| hub.join(1, user, "Ana")).collect();
    eventually("all are in", || (hub.metric("hub_members") == 10.0).then_some(()));
    story.goes_on(&hub);
    story.stays(7);
    story.fires(&["HubFull"])
}

fn a_hub_that_is_killed_is_down() -> Outcome {
    let mut hub = Hub::start(&[]);
    let mut story = Story::begin(&hub);
    hub.kill();
    let refused = std::net::TcpStream::connect(hub.address).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    story.is_silent();
    story.stays(3);
    story.fires(&["HubDown"])
}

fn a_disk_that_holds_chats_up_makes_a_hub_slow() -> Outcome {
    let shim = Shim::build()?;
    let hub = Hub::start_with_env(&UNLIMITED, &shim.env());
    let mut member = hub.join(1, 2, "Beto");
    member.next_of("join");
    let timed = || hub.metric("hub_accept_to_sent_seconds_count");
    let late = || timed() - hub.metric("hub_accept_to_sent_seconds_bucket{le=\"0.25\"}");
    // The first chat is timed, then each sixteenth.
    assert_eq!(post(&hub, GOOD), 200);
    eventually("it is timed", || (timed() == 1.0).then_some(()));
    let mut story = Story::begin(&hub);
    for round in 1..=5 {
        // A machine that is busy may accept the chat only when the disk goes on: then once more.
        while late() < f64::from(round) {
            (0..15).for_each(|_| assert_eq!(post(&hub, GOOD), 200));
            let before = timed();
            shim.hang("append");
            std::thread::scope(|scope| {
                let posting = scope.spawn(|| post(&hub, GOOD));
                let asked = std::time::Instant::now();
                eventually("it is late", || (asked.elapsed().as_millis() > 600).then_some(()));
                shim.go_on("append");
                assert_eq!(posting.join().expect("it is answered"), 200);
            });
            eventually("it is timed", || (timed() > before).then_some(()));
        }
        story.goes_on(&hub);
        story.stays(3);
    }
    story.fires(&["HubSlow"])
}

fn a_hub_that_may_open_few_more_files_is_told() -> Outcome {
    let hub = Hub::unlimited();
    let _members: Vec<_> = (1..=100).map(|user| hub.join(1, user, "Ana")).collect();
    let mut story = Story::begin(&hub);
    // What somebody allows a process may be less while it runs.
    let open = hub.metric("process_open_fds");
    assert!(open > 100.0, "{open}");
    let limit = format!("--nofile={}", (open / 0.93) as u64);
    let prlimit = Command::new("prlimit").args(["--pid", &hub.pid().to_string(), &limit]).status();
    let lack = |_| Lack("prlimit is missing".into());
    assert!(prlimit.map_err(lack)?.success());
    story.goes_on(&hub);
    story.stays(7);
    story.fires(&["HubFilesShort"])
}
