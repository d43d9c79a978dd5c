//! What one member is owed in answer to what it sent: exactly one answer for each message that
//! asks for one, in the order of the messages, and durable acks when the store has committed.

use std::collections::VecDeque;

use cpi_hub::wire::Id;
use cpi_hub::wire::time::MonoMs;
use serde_json::Value;

use super::book::Book;

/// A message that is answered.
#[derive(Default, Debug)]
pub struct Said {
    pub is_ping: bool,
    /// It was accepted, now or before under its nonce.
    pub is_taken: bool,
    /// The id under which it was accepted just now.
    pub made: Option<Id>,
    /// The id of the first message with its nonce.
    pub first: Option<Id>,
    pub nonce: Option<String>,
    pub durable: bool,
    /// The refusals that would be right.
    pub may: Vec<&'static str>,
    /// Frames of its space that come before its answer.
    pub behind: usize,
    /// When it was said, and the newest chat then: where chats are accepted once they are stored,
    /// its answer comes once that is.
    pub asked: MonoMs,
    pub newest: Option<Id>,
}

impl Said {
    /// Its answer has come, behind this number of its space's frames.
    fn follows(&self, book: &Book, seen: usize) {
        // Where the store takes too long, only acks wait for it.
        let is_hasty = !self.is_taken && self.may_be_hasty(book);
        assert!(
            seen >= self.behind || is_hasty,
            "the answer at {seen} overtakes what was said before: {self:?}"
        );
    }

    fn may_be_hasty(&self, book: &Book) -> bool {
        book.late.is_some_and(|late| late >= self.asked)
    }
}

/// Answers that are to come.
#[derive(Default, Debug)]
pub struct Answers {
    said: VecDeque<Said>,
    durable: Vec<(String, Id, bool)>,
    pings: VecDeque<(Vec<u8>, usize)>,
}

impl Answers {
    pub fn expect(&mut self, said: Said) {
        self.said.push_back(said);
    }

    pub fn expect_pong(&mut self, payload: &[u8], behind: usize) {
        self.pings.push_back((payload.to_vec(), behind));
    }

    /// Answers that should have come.
    pub fn pending(&self, book: &Book) -> usize {
        let is_due = |said: &&Said| !book.by_store || said.newest <= Some(book.told);
        self.said.iter().filter(is_due).count()
    }

    /// Those that are to come, whatever they wait for.
    pub fn waiting(&self) -> usize {
        self.said.len()
    }

    /// The next of a kind: it is the next of all, but where the store takes too long and what is no
    /// ack does not wait for it.
    fn next(&mut self, book: &mut Book, kind: impl Fn(&Said) -> bool) -> Option<Said> {
        let at = self.said.iter().position(kind)?;
        let said = self.said.remove(at)?;
        let overtakes = !said.is_taken && said.may_be_hasty(book);
        assert!(at == 0 || book.by_store && overtakes, "it overtakes others: {said:?}");
        book.coverage.hasty_answers += u64::from(at > 0);
        Some(said)
    }

    /// Durable acks to come for ids at or below `told`.
    pub fn overdue(&self, told: Id) -> usize {
        self.durable.iter().filter(|(_, id, _)| *id <= told).count()
    }

    /// The answer to a ping by JSON.
    pub fn pong(&mut self, book: &mut Book, seen: usize) {
        let said = self.next(book, |said| !said.is_taken).expect("a pong answers something");
        said.follows(book, seen);
        assert!(said.is_ping, "a pong answers {said:?}");
    }

    /// The answer to a ping by protocol; those over the rate have none.
    pub fn protocol_pong(&mut self, payload: &[u8], seen: usize) {
        while let Some((ping, behind)) = self.pings.pop_front() {
            if ping == payload {
                return assert!(
                    seen >= behind,
                    "a pong at {seen} overtakes what lies before {behind}"
                );
            }
        }
        panic!("a pong of no ping: {payload:?}");
    }

    /// The store has refused what was accepted, or was to be.
    pub fn refused(&mut self, data: &Value, book: &mut Book) {
        let id = Id::parse(data["id"].as_str().expect("text")).expect("an id");
        assert_eq!(data["code"], "store_refused");
        assert!(book.refused.contains(&id), "it was not refused: {data}");
        let about = data["ref"].as_str().expect("its nonce");
        if book.by_store {
            let said = self.next(book, |said| said.is_taken).expect("it refuses something");
            assert_eq!((said.nonce.as_deref(), said.made.or(said.first)), (Some(about), Some(id)));
            return;
        }
        let found = self.durable.iter().position(|(of, first, _)| of == about && *first == id);
        self.durable.remove(found.unwrap_or_else(|| panic!("nobody waits for {data}")));
    }

    pub fn error(&mut self, data: &Value, v1: bool, (book, seen): (&mut Book, usize)) {
        let said = self.next(book, |said| !said.is_taken);
        let said = said.unwrap_or_else(|| panic!("nothing to refuse: {data}"));
        said.follows(book, seen);
        let code = data["code"].as_str().expect("an error has a code");
        assert!(said.may.contains(&code), "{code} is no answer to {said:?}");
        assert!(data["message"].is_string());
        if v1 {
            // What was refused unread has no nonce.
            let about = data.get("ref").and_then(Value::as_str);
            assert_eq!(about, said.nonce.as_deref(), "the refusal names its message");
        } else {
            let keys = data.as_object().expect("data is an object").len();
            assert_eq!(keys, 2, "seed errors have a code and a message: {data}");
        }
    }

    pub fn ack(&mut self, data: &Value, book: &mut Book, seen: usize) {
        let nonce = data["nonce"].as_str().expect("an ack has a nonce");
        let id = Id::parse(data["id"].as_str().expect("an ack has an id")).expect("an id");
        let duplicate = data["duplicate"].as_bool().expect("an ack says whether it is one");
        if data["level"] == "durable" {
            assert!(id <= book.told, "a durable ack before the commit: {data}");
            assert!(!book.refused.contains(&id), "a durable ack of what was refused: {data}");
            let found = self.durable.iter().position(|(of, first, twice)| {
                (of.as_str(), *first, *twice) == (nonce, id, duplicate)
            });
            self.durable.remove(found.unwrap_or_else(|| panic!("nobody waits for {data}")));
            return;
        }
        assert_eq!(data["level"], "accepted");
        let is_told = !book.by_store || book.is_stored(id);
        assert!(is_told, "an ack of what is not stored: {data}");
        let said = self.next(book, |said| said.is_taken);
        let said = said.unwrap_or_else(|| panic!("nothing to ack: {data}"));
        assert_eq!(said.nonce.as_deref(), Some(nonce), "acks come in the order of messages");
        said.follows(book, seen);
        match said.made {
            Some(made) => assert_eq!((id, duplicate), (made, false), "{data}"),
            None => assert_eq!((Some(id), duplicate), (said.first, true), "{data}"),
        }
        if said.durable {
            self.durable.push((nonce.to_owned(), id, duplicate));
        }
    }
}
