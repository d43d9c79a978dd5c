//! The end of a hub with many members who go on chatting: everybody is told, nobody at the same
//! time as everybody else, and nothing that was accepted is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::support::trials::is_slow;
use crate::support::{Hub, PATIENCE, UNLIMITED, eventually};

const SPACE_MEMBERS: usize = 20;
/// Between two messages of one member.
const PACE: Duration = Duration::from_secs(5);

/// What a member knows when its connection has ended.
struct Seen {
    space: usize,
    acked: Vec<String>,
    /// When it was told, and when it may come back, in milliseconds.
    closed: Option<(Instant, u64)>,
    code: Option<u16>,
}

/// Joins, and chats until the hub closes.
async fn chat(address: SocketAddr, user: usize, joined: Arc<AtomicUsize>) -> Seen {
    let space = 1 + user / SPACE_MEMBERS;
    let url = format!("ws://{address}/v1/ws/spaces/{space}?user_id={}", user + 1);
    let mut request = url.into_client_request().expect("a URL");
    let protocol = HeaderValue::from_static("cpi-hub.v1");
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    let (mut socket, _) = connect_async(request).await.expect("it joins");
    let mut seen = Seen { space, acked: Vec::new(), closed: None, code: None };
    // Not all in the same moment.
    let first = tokio::time::Instant::now() + PACE * (user as u32 % 100) / 100;
    let mut pace = tokio::time::interval_at(first, PACE);
    let mut said = 0;
    loop {
        let message = tokio::select! {
            _ = pace.tick() => {
                said += 1;
                let data = json!({"content": "hola", "nonce": format!("{user}-{said}")});
                let text = json!({"type": "chat", "data": data}).to_string();
                // One that finds the hub gone reads why.
                _ = socket.send(Message::text(text)).await;
                continue;
            }
            message = socket.next() => message,
        };
        match message {
            Some(Ok(Message::Text(text))) if text.starts_with(r#"{"type":"welcome""#) => {
                joined.fetch_add(1, Ordering::Relaxed);
            }
            Some(Ok(Message::Text(text))) if text.starts_with(r#"{"type":"ack""#) => {
                let ack: Value = serde_json::from_str(&text).expect("JSON");
                seen.acked.push(ack["data"]["id"].as_str().expect("an id").to_owned());
            }
            Some(Ok(Message::Text(text))) if text.starts_with(r#"{"type":"closing""#) => {
                let closing: Value = serde_json::from_str(&text).expect("JSON");
                let hint = closing["data"]["retry_after_ms"].as_u64().expect("a hint");
                seen.closed = Some((Instant::now(), hint));
            }
            Some(Ok(Message::Close(close))) => seen.code = close.map(|close| close.code.into()),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return seen,
        }
    }
}

/// How many fall into each tenth of a span; what lies beyond counts to the last one.
fn tenths(values: impl Iterator<Item = f64>, from: f64, span: f64) -> [usize; 10] {
    let mut counts = [0; 10];
    for value in values {
        counts[((value - from) / span * 10.0).clamp(0.0, 9.0) as usize] += 1;
    }
    counts
}

pub fn a_drain_under_load_spreads_its_closes_evenly_and_loses_nothing() {
    // A tenth is a second: a machine that stands still for half of one, and makes up for it, is
    // within the bound below.
    let (members, window) = (if is_slow() { 10_000 } else { 1_000 }, 10);
    let window_text = format!("{window}s");
    let args = [&UNLIMITED[..], &["--drain-window", &window_text]].concat();
    let mut hub = Hub::start(&args);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let joined = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for user in 0..members {
        // No more at once than the kernel lets wait.
        let ahead = || user - joined.load(Ordering::Relaxed);
        eventually("some have joined", || (ahead() < 200).then_some(()));
        tasks.push(runtime.spawn(chat(hub.address, user, Arc::clone(&joined))));
    }
    eventually("all have joined", || (joined.load(Ordering::Relaxed) == members).then_some(()));
    eventually("they chat", || {
        (hub.metric("hub_chats_accepted_total") >= members as f64 / 2.0).then_some(())
    });
    let begun = Instant::now();
    hub.signal("TERM");
    let all: Vec<Seen> =
        tasks.into_iter().map(|task| runtime.block_on(task).expect("no panic")).collect();
    assert_eq!(hub.wait().code(), Some(0), "{}", hub.log());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(window) + PATIENCE / 2, "{took:?}");
    let told: Vec<(Instant, u64)> = all.iter().filter_map(|seen| seen.closed).collect();
    assert_eq!(told.len(), members, "everybody is told");
    assert!(all.iter().all(|seen| seen.code == Some(1012)));
    let waits = told.iter().map(|(at, _)| at.duration_since(begun).as_secs_f64());
    let closes = tenths(waits, 0.0, window as f64);
    let hints: Vec<f64> = told.iter().map(|(_, hint)| *hint as f64).collect();
    let (least, most) = hints
        .iter()
        .fold((f64::MAX, 0.0_f64), |(least, most), hint| (least.min(*hint), most.max(*hint)));
    let spread = tenths(hints.into_iter(), least, most - least);
    eprintln!("{took:?}; closes {closes:?}; hints {least} to {most} ms: {spread:?}");
    let share = members / 10;
    assert!(closes.iter().all(|count| *count <= 2 * share), "closes by tenths: {closes:?}");
    assert!(most - least >= 1_000.0, "hints of {least} to {most} ms");
    assert!(spread.iter().all(|count| *count <= 2 * share), "hints by tenths: {spread:?}");
    hub.restart();
    let mut acked = 0;
    for space in 1..=members.div_ceil(SPACE_MEMBERS) {
        let stored = hub.history(i32::try_from(space).expect("few spaces"));
        let stored: std::collections::HashSet<&str> =
            stored.iter().filter_map(|row| row["id"].as_str()).collect();
        for seen in all.iter().filter(|seen| seen.space == space) {
            acked += seen.acked.len();
            let lost = seen.acked.iter().find(|id| !stored.contains(id.as_str()));
            assert_eq!(lost, None, "acked and not stored");
        }
    }
    assert!(acked >= members / 2, "{acked} were acked");
}
