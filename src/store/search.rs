//! What is looked for in a space's history, and what is found: the same for every database.
//!
//! Pure. Whatever somebody types is words: nothing of it is syntax of a database, and none of it
//! can be wrong but its length. Each database has its own way from [`Terms`] to the rows.

use super::query::StoredMessage;
use crate::limits::{SEARCH_CHARS_MAX, SEARCH_TERMS_MAX};
use crate::wire::{Id, SpaceId};

/// Letters of the shortest beginning of a word that is looked for: a database merges all words that
/// begin so, and a single letter finds nothing that anybody looks for.
const BEGINNING_MIN: usize = 2;

/// A page of what is found in a space, by position (docs/WIRE.md E).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SearchQuery {
    /// The space.
    pub space: SpaceId,
    /// What each message has to have, all of it.
    pub terms: Terms,
    /// Upper bound, exclusive.
    pub before: Option<Id>,
    /// Rows at most.
    pub limit: u32,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Descending by id.
    pub rows: Vec<StoredMessage>,
    /// Whether `limit` cut them short.
    pub has_more: bool,
    /// Whether the index holds all that is stored. Until it does, older messages are not found.
    pub is_complete: bool,
}

impl AsRef<[StoredMessage]> for Found {
    fn as_ref(&self) -> &[StoredMessage] {
        &self.rows
    }
}

/// What somebody looks for: one term at least.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms(Vec<Term>);

/// A word, words in a row, or the beginning of a word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Term {
    /// As it was typed; has a letter or a digit.
    pub(super) text: String,
    /// The last word of it may go on.
    pub(super) is_beginning: bool,
}

/// Why a text is not looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadTerms {
    /// It has no word.
    Empty,
    /// It has more than [`SEARCH_CHARS_MAX`] characters.
    TooLong,
    /// It has more than [`SEARCH_TERMS_MAX`] terms.
    TooMany,
    /// It has a U+0000, which no message has.
    Nul,
}

impl Terms {
    /// Reads what somebody has typed. Between quotes stand words in a row; `*` behind a word finds
    /// those that begin with it; all else is words, and each has to be there.
    pub fn parse(text: &str) -> Result<Terms, BadTerms> {
        if text.contains('\0') {
            return Err(BadTerms::Nul);
        }
        if text.chars().nth(SEARCH_CHARS_MAX).is_some() {
            return Err(BadTerms::TooLong);
        }
        let mut terms = Vec::new();
        for (n, part) in text.split('"').enumerate() {
            match n % 2 {
                0 => terms.extend(part.split_whitespace().filter_map(Term::word)),
                _ => terms.extend(Term::phrase(part)),
            }
        }
        match terms.len() {
            0 => Err(BadTerms::Empty),
            many if many > SEARCH_TERMS_MAX => Err(BadTerms::TooMany),
            _ => Ok(Terms(terms)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Term> {
        self.0.iter()
    }
}

impl Term {
    fn word(text: &str) -> Option<Term> {
        let word = text.trim_end_matches('*');
        let letters = word.chars().filter(|letter| letter.is_alphanumeric()).count();
        let is_beginning = word.len() < text.len()
            && letters >= BEGINNING_MIN
            && word.ends_with(char::is_alphanumeric);
        (letters > 0).then(|| Term { text: word.to_owned(), is_beginning })
    }

    fn phrase(text: &str) -> Option<Term> {
        let has_word = text.contains(char::is_alphanumeric);
        has_word.then(|| Term { text: text.to_owned(), is_beginning: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<String>, BadTerms> {
        let shown =
            |term: &Term| format!("{}{}", term.text, if term.is_beginning { "…" } else { "" });
        Terms::parse(text).map(|terms| terms.iter().map(shown).collect())
    }

    fn found(terms: &[&str]) -> Result<Vec<String>, BadTerms> {
        Ok(terms.iter().map(|term| (*term).to_owned()).collect())
    }

    #[test]
    fn words_phrases_and_beginnings_are_read_and_all_else_is_words() {
        for (text, expected) in [
            ("hola", &["hola"][..]),
            ("  hola\t mundo ", &["hola", "mundo"]),
            ("\"hola mundo\" x", &["hola mundo", "x"]),
            ("\"hola mundo", &["hola mundo"]),
            ("mun*", &["mun…"]),
            ("m*", &["m"]),
            ("mun**", &["mun…"]),
            ("mun-*", &["mun-"]),
            ("*mun", &["*mun"]),
            ("m*n", &["m*n"]),
            ("\"mun\"*", &["mun"]),
            ("a AND (b OR NOT c)", &["a", "AND", "(b", "OR", "NOT", "c)"]),
            ("content:x ^y {z} a+b", &["content:x", "^y", "{z}", "a+b"]),
            ("a & b | !c <-> d:*", &["a", "b", "!c", "d:"]),
            ("¿qué? 😀 --", &["¿qué?"]),
        ] {
            assert_eq!(read(text), found(expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_word_or_too_much_is_refused() {
        for text in ["", " ", "*", "\"\"", "😀 ¡! -- **", "\"!\" ?"] {
            assert_eq!(read(text), Err(BadTerms::Empty), "{text}");
        }
        assert_eq!(read("a\0b"), Err(BadTerms::Nul));
        assert!(read(&"ñ".repeat(SEARCH_CHARS_MAX)).is_ok());
        assert_eq!(read(&"ñ".repeat(SEARCH_CHARS_MAX + 1)), Err(BadTerms::TooLong));
        assert!(read(&"a ".repeat(SEARCH_TERMS_MAX)).is_ok());
        assert_eq!(read(&"a ".repeat(SEARCH_TERMS_MAX + 1)), Err(BadTerms::TooMany));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,220}|[\\x00-\\x7f]{0,220}") {
            if let Ok(terms) = Terms::parse(&text) {
                prop_assert!(terms.iter().all(|term| text.contains(&term.text)));
            }
        }
    }
}
