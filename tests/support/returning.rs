//! A crowd that keeps going and coming back: each client drops its connection again and again,
//! comes back with its position, and must miss nothing, also when the hub is killed meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::ledger::random;
use super::{Hub, PATIENCE};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Between two tries to reach a hub that is being restarted.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two messages of a publisher: who comes back misses fewer of them than it stays for, so
/// that somebody is there whenever there is trouble.
const PACE: Duration = Duration::from_millis(8);
/// Users from this number on are publishers.
const PUBLISHERS: i32 = 1_000_000;
/// Messages that a publisher keeps on their way.
const IN_FLIGHT: usize = 4;

/// How many, and for how long.
#[derive(Clone, Copy)]
pub struct Crowd {
    pub spaces: i32,
    pub clients_a_space: i32,
    pub messages_a_space: usize,
    pub seed: u64,
    /// Where those who come and go connect, if not at the hub itself.
    pub by: Option<SocketAddr>,
    /// Nothing for as long as this, not even a ping, and they come back by a new connection.
    pub silence: Duration,
}

impl Crowd {
    /// One whose connections are its hub's.
    pub fn of(spaces: i32, clients_a_space: i32, messages_a_space: usize, seed: u64) -> Crowd {
        let silence = 10 * PATIENCE;
        Crowd { spaces, clients_a_space, messages_a_space, seed, by: None, silence }
    }
}

/// What came of it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Figures {
    pub resumes: usize,
    pub received: usize,
    /// From the end of the last trouble until everybody had everything.
    pub healed: Duration,
}

#[derive(Clone)]
struct Shared {
    /// Where the hub is now.
    address: watch::Receiver<SocketAddr>,
    /// Messages acked, of all spaces.
    acked: Arc<AtomicUsize>,
    /// Clients that know their first position. Nobody says anything before all do: who came behind
    /// the last message would wait for it for ever.
    welcomed: Arc<AtomicUsize>,
    crowd: Crowd,
}

impl Shared {
    /// A connection, however long the hub takes to come back.
    async fn connect(&self, space: i32, user: i32, after: Option<&str>) -> Socket {
        loop {
            let by = self.crowd.by.filter(|_| user < PUBLISHERS);
            let address = by.unwrap_or(*self.address.borrow());
            let after = after.map_or(String::new(), |after| format!("&after={after}"));
            let url = format!("ws://{address}/v1/ws/spaces/{space}?user_id={user}{after}");
            let mut request = url.into_client_request().expect("a URL");
            let protocol = HeaderValue::from_static("cpi-hub.v1");
            request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
            match tokio::time::timeout(self.crowd.silence, connect_async(request)).await {
                Ok(Ok((socket, _))) => return socket,
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

async fn next(socket: &mut Socket, silence: Duration) -> Option<Value> {
    loop {
        match tokio::time::timeout(silence, socket.next()).await.ok()? {
            Some(Ok(Message::Text(text))) => {
                return Some(serde_json::from_str(&text).expect("JSON"));
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}

/// Says its messages in order, each until it is acked, under the same nonce.
async fn publish(shared: Shared, space: i32) {
    let clients = (shared.crowd.spaces * shared.crowd.clients_a_space) as usize;
    while shared.welcomed.load(Ordering::Relaxed) < clients {
        tokio::time::sleep(PAUSE).await;
    }
    let mut acked = 0;
    let total = shared.crowd.messages_a_space;
    while acked < total {
        let mut socket = shared.connect(space, PUBLISHERS + space, None).await;
        // What was on its way when the last connection ended may have been taken or not.
        let mut sent = acked;
        loop {
            while sent < total && sent < acked + IN_FLIGHT {
                let content = format!("{sent} {}", "x".repeat(100));
                let data = json!({"content": content, "nonce": format!("n{sent}")});
                let text = json!({"type": "chat", "data": data}).to_string();
                if socket.send(Message::text(text)).await.is_err() {
                    break;
                }
                sent += 1;
            }
            let Some(message) = next(&mut socket, 10 * PATIENCE).await else { break };
            if message["type"] == "ack" {
                assert_eq!(message["data"]["nonce"], format!("n{acked}"), "acks come in order");
                acked += 1;
                shared.acked.fetch_add(1, Ordering::Relaxed);
                if acked == total {
                    return;
                }
                tokio::time::sleep(PACE).await;
            }
            if message["data"]["code"] == "draining" {
                // The next hub takes it.
                break;
            }
            assert_ne!(message["type"], "error", "{message}");
        }
    }
}

/// What one client has seen since its first position.
struct Seen {
    space: i32,
    from: String,
    ids: Vec<String>,
    resumes: usize,
}

/// Reads, drops, comes back, until it has seen its space's last message.
async fn wander(shared: Shared, space: i32, user: i32) -> Seen {
    let mut state = shared.crowd.seed ^ u64::from(user.unsigned_abs()) << 20;
    let last = format!("{} ", shared.crowd.messages_a_space - 1);
    let mut seen = Seen { space, from: String::new(), ids: Vec::new(), resumes: 0 };
    let mut position: Option<String> = None;
    loop {
        let mut socket = shared.connect(space, user, position.as_deref()).await;
        // The last message may come before the word that all has come.
        seen.resumes += usize::from(position.is_some());
        let mut stay = random(&mut state) % 60;
        let mut awaited = position.clone();
        while let Some(message) = next(&mut socket, shared.crowd.silence).await {
            let data = &message["data"];
            match message["type"].as_str() {
                Some("welcome") if position.is_none() => {
                    seen.from = data["position"].as_str().expect("a position").to_owned();
                    position = Some(seen.from.clone());
                    shared.welcomed.fetch_add(1, Ordering::Relaxed);
                }
                Some("resumed") => {
                    let asked = awaited.take().expect("one resumed, for who came back");
                    assert_eq!((&data["from"], &data["complete"]), (&json!(asked), &json!(true)));
                }
                Some("chat") => {
                    let id = data["id"].as_str().expect("an id").to_owned();
                    assert!(position.as_ref() < Some(&id), "{id} after {position:?}");
                    position = Some(id.clone());
                    seen.ids.push(id);
                    if data["content"].as_str().is_some_and(|text| text.starts_with(&last)) {
                        return seen;
                    }
                    stay = stay.saturating_sub(1);
                }
                _ => {}
            }
            if stay == 0 {
                // Gone without a word.
                break;
            }
        }
        drop(socket);
        tokio::time::sleep(Duration::from_millis(random(&mut state) % 200)).await;
    }
}

/// Runs the crowd; the hub is killed and started again when half is said.
pub fn run(hub: &mut Hub, crowd: Crowd) -> Figures {
    run_through(hub, crowd, 1, |hub, _| {
        hub.kill();
        hub.restart();
    })
}

/// Runs the crowd through a number of troubles, evenly spread over what is said; each is told which
/// one it is.
pub fn run_through(
    hub: &mut Hub,
    crowd: Crowd,
    troubles: usize,
    mut trouble: impl FnMut(&mut Hub, usize),
) -> Figures {
    eprintln!("seed {}", crowd.seed);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (address, addresses) = watch::channel(hub.address);
    let shared =
        Shared { address: addresses, acked: Arc::default(), welcomed: Arc::default(), crowd };
    let mut tasks = Vec::new();
    for space in 1..=crowd.spaces {
        runtime.spawn(publish(shared.clone(), space));
        for client in 1..=crowd.clients_a_space {
            let user = space * 10_000 + client;
            let wandering = wander(shared.clone(), space, user);
            tasks.push(
                runtime.spawn(async { tokio::time::timeout(10 * PATIENCE, wandering).await }),
            );
        }
    }
    for number in 0..troubles {
        let all = crowd.spaces as usize * crowd.messages_a_space;
        let said = all * (number + 1) / (troubles + 1);
        super::eventually("some of it is said", || {
            (shared.acked.load(Ordering::Relaxed) >= said).then_some(())
        });
        trouble(hub, number);
        address.send_replace(hub.address);
    }
    let (mut all, mended): (Vec<Seen>, _) = (Vec::new(), Instant::now());
    for task in tasks {
        let seen = runtime.block_on(task).expect("no panic");
        all.push(seen.expect("it sees the last message in time"));
    }
    let healed = mended.elapsed();
    Figures { healed, ..check(hub, crowd, &all) }
}

/// Whether a message is a publisher's of the crowd: neighbours may speak in its spaces too.
fn is_of_the_crowd(row: &Value) -> bool {
    let number =
        |text: &str| text.split_once(' ').is_some_and(|(it, _)| it.parse::<usize>().is_ok());
    row["content"].as_str().is_some_and(number)
}

/// Holds what everybody has seen against history.
fn check(hub: &Hub, crowd: Crowd, all: &[Seen]) -> Figures {
    let mut history: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    let mut figures = Figures::default();
    for seen in all {
        let ids = history.entry(seen.space).or_insert_with(|| {
            let of_the_crowd =
                |rows: &[Value]| rows.iter().filter(|it| is_of_the_crowd(it)).count();
            let rows = super::eventually("all messages are stored", || {
                let rows = hub.history(seen.space);
                (of_the_crowd(&rows) >= crowd.messages_a_space).then_some(rows)
            });
            let messages = of_the_crowd(&rows);
            assert_eq!(messages, crowd.messages_a_space, "each message is there once");
            let id = |row: &Value| row["id"].as_str().expect("an id").to_owned();
            let mut ids: Vec<String> = rows.iter().map(id).collect();
            ids.sort_unstable();
            ids
        });
        let begin = ids.partition_point(|id| *id <= seen.from);
        let end = ids.partition_point(|id| Some(id) <= seen.ids.last());
        assert_eq!(seen.ids, ids[begin..end], "neither gap nor double");
        figures.resumes += seen.resumes;
        figures.received += seen.ids.len();
    }
    // From a kill at least.
    assert!(figures.resumes >= all.len(), "everybody came back: {figures:?}");
    figures
}
