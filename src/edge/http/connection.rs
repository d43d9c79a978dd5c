//! One connection: HTTP until it ends, or until a handshake is accepted; then its socket moves
//! on, unanswered, with every byte that came behind the request's head, and with its place.
//!
//! Hyper is there only from a whole head to the end of its answer: between requests a connection
//! waits in `waiting`, where it costs next to nothing.
//!
//! An accepted handshake leaves hyper by way of its service's error, before hyper has written
//! anything: hyper's own 101 can't be had in the exact bytes of WIRE A1 (it knows header names in
//! lower case or as `Sec-Websocket-Accept` only), and its upgrade would take a second task.

use std::fmt;
use std::future::poll_fn;
use std::io;
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
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::marked::Marked;
use super::paced::Pace;
use super::peer::Peer;
use super::transport::{Left, Transport, UnderWay};
use super::waiting::{Waited, Waiting};
use crate::hub::{Place, Places};
use crate::limits::{LINGER_BYTES_MAX, Limits, MEMBER_RECEIVE_BYTES_MAX};
use crate::metrics::{Metric, Metrics};
use crate::wire::close::Close;
use crate::wire::frame_writer;

/// Takes a socket whose handshake is accepted, what had been read behind the request, and the
/// connection's place. Whoever takes them answers the handshake.
pub(crate) type Take =
    Box<dyn FnOnce(std::net::TcpStream, Bytes, Place) -> Result<(), Untaken> + Send + Sync>;

/// A connection for which there was no room as a member after all.
pub(crate) struct Untaken {
    pub stream: std::net::TcpStream,
    /// Kept until the socket is closed.
    pub _place: Option<Place>,
    /// The answer to its handshake.
    pub opening: BytesMut,
    /// What it is to be told behind that.
    pub close: Close,
}

/// An accepted handshake: where its socket goes. Travels as an extension of a 101 response.
pub(crate) struct Upgrade(pub Take);

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
type Answering = Pin<Box<dyn Future<Output = Result<Answer, Switching>> + Send>>;
type Answer = Response<Marked<Body>>;

/// What all connections share.
pub(super) struct Shared {
    /// What is served.
    pub app: TowerToHyperService<Router>,
    /// How HTTP is spoken.
    pub http: http1::Builder,
    /// Every bound.
    pub limits: Arc<Limits>,
    /// Where connections wait for their peers.
    pub places: Places,
    /// Counted into.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the edge is to end.
    pub stop: CancellationToken,
}

/// What became of a request.
enum Answered {
    /// The connection waits for the next one.
    Next(Waiting),
    /// The connection is to be ended, so that its peer reads the last answer.
    Last(TcpStream),
    /// The connection becomes a member's.
    Switches(TcpStream, Bytes, Upgrade),
    /// The connection's place is wanted.
    Displaced,
    /// The peer has gone, or does not take its answer.
    Gone,
}

impl Shared {
    /// Serves one connection to its end, or until its socket has moved on.
    pub(super) async fn serve(self: Arc<Self>, place: Place, stream: TcpStream, peer: Peer) {
        let mut waiting = Waiting::new(stream, place.taken);
        let last = loop {
            match waiting.head(&self.limits, &self.places, &self.stop).await {
                Waited::Head => {}
                Waited::Gone => return,
                Waited::Late | Waited::Stopped => break waiting.stream,
                Waited::Displaced => return self.count_displaced(),
            }
            // In a box: what hyper takes is many times what the rest of a connection does.
            match Box::pin(self.answer(waiting, peer)).await {
                Answered::Next(next) => waiting = next,
                Answered::Last(stream) => break stream,
                Answered::Displaced => return self.count_displaced(),
                Answered::Gone => return,
                Answered::Switches(stream, first, upgrade) => {
                    return Box::pin(self.hand_over(place, stream, first, upgrade)).await;
                }
            }
        };
        self.linger(last).await;
    }

    fn count_displaced(&self) {
        self.metrics.edge.add(Metric::Displaced, 1);
    }

    /// Has hyper serve what came.
    async fn answer(&self, waiting: Waiting, peer: Peer) -> Answered {
        let under_way = UnderWay::default();
        let pace = Pace::new(&self.limits, &self.metrics);
        let transport = Transport::new(waiting, &under_way, &self.places, pace);
        let service = Requests { app: self.app.clone(), peer, under_way };
        // Asked to stop before it has read anything, hyper would not answer at all.
        let mut stopping = self.stop.is_cancelled();
        let mut http = self.http.clone();
        http.keep_alive(!stopping);
        let mut http = http.serve_connection(TokioIo::new(transport), service);
        let ended = loop {
            tokio::select! {
                // What came is read first: asked to stop before, hyper would not answer it.
                biased;
                ended = poll_fn(|context| http.poll_without_shutdown(context)) => break ended,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    Pin::new(&mut http).graceful_shutdown();
                }
            }
        };
        let parts = http.into_parts();
        let (stream, came) = match parts.io.into_inner().leave(parts.read_buf) {
            Left::Idle(waiting) => return Answered::Next(waiting),
            Left::Displaced => return Answered::Displaced,
            Left::Other(stream, came) => (stream, came),
        };
        match ended {
            Ok(()) => {}
            Err(error) => match into_upgrade(error) {
                Ok(upgrade) => return Answered::Switches(stream, came, upgrade),
                Err(error) => {
                    tracing::debug!(%error, "a connection ended");
                    // What can't be read is answered all the same.
                    if !error.is_parse() {
                        return Answered::Gone;
                    }
                }
            },
        }
        Answered::Last(stream)
    }

    /// Passes the socket of an accepted handshake on.
    async fn hand_over(&self, place: Place, stream: TcpStream, first: Bytes, upgrade: Upgrade) {
        let socket = socket2::SockRef::from(&stream);
        // A member that doesn't read is told so by its shard.
        let options = give_up_after(&stream, None)
            .and_then(|()| socket.set_send_buffer_size(self.limits.send_buffer_bytes))
            .and_then(|()| socket.set_recv_buffer_size(MEMBER_RECEIVE_BYTES_MAX));
        if let Err(error) = options {
            tracing::debug!(%error, "a socket keeps the options of the system");
        }
        let taken = stream.into_std().map(|stream| (upgrade.0)(stream, first, place));
        // The shard's inbox had no room for the member, or the shard has ended.
        if let Ok(Err(Untaken { stream, _place, mut opening, close })) = taken
            && let Ok(mut stream) = TcpStream::from_std(stream)
        {
            frame_writer::close(&mut opening, close.code(), close.reason());
            let wait = Duration::from_millis(self.limits.handshake_wait);
            match tokio::time::timeout(wait, stream.write_all(&opening)).await {
                Ok(Ok(())) => self.linger(stream).await,
                _ => tracing::debug!("a connection ended in its handshake"),
            }
        }
    }

    /// Ends a connection so that its peer gets to read the last answer: says that nothing more
    /// comes and waits for the peer to do the same, as long as it goes on sending, for a bounded
    /// time and number of bytes, and while nobody needs the place. A socket that is closed with
    /// bytes unread is reset, and the peer may never see what was sent before.
    async fn linger(&self, mut stream: TcpStream) {
        let silence = Duration::from_millis(self.limits.close_wait);
        let goodbye = async {
            stream.shutdown().await?;
            let mut bytes = 0;
            while bytes < LINGER_BYTES_MAX {
                tokio::time::timeout(silence, stream.readable()).await??;
                match throw_away(&stream) {
                    Ok(0) => return Ok(()),
                    Ok(count) => bytes += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            // The peer pushes on; what it sends now waits in its own buffers.
            tokio::time::sleep(silence).await;
            Ok::<(), io::Error>(())
        };
        // Ended, broken or out of time: the socket is closed either way.
        let wait = silence.max(Duration::from_millis(self.limits.handshake_wait));
        tokio::select! {
            _ = tokio::time::timeout(wait, goodbye) => {}
            () = self.places.wanted(self.places.begin()) => self.count_displaced(),
        }
    }
}

fn throw_away(stream: &TcpStream) -> io::Result<usize> {
    stream.try_read(&mut [0; 4096])
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

/// Systems other than Linux have no such option; people develop there.
#[cfg(not(target_os = "linux"))]
fn give_up_after(_: &TcpStream, _: Option<Duration>) -> std::io::Result<()> {
    Ok(())
}

/// The requests of one connection.
struct Requests {
    app: TowerToHyperService<Router>,
    peer: Peer,
    under_way: UnderWay,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Answer;
    type Error = Switching;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        let UnderWay { answering, reading } = self.under_way.clone();
        let answer = self.app.call(request.map(|body| Marked::new(body, reading)));
        Box::pin(async move {
            let Ok(mut response) = answer.await;
            match response.extensions_mut().remove::<Arc<Upgrade>>() {
                Some(upgrade) => Err(Switching(upgrade)),
                None => Ok(response.map(|body| Marked::new(body, answering))),
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
