//! The short way of a handshake: a head that is whole is read here, and if all in it is as plain as
//! clients send it, the handshake is decided on without hyper, routes and what both take of memory.
//! All else goes the long way.
//!
//! Knows no endpoint and no rule of a handshake: those are [`ShortWay`]'s. Takes only heads of
//! which hyper would say the same; never answers.

use std::mem::MaybeUninit;

use httparse::{Header, Request, Status};

use super::peer::Peer;
use super::problem::Refusal;
use super::proxies::Proxies;
use super::upgrade::Upgrade;
use crate::limits::Limits;

/// Headers that are read without taking memory for them; browsers send half as many.
pub(super) const FIELDS_FEW: usize = 32;

/// A GET of HTTP/1.1 whose target is a path.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// As it came, with its escapes.
    pub path: &'a str,
    /// As it came.
    pub query: Option<&'a str>,
    /// All headers.
    pub fields: &'a [Header<'a>],
}

/// Decides on handshakes that come the short way.
pub(crate) trait ShortWay: Send + Sync {
    /// What becomes of a handshake; a refusal is for the long way to tell. `None`: nothing is
    /// decided, and nothing counted.
    fn decide(&self, head: &Head<'_>, peer: Peer) -> Option<Result<Upgrade, Refusal>>;
}

/// A handshake that is decided on.
pub(super) struct Decided {
    /// Where it goes.
    pub outcome: Result<Upgrade, Refusal>,
    /// How many bytes its head has.
    pub head_bytes: usize,
}

/// Decides on what came of a request, if it is a handshake that can be taken here.
pub(super) fn decide(
    short_way: &dyn ShortWay,
    came: &[u8],
    limits: &Limits,
    (proxies, peer): (&Proxies, Peer),
) -> Option<Decided> {
    if came.len() >= limits.head_bytes_max {
        return None;
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_FEW];
    let fields = &mut fields[..limits.headers_max.min(FIELDS_FEW)];
    let mut request = Request::new(&mut []);
    let Ok(Status::Complete(head_bytes)) = request.parse_with_uninit_headers(came, fields) else {
        return None;
    };
    let (path, query) = split(&request)?;
    let sender = proxies.sender(peer, &*request.headers);
    let outcome = short_way.decide(&Head { path, query, fields: request.headers }, sender)?;
    Some(Decided { outcome, head_bytes })
}

/// Path and query of a GET of HTTP/1.1, if hyper would have both letter by letter.
pub(super) fn split<'a>(request: &Request<'_, 'a>) -> Option<(&'a str, Option<&'a str>)> {
    let (Some("GET"), Some(1), Some(target)) = (request.method, request.version, request.path)
    else {
        return None;
    };
    // What stands in no target (RFC 3986): some of it hyper refuses, and a `#` it cuts off.
    let is_plain = target.starts_with('/') && target.bytes().all(is_plain);
    is_plain.then(|| match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    })
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/?&=%-._~+:@,;!$'()*".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Uri;
    use proptest::prelude::*;

    /// Path and query of a head, as it is read here.
    fn read(head: &[u8]) -> Option<(String, Option<String>)> {
        let mut fields = [httparse::EMPTY_HEADER; 9];
        let mut request = Request::new(&mut fields);
        request.parse(head).ok().filter(Status::is_complete)?;
        split(&request).map(|(path, query)| (path.to_owned(), query.map(str::to_owned)))
    }

    #[test]
    fn only_a_plain_get_is_taken() {
        let plain = read(b"GET /a/b?c=%20&d HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(plain, Some(("/a/b".into(), Some("c=%20&d".into()))));
        assert_eq!(read(b"\r\nGET / HTTP/1.1\r\n\r\n"), Some(("/".into(), None)));
        for other in [
            "POST / HTTP/1.1\r\n\r\n",
            "get / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET * HTTP/1.1\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\n\r\n",
            "GET /#a HTTP/1.1\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\n\r\n",
            "GET /{a} HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_target_that_is_taken_is_the_same_to_hyper(target in "/[!-~\u{e9}]{0,12}") {
            if let Some((path, query)) = read(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()) {
                let uri: Uri = target.parse().expect("hyper takes it too");
                prop_assert_eq!((uri.path(), uri.query()), (&*path, query.as_deref()));
            }
        }
    }
}
