//! Many members and many spaces at once over real sockets: nothing lost, doubled or out of order,
//! and everything accepted is in the store exactly once (P1, P2, P6).

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::{Hub, PATIENCE, eventually};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a crowd does in one space.
#[derive(Clone, Copy)]
struct Crowd {
    space: i32,
    members: usize,
    publishers: usize,
    messages_each: usize,
}

impl Crowd {
    fn messages(self) -> usize {
        self.publishers * self.messages_each
    }
}

/// What one member was sent: (id, content) of each chat, in order.
type Seen = Vec<(String, String)>;

async fn connect(address: std::net::SocketAddr, space: i32, user: usize) -> Socket {
    let url = format!("ws://{address}/v1/ws/spaces/{space}?user_id={user}");
    let mut socket = connect_async(url).await.expect("an upgrade").0;
    // A handshake is answered before its member has joined: its own join comes first.
    let own = socket.next().await.expect("the hub stays").expect("a message");
    assert!(own.to_text().is_ok_and(|text| text.starts_with(r#"{"type":"join""#)), "{own:?}");
    socket
}

/// Runs one member: says its part once all are there, and reads until it has seen everything.
async fn member(mut socket: Socket, user: usize, crowd: Crowd, start: Arc<Barrier>) -> Seen {
    start.wait().await;
    let (mut sink, mut stream) = socket.by_ref().split();
    let speaks = async {
        if user < crowd.publishers {
            for number in 0..crowd.messages_each {
                let content = format!("{user}:{number}");
                let text = json!({"type": "chat", "data": {"content": content}}).to_string();
                sink.send(Message::text(text)).await.expect("the hub reads");
            }
        }
    };
    let reads = async {
        let mut seen = Seen::with_capacity(crowd.messages());
        while seen.len() < crowd.messages() {
            let message = stream.next().await.expect("the hub stays").expect("a message");
            let Message::Text(text) = message else { continue };
            // A thousand readers: the frame's known beginning is read by hand.
            let Some(chat) = text.strip_prefix(r#"{"type":"chat","data":{"id":""#) else {
                continue;
            };
            let (id, rest) = chat.split_at(26);
            let rest = rest.strip_prefix(r#"","content":""#).expect("the content");
            let (content, rest) = rest.split_once('"').expect("its end");
            assert!(rest.contains(&format!(r#""space_id":{},"#, crowd.space)), "{text}");
            seen.push((id.to_owned(), content.to_owned()));
        }
        seen
    };
    let ((), seen) = tokio::join!(speaks, reads);
    seen
}

/// Checks that a member saw every publisher's messages once and in order, under ascending ids.
fn check(seen: &Seen, crowd: Crowd) {
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "ids ascend strictly");
    let mut next: HashMap<&str, usize> = HashMap::new();
    for (_, content) in seen {
        let (publisher, number) = content.split_once(':').expect("a stamp");
        let expected = next.entry(publisher).or_insert(0);
        assert_eq!(number.parse(), Ok(*expected), "of publisher {publisher}");
        *expected += 1;
    }
    assert!(next.values().all(|count| *count == crowd.messages_each));
    assert_eq!(next.len(), crowd.publishers);
}

fn run(hub: &Hub, crowds: &[Crowd]) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let address = hub.address;
    let members: usize = crowds.iter().map(|crowd| crowd.members).sum();
    let seen: Vec<(Crowd, Seen)> = runtime.block_on(async {
        let start = Arc::new(Barrier::new(members));
        let mut tasks = Vec::new();
        for crowd in crowds {
            for user in 0..crowd.members {
                let socket = connect(address, crowd.space, user).await;
                let task = member(socket, user, *crowd, Arc::clone(&start));
                tasks.push((*crowd, tokio::spawn(tokio::time::timeout(10 * PATIENCE, task))));
            }
        }
        let mut all = Vec::new();
        for (crowd, task) in tasks {
            all.push((crowd, task.await.expect("no panic").expect("all seen in time")));
        }
        all
    });
    let mut orders: HashMap<i32, &Seen> = HashMap::new();
    for (crowd, seen) in &seen {
        check(seen, *crowd);
        let first = orders.entry(crowd.space).or_insert(seen);
        assert_eq!(*first, seen, "all members of a space see one order");
    }
    for crowd in crowds {
        let stored: Seen = hub
            .history_of(crowd.space, crowd.messages())
            .iter()
            .map(|row| {
                let text = |value: &Value| value.as_str().expect("a string").to_owned();
                (text(&row["id"]), text(&row["content"]))
            })
            .collect();
        assert_eq!(&stored, orders[&crowd.space], "the store holds what was seen, once");
    }
    let total: usize = crowds.iter().map(|crowd| crowd.messages()).sum();
    eventually("the books balance", || {
        let stored = hub.metric("hub_rows_stored_total");
        (hub.metric("hub_chats_accepted_total") == total as f64 && stored == total as f64)
            .then_some(())
    });
    eventually("all members are gone", || (hub.metric("hub_members") == 0.0).then_some(()));
    assert_eq!(hub.metric("hub_joins_total"), members as f64);
    assert_eq!(hub.metric("hub_leaves_total"), members as f64);
}

#[test]
fn a_thousand_members_of_one_space_see_everything_in_one_order() {
    let hub = Hub::unlimited();
    run(&hub, &[Crowd { space: 1, members: 1_000, publishers: 20, messages_each: 25 }]);
}

#[test]
fn two_hundred_spaces_of_five_do_not_mix_and_lose_nothing() {
    let hub = Hub::unlimited();
    let crowds: Vec<Crowd> = (1..=200)
        .map(|space| Crowd { space, members: 5, publishers: 3, messages_each: 50 })
        .collect();
    run(&hub, &crowds);
}
