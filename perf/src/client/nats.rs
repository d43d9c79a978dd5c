//! What a NATS server sends, read from the byte stream that its frames carry.
//!
//! Only what the generator meets: messages of its one subscription, pings, and the server's word
//! about itself. Nothing here is kept; what is cut waits with its connection.

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation<'a> {
    /// A message's payload.
    Message(&'a [u8]),
    /// To be answered with `PONG`.
    Ping,
    /// The answer to the greeting's `PING`: the subscription stands.
    Pong,
    /// `INFO` and `+OK`.
    Word,
    /// `-ERR`, with what the server says.
    Error(&'a [u8]),
}

/// What no server of this protocol sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Junk;

/// Longer than any line of a server's, its `INFO` included.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// The first operation of `input` and how many bytes it took; `None` while it is cut, an error
/// for what no server sends.
pub fn first(input: &[u8]) -> Result<Option<(Operation<'_>, usize)>, Junk> {
    let Some(end) = input.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
        return if input.len() < LINE_BYTES_MAX { Ok(None) } else { Err(Junk) };
    };
    let line = input[..end].strip_suffix(b"\r").ok_or(Junk)?;
    let behind = end + 1;
    let word = match line {
        [b'M', b'S', b'G', b' ', ..] => return message(input, line, behind),
        b"PING" => Operation::Ping,
        b"PONG" => Operation::Pong,
        b"+OK" => Operation::Word,
        line if line.starts_with(b"INFO ") => Operation::Word,
        line if line.starts_with(b"-ERR") => Operation::Error(line),
        _ => return Err(Junk),
    };
    Ok(Some((word, behind)))
}

fn message<'a>(
    input: &'a [u8],
    line: &[u8],
    behind: usize,
) -> Result<Option<(Operation<'a>, usize)>, Junk> {
    let digits = line.rsplit(|byte| *byte == b' ').next().ok_or(Junk)?;
    let bytes =
        std::str::from_utf8(digits).map_err(|_| Junk)?.parse::<usize>().map_err(|_| Junk)?;
    let end = behind.checked_add(bytes).ok_or(Junk)?;
    match input.get(end..end + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some((Operation::Message(&input[behind..end]), end + 2))),
        Some(_) => Err(Junk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read_whole_and_never_early() {
        let stream =
            b"INFO {\"x\":1}\r\n+OK\r\nPING\r\nMSG space.1 1 5\r\nho\r\na\r\nPONG\r\n-ERR 'no'\r\n";
        let expected = [
            Operation::Word,
            Operation::Word,
            Operation::Ping,
            Operation::Message(b"ho\r\na"),
            Operation::Pong,
            Operation::Error(b"-ERR 'no'"),
        ];
        let mut taken = 0;
        for expected in expected {
            let (operation, bytes) = first(&stream[taken..]).expect("known").expect("whole");
            assert_eq!(operation, expected);
            for cut in 0..bytes {
                assert_eq!(first(&stream[taken..taken + cut]), Ok(None), "{expected:?} at {cut}");
            }
            taken += bytes;
        }
        assert_eq!(taken, stream.len());
    }

    #[test]
    fn what_no_server_sends_is_an_error() {
        for bytes in [&b"HELLO\r\n"[..], b"MSG a 1 x\r\n", b"MSG a 1 2\r\nabcd", b"PING\n"] {
            assert_eq!(first(bytes), Err(Junk), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
