//! Answers that may be large: the room that they take, and stored messages encoded piece by piece
//! while their reader takes them.
//!
//! Owns the room for all answers in flight, of which one address holds half at most. What an
//! answer holds counts from when it is read until the socket has taken its last byte, or the
//! connection has ended. Never holds the whole text of a page.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;

use super::json;
use super::peer::Peer;
use super::problem::Refusal;
use crate::conditions::Conditions;
use crate::limits::{Limits, PIECE_BYTES_MAX};
use crate::shares::{Part, Pool};
use crate::store::StoredMessage;
use crate::wire::reject::Reject;
use crate::wire::time::TimeFormat;

/// Where a piece ends; it is allocated with [`PIECE_BYTES_MAX`], within which most rows end.
const PIECE_BYTES: usize = 48 << 10;
/// What an answer without rows takes before it is known.
const QUESTION_BYTES: usize = 1 << 10;
/// What a row holds beside what the limits bound: its id, and the row itself.
const ROW_BYTES: usize = size_of::<StoredMessage>() + 64;
/// A picture's text between two looks at how full the piece is; six times as long when escaped.
const IMAGE_STEP: usize = 8 << 10;

/// The room for answers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pool: Pool,
    /// The most that a row holds, but for pictures and rows of other makers.
    row_bytes: usize,
}

impl Answers {
    /// Room as the limits have it, and for one page of the longest messages in any case.
    pub(crate) fn new(limits: &Limits, conditions: &Conditions) -> Answers {
        let texts = 4 * (limits.content_chars_max + limits.username_chars_max);
        let row_bytes = ROW_BYTES + texts;
        let rows = limits.page_size_max as usize * row_bytes;
        let page = rows + limits.page_images_bytes_max + PIECE_BYTES_MAX;
        let all = limits.answers_bytes_max.max(page);
        let pool = Pool::new(all, (all / 2).max(page)).telling(conditions, "answers_bytes_max");
        Answers { pool, row_bytes }
    }

    /// Room for what `rows` hold at most, before they are asked for: a peer without room costs no
    /// query. Rows that were read are counted as they are.
    pub(crate) fn begin(&self, peer: Peer, rows: u32) -> Result<Part, Refusal> {
        let bytes = QUESTION_BYTES + rows as usize * self.row_bytes;
        self.pool.take(peer.number(), bytes).ok_or_else(overloaded)
    }

    /// An answer of JSON that is encoded at once; its bytes count.
    pub(crate) fn json(&self, peer: Peer, value: &impl Serialize) -> Result<Response, Refusal> {
        let text = json::line(value);
        let place = self.pool.take(peer.number(), text.len()).ok_or_else(overloaded)?;
        Ok(json::response(StatusCode::OK, Body::from(held(text, place))))
    }
}

fn overloaded() -> Refusal {
    Reject::Overloaded.into()
}

/// Bytes that take room as long as anybody has them.
fn held(text: Vec<u8>, place: Part) -> Bytes {
    struct Held(Vec<u8>, #[expect(dead_code, reason = "dropping it gives the room back")] Part);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Held(text, place))
}

/// Writes a row as JSON, each of its texts once, its picture as `""` and last: the picture is
/// written apart.
pub(crate) type RowText = fn(&StoredMessage, time: &str) -> Vec<u8>;

/// What a [`RowText`] ends with, behind the picture.
const ROW_END: &[u8] = b"\"}";

/// What stands around rows, and how one is written.
pub(crate) struct Form {
    /// Writes one row.
    pub row: RowText,
    /// What stands behind the rows, from the bracket that closes them.
    pub end: String,
    /// The offset that times are written in.
    pub utc_offset: i32,
}

/// Answers with rows; `place` has been theirs since they were read.
pub(crate) fn rows(
    rows: Vec<StoredMessage>,
    form: Form,
    mut place: Part,
) -> Result<Response, Refusal> {
    let held_bytes = rows.iter().map(StoredMessage::bytes).sum();
    let (rows, times) = (rows.into_iter(), TimeFormat::new(form.utc_offset));
    let mut text = Text { rows, form, times, image: None, held_bytes, ended: false };
    let mut first = b"{\"data\":[".to_vec();
    first.reserve_exact(held_bytes.min(PIECE_BYTES_MAX));
    text.fill(&mut first);
    if text.ended {
        // One piece is all of the answer: the rows are gone, and it holds its text alone.
        return if place.set_to(first.len()) {
            Ok(json::response(StatusCode::OK, Body::from(held(first, place))))
        } else {
            Err(overloaded())
        };
    }
    if !place.grow_to(text.held_bytes + PIECE_BYTES_MAX) {
        return Err(overloaded());
    }
    let left = (first.len() + text.rest_bytes()) as u64;
    Ok(json::response(
        StatusCode::OK,
        Body::new(Pieces { next: Some(first), text, place: Some(place), left }),
    ))
}

/// The text that is still to be written.
struct Text {
    rows: vec::IntoIter<StoredMessage>,
    form: Form,
    times: TimeFormat,
    /// The row whose picture is being written, and how far it is.
    image: Option<(StoredMessage, usize)>,
    /// What the rows that are left hold of memory.
    held_bytes: usize,
    ended: bool,
}

impl Text {
    /// Writes on, until the piece is full or all is written. Rows that are written are freed.
    fn fill(&mut self, piece: &mut Vec<u8>) {
        while piece.len() < PIECE_BYTES && !self.ended {
            if let Some((row, at)) = self.image.take() {
                let mut end = row.image.len().min(at + IMAGE_STEP);
                while !row.image.is_char_boundary(end) {
                    end -= 1;
                }
                escape(&row.image[at..end], piece);
                if end < row.image.len() {
                    self.image = Some((row, end));
                } else {
                    piece.extend_from_slice(ROW_END);
                    self.held_bytes -= row.bytes();
                    if self.rows.len() > 0 {
                        piece.push(b',');
                    }
                }
            } else if let Some(row) = self.rows.next() {
                piece.extend_from_slice(&self.row(&row));
                self.image = Some((row, 0));
            } else {
                piece.extend_from_slice(self.form.end.as_bytes());
                self.ended = true;
            }
        }
    }

    /// A row up to where its picture begins.
    fn row(&mut self, row: &StoredMessage) -> Vec<u8> {
        let mut text = (self.form.row)(row, &self.times.string(row.at));
        assert!(text.ends_with(b"\"\"}"), "a row ends in its picture");
        text.truncate(text.len() - ROW_END.len());
        text
    }

    /// How long the rest becomes: of each row its bare form is written, and its texts are counted.
    fn rest_bytes(&mut self) -> usize {
        let begun = self.image.iter().map(|(row, at)| escaped_bytes(&row.image[*at..]));
        let begun: usize = begun.map(|bytes| bytes + ROW_END.len()).sum();
        let rows = std::mem::take(&mut self.rows);
        let of_row = |row: &StoredMessage| {
            let texts = [&*row.id, &*row.content, &*row.username, &*row.image];
            let texts: usize = texts.into_iter().map(escaped_bytes).sum();
            let &StoredMessage { user, space, at, .. } = row;
            let (id, content, username) = Default::default();
            let bare = StoredMessage { id, content, user, username, space, at, image: "".into() };
            self.row(&bare).len() + texts + ROW_END.len()
        };
        let texts: usize = rows.as_slice().iter().map(of_row).sum();
        let rows_and_begun = rows.len() + usize::from(begun > 0);
        self.rows = rows;
        begun + texts + rows_and_begun.saturating_sub(1) + self.form.end.len()
    }
}

/// Writes what stands between a JSON string's quotes.
fn escape(text: &str, out: &mut Vec<u8>) {
    let at = out.len();
    serde_json::to_writer(&mut *out, text).expect("text becomes JSON, and memory takes it");
    out.pop();
    out.remove(at);
}

/// How long [`escape`] makes a text.
fn escaped_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

/// A body of pieces, whose length is known.
struct Pieces {
    /// The first one, as long as nobody has asked for it.
    next: Option<Vec<u8>>,
    text: Text,
    /// `None` once the last piece has it.
    place: Option<Part>,
    left: u64,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(mut place) = self.place.take() else { return Poll::Ready(None) };
        let piece = self.next.take().unwrap_or_else(|| {
            let mut piece = Vec::with_capacity(PIECE_BYTES_MAX);
            self.text.fill(&mut piece);
            piece
        });
        self.left = self.left.saturating_sub(piece.len() as u64);
        place.shrink_to(self.text.held_bytes + PIECE_BYTES_MAX);
        let piece = if self.text.ended {
            held(piece, place)
        } else {
            self.place = Some(place);
            Bytes::from(piece)
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.place.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::time::Micros;
    use crate::wire::{SpaceId, UserId};
    use http_body_util::BodyExt;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    const END: &str = "],\"end\":1}\n";

    #[derive(Serialize)]
    struct Row<'a> {
        id: &'a str,
        content: &'a str,
        username: &'a str,
        at: &'a str,
        image: &'a str,
    }

    fn row_text(row: &StoredMessage, at: &str) -> Vec<u8> {
        let StoredMessage { id, content, username, .. } = row;
        let row = Row { id, content, username, at, image: "" };
        serde_json::to_vec(&row).expect("JSON")
    }

    fn message(content: &str, image: &str) -> StoredMessage {
        StoredMessage {
            id: "01".into(),
            content: content.into(),
            user: UserId(1),
            username: "Ana".into(),
            space: SpaceId(1),
            at: Micros(0),
            image: image.into(),
        }
    }

    /// The text that the rows have when it is made at once.
    fn whole(messages: &[StoredMessage]) -> Vec<u8> {
        let at = TimeFormat::new(0).string(Micros(0));
        let rows = messages.iter().map(|it| {
            let StoredMessage { id, content, username, image, .. } = it;
            let row = Row { id, content, username, at: &at, image };
            serde_json::value::to_raw_value(&row).expect("JSON")
        });
        let rows: Vec<Box<RawValue>> = rows.collect();
        let mut text = b"{\"data\":".to_vec();
        text.extend(serde_json::to_vec(&rows).expect("JSON"));
        text.pop();
        text.extend_from_slice(END.as_bytes());
        text
    }

    fn answer(messages: Vec<StoredMessage>, place: Part) -> Result<Response, Refusal> {
        rows(messages, Form { row: row_text, end: END.into(), utc_offset: 0 }, place)
    }

    fn check(messages: Vec<StoredMessage>) {
        let (pool, expected) = (Pool::new(1 << 30, 1 << 30), whole(&messages));
        let mut place = pool.take(1, 0).expect("room");
        assert!(place.grow_to(messages.iter().map(StoredMessage::bytes).sum()));
        let body = answer(messages, place).expect("there is room").into_body();
        assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let got = runtime.block_on(async {
            let (mut body, mut got) = (body, Vec::new());
            while let Some(frame) = body.frame().await {
                let piece = frame.expect("a piece").into_data().expect("data");
                assert!(piece.len() <= PIECE_BYTES_MAX + 8_000, "{}", piece.len());
                got.extend_from_slice(&piece);
            }
            assert!(body.is_end_stream());
            got
        });
        assert!(got == expected, "{} bytes, expected {}", got.len(), expected.len());
        assert!(pool.take(1, 1 << 30).is_some(), "all room is given back");
    }

    #[test]
    fn pieces_are_the_bytes_of_the_whole_and_its_length_is_told() {
        check(vec![]);
        check(vec![message("hola", "https://x")]);
        check((0..500).map(|n| message(&"x".repeat(n), "")).collect());
        check((0..5).map(|_| message("hola", &"ñ\"\u{1}".repeat(40_000))).collect());
        check(vec![message("", &"a".repeat(PIECE_BYTES)), message("", &"\\".repeat(100_000))]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_texts_are_written_in_pieces_as_at_once(
            texts in prop::collection::vec(("\\PC{0,40}|[\\x00-\\x7f]{0,40}", 1usize..200), 0..30),
        ) {
            let rows = texts.iter();
            check(rows.map(|(text, times)| message(text, &text.repeat(*times))).collect());
        }
    }

    #[tokio::test]
    async fn room_is_given_back_as_rows_go_and_with_the_last_byte() {
        let pool = Pool::new(1 << 20, 1 << 20);
        let all = || (0..10).map(|_| message("hola", &"a".repeat(60_000))).collect::<Vec<_>>();
        let bytes: usize = all().iter().map(StoredMessage::bytes).sum();
        let place = |bytes| pool.take(1, bytes).expect("room");
        let free = || (1..=1 << 10).rev().find(|kib| pool.take(2, kib << 10).is_some());
        let mut body = answer(all(), place(bytes)).expect("room").into_body();
        let before = free();
        let mut pieces = Vec::new();
        for _ in 0..5 {
            pieces.push(body.frame().await.expect("more").expect("a piece"));
        }
        assert!(free() > before, "rows that are encoded are gone");
        while let Some(piece) = body.frame().await {
            pieces.push(piece.expect("a piece"));
        }
        drop(body);
        assert!(free() < Some(1 << 10), "the last piece is not taken yet");
        drop(pieces);
        assert_eq!(free(), Some(1 << 10));
        // Whoever leaves in between gives all of it back.
        let mut body = answer(all(), place(bytes)).expect("room").into_body();
        _ = body.frame().await;
        drop(body);
        assert_eq!(free(), Some(1 << 10));
        // No room for its pieces: refused, and given back.
        let rest = pool.take(3, (1 << 20) - bytes).expect("room");
        assert_eq!(answer(all(), place(bytes)).expect_err("no room").code, "overloaded");
        drop(rest);
        assert_eq!(free(), Some(1 << 10));
    }
}
