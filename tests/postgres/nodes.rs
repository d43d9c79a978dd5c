//! Two hubs and one database: one serves, the other waits and says so, and what is accepted is
//! stored whoever serves.

use cpi_hub::conditions::Condition;
use serde_json::Value;

use super::stored::{hub_on, post, until_store_is};
use crate::support::health::{mended, planted, told};
use crate::support::link::gate::{Fate, Gate, Point};
use crate::support::postgres::Cluster;
use crate::support::{Hub, UNLIMITED, eventually};

/// A hub that waits for its turn on the cluster's database, in a directory of its own.
fn waiting_on(cluster: &Cluster) -> Hub {
    let url = cluster.url();
    let args: Vec<&str> = ["--database-url", &url].into_iter().chain(UNLIMITED).collect();
    Hub::start_waiting(&args)
}

/// What a hub says of the one it waits for.
fn waits_for(hub: &Hub) -> String {
    eventually("it says for whom it waits", || {
        let health = hub.get("/readyz");
        assert_eq!(health.status, 503, "{}", health.text());
        let conditions = health.json()["conditions"].clone();
        let named = |it: &&Value| it["name"] == "another_hub";
        let another = conditions.as_array()?.iter().find(named)?.clone();
        Some(another["detail"].as_str().expect("a detail").to_owned())
    })
}

fn until_it_serves(hub: &Hub) {
    eventually("it serves", || (hub.get("/readyz").status == 200).then_some(()));
    until_store_is(hub, "ready");
}

fn name_of(hub: &Hub) -> String {
    let dir = std::fs::canonicalize(hub.data_dir()).expect("its directory");
    format!("process {}, {}", hub.pid(), dir.display())
}

/// Space 1's texts, in the order of their ids.
fn stored(cluster: &Cluster) -> Vec<String> {
    let rows = "SELECT content FROM chat_messages WHERE space_id = 1 ORDER BY id COLLATE \"C\"";
    cluster.sql("hub", rows)
}

pub fn a_second_hub_waits_says_for_whom_and_takes_over_when_the_first_ends() {
    let cluster = Cluster::start(&[]);
    let mut first = hub_on(&cluster);
    assert_eq!(post(&first, (1, 2), "uno").0, 200);
    let second = waiting_on(&cluster);
    let detail = waits_for(&second);
    assert!(detail.contains(&name_of(&first)), "{detail}");
    assert!(detail.contains(", seen "), "{detail}");
    planted(&second, Condition::AnotherHub);
    // The second hub takes nothing meanwhile; the first goes on as if it were alone.
    assert_eq!(post(&second, (1, 2), "nadie").0, 503);
    assert_eq!(second.get("/v1/ws/spaces/1?user_id=7").status, 503);
    assert_eq!(post(&first, (1, 2), "dos").0, 200);
    assert!(first.stop("TERM").success());
    until_it_serves(&second);
    assert_eq!(post(&second, (1, 2), "tres").0, 200);
    assert_eq!(stored(&cluster), ["uno", "dos", "tres"]);
    mended(&second, Condition::AnotherHub);
    assert_eq!(second.metric("hub_condition"), 0.0);
    let told = second.log().matches("Another hub serves this database; stop").count();
    assert_eq!(told, 1, "{}", second.log());
}

pub fn a_second_hub_takes_over_from_one_that_was_killed() {
    let mut cluster = Cluster::start(&[]);
    let mut first = hub_on(&cluster);
    assert_eq!(post(&first, (1, 2), "uno").0, 200);
    let second = waiting_on(&cluster);
    waits_for(&second);
    // Accepted, in the first one's journal, and nowhere else.
    cluster.end("INT");
    assert_eq!(post(&first, (1, 2), "dos").0, 202);
    first.kill();
    cluster.restart();
    until_it_serves(&second);
    let (_, three) = post(&second, (1, 2), "tres");
    // The first comes back, and what it had accepted is stored once it is its turn.
    first.restart_waiting();
    waits_for(&first);
    assert_eq!(stored(&cluster), ["uno", "tres"]);
    let mut second = second;
    assert!(second.stop("TERM").success());
    until_it_serves(&first);
    eventually("it is stored", || (stored(&cluster).len() == 3).then_some(()));
    let (status, four) = post(&first, (1, 2), "cuatro");
    assert_eq!(status, 200);
    assert!(four["id"].as_str() > three["id"].as_str(), "ids ascend over all hubs");
    assert_eq!(stored(&cluster), ["uno", "dos", "tres", "cuatro"]);
}

pub fn a_restart_on_the_same_directory_waits_for_nobody() {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    for number in 0..3 {
        assert_eq!(post(&hub, (1, 2), &number.to_string()).0, 200);
        hub.kill();
        hub.restart();
    }
    until_it_serves(&hub);
    assert!(!hub.log().contains("another_hub"), "{}", hub.log());
    assert_eq!(stored(&cluster), ["0", "1", "2"]);
    let nodes = "SELECT state FROM hub_nodes";
    assert_eq!(cluster.sql("hub", nodes), ["up"], "a run leaves no row behind");
    assert!(hub.stop("TERM").success());
    assert!(cluster.sql("hub", nodes).is_empty());
}

pub fn a_hub_that_lost_its_claim_closes_its_members_and_loses_nothing() {
    let mut cluster = Cluster::start(&[]);
    let mut first = hub_on(&cluster);
    assert_eq!(post(&first, (1, 2), "uno").0, 200);
    let mut ana = first.join(1, 1, "Ana Paz");
    ana.next_of("join");
    let second = waiting_on(&cluster);
    waits_for(&second);
    cluster.end("INT");
    ana.chat("dos");
    ana.next_of("chat");
    // Asleep, as a virtual machine may be, it renews nothing.
    first.signal("STOP");
    cluster.restart();
    until_it_serves(&second);
    assert_eq!(post(&second, (1, 2), "tres").0, 200);
    first.signal("CONT");
    assert_eq!(ana.until_closed().1.code, Some(1012));
    let ended = first.wait();
    assert!(!ended.success(), "{ended:?}");
    assert!(first.log().contains("another hub serves this database"), "{}", first.log());
    assert!(told(&first.log(), Condition::ClaimLost), "{}", first.log());
    assert_eq!(stored(&cluster), ["uno", "tres"], "it wrote nothing after its claim was gone");
    // What it had accepted is still there for it.
    let mut second = second;
    assert!(second.stop("TERM").success());
    first.restart();
    eventually("all is stored", || (stored(&cluster) == ["uno", "dos", "tres"]).then_some(()));
}

pub fn a_hub_that_started_without_the_database_ends_if_another_serves_it() {
    let mut cluster = Cluster::start(&[]);
    let mut first = hub_on(&cluster);
    assert_eq!(post(&first, (1, 2), "uno").0, 200);
    assert!(first.stop("TERM").success());
    let second = hub_on(&cluster);
    assert_eq!(post(&second, (1, 2), "dos").0, 200);
    cluster.end("INT");
    first.restart();
    let mut ana = first.join(1, 1, "Ana Paz");
    ana.chat("tres");
    ana.next_of("chat");
    cluster.restart();
    // Either of them may be the one that the database sees first; one of them goes on.
    eventually("one of them ends", || {
        let log = first.log() + &second.log();
        log.contains("another hub serves this database").then_some(())
    });
    let (mut ended, mut other) = match first.log().contains("another hub serves") {
        true => (first, second),
        false => (second, first),
    };
    assert!(!ended.wait().success());
    until_it_serves(&other);
    assert_eq!(post(&other, (1, 2), "cuatro").0, 200);
    assert!(other.stop("TERM").success());
    ended.restart();
    let all = |cluster: &Cluster| {
        let mut texts = stored(cluster);
        texts.sort_unstable();
        texts
    };
    eventually("all is stored, once", || {
        (all(&cluster) == ["cuatro", "dos", "tres", "uno"]).then_some(())
    });
}

pub fn a_restart_of_the_database_changes_no_claim() {
    let mut cluster = Cluster::start(&[]);
    let first = hub_on(&cluster);
    let second = waiting_on(&cluster);
    waits_for(&second);
    for number in 0..2 {
        cluster.end("INT");
        assert_eq!(post(&first, (1, 2), &number.to_string()).0, 202);
        // Five seconds went by, as long as a lease: nobody could say meanwhile that it lives.
        cluster.restart();
        until_store_is(&first, "ready");
        waits_for(&second);
    }
    assert_eq!(stored(&cluster), ["0", "1"]);
    let boots = "SELECT count(*) FROM hub_nodes WHERE state = 'fenced'";
    assert_eq!(cluster.sql("hub", boots), ["0"]);
}

pub fn a_transaction_that_is_stuck_holds_up_no_take_over() {
    let cluster = Cluster::start(&[]);
    let gate = Gate::start(&cluster.socket());
    let url = gate.url();
    let args: Vec<&str> = ["--database-url", &url].into_iter().chain(UNLIMITED).collect();
    let mut first = Hub::start(&args);
    let mut said = vec!["antes".to_owned()];
    assert_eq!(post(&first, (1, 2), "antes").0, 200);
    std::thread::scope(|scope| {
        scope.spawn(|| gate.stop_at(Point::BeforeCommit));
        eventually("a commit is held up", || {
            said.push(format!("m{}", said.len()));
            (post(&first, (1, 2), &said[said.len() - 1]).0 == 202).then_some(())
        });
    });
    first.kill();
    let mut second = waiting_on(&cluster);
    until_it_serves(&second);
    assert_eq!(stored(&cluster), said[..said.len() - 1], "what was stuck was rolled back");
    // The take-over ends the session; on a very slow machine its own limit may do so first.
    let ended = ["administrator command", "idle-in-transaction timeout"];
    let ended = ended.map(|why| format!("terminating connection due to {why}"));
    assert!(ended.iter().any(|line| cluster.log().contains(line)), "{}", cluster.log());
    gate.let_go(Fate::Sent);
    said.push("después".into());
    assert_eq!(post(&second, (1, 2), "después").0, 200);
    assert!(second.stop("TERM").success());
    first.restart();
    said.sort_unstable();
    eventually("all is stored, once", || {
        let mut texts = stored(&cluster);
        texts.sort_unstable();
        (texts == said).then_some(())
    });
}

pub fn a_copied_directory_is_another_hubs() {
    let cluster = Cluster::start(&[]);
    let first = hub_on(&cluster);
    assert_eq!(post(&first, (1, 2), "uno").0, 200);
    let mut second = waiting_on(&cluster);
    waits_for(&second);
    second.kill();
    for name in ["directory-id", "served-database.json"] {
        std::fs::copy(first.data_dir().join(name), second.data_dir().join(name)).expect("a copy");
    }
    second.restart_waiting();
    assert!(waits_for(&second).contains(&name_of(&first)));
    assert_eq!(post(&first, (1, 2), "dos").0, 200);
    assert_eq!(stored(&cluster), ["uno", "dos"]);
}
