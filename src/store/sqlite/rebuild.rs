//! What migration 3 does to a database of an earlier version before its script: copies the messages
//! to the table that takes the place of theirs.
//!
//! By stretches, each in a transaction of its own: a start that is ended in the middle goes on
//! where it stopped, and the earlier table is untouched until the script replaces it. Triggers
//! carry over what is changed by hand meanwhile. What is left to the script is little.

use rusqlite::{Connection, OptionalExtension, Result, TransactionBehavior};

use crate::store::query::signed;

/// The migration's number.
pub(super) const NUMBER: u32 = 3;

/// Rows of one transaction.
const STRETCH: i64 = 20_000;

/// The script; its first statement makes the table that becomes `chat_messages`.
pub(super) const SCRIPT: &str = include_str!("../../../migrations/sqlite/0003_one_index.sql");

/// What carries over what is changed by hand.
const TRIGGERS: &str = "
    CREATE TRIGGER IF NOT EXISTS hub_rebuild_delete AFTER DELETE ON chat_messages BEGIN
        DELETE FROM hub_chat_messages WHERE rowid = OLD.rowid;
    END;
    CREATE TRIGGER IF NOT EXISTS hub_rebuild_update AFTER UPDATE ON chat_messages BEGIN
        UPDATE hub_chat_messages SET content = NEW.content, user_id = NEW.user_id,
            username = NEW.username WHERE rowid = NEW.rowid;
    END";

const COPY: &str = "
    INSERT INTO hub_chat_messages (rowid, id, content, user_id, username, space_id, timestamp)
        SELECT rowid, id, content, user_id, username, space_id, timestamp FROM chat_messages
        WHERE rowid > ?1 ORDER BY rowid LIMIT ?2";

/// Made once for all rows: row by row it would be ten times as long.
const INDEX: &str = "
    CREATE UNIQUE INDEX IF NOT EXISTS chat_messages_space_id_id_key
        ON hub_chat_messages (space_id, id)";

/// Copies what is there; says in the log how far it is.
pub(super) fn copy(connection: &mut Connection) -> Result<()> {
    let Some(last) = last_row(connection, "chat_messages")?.filter(|last| *last > STRETCH) else {
        // The script does as well.
        return Ok(());
    };
    tracing::info!(
        rows = last,
        "the embedded database is of an earlier version: its messages are laid out anew, once; \
         if this is stopped it goes on at the next start"
    );
    begin(connection)?;
    let mut told = 0;
    while copy_on(connection, STRETCH)? {
        let copied = last_row(connection, "hub_chat_messages")?.unwrap_or(0);
        let percent = copied.saturating_mul(100) / last;
        if percent >= told + 10 {
            told = percent;
            tracing::info!("{percent} % of the messages are laid out anew");
        }
    }
    connection.execute_batch(INDEX)
}

/// Makes the table that is copied to.
fn begin(connection: &Connection) -> Result<()> {
    let table = SCRIPT.split_once(";\n").map_or(SCRIPT, |(first, _)| first);
    connection.execute_batch(table)?;
    connection.execute_batch(TRIGGERS)
}

/// Copies some rows more; whether there may be others.
fn copy_on(connection: &mut Connection, rows_max: i64) -> Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let copied = last_row(&transaction, "hub_chat_messages")?.unwrap_or(0);
    let rows = transaction.execute(COPY, (copied, rows_max))?;
    transaction.commit()?;
    Ok(signed(rows as u64) == rows_max)
}

/// The number of a table's last row; `None`: it has none, or is not there.
fn last_row(connection: &Connection, table: &str) -> Result<Option<i64>> {
    if !connection.table_exists(None, table)? {
        return Ok(None);
    }
    let sql = format!("SELECT rowid FROM {table} ORDER BY rowid DESC LIMIT 1");
    connection.query_row(&sql, [], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema::{SCRIPTS, bring_up_to_date};

    type Row = (String, String, i64, String, i64, String);

    fn rows(connection: &Connection) -> Vec<Row> {
        let sql = "SELECT id, content, user_id, username, space_id, timestamp FROM chat_messages \
                   ORDER BY space_id, id";
        let mut statement = connection.prepare(sql).expect("it parses");
        let row = |row: &rusqlite::Row<'_>| row.try_into();
        let rows = statement.query_map([], row).expect("it runs");
        rows.collect::<Result<_>>().expect("it reads")
    }

    fn fill(connection: &Connection, numbers: std::ops::Range<i64>) {
        let sql = "INSERT INTO chat_messages (id, content, user_id, username, space_id, timestamp) \
                   VALUES (?1, ?2, ?3, 'Ana', ?4, '2026-01-02 03:04:05.678901')";
        for n in numbers {
            let row = (format!("{:026}", (n * 7_919) % 100_003), format!("hola {n}"), n, n % 3 + 1);
            connection.execute(sql, row).expect("it is stored");
        }
    }

    /// Each space's rows by its blocks, and counted.
    fn counts(connection: &Connection) -> Vec<(i64, i64, i64)> {
        let sql = "SELECT space_id, sum(total), (SELECT count(*) FROM chat_messages m \
                   WHERE m.space_id = b.space_id) FROM hub_space_blocks b GROUP BY space_id";
        let mut statement = connection.prepare(sql).expect("it parses");
        let counts = statement.query_map([], |row| row.try_into()).expect("it runs");
        counts.collect::<Result<_>>().expect("it reads")
    }

    #[test]
    fn wherever_it_was_stopped_an_earlier_database_is_laid_out_anew_with_all_that_it_holds() {
        for stretches in 0..=11 {
            let mut database = Connection::open_in_memory().expect("a database");
            bring_up_to_date(&mut database, &SCRIPTS[..2]).expect("an earlier version");
            fill(&database, 0..1_000);
            let view = "CREATE VIEW of_others AS SELECT content FROM chat_messages";
            database.execute_batch(view).expect("it is made");
            if stretches > 0 {
                begin(&database).expect("it begins");
            }
            for _ in 0..stretches {
                copy_on(&mut database, 100).expect("it copies");
            }
            if stretches == 11 {
                database.execute_batch(INDEX).expect("it is made");
            }
            // Ended here; the earlier version serves the database again, and hands change it.
            fill(&database, 1_000..1_100);
            let by_hand = "
                DELETE FROM chat_messages WHERE rowid % 10 = 3;
                UPDATE chat_messages SET content = 'changed' WHERE rowid % 10 = 4;
                DELETE FROM chat_messages WHERE rowid > 1090";
            database.execute_batch(by_hand).expect("it is changed");
            fill(&database, 2_000..2_020);
            let before = rows(&database);
            bring_up_to_date(&mut database, SCRIPTS).expect("it is brought up to date");
            assert_eq!(rows(&database), before, "stopped after {stretches} stretches");
            let counts = counts(&database);
            assert_eq!(counts.len(), 3);
            counts.iter().for_each(|(space, kept, there)| assert_eq!(kept, there, "{space}"));
            let left: i64 = database
                .query_row(
                    "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%rebuild%'",
                    [],
                    |row| row.get(0),
                )
                .expect("it reads");
            assert_eq!(left, 0);
            fill(&database, 3_000..3_010);
            let seen: i64 = database
                .query_row("SELECT count(*) FROM of_others", [], |row| row.get(0))
                .expect("it reads");
            assert_eq!(seen as usize, before.len() + 10);
        }
    }
}
