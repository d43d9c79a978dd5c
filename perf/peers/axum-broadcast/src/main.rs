//! The baseline: axum's WebSocket, one `tokio::sync::broadcast` channel a space, and two tasks a
//! connection. Frames are the hub's to the byte; nothing is stored.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

const MESSAGE_BYTES_MAX: usize = 512;
const CONTENT_CHARS_MAX: usize = 1000;
/// What a member may be behind before it is closed: about 1 MiB.
const BACKLOG_MESSAGES: usize = 4096;

/// Above so many members joins and leaves are not announced one by one.
static ANNOUNCE_MEMBERS_MAX: LazyLock<usize> = LazyLock::new(|| {
    let text = std::env::var("ANNOUNCE_MEMBERS_MAX");
    text.map_or(500, |text| text.parse().expect("ANNOUNCE_MEMBERS_MAX: a number"))
});

#[derive(Deserialize)]
struct Incoming<'a> {
    r#type: &'a str,
    data: Content,
}

#[derive(Deserialize)]
struct Content {
    content: String,
}

#[derive(Serialize)]
struct Frame<'a, D> {
    r#type: &'static str,
    data: D,
    timestamp: &'a str,
    user_id: i32,
    space_id: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
}

#[derive(Serialize)]
struct Chat<'a> {
    id: String,
    content: &'a str,
    user_id: i32,
    username: &'a str,
    space_id: i32,
    timestamp: &'a str,
    image: &'static str,
}

#[derive(Serialize)]
struct Presence {
    space_id: i32,
    user_id: i32,
    username: &'static str,
}

#[derive(Deserialize)]
struct Identity {
    user_id: i32,
    username: Option<String>,
}

struct Seat {
    space: i32,
    user: i32,
    username: String,
}

/// A space's channel and its last id: ids are made and sent under one lock, so that they ascend.
struct Space {
    frames: broadcast::Sender<Utf8Bytes>,
    last_id: Mutex<u128>,
}

type Spaces = Arc<Mutex<HashMap<i32, Arc<Space>>>>;

#[tokio::main]
async fn main() {
    let port = std::env::var("PORT").expect("PORT is set");
    let address = format!("127.0.0.1:{port}");
    let listener = tokio::net::TcpListener::bind(&address).await.expect("a free port");
    let app =
        Router::new().route("/v1/ws/spaces/{space}", any(upgrade)).with_state(Spaces::default());
    axum::serve(listener, app).await.expect("serving ends with the process");
}

async fn upgrade(
    socket: WebSocketUpgrade,
    Path(space): Path<i32>,
    Query(identity): Query<Identity>,
    State(spaces): State<Spaces>,
) -> Response {
    let user = identity.user_id;
    let username = identity.username.unwrap_or_else(|| format!("User{user}"));
    let seat = Seat { space, user, username };
    socket.max_message_size(MESSAGE_BYTES_MAX).on_upgrade(move |socket| serve(socket, seat, spaces))
}

async fn serve(socket: WebSocket, seat: Seat, spaces: Spaces) {
    let space =
        Arc::clone(spaces.lock().expect("no panics").entry(seat.space).or_insert_with(|| {
            let (frames, _) = broadcast::channel(BACKLOG_MESSAGES);
            Arc::new(Space { frames, last_id: Mutex::new(0) })
        }));
    let (mut sink, mut stream) = socket.split();
    let mut frames = space.frames.subscribe();
    let join = seat.presence("join", Some(&seat.username));
    if space.frames.receiver_count() <= *ANNOUNCE_MEMBERS_MAX {
        let _ = space.frames.send(join);
    } else if sink.send(Message::Text(join)).await.is_err() {
        return;
    }
    let mut writer = tokio::spawn(async move {
        // Who lags behind the channel is closed, as a slow member is by the others.
        while let Ok(frame) = frames.recv().await {
            if sink.send(Message::Text(frame)).await.is_err() {
                break;
            }
        }
    });
    loop {
        tokio::select! {
            _ = &mut writer => break,
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => seat.chat(&text, &space),
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
        }
    }
    writer.abort();
    let _ = writer.await;
    if space.frames.receiver_count() <= *ANNOUNCE_MEMBERS_MAX {
        let _ = space.frames.send(seat.presence("leave", None));
    }
}

impl Seat {
    fn chat(&self, text: &str, space: &Space) {
        let Ok(Incoming { r#type: "chat", data: Content { content } }) = serde_json::from_str(text)
        else {
            return;
        };
        if content.is_empty() || content.chars().count() > CONTENT_CHARS_MAX {
            return;
        }
        let now = now_micros();
        let timestamp = timestamp(now);
        let mut last_id = space.last_id.lock().expect("no panics");
        *last_id = (*last_id + 1).max(u128::from(now / 1000) << 80);
        let frame = Frame {
            r#type: "chat",
            data: Chat {
                id: ulid(*last_id),
                content: &content,
                user_id: self.user,
                username: &self.username,
                space_id: self.space,
                timestamp: &timestamp,
                image: "",
            },
            timestamp: &timestamp,
            user_id: self.user,
            space_id: self.space,
            username: None,
        };
        let _ = space.frames.send(json(&frame));
    }

    fn presence(&self, kind: &'static str, username: Option<&str>) -> Utf8Bytes {
        json(&Frame {
            r#type: kind,
            data: Presence { space_id: self.space, user_id: self.user, username: "" },
            timestamp: &timestamp(now_micros()),
            user_id: self.user,
            space_id: self.space,
            username,
        })
    }
}

fn json(frame: &impl Serialize) -> Utf8Bytes {
    serde_json::to_string(frame).expect("frames are plain").into()
}

fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_micros() as u64
}

fn ulid(id: u128) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    (0..26).rev().map(|place| ALPHABET[(id >> (5 * place)) as usize & 31] as char).collect()
}

/// Buenos Aires' clock in six digits, as the hub writes it.
fn timestamp(micros: u64) -> String {
    let local = micros - 3 * 3600 * 1_000_000;
    let (seconds, micros) = (local / 1_000_000, local % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since March of year 0 (Hinnant's civil calendar).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}-03:00")
}
