//! What members and posts say: from a JSON text to a frame in the log, a record for the journal,
//! and acks for those who asked.

use super::Shard;
use super::event::{Effects, MemberKey, Post, Reply, Ticket};
use super::member::Private;
use super::nonce::Known;
use crate::metrics::Metric;
use crate::wire::client_message::{AckLevel, ClientMessage, DecodeRules, check_content};
use crate::wire::close::Close;
use crate::wire::nonce::{Nonce, NonceKey, content_hash};
use crate::wire::record::Record;
use crate::wire::reject::Reject;
use crate::wire::server_message::{self, Chat, Refusal};
use crate::wire::time::{Micros, MonoMs, Now};
use crate::wire::{Id, SpaceId, SpaceKey, UserId};

/// A member that takes bytes may be owed so many times its bound of private frames until it is
/// visited: answers to what one read of its socket held, or a commit that ends many waits.
const UNSENT_TIMES: usize = 8;
/// A flood ends when nothing was over the rate for so long, in ms.
const FLOOD_PAUSE: u64 = 1_000;

/// Something to say, with all that the hub knows of its sender.
struct Said<'a> {
    slot: u32,
    space: SpaceId,
    user: UserId,
    username: &'a str,
    content: &'a str,
    image: &'a str,
    nonce: Option<&'a str>,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    pub id: Id,
    pub at: Micros,
    /// The number of its record.
    pub record: u64,
    pub duplicate: bool,
}

impl Shard {
    /// A whole message of a member's.
    pub(super) fn message(&mut self, now: Now, key: MemberKey, json: &mut [u8], fx: &mut Effects) {
        let Some(member) = self.members.get_mut(key) else { return };
        if !member.is_seated() {
            return;
        }
        (member.heard, member.pinged) = (now.mono, false);
        self.counts.add(Metric::MessagesReceived, 1);
        self.counts.add(Metric::ReceivedBytes, json.len() as u64);
        let slot = member.space;
        let SpaceKey::Chat(space) = self.spaces.at(slot).expect("a seated member has one").key
        else {
            let taken = member.rate.take(now.mono, self.limits.message_rate);
            return self.tolerate(now, key, taken, fx);
        };
        let dialect = member.dialect;
        let rules = DecodeRules { dialect, depth_max: self.limits.json_depth_max };
        let decoded = self.decoder.decode(json, rules);
        let nonce = match &decoded {
            Ok(ClientMessage::Chat(chat)) => chat.nonce,
            _ => None,
        };
        let outcome = match self.take_rates(now.mono, key) {
            Err(reject) => Err(reject),
            Ok(()) => match decoded {
                Err(reject) => Err(reject),
                Ok(ClientMessage::Ping) => {
                    let member = self.members.get(key).expect("looked up above");
                    let whose = member.whose(SpaceKey::Chat(space));
                    let at = *self.time.text(now.unix);
                    self.answer(now, key, fx, |private| {
                        private.push(|out| server_message::pong(out, whose, &at));
                    });
                    Ok(())
                }
                Ok(ClientMessage::Chat(chat))
                    if chat.ack == AckLevel::Durable && self.waits_for_too_many(key) =>
                {
                    Err(Reject::Overloaded)
                }
                Ok(ClientMessage::Chat(chat)) => {
                    let member = self.members.get_mut(key).expect("looked up above");
                    let (user, username) = (member.user, std::mem::take(&mut member.username));
                    let said = Said {
                        slot,
                        space,
                        user,
                        username: &username,
                        content: chat.content,
                        image: chat.image,
                        nonce: chat.nonce,
                    };
                    let accepted = self.accept(now, said, fx);
                    if let Some(member) = self.members.get_mut(key) {
                        member.username = username;
                    }
                    accepted.map(|accepted| {
                        if let Some(nonce) = chat.nonce {
                            self.ack(now, key, (nonce, chat.ack), accepted, fx);
                        }
                    })
                }
            },
        };
        if let Err(reject) = outcome {
            self.refuse(now, key, reject, nonce, fx);
        }
    }

    /// Checks a message, gives it its id, and puts it into the space's log and among the records
    /// of the turn. A known nonce makes nothing new.
    fn accept(&mut self, now: Now, said: Said<'_>, fx: &mut Effects) -> Result<Accepted, Reject> {
        check_content(said.content, self.limits.content_chars_max)?;
        if self.drain.is_some() {
            return Err(Reject::Draining);
        }
        if said.image.contains('\0') {
            return Err(Reject::ContentInvalid);
        }
        let image = if said.image.len() > self.limits.image_bytes_max { "" } else { said.image };
        let nonce = said.nonce.map(|nonce| {
            let key = NonceKey::new(said.user, said.space, nonce);
            Nonce { key, content: content_hash(said.content, image) }
        });
        if let Some(nonce) = &nonce
            && let Some(known) = self.nonces.find(&nonce.key)
        {
            if known.content != nonce.content {
                return Err(Reject::NonceReused);
            }
            self.counts.add(Metric::ChatsDuplicate, 1);
            let Known { id, at, record, .. } = known;
            return Ok(Accepted { id, at, record, duplicate: true });
        }
        self.absent.check(now.mono, said.user, said.space)?;
        self.check_room(said.username.len() + said.content.len(), fx)?;

        let (id, at) = self.ids.next_id(now.unix);
        let Said { space, user, username, content, .. } = said;
        let record = Record { id, at, space, user, username, content, nonce };
        record.append_to(&mut fx.records);
        self.records_made += 1;
        let chat = Chat { id, space, user, username, content, image };
        let text = *self.time.text(at);
        let offset = self.append(now, said.slot, chat.frame_bytes_max(), |out| {
            server_message::chat(out, &chat, &text)
        });
        self.spaces.at_mut(said.slot).expect("appended to it").log.index(
            id,
            offset,
            self.records_made,
        );
        self.counts.add(Metric::ChatsAccepted, 1);
        let record = self.records_made;
        if let Some(Nonce { key, content }) = nonce {
            self.nonces.remember(now.mono, key, Known { id, at, record, content });
        }
        Ok(Accepted { id, at, record, duplicate: false })
    }

    /// Whether journal and logs can take one more; said before anything is fanned out (P5).
    fn check_room(&self, text_bytes: usize, fx: &Effects) -> Result<(), Reject> {
        let record = 64 + text_bytes;
        if self.journal_failed || (fx.records.len() + record) as u64 > self.journal_room {
            return Err(Reject::StoreUnavailable);
        }
        if self.logs_held > self.limits.logs_bytes_max {
            return Err(Reject::Overloaded);
        }
        Ok(())
    }

    /// The rates of a member, its user and its address.
    fn take_rates(&mut self, now: MonoMs, key: MemberKey) -> Result<(), Reject> {
        let member = self.members.get_mut(key).expect("the caller's member");
        let limited = |retry_after_ms| Reject::RateLimited { retry_after_ms };
        member.rate.take(now, self.limits.message_rate).map_err(limited)?;
        let (user, address) = (member.user, member.address);
        self.take_shared_rates(now, user, address)
    }

    fn take_shared_rates(&mut self, now: MonoMs, user: UserId, address: u64) -> Result<(), Reject> {
        let limited = |retry_after_ms| Reject::RateLimited { retry_after_ms };
        self.user_rates.take(user, now, self.limits.user_message_rate).map_err(limited)?;
        if address != 0 {
            let rate = self.limits.address_message_rate;
            self.address_rates.take(address, now, rate).map_err(limited)?;
        }
        Ok(())
    }

    /// A chat by HTTP.
    pub(super) fn post(&mut self, now: Now, ticket: Ticket, post: Post, fx: &mut Effects) {
        let result = self.accept_post(now, &post, fx);
        match result {
            Err(reject) => self.reply(fx, ticket, Err(reject)),
            Ok(Accepted { id, at, record, duplicate }) => {
                fx.replies.push((ticket, Reply::Posted { id, at, duplicate }));
                self.when_stored(record, (ticket, id), fx);
            }
        }
    }

    fn accept_post(&mut self, now: Now, post: &Post, fx: &mut Effects) -> Result<Accepted, Reject> {
        self.take_shared_rates(now.mono, post.user, post.address.unwrap_or(0))?;
        // Before a space is made for it.
        check_content(&post.content, self.limits.content_chars_max)?;
        let space = SpaceKey::Chat(post.space);
        if !self.by_key.contains_key(&space) {
            // No space is made for what will be refused.
            self.check_room(post.username.len() + post.content.len(), fx)?;
            if self.drain.is_some() {
                return Err(Reject::Draining);
            }
        }
        let slot = self.space_for(space);
        if self.spaces.at(slot).is_some_and(|space| space.paused.is_some()) {
            return Err(Reject::Overloaded);
        }
        let said = Said {
            slot,
            space: post.space,
            user: post.user,
            username: &post.username,
            content: &post.content,
            image: &post.image,
            nonce: post.nonce.as_deref(),
        };
        self.accept(now, said, fx)
    }

    /// Refuses a message: an error to its sender, counted; too many end the connection.
    fn refuse(
        &mut self,
        now: Now,
        key: MemberKey,
        reject: Reject,
        nonce: Option<&str>,
        fx: &mut Effects,
    ) {
        self.counts.reject(reject);
        if let Some(close) = self.judge(now.mono, key, reject) {
            return self.begin_close(now, key, close, fx);
        }
        let Some(member) = self.members.get(key).filter(|member| member.is_seated()) else {
            return;
        };
        let space = self.spaces.at(member.space).expect("a seated member has one").key;
        let (dialect, whose) = (member.dialect, member.whose(space));
        let refusal = Refusal { reject, nonce, id: None };
        let at = *self.time.text(now.unix);
        self.answer(now, key, fx, |private| {
            private.push(|out| server_message::error(out, dialect, &refusal, whose, &at));
        });
    }

    /// Whether a refusal was one too many: junk by number, floods by how long they last.
    fn judge(&mut self, now: MonoMs, key: MemberKey, reject: Reject) -> Option<Close> {
        let rare = self.members.get_mut(key)?.rare();
        match reject {
            Reject::InvalidMessageFormat
            | Reject::InvalidChatMessage
            | Reject::UnknownMessageType => {
                if rare.junk == 0 || now.since(rare.junk_since) > self.limits.junk_window {
                    (rare.junk, rare.junk_since) = (0, now);
                }
                rare.junk += 1;
                (rare.junk > self.limits.junk_max).then_some(Close::TooManyErrors)
            }
            Reject::RateLimited { .. } => {
                if now.since(rare.flood_last) > FLOOD_PAUSE {
                    rare.flood_since = now;
                }
                rare.flood_last = now;
                let lasted = now.since(rare.flood_since);
                (lasted >= self.limits.flood_wait).then_some(Close::TooFast)
            }
            _ => None,
        }
    }

    /// A ping (with its payload) or a pong: proof of life, answered within its rate.
    pub(super) fn ping(
        &mut self,
        now: Now,
        key: MemberKey,
        payload: Option<&[u8]>,
        fx: &mut Effects,
    ) {
        let Some(member) = self.members.get_mut(key) else { return };
        if !member.is_seated() {
            return;
        }
        (member.heard, member.pinged) = (now.mono, false);
        let taken = member.control.take(now.mono, self.limits.control_rate);
        match payload {
            Some(payload) if taken.is_ok() => {
                self.answer(now, key, fx, |private| private.push_pong(payload));
            }
            _ => self.tolerate(now, key, taken, fx),
        }
    }

    /// What is over its rate and gets no answer: control frames, and what is said where nobody
    /// listens. A flood of it ends as any other.
    fn tolerate(&mut self, now: Now, key: MemberKey, taken: Result<(), u32>, fx: &mut Effects) {
        let Err(retry_after_ms) = taken else { return };
        let reject = Reject::RateLimited { retry_after_ms };
        self.counts.reject(reject);
        if let Some(close) = self.judge(now.mono, key, reject) {
            self.begin_close(now, key, close, fx);
        }
    }

    /// Gives a member a private frame. One that doesn't take them is evicted, and one that asks
    /// for more than can be sent is sent away.
    pub(super) fn answer(
        &mut self,
        now: Now,
        key: MemberKey,
        fx: &mut Effects,
        write: impl FnOnce(&mut Private),
    ) {
        if self.push_private(key, write).is_ok() {
            return;
        }
        let Some(member) = self.members.get(key).filter(|member| member.closing.is_none()) else {
            return;
        };
        // Only who is blocked is too slow, never who is merely unvisited.
        if member.blocked {
            self.begin_close(now, key, Close::TooSlow, fx);
        } else if member.private_bytes() > UNSENT_TIMES * self.limits.private_bytes_max {
            self.begin_close(now, key, Close::TooFast, fx);
        }
    }
}
