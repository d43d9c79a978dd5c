//! The edge over real sockets: accept loop, connection, door and pages, with a few routes of the
//! tests' own in place of those that need a hub.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::api::console;
use super::http::body::Bodies;
use super::http::door::FrontDoor;
use super::http::json;
use super::http::peer::Peer;
use super::http::problem::Refusal;
use super::http::upgrade::{Untaken, Upgrade};
use super::tls::Tls;
use super::{Hosts, Names, Origins, Proxies, ProxyHeader, accept, handshake, prepare};
use crate::clock::Clock;
use crate::conditions::Conditions;
use crate::hub::{Link, Place, Places};
use crate::limits::Limits;
use crate::metrics::{Metric, Metrics};
use crate::wire::Encoding;
use crate::wire::close::Close;
use crate::wire::reject::Reject;

mod short_way;
mod tls;

type Taken = (std::net::TcpStream, Bytes);

/// A served edge, and what it was given.
struct Server {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    taken: mpsc::Receiver<Taken>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

/// There is no room for a member.
fn untaken(link: Link, place: Place) -> Untaken {
    let (opening, encoding, close) = (HEAD.into(), Encoding::Frames, Close::Overloaded);
    Untaken { link, _place: Some(place), opening, encoding, close }
}

fn routes(limits: &Limits, taken: mpsc::Sender<Taken>) -> Router {
    let upgrade = async |State(taken): State<mpsc::Sender<Taken>>| {
        handshake::switching(Upgrade(Box::new(move |mut link: Link, first, place| {
            std::io::Write::write_all(&mut link.stream, HEAD).expect("its buffers are empty");
            let taken = taken.try_send((link.stream, first));
            taken.map_err(|it| untaken(it.into_inner().0.into(), place))
        })))
    };
    let full = async || {
        let take = |link, _, place| Err(untaken(link, place));
        handshake::switching(Upgrade(Box::new(take)))
    };
    let read = async |State(bodies): State<Bodies>,
                      Extension(peer): Extension<Peer>,
                      body: Body|
           -> Result<Response, Refusal> {
        let received = bodies.read(peer, body, 1_000).await?;
        Ok(json::answer(StatusCode::OK, &received.bytes.len()))
    };
    let unsound = async || handshake::unsound("Error upgrading WebSocket connection");
    let conditions = crate::conditions::Conditions::new(crate::clock::Clock::start());
    let peer = async |Extension(peer): Extension<Peer>| peer.address.to_string();
    Router::new()
        .route("/upgrade", get(upgrade))
        .with_state(taken)
        .merge(
            Router::new().route("/body", post(read)).with_state(Bodies::new(limits, &conditions)),
        )
        .route("/full", get(full))
        .route("/unsound", get(unsound))
        .route("/refused", get(async || Refusal::from(Reject::Draining)))
        .route("/fault", get(async || StatusCode::BAD_GATEWAY.into_response()))
        .route("/peer", get(peer))
        .merge(short_way::routes())
        .route("/large", get(async || vec![b'x'; 16 << 20]))
        .route("/v1/ws/spaces/{space_id}", get(unsound))
        .merge(console::routes())
}

/// Whether a line of an answer is another each time.
fn varies(line: &str) -> bool {
    line.starts_with("Date: ") || line.starts_with("X-Request-Id: ")
}

fn without_what_changes(answers: &str) -> String {
    let lines = answers.split_inclusive("\r\n").filter(|line| !varies(line));
    lines.collect()
}

impl Server {
    async fn start(limits: Limits) -> Server {
        Server::start_with(limits, None).await
    }

    async fn start_with(limits: Limits, tls: Option<Tls>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        prepare(&socket2::SockRef::from(&listener), &limits).expect("options");
        let address = listener.local_addr().expect("a bound listener");
        let (give, taken) = mpsc::channel(1);
        let metrics = Arc::new(Metrics::new(1));
        let origins = Origins::parse("http://localhost:3000").expect("a good origin");
        let names = Names { origins, hosts: Hosts::parse("none").expect("none") };
        let at_door = (Clock::start(), Default::default());
        let door = Arc::new(FrontDoor::new(&listener, names, &metrics, &limits, at_door));
        let app = door.before(routes(&limits, give));
        let stop = CancellationToken::new();
        let serving = accept::Serving {
            app,
            short_way: Some(Arc::new(short_way::Short)),
            tls,
            places: Places::new(&limits),
            limits: Arc::new(limits),
            proxies: Proxies::parse("none", ProxyHeader::XForwardedFor, false).expect("none"),
            clock: Clock::start(),
            metrics: Arc::clone(&metrics),
            conditions: Conditions::new(Clock::start()),
        };
        let leaving = accept::Leaving { now: stop.clone(), heard: mpsc::channel(1).0 };
        let task = tokio::spawn(accept::run(listener, serving, leaving, stop.clone()));
        Server { address, metrics, taken, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the server listens")
    }

    /// Sends bytes, and reads what comes back until the server closes.
    async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.expect("the server reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("the server closes in order");
        without_what_changes(&String::from_utf8(answer).expect("text"))
    }

    /// The answer to one request with these lines in its head.
    async fn ask(&self, line: &str, headers: &str) -> String {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
            self.address
        );
        self.exchange(request).await
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("the accept loop ends");
    }
}

#[tokio::test]
async fn an_unknown_route_or_method_is_the_existing_servers_404() {
    let server = Server::start(Limits::default()).await;
    for line in [
        "GET /nothing",
        "GET /v1/ws/spaces/",
        "GET /v1/ws/spaces",
        "GET /v1/ws/spaces/1/2",
        "POST /v1/ws/spaces/1",
        "DELETE /",
        "OPTIONS /peer",
    ] {
        assert_eq!(
            server.ask(line, "").await,
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 18\r\n\
             Vary: Origin\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n\
             404 page not found",
            "{line}"
        );
    }
    server.end().await;
}

#[tokio::test]
async fn the_first_frame_may_come_with_the_handshake() {
    let mut server = Server::start(Limits::default()).await;
    let mut client = server.connect().await;
    let mut request = format!("GET /upgrade HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    request.push_str("first frame");
    client.write_all(request.as_bytes()).await.expect("the server reads");
    let (stream, mut first) = server
        .taken
        .recv()
        .await
        .map(|(it, first)| (it, first.to_vec()))
        .expect("the socket moved on");
    let mut head = vec![0; HEAD.len()];
    client.read_exact(&mut head).await.expect("an answer");
    assert_eq!(head, HEAD);
    client.write_all(b", second frame").await.expect("the socket is open");
    let mut stream = TcpStream::from_std(stream).expect("a non-blocking socket");
    while first.len() < "first frame, second frame".len() {
        assert_ne!(stream.read_buf(&mut first).await.expect("bytes"), 0);
    }
    assert_eq!(first, b"first frame, second frame");
    stream.write_all(b"hello").await.expect("the client reads");
    let mut hello = [0; 5];
    client.read_exact(&mut hello).await.expect("a greeting");
    assert_eq!(&hello, b"hello");
    // A member's socket is not the edge's any more.
    server.end().await;
    stream.write_all(b"still").await.expect("the socket outlives the edge");
}

#[tokio::test]
async fn a_handshake_may_follow_a_request_on_its_connection() {
    let mut server = Server::start(Limits::default()).await;
    let mut client = server.connect().await;
    let host = server.address;
    let both = format!(
        "GET /peer HTTP/1.1\r\nHost: {host}\r\n\r\nGET /upgrade HTTP/1.1\r\nHost: {host}\r\n\r\nx"
    );
    client.write_all(both.as_bytes()).await.expect("the server reads");
    let (_stream, first) = server.taken.recv().await.expect("the socket moved on");
    assert_eq!(first, "x");
    let mut answers = Vec::new();
    while !answers.ends_with(HEAD) {
        assert_ne!(client.read_buf(&mut answers).await.expect("bytes"), 0);
    }
    let answers = String::from_utf8(answers).expect("text");
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
    assert!(answers.contains("\r\n\r\n127.0.0.1HTTP/1.1 101"), "{answers}");
    server.end().await;
}

#[tokio::test]
async fn a_socket_without_a_place_is_closed_with_1013() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.connect().await;
    let request = format!("GET /full HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    client.write_all(request.as_bytes()).await.expect("the server reads");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("the server closes in order");
    assert_eq!(&answer[HEAD.len()..], b"\x88\x0c\x03\xf5overloaded");
    server.end().await;
}

#[tokio::test]
async fn what_follows_a_refused_upgrade_is_never_read_as_a_request() {
    let server = Server::start(Limits::default()).await;
    let request = format!(
        "GET /unsound HTTP/1.1\r\nHost: {0}\r\nUpgrade: websocket\r\n\r\n\
         GET /peer HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n",
        server.address
    );
    let answer = server.exchange(request).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\nSec-Websocket-Version: 13\r\n"));
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(
        answer.ends_with(
            "\r\n\r\n{\"status_code\":400,\"message\":\"Error upgrading WebSocket connection\",\
             \"code\":\"invalid_upgrade\"}\n"
        ),
        "{answer}"
    );
    server.end().await;
}

#[tokio::test]
async fn a_foreign_origin_is_403_and_empty_wherever_it_asks() {
    let server = Server::start(Limits::default()).await;
    for line in ["GET /peer", "POST /body", "GET /nothing", "OPTIONS /peer", "GET /upgrade"] {
        for headers in ["Origin: http://evil.example\r\n", "Origin: null\r\n"] {
            assert_eq!(
                server.ask(line, headers).await,
                "HTTP/1.1 403 Forbidden\r\nVary: Origin\r\nConnection: close\r\n\
                 Content-Length: 0\r\n\r\n",
                "{line} {headers}"
            );
        }
    }
    let rebound = "GET /peer HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(server.exchange(rebound).await.starts_with("HTTP/1.1 403 Forbidden\r\n"));
    assert_eq!(server.metrics.total().get(Metric::OriginsRefused), 11);
    server.end().await;
}

#[tokio::test]
async fn a_listed_origin_is_allowed_on_any_answer() {
    let server = Server::start(Limits::default()).await;
    let origin = "Origin: http://localhost:3000\r\n";
    let allowed = [
        "\r\nAccess-Control-Allow-Origin: http://localhost:3000\r\n",
        "\r\nAccess-Control-Allow-Credentials: true\r\n",
        "\r\nVary: Origin\r\n",
    ];
    for line in ["GET /peer", "GET /nothing", "GET /refused"] {
        let answer = server.ask(line, origin).await;
        assert!(allowed.iter().all(|header| answer.contains(header)), "{line}: {answer}");
    }
    let preflight = server.ask("OPTIONS /any/path", origin).await;
    assert_eq!(
        preflight,
        "HTTP/1.1 204 No Content\r\n\
         Access-Control-Allow-Credentials: true\r\n\
         Access-Control-Allow-Headers: Origin,Content-Type,Accept,Authorization,Idempotency-Key,\
         Prefer,Last-Event-ID\r\n\
         Access-Control-Allow-Methods: GET,POST,PUT,DELETE,OPTIONS\r\n\
         Access-Control-Allow-Origin: http://localhost:3000\r\n\
         Vary: Origin\r\n\
         Vary: Access-Control-Request-Method\r\n\
         Vary: Access-Control-Request-Headers\r\n\
         Connection: close\r\n\r\n"
    );
    let own = server.ask("GET /peer", &format!("Origin: http://{}\r\n", server.address)).await;
    assert!(own.starts_with("HTTP/1.1 200 OK") && !own.contains("Access-Control"), "{own}");
    server.end().await;
}

#[tokio::test]
async fn a_refusal_has_the_shape_asked_for_and_is_counted() {
    let server = Server::start(Limits::default()).await;
    let plain = server.ask("GET /refused", "").await;
    assert!(plain.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{plain}");
    assert!(plain.contains("\r\nContent-Type: application/json\r\n"), "{plain}");
    assert!(plain.contains("\r\nRetry-After: 3\r\n"), "{plain}");
    let problem = server.ask("GET /refused", "Accept: application/problem+json\r\n").await;
    assert!(problem.contains("\r\nContent-Type: application/problem+json\r\n"), "{problem}");
    assert!(problem.contains("\"type\":\"/problems/draining\""), "{problem}");
    server.ask("GET /fault", "").await;
    let total = server.metrics.total();
    assert_eq!(total.rejects(Reject::Draining.kind()), 2);
    assert_eq!(total.get(Metric::HttpFaults), 3);
    assert_eq!(total.get(Metric::HttpRequests), 3);
    server.end().await;
}

#[tokio::test]
async fn a_body_over_its_bound_is_answered_without_reading_it() {
    let server = Server::start(Limits::default()).await;
    let huge = server.ask("POST /body", "Content-Length: 1073741824\r\n").await;
    assert!(huge.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{huge}");
    assert!(huge.contains("\"code\":\"body_too_large\""), "{huge}");
    let piece = format!("100\r\n{}\r\n", "x".repeat(256)).repeat(5);
    let chunked = format!(
        "POST /body HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n{piece}",
        server.address
    );
    let endless = server.exchange(chunked).await;
    assert!(endless.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{endless}");
    let request = format!(
        "POST /body HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 4\r\n\r\nhola",
        server.address
    );
    assert!(server.exchange(request).await.ends_with("\r\n\r\n4\n"));
    server.end().await;
}

#[tokio::test]
async fn heads_that_are_too_big_or_broken_are_answered_and_closed() {
    let server = Server::start(Limits::default()).await;
    let headers: String = (0..65).map(|number| format!("X-{number}: x\r\n")).collect();
    let long = format!("X: {}\r\n", "x".repeat(20_000));
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\n{headers}\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\n{long}\r\n"), "431"),
        ("GET / HTTP/1.1\r\nHost: a b\x01\r\n\r\n".into(), "400"),
        ("nonsense\r\n\r\n".into(), "400"),
        ("POST /body HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".into(), "400"),
        ("POST /body HTTP/1.1\r\nContent-Length: +5\r\n\r\n".into(), "400"),
        ("POST /body HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n".into(), "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), "400"),
    ] {
        let answer = server.exchange(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
    server.end().await;
}

#[tokio::test]
async fn pages_come_with_their_policy_and_are_not_sent_twice() {
    let server = Server::start(Limits::default()).await;
    for (line, kind) in [
        ("GET /", "text/html; charset=utf-8"),
        ("GET /app.js", "text/javascript; charset=utf-8"),
        ("GET /timeline.js", "text/javascript; charset=utf-8"),
        ("GET /client.js", "text/javascript; charset=utf-8"),
        ("GET /style.css", "text/css; charset=utf-8"),
    ] {
        let answer = server.ask(line, "").await;
        for header in [
            &*format!("Content-Type: {kind}"),
            "Cache-Control: no-cache",
            "Content-Security-Policy: default-src 'self'; connect-src 'self' ws: wss:; img-src \
             'self' data: https:; base-uri 'none'; frame-ancestors 'none'",
            "X-Content-Type-Options: nosniff",
        ] {
            assert!(answer.contains(&format!("\r\n{header}\r\n")), "{header}: {answer}");
        }
        let tag = answer.split("Etag: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let known = format!("If-None-Match: \"old\", W/{}\r\n", tag.expect("an ETag"));
        let again = server.ask(line, &known).await;
        assert!(again.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{again}");
        assert!(again.ends_with("\r\n\r\n"), "{again}");
    }
    server.end().await;
}

#[tokio::test]
async fn who_does_not_take_an_answer_gives_way_where_all_places_are_taken() {
    // One member, and one place for HTTP.
    let server = Server::start(Limits { connections_max: 1, ..Limits::default() }).await;
    let request = format!("GET /large HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        slow.push(stream);
    }
    let answer = server.ask("GET /peer", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(server.metrics.total().get(Metric::Displaced) > 2);
    server.end().await;
}

#[tokio::test]
async fn what_came_behind_a_request_is_the_next_ones_however_it_is_cut() {
    let server = Server::start(Limits::default()).await;
    let request = format!("GET /peer HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    let post = "POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nhola";
    let last =
        format!("GET /peer HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address);
    let all = [&*request, post, "\r\n", &request, post, &last].concat();
    for piece in [1, 7, 60, 61, all.len()] {
        let mut client = server.connect().await;
        client.set_nodelay(true).expect("an option");
        for bytes in all.as_bytes().chunks(piece) {
            client.write_all(bytes).await.expect("the server reads");
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("the server closes in order");
        let answer = String::from_utf8(answer).expect("text");
        let bodies = answer.split("HTTP/1.1 200 OK\r\n").skip(1);
        let bodies: Vec<_> = bodies.filter_map(|it| it.split("\r\n\r\n").nth(1)).collect();
        assert_eq!(bodies, ["127.0.0.1", "4\n", "127.0.0.1", "4\n", "127.0.0.1"], "{piece}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_stopped_edge_ends_idle_connections_and_takes_no_more() {
    let server = Server::start(Limits::default()).await;
    let mut idle = server.connect().await;
    let request = format!("GET /peer HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    idle.write_all(request.as_bytes()).await.expect("the server reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"127.0.0.1") {
        assert_ne!(idle.read_buf(&mut answer).await.expect("an answer"), 0);
    }
    let address = server.address;
    server.end().await;
    assert_eq!(idle.read(&mut [0; 1]).await.expect("closed in order"), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn whoever_has_not_asked_yet_when_the_edge_stops_is_answered() {
    let server = Server::start(Limits::default()).await;
    let mut silent = Vec::new();
    for first in ["", "GET /pe"].repeat(20) {
        let mut client = server.connect().await;
        client.write_all(first.as_bytes()).await.expect("the server reads");
        silent.push((first, client));
    }
    // They are accepted in turn, so these are once a later one is.
    assert!(server.ask("GET /peer", "").await.starts_with("HTTP/1.1 200 OK\r\n"));
    server.stop.cancel();
    let request = format!("GET /peer HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    for (first, mut client) in silent {
        client.write_all(&request.as_bytes()[first.len()..]).await.expect("the server reads");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("the server closes in order");
        let answer = String::from_utf8(answer).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    server.end().await;
}
