//! The index of words on `chat_messages`, where the setting `search` asks for it, and what of a
//! message it has.
//!
//! Owns no state. PostgreSQL keeps the index itself, whoever writes to the table: a hub whose
//! setting is off takes it away, so that rows cost what they did before it.

use super::{Index, SchemaStep, find, missing_index};
use crate::store::postgres::connect::{CallFault, Connection, column};
use crate::wire::SpaceId;

/// What becomes of the index of words.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Search {
    /// It is made, and kept.
    Kept,
    /// It goes.
    Gone,
    /// It stays as it is: who asks is no hub, or does not know.
    #[default]
    AsItIs,
}

impl Search {
    /// What a hub wants that searches, or does not.
    pub(crate) fn of_a_hub(searches: bool) -> Search {
        if searches { Search::Kept } else { Search::Gone }
    }

    /// What a tool wants whose setting says this: it takes nothing away from a hub.
    pub(crate) fn of_a_tool(searches: bool) -> Search {
        if searches { Search::Kept } else { Search::AsItIs }
    }
}

/// The index; one that holds something else will have another name.
pub(in crate::store::postgres) const WORDS: &str = "hub_messages_words";

/// Characters of a text whose words are indexed. What a hub takes is shorter; a row of others may
/// have more words than PostgreSQL has room for, and would be refused because of the index.
const TEXT_CHARS: usize = 65_536;

/// Signs that stand between words. PostgreSQL's parser finds addresses, tags and numbers in what
/// has them, and would then not have the words within.
const SIGNS: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
/// The same beyond ASCII: without a language of its own a database takes these for letters.
const MORE_SIGNS: &str = "¡¿«»“”‘’„…–—·";
/// Letters with marks, and what each is found as: "cafe" finds "Café".
const LETTERS: [(&str, char); 26] = [
    ("ÀÁÂÃÄÅĀĂĄàáâãäåāăą", 'a'),
    ("ÇĆĈĊČçćĉċč", 'c'),
    ("Ďď", 'd'),
    ("ÈÉÊËĒĔĖĘĚèéêëēĕėęě", 'e'),
    ("ĜĞĠĢĝğġģ", 'g'),
    ("Ĥĥ", 'h'),
    ("ÌÍÎÏĨĪĬĮİìíîïĩīĭį", 'i'),
    ("Ĵĵ", 'j'),
    ("Ķķ", 'k'),
    ("ĹĻĽĺļľ", 'l'),
    ("ÑŃŅŇñńņň", 'n'),
    ("ÒÓÔÕÖŌŎŐòóôõöōŏő", 'o'),
    ("ŔŖŘŕŗř", 'r'),
    ("ŚŜŞŠśŝşš", 's'),
    ("ŢŤţť", 't'),
    ("ÙÚÛÜŨŪŬŮŰŲùúûüũūŭůűų", 'u'),
    ("Ŵŵ", 'w'),
    ("ÝŶŸýÿŷ", 'y'),
    ("ŹŻŽźżž", 'z'),
    ("Øø", 'ø'),
    ("Ææ", 'æ'),
    ("Œœ", 'œ'),
    ("Đđ", 'đ'),
    ("Łł", 'ł'),
    ("Þþ", 'þ'),
    ("Ðð", 'ð'),
];
/// Marks that stand behind their letters, which are left out.
const MARKS: &str = "\u{300}\u{301}\u{302}\u{303}\u{304}\u{306}\u{307}\u{308}\u{30a}\u{30b}\u{30c}\
    \u{327}\u{328}";

/// A text without what does not matter in a search, as an expression of SQL. A database in another
/// encoding than UTF-8 may not have these letters: there only signs go.
fn plain(text: &str, is_utf8: bool) -> String {
    let (mut from, mut to) = (SIGNS.to_owned(), " ".repeat(SIGNS.len()));
    if is_utf8 {
        from.push_str(MORE_SIGNS);
        to.push_str(&" ".repeat(MORE_SIGNS.chars().count()));
        for (letters, plain) in LETTERS {
            from.push_str(letters);
            to.extend(letters.chars().map(|_| plain));
        }
        from.push_str(MARKS);
    }
    // Between these nothing has a meaning, whatever the server's settings are.
    format!("translate({text}, $hub${from}$hub$, $hub${to}$hub$)")
}

/// What is indexed of a row: its words, and a sign of its space.
pub(in crate::store::postgres) fn document(row: &str, is_utf8: bool) -> String {
    let text = plain(&format!("left({row}content::text, {TEXT_CHARS})"), is_utf8);
    format!(
        "to_tsvector('pg_catalog.simple'::regconfig, {text}) \
         || array_to_tsvector(ARRAY['/' || {row}space_id::text])"
    )
}

/// The sign of a space, which is no word of any text.
pub(in crate::store::postgres) fn space_sign(space: SpaceId) -> String {
    format!("/{}", space.0)
}

/// The words of a text in a row, as what a document is asked for.
pub(in crate::store::postgres) fn phrase(text: &str, is_utf8: bool) -> String {
    let text = plain(text, is_utf8);
    format!("phraseto_tsquery('pg_catalog.simple'::regconfig, {text})")
}

/// The steps to what becomes of the index.
pub(super) async fn steps(
    connection: &Connection,
    search: Search,
) -> Result<Option<SchemaStep>, CallFault> {
    let step = match search {
        Search::AsItIs => None,
        Search::Kept => {
            let document = document("", is_utf8(connection).await?);
            let sql = format!(
                "CREATE INDEX CONCURRENTLY IF NOT EXISTS {WORDS}\n    \
                 ON chat_messages USING gin (({document}))"
            );
            missing_index(connection, WORDS, &sql).await?
        }
        Search::Gone => find(connection, WORDS).await?.map(|Index { path, .. }| {
            let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {path}");
            SchemaStep::of(format!("index {WORDS}, which goes: search is off"), sql)
        }),
    };
    Ok(step.map(|step| SchemaStep { can_wait: true, ..step }))
}

async fn is_utf8(connection: &Connection) -> Result<bool, CallFault> {
    let what = "look at the encoding";
    let sql = "SELECT current_setting('server_encoding') = 'UTF8'";
    let rows = connection.query(what, sql, &[]).await?;
    rows.first().map_or(Ok(true), |row| column(what, row, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_letter_has_its_plain_one_and_none_stands_twice() {
        let sql = plain("x", true);
        let parts: Vec<&str> = sql.split("$hub$").collect();
        let (from, to): (Vec<char>, Vec<char>) =
            (parts[1].chars().collect(), parts[3].chars().collect());
        assert_eq!(from.len(), to.len() + MARKS.chars().count());
        let of = |letter| from.iter().position(|it| *it == letter).map(|at| to.get(at).copied());
        for (letter, plain) in [('é', 'e'), ('Ñ', 'n'), ('ü', 'u'), ('ž', 'z'), ('.', ' ')] {
            assert_eq!(of(letter), Some(Some(plain)), "{letter}");
        }
        assert_eq!((of('—'), of('\u{301}'), of('a')), (Some(Some(' ')), Some(None), None));
        let all: std::collections::BTreeSet<char> = from.iter().copied().collect();
        assert_eq!(all.len(), from.len());
        assert!(plain("x", false).is_ascii());
    }
}
