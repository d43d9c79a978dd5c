//! Query strings and path segments, decoded as the existing server's routes do, but strictly.
//!
//! Of a key that is repeated the first value holds, as in the existing server. What can't be
//! decoded (a broken escape, bytes that are no UTF-8) is [`Given::Broken`], never skipped: it
//! ends in its field's error instead of a default.

pub(super) use crate::wire::percent::decode;

/// One value of a query string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Given<'a> {
    /// The key is not there.
    Missing,
    /// Its first value, decoded; may be empty.
    Text(&'a str),
    /// Its first value can't be decoded.
    Broken,
}

impl<'a> Given<'a> {
    /// Whether there is nothing to read: no key, or an empty value.
    pub(super) fn is_empty(self) -> bool {
        matches!(self, Given::Missing | Given::Text(""))
    }

    /// The text, if there is one.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Given::Text(text) => Some(text),
            Given::Missing | Given::Broken => None,
        }
    }
}

/// A query string, taken apart. The head's size bounds it.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, Option<String>)>);

impl Query {
    /// Takes a query string apart; pairs whose key can't be decoded are nobody's.
    pub(super) fn parse(raw: Option<&str>) -> Query {
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
    pub(super) fn get(&self, name: &str) -> Given<'_> {
        match self.0.iter().find(|(key, _)| key == name) {
            None => Given::Missing,
            Some((_, None)) => Given::Broken,
            Some((_, Some(text))) => Given::Text(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_decoded_as_forms_are() {
        let query = Query::parse(Some("username=Ana+Paz&a%26b=1%3D2&empty=&bare&x=%F0%9F%98%80"));
        assert_eq!(query.get("username"), Given::Text("Ana Paz"));
        assert_eq!(query.get("a&b"), Given::Text("1=2"));
        assert_eq!(query.get("empty"), Given::Text(""));
        assert_eq!(query.get("bare"), Given::Text(""));
        assert_eq!(query.get("x"), Given::Text("😀"));
        assert_eq!(query.get("y"), Given::Missing);
        assert_eq!(Query::parse(None).get("username"), Given::Missing);
    }

    #[test]
    fn of_a_repeated_key_the_first_value_holds() {
        let query = Query::parse(Some("user_id=1&user_id=2&&user_id=%zz"));
        assert_eq!(query.get("user_id"), Given::Text("1"));
    }

    #[test]
    fn what_cannot_be_decoded_is_broken_and_not_missing() {
        for broken in ["%", "%4", "%zz", "%+1", "%ff", "%C3%28", "%ED%A0%80"] {
            let raw = format!("user_id={broken}");
            assert_eq!(Query::parse(Some(&raw)).get("user_id"), Given::Broken, "{broken}");
        }
        assert_eq!(Query::parse(Some("a=%00")).get("a"), Given::Text("\0"));
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
