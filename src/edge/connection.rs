//! One connection: HTTP until it ends, or until a handshake is accepted; then its socket moves
//! on, with every byte that came behind the request's head.
//!
//! An accepted handshake leaves hyper by way of its service's error, before hyper has written
//! anything: hyper's own 101 can't be had in the exact bytes of WIRE A1 (it knows header names in
//! lower case or as `Sec-Websocket-Accept` only), and its upgrade would take a second task.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::paced::Paced;
use super::peer::Peer;
use super::strict::Strict;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::wire::close::Close;
use crate::wire::frame;

/// Bytes of a refused request that are read and thrown away, so that its sender reads the answer
/// before the kernel resets the connection.
const LINGER_BYTES_MAX: usize = 64 << 10;
const H2_REFUSED: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Takes a socket whose handshake was answered, and what had been read behind the request; gives
/// the socket back, and what to tell it, if there is no place for it after all.
pub(super) type Take = Box<dyn FnOnce(std::net::TcpStream, Bytes) -> Taken + Send + Sync>;
type Taken = Result<(), (std::net::TcpStream, Close)>;

/// An accepted handshake; travels as an extension of its 101 response.
pub(super) struct Upgrade {
    /// The head of the answer, exactly.
    pub head: Vec<u8>,
    /// Where the socket goes.
    pub take: Take,
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Upgrade").finish_non_exhaustive()
    }
}

/// Carries an accepted handshake out of hyper.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the connection becomes a WebSocket")]
struct Switching(Arc<Upgrade>);

/// A future of a connection's service: hyper wants it nameable and movable.
type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Switching>> + Send>>;

/// What all connections share.
#[derive(Clone)]
pub(super) struct Shared {
    app: TowerToHyperService<Router>,
    http: http1::Builder,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Shared {
    /// Serves `app` by `http` until `stop`.
    pub(super) fn new(
        app: Router,
        http: http1::Builder,
        (limits, metrics): (Arc<Limits>, Arc<Metrics>),
        stop: CancellationToken,
    ) -> Shared {
        Shared { app: TowerToHyperService::new(app), http, limits, metrics, stop }
    }

    /// Serves one connection to its end, or until its socket has moved on.
    pub(super) async fn serve(self, stream: TcpStream, peer: Peer) {
        let service = Requests { app: self.app, peer };
        let paced = Paced::new(stream, &self.limits, &self.metrics);
        let mut http = self.http.serve_connection(TokioIo::new(Strict::new(paced)), service);
        let mut stopping = false;
        let ended = loop {
            tokio::select! {
                ended = poll_fn(|context| http.poll_without_shutdown(context)) => break ended,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    Pin::new(&mut http).graceful_shutdown();
                }
            }
        };
        let parts = http.into_parts();
        let mut stream = parts.io.into_inner().into_inner().into_inner();
        match ended {
            Ok(()) => {}
            Err(error) if error.is_parse_version_h2() => {
                // All that hyper leaves unanswered; nothing can be done if this fails.
                let _ = stream.write_all(H2_REFUSED).await;
            }
            Err(error) => match into_upgrade(error) {
                Ok(upgrade) => {
                    return hand_over(stream, parts.read_buf, upgrade, &self.limits).await;
                }
                Err(error) => tracing::debug!(%error, "a connection ended"),
            },
        }
        linger(stream, &self.limits).await;
    }
}

/// Sets up a connection's socket: small answers go out at once, and a peer that doesn't take its
/// answer for `write_wait` is given up by the kernel, since HTTP has no sweep that evicts it. What
/// the kernel holds of an answer is bounded too.
pub(super) fn set_options(stream: &TcpStream, limits: &Limits) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_send_buffer_size(limits.send_buffer_bytes)?;
    give_up_after(stream, Some(Duration::from_millis(limits.write_wait)))
}

/// Has the kernel end a connection whose peer takes nothing for so long.
#[cfg(target_os = "linux")]
fn give_up_after(stream: &TcpStream, wait: Option<Duration>) -> std::io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_user_timeout(wait)
}

/// Other systems have no such option; people develop there.
#[cfg(not(target_os = "linux"))]
fn give_up_after(_: &TcpStream, _: Option<Duration>) -> std::io::Result<()> {
    Ok(())
}

/// The requests of one connection.
struct Requests {
    app: TowerToHyperService<Router>,
    peer: Peer,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Switching;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        let answer = self.app.call(request);
        Box::pin(async move {
            let Ok(mut response) = answer.await;
            match response.extensions_mut().remove::<Arc<Upgrade>>() {
                Some(upgrade) => Err(Switching(upgrade)),
                None => Ok(response),
            }
        })
    }
}

fn into_upgrade(error: hyper::Error) -> Result<Upgrade, hyper::Error> {
    let source = std::error::Error::source(&error);
    let Some(Switching(shared)) = source.and_then(|source| source.downcast_ref()).cloned() else {
        return Err(error);
    };
    drop(error);
    Ok(Arc::into_inner(shared).expect("the response and the error were its other owners"))
}

/// Answers 101 and passes the socket on.
async fn hand_over(mut stream: TcpStream, first: Bytes, upgrade: Upgrade, limits: &Limits) {
    let wait = Duration::from_millis(limits.handshake_wait);
    match tokio::time::timeout(wait, stream.write_all(&upgrade.head)).await {
        Ok(Ok(())) => {}
        _ => return tracing::debug!("a connection ended in its handshake"),
    }
    let socket = socket2::SockRef::from(&stream);
    // A member that doesn't read is told so by its shard.
    let options = give_up_after(&stream, None)
        .and_then(|()| socket.set_send_buffer_size(limits.send_buffer_bytes));
    if let Err(error) = options {
        tracing::debug!(%error, "a socket keeps the options of the system");
    }
    let taken = stream.into_std().map(|stream| (upgrade.take)(stream, first));
    // No place for it: its shard's inbox is full, or its shard has ended.
    if let Ok(Err((stream, close))) = taken
        && let Ok(mut stream) = TcpStream::from_std(stream)
    {
        let mut goodbye = BytesMut::new();
        frame::close(&mut goodbye, close.code(), close.reason());
        if stream.write_all(&goodbye).await.is_ok() {
            linger(stream, limits).await;
        }
    }
}

/// Ends a connection so that its peer gets to read the last answer: says that nothing more comes
/// and waits for the peer to do the same, a little while and for a few bytes. A socket that is
/// closed with bytes unread is reset, and the peer may never see what was sent before.
async fn linger(mut stream: TcpStream, limits: &Limits) {
    let wait = Duration::from_millis(limits.close_wait);
    let goodbye = async {
        stream.shutdown().await?;
        let mut thrown_away = [0; 4096];
        let mut bytes = 0;
        while bytes < LINGER_BYTES_MAX {
            match stream.read(&mut thrown_away).await? {
                0 => return Ok(()),
                count => bytes += count,
            }
        }
        // The peer pushes on; what it sends now waits in its own buffers.
        std::future::pending::<std::io::Result<()>>().await
    };
    // Ended, broken or out of time: the socket is closed either way.
    let _ = tokio::time::timeout(wait, goodbye).await;
}
