//! How the table of messages is laid out: one index a row where the hub made it, and as others
//! have it where they did.

use std::process::{Command, Output};

use serde_json::json;

use super::stored::{OTHERS, hub_on, hub_with, post, until_store_is};
use crate::support::postgres::Cluster;
use crate::support::{Hub, eventually, run_hub};

/// The scripts of builds that gave the table a key on `id` and two indexes, as they were printed.
const EARLIER: &str = include_str!("earlier.sql");
/// What has one index a row.
const ONE: [&str; 1] = ["hub_messages_key"];
const THREE: [&str; 3] =
    ["chat_messages_pkey", "chat_messages_space_id_id", "chat_messages_space_id_timestamp_id"];
const KEPT: &str = "chat_messages keeps the key and the indexes that it has";
const NOT_DONE: &str = "can't be brought up to date";

/// Fills the table; ids ascend as times do.
fn fill(cluster: &Cluster, database: &str, rows: u32) {
    let sql = format!(
        "INSERT INTO chat_messages SELECT '01ARZ3NDEKTSV4RRFFQ' || \
         upper(lpad(to_hex(n), 7, '0')), 'm' || n, 1, 'Ana', 1 + n % 5, \
         timestamp '2026-01-01' + n * interval '1 second' FROM generate_series(1, {rows}) n"
    );
    cluster.sql(database, &sql);
}

/// A server whose database is of an earlier build, with rows.
fn earlier(rows: u32) -> Cluster {
    let cluster = Cluster::start(&[]);
    cluster.script("hub", EARLIER);
    fill(&cluster, "hub", rows);
    cluster
}

fn indexes(cluster: &Cluster, database: &str) -> Vec<String> {
    let sql = "SELECT indexrelid::regclass FROM pg_index WHERE indisvalid \
               AND indrelid = 'chat_messages'::regclass ORDER BY indexrelid::regclass::text";
    cluster.sql(database, sql)
}

/// All that the table is made of, and its rows as they lie.
fn whole(cluster: &Cluster, database: &str) -> Vec<String> {
    let sql = "SELECT pg_get_indexdef(indexrelid), indisvalid, indisprimary FROM pg_index \
        WHERE indrelid = 'chat_messages'::regclass ORDER BY 1; \
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint \
        WHERE conrelid = 'chat_messages'::regclass OR confrelid = 'chat_messages'::regclass \
        ORDER BY 1; \
        SELECT relreplident, relfilenode FROM pg_class WHERE oid = 'chat_messages'::regclass; \
        SELECT ctid, xmin, * FROM chat_messages ORDER BY ctid LIMIT 100";
    cluster.sql(database, sql)
}

fn migrate(cluster: &Cluster, database: &str, args: &[&str]) -> Output {
    let url = cluster.url_of("postgres", database);
    let out = run_hub(&[&["migrate"], args].concat(), &[("DATABASE_URL", &url)]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out
}

fn until_it_has_one_index(cluster: &Cluster) {
    eventually("it has one index", || (indexes(cluster, "hub") == ONE).then_some(()));
}

pub fn a_row_of_a_new_database_costs_one_index() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    until_store_is(&hub, "ready");
    assert_eq!(indexes(&cluster, "hub"), ONE);
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' AND \
               conrelid = 'chat_messages'::regclass";
    assert_eq!(cluster.sql("hub", key), ["PRIMARY KEY (space_id, id)"]);
    let collation = "SELECT collation_name FROM information_schema.columns \
                     WHERE table_name = 'chat_messages' AND column_name = 'id'";
    assert_eq!(cluster.sql("hub", collation), ["C"]);
    let said: Vec<String> = (0..5).map(|n| format!("m{n}")).collect();
    said.iter().for_each(|text| assert_eq!(post(&hub, (1, 1), text).0, 200));
    // What is put there by hand shows where its id stands, whatever its time.
    cluster.sql(
        "hub",
        "INSERT INTO chat_messages VALUES ('00000000000000000000000001', 'first', 1, 'x', 1, \
         '2999-01-01'), ('7ZZZZZZZZZZZZZZZZZZZZZZZZZ', 'last', 1, 'x', 1, '1999-01-01')",
    );
    let texts = |query: &str| -> Vec<String> {
        let answer = hub.get(&format!("/v1/messages?space_id=1&{query}")).json();
        let rows = answer["data"].as_array().expect("rows").clone();
        rows.iter().map(|row| row["content"].as_str().expect("text").to_owned()).collect()
    };
    let ascending: Vec<String> = ["first"]
        .into_iter()
        .chain(said.iter().map(String::as_str))
        .chain(["last"])
        .map(str::to_owned)
        .collect();
    let descending: Vec<String> = ascending.iter().rev().cloned().collect();
    assert_eq!(texts("order_by=timestamp&sort_direction=asc"), ascending);
    assert_eq!(texts("order_by=timestamp&sort_direction=desc"), descending);
    assert_eq!(texts("order_by=id"), descending);
}

pub fn a_table_of_an_earlier_build_is_changed_while_a_hub_writes_and_others_read() {
    let cluster = earlier(40_000);
    // Who reads for long holds up the change, and nobody behind it.
    let read = "BEGIN; SELECT count(*) FROM chat_messages; SELECT pg_sleep(6); COMMIT";
    let mut said = Vec::new();
    let hub = std::thread::scope(|scope| {
        let reading = scope.spawn(|| cluster.sql("hub", read));
        let is_read = "SELECT 1 FROM pg_locks WHERE relation = 'chat_messages'::regclass";
        eventually("it is read", || cluster.sql("hub", is_read).pop());
        let hub = hub_with(&cluster, &["--log", "info"]);
        until_store_is(&hub, "ready");
        while !reading.is_finished() {
            said.push(format!("d{}", said.len()));
            let (status, _) = post(&hub, (1, 1), said.last().expect("a text"));
            assert_eq!(status, 200, "it is stored at once");
        }
        hub
    });
    assert_ne!(indexes(&cluster, "hub"), THREE, "the key was built beside the reader");
    eventually("it has one index", || {
        said.push(format!("d{}", said.len()));
        assert_eq!(post(&hub, (1, 1), said.last().expect("a text")).0, 200);
        (indexes(&cluster, "hub") == ONE).then_some(())
    });
    let stored = "SELECT content FROM chat_messages WHERE content LIKE 'd%' ORDER BY id";
    assert_eq!(cluster.sql("hub", stored), said, "each once");
    let answer = hub.get("/v1/messages?space_id=1&order_by=timestamp&sort_direction=desc").json();
    assert_eq!(answer["total"], 8_000 + said.len());
    assert_eq!(answer["data"][0]["content"], json!(said.last()));
    let deep = hub.get("/v1/messages?space_id=1&page=150").json();
    assert_eq!(deep["data"][0]["content"], "m18630");
    let log = hub.log();
    assert!(log.contains("the database is up to date"), "{log}");
    assert!(!log.contains(NOT_DONE) && !log.contains(KEPT), "{log}");
}

/// The statements of a script, as `psql` runs them; a transaction is one.
fn statements(script: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut one = String::new();
    for line in script.lines().filter(|line| !line.starts_with("--")) {
        one += line;
        one.push('\n');
        let is_open = one.trim_start().starts_with("BEGIN") && line != "COMMIT;";
        if line.ends_with(';') && !is_open {
            all.push(std::mem::take(&mut one));
        }
    }
    all
}

pub fn a_change_that_was_cut_between_any_two_steps_is_finished() {
    let cluster = earlier(100);
    let script = migrate(&cluster, "hub", &["--dry-run"]).stdout;
    let statements = statements(&String::from_utf8(script).expect("text"));
    assert_eq!(statements.len(), 5, "{statements:?}");
    assert_eq!(indexes(&cluster, "hub"), THREE, "it was only looked at");
    for done in 0..=statements.len() {
        let name = format!("cut{done}");
        cluster.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE hub"));
        cluster.script(&name, &statements[..done].concat());
        if done == 2 {
            // Within the second: the key is not whole.
            cluster.sql(
                &name,
                "UPDATE pg_index SET indisvalid = false \
                 WHERE indexrelid = 'hub_messages_key'::regclass",
            );
        }
        // Two at once: each step is done by one of them.
        let told: Vec<String> = std::thread::scope(|scope| {
            let runs: Vec<_> =
                (0..2).map(|_| scope.spawn(|| migrate(&cluster, &name, &[]).stdout)).collect();
            let text = |out: Vec<u8>| String::from_utf8(out).expect("text");
            runs.into_iter().map(|run| text(run.join().expect("it ends"))).collect()
        });
        let did = |step: &str| told.iter().filter(|text| text.contains(step)).count();
        assert_eq!(did("  key of chat_messages\n"), usize::from(done < 3), "{told:?}");
        assert_eq!(indexes(&cluster, &name), ONE, "after {done} steps");
        assert_eq!(cluster.sql(&name, "SELECT count(*) FROM chat_messages"), ["100"]);
        let versions = "SELECT max(number), count(*) FROM hub_migrations";
        assert_eq!(cluster.sql(&name, versions), ["4|4"]);
        let again = migrate(&cluster, &name, &[]).stdout;
        assert!(String::from_utf8_lossy(&again).contains("nothing was changed"));
    }
}

pub fn a_hub_that_is_killed_while_it_builds_the_key_builds_it_at_the_next_start() {
    let cluster = earlier(1_000);
    let hold = "BEGIN; INSERT INTO chat_messages VALUES ('x', 'x', 1, 'x', 9, now()); \
                SELECT pg_sleep(60)";
    let mut hub = std::thread::scope(|scope| {
        let holding = scope.spawn(|| cluster.try_sql("hub", hold));
        let session = "SELECT pid FROM pg_locks WHERE relation = 'chat_messages'::regclass \
                       AND mode = 'RowExclusiveLock'";
        let pid = eventually("it writes", || cluster.sql("hub", session).pop());
        let mut hub = hub_on(&cluster);
        let invalid = "SELECT 1 FROM pg_index WHERE NOT indisvalid AND indexrelid = \
                       to_regclass('hub_messages_key')";
        eventually("the key is being built", || cluster.sql("hub", invalid).pop());
        assert_eq!(post(&hub, (1, 1), "entretanto").0, 200);
        hub.kill();
        // The server stops what nobody waits for any more only when it is told to.
        cluster.sql(
            "hub",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE query LIKE 'CREATE UNIQUE INDEX%'",
        );
        eventually("it is not whole", || cluster.sql("hub", invalid).pop());
        cluster.sql("hub", &format!("SELECT pg_terminate_backend({pid})"));
        assert!(holding.join().expect("it ends").is_err());
        hub
    });
    hub.restart();
    until_store_is(&hub, "ready");
    until_it_has_one_index(&cluster);
    assert_eq!(post(&hub, (1, 1), "después").0, 200);
    let said = "SELECT content FROM chat_messages WHERE content NOT LIKE 'm%' ORDER BY id";
    assert_eq!(cluster.sql("hub", said), ["entretanto", "después"]);
}

/// Puts a database's dump into a new one, by the whole in one transaction or not.
fn restore(cluster: &Cluster, (from, to): (&str, &str), args: &[&str]) {
    let programs = Cluster::programs().expect("PostgreSQL's programs");
    cluster.sql("postgres", &format!("CREATE DATABASE {to}"));
    let file = cluster.data().join(to);
    let run = |program: &str, args: &[&str]| {
        let out = Command::new(programs.join(program)).args(args).output().expect("it runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    let (from, to) = (cluster.url_of("postgres", from), cluster.url_of("postgres", to));
    let path = file.to_str().expect("a text path");
    run("pg_dump", &["-d", &from, "-f", path]);
    run("psql", &[&["-Xq", "-v", "ON_ERROR_STOP=1", "-d", &to, "-f", path], args].concat());
}

pub fn tables_of_others_and_restored_ones_stay_as_they_are() {
    let cluster = earlier(100);
    for (name, table) in [("bare", OTHERS), ("go", super::adopted::SCHEMA), ("met", OTHERS)] {
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
        cluster.sql(name, table);
        if name != "go" {
            fill(&cluster, name, 100);
        }
    }
    // One that a hub of an earlier build has adopted, and what dumps make of that and of its own.
    cluster.script("met", EARLIER);
    for (name, from, args) in [
        ("met_again", "met", &[][..]),
        ("met_whole", "met", &["--single-transaction"]),
        ("own_again", "hub", &[]),
        ("own_whole", "hub", &["--single-transaction"]),
    ] {
        restore(&cluster, (from, name), args);
    }
    for name in ["bare", "go", "met", "met_again", "met_whole", "own_again", "own_whole"] {
        let is_new = matches!(name, "bare" | "go");
        let before = whole(&cluster, name);
        let log = migrate(&cluster, name, &[]).stderr;
        let told = String::from_utf8_lossy(&log).contains(KEPT);
        assert_eq!(told, name != "go", "{name}: what looks like the hub's is told");
        assert_eq!(indexes(&cluster, name), THREE, "{name}");
        let after = whole(&cluster, name);
        let added: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
        assert!(before.iter().all(|line| after.contains(line)), "{name}: {before:?} {after:?}");
        assert_eq!(added.len(), if is_new { 2 } else { 0 }, "{name}: {added:?}");
        let url = cluster.url_of("postgres", name);
        let hub = Hub::start(&["--database-url", &url, "--log", "info"]);
        until_store_is(&hub, "ready");
        assert_eq!(hub.log().matches(KEPT).count(), usize::from(told), "{}", hub.log());
        assert_eq!(post(&hub, (1, 1), "nuevo").0, 200);
        let page = hub.get("/v1/messages?space_id=1&order_by=timestamp&sort_direction=desc");
        assert_eq!(page.json()["data"][0]["content"], "nuevo");
        drop(hub);
        assert_eq!(indexes(&cluster, name), THREE, "{name}");
    }
    // Whoever knows that the hub made it makes the key by hand; the hub does the rest.
    let key = "CREATE UNIQUE INDEX CONCURRENTLY hub_messages_key \
               ON chat_messages (space_id, id COLLATE \"C\")";
    cluster.sql("own_again", key);
    migrate(&cluster, "own_again", &[]);
    assert_eq!(indexes(&cluster, "own_again"), ONE);
}

pub fn a_table_that_others_have_built_on_stays_as_it_is_and_is_told() {
    let cluster = earlier(100);
    for (name, built) in [
        ("view", "CREATE VIEW v AS SELECT id, content FROM chat_messages GROUP BY id"),
        ("key", "CREATE TABLE likes (message TEXT REFERENCES chat_messages)"),
        ("check", "ALTER TABLE chat_messages ADD CHECK (content <> 'x')"),
        ("column", "ALTER TABLE chat_messages ADD COLUMN likes INT"),
        (
            "trigger",
            "CREATE TRIGGER t BEFORE UPDATE ON chat_messages FOR EACH ROW \
             EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        ),
        ("owner", "CREATE ROLE other; ALTER TABLE chat_messages OWNER TO other"),
    ] {
        cluster.sql("postgres", &format!("CREATE DATABASE built_{name} TEMPLATE hub"));
        let name = format!("built_{name}");
        cluster.sql(&name, built);
        let before = whole(&cluster, &name);
        let url = cluster.url_of("postgres", &name);
        let hub = Hub::start(&["--database-url", &url, "--log", "info"]);
        until_store_is(&hub, "ready");
        assert_eq!(hub.log().matches(KEPT).count(), 1, "{}", hub.log());
        let version = "SELECT max(number) FROM hub_migrations";
        eventually("it is looked at", || (cluster.sql(&name, version) == ["4"]).then_some(()));
        assert_eq!(whole(&cluster, &name), before, "{name}");
        assert_eq!(post(&hub, (1, 1), "nuevo").0, 200);
        assert!(!hub.log().contains(NOT_DONE), "{}", hub.log());
    }
    // A view that only reads does not depend on the key.
    cluster.sql("hub", "CREATE VIEW v AS SELECT * FROM chat_messages");
    migrate(&cluster, "hub", &[]);
    assert_eq!(indexes(&cluster, "hub"), ONE);
}

pub fn a_role_that_owns_nothing_serves_as_before_until_the_owner_changes_the_table() {
    let cluster = earlier(40_000);
    cluster.sql(
        "hub",
        "CREATE ROLE ana LOGIN; GRANT SELECT, INSERT ON chat_messages TO ana; \
         GRANT SELECT ON hub_migrations, hub_store TO ana; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON hub_positions, hub_nodes TO ana; ANALYZE",
    );
    let url = cluster.url_of("ana", "hub");
    let hub = Hub::start(&["--database-url", &url, "--log", "info"]);
    until_store_is(&hub, "ready");
    eventually("it is told", || (hub.log().matches(NOT_DONE).count() == 1).then_some(()));
    assert!(hub.log().contains(KEPT) && hub.log().contains("another role owns it"));
    let deep = "/v1/messages?space_id=1&page=200&order_by=timestamp&sort_direction=asc";
    let page = || hub.get(deep).json()["data"].clone();
    assert_eq!(page()[0]["content"], "m24880");
    let before = page();
    migrate(&cluster, "hub", &[]);
    assert_eq!(indexes(&cluster, "hub"), ONE);
    // Whoever reads learns at once that there is no index by time any more.
    let read = || {
        let sql = "SELECT seq_tup_read, idx_tup_read FROM pg_stat_user_tables t \
                   JOIN pg_stat_user_indexes i USING (relid) WHERE t.relname = 'chat_messages'";
        cluster.sql("hub", sql)
    };
    let seen = read();
    (0..40).for_each(|_| assert_eq!(page(), before));
    assert_eq!(post(&hub, (1, 1), "nuevo").0, 200);
    let counted = eventually("the server has counted", || Some(read()).filter(|now| *now != seen));
    let rows = |line: &str| line.split('|').next().and_then(|it| it.parse::<u64>().ok());
    assert_eq!(rows(&counted[0]), rows(&seen[0]), "no page reads the whole table");
}

pub fn replicas_go_on_through_the_change() {
    let cluster = earlier(100);
    cluster.sql("hub", "CREATE PUBLICATION p FOR TABLE chat_messages");
    let identity = "SELECT relreplident FROM pg_class WHERE oid = 'chat_messages'::regclass";
    let index = "ALTER TABLE chat_messages REPLICA IDENTITY";
    for (name, sql, after) in [
        ("d", String::new(), "i"),
        ("i", format!("{index} USING INDEX chat_messages_pkey"), "i"),
        ("f", format!("{index} FULL"), "f"),
        (
            "o",
            format!("CREATE UNIQUE INDEX other ON chat_messages (id); {index} USING INDEX other"),
            "i",
        ),
    ] {
        let name = format!("replica_{name}");
        cluster.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE hub"));
        cluster.sql(&name, &sql);
        migrate(&cluster, &name, &[]);
        assert_eq!(cluster.sql(&name, identity), [after], "{name}");
        // The server refuses this where replicas could not tell the row.
        cluster.sql(&name, "DELETE FROM chat_messages WHERE content = 'm1'");
        let by = "SELECT indexrelid::regclass FROM pg_index WHERE indisreplident \
                  AND indrelid = 'chat_messages'::regclass";
        let expected: &[&str] = match &*name {
            "replica_f" => &[],
            "replica_o" => &["other"],
            _ => &ONE,
        };
        assert_eq!(cluster.sql(&name, by), expected, "{name}");
    }
}

pub fn nothing_that_is_looked_up_reads_the_whole_table() {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    let (status, first) = post(&hub, (1, 1), "antes");
    assert_eq!(status, 200);
    hub.kill();
    fill(&cluster, "hub", 50_000);
    cluster.sql("hub", "VACUUM ANALYZE chat_messages");
    // Positions that are gone: the highest id is looked for, and what may be missing.
    cluster.sql("hub", "DELETE FROM hub_positions");
    hub.restart();
    until_store_is(&hub, "ready");
    let (status, second) = post(&hub, (1, 1), "después");
    assert_eq!(status, 200);
    // Where the second one's journal is forgotten already, it is that one.
    let highest = "SELECT highest FROM hub_positions WHERE journal = 'adopted'";
    let highest = json!(cluster.sql("hub", highest)[0]);
    assert!([&first["id"], &second["id"]].contains(&&highest), "{highest}");
    hub.stop("TERM");
    // The server counts what a session has read when the session is over.
    let sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'cpi-hub'";
    eventually("its sessions are over", || cluster.sql("hub", sessions).is_empty().then_some(()));
    let read = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'chat_messages'";
    let read: u64 = cluster.sql("hub", read)[0].parse().expect("a number");
    assert!(read < 1_000, "{read} rows were read one by one");
}

pub fn pages_of_a_space_that_is_newer_than_the_statistics_cost_no_more() {
    let cluster = Cluster::start(&["autovacuum=off"]);
    let mut hub = hub_on(&cluster);
    until_store_is(&hub, "ready");
    fill(&cluster, "hub", 20_000);
    cluster.sql("hub", "VACUUM ANALYZE chat_messages");
    cluster.sql(
        "hub",
        "INSERT INTO chat_messages SELECT '01ARZ3NDEKTSV4RRFFR' || \
         upper(lpad(to_hex(n), 7, '0')), 'm' || n, 1, 'Ana', 9, now() \
         FROM generate_series(1, 50000) n",
    );
    let path = "/v1/messages?space_id=9&page_size=50&page=20&order_by=id&sort_direction=asc";
    for _ in 0..20 {
        assert_eq!(hub.get(path).json()["data"][0]["content"], "m951");
    }
    hub.stop("TERM");
    let sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'cpi-hub'";
    eventually("its sessions are over", || cluster.sql("hub", sessions).is_empty().then_some(()));
    let read = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE relname = 'chat_messages'";
    let read: u64 = cluster.sql("hub", read)[0].parse().expect("a number");
    // The space is counted once, and each page walked to; a page that read all of it would make
    // a million.
    assert!(read < 200_000, "{read} entries were read");
}

pub fn a_change_that_panics_ends_the_hub_with_a_word_and_is_made_at_the_next_start() {
    let cluster = earlier(100);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("panic");
    std::fs::write(&file, "the change of the database").expect("a file");
    let env = [("CPI_HUB_TEST_PANIC", file.to_str().expect("a text path"))];
    let mut hub = Hub::start_with_env(&["--database-url", &cluster.url()], &env);
    assert_eq!(hub.wait().code(), Some(1), "{}", hub.log());
    let log = hub.log();
    assert!(log.contains("the change of the database has ended in a panic"), "{log}");
    std::fs::remove_file(&file).expect("a file");
    hub.restart();
    until_it_has_one_index(&cluster);
    until_store_is(&hub, "ready");
}
