//! What hyper lets pass in a request's head, and what a proxy in front may read otherwise: a line
//! that ends without CR, a body's length said twice, codings around `chunked`
//! (`docs/BAD_INPUT.md`); and how HTTP/2 begins, which hyper leaves without an answer.
//!
//! Watches a connection's bytes on their way to hyper, and puts a NUL where a head is unsound:
//! hyper then answers 400 in its place and closes. Owns where in the stream it is; keeps the
//! first bytes of a line, and changes nothing else: no body, and no frame behind an upgrade.

/// More than any line takes that says how long a body is.
const KEPT_BYTES: usize = 64;

/// Where in a connection's requests the next byte is.
#[derive(Debug)]
enum Stage {
    /// In a head.
    Head(HeadSoFar),
    /// In a body, of which this many bytes are to come.
    Body(u64),
    /// Behind the last head that matters: an upgrade, whose frames follow; a chunked body, after
    /// which the door closes; or what was unsound.
    Rest,
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::Head(HeadSoFar::default())
    }
}

/// What is known of a head so far.
#[derive(Default, Debug)]
struct HeadSoFar {
    has_request_line: bool,
    body_bytes: Option<u64>,
    is_chunked: bool,
    upgrades: bool,
}

/// A head that can be read in two ways.
struct Unsound;

/// Reads heads as they come, in pieces of any size.
#[derive(Default, Debug)]
pub(super) struct Heads {
    stage: Stage,
    line: HeadLine,
}

impl Heads {
    /// Whether what comes next is of a head.
    pub(super) fn in_head(&self) -> bool {
        matches!(self.stage, Stage::Head(_))
    }

    /// Takes in what comes next, and marks what is unsound in it.
    pub(super) fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let done = match &mut self.stage {
                Stage::Rest => return,
                Stage::Body(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= here as u64;
                    if *left == 0 {
                        self.stage = Stage::default();
                    }
                    here
                }
                Stage::Head(head) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    self.line.extend(&bytes[..end.unwrap_or(bytes.len())]);
                    let Some(end) = end else { return };
                    match head.line(&std::mem::take(&mut self.line)) {
                        Ok(None) => {}
                        Ok(Some(next)) => self.stage = next,
                        Err(Unsound) => {
                            bytes[end] = 0;
                            self.stage = Stage::Rest;
                        }
                    }
                    end + 1
                }
            };
            bytes = &mut bytes[done..];
        }
    }
}

impl HeadSoFar {
    /// Takes a line in, without its LF. `Some`: it was the last one, and this follows.
    fn line(&mut self, line: &HeadLine) -> Result<Option<Stage>, Unsound> {
        if !line.ends_in_cr {
            return Err(Unsound);
        }
        match line.bytes {
            // hyper skips empty lines in front of a request.
            1 if !self.has_request_line => {}
            1 => return Ok(Some(self.behind())),
            _ if line.begins_http_2() => return Err(Unsound),
            _ if !self.has_request_line => self.has_request_line = true,
            _ => self.field(line)?,
        }
        Ok(None)
    }

    fn behind(&self) -> Stage {
        match self.body_bytes {
            _ if self.upgrades || self.is_chunked => Stage::Rest,
            Some(bytes) if bytes > 0 => Stage::Body(bytes),
            _ => Stage::default(),
        }
    }

    fn field(&mut self, line: &HeadLine) -> Result<(), Unsound> {
        let Some((name, value)) = line.field() else { return Ok(()) };
        if name.eq_ignore_ascii_case("upgrade") {
            self.upgrades = true;
        } else if name.eq_ignore_ascii_case("content-length") {
            // A number may have a sign for the library, but not here.
            let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
            let bytes = value.parse().ok().filter(|_| is_number).ok_or(Unsound)?;
            if self.is_chunked || self.body_bytes.replace(bytes).is_some() {
                return Err(Unsound);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            let known = value.eq_ignore_ascii_case("chunked");
            let again = std::mem::replace(&mut self.is_chunked, true);
            if !known || again || self.body_bytes.is_some() {
                return Err(Unsound);
            }
        }
        Ok(())
    }
}

/// The line that is being read: its first bytes, how many there are, and how it ends.
#[derive(Debug)]
struct HeadLine {
    kept: [u8; KEPT_BYTES],
    bytes: usize,
    ends_in_cr: bool,
}

impl Default for HeadLine {
    fn default() -> HeadLine {
        HeadLine { kept: [0; KEPT_BYTES], bytes: 0, ends_in_cr: false }
    }
}

impl HeadLine {
    fn extend(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        let room = &mut self.kept[self.bytes.min(KEPT_BYTES)..];
        let kept = room.len().min(bytes.len());
        room[..kept].copy_from_slice(&bytes[..kept]);
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.ends_in_cr = *last == b'\r';
    }

    fn begins_http_2(&self) -> bool {
        self.kept[..self.bytes.min(KEPT_BYTES)] == *b"PRI * HTTP/2.0\r"
    }

    /// Name and value, if this is a field that could matter; one that is cut has a value that no
    /// field which matters may have.
    fn field(&self) -> Option<(&str, &str)> {
        let text = std::str::from_utf8(&self.kept[..self.bytes.min(KEPT_BYTES)]);
        // hyper has more to say of a name that is no token.
        let (name, value) = match text {
            Ok(text) => text.split_once(':')?,
            Err(_) => return self.broken_field(),
        };
        Some((name, if self.bytes > KEPT_BYTES { "" } else { value.trim_ascii() }))
    }

    /// The field of a line that is no text, or is cut inside a character.
    fn broken_field(&self) -> Option<(&str, &str)> {
        let colon = self.kept.iter().position(|byte| *byte == b':')?;
        Some((std::str::from_utf8(&self.kept[..colon]).ok()?, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What hyper is given of these bytes, in pieces.
    fn passed(bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut heads = Heads::default();
        let mut all = bytes.to_vec();
        all.chunks_mut(piece).for_each(|piece| heads.pass(piece));
        all
    }

    #[track_caller]
    fn check(bytes: &[u8], unsound: bool) {
        for piece in [1, 2, 7, bytes.len().max(1)] {
            let passed = passed(bytes, piece);
            let text = String::from_utf8_lossy(bytes);
            let expected = if unsound { "a NUL" } else { "no change" };
            assert_eq!(passed != bytes, unsound, "{expected} in pieces of {piece}: {text}");
            let changed = bytes.iter().zip(&passed).filter(|(old, new)| old != new);
            assert!(changed.clone().count() <= 1);
            assert!(changed.into_iter().all(|(old, new)| (*old, *new) == (b'\n', 0)));
        }
    }

    #[test]
    fn a_head_that_can_be_read_in_two_ways_is_marked() {
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nX: a\nContent-Length: 5\r\n\r\n",
            "\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
            "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nbGET / HTTP/1.1\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            check(head.as_bytes(), true);
        }
        let long = format!("POST / HTTP/1.1\r\nContent-Length: {}1\r\n\r\n", "0".repeat(70));
        check(long.as_bytes(), true);
        check(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\xFF\r\n\r\n", true);
    }

    #[test]
    fn sound_heads_bodies_and_frames_are_left_alone() {
        let long = format!("GET /{} HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(99), "é".repeat(99));
        for sound in [
            "",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\n\n\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length:3 \t\r\n\r\n\n\n\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n\n",
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\x01\n\n frames \n",
            long.as_str(),
        ] {
            check(sound.as_bytes(), false);
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            lines in proptest::collection::vec("(GET / HTTP/1.1|content-length:[0-9 ]{0,3}|\
                transfer-encoding:(x?chunked)?|upgrade:x|[a:\r]{0,3})?\r?\n", 0..12),
            piece in 1_usize..40,
        ) {
            let bytes = lines.concat().into_bytes();
            prop_assert_eq!(passed(&bytes, piece), passed(&bytes, bytes.len().max(1)));
        }
    }
}
