//! What is the role's, the pooler's or another application's, and not the hub's own: sessions,
//! schemas, time limits.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::stored::{hub_on, hub_with, post, until_store_is};
use crate::support::postgres::{Cluster, is_root};
use crate::support::trials::{Lack, Outcome};
use crate::support::{Hub, UNLIMITED, eventually, run_hub};

/// PgBouncer before a cluster, which hands a session on after each transaction.
struct Pooler {
    dir: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Pooler {
    fn start(cluster: &Cluster) -> Result<Pooler, Lack> {
        let program = Path::new("/usr/sbin/pgbouncer");
        if !program.exists() {
            return Err(Lack("PgBouncer is missing: `scripts/test` installs it".into()));
        }
        let dir = tempfile::Builder::new().prefix("pgb").tempdir().expect("a folder");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let socket = cluster.socket();
        let host = socket.parent().expect("a folder").display().to_string();
        let settings = format!(
            "[databases]\nhub = host={host} dbname=hub user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n"
        );
        let file = dir.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("it writes");
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
        let mut command = if is_root() { command } else { Command::new(program) };
        if is_root() {
            let mut chown = Command::new("chown");
            chown.args(["-R", "nobody:nogroup"]).arg(dir.path());
            assert!(chown.status().expect("chown runs").success());
        }
        let process = command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let pooler = Pooler { dir, port, process: process.expect("it starts") };
        eventually("the pooler answers", || pooler.try_sql("SELECT 1").ok());
        Ok(pooler)
    }

    fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/hub", self.port)
    }

    fn psql(&self, text: &str) -> Command {
        let psql = Cluster::programs().expect("PostgreSQL's programs").join("psql");
        let mut psql = Command::new(psql);
        psql.args(["-XqtA", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", text]);
        psql.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        psql.current_dir(self.dir.path());
        psql
    }

    /// What another application does.
    fn try_sql(&self, text: &str) -> Result<String, String> {
        let out = self.psql(text).output().expect("psql runs");
        match out.status.success() {
            true => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
        }
    }

    /// What each of its sessions has been left with.
    fn sessions(&self) -> BTreeSet<String> {
        let sql = "BEGIN; SELECT pg_backend_pid() || ' ' || concat_ws(',', \
            (SELECT string_agg(name, ',') FROM pg_settings WHERE source = 'session' \
             AND name NOT IN ('application_name', 'client_encoding', 'transaction_isolation', \
             'transaction_read_only', 'transaction_deferrable', 'DateStyle', 'TimeZone', \
             'standard_conforming_strings')), \
            (SELECT string_agg(name, ',') FROM pg_prepared_statements), \
            (SELECT string_agg(locktype, ',') FROM pg_locks WHERE pid = pg_backend_pid() \
             AND locktype = 'advisory')), pg_sleep(0.3); COMMIT";
        let asked: Vec<Child> = (0..4).map(|_| self.psql(sql).spawn().expect("psql")).collect();
        let lines = asked.into_iter().map(|child| {
            let out = child.wait_with_output().expect("it ends");
            String::from_utf8_lossy(&out.stdout).trim().trim_end_matches('|').to_owned()
        });
        lines.collect()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

pub fn behind_a_pooler_of_transactions_all_works_and_nothing_is_left_on_its_sessions() -> Outcome {
    let cluster = Cluster::start(&[]);
    cluster.sql("hub", "CREATE TABLE other (x INT)");
    let pooler = Pooler::start(&cluster)?;
    let url = pooler.url();
    let args = [&["--database-url", &url][..], &UNLIMITED].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().to_str().expect("a text path");
    for tool in [&["migrate", "--dry-run"][..], &["migrate"], &["migrate"]] {
        let out = run_hub(&[tool, &["--data-dir", dir, "--database-url", &url]].concat(), &[]);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{tool:?}: {text}");
    }
    let mut hub = Hub::start(&args);
    until_store_is(&hub, "ready");
    for number in 0..30 {
        assert_eq!(post(&hub, (1, 1 + number % 3), &format!("m{number}")).0, 200);
        let page = hub.get("/v1/messages?space_id=1&page_size=10");
        assert_eq!(page.status, 200, "{:?}", page.json());
        pooler.try_sql("INSERT INTO other VALUES (1)").expect("others go on");
    }
    assert_eq!(hub.history(1).len(), 30);
    hub.kill();
    let left = pooler.sessions();
    assert!(left.len() > 1, "several sessions were asked: {left:?}");
    for session in left {
        assert!(session.split_once(' ').is_none_or(|(_, left)| left.is_empty()), "{session}");
    }
    hub.restart();
    until_store_is(&hub, "ready");
    assert_eq!(hub.history(1).len(), 30);
    for _ in 0..20 {
        pooler.try_sql("INSERT INTO other VALUES (1)").expect("others go on");
    }
    Ok(())
}

pub fn no_statement_sets_what_outlives_its_transaction() {
    let cluster = Cluster::start(&["log_statement=all"]);
    let mut hub = hub_on(&cluster);
    until_store_is(&hub, "ready");
    assert_eq!(post(&hub, (1, 1), "uno").0, 200);
    assert_eq!(hub.get("/v1/messages?space_id=1").status, 200);
    assert_eq!(hub.history(1).len(), 1);
    assert!(hub.stop("TERM").success());
    let log = cluster.log();
    let statements: Vec<&str> = log.lines().filter(|line| line.contains("LOG:  ")).collect();
    assert!(statements.iter().any(|line| line.contains("COPY chat_messages")), "it is logged");
    for line in statements {
        let sets = line.split(';').any(|part| {
            let part = part.rsplit(": ").next().unwrap_or_default().trim_start();
            part.starts_with("SET ") && !part.starts_with("SET LOCAL ")
        });
        assert!(!sets, "{line}");
        // With a name it stays, unless it is closed; COPY can't be without.
        let named = line.contains(" execute s") && !line.contains("COPY chat_messages");
        assert!(!named && !line.contains("pg_try_advisory_lock"), "{line}");
    }
}

pub fn the_table_that_the_search_path_finds_is_adopted_and_told() {
    let cluster = Cluster::start(&[]);
    cluster.sql(
        "hub",
        "CREATE ROLE hub LOGIN; CREATE SCHEMA hub AUTHORIZATION hub;
         CREATE TABLE public.chat_messages (id TEXT PRIMARY KEY, content TEXT NOT NULL,
             user_id INT NOT NULL, username TEXT NOT NULL, space_id INT NOT NULL,
             timestamp TIMESTAMP NOT NULL DEFAULT now());
         ALTER TABLE public.chat_messages OWNER TO hub; GRANT ALL ON SCHEMA public TO hub;
         INSERT INTO public.chat_messages VALUES
             ('01JGB4N5ZW0000000000000001', 'antes', 1, 'Ana', 1, '2026-01-02 03:04:05')",
    );
    let url = cluster.url_of("hub", "hub");
    let hub = Hub::start(&[&["--database-url", &url, "--log", "info"][..], &UNLIMITED].concat());
    until_store_is(&hub, "ready");
    assert_eq!(post(&hub, (1, 1), "nuevo").0, 200);
    assert_eq!(hub.contents(1), ["antes", "nuevo"]);
    let tables = "SELECT schemaname FROM pg_tables WHERE tablename = 'chat_messages'";
    assert_eq!(cluster.sql("hub", tables), ["public"], "and no empty one before it");
    assert!(hub.log().contains("public.chat_messages"), "{}", hub.log());
}

/// A table that takes some seconds to be indexed.
const MANY: &str = "CREATE TABLE chat_messages (id TEXT PRIMARY KEY, content TEXT NOT NULL,
    user_id INT NOT NULL, username TEXT NOT NULL, space_id INT NOT NULL,
    timestamp TIMESTAMP NOT NULL DEFAULT now());
    CREATE FUNCTION slow(TEXT) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE AS
        'BEGIN PERFORM pg_sleep(1.5); RETURN $1; END';
    INSERT INTO chat_messages VALUES ('01JGB4N5ZW0000000000000001', 'antes', 1, 'Ana', 1, now()),
        ('01JGB4N5ZW0000000000000002', 'antes', 1, 'Ana', 1, now())";

pub fn an_index_is_built_though_the_role_has_time_limits_that_are_shorter() {
    let cluster = Cluster::start(&[]);
    cluster.sql("hub", MANY);
    cluster.sql(
        "hub",
        "ALTER ROLE postgres SET statement_timeout = '1s'; \
         ALTER ROLE postgres SET lock_timeout = '1s'; \
         ALTER ROLE postgres SET idle_in_transaction_session_timeout = '1s'",
    );
    // Whoever writes holds the build up for longer than the limits allow.
    let until = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; BEGIN; \
                 INSERT INTO chat_messages VALUES ('x', 'x', 1, 'x', 9, now()); \
                 SELECT pg_sleep(5); COMMIT";
    std::thread::scope(|scope| {
        scope.spawn(|| cluster.sql("hub", until));
        eventually("it writes", || {
            let sql = "SELECT 1 FROM pg_locks WHERE relation = 'chat_messages'::regclass \
                       AND mode = 'RowExclusiveLock'";
            cluster.sql("hub", sql).first().map(|_| ())
        });
        let hub = hub_with(&cluster, &["--log", "info"]);
        until_store_is(&hub, "ready");
        assert_eq!(post(&hub, (1, 1), "nuevo").0, 200);
        assert!(!hub.log().contains("57014"), "none was cut: {}", hub.log());
    });
    let valid = "SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = \
                 'chat_messages'::regclass";
    assert_eq!(cluster.sql("hub", valid), ["t"]);
}

pub fn an_index_that_somebody_else_builds_is_waited_for_and_kept() {
    let cluster = Cluster::start(&[]);
    cluster.sql("hub", MANY);
    let build = "CREATE INDEX CONCURRENTLY chat_messages_space_id_id \
                 ON chat_messages (space_id, id COLLATE \"C\") WHERE slow(content) <> ''";
    let oid = "SELECT indexrelid FROM pg_index WHERE indexrelid = \
               to_regclass('chat_messages_space_id_id')";
    std::thread::scope(|scope| {
        let building = scope.spawn(|| cluster.sql("hub", build));
        let begun = eventually("it is being built", || cluster.sql("hub", oid).pop());
        let hub = hub_with(&cluster, &["--log", "info"]);
        until_store_is(&hub, "ready");
        building.join().expect("it is not cut");
        assert_eq!(cluster.sql("hub", oid), [begun], "it is the very same index");
        assert!(hub.log().contains("somebody else builds an index"), "{}", hub.log());
    });
}
