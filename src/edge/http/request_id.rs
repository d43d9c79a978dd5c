//! A request's id, by which its answer and its lines in the log are found together: the one that
//! it came with in `X-Request-Id`, if a proxy or client gave it one that can stand in a log, else
//! one that is made here.

use aws_lc_rs::rand;
use axum::http::{HeaderName, HeaderValue};

use super::head::Fields;
use crate::limits::REQUEST_ID_BYTES_MAX;
use crate::telemetry::Seed;
use crate::wire::time::Now;

/// The header, in requests and answers.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static(NAME);
const NAME: &str = "x-request-id";

/// Random bytes of an id that is made here.
const MADE_BYTES: usize = 16;

/// An id of at most 64 letters, digits, `.`, `_` and `-`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RequestId(Box<str>);

impl RequestId {
    /// The id that a request came with, if it came with one, and that is sane.
    pub(crate) fn given<F: Fields + ?Sized>(headers: &F) -> Option<RequestId> {
        let mut lines = headers.all(NAME);
        let (Some(id), None) = (lines.next(), lines.next()) else { return None };
        let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        let is_sane = (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(known);
        str::from_utf8(id).ok().filter(|_| is_sane).map(|id| RequestId(id.into()))
    }

    /// One that no other request has.
    fn made() -> RequestId {
        let mut bytes = [0; MADE_BYTES];
        // The system's source does not fail once the process runs; zeros would still be an id.
        _ = rand::fill(&mut bytes);
        RequestId(format!("{:032x}", u128::from_be_bytes(bytes)).into())
    }

    /// Its letters.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Its letters, for those who know no HTTP.
    pub(crate) fn into_text(self) -> Box<str> {
        self.0
    }

    /// As an answer's header has it.
    pub(super) fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("letters that any header may have")
    }
}

/// What is known of a request from its begin to its answer; travels among its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    /// Its id.
    pub id: RequestId,
    /// When its head was whole.
    pub at: Now,
    /// What its span is begun from, where it is traced.
    pub seed: Option<Seed>,
}

impl Begun {
    /// A request with these headers has come now.
    pub(super) fn new<F: Fields + ?Sized>(headers: &F, at: Now) -> Begun {
        Begun { id: RequestId::given(headers).unwrap_or_else(RequestId::made), at, seed: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;

    fn given(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_REQUEST_ID, line.parse().expect("a header's value"));
        }
        RequestId::given(&headers).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn an_id_is_taken_if_it_is_short_and_of_plain_letters() {
        let longest = "x".repeat(64);
        for sane in ["a", "7f3c-01.b_Z", &longest] {
            assert_eq!(given(&[sane]).as_deref(), Some(sane));
        }
        let longer = "x".repeat(65);
        for other in ["", "a b", "a,b", "a=b", "é", "a\tb", "<x>", &longer] {
            assert_eq!(given(&[other]), None, "{other}");
        }
        assert_eq!((given(&[]), given(&["a", "a"])), (None, None), "two are nobody's");
    }

    #[test]
    fn one_that_is_made_is_sane_and_no_others() {
        let (one, other) = (RequestId::made(), RequestId::made());
        assert_ne!(one, other);
        assert_eq!(given(&[one.as_str()]).as_deref(), Some(one.as_str()));
        assert_eq!((one.as_str().len(), one.value().as_bytes()), (32, one.as_str().as_bytes()));
    }
}
