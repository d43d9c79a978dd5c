//! What is found by its words in PostgreSQL, in the index of words; until that is whole, among the
//! newest messages of a space.

use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

use super::History;
use crate::store::postgres::schema::words::{WORDS, document, phrase, space_sign};
use crate::store::search::{Found, SearchQuery, Term};

/// Messages that are looked at one by one while there is no index.
const NEWEST: u32 = 2_000;

/// Whether the index is whole, and which letters the database has.
const SURROUNDINGS: &str = "SELECT current_setting('server_encoding') = 'UTF8', \
    EXISTS (SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
    WHERE i.indrelid = to_regclass('chat_messages') AND c.relname = $1 \
    AND i.indisvalid AND i.indisready)";

impl History {
    /// A page of what is found (docs/WIRE.md E).
    pub(in crate::store::postgres) async fn search(
        &self,
        query: &SearchQuery,
    ) -> Result<Found, Error> {
        self.connection.in_transaction(&self.begin, self.find(query)).await
    }

    async fn find(&self, query: &SearchQuery) -> Result<Found, Error> {
        let client = &self.connection.client;
        let row = client.query_typed_one(SURROUNDINGS, &[(&WORDS, Type::TEXT)]).await?;
        let (is_utf8, is_complete): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
        let asked = Asked::of(query, is_utf8);
        let sql = asked.sql(is_complete, &self.texts.columns());
        let limit = i64::from(query.limit) + 1;
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            vec![(&query.space.0, Type::INT4), (&limit, Type::INT8)];
        parameters.extend(asked.texts.iter().map(|text| (text as _, Type::TEXT)));
        let mut rows = self.rows(&sql, &parameters).await?;
        let has_more = rows.len() as u64 > query.limit.into();
        rows.truncate(query.limit as usize);
        self.add_images(&mut rows, self.image_bytes_max).await?;
        Ok(Found { rows, has_more, is_complete })
    }
}

/// What is asked: parameters, from the third on, and the expressions that have them.
struct Asked {
    texts: Vec<String>,
    /// What a document has to have.
    wanted: String,
    below: String,
    is_utf8: bool,
}

impl Asked {
    fn of(query: &SearchQuery, is_utf8: bool) -> Asked {
        let mut texts = Vec::new();
        let mut parameter = |text: String| {
            texts.push(text);
            format!("${}::text", texts.len() + 2)
        };
        let sign = parameter(space_sign(query.space));
        let mut wanted = format!("quote_literal({sign})::tsquery");
        for Term { text, is_beginning } in query.terms.iter() {
            let words = phrase(&parameter(text.clone()), is_utf8);
            let words = match is_beginning {
                // What a query is as a text can be read back; one without a word can't go on.
                true => format!(
                    "CASE numnode({words}) WHEN 0 THEN {words} \
                     ELSE ({words}::text || ':*')::tsquery END"
                ),
                false => words,
            };
            wanted = format!("{wanted} && {words}");
        }
        let below = query.before.map(|id| parameter(id.to_string()));
        let below = below.map_or(String::new(), |id| format!("AND m.id COLLATE \"C\" < {id}"));
        Asked { texts, wanted, below, is_utf8 }
    }

    /// Finds all that match, sorts their ids, and reads the rows of the newest. `OFFSET 0`: by the
    /// index of words first. Statistics that are older than most of a space would have its messages
    /// read one by one instead.
    fn sql(&self, is_complete: bool, columns: &str) -> String {
        let Asked { wanted, below, is_utf8, .. } = self;
        let newest = format!(
            "(SELECT m.id, m.content, m.space_id FROM chat_messages m \
             WHERE m.space_id = $1 {below} ORDER BY m.id COLLATE \"C\" DESC LIMIT {NEWEST})"
        );
        let (from, here) = match is_complete {
            true => ("chat_messages", format!("m.space_id = $1 {below} AND")),
            false => (newest.as_str(), String::new()),
        };
        let document = document("m.", *is_utf8);
        format!(
            "WITH found AS MATERIALIZED (SELECT m.id FROM {from} m \
             WHERE {here} {document} @@ ({wanted}) OFFSET 0), \
             keys AS MATERIALIZED (SELECT id FROM found ORDER BY id COLLATE \"C\" DESC LIMIT $2) \
             SELECT {columns} FROM keys, LATERAL (SELECT id, content, user_id, username, space_id, \
             timestamp FROM chat_messages m WHERE m.space_id = $1 \
             AND m.id COLLATE \"C\" = keys.id OFFSET 0) m ORDER BY m.id COLLATE \"C\" DESC"
        )
    }
}
