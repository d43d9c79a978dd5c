//! Which rights the hub's role needs once the tables are there, and which of them it lacks.

use super::connect::{CallFault, Connection, column};
use super::transaction::LOOK;

/// A right on a table is had for all of its columns, or for each that the hub names. What is not
/// there yet lacks no right.
const MISSING: &str = "SELECT string_agg(wanted.privilege || ' on ' || wanted.name, ', ') \
    FROM (VALUES \
    ('chat_messages', 'SELECT', '{id,content,user_id,username,space_id,timestamp}'::text[]), \
    ('chat_messages', 'INSERT', '{id,content,user_id,username,space_id,timestamp}'), \
    ('hub_positions', 'SELECT', '{journal,position,highest,boot}'), \
    ('hub_positions', 'INSERT', '{journal,position,highest,boot}'), \
    ('hub_positions', 'UPDATE', '{position,highest,boot}'), \
    ('hub_positions', 'DELETE', '{}'), \
    ('hub_nodes', 'SELECT', '{boot,directory,name,state,claimed,renewed}'), \
    ('hub_nodes', 'INSERT', '{boot,directory,name,state,claimed,renewed}'), \
    ('hub_nodes', 'UPDATE', '{boot,directory,name,state,claimed,renewed}'), \
    ('hub_nodes', 'DELETE', '{}'), \
    ('hub_migrations', 'SELECT', '{number,checksum}'), \
    ('hub_store', 'SELECT', '{id}'), \
    ('users', 'SELECT', '{id,image}'), \
    ('spaces', 'SELECT', '{id}')) AS wanted (name, privilege, columns) \
    WHERE CASE wanted.privilege \
    WHEN 'DELETE' THEN NOT has_table_privilege(to_regclass(wanted.name), 'DELETE') \
    ELSE EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = to_regclass(wanted.name) \
    AND a.attname = ANY (wanted.columns) AND NOT a.attisdropped \
    AND NOT has_column_privilege(a.attrelid, a.attnum, wanted.privilege)) END";

/// What the connection's role lacks, in one line; `None`: nothing.
pub(super) async fn missing(connection: &Connection) -> Result<Option<String>, CallFault> {
    let what = "look at rights";
    let rows = connection.ask(what, LOOK, (MISSING, &[])).await?;
    rows.first().map_or(Ok(None), |row| column(what, row, 0))
}
