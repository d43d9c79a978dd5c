//! How `chat_messages` is laid out, and the way from the layout of earlier builds to one index a
//! row, `hub_messages_key`.
//!
//! A table of others gets two indexes and is not changed otherwise; neither is one of which nobody
//! can tell for certain that the hub made it. Owns no state: each step is seen in the database, so
//! that whoever was stopped between two steps goes on with the second.

use tokio_postgres::types::Type;

use super::SchemaStep;
use crate::store::postgres::connect::{CallFault, Connection, column};
use crate::store::postgres::transaction::LOOK;

/// The one index of a table that the hub made; others have none of this name.
pub(in crate::store::postgres) const KEY: &str = "hub_messages_key";
const BUILD_KEY: &str = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS hub_messages_key\n    \
    ON chat_messages (space_id, id COLLATE \"C\")";

/// What a table has that others made.
const INDEXES: &str = include_str!("../../../../migrations/postgres/0002_indexes.sql");
const INDEX_NAMES: [&str; 2] = ["chat_messages_space_id_id", "chat_messages_space_id_timestamp_id"];

/// How long the change of the key waits for those who use the table, and everybody else behind it.
const SWAP_WAIT: &str = "300ms";

/// What the catalogs say of the table. It is the hub's if it has the key, or if all of this holds:
/// its row type was made by the transaction that made that of `hub_positions`, and by none that
/// made another table of the hub's; and it came after `hub_migrations`. A dump that is put back, in
/// one transaction or in many, and a table that the hub found do not have that; `VACUUM`, copies
/// of files and of templates leave it as it is.
const SEEN: &str = r#"
WITH messages AS (
    SELECT c.*, c.oid AS "table", t.xmin AS born FROM pg_class c
    LEFT JOIN pg_type t ON t.oid = c.reltype
    WHERE c.oid = to_regclass('chat_messages')
), hubs AS (
    SELECT c.relname, c.oid, c.relnamespace, c.relowner, t.xmin AS born FROM pg_class c
    JOIN pg_type t ON t.oid = c.reltype
    WHERE c.oid IN (to_regclass('hub_migrations'), to_regclass('hub_positions'),
                    to_regclass('hub_nodes'), to_regclass('hub_store'))
), keys AS (
    SELECT k.oid, k.conindid FROM pg_constraint k JOIN messages m ON k.conrelid = m."table"
    WHERE k.contype = 'p' AND k.conname <> 'hub_messages_key'
)
SELECT
    EXISTS (SELECT 1 FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
            WHERE i.indrelid = m."table" AND x.relname = 'hub_messages_key'),
    EXISTS (SELECT 1 FROM hubs h WHERE h.relname = 'hub_positions' AND h.born = m.born
            AND h.oid > m."table" AND h.relnamespace = m.relnamespace AND h.relowner = m.relowner)
    AND EXISTS (SELECT 1 FROM hubs h WHERE h.relname = 'hub_migrations' AND h.oid < m."table")
    AND NOT EXISTS (SELECT 1 FROM hubs h WHERE h.relname <> 'hub_positions' AND h.born = m.born),
    EXISTS (SELECT 1 FROM keys),
    m.relkind = 'r' AND NOT m.relispartition AND NOT m.relhassubclass AND NOT m.relhasrules
    AND NOT EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = m."table")
    AND (SELECT string_agg(concat_ws(' ', a.attname, a.atttypid::regtype, a.atttypmod,
             a.attnotnull, a.attcollation = t.typcollation, nullif(a.attidentity, ''),
             pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY a.attnum)
         FROM pg_attribute a LEFT JOIN pg_type t ON t.oid = a.atttypid
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE a.attrelid = m."table" AND a.attnum > 0)
        = 'id text -1 t t, content text -1 t t, user_id integer -1 t t, username text -1 t t, '
          'space_id integer -1 t t, timestamp timestamp without time zone -1 t t now()'
    AND (SELECT count(*) FILTER (WHERE k.contype = 'p' AND k.conname = 'chat_messages_pkey'
                AND k.conkey = '{1}'::int2[] AND NOT k.condeferrable) = 1
            AND count(*) FILTER (WHERE k.contype NOT IN ('p', 'n')) = 0
         FROM pg_constraint k WHERE k.conrelid = m."table")
    AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.confrelid = m."table")
    AND NOT EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = m."table")
    AND NOT EXISTS (SELECT 1 FROM pg_depend d JOIN keys k
            ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid
            OR d.refclassid = 'pg_class'::regclass AND d.refobjid = k.conindid
            WHERE d.deptype = 'n'),
    pg_has_role(m.relowner, 'USAGE'),
    CASE m.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING'
    WHEN 'i' THEN (SELECT 'USING INDEX ' || quote_ident(x.relname) FROM pg_index i
            JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = m."table"
            AND i.indisreplident AND i.indexrelid NOT IN (SELECT conindid FROM keys)) END
FROM messages m"#;

/// How the table of the messages is laid out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Layout {
    /// There is none yet.
    Absent,
    /// The hub's, with one index.
    OneIndex,
    /// The hub's, with the key and the indexes of earlier builds.
    Earlier {
        /// What replicas know its rows by, where that is something else than its key.
        identity: Option<String>,
    },
    /// Others', or nobody knows whose; why it stays as it is, where it looks like the hub's.
    Kept(Option<&'static str>),
}

/// What the catalogs say, in the order of [`SEEN`].
struct Seen {
    has_key: bool,
    is_made_by_us: bool,
    has_another_key: bool,
    is_as_made: bool,
    is_ours_to_change: bool,
}

impl Layout {
    /// Looks, in the transaction that is going on.
    pub(super) async fn look(connection: &Connection) -> Result<Layout, CallFault> {
        let what = "look at the messages";
        let rows = connection.query(what, SEEN, &[]).await?;
        let Some(row) = rows.first() else { return Ok(Layout::Absent) };
        let seen = Seen {
            has_key: column(what, row, 0)?,
            is_made_by_us: column(what, row, 1)?,
            has_another_key: column(what, row, 2)?,
            is_as_made: column(what, row, 3)?,
            is_ours_to_change: column(what, row, 4)?,
        };
        let identity = column(what, row, 5)?;
        Ok(Layout::of(&seen, identity))
    }

    fn of(seen: &Seen, identity: Option<String>) -> Layout {
        let is_ours = seen.has_key || seen.is_made_by_us;
        match seen {
            Seen { has_key: true, has_another_key: false, .. } => Layout::OneIndex,
            _ if !is_ours && seen.is_as_made => {
                Layout::Kept(Some("whether a hub made it can't be told"))
            }
            _ if !is_ours => Layout::Kept(None),
            Seen { is_as_made: false, .. } => {
                Layout::Kept(Some("others have changed it, or have something that depends on it"))
            }
            Seen { is_ours_to_change: false, .. } => Layout::Kept(Some("another role owns it")),
            _ => Layout::Earlier { identity },
        }
    }

    /// The steps to what it is to be.
    pub(super) async fn steps(
        &self,
        connection: &Connection,
    ) -> Result<Vec<SchemaStep>, CallFault> {
        match self {
            Layout::Absent => Ok(Vec::new()),
            Layout::Kept(_) => indexes(connection).await,
            Layout::OneIndex => drops(connection).await,
            Layout::Earlier { identity } => {
                let mut steps = Vec::new();
                steps.extend(missing_index(connection, KEY, BUILD_KEY).await?);
                steps.push(swap(identity.as_deref()));
                steps.extend(drops(connection).await?);
                steps.iter_mut().for_each(|step| step.can_wait = true);
                Ok(steps)
            }
        }
    }
}

/// The indexes of a table that others made, those that are missing.
async fn indexes(connection: &Connection) -> Result<Vec<SchemaStep>, CallFault> {
    let mut steps = Vec::new();
    for (statement, name) in INDEXES.split(';').zip(INDEX_NAMES) {
        steps.extend(missing_index(connection, name, statement.trim()).await?);
    }
    Ok(steps)
}

/// Makes the table's key that of earlier builds no more, in one short transaction. The first of its
/// changes fails where another table came to stand under the name: a key of others never goes.
fn swap(identity: Option<&str>) -> SchemaStep {
    let again = identity.map_or(String::new(), |identity| {
        format!("ALTER TABLE chat_messages REPLICA IDENTITY {identity};\n")
    });
    let sql = format!(
        "BEGIN;\nSET LOCAL lock_timeout = '{SWAP_WAIT}';\n\
         LOCK TABLE chat_messages IN ACCESS EXCLUSIVE MODE;\n\
         ALTER TABLE chat_messages REPLICA IDENTITY USING INDEX {KEY};\n\
         ALTER TABLE chat_messages DROP CONSTRAINT chat_messages_pkey;\n{again}COMMIT"
    );
    SchemaStep::of("key of chat_messages".into(), sql)
}

/// The indexes of earlier builds, which a table with the hub's key has no use for.
async fn drops(connection: &Connection) -> Result<Vec<SchemaStep>, CallFault> {
    let mut steps = Vec::new();
    for name in INDEX_NAMES {
        if let Some(index) = find(connection, name).await? {
            let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", index.path);
            let step = SchemaStep::of(format!("index {name}, which goes"), sql);
            steps.push(SchemaStep { can_wait: true, ..step });
        }
    }
    Ok(steps)
}

pub(super) async fn missing_index(
    connection: &Connection,
    name: &str,
    statement: &str,
) -> Result<Option<SchemaStep>, CallFault> {
    let mut step = SchemaStep::of(format!("index {name}"), statement.to_owned());
    match find(connection, name).await? {
        Some(Index { is_valid: true, .. }) => return Ok(None),
        Some(Index { path, .. }) => {
            step.statements.insert(0, format!("DROP INDEX CONCURRENTLY IF EXISTS {path}"));
            step.is_rebuilt = true;
        }
        None => {}
    }
    Ok(Some(step))
}

/// An index of the messages.
pub(super) struct Index {
    /// `false`: its building was cut short, or goes on.
    is_valid: bool,
    /// Its name with its schema.
    pub(super) path: String,
}

pub(super) async fn find(connection: &Connection, name: &str) -> Result<Option<Index>, CallFault> {
    let sql = "SELECT i.indisvalid, format('%I.%I', n.nspname, c.relname) FROM pg_index i \
               JOIN pg_class c ON c.oid = i.indexrelid \
               JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE i.indrelid = to_regclass('chat_messages') AND c.relname = $1";
    let what = "look for indexes";
    let rows = connection.query(what, sql, &[(&name, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Index { is_valid: column(what, row, 0)?, path: column(what, row, 1)? }))
}

/// Whether the table has the hub's key now.
pub(in crate::store::postgres) async fn is_hubs(
    connection: &Connection,
) -> Result<bool, CallFault> {
    let what = "look at the messages";
    connection.run(what, LOOK).await?;
    let key = find(connection, KEY).await?;
    connection.run(what, "COMMIT").await?;
    Ok(key.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_has_its_statement() {
        let statements: Vec<&str> = INDEXES.split(';').collect();
        assert_eq!(statements.len(), INDEX_NAMES.len() + 1);
        for (statement, name) in statements.iter().zip(INDEX_NAMES) {
            assert!(statement.contains(&format!("IF NOT EXISTS {name}\n")), "{statement}");
        }
        assert_eq!(statements.last().map(|rest| rest.trim()), Some(""));
        assert!(BUILD_KEY.contains(&format!("IF NOT EXISTS {KEY}\n")), "{BUILD_KEY}");
        let table = include_str!("../../../../migrations/postgres/0005_messages.sql");
        assert!(table.contains(&format!("CONSTRAINT {KEY} PRIMARY KEY (space_id, id)")));
    }

    #[test]
    fn a_table_is_changed_only_if_the_hub_made_it_and_nobody_else_has_to_do_with_it() {
        let of = |bits: [bool; 5]| {
            let [has_key, is_made_by_us, has_another_key, is_as_made, is_ours_to_change] = bits;
            let seen =
                Seen { has_key, is_made_by_us, has_another_key, is_as_made, is_ours_to_change };
            Layout::of(&seen, None)
        };
        for bits in 0..32 {
            let bits = [1, 2, 4, 8, 16].map(|bit| bits & bit != 0);
            let [has_key, is_made_by_us, has_another_key, is_as_made, is_ours_to_change] = bits;
            let changed = of(bits) == Layout::Earlier { identity: None };
            let may = (has_key && has_another_key || !has_key && is_made_by_us)
                && is_as_made
                && is_ours_to_change;
            assert_eq!(changed, may, "{bits:?}");
        }
        assert_eq!(of([true, false, false, false, false]), Layout::OneIndex);
        assert_eq!(of([false, false, true, false, true]), Layout::Kept(None));
        assert!(matches!(of([false, false, true, true, true]), Layout::Kept(Some(_))));
    }
}
