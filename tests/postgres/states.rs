//! States of the server that the hub has to name once, sit out, and come back from by itself.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::stored::{hub_on, post, until_store_is};
use super::trouble::{TOLD, assert_stored_in_order, chat_without_a_store};
use crate::support::link::gate::{Fate, Gate, Point};
use crate::support::neighbours::Neighbours;
use crate::support::postgres::Cluster;
use crate::support::{Hub, UNLIMITED, eventually};

/// Ends all sessions of the hub.
const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE application_name = 'cpi-hub'";

/// Chats through a state; then it is mended, and all is stored in order. The state was told once
/// (twice if it has become clear only at the second try), and tried seldom.
fn sit_out(cluster: &Cluster, hub: &Hub, state: &str, mend: impl FnOnce()) {
    let begun = Instant::now();
    let (told, tries) = (hub.log().matches(TOLD).count(), faults(hub));
    let here = "SELECT content FROM chat_messages WHERE space_id = 1 ORDER BY id";
    let mut said = cluster.sql("hub", here);
    let neighbours = Neighbours::of(hub, [77, 78]);
    said.extend(chat_without_a_store(hub));
    until_store_is(hub, state);
    let (tries, lines) = (faults(hub) - tries, hub.log().matches(TOLD).count() - told);
    assert!((1..=2).contains(&lines), "{lines} lines\n{}", hub.log());
    // A second at the shortest waits, then 5 s at most: far from a busy loop.
    let tries_max = 10.0 + begun.elapsed().as_secs_f64() * 2.0;
    assert!(tries < tries_max, "{tries} tries in {:?}", begun.elapsed());
    mend();
    assert_stored_in_order(cluster, &said);
    until_store_is(hub, "ready");
    neighbours.settle(&[58]);
    assert_eq!(hub.metric("hub_rows_dead_lettered_total"), 0.0, "no row was to blame");
}

fn faults(hub: &Hub) -> f64 {
    hub.metric("hub_store_batch_faults_total")
}

pub fn a_server_that_swallows_everything_holds_up_nobody() {
    let cluster = Cluster::start(&[]);
    let gate = Gate::start(&cluster.socket());
    let url = gate.url();
    let args: Vec<&str> = ["--database-url", &url].into_iter().chain(UNLIMITED).collect();
    let hub = Hub::start(&args);
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    std::thread::scope(|scope| {
        // Met by the next thing that anyone says.
        scope.spawn(|| gate.stop_at(Point::Anywhere));
        eventually("something is swallowed", || {
            let begun = Instant::now();
            (post(&hub, (2, 2), "trago").0 == 202).then_some(begun)
        });
    });
    let begun = Instant::now();
    assert_eq!(hub.get("/v1/messages?space_id=1").status, 503);
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    let mut said = vec!["antes".to_owned()];
    said.extend(chat_without_a_store(&hub));
    until_store_is(&hub, "behind");
    assert_eq!(hub.log().matches(TOLD).count(), 1, "{}", hub.log());
    gate.let_go(Fate::Lost);
    assert_stored_in_order(&cluster, &said);
    until_store_is(&hub, "ready");
}

/// A session that holds a lock until it is killed.
struct Locker(Child);

impl Locker {
    fn lock(cluster: &Cluster) -> Locker {
        let psql = Cluster::programs().expect("PostgreSQL's programs").join("psql");
        let mut psql = Command::new(psql);
        psql.arg(cluster.url()).args(["-Xqc", "BEGIN"]);
        psql.args(["-c", "LOCK TABLE chat_messages IN ACCESS EXCLUSIVE MODE"]);
        psql.args(["-c", "SELECT pg_sleep(600)"]).stdout(Stdio::null()).stderr(Stdio::null());
        let locker = Locker(psql.spawn().expect("psql runs"));
        let held = "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted \
                    AND relation = 'chat_messages'::regclass";
        eventually("it is locked", || (!cluster.sql("hub", held).is_empty()).then_some(()));
        locker
    }

    fn unlock(mut self, cluster: &Cluster) {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()";
        cluster.sql("hub", end);
        self.0.wait().expect("it ends");
    }
}

pub fn a_locked_table_is_waited_for_and_told_once() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    let locker = Locker::lock(&cluster);
    // The rows can't be asked for either.
    let said = chat_without_a_store(&hub);
    until_store_is(&hub, "behind");
    assert_eq!(hub.log().matches(TOLD).count(), 1, "{}", hub.log());
    locker.unlock(&cluster);
    assert_stored_in_order(&cluster, &[vec!["antes".to_owned()], said].concat());
    until_store_is(&hub, "ready");
}

pub fn a_dropped_column_that_is_put_back_has_cost_nothing() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    for end in ["SELECT 1", END] {
        cluster.sql("hub", &format!("ALTER TABLE chat_messages DROP COLUMN username; {end}"));
        sit_out(&cluster, &hub, "refused", || {
            let mend = "ALTER TABLE chat_messages ADD COLUMN username TEXT NOT NULL DEFAULT ''";
            cluster.sql("hub", mend);
        });
        let names = "SELECT DISTINCT username FROM chat_messages WHERE content = 'esperado'";
        assert!(cluster.sql("hub", names).contains(&"Ana Paz".to_owned()));
    }
}

pub fn connections_that_are_refused_are_tried_again_and_told_once() {
    let cluster = Cluster::start(&[]);
    cluster.sql("postgres", "CREATE ROLE ana LOGIN; ALTER DATABASE hub OWNER TO ana");
    let url = cluster.url_of("ana", "hub");
    let args: Vec<&str> = ["--database-url", &url].into_iter().chain(UNLIMITED).collect();
    let hub = Hub::start(&args);
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    cluster.sql("postgres", &format!("ALTER ROLE ana CONNECTION LIMIT 0; {END}"));
    sit_out(&cluster, &hub, "behind", || {
        assert!(hub.log().contains("53300"), "{}", hub.log());
        cluster.sql("postgres", "ALTER ROLE ana CONNECTION LIMIT -1");
    });
}

pub fn a_wrong_password_at_the_start_is_named_until_it_is_right() {
    let cluster = Cluster::start(&[]);
    cluster.sql("hub", "CREATE ROLE ana LOGIN PASSWORD 'another' SUPERUSER");
    let rules = "local all ana scram-sha-256\nlocal all all trust\n";
    std::fs::write(cluster.data().join("pg_hba.conf"), rules).expect("rules");
    cluster.signal("HUP");
    let url = cluster.url_of("ana:s3cret", "hub");
    let psql = Cluster::programs().expect("PostgreSQL's programs").join("psql");
    eventually("the rules hold", || {
        let out = Command::new(&psql).arg(&url).output().ok()?;
        String::from_utf8_lossy(&out.stderr).contains("password authentication").then_some(())
    });
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join(crate::support::LOG_FILE);
    std::thread::scope(|scope| {
        let env = [("DATABASE_URL", &*url)];
        let start = scope.spawn(move || Hub::start_in(dir, &[], &env));
        let named = eventually("it says why it waits", || {
            let log = std::fs::read_to_string(&log).ok()?;
            log.contains("password authentication failed").then_some(log)
        });
        assert!(!named.contains("s3cret"), "{named}");
        assert!(!start.is_finished(), "it is not ready");
        cluster.sql("hub", "ALTER ROLE ana PASSWORD 's3cret'");
        let hub = start.join().expect("it starts");
        assert_eq!(post(&hub, (1, 2), "después").0, 200);
        let lines = hub.log().matches("has to reach it first").count();
        assert_eq!(lines, 1, "{}", hub.log());
    });
}
