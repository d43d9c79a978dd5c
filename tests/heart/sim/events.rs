//! A parser of server-sent events of its own, for what the hub may send: the fields that it uses,
//! each once, and lines that end in a line feed.

use cpi_hub::wire::Id;

/// One event, or a comment.
#[derive(PartialEq, Eq, Default, Debug)]
pub struct Event<'a> {
    pub name: Option<&'a str>,
    pub id: Option<Id>,
    pub retry: Option<u32>,
    /// `None`: it is a comment.
    pub data: Option<&'a [u8]>,
    /// Its length.
    pub bytes: usize,
}

/// The first event of `bytes`; `None` while it is cut. Panics at what is none of the hub's.
pub fn next(bytes: &[u8]) -> Option<Event<'_>> {
    let end = bytes.windows(2).position(|two| two == b"\n\n")?;
    let text = std::str::from_utf8(&bytes[..end]).expect("events are UTF-8");
    let mut event = Event { bytes: end + 2, ..Event::default() };
    if let Some(comment) = text.strip_prefix(':') {
        // What stands in the place of a chat that the store has refused is blank.
        let is_blank = comment.bytes().all(|byte| byte == b' ');
        assert!(text == ": ping" || is_blank, "a comment stands alone: {text}");
        return Some(event);
    }
    for line in text.split('\n') {
        let (field, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line}"));
        let is_new = match field {
            "id" => event.id.replace(Id::parse(value).expect("a position")).is_none(),
            "event" => event.name.replace(value).is_none(),
            "retry" => event.retry.replace(value.parse().expect("a number")).is_none(),
            "data" => event.data.replace(value.as_bytes()).is_none(),
            other => panic!("no field of ours: {other}"),
        };
        assert!(is_new, "{field} comes once: {text}");
    }
    assert!(event.data.is_some() && event.name.is_some(), "an event has both: {text}");
    Some(event)
}
