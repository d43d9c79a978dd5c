//! Kills of the hub and of its database under load, and what is left when all is quiet.

use std::time::{Duration, Instant};

use super::load::{Load, settled};
use super::plan::{Draw, Event, How, events, setting};
use super::verdict::{Holes, Known, Verdict, missing};
use crate::support::postgres::Cluster;
use crate::support::trials::is_slow;
use crate::support::{Hub, UNLIMITED, run_hub};

/// Whether what memory does not have is read from the store for who comes back (P3): if not, a
/// resume after a kill has a hole, and says so.
const RESUMES_REACH_THE_STORE: bool = true;

/// What stands until the end, and the figures so far.
struct World {
    cluster: Cluster,
    hub: Hub,
    load: Load,
    draw: Draw,
    ready_max: Duration,
    drain_max: Duration,
    durable_broken: usize,
    /// Runs of hubs with another data directory, which knows no nonce of the first one's.
    others: Vec<u32>,
}

/// A hub on a cluster whose commits are on its disk.
pub fn hub_on_disk() -> (Cluster, Hub) {
    let cluster = Cluster::start(&["fsync=on"]);
    let url = cluster.url();
    let hub = Hub::start(&args_on(&url));
    until_ready(&hub);
    (cluster, hub)
}

/// Members are closed at once when it is asked to stop.
fn args_on(url: &str) -> Vec<&str> {
    let own = ["--database-url", url, "--drain-window", "0ms", "--compression", "1"];
    own.into_iter().chain(UNLIMITED).collect()
}

/// Waits until the store takes messages and is not behind.
pub fn until_ready(hub: &Hub) -> Duration {
    settled("the store is ready", || hub.get("/readyz").json()["store"] == "ready")
}

/// Waits until nothing is left in the journals.
pub fn until_stored(hub: &Hub) -> Duration {
    settled("all is stored", || {
        hub.metric("hub_journal_bytes") == 0.0 && hub.get("/readyz").json()["store"] == "ready"
    })
}

pub fn kills_of_hub_and_database_lose_and_double_nothing() {
    let few = !is_slow();
    let hub_kills = setting("HUB_CRASH_HUB_KILLS", if few { 3 } else { 50 });
    let database_kills = setting("HUB_CRASH_DATABASE_KILLS", if few { 2 } else { 20 });
    let seed = setting("HUB_CRASH_SEED", 20_261_127);
    let rate = setting("HUB_CRASH_RATE", 1_000);
    eprintln!("seed {seed}: {hub_kills} kills of the hub, {database_kills} of the database");
    let begun = Instant::now();
    let (cluster, hub) = hub_on_disk();
    let load = Load::start(&hub, rate);
    let mut world = World {
        cluster,
        hub,
        load,
        draw: Draw(seed),
        ready_max: Duration::ZERO,
        drain_max: Duration::ZERO,
        durable_broken: 0,
        others: Vec::new(),
    };
    let events = events(&mut world.draw, hub_kills, database_kills);
    for (number, event) in events.iter().enumerate() {
        world.load_for_a_while();
        world.happen(*event);
        let accepted = world.load.counted(|counts| &counts.accepted);
        eprintln!("{}/{} {event:?}, {accepted} accepted", number + 1, events.len());
    }
    world.load_for_a_while();
    world.end(begun);
}

impl World {
    fn load_for_a_while(&mut self) {
        self.load.accept(20 + self.draw.below(1_500));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Hub => {
                self.hub.kill();
                self.load.disconnected();
                self.check_durable();
                self.load.store_is_away(false);
                self.restart_hub();
            }
            Event::Database(how) => {
                self.end_database(how);
                if how != How::Sessions {
                    self.load_for_a_while();
                    self.cluster.restart();
                }
            }
            Event::Both(how) => {
                self.hub.kill();
                self.end_database(how);
                self.load.disconnected();
                self.cluster.restart();
                self.check_durable();
                self.load.store_is_away(false);
                self.restart_hub();
            }
            Event::HubWhileAway(how) => {
                self.end_database(how);
                self.load_for_a_while();
                self.hub.kill();
                self.load.disconnected();
                self.restart_hub();
                self.load_for_a_while();
                self.cluster.restart();
            }
            Event::AnotherHub => self.another_hub(),
            Event::LostAddress => self.lost_address(),
            Event::OlderDatabase => self.older_database(),
        }
        // Else the next thing happens to a hub that still has to catch up.
        if self.draw.below(2) == 0 {
            self.drain_max = self.drain_max.max(until_ready(&self.hub));
            self.load.store_is_away(false);
        }
    }

    /// A hub with another directory waits for the one that runs, has its turn, and gives it back.
    fn another_hub(&mut self) {
        let url = self.cluster.url();
        let mut other = Hub::start_waiting(&args_on(&url));
        settled("the other hub waits", || other.get("/readyz").text().contains("another_hub"));
        self.load_for_a_while();
        until_ready(&self.hub);
        self.stop_hub();
        settled("the other hub serves", || other.get("/readyz").status == 200);
        self.load.moved_to(&other);
        self.others.push(self.load.run());
        self.load_for_a_while();
        std::mem::swap(&mut self.hub, &mut other);
        self.stop_hub();
        std::mem::swap(&mut self.hub, &mut other);
        self.restart_hub();
    }

    /// Asks the hub to stop: what it has accepted is stored then.
    fn stop_hub(&mut self) {
        assert!(self.hub.stop("TERM").success(), "{}", self.hub.log());
        self.load.disconnected();
        assert!(!self.hub.log().contains("stay in the journal"), "{}", self.hub.log());
    }

    /// The hub is killed and started without its database's address, by mistake: it refuses.
    fn lost_address(&mut self) {
        self.hub.kill();
        self.load.disconnected();
        let dir = self.hub.data_dir().to_str().expect("a text path").to_owned();
        let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &dir, "--log", "error"];
        let refused = run_hub(&args, &[("DATABASE_URL", "")]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(78), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        self.restart_hub();
    }

    /// The hub is killed, and meets a database that is older than it was, as after a restored
    /// backup: it stores again what its journals hold, and names the rest.
    fn older_database(&mut self) {
        until_ready(&self.hub);
        let keep = "BEGIN ISOLATION LEVEL REPEATABLE READ; DROP SCHEMA IF EXISTS past CASCADE; \
                    CREATE SCHEMA past; CREATE TABLE past.messages AS TABLE chat_messages; \
                    CREATE TABLE past.positions AS TABLE hub_positions; COMMIT";
        self.cluster.sql("hub", keep);
        self.load_for_a_while();
        self.hub.kill();
        self.load.disconnected();
        self.check_durable();
        let go_back = "BEGIN; TRUNCATE chat_messages, hub_positions; \
                       INSERT INTO chat_messages SELECT * FROM past.messages; \
                       INSERT INTO hub_positions SELECT * FROM past.positions; COMMIT";
        self.cluster.sql("hub", go_back);
        self.load.store_is_away(false);
        self.restart_hub();
    }

    /// What the hub has told as durable is in the table, though it is dead.
    fn check_durable(&mut self) {
        let told = self.load.durable_news();
        self.durable_broken += missing(&self.cluster, &told);
    }

    fn restart_hub(&mut self) {
        let begun = Instant::now();
        self.hub.restart();
        settled("the hub is ready", || self.hub.get("/readyz").status == 200);
        self.ready_max = self.ready_max.max(begun.elapsed());
        self.load.moved_to(&self.hub);
    }

    fn end_database(&mut self, how: How) {
        self.load.store_is_away(true);
        match how {
            How::Kill => self.cluster.end("KILL"),
            How::Immediate => self.cluster.end("QUIT"),
            How::Fast => self.cluster.end("INT"),
            How::Sessions => {
                let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                           WHERE datname = 'hub' AND pid <> pg_backend_pid()";
                self.cluster.sql("hub", end);
            }
        }
    }

    fn end(mut self, begun: Instant) {
        self.load.settle();
        let drained = until_stored(&self.hub);
        let resumes = self.load.counted(|counts| &counts.resumes);
        let incomplete = self.load.counted(|counts| &counts.resumes_incomplete);
        let broken = self.load.counted(|counts| &counts.resumes_broken);
        self.check_durable();
        let (senders, receivers) = self.load.stop();
        let known = Known { holes: Holes::read(self.hub.data_dir()), others: self.others };
        let mut verdict = Verdict::reach(&self.cluster, (&senders, &receivers), &known);
        verdict.durable_broken = self.durable_broken;
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        eprintln!(
            "{verdict}; {resumes} resumes complete, {incomplete} not with the store \
             away, {broken} not with it there; start to ready {} at most, \
             behind {} at most, last drain {}; {} in all",
            seconds(self.ready_max),
            seconds(self.drain_max),
            seconds(drained),
            seconds(begun.elapsed()),
        );
        assert!(!self.hub.data_dir().join("dead-letters.jsonl").exists(), "a row was refused");
        verdict.hold();
        assert!(broken == 0 || !RESUMES_REACH_THE_STORE, "{broken} resumes have a hole");
    }
}
