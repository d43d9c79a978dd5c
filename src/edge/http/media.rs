//! Which kinds of answers a request accepts (RFC 9110 12.5.1). Pure.

use axum::http::{HeaderMap, header};

/// The ranges of an `Accept`, each with its weight in thousandths; 0 is not wanted.
#[derive(Debug)]
pub(crate) struct Accepted<'a>(Vec<(&'a str, u16)>);

impl<'a> Accepted<'a> {
    /// What a request accepts.
    pub(crate) fn of(headers: &'a HeaderMap) -> Accepted<'a> {
        let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
        Accepted(lines.flat_map(|line| line.split(',')).filter_map(range).collect())
    }

    /// The weight of a kind that is named itself; 0 where it is not.
    pub(crate) fn by_name(&self, kind: &str) -> u16 {
        self.weight(kind).unwrap_or(0)
    }

    /// The weight of a kind, by the range that says most of it; whoever names none accepts all.
    pub(crate) fn quality(&self, kind: &str) -> u16 {
        let any_of = kind.split('/').next().map(|main| format!("{main}/*")).unwrap_or_default();
        let found = [kind, &any_of, "*/*"].into_iter().find_map(|range| self.weight(range));
        found.unwrap_or(if self.0.is_empty() { 1_000 } else { 0 })
    }

    fn weight(&self, range: &str) -> Option<u16> {
        let named = self.0.iter().filter(|(known, _)| known.eq_ignore_ascii_case(range));
        named.map(|(_, weight)| *weight).max()
    }
}

/// A range and its weight; one whose weight can't be read says nothing.
fn range(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().filter(|kind| !kind.is_empty())?;
    let weight = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim_end().eq_ignore_ascii_case("q").then(|| thousandths(value.trim_start()))
    });
    Some((kind, weight.unwrap_or(Some(1_000))?))
}

/// `1`, `0.75`: three digits at most.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let is_short = digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let whole: u16 = whole.parse().ok().filter(|whole| *whole <= 1 && is_short)?;
    let weight = whole * 1_000 + format!("{digits:0<3}").parse::<u16>().ok()?;
    (weight <= 1_000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &[&'static str], kind: &str, by_name: u16, quality: u16) {
        let mut headers = HeaderMap::new();
        for line in accept {
            headers.append(header::ACCEPT, line.parse().expect("a header value"));
        }
        let accepted = Accepted::of(&headers);
        let found = (accepted.by_name(kind), accepted.quality(kind));
        assert_eq!(found, (by_name, quality), "{accept:?}");
    }

    #[test]
    fn the_range_that_says_most_of_a_kind_has_its_weight() {
        const PLAIN: &str = "text/plain";
        check(&[], PLAIN, 0, 1_000);
        check(&["text/plain"], PLAIN, 1_000, 1_000);
        check(&["Text/Plain ; version=0.0.4 ; Q=0.3"], PLAIN, 300, 300);
        check(&["text/html, text/plain;q=0"], PLAIN, 0, 0);
        check(&["*/*;q=0.1"], PLAIN, 0, 100);
        check(&["*/*;q=0.1", "text/*;q=0.25"], PLAIN, 0, 250);
        check(&["text/*, text/plain;q=0.001, */*"], PLAIN, 1, 1);
        check(&["text/plain;version=1;q=0.2, text/plain;q=0.5"], PLAIN, 500, 500);
        check(&["text/html"], PLAIN, 0, 0);
        for broken in ["text/plain;q=", "text/plain;q=2", "text/plain;q=1.1", "text/plain;q=0.0001"]
        {
            check(&[broken, "*/*;q=0.5"], PLAIN, 0, 500);
        }
    }
}
