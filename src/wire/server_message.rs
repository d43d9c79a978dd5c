//! Server messages: the exact bytes of everything that the hub says (WIRE A2, A6, C).
//!
//! Each function writes one frame at the end of `out`. Which member gets it is the shard's
//! business: join, leave and chat go into a space's log, the others into private queues.

use bytes::BytesMut;

use super::client_message::AckLevel;
use super::frame_writer::FrameWriter;
use super::reject::Reject;
use super::time::TIME_BYTES;
use super::{Dialect, Id, SpaceId, UserId};

/// Form `T` of an instant, as `time::TimeFormat` writes it.
pub type TimeText = [u8; TIME_BYTES];

/// One accepted chat message, as it is fanned out.
#[derive(Clone, Copy, Debug)]
pub struct Chat<'a> {
    /// The message's id and position.
    pub id: Id,
    /// The space it was said in.
    pub space: SpaceId,
    /// The sender.
    pub user: UserId,
    /// The sender's name.
    pub username: &'a str,
    /// The text.
    pub content: &'a str,
    /// The sender's picture, or "".
    pub image: &'a str,
}

impl Chat<'_> {
    /// An upper bound of the frame's bytes, without looking at the text: 6 bytes an escape.
    pub fn frame_bytes_max(&self) -> usize {
        400 + 6 * (self.username.len() + self.content.len()) + 12 * self.image.len()
    }
}

/// A chat, to everyone in the space.
pub fn chat(out: &mut BytesMut, chat: &Chat<'_>, at: &TimeText) -> usize {
    let mut frame = FrameWriter::begin(out);
    frame.raw("{\"type\":\"chat\",\"data\":{\"id\":\"").ascii(&chat.id.text());
    frame.raw("\",\"content\":").string(chat.content);
    frame.raw(",\"user_id\":").number(chat.user.0.into());
    frame.raw(",\"username\":").string(chat.username);
    frame.raw(",\"space_id\":").number(chat.space.0.into());
    frame.raw(",\"timestamp\":\"").ascii(at);
    frame.raw("\",\"image\":").string(chat.image);
    frame.raw("},\"timestamp\":\"").ascii(at);
    frame.raw("\",\"user_id\":").number(chat.user.0.into());
    frame.raw(",\"space_id\":").number(chat.space.0.into());
    if !chat.image.is_empty() {
        frame.raw(",\"image\":").string(chat.image);
    }
    frame.raw("}");
    frame.end()
}

/// A member came; the inner name is always empty, as the existing clients know it.
pub fn join(
    out: &mut BytesMut,
    space: SpaceId,
    user: UserId,
    username: &str,
    at: &TimeText,
) -> usize {
    let mut frame = FrameWriter::begin(out);
    presence_change(&mut frame, "join", space, user, at);
    frame.raw(",\"username\":").string(username).raw("}");
    frame.end()
}

/// A member went; without any name.
pub fn leave(out: &mut BytesMut, space: SpaceId, user: UserId, at: &TimeText) -> usize {
    let mut frame = FrameWriter::begin(out);
    presence_change(&mut frame, "leave", space, user, at);
    frame.raw("}");
    frame.end()
}

fn presence_change(
    frame: &mut FrameWriter<'_>,
    kind: &str,
    space: SpaceId,
    user: UserId,
    at: &TimeText,
) {
    frame.raw("{\"type\":\"").raw(kind).raw("\",\"data\":{\"space_id\":").number(space.0.into());
    frame.raw(",\"user_id\":").number(user.0.into());
    frame.raw(",\"username\":\"\"},\"timestamp\":\"").ascii(at);
    frame.raw("\",\"user_id\":").number(user.0.into());
    frame.raw(",\"space_id\":").number(space.0.into());
}

/// Where a private frame belongs: most carry the member's user and space outside.
#[derive(Clone, Copy, Debug)]
pub struct Whose {
    /// The member's user.
    pub user: UserId,
    /// The member's space; none on the two other sockets.
    pub space: Option<SpaceId>,
}

impl Whose {
    fn write(self, frame: &mut FrameWriter<'_>) {
        frame.raw(",\"user_id\":").number(self.user.0.into());
        if let Some(space) = self.space {
            frame.raw(",\"space_id\":").number(space.0.into());
        }
        frame.raw("}");
    }
}

/// The answer to a JSON ping.
pub fn pong(out: &mut BytesMut, whose: Whose, at: &TimeText) {
    let mut frame = FrameWriter::begin(out);
    frame.raw("{\"type\":\"pong\",\"data\":{\"message\":\"pong\"},\"timestamp\":\"").ascii(at);
    frame.raw("\"");
    whose.write(&mut frame);
    frame.end();
}

/// A refusal and what it answers; the last two are told in `cpi-hub.v1` only.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub reject: Reject,
    /// The nonce of the refused message.
    pub nonce: Option<&'a str>,
    /// The id of a message that was accepted and refused by the store later.
    pub id: Option<Id>,
}

/// A refusal. Seed members get code and message only.
pub fn error(
    out: &mut BytesMut,
    dialect: Dialect,
    refusal: &Refusal<'_>,
    whose: Whose,
    at: &TimeText,
) {
    let Refusal { reject, nonce, id } = *refusal;
    let mut frame = FrameWriter::begin(out);
    frame.raw("{\"type\":\"error\",\"data\":{\"code\":\"").raw(reject.code_in(dialect));
    frame.raw("\",\"message\":").string(reject.message());
    if dialect == Dialect::V1 {
        if let Some(field) = reject.field() {
            frame.raw(",\"field\":").string(field);
        }
        if let Some(nonce) = nonce {
            frame.raw(",\"ref\":").string(nonce);
        }
        if let Some(id) = id {
            frame.raw(",\"id\":\"").ascii(&id.text()).raw("\"");
        }
        if let Some(wait) = reject.retry_after_ms() {
            frame.raw(",\"retry_after_ms\":").number(wait.into());
        }
    }
    frame.raw("},\"timestamp\":\"").ascii(at).raw("\"");
    whose.write(&mut frame);
    frame.end();
}

/// The first frame of a `cpi-hub.v1` member.
#[derive(Clone, Copy, Debug)]
pub struct Welcome<'a> {
    /// Names the connection in logs and to people: shard, slot, generation.
    pub connection: (u16, u32, u32),
    /// The member's user and name; none of a reader that is nobody.
    pub user: Option<(UserId, &'a str)>,
    /// In a chat space: its number, newest position, and members with this one.
    pub space: Option<(SpaceId, Id, usize)>,
    /// `limits.message_bytes_max`.
    pub message_bytes_max: usize,
    /// `limits.content_chars_max`.
    pub content_chars_max: usize,
    /// `limits.ping_period`.
    pub ping_period_ms: u64,
}

/// Greets a `cpi-hub.v1` member.
pub fn welcome(out: &mut BytesMut, welcome: &Welcome<'_>, at: &TimeText) {
    let (shard, slot, generation) = welcome.connection;
    let mut frame = FrameWriter::begin(out);
    frame.raw("{\"type\":\"welcome\",\"data\":{\"connection_id\":\"").number(shard.into());
    frame.raw("-").number(slot.into()).raw("-").number(generation.into()).raw("\"");
    if let Some((space, _, _)) = welcome.space {
        frame.raw(",\"space_id\":").number(space.0.into());
    }
    if let Some((user, username)) = welcome.user {
        frame.raw(",\"user_id\":").number(user.0.into());
        frame.raw(",\"username\":").string(username);
    }
    if let Some((_, position, members)) = welcome.space {
        frame.raw(",\"position\":\"").ascii(&position.text());
        frame.raw("\",\"members\":").number(members as i64);
    }
    frame.raw(",\"message_bytes_max\":").number(welcome.message_bytes_max as i64);
    frame.raw(",\"content_chars_max\":").number(welcome.content_chars_max as i64);
    frame.raw(",\"ping_period_ms\":").number(welcome.ping_period_ms as i64);
    end_v1(frame, at);
}

/// An accepted or stored message, to its sender.
#[derive(Clone, Copy, Debug)]
pub struct Ack<'a> {
    /// The sender's nonce.
    pub nonce: &'a str,
    /// The message's id.
    pub id: Id,
    /// How far it is.
    pub level: AckLevel,
    /// Whether the nonce was used before: no new message was made.
    pub duplicate: bool,
}

/// Tells a sender how far its message is.
pub fn ack(out: &mut BytesMut, ack: &Ack<'_>, at: &TimeText) {
    let mut frame = FrameWriter::begin(out);
    frame.raw("{\"type\":\"ack\",\"data\":{\"nonce\":").string(ack.nonce);
    frame.raw(",\"id\":\"").ascii(&ack.id.text());
    frame.raw("\",\"level\":\"").raw(ack.level.name());
    frame.raw("\",\"duplicate\":").raw(if ack.duplicate { "true" } else { "false" });
    end_v1(frame, at);
}

/// What a resume has sent: exactly the chats with `from < id <= to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resumed {
    /// Where it began; the position asked for, unless something is missing.
    pub from: Id,
    /// The last id sent, or `from`.
    pub to: Id,
    /// How many chats were sent.
    pub count: usize,
    /// Why the messages between the position asked for and `from` are missing.
    pub missing: Option<Missing>,
}

/// Why a resume is incomplete (WIRE C).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// More than `resume_messages_max` were missed.
    TooMany,
    /// The store could not be read; memory's part was sent.
    StoreUnavailable,
    /// The position asked for lies above the newest.
    Ahead,
}

/// Ends a resume.
pub fn resumed(out: &mut BytesMut, resumed: &Resumed, at: &TimeText) {
    let mut frame = FrameWriter::begin(out);
    frame.raw("{\"type\":\"resumed\",\"data\":{\"from\":\"").ascii(&resumed.from.text());
    frame.raw("\",\"to\":\"").ascii(&resumed.to.text());
    frame.raw("\",\"count\":").number(resumed.count as i64);
    let reason = match resumed.missing {
        None => "true",
        Some(Missing::TooMany) => "false,\"reason\":\"too_many\"",
        Some(Missing::StoreUnavailable) => "false,\"reason\":\"store_unavailable\"",
        Some(Missing::Ahead) => "false,\"reason\":\"ahead\"",
    };
    frame.raw(",\"complete\":").raw(reason);
    end_v1(frame, at);
}

/// The count that replaces joins and leaves in a big space, and changes in a big lobby, which has
/// no id.
pub fn presence(out: &mut BytesMut, space: Option<SpaceId>, members: usize, at: &TimeText) {
    let mut frame = FrameWriter::begin(out);
    frame.raw("{\"type\":\"presence\",\"data\":{");
    if let Some(space) = space {
        frame.raw("\"space_id\":").number(space.0.into()).raw(",");
    }
    frame.raw("\"members\":").number(members as i64);
    end_v1(frame, at);
}

/// Says why the hub is about to close; without a hint, the client should not come back.
pub fn closing(
    out: &mut BytesMut,
    code: u16,
    reason: &str,
    retry_after_ms: Option<u32>,
    at: &TimeText,
) {
    let mut frame = FrameWriter::begin(out);
    frame.raw("{\"type\":\"closing\",\"data\":{\"code\":").number(code.into());
    frame.raw(",\"reason\":\"").raw(reason).raw("\"");
    if let Some(wait) = retry_after_ms {
        frame.raw(",\"retry_after_ms\":").number(wait.into());
    }
    end_v1(frame, at);
}

/// Tells a member that its token ends in this number of milliseconds.
pub fn expiring(out: &mut BytesMut, left_ms: u64, at: &TimeText) {
    token_end(out, "expiring", left_ms, at);
}

/// Tells a member that the token which it has shown is taken, and when that ends.
pub fn renewed(out: &mut BytesMut, left_ms: u64, at: &TimeText) {
    token_end(out, "auth", left_ms, at);
}

fn token_end(out: &mut BytesMut, kind: &str, left_ms: u64, at: &TimeText) {
    let mut frame = FrameWriter::begin(out);
    frame.raw("{\"type\":\"").raw(kind).raw("\",\"data\":{\"expires_in_ms\":");
    frame.number(i64::try_from(left_ms).unwrap_or(i64::MAX));
    end_v1(frame, at);
}

fn end_v1(mut frame: FrameWriter<'_>, at: &TimeText) {
    frame.raw("},\"timestamp\":\"").ascii(at).raw("\"}");
    frame.end();
}

/// A person came online or went offline; the instant is UTC in whole seconds (WIRE A6):
/// the first 19 characters of form `T` at offset zero.
pub fn user_status(out: &mut BytesMut, user: UserId, online: bool, utc: &TimeText) -> usize {
    let status = if online { "online" } else { "offline" };
    let mut frame = FrameWriter::begin(out);
    frame.raw("{\"type\":\"user_status\",\"user_id\":").number(user.0.into());
    frame.raw(",\"status\":\"").raw(status);
    frame.raw("\",\"username\":\"User").number(user.0.into());
    frame.raw("\",\"timestamp\":\"").ascii(&utc[..19]).raw("Z\"}");
    frame.end()
}

/// A push to one person; `data` is JSON that the edge has checked.
pub fn notification(out: &mut BytesMut, kind: &str, data: &str, timestamp: &str) -> usize {
    let mut frame = FrameWriter::begin(out);
    frame.raw("{\"type\":").string(kind).raw(",\"data\":").raw(data);
    frame.raw(",\"timestamp\":").string(timestamp).raw("}");
    frame.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &TimeText = b"2026-01-02T03:04:05.678901-03:00";
    const ID: Id = Id((1_469_918_176_385u128 << 80) | 7);
    const WHOSE: Whose = Whose { user: UserId(1), space: Some(SpaceId(1)) };

    fn text(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        let header = if out[1] == 126 { 4 } else { 2 };
        String::from_utf8(out.split_off(header).to_vec()).expect("text frames are UTF-8")
    }

    fn sample(image: &str) -> Chat<'_> {
        let (space, user) = (SpaceId(1), UserId(1));
        Chat { id: ID, space, user, username: "Ana Paz", content: "hola", image }
    }

    #[test]
    fn the_seeds_messages_have_the_bytes_of_the_wire_contract() {
        assert_eq!(
            text(|out| _ = join(out, SpaceId(1), UserId(2), "Beto Rey", AT)),
            r#"{"type":"join","data":{"space_id":1,"user_id":2,"username":""},"timestamp":"2026-01-02T03:04:05.678901-03:00","user_id":2,"space_id":1,"username":"Beto Rey"}"#
        );
        assert_eq!(
            text(|out| _ = leave(out, SpaceId(1), UserId(2), AT)),
            r#"{"type":"leave","data":{"space_id":1,"user_id":2,"username":""},"timestamp":"2026-01-02T03:04:05.678901-03:00","user_id":2,"space_id":1}"#
        );
        let id = ID.to_string();
        assert_eq!(
            text(|out| _ = chat(out, &sample(""), AT)),
            r#"{"type":"chat","data":{"id":"ID","content":"hola","user_id":1,"username":"Ana Paz","space_id":1,"timestamp":"2026-01-02T03:04:05.678901-03:00","image":""},"timestamp":"2026-01-02T03:04:05.678901-03:00","user_id":1,"space_id":1}"#
                .replace("ID", &id)
        );
        assert!(
            text(|out| _ = chat(out, &sample("https://x/\"y"), AT))
                .ends_with(r#","space_id":1,"image":"https://x/\"y"}"#)
        );
        assert_eq!(
            text(|out| pong(out, WHOSE, AT)),
            r#"{"type":"pong","data":{"message":"pong"},"timestamp":"2026-01-02T03:04:05.678901-03:00","user_id":1,"space_id":1}"#
        );
        let refusal = Refusal { reject: Reject::ContentEmpty, nonce: Some("a1"), id: None };
        assert_eq!(
            text(|out| error(out, Dialect::Seed, &refusal, WHOSE, AT)),
            r#"{"type":"error","data":{"code":"validation_error","message":"el mensaje no puede estar vacío"},"timestamp":"2026-01-02T03:04:05.678901-03:00","user_id":1,"space_id":1}"#
        );
        assert_eq!(
            text(|out| _ = user_status(out, UserId(2), true, AT)),
            r#"{"type":"user_status","user_id":2,"status":"online","username":"User2","timestamp":"2026-01-02T03:04:05Z"}"#
        );
    }

    #[test]
    fn the_second_dialects_messages_have_the_bytes_of_the_wire_contract() {
        let reject = Reject::RateLimited { retry_after_ms: 120 };
        let refusal = Refusal { reject, nonce: Some("a1"), id: None };
        assert_eq!(
            text(|out| error(out, Dialect::V1, &refusal, WHOSE, AT)),
            r#"{"type":"error","data":{"code":"rate_limited","message":"demasiados mensajes, espera un momento","ref":"a1","retry_after_ms":120},"timestamp":"2026-01-02T03:04:05.678901-03:00","user_id":1,"space_id":1}"#
        );
        let hello = Welcome {
            connection: (3, 41, 9),
            user: Some((UserId(1), "Ana Paz")),
            space: Some((SpaceId(1), ID, 3)),
            message_bytes_max: 512,
            content_chars_max: 1000,
            ping_period_ms: 54_000,
        };
        let id = ID.to_string();
        assert_eq!(
            text(|out| welcome(out, &hello, AT)),
            r#"{"type":"welcome","data":{"connection_id":"3-41-9","space_id":1,"user_id":1,"username":"Ana Paz","position":"ID","members":3,"message_bytes_max":512,"content_chars_max":1000,"ping_period_ms":54000},"timestamp":"2026-01-02T03:04:05.678901-03:00"}"#
                .replace("ID", &id)
        );
        let accepted = Ack { nonce: "a1", id: ID, level: AckLevel::Accepted, duplicate: false };
        assert_eq!(
            text(|out| ack(out, &accepted, AT)),
            r#"{"type":"ack","data":{"nonce":"a1","id":"ID","level":"accepted","duplicate":false},"timestamp":"2026-01-02T03:04:05.678901-03:00"}"#
                .replace("ID", &id)
        );
        assert_eq!(
            text(|out| closing(out, 1012, "restart", Some(4200), AT)),
            r#"{"type":"closing","data":{"code":1012,"reason":"restart","retry_after_ms":4200},"timestamp":"2026-01-02T03:04:05.678901-03:00"}"#
        );
    }

    #[test]
    fn the_bound_of_a_chats_frame_holds_for_the_worst_text() {
        let worst = "\u{1}".repeat(200);
        let (space, user) = (SpaceId(i32::MIN), UserId(i32::MIN));
        let chat_ = Chat { id: ID, space, user, username: &worst, content: &worst, image: &worst };
        let mut out = BytesMut::new();
        assert!(chat(&mut out, &chat_, AT) <= chat_.frame_bytes_max());
    }
}
