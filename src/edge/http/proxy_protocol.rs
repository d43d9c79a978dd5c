//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection before its first byte.
//! HAProxy's `doc/proxy-protocol.txt` is the standard.
//!
//! The reading itself is pure, and takes what comes in pieces of any size: it says how many bytes
//! are the header's, and whether it is whole. It keeps what it needs of a header and drops the
//! rest (version 2 may have certificates there). Nothing is guessed: what is no header is wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::net::TcpStream;

use crate::limits::PROXY_HEADER_BYTES_MAX;

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and how many bytes follow.
const FIXED_BYTES: usize = 16;
/// The longest line of version 1.
const LINE_BYTES: usize = 107;
/// How version 1 begins.
const LINE_BEGIN: &[u8; 6] = b"PROXY ";

/// A header, as far as it has come.
#[derive(Debug)]
pub(super) struct ProxyHead {
    /// Its first bytes: a line of version 1, or what version 2 says of addresses.
    kept: [u8; LINE_BYTES],
    /// How many have come.
    bytes: usize,
}

/// What was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// The connection is of this address.
    For(IpAddr),
    /// It is the proxy's own.
    Own,
    /// It is of somebody whose address the proxy can't say.
    Unknown,
}

/// What is no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wrong;

impl Default for ProxyHead {
    fn default() -> ProxyHead {
        ProxyHead { kept: [0; LINE_BYTES], bytes: 0 }
    }
}

impl ProxyHead {
    /// Takes what came next: how many of the bytes are the header's, and what it says, if it is
    /// whole with them.
    pub(super) fn take(&mut self, came: &[u8]) -> Result<(usize, Option<Said>), Wrong> {
        let mut taken = 0;
        while taken < came.len() {
            let more = &came[taken..];
            // Where it ends is known by its begin.
            let wanted = match self.whole_bytes()? {
                Some(whole) => whole - self.bytes,
                None => 1,
            };
            let step = wanted.min(more.len());
            self.keep(&more[..step]);
            taken += step;
            if let Some(said) = self.said()? {
                return Ok((taken, Some(said)));
            }
        }
        Ok((taken, None))
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = &mut self.kept[self.bytes.min(LINE_BYTES)..];
        let kept = room.len().min(bytes.len());
        room[..kept].copy_from_slice(&bytes[..kept]);
        self.bytes += bytes.len();
    }

    fn kept(&self) -> &[u8] {
        &self.kept[..self.bytes.min(LINE_BYTES)]
    }

    /// How many bytes the header has, once that is known.
    fn whole_bytes(&self) -> Result<Option<usize>, Wrong> {
        let kept = self.kept();
        if self.bytes < FIXED_BYTES || !kept.starts_with(SIGNATURE) {
            return Ok(None);
        }
        let behind = u16::from_be_bytes([kept[FIXED_BYTES - 2], kept[FIXED_BYTES - 1]]);
        let whole = FIXED_BYTES + usize::from(behind);
        if whole <= PROXY_HEADER_BYTES_MAX { Ok(Some(whole)) } else { Err(Wrong) }
    }

    /// What the header says, if it is whole; wrong, if it can't become a header.
    fn said(&self) -> Result<Option<Said>, Wrong> {
        let kept = self.kept();
        let begins = |whole: &[u8]| {
            let both = whole.len().min(kept.len());
            whole[..both] == kept[..both]
        };
        if begins(LINE_BEGIN) {
            return match kept {
                [line @ .., b'\r', b'\n'] => line_says(line).map(Some),
                [.., b'\n'] => Err(Wrong),
                [before @ .., _] if before.last() == Some(&b'\r') => Err(Wrong),
                _ if self.bytes >= LINE_BYTES => Err(Wrong),
                _ => Ok(None),
            };
        }
        if !begins(SIGNATURE) {
            return Err(Wrong);
        }
        match self.whole_bytes()? {
            Some(whole) if whole == self.bytes => block_says(kept, whole).map(Some),
            _ => Ok(None),
        }
    }
}

/// What a line of version 1 says, without its end.
fn line_says(line: &[u8]) -> Result<Said, Wrong> {
    let line = str::from_utf8(line).map_err(|_| Wrong)?;
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or(Wrong);
    let family = word()?;
    // Whatever follows that is to be skipped.
    if family == "UNKNOWN" {
        return Ok(Said::Unknown);
    }
    let [source, target] = [word()?, word()?].map(|text| text.parse::<IpAddr>());
    let [from, to] = [word()?, word()?].map(is_port);
    let (Ok(source), Ok(target), true, true, None) = (source, target, from, to, words.next())
    else {
        return Err(Wrong);
    };
    match (family, source.is_ipv4(), target.is_ipv4()) {
        ("TCP4", true, true) | ("TCP6", false, false) => Ok(Said::For(source.to_canonical())),
        _ => Err(Wrong),
    }
}

fn is_port(text: &str) -> bool {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = text == "0" || !text.starts_with('0');
    is_number && is_plain && text.parse::<u16>().is_ok()
}

/// What a whole header of version 2 says; `kept` are its first bytes.
fn block_says(kept: &[u8], whole: usize) -> Result<Said, Wrong> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    match (kept[12], kept[13], &kept[FIXED_BYTES..]) {
        // A health check of its own: whatever else it says is to be skipped.
        (LOCAL, ..) => Ok(Said::Own),
        (PROXY, 0x11, [a, b, c, d, ..]) if whole >= FIXED_BYTES + 12 => {
            Ok(Said::For(Ipv4Addr::new(*a, *b, *c, *d).into()))
        }
        (PROXY, 0x21, addresses) if whole >= FIXED_BYTES + 36 => {
            let mut source = [0; 16];
            source.copy_from_slice(&addresses[..16]);
            Ok(Said::For(Ipv6Addr::from(source).to_canonical()))
        }
        // It does not say; or it has the path of a socket on its own machine.
        (PROXY, 0x00, _) => Ok(Said::Unknown),
        (PROXY, 0x31, _) if whole >= FIXED_BYTES + 216 => Ok(Said::Unknown),
        _ => Err(Wrong),
    }
}

/// Why a connection has no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoHeader {
    /// It ended before anything came, as connections do that only ask whether somebody listens.
    Gone,
    /// What came is none.
    Wrong,
}

/// Reads the header of a connection, and nothing that comes behind it.
pub(super) async fn read(stream: &TcpStream) -> Result<Said, NoHeader> {
    let mut head = ProxyHead::default();
    let mut came = [0; 256];
    loop {
        let ended = if head.bytes == 0 { NoHeader::Gone } else { NoHeader::Wrong };
        let bytes = match stream.peek(&mut came).await {
            Ok(0) | Err(_) => return Err(ended),
            Ok(bytes) => bytes,
        };
        let (taken, said) = head.take(&came[..bytes]).map_err(|Wrong| NoHeader::Wrong)?;
        // They are there: nobody else reads.
        if stream.try_read(&mut came[..taken]).ok() != Some(taken) {
            return Err(NoHeader::Gone);
        }
        if let Some(said) = said {
            return Ok(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is said by bytes that come in pieces, and what is left behind the header.
    fn read(bytes: &[u8], piece: usize) -> Result<(Option<Said>, usize), Wrong> {
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

    /// A header of version 2.
    fn second(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let bytes = u16::try_from(addresses.len()).expect("short").to_be_bytes();
        [SIGNATURE, &[command, family][..], &bytes, addresses].concat()
    }

    fn address(text: &str) -> Said {
        Said::For(text.parse().expect("an address"))
    }

    /// Checks what is said, however it comes and whatever follows.
    #[track_caller]
    fn check(header: &[u8], expected: Result<Said, Wrong>) {
        let more = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
        for piece in [1, 2, 5, 16, 4_096] {
            let read = read(&more, piece);
            let text = String::from_utf8_lossy(header);
            match expected {
                Ok(said) => assert_eq!(read, Ok((Some(said), 18)), "{text} by {piece}"),
                Err(Wrong) => assert_eq!(read, Err(Wrong), "{text} by {piece}"),
            }
        }
    }

    #[test]
    fn a_line_of_version_1_says_whose_connection_it_is() {
        for (line, said) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\n", address("192.0.2.1")),
            ("PROXY TCP6 2001:db8::1 ::1 0 80\r\n", address("2001:db8::1")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 0 80\r\n", address("192.0.2.1")),
            ("PROXY UNKNOWN\r\n", Said::Unknown),
            ("PROXY UNKNOWN ffff:f...f ffff 65535 65535 and more\r\n", Said::Unknown),
        ] {
            check(line.as_bytes(), Ok(said));
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES - 16));
        assert_eq!(long.len(), LINE_BYTES);
        check(long.as_bytes(), Ok(Said::Unknown));
        check(long.replacen('x', "xx", 1).as_bytes(), Err(Wrong));
        for wrong in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rx",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n",
            "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY \r\n",
            "PROXY \u{e9}\r\n",
        ] {
            check(wrong.as_bytes(), Err(Wrong));
        }
    }

    #[test]
    fn a_block_of_version_2_says_whose_connection_it_is() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2];
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        let with_more = [&four[..], &[3; 1_000]].concat();
        for (command, family, addresses, said) in [
            (0x21, 0x11, &four[..], Ok(address("192.0.2.1"))),
            (0x21, 0x11, &with_more, Ok(address("192.0.2.1"))),
            (0x21, 0x21, &six, Ok(address("2001:db8::"))),
            (0x20, 0x11, &four, Ok(Said::Own)),
            (0x20, 0x00, &[], Ok(Said::Own)),
            (0x21, 0x00, &[1; 9], Ok(Said::Unknown)),
            (0x21, 0x31, &[1; 216], Ok(Said::Unknown)),
            (0x21, 0x31, &[1; 215], Err(Wrong)),
            (0x21, 0x11, &four[..11], Err(Wrong)),
            (0x21, 0x21, &six[..35], Err(Wrong)),
            (0x21, 0x12, &four, Err(Wrong)),
            (0x21, 0x41, &four, Err(Wrong)),
            (0x22, 0x11, &four, Err(Wrong)),
            (0x11, 0x11, &four, Err(Wrong)),
        ] {
            check(&second(command, family, addresses), said);
        }
        check(&second(0x20, 0, &vec![0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES]), Ok(Said::Own));
        check(&second(0x20, 0, &vec![0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES + 1]), Err(Wrong));
        check(b"\r\n\r\n\0\r\nQUIX\n", Err(Wrong));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference_and_nothing_is_taken_behind_a_header(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                "PROXY (TCP4|TCP6|UNKNOWN)?( [0-9a-f:.]{0,9}){0,5}(\r)?(\n)?[ -~]{0,9}"
                    .prop_map(String::into_bytes),
                (0x1fu8..0x23, any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(
                    |(command, family, addresses)| second(command, family, &addresses),
                ),
            ],
            cut in any::<prop::sample::Index>(),
            piece in 1usize..40,
        ) {
            let whole = read(&bytes, bytes.len().max(1));
            prop_assert_eq!(read(&bytes, piece), whole);
            // A part of the bytes is believed as all of them are, or not yet.
            let part = read(&bytes[..cut.index(bytes.len() + 1)], piece);
            match (part, whole) {
                (Ok((Some(part), _)), Ok((whole, _))) => prop_assert_eq!(Some(part), whole),
                (Ok((Some(_), _)), Err(Wrong)) => prop_assert!(false, "it was whole"),
                (Err(Wrong), whole) => prop_assert_eq!(whole, Err(Wrong)),
                (Ok((None, _)), _) => {}
            }
        }
    }
}
