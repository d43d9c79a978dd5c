//! Who serves the database: a claim that one hub holds at a time, and the fence behind it.
//!
//! A claim is a row of `hub_nodes`, renewed by the server's clock. Another hub waits while it is
//! renewed; it takes over when the row is gone, or has stood still for the lease. What makes that
//! safe is no clock but the fence: a take-over makes the positions of the hub before negative, and
//! each batch begins with moving positions. Keeps no state in a session, so that poolers do no
//! harm. Never decides what a hub does that has lost its claim: its faults are told.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use super::aside::Aside;
use super::connect::{CALL_MAX, CallFault, Connection, DatabaseUrl, Means, fault, within};
use super::transaction::{Typed, WRITE};
use crate::clock::Clock;
use crate::conditions::Condition;
use crate::faults::{Faults, panic_place};
use crate::store::files::sync_folder;
use crate::store::journal::{JournalId, LOCK_FILE};
use crate::store::sink::SinkError;
use crate::wire::time::MonoMs;

/// How long a row has to stand still before its hub counts as gone. A hub that lives misses
/// several renewals in a row only if the database is away, and then nobody can take over.
const LEASE: Duration = Duration::from_secs(5);
/// The longest between two looks at a row that is said to stand still. A look may be slow; one that
/// fails begins anew.
const LOOKS_MAX: Duration = Duration::from_secs(10);
/// Between two renewals; one that fails is tried again as soon.
const RENEWAL: Duration = Duration::from_secs(1);
const DIRECTORY_FILE: &str = "directory-id";
const CLAIM: &str = "claim the database";
/// The task that renews the claim, for people.
const RENEWER: &str = "the claim's renewal";

/// A run of a hub, as other hubs see it.
#[derive(Clone)]
pub(crate) struct Node {
    /// Random, made at each start.
    boot: String,
    /// The data directory that it has locked.
    directory: String,
    /// For people.
    name: String,
    clock: Clock,
    /// Told once, when another hub has taken over, or when nobody renews the claim any more.
    faults: Faults,
}

impl fmt::Debug for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Node").field("boot", &self.boot).field("name", &self.name).finish()
    }
}

impl Node {
    /// The run that has locked this data directory. `faults` is told when it has to end.
    pub(crate) fn new(
        data_dir: &Path,
        boot: u128,
        clock: Clock,
        faults: Faults,
    ) -> io::Result<Node> {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let shown = fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.into());
        let name = format!("{}, process {}, {}", host.trim(), std::process::id(), shown.display());
        Ok(Node {
            boot: format!("{boot:032x}"),
            directory: directory_id(data_dir, boot)?,
            name,
            clock,
            faults,
        })
    }

    /// Another hub has taken over.
    fn lost(&self, by: &str) {
        self.faults.end(Condition::ClaimLost, &SinkError::Taken(by.into()));
    }
}

/// What tells a data directory from all others, its copies included. Two runs that hold it can't
/// be alive at once, because each has locked it: so the later one need not wait.
fn directory_id(data_dir: &Path, random: u128) -> io::Result<String> {
    let path = data_dir.join(DIRECTORY_FILE);
    let id = match fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => id,
        Ok(_) => make_id(data_dir, random)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_id(data_dir, random)?,
        Err(error) => return Err(error),
    };
    // A copy has the same file, but another lock.
    let lock = fs::metadata(data_dir.join("journal").join(LOCK_FILE))?;
    Ok(format!("{}-{:x}-{:x}", id.trim(), lock.dev(), lock.ino()))
}

fn make_id(data_dir: &Path, random: u128) -> io::Result<String> {
    let id = format!("{random:032x}\n");
    // Torn by a power cut it is another directory's, which costs one wait for the lease.
    fs::write(data_dir.join(DIRECTORY_FILE), &id)?;
    sync_folder(data_dir)?;
    Ok(id)
}

/// What a try to claim came to.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    /// The claim is ours.
    Held,
    /// It is another hub's, whose row may still be renewed.
    Waits(String),
    /// It was ours, and another hub has taken over.
    Lost(String),
}

/// A row of another hub that may be alive.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Other {
    boot: String,
    name: String,
    /// Since when it serves, for people.
    since: String,
    /// As the server's text: compared, never read.
    renewed: String,
    /// How long ago that was, by the server's clock.
    age: Duration,
}

impl Other {
    fn told(&self) -> String {
        let Other { name, since, age, .. } = self;
        format!("{name}, serving since {since}, seen {:.1} s ago", age.as_secs_f64())
    }
}

/// A row of `hub_nodes`: its hub, that hub's directory, its state.
fn read(row: &Row) -> Result<(Other, String, String), Error> {
    let text = |n: usize| row.try_get::<_, String>(n);
    let age = Duration::try_from_secs_f64(row.try_get(5)?).unwrap_or(Duration::MAX);
    let (boot, name, renewed, since) = (text(0)?, text(2)?, text(4)?, text(6)?);
    Ok((Other { boot, name, since, renewed, age }, text(1)?, text(3)?))
}

/// How long another hub's row has stood still under our own eyes.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Sight {
    boot: String,
    renewed: String,
    since: MonoMs,
    last: MonoMs,
}

impl Sight {
    /// Looks again. A row stands still only while it is looked at: while the database is away,
    /// nobody can renew.
    fn again(before: Option<Sight>, other: &Other, now: MonoMs) -> Sight {
        let same = |sight: &Sight| {
            let gap = Duration::from_millis(now.since(sight.last));
            (&sight.boot, &sight.renewed) == (&other.boot, &other.renewed) && gap <= LOOKS_MAX
        };
        let since = before.filter(same).map_or(now, |sight| sight.since);
        Sight { boot: other.boot.clone(), renewed: other.renewed.clone(), since, last: now }
    }

    fn is_still(&self) -> bool {
        Duration::from_millis(self.last.since(self.since)) >= LEASE
    }
}

/// A hub's way to the claim, and its hold on it.
#[derive(Debug)]
pub(super) struct Claimant {
    node: Node,
    /// It was held once: then losing it is the end.
    held: bool,
    /// The journals of earlier runs were made this run's.
    has_adopted: bool,
    /// The other hub as it was seen last.
    seen: Option<Sight>,
    /// Renews the claim once it is held.
    renewing: Option<Aside>,
}

impl Claimant {
    /// A run that has not claimed yet.
    pub(super) fn new(node: Node) -> Claimant {
        Claimant { node, held: false, has_adopted: false, seen: None, renewing: None }
    }

    /// The database was away: what stood still meanwhile says nothing.
    pub(super) fn look_away(&mut self) {
        self.seen = None;
    }

    /// Who is told of a part that dies.
    pub(super) fn faults(&self) -> &Faults {
        &self.node.faults
    }

    /// Sees that the claim is held; `Taken`: it is another hub's.
    pub(super) async fn claim(&mut self, connection: &Connection) -> Result<(), CallFault> {
        if self.renew(connection).await? {
            return Ok(());
        }
        match self.try_claim(connection).await? {
            Outcome::Held => {
                self.held = true;
                Ok(())
            }
            // An old row, in a database that came back older: it is looked at again.
            Outcome::Waits(by) if self.held => Err(CallFault::new(CLAIM, Means::Away, by)),
            Outcome::Waits(by) => Err(CallFault::new(CLAIM, Means::Taken, by)),
            Outcome::Lost(by) => {
                self.node.lost(&by);
                Err(CallFault::new(CLAIM, Means::Taken, by))
            }
        }
    }

    /// Begins to renew the claim, over a connection of its own: the one that writes may be busy
    /// for longer than the lease.
    pub(super) fn keep(&mut self, url: &DatabaseUrl) {
        if self.renewing.is_none() && self.held {
            let mut own = Claimant::new(self.node.clone());
            own.held = true;
            let work = own.renew_for_ever(url.clone());
            self.renewing = Some(Aside::begin(RENEWER, &self.node.faults, work));
        }
    }

    /// Gives the claim free, so that the next hub need not wait for the lease.
    pub(super) async fn release(&mut self, connection: &Connection) -> Result<(), CallFault> {
        if let Some(renewing) = self.renewing.take() {
            // It may be renewing: a row that is gone must stay gone.
            renewing.stop().await;
        }
        let boot: [Typed<'_>; 1] = [(&self.node.boot, Type::TEXT)];
        let sql = "DELETE FROM hub_nodes WHERE boot = $1";
        connection.ask("give the claim free", WRITE, (sql, &boot)).await?;
        self.held = false;
        Ok(())
    }

    /// The journals' positions, read under the claim. The first time, journals of earlier runs of
    /// the own directory become this run's, fenced ones too: what another hub took over while this
    /// directory had none is still to be stored. Later, a fenced one means that the claim is lost.
    pub(super) async fn positions(
        &mut self,
        connection: &Connection,
        journals: &[JournalId],
    ) -> Result<Vec<u64>, CallFault> {
        connection.run(CLAIM, WRITE).await?;
        if !self.has_adopted {
            let names: Vec<String> = journals.iter().map(ToString::to_string).collect();
            let adopt = "UPDATE hub_positions SET boot = $1, \
                         position = CASE WHEN position < 0 THEN -1 - position ELSE position END \
                         WHERE journal = ANY ($2) AND boot IS DISTINCT FROM $1";
            let parameters: [Typed<'_>; 2] =
                [(&self.node.boot, Type::TEXT), (&names, Type::TEXT_ARRAY)];
            connection.query("adopt positions", adopt, &parameters).await?;
        }
        let positions = super::read_positions(connection, journals, Some(&self.node.boot)).await?;
        // The own row is read only now, when a take-over has to wait for the positions' rows or is
        // over: had it been read before, a take-over might come in between.
        let boot: [Typed<'_>; 1] = [(&self.node.boot, Type::TEXT)];
        let own = "SELECT 1 FROM hub_nodes WHERE boot = $1 AND state = 'up'";
        if connection.query(CLAIM, own, &boot).await?.is_empty() {
            // The next try to claim says what has become of it.
            return Err(CallFault::new(CLAIM, Means::Away, "the claim is not there".into()));
        }
        connection.run(CLAIM, "COMMIT").await?;
        self.has_adopted = true;
        let fenced = |_| CallFault::new(CLAIM, Means::Taken, "it has taken over".into());
        positions.into_iter().map(|position| u64::try_from(position).map_err(fenced)).collect()
    }

    async fn renew_for_ever(mut self, url: DatabaseUrl) {
        loop {
            if let Err(fault) = self.renew_over(&url).await {
                if fault.means == Means::Taken {
                    return;
                }
                tracing::debug!(%fault, "the claim to the database was not renewed");
            }
            tokio::time::sleep(RENEWAL).await;
        }
    }

    async fn renew_over(&mut self, url: &DatabaseUrl) -> Result<(), CallFault> {
        let connection = Connection::open(url).await?;
        loop {
            panic_place(RENEWER);
            self.claim(&connection).await?;
            tokio::time::sleep(RENEWAL).await;
        }
    }

    /// Whether the own row is there, and was renewed. It costs the disk nothing of its own: a
    /// renewal that a crash of the server takes back is made again before anybody may take over.
    async fn renew(&self, connection: &Connection) -> Result<bool, CallFault> {
        let sql = "UPDATE hub_nodes SET renewed = clock_timestamp() \
                   WHERE boot = $1 AND state = 'up' \
                   AND set_config('synchronous_commit', 'off', true) IS NOT NULL";
        let boot: [Typed<'_>; 1] = [(&self.node.boot, Type::TEXT)];
        let renewed = connection.client.execute_typed(sql, &boot);
        Ok(within(CALL_MAX, "renew the claim", renewed).await? > 0)
    }

    /// Takes the claim if nobody holds it, in one transaction that no other claim or renewal is
    /// in the midst of.
    async fn try_claim(&mut self, connection: &Connection) -> Result<Outcome, CallFault> {
        connection
            .run(
                CLAIM,
                "BEGIN; SET LOCAL lock_timeout = '4s'; SET LOCAL synchronous_commit = on; \
                 SET LOCAL idle_in_transaction_session_timeout = '5s'; \
                 LOCK TABLE hub_nodes IN SHARE ROW EXCLUSIVE MODE",
            )
            .await?;
        let (own_state, others) = self.read(connection).await?;
        // The newest: where it is gone, all are.
        let other = others.first();
        let now = self.node.clock.now().mono;
        self.seen = other.map(|other| Sight::again(self.seen.take(), other, now));
        let still = self.seen.as_ref().is_some_and(Sight::is_still);
        let outcome = match other {
            _ if own_state.as_deref() == Some("fenced") => {
                Outcome::Lost(other.map_or_else(|| "another hub".into(), Other::told))
            }
            None => Outcome::Held,
            // The row has stood still by the server's clock, and for as long under our own eyes.
            Some(other) if other.age >= LEASE && still => Outcome::Held,
            Some(other) if self.held && other.age < LEASE => Outcome::Lost(other.told()),
            Some(other) => Outcome::Waits(other.told()),
        };
        if outcome != Outcome::Held {
            connection.run(CLAIM, "ROLLBACK").await?;
            return Ok(outcome);
        }
        self.take_over(connection, !others.is_empty()).await?;
        connection.run(CLAIM, "COMMIT").await?;
        for other in &others {
            tracing::warn!(
                from = other.name,
                "took the database over from a hub that is gone; what it had accepted and not \
                 stored is in its data directory, and is stored when it is started there"
            );
        }
        Ok(Outcome::Held)
    }

    /// The own row's state, and the rows of hubs with other data directories, the newest first.
    async fn read(
        &self,
        connection: &Connection,
    ) -> Result<(Option<String>, Vec<Other>), CallFault> {
        let sql = "SELECT boot, directory, name, state, renewed::text, \
                   greatest(extract(epoch FROM clock_timestamp() - renewed), 0)::float8, \
                   to_char(claimed AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
                   FROM hub_nodes ORDER BY renewed DESC";
        let rows = connection.query(CLAIM, sql, &[]).await?;
        let (mut own_state, mut others) = (None, Vec::new());
        for row in rows {
            let (other, directory, state) = read(&row).map_err(|error| fault(CLAIM, &error))?;
            if other.boot == self.node.boot {
                own_state = Some(state);
            } else if state == "up" && directory != self.node.directory {
                others.push(other);
            }
        }
        Ok((own_state, others))
    }

    /// Makes the own row, and fences those who are gone. Runs of the own directory are dead, and
    /// their journals are ours: they need no fence.
    async fn take_over(&self, connection: &Connection, others: bool) -> Result<(), CallFault> {
        let Node { boot, directory, name, .. } = &self.node;
        if others {
            self.fence(connection).await?;
        }
        let forget = "DELETE FROM hub_nodes WHERE boot <> $1 AND (directory = $2 \
                      OR renewed < clock_timestamp() - interval '1 day')";
        let both: [Typed<'_>; 2] = [(boot, Type::TEXT), (directory, Type::TEXT)];
        connection.query(CLAIM, forget, &both).await?;
        let make = "INSERT INTO hub_nodes (boot, directory, name, state, claimed, renewed) \
                    VALUES ($1, $2, $3, 'up', clock_timestamp(), clock_timestamp())";
        let all: [Typed<'_>; 3] = [(boot, Type::TEXT), (directory, Type::TEXT), (name, Type::TEXT)];
        connection.query(CLAIM, make, &all).await?;
        Ok(())
    }

    /// Makes the positions of all other runs negative. Sessions that are changing positions now are
    /// ended: they are of a hub that is gone, and one that was frozen in the midst would hold up
    /// the fence. Behind the table's lock there are none, so no row can come later.
    async fn fence(&self, connection: &Connection) -> Result<(), CallFault> {
        let Node { boot, directory, .. } = &self.node;
        let end = "SELECT pg_terminate_backend(l.pid) FROM pg_locks l \
                   JOIN pg_stat_activity a ON a.pid = l.pid \
                   AND pg_has_role(current_user, a.usesysid, 'MEMBER') \
                   WHERE l.relation = 'hub_positions'::regclass AND l.granted \
                   AND l.mode = 'RowExclusiveLock' AND l.pid <> pg_backend_pid()";
        connection.query(CLAIM, end, &[]).await?;
        connection.run(CLAIM, "LOCK TABLE hub_positions IN SHARE ROW EXCLUSIVE MODE").await?;
        let both: [Typed<'_>; 2] = [(boot, Type::TEXT), (directory, Type::TEXT)];
        let fence = "UPDATE hub_positions SET position = -1 - position WHERE position >= 0 \
                     AND boot IN (SELECT boot FROM hub_nodes WHERE boot <> $1 AND directory <> $2)";
        let tell = "UPDATE hub_nodes SET state = 'fenced' WHERE boot <> $1 AND directory <> $2";
        for sql in [fence, tell] {
            connection.query(CLAIM, sql, &both).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(boot: &str, renewed: &str) -> Other {
        let (boot, renewed) = (boot.to_owned(), renewed.to_owned());
        Other { boot, renewed, name: "x".into(), since: "y".into(), age: LEASE }
    }

    #[test]
    fn a_row_stands_still_only_under_eyes_that_never_leave_it() {
        let look = |looks: &[(u64, &str)]| {
            let again = |before, (at, renewed): &(u64, &str)| {
                Some(Sight::again(before, &other("a", renewed), MonoMs(*at)))
            };
            looks.iter().fold(None, again).is_some_and(|sight| sight.is_still())
        };
        assert!(!look(&[(10, "1")]));
        assert!(!look(&[(10, "1"), (1_000, "1"), (2_900, "1"), (4_800, "1")]));
        assert!(look(&[(10, "1"), (1_000, "1"), (2_900, "1"), (4_800, "1"), (5_010, "1")]));
        assert!(!look(&[(10, "1"), (1_000, "1"), (2_900, "2"), (4_800, "2"), (5_010, "2")]));
        assert!(look(&[(10, "1"), (5_010, "1")]), "a slow look is none away");
        assert!(!look(&[(10, "1"), (1_000, "1"), (11_001, "1")]), "it looked away");
    }
}
