//! What any bytes are held to where HTTP is read: for fuzzers, and for the test that replays what
//! they have found. Compiled for these alone.

use std::net::IpAddr;

use axum::http::Uri;
use httparse::{EMPTY_HEADER, Header, Request, Status};

use super::forwarded::ProxyHeader;
use super::proxy_protocol::{ProxyHead, Said, Wrong};
use super::query::{Query, QueryValue};
use super::short_way::split;
use super::strict::Heads;

/// Heads of requests and what follows them, in pieces of any size. What is not marked can be read
/// in one way only: by a reader that shares nothing with ours but the parser, which is hyper's.
pub(crate) fn head(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let (whole, _) = passed(bytes, bytes.len().max(1));
    let (pieces, _) = passed(bytes, usize::from(*piece).max(1));
    assert_eq!(pieces, whole, "pieces make no difference");
    let marks: Vec<_> = bytes.iter().zip(&whole).filter(|(old, new)| old != new).collect();
    assert!(marks.len() <= 1 && marks.iter().all(|mark| *mark == (&b'\n', &0)), "{marks:?}");
    let mut rest = &whole[..];
    while let Some(behind) = sound_head(rest) {
        let read = whole.len() - rest.len() + behind;
        // Up to here it is one request after the other: what follows is a head again.
        assert!(passed(&whole[..read], read.max(1)).1, "the next request begins at {read}");
        rest = &rest[behind..];
    }
}

/// What is passed on of these bytes, and whether what comes next is of a head.
fn passed(bytes: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let mut heads = Heads::default();
    let mut all = bytes.to_vec();
    all.chunks_mut(piece).for_each(|piece| heads.pass(piece));
    (all, heads.in_head())
}

/// Checks the head at the begin of what was passed on, if hyper would take it: what it says of its
/// body it says once. Returns where the next request begins, if this one leaves room for it.
fn sound_head(bytes: &[u8]) -> Option<usize> {
    let mut fields = [EMPTY_HEADER; 64];
    let mut request = Request::new(&mut fields);
    let Ok(Status::Complete(head)) = request.parse(bytes) else { return None };
    check_target(&request);
    let lines = bytes[..head].split(|byte| *byte == b'\n');
    let broken = |line: &[u8]| !line.is_empty() && !line.ends_with(b"\r");
    assert!(!lines.into_iter().any(broken), "a line without CR was let through");
    let values = |name: &str| -> Vec<Vec<u8>> {
        let its = |field: &&Header<'_>| field.name.eq_ignore_ascii_case(name);
        request.headers.iter().filter(its).map(|it| it.value.to_ascii_lowercase()).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "{lengths:?} {codings:?}");
    assert!(codings.iter().all(|it| it == b"chunked"), "{codings:?}");
    let digits = |it: &Vec<u8>| !it.is_empty() && it.iter().all(u8::is_ascii_digit);
    assert!(lengths.iter().all(digits), "{lengths:?}");
    if !codings.is_empty() || !values("upgrade").is_empty() {
        return None;
    }
    let length = lengths.first().and_then(|it| str::from_utf8(it).ok()?.parse().ok());
    let behind = head.checked_add(length.unwrap_or(0))?;
    (behind <= bytes.len()).then_some(behind)
}

/// A target that the short way takes is the same to hyper, letter by letter.
fn check_target(request: &Request<'_, '_>) {
    let Some((path, query)) = split(request) else { return };
    let target = request.path.unwrap_or_default();
    let uri: Uri = target.parse().expect("hyper takes it too");
    assert_eq!((uri.path(), uri.query()), (path, query));
}

/// A query: the first pair of a key holds, and each is decoded as a plainer reader does.
pub(crate) fn query(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let query = Query::parse(Some(text));
    let mut known: Vec<Vec<u8>> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(key) = unescaped(key.as_bytes()) else { continue };
        if known.contains(&key) {
            continue;
        }
        let name = str::from_utf8(&key).expect("checked");
        match (query.get(name), unescaped(value.as_bytes())) {
            (QueryValue::Text(text), Some(expected)) => assert_eq!(text.as_bytes(), expected),
            (QueryValue::Broken, None) => {}
            (found, expected) => panic!("{found:?} in place of {expected:?}"),
        }
        known.push(key);
    }
}

/// What a part of a form says: UTF-8, if its escapes are whole.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let (byte, step) = match text[at] {
            b'%' => {
                let digits = str::from_utf8(text.get(at + 1..at + 3)?).ok()?;
                let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                (are_digits.then(|| u8::from_str_radix(digits, 16).ok())??, 3)
            }
            b'+' => (b' ', 1),
            byte => (byte, 1),
        };
        all.push(byte);
        at += step;
    }
    str::from_utf8(&all).is_ok().then_some(all)
}

/// The PROXY protocol: pieces make no difference, a part is believed as the whole is or not yet,
/// and nothing is taken behind a header.
pub(crate) fn proxy(bytes: &[u8]) {
    let [piece, cut, bytes @ ..] = bytes else { return };
    let piece = usize::from(*piece).max(1);
    let whole = introduced(bytes, bytes.len().max(1));
    assert_eq!(introduced(bytes, piece), whole);
    let part = introduced(&bytes[..usize::from(*cut).min(bytes.len())], piece);
    match (part, whole) {
        (Ok((Some(part), _)), Ok((whole, _))) => assert_eq!(Some(part), whole),
        (Ok((Some(_), _)), Err(Wrong)) => panic!("it was whole"),
        (Err(Wrong), whole) => assert_eq!(whole, Err(Wrong)),
        (Ok((None, _)), _) => {}
    }
}

/// What is said by bytes that come in pieces, and what is left behind the header.
fn introduced(bytes: &[u8], piece: usize) -> Result<(Option<Said>, usize), Wrong> {
    let (mut head, mut at) = (ProxyHead::default(), 0);
    while at < bytes.len() {
        let end = bytes.len().min(at + piece);
        let (taken, said) = head.take(&bytes[at..end])?;
        at += taken;
        if said.is_some() {
            return Ok((said, bytes.len() - at));
        }
        assert_eq!(at, end, "all of a header that is not whole is its own");
    }
    Ok((None, 0))
}

/// Lists of forwarded addresses: whatever stands before it, the last one is the proxy's own.
pub(crate) fn forwarded(bytes: &[u8]) {
    let Ok(before) = str::from_utf8(bytes) else { return };
    let own: IpAddr = [192, 0, 2, 7].into();
    for (header, form) in
        [(ProxyHeader::XForwardedFor, "192.0.2.7"), (ProxyHeader::Forwarded, "for=192.0.2.7")]
    {
        let alone = header.addresses(before).count();
        let line = format!("{before}, {form}");
        let all: Vec<_> = header.addresses(&line).collect();
        assert_eq!(all[0], Some(own), "{line}");
        assert!(all.len() <= before.len() + 2 && alone <= before.len() + 1);
    }
}
