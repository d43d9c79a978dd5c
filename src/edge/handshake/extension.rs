//! What a handshake offers of `permessage-deflate`, and what is answered (RFC 7692 5, 7.1).
//!
//! Pure. The hub compresses each message by itself, so it always asks for that of both sides, and
//! needs no window larger than the least that a client may ask for.

use crate::wire::deflate::WINDOW_BITS;

const NAME: &str = "permessage-deflate";
/// The windows that a parameter may name, as powers of two.
const BITS: std::ops::RangeInclusive<u8> = 8..=15;

/// An offer that is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Accepted {
    /// The client wants to be told how large a window it needs.
    names_window: bool,
}

impl Accepted {
    /// The value of `Sec-WebSocket-Extensions` in the answer.
    pub(super) fn value(self) -> String {
        let window = match self.names_window {
            true => format!("; server_max_window_bits={WINDOW_BITS}"),
            false => String::new(),
        };
        format!("{NAME}; server_no_context_takeover; client_no_context_takeover{window}")
    }
}

/// The first offer that can be kept, of all lines. A line that is none says nothing.
pub(super) fn accepted<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<Accepted> {
    lines.find_map(|line| elements(line, ',')?.into_iter().find_map(offer))
}

/// One offer: the extension's name and its parameters, each once at most.
fn offer(offer: &str) -> Option<Accepted> {
    let mut parts = elements(offer, ';')?.into_iter();
    if parts.next()? != NAME {
        return None;
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut names_window = false;
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start())?)),
            None => (part, None),
        };
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None)
            | ("client_max_window_bits", None) => {}
            // A hint: whatever window the client has, it is inflated.
            ("client_max_window_bits", Some(value)) => _ = bits(value)?,
            ("server_max_window_bits", Some(value)) => {
                names_window = true;
                if bits(value)? < WINDOW_BITS {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some(Accepted { names_window })
}

/// A window: decimal, without leading zeros.
fn bits(text: &str) -> Option<u8> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|bits| is_plain && BITS.contains(bits))
}

/// A parameter's value: a token, or one in quotes (RFC 6455 9.1).
fn unquoted(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'))?;
    (!inner.is_empty() && inner.bytes().all(is_token)).then_some(inner)
}

/// The elements of a list, trimmed; those in quotes may hold what parts others. `None`: the quotes
/// do not end.
fn elements(list: &str, separator: char) -> Option<Vec<&str>> {
    let mut is_quoted = false;
    let elements = list.split(|letter| {
        is_quoted ^= letter == '"';
        letter == separator && !is_quoted
    });
    let elements: Vec<&str> = elements.map(|it| it.trim_matches([' ', '\t'])).collect();
    (!is_quoted).then_some(elements)
}

/// A letter of a token (RFC 9110 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(lines: &[&str]) -> Option<String> {
        accepted(lines.iter().copied()).map(Accepted::value)
    }

    #[test]
    fn what_browsers_and_libraries_offer_is_taken_with_each_message_by_itself() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate;client_max_window_bits=15",
            "permessage-deflate ; client_max_window_bits = 8\t",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; client_max_window_bits=\"10\"",
            "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits",
            "foo; bar=\"a, permessage-deflate; x\", permessage-deflate",
            ", permessage-deflate",
        ] {
            assert_eq!(answer(&[offer]).as_deref(), Some(PLAIN), "{offer}");
        }
        assert_eq!(answer(&["foo", "permessage-deflate"]).as_deref(), Some(PLAIN));
    }

    #[test]
    fn a_window_is_named_to_whoever_asks_for_one_that_can_be_kept() {
        let told = format!("{PLAIN}; server_max_window_bits=9");
        for bits in 9..=15 {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            assert_eq!(answer(&[&offer]), Some(told.clone()), "{bits}");
        }
        assert_eq!(answer(&["permessage-deflate; server_max_window_bits=8"]), None);
        let second = "permessage-deflate; server_max_window_bits=8, permessage-deflate";
        assert_eq!(answer(&[second]).as_deref(), Some(PLAIN));
    }

    #[test]
    fn an_offer_that_breaks_the_rules_is_passed_over_for_the_next() {
        for bad in [
            "",
            "permessage-bzip2",
            "Permessage-Deflate",
            "permessage-deflate; ",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=010",
            "permessage-deflate; client_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=\"9",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=a",
            "permessage-deflate; client_max_window_bits=9; client_max_window_bits=9",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=256",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate=1",
        ] {
            assert_eq!(answer(&[bad]), None, "{bad}");
            assert_eq!(answer(&[bad, "permessage-deflate"]).as_deref(), Some(PLAIN), "{bad}");
        }
    }
}
