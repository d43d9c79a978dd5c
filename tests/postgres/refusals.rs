//! Rows that the database refuses for what they are cost themselves only, whatever its words; a
//! database that refuses all of them is waited for, is told, and gets them all once it is mended.

use super::stored::{hub_on, post, until_store_is};
use super::trouble::assert_stored_in_order;
use crate::support::postgres::Cluster;
use crate::support::{Hub, UNLIMITED, eventually};

/// What the log says when it begins that all is refused.
const TOLD: &str = "The database refuses each message";

fn texts(cluster: &Cluster, space: i32) -> Vec<String> {
    let sql = format!(
        "SELECT content FROM chat_messages WHERE space_id = {space} ORDER BY id COLLATE \"C\""
    );
    cluster.sql("hub", &sql)
}

/// The dead letters' texts and reasons.
pub fn letters(hub: &Hub) -> Vec<(String, String)> {
    let file = hub.data_dir().join("dead-letters.jsonl");
    let lines = std::fs::read_to_string(file).unwrap_or_default();
    let letter = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| line[name].as_str().expect("a text").to_owned();
        (text("content"), text("reason"))
    };
    lines.lines().map(letter).collect()
}

/// The detail of a condition, once it holds.
pub fn until_raised(hub: &Hub, name: &str) -> String {
    eventually(name, || {
        let raised = hub.conditions().into_iter().find(|it| it["name"] == name)?;
        raised["detail"].as_str().map(str::to_owned)
    })
}

fn until_ready(hub: &Hub) {
    eventually("ready", || {
        let health = hub.get("/readyz");
        (health.status == 200 && health.json()["status"] == "ready").then_some(())
    });
}

/// Says things in space 1 that the database refuses all, for a reason with these words; mends it,
/// and finds all stored in order, behind `said`.
fn sit_out(
    (cluster, hub): (&Cluster, &Hub),
    mut said: Vec<String>,
    words: &str,
    mend: impl FnOnce(),
) {
    let told = hub.log().matches(TOLD).count();
    let mut ana = hub.join(1, 1, "Ana Paz");
    for number in 0..20 {
        let text = format!("espera{number}");
        ana.chat(&text);
        assert_eq!(ana.next_of("chat")["data"]["content"], text.as_str(), "chat goes on");
        said.push(text);
    }
    let detail = until_raised(hub, "database_refuses");
    assert!(detail.contains(words), "{detail}");
    let health = hub.get("/readyz");
    assert_eq!((health.status, &*health.json()["store"].to_string()), (503, "\"refused\""));
    assert_eq!(post(hub, (1, 2), "esperado").0, 202, "it waits, and is not refused");
    said.push("esperado".into());
    let metrics = hub.get("/metrics").text();
    assert!(
        metrics.contains("hub_condition{name=\"database_refuses\",effect=\"refusing\"} 1"),
        "{metrics}"
    );
    assert_eq!(hub.log().matches(TOLD).count(), told + 1, "{}", hub.log());
    assert_eq!(letters(hub), [], "no row is to blame");
    mend();
    assert_stored_in_order(cluster, &said);
    until_ready(hub);
    assert_eq!(hub.metric("hub_rows_dead_lettered_total"), 0.0);
    assert_eq!(post(hub, (1, 2), "después").0, 200);
}

/// Letters that no compression makes shorter: more than a page of an index takes.
fn cjk() -> String {
    let mut word = 7u64;
    let letter = |_| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from_u32(0x4E00 + (word >> 33) as u32 % 20_000).expect("a letter")
    };
    (0..1_000).map(letter).collect()
}

pub fn a_text_too_long_for_an_index_is_alone_in_the_dead_letters() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    until_store_is(&hub, "ready");
    cluster.sql("hub", "CREATE INDEX ON chat_messages (content)");
    let long = cjk();
    let mut ana = hub.join(1, 1, "Ana Paz");
    (0..30).for_each(|number| ana.chat(&format!("m{number}")));
    assert_eq!(post(&hub, (1, 2), &long).0, 422, "alone or among others");
    (30..60).for_each(|number| ana.chat(&format!("m{number}")));
    assert_eq!(post(&hub, (2, 2), "otro").0, 200);
    let said: Vec<String> = (0..60).map(|number| format!("m{number}")).collect();
    eventually("the others are stored", || (texts(&cluster, 1) == said).then_some(()));
    let found = letters(&hub);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, long);
    assert!(found[0].1.contains("54000"), "{}", found[0].1);
    until_ready(&hub);
}

pub fn whatever_is_said_of_one_row_holds_up_no_other() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    until_store_is(&hub, "ready");
    // A state of each class that is not about the connection, the server or a passing cause; one
    // is said late, at the commit.
    let states = [
        "P0001", "XX000", "XX002", "54000", "55000", "0A000", "42501", "42P01", "3F000", "38000",
        "HV000", "ZZ999", "22P03", "23502",
    ];
    for (number, state) in states.iter().enumerate() {
        let timing = if number == 0 { "DEFERRABLE INITIALLY DEFERRED" } else { "" };
        let sql = format!(
            "CREATE FUNCTION no{number}() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'not here' USING ERRCODE = '{state}'; END $$; \
             CREATE CONSTRAINT TRIGGER no{number} AFTER INSERT ON chat_messages {timing} \
             FOR EACH ROW WHEN (NEW.content = 'veneno {state}') EXECUTE FUNCTION no{number}()"
        );
        cluster.sql("hub", &sql);
    }
    let mut ana = hub.join(1, 1, "Ana Paz");
    let mut said = Vec::new();
    for state in states {
        for number in 0..5 {
            said.push(format!("{state} {number}"));
            ana.chat(&format!("{state} {number}"));
        }
        assert_eq!(post(&hub, (1, 2), &format!("veneno {state}")).0, 422, "{state}");
    }
    eventually("the others are stored", || (texts(&cluster, 1) == said).then_some(()));
    let expected = states.map(|state| format!("veneno {state}"));
    let found = letters(&hub);
    assert_eq!(found.iter().map(|letter| letter.0.clone()).collect::<Vec<_>>(), expected);
    for ((_, reason), state) in found.iter().zip(states) {
        assert!(reason.contains(state), "{state}: {reason}");
    }
    until_ready(&hub);
}

/// The hub's table in partitions, none of them there yet.
fn partitioned(by: &str) -> Cluster {
    let cluster = Cluster::start(&[]);
    let sql = format!(
        "CREATE TABLE chat_messages (id TEXT NOT NULL, content TEXT NOT NULL, \
         user_id INTEGER NOT NULL, username TEXT NOT NULL, space_id INTEGER NOT NULL, \
         timestamp TIMESTAMP NOT NULL) PARTITION BY {by}; \
         CREATE INDEX chat_messages_space_id_id ON chat_messages (space_id, id COLLATE \"C\"); \
         CREATE INDEX chat_messages_space_id_timestamp_id \
         ON chat_messages (space_id, timestamp, id COLLATE \"C\")"
    );
    cluster.sql("hub", &sql);
    cluster
}

pub fn a_missing_partition_is_waited_for_and_costs_no_message() {
    let cluster = partitioned("RANGE (timestamp)");
    let hub = hub_on(&cluster);
    until_store_is(&hub, "ready");
    let partition = "CREATE TABLE now PARTITION OF chat_messages \
                     FOR VALUES FROM ('2000-01-01') TO ('2500-01-01')";
    sit_out((&cluster, &hub), vec![], "no partition of relation", || {
        cluster.sql("hub", partition);
    });
    // The month ends while others have been stored before.
    let said = texts(&cluster, 1);
    cluster.sql("hub", "ALTER TABLE chat_messages DETACH PARTITION now");
    sit_out((&cluster, &hub), said, "no partition of relation", || {
        let back = "ALTER TABLE chat_messages ATTACH PARTITION now \
                    FOR VALUES FROM ('2000-01-01') TO ('2500-01-01')";
        cluster.sql("hub", back);
    });
}

pub fn a_trigger_that_drops_all_is_waited_for_and_one_that_drops_some_costs_those() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    until_store_is(&hub, "ready");
    let none = "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN RETURN NULL; END $$; ";
    let trigger = "CREATE TRIGGER nothing BEFORE INSERT ON chat_messages FOR EACH ROW";
    cluster.sql("hub", &format!("{none} {trigger} EXECUTE FUNCTION nothing()"));
    sit_out((&cluster, &hub), vec![], "a trigger dropped 1 of 1", || {
        cluster.sql("hub", "DROP TRIGGER nothing ON chat_messages");
    });
    let some = format!("{trigger} WHEN (NEW.content LIKE 'nada%') EXECUTE FUNCTION nothing()");
    cluster.sql("hub", &some);
    assert_eq!(post(&hub, (2, 2), "algo").0, 200);
    assert_eq!(post(&hub, (2, 2), "nada 1").0, 422);
    assert_eq!(post(&hub, (2, 2), "más").0, 200);
    assert_eq!(texts(&cluster, 2), ["algo", "más"]);
    let found = letters(&hub);
    assert_eq!((found.len(), &*found[0].0), (1, "nada 1"));
    assert!(found[0].1.contains("a trigger dropped"), "{}", found[0].1);
}

pub fn a_space_without_a_partition_holds_up_no_other() {
    let cluster = partitioned("LIST (space_id)");
    cluster.sql("hub", "CREATE TABLE one PARTITION OF chat_messages FOR VALUES IN (1)");
    let hub = hub_on(&cluster);
    until_store_is(&hub, "ready");
    let (mut ana, mut leo) = (hub.join(1, 1, "Ana Paz"), hub.join(2, 2, "Leo"));
    let mut said = Vec::new();
    for number in 0..50 {
        leo.chat(&format!("l{number}"));
        ana.chat(&format!("a{number}"));
        said.push(format!("a{number}"));
    }
    eventually("space 1 is stored", || (texts(&cluster, 1) == said).then_some(()));
    eventually("space 2 is kept", || (letters(&hub).len() == 50).then_some(()));
    assert!(letters(&hub).iter().all(|letter| letter.1.contains("23514")), "{:?}", letters(&hub));
    assert_eq!(post(&hub, (1, 1), "luego").0, 200);
    assert_eq!(post(&hub, (2, 2), "tampoco").0, 422, "what was stored last is evidence");
    until_ready(&hub);
}

/// A hub whose role is `ana`, which owns nothing.
fn hub_of_ana(cluster: &Cluster, rights: &str) -> Hub {
    let url = cluster.url();
    let owner = crate::support::run_hub(&["migrate"], &[("DATABASE_URL", &url)]);
    assert!(owner.status.success(), "{}", String::from_utf8_lossy(&owner.stderr));
    cluster.sql("hub", &format!("CREATE ROLE ana LOGIN; {RIGHTS}; {rights}"));
    let url = cluster.url_of("ana", "hub");
    let args: Vec<&str> = ["--database-url", &url].into_iter().chain(UNLIMITED).collect();
    let hub = Hub::start(&args);
    until_store_is(&hub, "ready");
    hub
}

const RIGHTS: &str = "GRANT USAGE ON SCHEMA public TO ana; \
    GRANT SELECT, INSERT ON chat_messages TO ana; \
    GRANT SELECT ON hub_migrations, hub_store TO ana; \
    GRANT SELECT, INSERT, UPDATE, DELETE ON hub_positions, hub_nodes TO ana";

pub fn a_right_that_is_taken_away_is_waited_for_and_named() {
    let cluster = Cluster::start(&[]);
    let hub = hub_of_ana(&cluster, "");
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    cluster.sql("hub", "REVOKE INSERT ON chat_messages FROM ana");
    sit_out((&cluster, &hub), vec!["antes".into()], "permission denied", || {
        assert_eq!(until_raised(&hub, "rights_missing"), "INSERT on chat_messages");
        cluster.sql("hub", "GRANT INSERT ON chat_messages TO ana");
    });
}

pub fn a_policy_against_one_user_costs_that_users_rows_only() {
    let cluster = Cluster::start(&[]);
    let hub = hub_of_ana(&cluster, "");
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    // PostgreSQL has no COPY into such a table.
    cluster.sql(
        "hub",
        "ALTER TABLE chat_messages ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY see ON chat_messages FOR SELECT USING (true); \
         CREATE POLICY say ON chat_messages FOR INSERT WITH CHECK (user_id <> 7)",
    );
    let (mut ana, mut eva) = (hub.join(1, 1, "Ana Paz"), hub.join(1, 7, "Eva"));
    let mut said = vec!["antes".to_owned()];
    for number in 0..40 {
        eva.chat(&format!("e{number}"));
        ana.chat(&format!("a{number} ñ😀"));
        said.push(format!("a{number} ñ😀"));
    }
    eventually("the others are stored", || (texts(&cluster, 1) == said).then_some(()));
    eventually("hers are kept", || (letters(&hub).len() == 40).then_some(()));
    assert!(letters(&hub).iter().all(|letter| letter.1.contains("42501")), "{:?}", letters(&hub));
    assert_eq!(post(&hub, (1, 7), "sola").0, 422, "what was stored last is evidence");
    let (status, message) = post(&hub, (1, 2), "después");
    assert_eq!(status, 200);
    assert_eq!(hub.history(1).last(), Some(&message), "times are those of COPY");
    until_ready(&hub);
}
