//! Someone who posts by HTTP, with an `Idempotency-Key`, one message after another; what got no
//! answer is posted again under its key.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::book::{Message, Sender, id};
use super::link::Http;
use super::load::Shared;

/// Posts a message each `interval` at most, until it is told to stop.
pub struct Poster {
    shared: Arc<Shared>,
    user: i32,
    interval: Duration,
    sender: Sender,
}

impl Poster {
    /// One in a space.
    pub fn new(shared: Arc<Shared>, (space, user): (i32, i32), interval: Duration) -> Poster {
        let sender = Sender::new(format!("s{space}p{user}"), space);
        Poster { shared, user, interval, sender }
    }

    /// Posts.
    pub fn run(mut self) -> Sender {
        while !self.shared.is_stopped() {
            let shared = Arc::clone(&self.shared);
            if shared.connected(|address| self.post_on(Http::open(address)?)).is_none() {
                shared.pause();
            }
        }
        self.sender
    }

    /// Over one connection, to its end or the load's.
    fn post_on(&mut self, mut http: Http) -> Option<()> {
        while !self.shared.is_stopped() {
            let is_open = self.sender.messages.last().is_some_and(Message::is_open);
            self.shared.settle(&self.sender.name, !is_open);
            if !is_open && self.shared.is_finishing() {
                self.shared.pause();
                continue;
            }
            if !is_open {
                self.sender.messages.push(Message::default());
                self.shared.count(|counts| &counts.sent);
            }
            self.post(&mut http)?;
            self.shared.wait(self.interval);
        }
        Some(())
    }

    fn post(&mut self, http: &mut Http) -> Option<()> {
        let number = self.sender.messages.len() - 1;
        let (text, space) = (self.sender.text(number), self.sender.space);
        let body = json!({"space_id": space, "user_id": self.user, "username": "Ana",
            "message": text});
        // Half of them wait for the commit.
        let prefer = if number.is_multiple_of(2) { "" } else { "Prefer: respond-async\r\n" };
        let headers = format!("Idempotency-Key: {text}\r\n{prefer}");
        self.sender.messages[number].runs.push(self.shared.run());
        let path = format!("/v1/ws/spaces/{space}/chat");
        let (status, answer) = http.post(&path, &headers, &body.to_string())?;
        self.answered(number, status, &answer);
        Some(())
    }

    fn answered(&mut self, number: usize, status: u16, answer: &Value) {
        let message = &mut self.sender.messages[number];
        let told = || id(answer["chat_message"]["id"].as_str().expect("an id"));
        match status {
            200 | 202 => {
                message.accept(told());
                self.shared.count(|counts| &counts.accepted);
                if status == 200 {
                    message.durable = true;
                    self.shared.durable(told());
                }
            }
            503 => {
                message.refused = true;
                self.shared.count(|counts| &counts.refused);
            }
            _ => panic!("{status}: {answer}"),
        }
    }
}
