//! A member that came back with a position: what it is sent before it is live (P3, WIRE C).

use cpi_hub::wire::Id;
use serde_json::Value;

use super::book::Book;
use super::client::chat_id;

/// A resume on its way.
#[derive(Debug)]
pub struct Resuming {
    pub space: i32,
    pub after: Id,
    /// Frames that the space had when it joined; its own join, if announced, is the next.
    pub joined_at: usize,
    pub announced: bool,
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
    pub fn new(book: &mut Book, space: i32, after: Id) -> Resuming {
        let newest = book.history.get(&space).and_then(|ids| ids.last()).copied();
        let surely_complete = surely_complete(book, space, after);
        Resuming {
            space,
            after,
            joined_at: book.space(space).frames.len(),
            announced: false,
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

    /// Its own join came: what it was sent is held against all that was ever said. Returns the
    /// frame of the space that comes next.
    pub fn finish(&self, book: &mut Book, v1: bool, whose: &str) -> usize {
        let from = self.joined_at.checked_sub(self.run.len()).expect("only what there was");
        for (at, payload) in self.run.iter().enumerate() {
            book.space(self.space).frames.check(from + at, payload, whose);
        }
        let sent: Vec<Id> = self.run.iter().filter_map(|payload| chat_id(payload)).collect();
        let history = book.history.get(&self.space).cloned().unwrap_or_default();
        let said = |from: Id, to: Id| -> Vec<Id> {
            history.iter().copied().filter(|id| from < *id && *id <= to).collect()
        };
        let all = said(self.after, self.newest);
        assert!(all.ends_with(&sent), "{whose}: the newest of what was missed");
        assert!(!self.surely_complete || all == sent, "{whose}: {} of {}", sent.len(), all.len());
        assert_eq!(v1, self.told.is_some(), "{whose}: v1 is told how a resume ended");
        if let Some(told) = &self.told {
            self.judge(told, &sent, book, whose);
            assert_eq!(said(told.from, told.to), sent, "{whose}: exactly from < id <= to");
        }
        self.joined_at + usize::from(self.announced)
    }

    fn judge(&self, told: &Told, sent: &[Id], book: &mut Book, whose: &str) {
        assert_eq!(told.count, sent.len(), "{whose}: {told:?}");
        assert!(told.to >= self.newest && told.to <= book.newest.max(self.after), "{told:?}");
        match told.reason.as_deref() {
            None => {
                assert_eq!(told.from, self.after, "{whose}: complete");
                book.coverage.resumes_from_memory += 1;
            }
            Some("ahead") => {
                assert!(self.after > self.newest && told.from == told.to, "{whose}: {told:?}");
                assert!(self.after > told.to && sent.is_empty());
                book.coverage.resumes_ahead += 1;
            }
            Some("store_unavailable") => {
                assert!(told.from > self.after, "{whose}: the hole is (after, from]: {told:?}");
                book.coverage.resumes_trimmed += 1;
            }
            Some(other) => panic!("{whose}: {other}"),
        }
    }
}

/// Whether what came after a position must still be in memory: the space's log keeps
/// `resume_bytes_max` bytes for `resume_window`, unless memory is short.
fn surely_complete(book: &mut Book, space: i32, after: Id) -> bool {
    let limits = book.limits.clone();
    let mono = book.now.mono.0;
    let model = book.space(space);
    let Ok(at) = model.chats.binary_search_by_key(&after, |(id, _)| *id) else { return false };
    let index = model.chats[at].1;
    let (bytes, _) = model.frames.behind(index + 1);
    bytes <= limits.resume_bytes_max as u64
        && mono - model.frames.appended_at(index) < limits.resume_window
        && limits.logs_bytes_max == 1 << 30
}
