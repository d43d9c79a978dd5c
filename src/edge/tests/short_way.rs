//! Connections whose handshake is decided on before hyper sees it.

use super::*;
use crate::edge::http::short_way::{Head, ShortWay};
use crate::edge::http::upgrade::Refused;

/// Decides on two paths of the tests' own.
pub(super) struct Short;

impl ShortWay for Short {
    fn decide(&self, head: &Head<'_>, _: Peer) -> Option<Result<Upgrade, Refusal>> {
        match head.path {
            "/short/full" => {
                let take = |stream, _, place| Err(untaken(stream, place));
                Some(Ok(Upgrade(Box::new(take))))
            }
            "/short/refused" => Some(Err(Reject::Overloaded.into())),
            _ => None,
        }
    }
}

/// What the long way has there.
pub(super) fn routes() -> Router {
    let full = async || "nobody comes here";
    let refused = async |refused: Option<Extension<Refused>>| match refused {
        Some(Extension(Refused(refusal))) => refusal.into_response(),
        None => "nobody has decided".into_response(),
    };
    Router::new().route("/short/full", get(full)).route("/short/refused", get(refused))
}

#[tokio::test]
async fn whoever_has_no_room_is_told_whenever_its_handshake_came() {
    let server = Server::start(Limits::default()).await;
    let request = format!("GET /short/full HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    for first in [0, 3, request.len()] {
        let mut client = server.connect().await;
        let (first, rest) = request.split_at(first);
        client.write_all(first.as_bytes()).await.expect("the server reads");
        // Connections are accepted in turn: this one has been once a later one is answered.
        assert!(server.ask("GET /peer", "").await.starts_with("HTTP/1.1 200 OK\r\n"));
        client.write_all(rest.as_bytes()).await.expect("the server reads");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("the server closes in order");
        assert_eq!(answer.split_off(HEAD.len()), b"\x88\x0c\x03\xf5overloaded");
        assert_eq!(answer, HEAD);
    }
    server.end().await;
}

#[tokio::test]
async fn a_refusal_is_told_by_the_long_way_and_not_decided_again() {
    let server = Server::start(Limits::default()).await;
    let answer = server.ask("GET /short/refused", "Upgrade: websocket\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"overloaded\""), "{answer}");
    // With 40 more headers it comes the long way alone.
    let lines: String = (0..40).map(|number| format!("X-{number}: x\r\n")).collect();
    assert!(server.ask("GET /short/refused", &lines).await.ends_with("nobody has decided"));
    server.end().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_has_its_listeners_options() {
    let limits = Limits::default();
    let mut server = Server::start(limits.clone()).await;
    let mut client = server.connect().await;
    let request = format!("GET /upgrade HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    client.write_all(request.as_bytes()).await.expect("the server reads");
    let (stream, _) = server.taken.recv().await.expect("the socket moved on");
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.tcp_nodelay().expect("an option"));
    // The kernel doubles what it is told, for its own use.
    let bytes = socket.send_buffer_size().expect("an option");
    assert_eq!(bytes, 2 * limits.send_buffer_bytes);
    assert_eq!(socket.tcp_user_timeout().expect("an option"), None, "its shard evicts it");
    server.end().await;
}
