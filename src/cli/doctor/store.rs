//! The store, without a hub: the embedded database's file, or PostgreSQL with its version,
//! settings, rights and distance.

use std::time::Duration;

use super::{Finding, middle_and_longest, ms};
use crate::config::Config;
use crate::limits::sum;
use crate::store::postgres::{Examined, examine};
use crate::store::{DATABASE_FILE, DatabaseUrl, upgrade};

/// The oldest PostgreSQL that its makers still mend.
const VERSION_WANTED: i32 = 140_000;
/// The oldest that the hub is tried with.
const VERSION_LEAST: i32 = 130_000;
/// A distance at which each durable answer is felt.
const DISTANCE_WANTED: Duration = Duration::from_millis(5);
const DISTANCE_MOST: Duration = Duration::from_millis(50);
/// Connections that a hub holds, with those of a migration.
const CONNECTIONS: i32 = 8;
/// How far two clocks may be apart, in microseconds.
const APART: i64 = 2_000_000;

/// All of it.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let url = config.database_url.as_ref();
    let mut found = match url {
        None => vec![embedded(config)],
        Some(url) => match examine(url).await {
            Ok(examined) => of_postgres(url, &examined),
            Err(problem) => {
                let fix = "see that it runs, that this machine reaches it, and that user, password \
                           and sslmode are right: docs/POSTGRES.md";
                return vec![Finding::problem("database", format!("{url}: {problem}"), fix)];
            }
        },
    };
    if url.is_some() || config.data_dir.join(DATABASE_FILE).exists() {
        found.push(schema(config).await);
    }
    found
}

fn embedded(config: &Config) -> Finding {
    let path = config.data_dir.join(DATABASE_FILE);
    match std::fs::metadata(&path) {
        Ok(file) => {
            let what = format!("SQLite in {}, {}", path.display(), sum::readable(file.len()));
            Finding::ok("database", what)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let what = format!("SQLite in {}, made at the first start", path.display());
            Finding::ok("database", what)
        }
        Err(error) => {
            let what = format!("{}: {error}", path.display());
            Finding::problem("database", what, "run it as the hub's user, and see its rights")
        }
    }
}

async fn schema(config: &Config) -> Finding {
    const NAME: &str = "schema";
    match upgrade(&config.data_dir, config.database_url.as_ref(), config.search, true).await {
        Ok(steps) if steps.is_empty() => Finding::ok(NAME, "the database is up to date"),
        Ok(steps) => {
            let what = format!("the database lacks {} steps", steps.len());
            let fix = "the next start brings them, or `cpi-hub migrate` (--dry-run shows them)";
            Finding::warning(NAME, what, fix)
        }
        Err(error) => Finding::problem(
            NAME,
            error.to_string(),
            "mend what it says; a database of a newer hub needs that hub",
        ),
    }
}

fn of_postgres(url: &DatabaseUrl, examined: &Examined) -> Vec<Finding> {
    let mut found = vec![
        version(url, examined),
        encoding(&examined.encoding),
        rights(examined.lacks.as_deref()),
        writable(examined),
        connections(examined.connections, examined.connections_max),
        pooler(&url.ports(), examined),
        database_clock(examined.clock_ahead),
    ];
    found.extend(promises(examined));
    found.extend(middle_and_longest(examined.times.clone()).map(distance));
    if examined.idle_session_timeout != "0" {
        let what = format!("idle_session_timeout is {}", examined.idle_session_timeout);
        let fix = "ALTER ROLE ... SET idle_session_timeout = 0: else quiet hubs connect again and \
                   again";
        found.push(Finding::warning("idle_timeout", what, fix));
    }
    found
}

fn version(url: &DatabaseUrl, examined: &Examined) -> Finding {
    const NAME: &str = "database";
    let tls = if examined.is_encrypted { "within TLS" } else { "without TLS" };
    let what = format!("{url}: PostgreSQL {}, {tls}", examined.version);
    match examined.version_number {
        ..VERSION_LEAST => Finding::problem(NAME, what, "use PostgreSQL 13 or newer"),
        VERSION_LEAST..VERSION_WANTED => {
            Finding::warning(NAME, what, "nobody mends this version any more: use a newer one")
        }
        _ => Finding::ok(NAME, what),
    }
}

fn encoding(encoding: &str) -> Finding {
    let what = format!("the database is in {encoding}");
    match encoding {
        "UTF8" => Finding::ok("encoding", what),
        "SQL_ASCII" => {
            let fix = "bytes that are no text show as U+FFFD: dump it and load it into UTF8";
            Finding::warning("encoding", what, fix)
        }
        _ => {
            let fix = "messages with letters that it lacks are refused: use a database in UTF8";
            Finding::problem("encoding", what, fix)
        }
    }
}

fn rights(lacks: Option<&str>) -> Finding {
    match lacks {
        None => Finding::ok("rights", "the role has all that a hub needs"),
        Some(lacks) => {
            let fix = "grant them: docs/POSTGRES.md has the list";
            Finding::problem("rights", format!("the role lacks {lacks}"), fix)
        }
    }
}

fn writable(examined: &Examined) -> Finding {
    let what = match (examined.is_standby, examined.is_read_only) {
        (false, false) => return Finding::ok("writable", "it takes writes"),
        (true, _) => "it is a standby, which takes no writes",
        (false, true) => "default_transaction_read_only is on",
    };
    let fix = "name the primary, or say target_session_attrs=primary with several hosts";
    Finding::problem("writable", what, fix)
}

fn connections(used: i32, most: i32) -> Finding {
    const NAME: &str = "max_connections";
    let what = format!("{used} of {most} connections are in use, and a hub holds five or seven");
    match most - used {
        ..CONNECTIONS => Finding::problem(NAME, what, "raise max_connections, or use a pooler"),
        _ => Finding::ok(NAME, what),
    }
}

fn pooler(ports: &[u16], examined: &Examined) -> Finding {
    const NAME: &str = "pooler";
    if examined.is_pooled {
        let what = "transactions go to several sessions: a pooler stands in between";
        return Finding::ok(NAME, format!("{what}; give its pool eight connections"));
    }
    let other = examined.port.filter(|port| ports.iter().all(|own| i32::from(*own) != *port));
    match other {
        Some(port) => Finding::ok(
            NAME,
            format!("the server's own port is {port}: a pooler or a forwarded port is in between"),
        ),
        None => Finding::ok(NAME, "none is seen"),
    }
}

/// What `durable` means there.
fn promises(examined: &Examined) -> Vec<Finding> {
    let off = |value: &str| value == "off";
    let mut found = Vec::new();
    for (name, value) in
        [("fsync", &examined.fsync), ("full_page_writes", &examined.full_page_writes)]
    {
        if off(value) {
            let what = format!("{name} is off: a power cut takes the database with it");
            found.push(Finding::problem(name, what, &format!("set {name} = on")));
        }
    }
    let commit = &examined.synchronous_commit;
    let what = format!("synchronous_commit is {commit} by default; the hub's own are on");
    found.push(Finding::ok("synchronous_commit", what));
    found
}

fn distance((middle, longest): (Duration, Duration)) -> Finding {
    const NAME: &str = "database_latency";
    let what = format!("a transaction takes {}, the slowest {}", ms(middle), ms(longest));
    let fix = "bring hub and database closer: each durable answer waits for such transactions";
    match middle {
        middle if middle <= DISTANCE_WANTED => Finding::ok(NAME, what),
        middle if middle <= DISTANCE_MOST => Finding::warning(NAME, what, fix),
        _ => Finding::problem(NAME, what, fix),
    }
}

fn database_clock(ahead: i64) -> Finding {
    const NAME: &str = "database_clock";
    let seconds = ahead.unsigned_abs() / 1_000_000;
    match ahead.abs() {
        ..=APART => Finding::ok(NAME, "the database's clock and this one agree"),
        _ => {
            let what = format!("the database's clock and this one are {seconds} s apart");
            Finding::warning(NAME, what, "have both kept by NTP")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade::{self, Ok, Problem, Warning};
    use super::*;

    fn examined() -> Examined {
        Examined {
            version_number: 170_002,
            version: "17.2".into(),
            encoding: "UTF8".into(),
            synchronous_commit: "on".into(),
            fsync: "on".into(),
            full_page_writes: "on".into(),
            connections_max: 100,
            connections: 3,
            is_standby: false,
            port: Some(5_432),
            clock_ahead: 0,
            idle_session_timeout: "0".into(),
            is_read_only: false,
            is_encrypted: true,
            times: vec![Duration::from_millis(1)],
            is_pooled: false,
            lacks: None,
        }
    }

    #[track_caller]
    fn check(examined: &Examined, name: &str, grade: Grade) {
        let url = DatabaseUrl::parse("postgresql://hub@db/hub").expect("an address");
        let found = of_postgres(&url, examined);
        let finding = found.iter().find(|finding| finding.name == name);
        let finding = finding.unwrap_or_else(|| panic!("{name}: {found:?}"));
        assert_eq!(finding.grade, grade, "{finding:?}");
    }

    #[test]
    fn a_sound_database_is_well_in_all() {
        let url = DatabaseUrl::parse("postgresql://hub@db/hub").expect("an address");
        let found = of_postgres(&url, &examined());
        assert!(found.iter().all(|finding| finding.grade == Ok), "{found:?}");
    }

    #[test]
    fn each_setting_that_hurts_is_found() {
        let with = |change: fn(&mut Examined)| {
            let mut examined = examined();
            change(&mut examined);
            examined
        };
        check(&with(|it| it.version_number = 120_005), "database", Problem);
        check(&with(|it| it.version_number = 130_005), "database", Warning);
        check(&with(|it| it.encoding = "SQL_ASCII".into()), "encoding", Warning);
        check(&with(|it| it.encoding = "LATIN1".into()), "encoding", Problem);
        check(&with(|it| it.fsync = "off".into()), "fsync", Problem);
        check(&with(|it| it.full_page_writes = "off".into()), "full_page_writes", Problem);
        check(&with(|it| it.connections = 95), "max_connections", Problem);
        check(&with(|it| it.is_standby = true), "writable", Problem);
        check(&with(|it| it.is_read_only = true), "writable", Problem);
        check(&with(|it| it.clock_ahead = -9_000_000), "database_clock", Warning);
        check(&with(|it| it.idle_session_timeout = "1min".into()), "idle_timeout", Warning);
        check(&with(|it| it.lacks = Some("SELECT on x".into())), "rights", Problem);
        check(&with(|it| it.times = vec![Duration::from_millis(9)]), "database_latency", Warning);
        check(&with(|it| it.times = vec![Duration::from_secs(1)]), "database_latency", Problem);
        let pooled = with(|it| it.is_pooled = true);
        check(&pooled, "pooler", Ok);
    }
}
