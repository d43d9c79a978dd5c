//! A member that came back with a position: what it is sent before it is live (P3, WIRE C).

use cpi_hub::wire::Id;
use cpi_hub::wire::time::MonoMs;
use serde_json::Value;

use super::book::Book;
use super::client::chat_id;
use super::sequence::show;

/// A resume on its way.
#[derive(Debug)]
pub struct Resuming {
    pub space: i32,
    pub after: Id,
    /// Its own join, if announced, is this frame of the space; else it is said before that one.
    /// `None` while it is sent what the log no longer holds.
    pub joined_at: Option<usize>,
    pub announced: bool,
    /// When it came, and when its way back was settled.
    began: MonoMs,
    pub settled: MonoMs,
    /// What it missed surely is in memory.
    pub surely_complete: bool,
    pub newest: Id,
    run: Vec<Vec<u8>>,
    told: Option<Told>,
}

#[derive(Clone, Debug)]
struct Told {
    from: Id,
    to: Id,
    count: usize,
    reason: Option<String>,
}

impl Resuming {
    pub fn new(book: &mut Book, space: i32, after: Id, as_events: bool) -> Resuming {
        let newest = book.history.get(&space).and_then(|ids| ids.last()).copied();
        let surely_complete = surely_complete(book, space, after, as_events);
        Resuming {
            space,
            after,
            joined_at: None,
            announced: false,
            began: book.now.mono,
            settled: book.now.mono,
            surely_complete,
            newest: newest.unwrap_or(Id::MIN),
            run: Vec::new(),
            told: None,
        }
    }

    pub fn frame(&mut self, payload: &[u8]) {
        assert!(self.told.is_none(), "what was missed comes before `resumed`");
        self.run.push(payload.to_vec());
    }

    pub fn resumed(&mut self, data: &Value) {
        assert!(self.told.is_none(), "one resumed");
        let id = |key: &str| Id::parse(data[key].as_str().expect("a position")).expect("an id");
        let reason = data.get("reason").map(|reason| reason.as_str().expect("text").to_owned());
        assert_eq!(data["complete"], reason.is_none());
        let count = data["count"].as_u64().expect("a count") as usize;
        self.told = Some(Told { from: id("from"), to: id("to"), count, reason });
    }

    /// How many of the space's frames it surely has: all before its own join, once it was told that
    /// this is all, or has the last of them; none that can be told from here before.
    pub fn seen(&self, book: &mut Book, v1: bool) -> usize {
        let joined_at = self.joined_at.unwrap_or(0);
        let frames = &book.space(self.space).frames;
        let last = frames.before(joined_at).next();
        let is_last = |payload: &Vec<u8>| last.is_some_and(|last| frames.may_be(last, payload));
        let has_all = if v1 { self.told.is_some() } else { self.run.last().is_some_and(is_last) };
        if has_all { joined_at } else { 0 }
    }

    /// Its own join came: what it was sent is held against all that was ever said. Returns the
    /// frame of the space that comes next.
    pub fn finish(&self, book: &mut Book, v1: bool, whose: &str) -> usize {
        let joined_at = self.joined_at.expect("its own join was said, so it was placed");
        let of_log = self.frames_of_log(book, joined_at);
        let (stored, logged) = self.run.split_at(self.run.len() - of_log.len());
        for (at, payload) in of_log.iter().rev().zip(logged) {
            book.space(self.space).frames.check(*at, payload, whose);
        }
        for payload in stored {
            let id = chat_id(payload).unwrap_or_else(|| panic!("{whose}: {}", show(payload)));
            assert_eq!(book.payloads[&id], *payload, "{whose}: as it was said");
        }
        let sent: Vec<Id> = self.run.iter().filter_map(|payload| chat_id(payload)).collect();
        let history = book.history.get(&self.space).cloned().unwrap_or_default();
        let said = |from: Id, to: Id| -> Vec<Id> {
            history.iter().copied().filter(|id| from < *id && *id <= to).collect()
        };
        // What the store refused is there for as long as memory has it.
        let refused = book.refused.clone();
        let held = |ids: &[Id]| -> Vec<Id> {
            ids.iter().copied().filter(|id| !refused.contains(id)).collect()
        };
        let (all, got) = (held(&said(self.after, self.newest)), held(&sent));
        assert!(all.ends_with(&got), "{whose}: the newest of what was missed");
        assert!(!self.surely_complete || all == got, "{whose}: {} of {}", got.len(), all.len());
        assert_eq!(v1, self.told.is_some(), "{whose}: v1 is told how a resume ended");
        if let Some(told) = &self.told {
            self.judge(told, &sent, stored.len(), (book, whose));
            let missed = said(self.after, told.to).len();
            let max = book.limits.resume_messages_max;
            let many = told.reason.as_deref() == Some("too_many");
            // What the store refused may have been counted while memory had it.
            let enough = sent.len() + refused.len() >= max;
            let more = missed + refused.len() > max;
            assert!(!many || (more && enough), "{whose}: {missed} {told:?}");
            let exactly = held(&said(told.from, told.to));
            assert_eq!(exactly, got, "{whose}: exactly from < id <= to");
        }
        joined_at + usize::from(self.announced)
    }

    /// Which frames that the space had before `end` the run ends with, the last one first.
    fn frames_of_log(&self, book: &mut Book, end: usize) -> Vec<usize> {
        let frames = &book.space(self.space).frames;
        let pairs = self.run.iter().rev().zip(frames.before(end));
        let same = pairs.take_while(|(payload, at)| frames.may_be(*at, payload));
        same.map(|(_, at)| at).collect()
    }

    fn judge(&self, told: &Told, sent: &[Id], stored: usize, (book, whose): (&mut Book, &str)) {
        assert_eq!(told.count, sent.len(), "{whose}: {told:?}");
        // Where the newest was struck before anybody was sent it, the one before is.
        let said = book.history.get(&self.space).into_iter().flatten();
        let newest = said.copied().take_while(|id| *id <= self.newest).last();
        let newest = newest.unwrap_or(Id::MIN);
        assert!(told.to >= newest && told.to <= book.newest.max(self.after), "{told:?}");
        match told.reason.as_deref() {
            None => {
                assert_eq!(told.from, self.after, "{whose}: complete");
                book.coverage.resumes_from_memory += u64::from(stored == 0);
                book.coverage.resumes_from_store += u64::from(stored > 0);
            }
            Some("ahead") => {
                assert!(self.after > self.newest && told.from == told.to, "{whose}: {told:?}");
                assert!(self.after > told.to && sent.is_empty());
                book.coverage.resumes_ahead += 1;
            }
            Some("too_many") => {
                assert!(told.from > self.after, "{whose}: the hole is (after, from]: {told:?}");
                book.coverage.resumes_too_many += 1;
            }
            Some("store_unavailable") => {
                assert_eq!(stored, 0, "{whose}: a page came and then none: {told:?}");
                let waited = self.settled.since(self.began);
                assert!(waited >= book.limits.resume_wait, "{whose}: waited {waited} ms");
                assert!(told.from > self.after, "{whose}: the hole is (after, from]: {told:?}");
                book.coverage.resumes_trimmed += 1;
            }
            Some(other) => panic!("{whose}: {other}"),
        }
    }
}

/// A bound of the bytes that frames of this many bytes take, or the events made of them.
pub fn as_encoded(bytes: u64, as_events: bool) -> u64 {
    if as_events { bytes * 3 / 2 } else { bytes }
}

/// Whether what came after a position must still be in memory: the space's log keeps
/// `resume_bytes_max` bytes for `resume_window`, unless memory is short.
fn surely_complete(book: &mut Book, space: i32, after: Id, as_events: bool) -> bool {
    let limits = book.limits.clone();
    let mono = book.now.mono.0;
    let model = book.space(space);
    let Ok(at) = model.chats.binary_search_by_key(&after, |(id, _)| *id) else { return false };
    let index = model.chats[at].1;
    let (bytes, _) = model.frames.behind(index + 1);
    as_encoded(bytes, as_events) <= limits.resume_bytes_max as u64
        && mono - model.frames.appended_at(index) < limits.resume_window
        && limits.logs_bytes_max == 1 << 30
}
