//! One connection: HTTP until it ends, or until a handshake is accepted; then its socket moves
//! on, unanswered, with every byte that came behind the request's head, and with its place.
//!
//! Hyper is there only from a whole head to the end of its answer: between requests a connection
//! waits in `waiting`, where it costs next to nothing.
//!
//! Most handshakes never get there: whoever asks for nothing unusual goes by `short_way`, and
//! without a task of its own too if the head has come by the time that the connection is accepted.
//!
//! A stream of events leaves hyper as they do, with the head that hyper would have written.
//!
//! Another accepted handshake leaves hyper by way of its service's error, before hyper has written
//! anything: hyper's own 101 can't be had in the exact bytes of WIRE A1 (it knows header names in
//! lower case or as `Sec-Websocket-Accept` only), and its upgrade would take a second task.

use std::future::poll_fn;
use std::io::{self, Read as _};
use std::net::TcpStream as StdStream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, Socket};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::head;
use super::marked::Marked;
use super::paced::Pace;
use super::peer::Peer;
use super::proxies::Proxies;
use super::short_way::{self, Decided, ShortWay};
use super::stream::Stream;
use super::strict::Heads;
use super::told::Told;
use super::transport::{Left, Transport, UnderWay};
use super::upgrade::{Refused, Streaming, Unproven, Untaken, Upgrade};
use super::waiting::{READ_BYTES, Waited, Waiting};
use crate::clock::Clock;
use crate::edge::tls::Tls;
use crate::faults::panic_place;
use crate::hub::{Link, Place, Places};
use crate::limits::{LINGER_BYTES_MAX, Limits, MEMBER_RECEIVE_BYTES_MAX, UNSENT_BYTES_MAX};
use crate::metrics::{Metric, Metrics};
use crate::wire::time::TimeFormat;

/// Carries an accepted handshake out of hyper.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the connection becomes a WebSocket")]
enum Switching {
    Proven(Arc<Upgrade>),
    Unproven(Arc<Unproven>),
}

/// Where the socket of an accepted handshake goes.
enum Switch {
    /// To its shard.
    Member(Upgrade),
    /// It waits here for a token.
    Unproven(Unproven),
}

/// A future of a connection's service: hyper wants it nameable and movable.
type Answering = Pin<Box<dyn Future<Output = Result<Answer, Switching>> + Send>>;
type Answer = Response<Marked<Body>>;

/// What all connections share.
pub(super) struct Shared {
    /// What is served.
    pub app: TowerToHyperService<Router>,
    /// Who decides on handshakes, where there are any.
    pub short_way: Option<Arc<dyn ShortWay>>,
    /// What connections begin with; `None`: they are plain.
    pub tls: Option<Tls>,
    /// How HTTP is spoken.
    pub http: http1::Builder,
    /// Every bound.
    pub limits: Arc<Limits>,
    /// Where connections wait for their peers.
    pub places: Places,
    /// Who is believed to speak for others.
    pub proxies: Proxies,
    /// What the log was told of those who did not.
    pub told: Told,
    /// Where time is read.
    pub clock: Clock,
    /// Counted into.
    pub metrics: Arc<Metrics>,
    /// Cancelled when answers are to be their connections' last.
    pub leaving: CancellationToken,
    /// Cancelled when connections between two requests are to end.
    pub idle: CancellationToken,
    /// Cancelled when the edge is to end.
    pub stop: CancellationToken,
}

/// What becomes of a connection that was just accepted.
pub(super) enum Greeted {
    /// Its peer has gone, or its socket has moved on.
    Done,
    /// There was no room for it as a member after all.
    Untaken(Untaken),
    /// It is to be served.
    Waits(StdStream, Box<Arrived>),
}

/// A connection but for its socket, and what has come of its first request.
pub(super) struct Arrived {
    place: Place,
    peer: Peer,
    heads: Heads,
    came: Vec<u8>,
    refused: Option<Refused>,
}

impl Arrived {
    /// Nothing of a request has come yet.
    pub(super) fn nothing(place: Place, peer: Peer) -> Arrived {
        Arrived { place, peer, heads: Heads::default(), came: Vec::new(), refused: None }
    }
}

/// What became of a request.
enum Answered {
    /// The connection waits for the next one.
    Next(Waiting),
    /// The connection is to be ended, so that its peer reads the last answer.
    Last(Stream),
    /// The connection becomes a member's.
    Switches(Stream, Bytes, Switch),
    /// The connection's place is wanted.
    Displaced,
    /// The peer has gone, or does not take its answer.
    Gone,
}

impl Shared {
    /// Reads what a connection has sent by now. Where that is a sound handshake there is nothing to
    /// wait for, and the runtime never hears of the socket.
    pub(super) fn greet(&self, place: Place, stream: StdStream, peer: Peer) -> Greeted {
        use io::ErrorKind::{Interrupted, WouldBlock};
        let mut buffer = [0; READ_BYTES];
        let room = self.limits.head_bytes_max.clamp(1, READ_BYTES);
        let bytes = match (&stream).read(&mut buffer[..room]) {
            Ok(0) => return Greeted::Done,
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => 0,
            Err(_) => return Greeted::Done,
        };
        let (came, mut heads) = (&mut buffer[..bytes], Heads::default());
        heads.pass(came);
        let refused = match self.decide(came, peer) {
            Some(Decided { outcome: Ok(upgrade), head_bytes }) => {
                let first = Bytes::copy_from_slice(&came[head_bytes..]);
                return match self.hand_over(place, stream.into(), first, upgrade) {
                    Ok(()) => Greeted::Done,
                    Err(untaken) => Greeted::Untaken(untaken),
                };
            }
            Some(Decided { outcome: Err(refusal), .. }) => Some(Refused(refusal)),
            None => None,
        };
        let came = came.to_vec();
        Greeted::Waits(stream, Box::new(Arrived { place, peer, heads, came, refused }))
    }

    /// Decides on what came without hyper, if it is a handshake that can be.
    fn decide(&self, came: &[u8], peer: Peer) -> Option<Decided> {
        panic_place("a handshake");
        let short_way = self.short_way.as_deref()?;
        short_way::decide(short_way, came, &self.limits, (&self.proxies, peer))
    }

    /// Serves one connection to its end, or until its socket has moved on.
    pub(super) async fn serve(self: Arc<Self>, stream: Stream, arrived: Box<Arrived>) {
        let Arrived { place, peer, heads, came, mut refused } = *arrived;
        if !came.is_empty() {
            // Until then the runtime takes the socket for full, and hyper does not wait for that
            // with an answer to what it can't read. An error shows in what follows.
            _ = stream.socket().writable().await;
        }
        let mut waiting = Waiting::new(stream, heads, came, place.taken);
        let last = loop {
            match waiting.head(&self.limits, &self.places, &self.idle).await {
                Waited::Head => {}
                Waited::Gone => return,
                Waited::Late | Waited::Stopped => break waiting.stream,
                Waited::Displaced => return self.count_displaced(),
            }
            let mut refused = refused.take();
            if refused.is_none()
                && let Some(Decided { outcome, head_bytes }) = self.decide(&waiting.came, peer)
            {
                match outcome {
                    Ok(upgrade) => {
                        let first = Bytes::copy_from_slice(&waiting.came[head_bytes..]);
                        return self.move_on(place, waiting.stream, first, upgrade).await;
                    }
                    Err(refusal) => refused = Some(Refused(refusal)),
                }
            }
            // In a box: what hyper takes is many times what the rest of a connection does.
            match Box::pin(self.answer(waiting, peer, refused)).await {
                Answered::Next(next) => waiting = next,
                Answered::Last(stream) => break stream,
                Answered::Displaced => return self.count_displaced(),
                Answered::Gone => return,
                Answered::Switches(stream, first, Switch::Member(upgrade)) => {
                    return self.move_on(place, stream, first, upgrade).await;
                }
                Answered::Switches(stream, first, Switch::Unproven(unproven)) => {
                    return Box::pin(self.prove(place, stream, first, unproven)).await;
                }
            }
        };
        self.linger(last).await;
    }

    pub(super) fn count_displaced(&self) {
        self.metrics.edge.add(Metric::Displaced, 1);
    }

    /// Has hyper serve what came.
    async fn answer(&self, waiting: Waiting, peer: Peer, refused: Option<Refused>) -> Answered {
        let under_way = UnderWay::default();
        let pace = Pace::new(&self.limits, &self.metrics);
        let transport = Transport::new(waiting, &under_way, &self.places, pace);
        let (app, proxies) = (self.app.clone(), self.proxies.clone());
        let service = Requests { app, proxies, peer, refused, under_way };
        // Asked to stop before it has read anything, hyper would not answer at all.
        let mut stopping = self.leaving.is_cancelled();
        let mut http = self.http.clone();
        http.keep_alive(!stopping);
        let mut http = http.serve_connection(TokioIo::new(transport), service);
        let ended = loop {
            tokio::select! {
                // What came is read first: asked to stop before, hyper would not answer it.
                biased;
                ended = poll_fn(|context| http.poll_without_shutdown(context)) => break ended,
                () = self.leaving.cancelled(), if !stopping => {
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
            Err(error) => match into_switch(error) {
                Ok(switch) => return Answered::Switches(stream, came, switch),
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

    /// Passes the socket of an accepted handshake on, or turns it away.
    pub(super) async fn move_on(
        &self,
        place: Place,
        stream: Stream,
        first: Bytes,
        upgrade: Upgrade,
    ) {
        if let Ok(link) = stream.into_link()
            && let Err(untaken) = self.hand_over(place, link, first, upgrade)
        {
            Box::pin(self.turn_away(untaken)).await;
        }
    }

    /// Passes the socket of an accepted handshake on. It comes back where the shard's inbox has no
    /// room for the member, or the shard has ended.
    fn hand_over(
        &self,
        place: Place,
        link: Link,
        first: Bytes,
        upgrade: Upgrade,
    ) -> Result<(), Untaken> {
        let socket = SockRef::from(&link.stream);
        // A member that doesn't read is told so by its shard.
        let options = give_up_after(&socket, None)
            .and_then(|()| socket.set_recv_buffer_size(MEMBER_RECEIVE_BYTES_MAX));
        if let Err(error) = options {
            tracing::debug!(%error, "a socket keeps the options of the system");
        }
        (upgrade.0)(link, first, place)
    }

    /// Answers an accepted handshake for which there was no room after all.
    pub(super) async fn turn_away(&self, untaken: Untaken) {
        let Untaken { link, _place, mut opening, encoding, close } = untaken;
        let now = self.clock.now();
        let at = *TimeFormat::new(self.limits.utc_offset).text(now.unix);
        // Microseconds are as good as chance to tell those apart who come back.
        encoding.goodbye(&mut opening, close, now.unix.0 as u32, &at);
        let answer = match link.session {
            Some(session) => session.seal_last(&opening),
            None => Ok(opening.to_vec()),
        };
        if let (Ok(mut stream), Ok(answer)) = (TcpStream::from_std(link.stream), answer) {
            let wait = Duration::from_millis(self.limits.handshake_wait);
            match tokio::time::timeout(wait, stream.write_all(&answer)).await {
                Ok(Ok(())) => self.linger(Stream::Plain(stream)).await,
                _ => tracing::debug!("a connection ended in its handshake"),
            }
        }
    }

    /// Ends a connection so that its peer gets to read the last answer: says that nothing more
    /// comes and waits for the peer to do the same, as long as it goes on sending, for a bounded
    /// time and number of bytes, and while nobody needs the place. A socket that is closed with
    /// bytes unread is reset, and the peer may never see what was sent before.
    pub(super) async fn linger(&self, mut stream: Stream) {
        let silence = Duration::from_millis(self.limits.close_wait);
        let goodbye = async {
            stream.shutdown().await?;
            let mut bytes = 0;
            while bytes < LINGER_BYTES_MAX {
                tokio::time::timeout(silence, stream.socket().readable()).await??;
                match throw_away(stream.socket()) {
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

/// Sets up a socket that is to listen; its connections have these options from it, at no call each:
/// small answers go out at once, and a peer that doesn't take its answer for `write_wait` is given
/// up by the kernel, since HTTP has no sweep that evicts it. What the kernel holds of an answer, or
/// of what a member is owed, is bounded too: little of what can't be sent yet, since a peer that
/// takes nothing needs no more, and more of what is under way, which a distant one needs.
pub(crate) fn prepare(socket: &Socket, limits: &Limits) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(limits.send_buffer_bytes)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    give_up_after(socket, Some(Duration::from_millis(limits.write_wait)))
}

/// Has the kernel end a connection whose peer takes nothing for so long.
#[cfg(target_os = "linux")]
pub(crate) fn give_up_after(socket: &Socket, wait: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_user_timeout(wait)
}

/// Systems other than Linux have no such option; people develop there.
#[cfg(not(target_os = "linux"))]
pub(crate) fn give_up_after(_: &Socket, _: Option<Duration>) -> io::Result<()> {
    Ok(())
}

/// The requests of one connection.
struct Requests {
    app: TowerToHyperService<Router>,
    proxies: Proxies,
    peer: Peer,
    /// The first request was refused. It asks for an upgrade, so that no second one follows.
    refused: Option<Refused>,
    under_way: UnderWay,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Answer;
    type Error = Switching;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        // The next request of a proxy's connection may be another's.
        let sender = self.proxies.sender(self.peer, request.headers());
        request.extensions_mut().insert(sender);
        if let Some(refused) = self.refused {
            request.extensions_mut().insert(refused);
        }
        let UnderWay { answering, reading } = self.under_way.clone();
        let answer = self.app.call(request.map(|body| Marked::new(body, reading)));
        Box::pin(async move {
            panic_place("a request");
            let Ok(mut response) = answer.await;
            let extensions = response.extensions_mut();
            if let Some(upgrade) = extensions.remove() {
                return Err(Switching::Proven(upgrade));
            }
            if let Some(unproven) = extensions.remove() {
                return Err(Switching::Unproven(unproven));
            }
            if let Some(streaming) = extensions.remove::<Arc<Streaming>>() {
                let Streaming(begin) = Arc::into_inner(streaming).expect("the response has it");
                let upgrade = begin(head::of_stream(response.headers()));
                return Err(Switching::Proven(Arc::new(upgrade)));
            }
            Ok(response.map(|body| Marked::new(body, answering)))
        })
    }
}

fn into_switch(error: hyper::Error) -> Result<Switch, hyper::Error> {
    let source = std::error::Error::source(&error);
    let Some(switching) = source.and_then(|source| source.downcast_ref()).cloned() else {
        return Err(error);
    };
    drop(error);
    let alone = "the response and the error were its other owners";
    Ok(match switching {
        Switching::Proven(shared) => Switch::Member(Arc::into_inner(shared).expect(alone)),
        Switching::Unproven(shared) => Switch::Unproven(Arc::into_inner(shared).expect(alone)),
    })
}
