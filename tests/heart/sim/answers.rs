//! What one member is owed in answer to what it sent: exactly one answer for each message that
//! asks for one, in the order of the messages, and durable acks when the store has committed.

use std::collections::{BTreeSet, VecDeque};

use cpi_hub::wire::Id;
use serde_json::Value;

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
}

impl Said {
    /// Its answer has come, behind this number of its space's frames.
    fn follows(&self, seen: usize) {
        assert!(
            seen >= self.behind,
            "the answer at {seen} overtakes what was said before: {self:?}"
        );
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

    /// Answers to come that need no commit.
    pub fn pending(&self) -> usize {
        self.said.len()
    }

    /// Durable acks to come for ids at or below `told`.
    pub fn overdue(&self, told: Id) -> usize {
        self.durable.iter().filter(|(_, id, _)| *id <= told).count()
    }

    /// The answer to a ping by JSON.
    pub fn pong(&mut self, seen: usize) {
        let said = self.said.pop_front().expect("a pong answers something");
        said.follows(seen);
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

    /// The store has refused what was accepted.
    pub fn refused(&mut self, data: &Value, refused: &BTreeSet<Id>) {
        let id = Id::parse(data["id"].as_str().expect("text")).expect("an id");
        assert_eq!(data["code"], "store_refused");
        assert!(refused.contains(&id), "it was not refused: {data}");
        let about = data["ref"].as_str().expect("its nonce");
        let found = self.durable.iter().position(|(of, first, _)| of == about && *first == id);
        self.durable.remove(found.unwrap_or_else(|| panic!("nobody waits for {data}")));
    }

    pub fn error(&mut self, data: &Value, v1: bool, seen: usize) {
        let said = self.said.pop_front().unwrap_or_else(|| panic!("nothing to refuse: {data}"));
        said.follows(seen);
        let code = data["code"].as_str().expect("an error has a code");
        assert!(!said.is_taken, "{code} refuses what was accepted: {said:?}");
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

    pub fn ack(&mut self, data: &Value, (told, refused): (Id, &BTreeSet<Id>), seen: usize) {
        let nonce = data["nonce"].as_str().expect("an ack has a nonce");
        let id = Id::parse(data["id"].as_str().expect("an ack has an id")).expect("an id");
        let duplicate = data["duplicate"].as_bool().expect("an ack says whether it is one");
        if data["level"] == "durable" {
            assert!(id <= told, "a durable ack before the commit: {data}");
            assert!(!refused.contains(&id), "a durable ack of what was refused: {data}");
            let found = self.durable.iter().position(|(of, first, twice)| {
                (of.as_str(), *first, *twice) == (nonce, id, duplicate)
            });
            self.durable.remove(found.unwrap_or_else(|| panic!("nobody waits for {data}")));
            return;
        }
        assert_eq!(data["level"], "accepted");
        let said = self.said.pop_front().unwrap_or_else(|| panic!("nothing to ack: {data}"));
        assert_eq!(said.nonce.as_deref(), Some(nonce), "acks come in the order of messages");
        assert!(said.is_taken, "an ack of what was refused: {said:?}");
        said.follows(seen);
        match said.made {
            Some(made) => assert_eq!((id, duplicate), (made, false), "{data}"),
            None => assert_eq!((Some(id), duplicate), (said.first, true), "{data}"),
        }
        if said.durable {
            self.durable.push((nonce.to_owned(), id, duplicate));
        }
    }
}
