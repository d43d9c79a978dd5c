//! A request's head, as those read it who decide by it: hyper's, or one that hyper has not seen;
//! and the head of an answer that hyper does not write.

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::BytesMut;

/// The headers of a request.
pub(crate) trait Fields {
    /// The values of a header, line by line. Its name is given in lower case.
    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]>;

    /// Whether there is a line of it.
    fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

impl Fields for HeaderMap {
    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

impl Fields for [httparse::Header<'_>] {
    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let its = move |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
        self.iter().filter(its).map(|field| field.value)
    }
}

/// A value as text, if it is of visible letters of ASCII, spaces and tabs.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let known = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    str::from_utf8(value).ok().filter(|_| value.iter().all(known))
}

/// The head of an answer of 200 whose body is written elsewhere, as hyper would write it. The
/// router takes that body for empty: its length is left out.
pub(crate) fn of_stream(headers: &HeaderMap) -> BytesMut {
    let mut head = BytesMut::from(&b"HTTP/1.1 200 OK\r\n"[..]);
    for (name, value) in headers.iter().filter(|(name, _)| *name != header::CONTENT_LENGTH) {
        let mut begins = true;
        head.extend(name.as_str().bytes().map(|byte| {
            let letter = if begins { byte.to_ascii_uppercase() } else { byte };
            begins = byte == b'-';
            letter
        }));
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_heads_have_the_same_lines() {
        let mut map = HeaderMap::new();
        map.append("x-list", HeaderValue::from_static("a"));
        map.append("other", HeaderValue::from_static("b"));
        map.append("x-list", HeaderValue::from_static("c"));
        let line = |name, value: &'static str| httparse::Header { name, value: value.as_bytes() };
        let lines = [line("X-List", "a"), line("Other", "b"), line("x-lISt", "c")];
        for name in ["x-list", "other", "x-lis"] {
            let (one, two): (Vec<_>, Vec<_>) = (map.all(name).collect(), lines.all(name).collect());
            assert_eq!(one, two, "{name}");
            assert_eq!((map.has(name), lines.has(name)), (!one.is_empty(), !one.is_empty()));
        }
    }

    #[test]
    fn the_head_of_a_stream_has_a_line_for_each_value() {
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("text/event-stream"));
        headers.append("vary", HeaderValue::from_static("Origin"));
        headers.append("content-length", HeaderValue::from_static("0"));
        assert_eq!(
            &of_stream(&headers)[..],
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nVary: Origin\r\n\r\n"
        );
    }

    proptest! {
        #[test]
        fn text_is_what_header_values_say_is_text(value in "[\\x20-\\x7e\\t\u{80}-\u{ff}]{0,9}") {
            let read = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
            prop_assert_eq!(text(value.as_bytes()), read.to_str().ok());
        }
    }
}
