//! What members and posts say: checked, given its id, its record and its frame.

use super::Shard;
use super::commits::{AnswerTo, Commits, Levels, PostTo, Refused};
use super::door::Door;
use super::event::{MemberKey, Post, Renewal, Reply, Ticket};
use super::nonces::Known;
use super::seated::Seated;
use super::space::{ChatFrame, Space};
use super::turn::Turn;
use crate::metrics::Metric;
use crate::wire::client_message::{
    AckLevel, ChatMessage, ClientMessage, DecodeRules, check_content, kept_image,
};
use crate::wire::nonce::{Nonce, NonceKey, content_hash};
use crate::wire::record::Record;
use crate::wire::reject::Reject;
use crate::wire::server_message::{self, Ack, Chat, Refusal};
use crate::wire::time::Micros;
use crate::wire::{Encoding, Id, SpaceId, SpaceKey, UserId};

/// Something to say, with all that the hub knows of its sender.
struct Said<'a> {
    space: SpaceId,
    user: UserId,
    username: &'a str,
    content: &'a str,
    image: &'a str,
    nonce: Option<&'a str>,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    id: Id,
    at: Micros,
    /// The number of its record.
    record: u64,
    duplicate: bool,
}

/// Checks a message, gives it its id, and puts it among the records of the turn and into its
/// space's log. A known nonce makes nothing new.
fn say(
    door: &mut Door,
    commits: &mut Commits,
    turn: &mut Turn,
    space: &mut Space,
    said: Said<'_>,
) -> Result<Accepted, Reject> {
    check_content(said.content, turn.limits.content_chars_max)?;
    door.check_draining()?;
    if said.image.contains('\0') {
        return Err(Reject::ContentInvalid);
    }
    let image = kept_image(said.image, turn.limits.image_bytes_max);
    let nonce = said.nonce.map(|nonce| {
        let key = NonceKey::new(said.user, said.space, nonce);
        Nonce { key, content: content_hash(said.content, image) }
    });
    if let Some(nonce) = &nonce
        && let Some(Known { id, at, record, .. }) = door.find(turn, nonce)?
    {
        return Ok(Accepted { id, at, record, duplicate: true });
    }
    let Said { user, username, content, .. } = said;
    door.check_new(turn, user, said.space, username.len() + content.len())?;
    let waits = turn.secured.is_by_store();
    if waits {
        check_store(commits, turn)?;
    }

    let (id, at, number) = commits.make(turn.now.unix);
    let record = Record { id, at, space: said.space, user, username, content, nonce };
    record.append_to(&mut turn.fx.records);
    let chat = Chat { id, space: said.space, user, username, content, image };
    let text = turn.text(at);
    let frame = ChatFrame { id, record: number, waits };
    space.append(turn, Some(frame), chat.frame_bytes_max(), |out| {
        server_message::chat(out, &chat, &text)
    });
    turn.counts.add(Metric::ChatsAccepted, 1);
    if waits {
        turn.secured.wait(number, id, space.place());
    }
    if turn.timed.is_next() {
        turn.timed.begin(space.place(), space.end(Encoding::Frames), turn.now);
    }
    if let Some(Nonce { key, content }) = nonce {
        door.remember(turn.now.mono, key, Known { id, at, record: number, content });
    }
    Ok(Accepted { id, at, record: number, duplicate: false })
}

/// Whether the store takes what is said, where that is accepted only then.
fn check_store(commits: &Commits, turn: &Turn) -> Result<(), Reject> {
    let is_late = turn.secured.is_by_store() && commits.is_late(turn.now);
    if is_late { Err(Reject::StoreUnavailable) } else { Ok(()) }
}

impl Shard {
    /// A whole message of a member's.
    pub(super) fn message(&mut self, key: MemberKey, json: &mut [u8]) {
        let turn = &mut self.turn;
        let Some(Seated { member, .. }) = self.rooms.seated(key) else { return };
        member.heard(turn.now.mono);
        turn.counts.add(Metric::MessagesReceived, 1);
        turn.counts.add(Metric::ReceivedBytes, json.len() as u64);
        let own_rate = member.take_rate(turn.now.mono, &turn.limits);
        let rules =
            DecodeRules { dialect: member.who.dialect, depth_max: turn.limits.json_depth_max };
        let decoded = self.decoder.decode(json, rules);
        let nonce = match &decoded {
            Ok(ClientMessage::Chat(chat)) => chat.nonce,
            _ => None,
        };
        let rated = own_rate
            .and_then(|()| self.door.take_rates(turn, member.who.user, member.who.address()));
        let outcome = match rated.and(decoded) {
            Err(reject) => Err(reject),
            Ok(ClientMessage::Chat(chat)) => self.chat(key, chat),
            Ok(ClientMessage::Auth(token)) => self.show_token(key, token.0),
            Ok(ClientMessage::Ping) => {
                self.answer(AnswerTo::Pong { key });
                Ok(())
            }
        };
        if let Err(reject) = outcome {
            self.turn.counts.reject(reject);
            self.refuse(key, reject, nonce);
        }
    }

    /// Refuses a message of a member's, which is counted: too many end the connection.
    fn refuse(&mut self, key: MemberKey, reject: Reject, nonce: Option<&str>) {
        let turn = &mut self.turn;
        if !turn.secured.is_by_store() {
            let refusal = Refusal { reject, nonce, id: None };
            return self.rooms.with(turn, key, |seated, turn| seated.refuse(turn, &refusal));
        }
        let judge = |it: &mut Seated<'_>, turn: &mut Turn| it.judge(turn, reject);
        self.rooms.with(turn, key, judge);
        let refused = Box::new(Refused { reject, nonce: nonce.map(Box::from) });
        self.answer(AnswerTo::Refusal { key, refused });
    }

    /// Answers a member what says nothing of the store: in the order of its messages, and behind
    /// what its space has said before. While that waits for the store the answer does too, but no
    /// longer than the store may take: then it is to be heard that the hub is there.
    fn answer(&mut self, mut to: AnswerTo) {
        self.answer_hasty();
        let Shard { turn, commits, rooms, .. } = self;
        let key = to.key();
        let Some(Seated { member, space, .. }) = rooms.seated(key) else { return };
        if turn.secured.is_by_store()
            && (!space.is_secured() || member.is_waiting())
            && !(commits.is_late(turn.now) || member.waits_are_full() || commits.answers_are_full())
        {
            member.wait();
            match commits.wait_answer(commits.newest(), to) {
                None => return,
                Some(back) => to = back,
            }
            member.waited();
        }
        rooms.with(turn, key, |seated, turn| seated.give(turn, &to, Ok(())));
    }

    /// A chat of a member's: said, and acked as it asks.
    fn chat(&mut self, key: MemberKey, chat: ChatMessage<'_>) -> Result<(), Reject> {
        let Some(Seated { member, space, .. }) = self.rooms.seated(key) else { return Ok(()) };
        let SpaceKey::Chat(id) = space.key() else { return Ok(()) };
        if !member.who.may_say {
            return Err(Reject::Forbidden);
        }
        let is_acked_late = self.turn.secured.is_by_store() && chat.nonce.is_some();
        let waits = chat.ack == AckLevel::Durable || is_acked_late && chat.ack != AckLevel::None;
        if waits && (member.waits_are_full() || self.commits.answers_are_full()) {
            return Err(Reject::Overloaded);
        }
        let said = Said {
            space: id,
            user: member.who.user,
            username: &member.who.username,
            content: chat.content,
            image: chat.image,
            nonce: chat.nonce,
        };
        let accepted = say(&mut self.door, &mut self.commits, &mut self.turn, space, said)?;
        if let Some(nonce) = chat.nonce {
            self.ack(key, nonce, chat.ack, accepted);
        }
        Ok(())
    }

    /// A member shows another token: the edge judges it. Nobody is asked for one who came without.
    fn show_token(&mut self, key: MemberKey, token: &str) -> Result<(), Reject> {
        let Some(Seated { member, space, .. }) = self.rooms.seated(key) else { return Ok(()) };
        let (user, address, space) = (member.who.user, member.who.address(), space.key());
        if !self.rooms.grants.has(key) {
            return Err(Reject::UnknownMessageType);
        }
        let renewal = Renewal { member: key, user, space, address, token: token.into() };
        self.turn.fx.renewals.push(renewal);
        Ok(())
    }

    /// Gives a sender the acks that it asked for.
    fn ack(&mut self, key: MemberKey, nonce: &str, level: AckLevel, accepted: Accepted) {
        if level == AckLevel::None {
            return;
        }
        let Accepted { id, duplicate, record, .. } = accepted;
        let Shard { turn, commits, rooms, .. } = self;
        let Some(mut seated) = rooms.seated(key) else { return };
        let is_by_store = turn.secured.is_by_store();
        let mut close = None;
        if !is_by_store {
            let ack = Ack { nonce, id, level: AckLevel::Accepted, duplicate };
            close = seated.ack(turn, &ack);
        }
        if close.is_none() && (is_by_store || level == AckLevel::Durable) {
            let (record, levels) = match (is_by_store, level) {
                (false, _) => (record, Levels::Durable),
                // Behind all that the member was to be answered before.
                (true, AckLevel::Durable) => (commits.newest(), Levels::Both),
                (true, _) => (commits.newest(), Levels::Accepted),
            };
            seated.member.wait();
            let answer = AnswerTo::Ack { key, nonce: nonce.into(), id, duplicate, levels };
            if let Some(to) = commits.wait_answer(record, answer) {
                seated.member.waited();
                close = seated.give(turn, &to, Ok(()));
            }
        }
        if let Some(close) = close {
            rooms.let_go(turn, key, close);
        }
    }

    /// A chat by HTTP.
    pub(super) fn post(&mut self, ticket: Ticket, post: &Post) {
        let accepted = self.accept_post(post);
        let Ok(Accepted { id, at, record, duplicate }) = accepted else {
            return self.turn.reply(ticket, accepted.map(|_| Reply::Durable(Ok(()))));
        };
        let is_by_store = self.turn.secured.is_by_store();
        if !is_by_store {
            self.turn.reply(ticket, Ok(Reply::Posted { id, at, duplicate }));
        }
        let untold = is_by_store.then_some((at, duplicate));
        if let Some(post) = self.commits.wait_post(record, PostTo { ticket, id, untold }) {
            self.tell_post(&post, Ok(()));
        }
    }

    fn accept_post(&mut self, post: &Post) -> Result<Accepted, Reject> {
        let turn = &mut self.turn;
        self.door.take_rates(turn, post.user, post.address)?;
        // Before a space is made for it.
        check_content(&post.content, turn.limits.content_chars_max)?;
        let key = SpaceKey::Chat(post.space);
        if self.rooms.spaces.find(key).is_none() {
            self.door.check_new_space(turn, post.username.len() + post.content.len())?;
            check_store(&self.commits, turn)?;
        }
        let space = self.rooms.spaces.open(turn, key, self.commits.floor());
        if space.is_paused() {
            return Err(Reject::Overloaded);
        }
        let said = Said {
            space: post.space,
            user: post.user,
            username: &post.username,
            content: &post.content,
            image: &post.image,
            nonce: post.nonce.as_deref(),
        };
        say(&mut self.door, &mut self.commits, turn, space, said)
    }
}
