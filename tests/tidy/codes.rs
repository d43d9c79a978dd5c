//! The codes of refusals and closes, as the source has them, and the page that tells what each of
//! them means.

use std::collections::BTreeSet;

use cpi_hub::wire::Dialect;
use cpi_hub::wire::close::Close;
use cpi_hub::wire::reject::Reject;

use super::source::Source;

/// Every close that a client can be told; the peer's own are none of them.
pub const CLOSES: [Close; Close::KINDS - 2] = [
    Close::ProtocolError,
    Close::InvalidUtf8,
    Close::InvalidDeflate,
    Close::TooManyErrors,
    Close::MessageTooBig,
    Close::Internal,
    Close::Restart,
    Close::Overloaded,
    Close::Unauthorized,
    Close::Forbidden,
    Close::TooSlow,
    Close::PongTimeout,
    Close::Kicked,
    Close::TooFast,
];

/// The codes of refusals, those that HTTP alone has or a dialect calls otherwise among them, and of
/// closes.
pub fn all(sources: &[Source]) -> Vec<String> {
    let kinds: BTreeSet<usize> = CLOSES.iter().map(|close| close.kind()).collect();
    assert_eq!(kinds.len(), CLOSES.len(), "each of them once");
    let refusals = Reject::CODES.iter().map(|code| (*code).to_owned());
    let written = sources.iter().flat_map(|source| {
        let pieces = source.text.split("code: \"").skip(1);
        pieces.filter_map(|piece| piece.split('"').next()).map(str::to_owned)
    });
    let seed = [Reject::ContentEmpty.code_in(Dialect::Seed).to_owned()];
    let all: BTreeSet<String> = closes().chain(refusals).chain(written).chain(seed).collect();
    all.into_iter().collect()
}

/// The codes of closes.
pub fn closes() -> impl Iterator<Item = String> {
    CLOSES.iter().filter_map(|close| close.code()).map(|code| code.to_string())
}

/// The codes without a heading of their own on the page, and its headings that are no code.
pub fn without_heading(codes: &[String], page: &str) -> Vec<String> {
    let headings: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let missing = codes.iter().filter(|code| !headings.contains(code.as_str()));
    let mut found: Vec<String> = missing.map(|code| format!("no heading of {code}")).collect();
    let unknown = headings.iter().filter(|heading| !codes.iter().any(|code| code == *heading));
    found.extend(unknown.map(|heading| format!("no code is called {heading}")));
    found
}
