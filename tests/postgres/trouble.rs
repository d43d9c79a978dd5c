//! A server that is away, frozen, or set so that nothing can be written.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::stored::{hub_on, post, until_store_is};
use crate::support::figures::figure;
use crate::support::neighbours::Neighbours;
use crate::support::postgres::Cluster;
use crate::support::trials::is_slow;
use crate::support::{Answer, Hub, PATIENCE, eventually};

/// What the log says of a store that is away.
pub const TOLD: &str = "the store takes no messages";

/// Chats and posts to space 1 while nothing can be stored; what was said, in order.
pub fn chat_without_a_store(hub: &Hub) -> Vec<String> {
    let mut ana = hub.join(1, 1, "Ana Paz");
    let mut said = Vec::new();
    for number in 0..20 {
        ana.chat(&format!("c{number}"));
        assert_eq!(ana.next_of("chat")["data"]["content"], format!("c{number}"));
        said.push(format!("c{number}"));
    }
    let begun = Instant::now();
    assert_eq!(post(hub, (1, 2), "esperado").0, 202);
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    said.push("esperado".into());
    assert_eq!(hub.get("/readyz").status, 200);
    said
}

/// Waits until space 1 holds exactly that.
pub fn assert_stored_in_order(cluster: &Cluster, said: &[String]) {
    let rows = "SELECT content FROM chat_messages WHERE space_id = 1 ORDER BY id COLLATE \"C\"";
    eventually("all is stored, in order", || (cluster.sql("hub", rows) == said).then_some(()));
}

pub fn while_the_server_is_away_chat_goes_on_and_is_stored_later() {
    let mut cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    cluster.end("INT");
    let mut said = chat_without_a_store(&hub);
    said.insert(0, "antes".into());
    assert_eq!(hub.get("/readyz").json()["store"], "behind");
    assert_eq!(hub.log().matches(TOLD).count(), 1, "{}", hub.log());
    assert_eq!(hub.get("/v1/messages?space_id=1").status, 503, "history says so");
    cluster.restart();
    assert_stored_in_order(&cluster, &said);
    until_store_is(&hub, "ready");
    assert_eq!(post(&hub, (1, 2), "después").0, 200);
    assert_eq!(hub.history(1).len(), said.len() + 1);
}

pub fn a_frozen_server_holds_up_nobody() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    let signal = cluster.everyone();
    let neighbours = Neighbours::of(&hub, [77, 78]);
    signal("STOP");
    let (begun, mut said) = (Instant::now(), vec!["antes".to_owned()]);
    let time = if is_slow() { 60 } else { 1 };
    while begun.elapsed() < Duration::from_secs(time) {
        said.extend(chat_without_a_store(&hub));
    }
    eventually("it is told", || hub.log().contains(TOLD).then_some(()));
    assert_eq!(hub.log().matches(TOLD).count(), 1, "{}", hub.log());
    // A query on it ends by the hub's own clock.
    let begun = Instant::now();
    assert_eq!(hub.get("/v1/messages?space_id=1").status, 503);
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    signal("CONT");
    let mended = Instant::now();
    assert_stored_in_order(&cluster, &said);
    until_store_is(&hub, "ready");
    figure(57, "s_to_heal", format!("{:.1}", mended.elapsed().as_secs_f64()), "");
    neighbours.settle(&[57]);
}

pub fn a_directory_that_has_served_opens_without_the_server_and_a_new_one_waits() {
    let mut cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    let (_, first) = post(&hub, (1, 2), "antes");
    hub.kill();
    cluster.end("INT");
    hub.restart();
    let health = hub.get("/readyz");
    assert_eq!((health.status, &*health.json()["store"].to_string()), (200, "\"connecting\""));
    let mut said = chat_without_a_store(&hub);
    said.insert(0, "antes".into());

    let folder = tempfile::tempdir().expect("a folder");
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
    waiting.args(["--listen", "127.0.0.1:0", "--pinned", "false", "--log-format", "text"]);
    let log = folder.path().join("log");
    let errors = std::fs::File::create(&log).expect("a file");
    waiting
        .arg("--data-dir")
        .arg(folder.path())
        .stderr(errors)
        .env_clear()
        .env("DATABASE_URL", cluster.url());
    let mut waiting = waiting.stdout(Stdio::piped()).spawn().expect("it starts");
    eventually("it says what it waits for", || {
        let log = std::fs::read_to_string(&log).ok()?;
        log.contains("has to reach it first").then_some(())
    });
    assert!(waiting.try_wait().expect("our child").is_none(), "it waits");
    // And says so to whoever asks.
    let port = eventually("it says where", || {
        let log = std::fs::read_to_string(&log).ok()?;
        let (_, address) = log.split_once("address=127.0.0.1:")?;
        address.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u16>().ok()
    });
    for (path, status, text) in [
        ("/livez", 200, "ok"),
        ("/readyz", 503, "{\"status\":\"starting\",\"store\":\"connecting\"}\n"),
        ("/v1/messages?space_id=1", 503, "store_unavailable"),
        ("/v1/ws/spaces/1?user_id=7", 503, "store_unavailable"),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
        let answer = Answer::read(&mut stream);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(text), "{path}: {}", answer.text());
    }
    assert!(Command::new("kill").arg(waiting.id().to_string()).status().is_ok());
    let ended = waiting.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0));
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(!told.contains("listens on"), "{told}");

    cluster.restart();
    assert_stored_in_order(&cluster, &said);
    let rows = hub.history(1);
    assert_eq!(rows[0]["id"], first["id"]);
}

/// Does something to the database that refuses all rows, and undoes it.
fn check_refusal(cluster: &Cluster, hub: &Hub, harm: &str, mend: &str) {
    let told = hub.log().matches(TOLD).count();
    cluster.sql("hub", harm);
    let mut ana = hub.join(1, 1, "Ana Paz");
    ana.chat(harm);
    ana.next_of("chat");
    until_store_is(hub, "refused");
    let tries = hub.metric("hub_store_batch_faults_total");
    assert_eq!(hub.get("/readyz").json()["status"], "degraded");
    // The first line may say that a session was ended; the next try says what is wrong.
    let told = hub.log().matches(TOLD).count() - told;
    assert!((1..=2).contains(&told), "{told} lines for {harm}\n{}", hub.log());
    cluster.sql("postgres", "ALTER DATABASE hub RESET default_transaction_read_only");
    cluster.sql("hub", &format!("SET default_transaction_read_only = off; {mend}"));
    let stored = "SELECT content FROM chat_messages ORDER BY id COLLATE \"C\" DESC LIMIT 1";
    eventually(harm, || (cluster.sql("hub", stored) == [harm]).then_some(()));
    until_store_is(hub, "ready");
    assert!(tries > 0.0 && tries < 60.0, "{tries} tries");
    assert_eq!(hub.metric("hub_rows_dead_lettered_total"), 0.0, "no row was to blame");
}

pub fn what_only_a_person_can_mend_is_named_and_mended() {
    let cluster = Cluster::start(&[]);
    cluster.sql("hub", "CREATE ROLE ana LOGIN PASSWORD 's3cret' SUPERUSER");
    let rules = cluster.data().join("pg_hba.conf");
    std::fs::write(&rules, "local all ana scram-sha-256\nlocal all all trust\n").expect("rules");
    cluster.signal("HUP");
    let url = cluster.url_of("ana:s3cret", "hub");
    eventually("the rules hold", || {
        let unarmed = cluster.url_of("ana:x", "hub");
        let out = Command::new(Cluster::programs()?.join("psql")).arg(unarmed).output().ok()?;
        String::from_utf8_lossy(&out.stderr).contains("password authentication").then_some(())
    });
    let hub = Hub::start_with_env(&[], &[("DATABASE_URL", &url)]);
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ana'";
    for (harm, mend) in [
        (
            "ALTER TABLE chat_messages RENAME COLUMN username TO named",
            "ALTER TABLE chat_messages RENAME COLUMN named TO username",
        ),
        ("ALTER TABLE chat_messages RENAME TO gone", "ALTER TABLE gone RENAME TO chat_messages"),
        (
            "ALTER TABLE chat_messages ALTER COLUMN user_id TYPE bigint",
            "ALTER TABLE chat_messages ALTER COLUMN user_id TYPE int",
        ),
        ("ALTER DATABASE hub SET default_transaction_read_only = on", "SELECT 1"),
        ("ALTER ROLE ana PASSWORD 'another'", "ALTER ROLE ana PASSWORD 's3cret'"),
        (
            "ALTER DATABASE hub CONNECTION LIMIT 1; ALTER ROLE ana NOLOGIN",
            "ALTER DATABASE hub CONNECTION LIMIT -1; ALTER ROLE ana LOGIN",
        ),
    ] {
        let harm = format!("{harm}; {end}");
        check_refusal(&cluster, &hub, &harm, mend);
    }
    assert!(PATIENCE > Duration::from_secs(10), "back-off ends within it");
}
