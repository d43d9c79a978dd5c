//! One member of the space that is measured: joins, says what its part asks for, and counts what
//! comes, when, and in which order.
//!
//! Owns its socket and its counts; nothing is shared with other members but two tokens that say
//! when to fall silent and when to end.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use tungstenite::Message;

use super::histogram::Histogram;
use crate::cli::remote::{Remote, RemoteFault, Socket};
use crate::clock::Clock;

/// What a publisher may be doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// Says nothing.
    Listens,
    /// A message each period, the first one after a while, in microseconds.
    Paced { first: i64, period: i64 },
    /// As many as the hub lets it, with this many unanswered.
    Eager { in_flight: usize },
    /// One after the other, each when the store has the one before.
    Durable,
}

/// What is the same for all members.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub clock: Clock,
    /// What begins each message's text, so that others are none of ours.
    pub mark: String,
    /// When nothing more is to be said.
    pub silent: CancellationToken,
    /// When all has been said.
    pub over: CancellationToken,
    /// Told when nothing of a publisher's is unanswered any more: how many were accepted.
    pub settled: Sender<u64>,
}

/// What a member has seen.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub times: Histogram,
    /// From a message's time until its ack.
    pub acks: Histogram,
    pub accepted: u64,
    pub doubled: u64,
    pub reordered: u64,
    /// Messages that the hub refused, by its code.
    pub refused: HashMap<String, u64>,
    /// Why the connection ended, if it did.
    pub ended: Option<String>,
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally {
            times: Histogram::new(),
            acks: Histogram::new(),
            accepted: 0,
            doubled: 0,
            reordered: 0,
            refused: HashMap::new(),
            ended: None,
        }
    }
}

/// A member that has joined.
pub(super) struct Member {
    socket: Socket,
    /// The newest message that was seen.
    newest: String,
    /// Which of all members it is: nonces count per user, and with a token all are one.
    number: usize,
    said: u64,
}

/// How long an answer may be late before it counts as none.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long a publisher rests whom the hub has refused, where it does not say.
const REST: i64 = 100_000;

impl Member {
    /// Joins, and waits until it is welcome.
    pub(super) async fn join(
        hub: &Remote,
        path: &str,
        number: usize,
    ) -> Result<Member, RemoteFault> {
        let mut socket = hub.socket(path).await?;
        let welcome = async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) if text.contains(r#""type":"welcome""#) => {
                        return Ok(());
                    }
                    Some(Ok(Message::Close(frame))) => {
                        return Err(RemoteFault::Broken(crate::cli::chat::reason(frame)));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(RemoteFault::Broken("the connection ended".into())),
                }
            }
        };
        let welcome = tokio::time::timeout(ANSWER_WAIT, welcome).await;
        welcome.unwrap_or(Err(RemoteFault::Late(ANSWER_WAIT)))?;
        Ok(Member { socket, newest: String::new(), number, said: 0 })
    }

    /// Takes part until it is over; gives itself back where its connection lives.
    pub(super) async fn take_part(mut self, part: Part, common: Common) -> (Option<Member>, Tally) {
        let begin = common.clock.now().unix.0;
        let mut taking = Taking {
            part,
            due: match part {
                Part::Listens => None,
                Part::Paced { first, .. } => Some(begin + first),
                Part::Eager { .. } | Part::Durable => Some(begin),
            },
            common,
            unanswered: HashMap::new(),
            tally: Tally::new(),
            is_settled: part == Part::Listens,
        };
        let ended = taking.run(&mut self).await;
        let mut tally = taking.tally;
        match ended {
            Ok(()) => (Some(self), tally),
            Err(why) => {
                tally.ended = Some(why);
                (None, tally)
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn leave(mut self) {
        // The hub takes the end of the connection for one too.
        _ = tokio::time::timeout(Duration::from_secs(1), self.socket.close(None)).await;
    }
}

/// A member in one part.
struct Taking {
    part: Part,
    /// When it says something next; `None`: when it is answered, or not at all.
    due: Option<i64>,
    common: Common,
    /// When those were to be said that are not answered.
    unanswered: HashMap<String, i64>,
    tally: Tally,
    is_settled: bool,
}

impl Taking {
    async fn run(&mut self, member: &mut Member) -> Result<(), String> {
        let (silent, over) = (self.common.silent.clone(), self.common.over.clone());
        loop {
            let is_silent = silent.is_cancelled();
            if is_silent && !self.is_settled && self.unanswered.is_empty() {
                self.is_settled = true;
                // Whoever asked has gone: then it is over.
                _ = self.common.settled.try_send(self.tally.accepted);
            }
            let now = self.common.clock.now().unix.0;
            let due = self.due.filter(|_| !is_silent);
            let wait = due.map(|due| u64::try_from(due - now).unwrap_or_default());
            let wait = Duration::from_micros(wait.unwrap_or_default());
            tokio::select! {
                biased;
                () = over.cancelled() => break,
                () = silent.cancelled(), if !is_silent => {}
                () = tokio::time::sleep(wait), if due.is_some() => self.say(member).await?,
                heard = member.socket.next() => self.hear(member, heard)?,
            }
        }
        self.drain(member).await
    }

    async fn say(&mut self, member: &mut Member) -> Result<(), String> {
        let now = self.common.clock.now().unix.0;
        let at = self.due.unwrap_or(now);
        self.due = match self.part {
            // The next one is due by the plan, whatever this one was late: who falls behind shows.
            Part::Paced { period, .. } => Some(at + period),
            Part::Eager { in_flight } if self.unanswered.len() + 1 < in_flight => Some(now),
            _ => None,
        };
        let at = if matches!(self.part, Part::Paced { .. }) { at } else { now };
        let nonce = format!("{}-{}-{}", self.common.mark, member.number, member.said);
        member.said += 1;
        let ack = if self.part == Part::Durable { "durable" } else { "accepted" };
        let content = format!("{} {at}", self.common.mark);
        let data = json!({"content": content, "nonce": nonce, "ack": ack});
        let text = json!({"type": "chat", "data": data}).to_string();
        self.unanswered.insert(nonce, at);
        member.socket.send(Message::text(text)).await.map_err(|error| error.to_string())
    }

    fn hear(
        &mut self,
        member: &mut Member,
        heard: Option<Result<Message, tungstenite::Error>>,
    ) -> Result<(), String> {
        match heard {
            Some(Ok(Message::Text(text))) => self.take(&mut member.newest, &text),
            Some(Ok(Message::Close(frame))) => return Err(crate::cli::chat::reason(frame)),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the connection ended".into()),
        }
        Ok(())
    }

    fn take(&mut self, newest: &mut String, text: &str) {
        let now = self.common.clock.now().unix.0;
        if let Some((id, at)) = chat(text, &self.common.mark) {
            match id.cmp(newest.as_str()) {
                std::cmp::Ordering::Less => self.tally.reordered += 1,
                std::cmp::Ordering::Equal => self.tally.doubled += 1,
                std::cmp::Ordering::Greater => {
                    newest.clear();
                    newest.push_str(id);
                }
            }
            self.tally.times.add(u64::try_from(now - at).unwrap_or_default());
        } else if text.starts_with(r#"{"type":"ack""#) || text.starts_with(r#"{"type":"error""#) {
            self.answer(text, now);
        }
    }

    fn answer(&mut self, text: &str, now: i64) {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let data = &message["data"];
        let is_ack = message["type"] == "ack";
        let nonce = data[if is_ack { "nonce" } else { "ref" }].as_str().unwrap_or_default();
        // The first of the two acks of what is to be durable says that it is accepted.
        if is_ack && self.part == Part::Durable && data["level"] == "accepted" {
            return;
        }
        let Some(at) = self.unanswered.remove(nonce) else { return };
        let mut rest = 0;
        if is_ack {
            self.tally.accepted += 1;
            self.tally.acks.add(u64::try_from(now - at).unwrap_or_default());
        } else {
            let code = data["code"].as_str().unwrap_or_default().to_owned();
            *self.tally.refused.entry(code).or_default() += 1;
            rest = data["retry_after_ms"].as_i64().map_or(REST, |ms| ms.saturating_mul(1_000));
        }
        if matches!(self.part, Part::Eager { .. } | Part::Durable) {
            self.due = Some(now + rest);
        }
    }

    /// What a member is answered comes behind all that was said before (WIRE A2): behind the pong
    /// nothing is missing any more.
    async fn drain(&mut self, member: &mut Member) -> Result<(), String> {
        let ping = Message::text(r#"{"type":"ping"}"#);
        member.socket.send(ping.clone()).await.map_err(|error| error.to_string())?;
        let until_pong = async {
            loop {
                let heard = member.socket.next().await;
                if let Some(Ok(Message::Text(text))) = &heard {
                    if text.starts_with(r#"{"type":"pong""#) {
                        return Ok(());
                    }
                    // A ping is a message, and refused as one where rates are low.
                    if let Some(rest) = refused_ping(text) {
                        tokio::time::sleep(rest).await;
                        let sent = member.socket.send(ping.clone()).await;
                        sent.map_err(|error| error.to_string())?;
                    }
                }
                self.hear(member, heard)?;
            }
        };
        let drained = tokio::time::timeout(ANSWER_WAIT, until_pong).await;
        drained.unwrap_or_else(|_| Err(format!("no pong within {ANSWER_WAIT:?}")))
    }
}

/// How long to rest after a refusal that names no message of ours.
fn refused_ping(text: &str) -> Option<Duration> {
    let message: Value = serde_json::from_str(text).ok()?;
    let data = &message["data"];
    let is_ping = message["type"] == "error" && data["ref"].is_null();
    let rest = data["retry_after_ms"].as_u64().filter(|_| is_ping)?;
    Some(Duration::from_millis(rest))
}

/// A chat of ours: its id, and when it was to be said. Its text has nothing to be escaped, so it
/// stands in the frame as it was sent; to parse the frame of each member would be most of the load.
fn chat<'a>(text: &'a str, mark: &str) -> Option<(&'a str, i64)> {
    let rest = text.strip_prefix(r#"{"type":"chat","data":{"id":""#)?;
    let (id, rest) = rest.split_once('"')?;
    let rest = rest.strip_prefix(r#","content":""#)?.strip_prefix(mark)?.strip_prefix(' ')?;
    let (at, _) = rest.split_once('"')?;
    Some((id, at.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taking(part: Part) -> Taking {
        let (settled, _) = tokio::sync::mpsc::channel(1);
        let (silent, over) = (CancellationToken::new(), CancellationToken::new());
        let common =
            Common { clock: Clock::start(), mark: "bench-1".into(), silent, over, settled };
        let unanswered = HashMap::from([("n".to_owned(), 5)]);
        let tally = Tally::new();
        Taking { part, due: None, common, unanswered, tally, is_settled: false }
    }

    fn frame(id: &str, content: &str) -> String {
        format!(r#"{{"type":"chat","data":{{"id":"{id}","content":"{content}","user_id":1}}}}"#)
    }

    #[test]
    fn doubled_and_reordered_messages_are_seen_and_others_are_none_of_ours() {
        let mut taking = taking(Part::Listens);
        let mut newest = String::new();
        for (id, content) in [
            ("01A", "bench-1 7"),
            ("01B", "bench-1 8"),
            ("01B", "bench-1 8"),
            ("01A", "bench-1 7"),
            ("01C", "hola"),
            ("01D", "bench-2 9"),
        ] {
            taking.take(&mut newest, &frame(id, content));
        }
        let Tally { times, doubled, reordered, .. } = &taking.tally;
        assert_eq!((times.total(), *doubled, *reordered), (4, 1, 1));
    }

    #[test]
    fn what_is_to_be_durable_is_answered_by_its_second_ack() {
        let mut durable = taking(Part::Durable);
        let ack = |level| format!(r#"{{"type":"ack","data":{{"nonce":"n","level":"{level}"}}}}"#);
        durable.take(&mut String::new(), &ack("accepted"));
        assert_eq!((durable.tally.accepted, durable.due), (0, None));
        durable.take(&mut String::new(), &ack("durable"));
        assert_eq!(durable.tally.accepted, 1);
        assert!(durable.due.is_some() && durable.unanswered.is_empty());
    }

    #[test]
    fn who_is_refused_rests_as_long_as_the_hub_says() {
        let mut eager = taking(Part::Eager { in_flight: 4 });
        let before = eager.common.clock.now().unix.0;
        let refused = r#"{"type":"error","data":{"code":"rate_limited","message":"m","ref":"n",
            "retry_after_ms":2000}}"#;
        eager.take(&mut String::new(), refused);
        assert!(eager.due.expect("later") >= before + 2_000_000);
        assert_eq!(eager.tally.refused["rate_limited"], 1);
    }
}
