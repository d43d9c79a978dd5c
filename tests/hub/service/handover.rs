//! Restarts on a socket that a service manager keeps: nobody is refused, nobody misses anything.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::support::returning::{Crowd, run_through};
use crate::support::service::Handed;
use crate::support::trials::is_slow;
use crate::support::{Answer, GOOD, Hub, PATIENCE, UNLIMITED, eventually, rest, upgrade};

const ENV: [(&str, &str); 1] = [("LISTEN_FDS", "1")];

/// A socket with room for those who have to wait.
fn listening() -> OwnedFd {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).and_then(|()| socket.listen(4_096)).expect("a port");
    socket.into()
}

/// Asks over a connection that stays open.
fn ask(stream: &mut TcpStream, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is sent");
    Answer::read(stream)
}

#[test]
fn who_connects_while_a_hub_ends_waits_for_the_next_one() {
    let sockets = [listening()];
    let args = ["--drain-window", "50m", "--stop-wait", "1h"];
    let handed = Handed { sockets: &sockets, env: &ENV, args: &args };
    let mut hub = handed.start_in(tempfile::tempdir().expect("a directory"));
    let mut member = hub.join_v1(1, 1, "");
    member.next_of("welcome");
    let mut known = hub.connect();
    assert_eq!(ask(&mut known, "/readyz").status, 200);
    hub.signal("TERM");
    let ending = eventually("it says that it ends", || {
        let ready = ask(&mut known, "/readyz");
        (ready.status == 503).then(|| ready.json())
    });
    assert_eq!(ending["status"], "draining");
    let mut waiting = hub.connect();
    waiting.write_all(upgrade("/v1/ws/spaces/1?user_id=2", "").as_bytes()).expect("it is sent");
    // Members are heard to their end.
    member.send(r#"{"type":"ping"}"#);
    member.next_of("pong");
    assert_eq!(hub.stop("TERM").code(), Some(0), "{}", hub.log());
    handed.start_again(&mut hub);
    assert_eq!(Answer::read(&mut waiting).status, 101);
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
}

#[test]
fn a_kept_connection_gets_its_last_answer_or_is_closed_before_the_hub_ends() {
    let sockets = [listening()];
    let args = ["--drain-window", "0ms", "--stop-wait", "10s"];
    let handed = Handed { sockets: &sockets, env: &ENV, args: &args };
    let mut hub = handed.start_in(tempfile::tempdir().expect("a directory"));
    let (mut idle, mut asking) = (hub.connect(), hub.connect());
    let path = "/v1/messages?space_id=1";
    assert_eq!(ask(&mut idle, path).status, 200);
    assert_eq!(ask(&mut asking, path).status, 200);
    hub.signal("TERM");
    let last = eventually("an answer is the last", || {
        let answer = ask(&mut asking, path);
        assert_eq!(answer.status, 200, "nobody is told that the hub ends");
        (answer.header("connection") == Some("close")).then_some(answer)
    });
    assert_eq!(last.json()["total"], 0);
    assert_eq!((rest(&mut asking), rest(&mut idle)), (vec![], vec![]));
    assert_eq!(hub.wait().code(), Some(0), "{}", hub.log());
}

/// Clients that connect one after the other, each a fixed time behind the one before, however long
/// they wait for an answer.
struct Arrivals {
    runtime: Runtime,
    begun: Arc<AtomicUsize>,
    /// What became of each that was not let in.
    refused: Arc<Mutex<Vec<String>>>,
    joined: Arc<AtomicUsize>,
    over: CancellationToken,
}

impl Arrivals {
    fn begin(address: SocketAddr, a_second: u32) -> Arrivals {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let arrivals = Arrivals {
            runtime,
            begun: Arc::default(),
            refused: Arc::default(),
            joined: Arc::default(),
            over: CancellationToken::new(),
        };
        let begun = Arc::clone(&arrivals.begun);
        let (joined, refused) = (Arc::clone(&arrivals.joined), Arc::clone(&arrivals.refused));
        arrivals.runtime.spawn(arrivals.over.clone().run_until_cancelled_owned(async move {
            let mut beat = tokio::time::interval(Duration::from_secs(1) / a_second);
            loop {
                beat.tick().await;
                let user = begun.fetch_add(1, Ordering::Relaxed) + 1;
                let (joined, refused) = (Arc::clone(&joined), Arc::clone(&refused));
                tokio::spawn(async move {
                    match tokio::time::timeout(PATIENCE, join(address, user)).await {
                        Ok(Ok(())) => _ = joined.fetch_add(1, Ordering::Relaxed),
                        Ok(Err(how)) => refused.lock().expect("a lock").push(how),
                        Err(_) => refused.lock().expect("a lock").push("no answer".into()),
                    }
                });
            }
        }));
        arrivals
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Waits for that number of further ones.
    fn await_more(&self, more: usize) {
        let until = self.begun() + more;
        eventually("more come", || (self.begun() >= until).then_some(()));
    }

    /// Waits until each has had its answer.
    fn end(self) -> (usize, Vec<String>) {
        self.over.cancel();
        eventually("all are answered", || {
            let refused = self.refused.lock().expect("a lock").len();
            let joined = self.joined.load(Ordering::Relaxed);
            (joined + refused == self.begun()).then_some(())
        });
        let refused = self.refused.lock().expect("a lock").clone();
        (self.joined.load(Ordering::Relaxed), refused)
    }
}

/// A handshake; what else it was answered.
async fn join(address: SocketAddr, user: usize) -> Result<(), String> {
    let mut stream = tokio::net::TcpStream::connect(address).await.map_err(|it| it.to_string())?;
    let request = upgrade(&format!("/v1/ws/spaces/99?user_id={user}"), "");
    stream.write_all(request.as_bytes()).await.map_err(|it| it.to_string())?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.map_err(|it| it.to_string())?;
    match &answer {
        b"HTTP/1.1 101" => Ok(()),
        other => Err(String::from_utf8_lossy(other).into_owned()),
    }
}

#[test]
fn a_restart_on_the_same_socket_refuses_nobody_and_leaves_no_gap() {
    let a_second = if is_slow() { 1_000 } else { 100 };
    let sockets = [listening()];
    let args = [&UNLIMITED[..], &["--drain-window", "1s"]].concat();
    let handed = Handed { sockets: &sockets, env: &ENV, args: &args };
    let mut hub = handed.start_in(tempfile::tempdir().expect("a directory"));
    let arrivals = Arrivals::begin(hub.address, a_second);
    let crowd = Crowd::of(2, 10, 400, 7);
    let restart = |hub: &mut Hub, _| {
        arrivals.await_more(20);
        assert_eq!(hub.stop("TERM").code(), Some(0), "{}", hub.log());
        // They come while no process is there, too.
        arrivals.await_more(20);
        handed.start_again(hub);
        arrivals.await_more(20);
    };
    let figures = run_through(&mut hub, crowd, 1, restart);
    let (joined, refused) = arrivals.end();
    eprintln!("{joined} have joined; {figures:?}");
    assert_eq!(refused, [""; 0], "{joined} were let in");
}
