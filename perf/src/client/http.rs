//! Answers to plain HTTP requests, as far as a run asks for them: status, hint, and where the
//! answer ends.

/// An answer's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Seconds after which to come again, where the server said.
    pub retry_after_s: Option<u16>,
    /// Bytes of head and body.
    pub bytes: usize,
    /// Whether the server ends the connection behind it.
    pub is_last: bool,
}

/// Reads the answer that `input` begins with; `None`: it is not all there.
///
/// A server that sends a body without its length is not spoken to by this generator.
pub fn answer(input: &[u8]) -> Option<Result<Answer, &'static str>> {
    let end = super::connection::head_end(input)?;
    let Ok(head) = std::str::from_utf8(&input[..end]) else { return Some(Err("no text")) };
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|line| line.get(..3)).and_then(|code| code.parse().ok());
    let Some(status) = status else { return Some(Err("no status")) };
    let mut answer = Answer { status, retry_after_s: None, bytes: end, is_last: false };
    let mut body_bytes = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => body_bytes = value.parse::<usize>().ok(),
            "retry-after" => answer.retry_after_s = value.parse().ok(),
            "connection" => answer.is_last = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    match body_bytes {
        None => Some(Err("no length")),
        Some(bytes) if input.len() < end + bytes => None,
        Some(bytes) => Some(Ok(Answer { bytes: end + bytes, ..answer })),
    }
}

/// A chat post of one user to one space.
pub fn post(host: &str, space: i32, user: i32, content: &str) -> String {
    let body = format!("{{\"message\":\"{content}\",\"user_id\":{user},\"username\":\"m{user}\"}}");
    format!(
        "POST /v1/ws/spaces/{space}/chat HTTP/1.1\r\nHost: {host}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let text = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\n\
                     Content-Length: 5\r\n\r\nhello";
        let expected =
            Answer { status: 503, retry_after_s: Some(2), bytes: text.len(), is_last: true };
        assert_eq!(answer(text), Some(Ok(expected)));
        assert_eq!(answer(&text[..text.len() - 1]), None);
        assert_eq!(answer(&text[..20]), None);
        let next = [&text[..], b"HTTP/1.1 200"].concat();
        assert_eq!(answer(&next), Some(Ok(expected)));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for text in ["junk\r\n\r\n", "HTTP/1.1 xyz\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
            assert!(matches!(answer(text.as_bytes()), Some(Err(_))), "{text}");
        }
    }
}
