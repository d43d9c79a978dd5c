//! Query strings and path segments, decoded as the existing server's routes do, but strictly.
//!
//! Where a key is repeated its first value holds, as in the existing server. What can't be
//! decoded (a broken escape, bytes that are no UTF-8) is [`QueryValue::Broken`], never skipped: it
//! ends in its field's error instead of a default.

use std::borrow::Cow;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

use super::problem::Refusal;
use crate::wire::percent::decode;
use crate::wire::{Id, SpaceId, UserId, parse_int};

/// What a query string has under a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QueryValue<'a> {
    /// The key is not there.
    Missing,
    /// The key's first value, decoded; may be empty.
    Text(&'a str),
    /// The key's first value can't be decoded.
    Broken,
}

impl<'a> QueryValue<'a> {
    /// Whether there is nothing to read: no key, or an empty value.
    pub(crate) fn is_empty(self) -> bool {
        matches!(self, QueryValue::Missing | QueryValue::Text(""))
    }

    /// The text, if there is one.
    pub(crate) fn text(self) -> Option<&'a str> {
        match self {
            QueryValue::Text(text) => Some(text),
            QueryValue::Missing | QueryValue::Broken => None,
        }
    }
}

/// A query string, taken apart. The head's size bounds it.
#[derive(Debug)]
pub(crate) struct Query<'a>(Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>);

impl<'a> Query<'a> {
    /// Takes a query string apart; pairs whose key can't be decoded are nobody's.
    pub(crate) fn parse(raw: Option<&'a str>) -> Query<'a> {
        let pairs = raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .filter_map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    Some((decode(key, true)?, decode(value, true)))
                })
                .collect(),
        )
    }

    /// The first value of a key.
    pub(crate) fn get(&self, name: &str) -> QueryValue<'_> {
        match self.0.iter().find(|(key, _)| key == name) {
            None => QueryValue::Missing,
            Some((_, None)) => QueryValue::Broken,
            Some((_, Some(text))) => QueryValue::Text(text),
        }
    }
}

/// A path's only variable segment; an error if it can't be decoded.
pub(crate) type PathText = Result<Path<String>, PathRejection>;

/// The segment, or text that no field takes.
pub(crate) fn path_text(path: PathText) -> String {
    path.map_or_else(|_| String::new(), |Path(text)| text)
}

/// The space that a path names.
pub(crate) fn path_space(text: &str) -> Result<SpaceId, Refusal> {
    let bad = || Refusal::field("space_id", "space_id debe ser un número");
    parse_int(text).map(SpaceId).ok_or_else(bad)
}

/// The user that a path or a query names.
pub(crate) fn parse_user(text: Option<&str>) -> Result<UserId, Refusal> {
    let bad = || Refusal::field("user_id", "user_id debe ser un número");
    text.and_then(parse_int).map(UserId).ok_or_else(bad)
}

/// A positive `limit`, cut to `most`; `default` without one.
pub(crate) fn limit(query: &Query, default: u32, most: u32) -> Result<u32, Refusal> {
    let given = query.get("limit");
    if given.is_empty() {
        return Ok(default.min(most));
    }
    let bad = || Refusal::field("limit", "limit debe ser un número positivo");
    let number = given.text().and_then(parse_int).and_then(|number| u32::try_from(number).ok());
    number.filter(|number| *number > 0).map(|number| number.min(most)).ok_or_else(bad)
}

/// How many are passed by, with `offset`.
pub(crate) fn offset(query: &Query) -> Result<u32, Refusal> {
    let given = query.get("offset");
    if given.is_empty() {
        return Ok(0);
    }
    let bad = || Refusal::field("offset", "offset debe ser un número no negativo");
    let number = given.text().and_then(parse_int);
    number.and_then(|number| u32::try_from(number).ok()).ok_or_else(bad)
}

/// A position, if the query gives one; `message` answers what is none.
pub(crate) fn position(
    query: &Query,
    name: &'static str,
    message: &'static str,
) -> Result<Option<Id>, Refusal> {
    match query.get(name) {
        QueryValue::Missing => Ok(None),
        given => match given.text().and_then(Id::parse) {
            Some(id) => Ok(Some(id)),
            None => Err(Refusal::field(name, message)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_decoded_as_forms_are() {
        let query = Query::parse(Some("username=Ana+Paz&a%26b=1%3D2&empty=&bare&x=%F0%9F%98%80"));
        assert_eq!(query.get("username"), QueryValue::Text("Ana Paz"));
        assert_eq!(query.get("a&b"), QueryValue::Text("1=2"));
        assert_eq!(query.get("empty"), QueryValue::Text(""));
        assert_eq!(query.get("bare"), QueryValue::Text(""));
        assert_eq!(query.get("x"), QueryValue::Text("😀"));
        assert_eq!(query.get("y"), QueryValue::Missing);
        assert_eq!(Query::parse(None).get("username"), QueryValue::Missing);
    }

    #[test]
    fn of_a_repeated_key_the_first_value_holds() {
        let query = Query::parse(Some("user_id=1&user_id=2&&user_id=%zz"));
        assert_eq!(query.get("user_id"), QueryValue::Text("1"));
    }

    #[test]
    fn what_cannot_be_decoded_is_broken_and_not_missing() {
        for broken in ["%", "%4", "%zz", "%+1", "%ff", "%C3%28", "%ED%A0%80"] {
            let raw = format!("user_id={broken}");
            assert_eq!(Query::parse(Some(&raw)).get("user_id"), QueryValue::Broken, "{broken}");
        }
        assert_eq!(Query::parse(Some("a=%00")).get("a"), QueryValue::Text("\0"));
    }

    #[test]
    fn a_limit_is_positive_and_cut_to_what_is_allowed() {
        for (raw, expected) in [
            ("", Ok(50)),
            ("limit=", Ok(50)),
            ("limit=7", Ok(7)),
            ("limit=%2B7", Ok(7)),
            ("limit=100000", Ok(100)),
            ("limit=0", Err("limit")),
            ("limit=-1", Err("limit")),
            ("limit=x", Err("limit")),
            ("limit=99999999999", Err("limit")),
            ("limit=%zz", Err("limit")),
        ] {
            let read = limit(&Query::parse(Some(raw)), 50, 100);
            assert_eq!(
                read.map_err(|refusal| refusal.field.unwrap_or_default()),
                expected,
                "{raw}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_its_escapes(text in "\\PC*|[\\x00-\\x7f]*") {
            let raw: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let read = decode(&raw, true);
            prop_assert_eq!(read.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn any_query_is_read_without_harm(raw in "[%=&+0-9a-fA-Fx\\PC]*") {
            let query = Query::parse(Some(&raw));
            let _ = query.get("x");
        }
    }
}
