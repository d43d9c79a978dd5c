//! A connection's socket while hyper serves a request of it: gives hyper what came already, holds
//! heads to the letter, and takes the connection back once the request is answered.
//!
//! Between two requests hyper is told that the peer has gone, so that an idle connection costs
//! none of hyper's state; the peer never sees that. Owns the socket meanwhile, and knows whether
//! the peer keeps the hub waiting: long enough, and its place may go to somebody else.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::marked::Mark;
use super::paced::Pace;
use super::stream::Stream;
use super::strict::Heads;
use super::waiting::Waiting;
use crate::hub::Places;

/// How long a peer may keep a request's body, or the taking of its answer, to itself before its
/// place may be wanted by others.
const PATIENCE: Duration = Duration::from_millis(250);

/// What has been written of answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Written {
    Nothing,
    /// Some of it may wait in hyper.
    Some,
    /// All that hyper had.
    All,
}

/// Marks that tell what is under way of a request. The service has copies, and hands out more.
#[derive(Clone, Default, Debug)]
pub(super) struct UnderWay {
    /// Copied by a request from its head to the end of its answer.
    pub answering: Mark,
    /// Copied by a request's body until nobody reads it any more.
    pub reading: Mark,
}

/// A socket in hyper's hands.
#[derive(Debug)]
pub(super) struct Transport {
    stream: Stream,
    pace: Pace,
    heads: Heads,
    /// What came before hyper was there.
    came: Bytes,
    written: Written,
    under_way: UnderWay,
    /// Hyper was told that the peer has gone, between requests.
    is_idle: bool,
    body: Patience,
    answer: Patience,
}

/// How a connection left hyper.
#[derive(Debug)]
pub(super) enum Left {
    /// The request is answered; the connection waits for the next one.
    Idle(Waiting),
    /// The connection's place is wanted.
    Displaced,
    /// Hyper's result says what becomes of the connection; the bytes came and are nobody's yet.
    Other(Stream, Bytes),
}

impl Transport {
    /// Takes a connection over.
    pub(super) fn new(
        waiting: Waiting,
        under_way: &UnderWay,
        places: &Places,
        pace: Pace,
    ) -> Transport {
        let patience = || Patience { places: places.clone(), line: None, is_over: false };
        Transport {
            stream: waiting.stream,
            pace,
            heads: waiting.heads,
            came: waiting.came.into(),
            written: Written::Nothing,
            under_way: under_way.clone(),
            is_idle: false,
            body: patience(),
            answer: patience(),
        }
    }

    /// Gives the connection back. `unread` is what hyper had of it.
    pub(super) fn leave(self, unread: Bytes) -> Left {
        if self.body.is_over || self.answer.is_over {
            return Left::Displaced;
        }
        let came = match (unread.is_empty(), self.came.is_empty()) {
            (_, true) => unread,
            (true, _) => self.came,
            _ => [&unread[..], &self.came].concat().into(),
        };
        let stream = self.stream;
        if !self.is_idle {
            return Left::Other(stream, came);
        }
        let (heads, since) = (self.heads, self.body.places.begin());
        // A copy: the bytes may be few, and stand in a buffer that is large.
        Left::Idle(Waiting { stream, heads, came: came.to_vec(), unseen: 0, served: true, since })
    }

    /// Whether a request is answered, to the last byte, and the next one has not come.
    fn is_between(&self) -> bool {
        self.written == Written::All
            && self.heads.in_head()
            && !is_under_way(&self.under_way.answering)
    }

    /// Called when nothing has come. Ready: the connection is between requests, or the peer's time
    /// is over.
    fn poll_nothing(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_between() {
            self.is_idle = true;
            return Poll::Ready(Ok(()));
        }
        if self.heads.in_head() || !is_under_way(&self.under_way.reading) {
            self.body.renew();
            return Poll::Pending;
        }
        self.body.poll(context).map(Err)
    }

    /// The outcome of a write: passed on, unless the peer's time is over.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = self.pace.judge(context, written);
        if written.is_pending() {
            return self.answer.poll(context).map(Err);
        }
        self.answer.renew();
        written
    }
}

/// Whether there is a copy of a mark beside the transport's and the service's own.
fn is_under_way(mark: &Mark) -> bool {
    mark.copies() > 2
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.came.is_empty() {
            let bytes = self.came.len().min(buffer.remaining());
            buffer.put_slice(&self.came[..bytes]);
            self.came.advance(bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        if Pin::new(&mut self.stream).poll_read(context, buffer)?.is_pending() {
            return self.poll_nothing(context);
        }
        self.heads.pass(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Hyper has something to write, whether the socket takes it or not.
        self.written = Written::Some;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written = Written::Some;
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if Pin::new(&mut self.stream).poll_flush(context)?.is_pending() {
            // What TLS has sealed waits for the peer, as what hyper writes does.
            return self.judge(context, Poll::Pending).map_ok(|_| ());
        }
        self.pace.renew();
        self.answer.renew();
        // Hyper flushes when it has nothing left to write.
        if self.written == Written::Some {
            self.written = Written::All;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Time that a peer has before its place may be wanted; begins when it is first polled.
struct Patience {
    places: Places,
    line: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    is_over: bool,
}

impl Patience {
    fn renew(&mut self) {
        self.line = None;
    }

    /// Ready when the place is wanted.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let places = &self.places;
        let line = self.line.get_or_insert_with(|| {
            let places = places.clone();
            Box::pin(async move {
                tokio::time::sleep(PATIENCE).await;
                places.wanted_badly().await;
            })
        });
        ready!(line.as_mut().poll(context));
        self.is_over = true;
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl std::fmt::Debug for Patience {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Patience").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::metrics::Metrics;
    use std::sync::Arc;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn an_answer_whose_end_waits_for_a_full_socket_is_not_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let _peer = TcpStream::connect(address).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("the peer");
        let (limits, metrics) = (Limits::default(), Arc::new(Metrics::new(1)));
        let (places, under_way) = (Places::new(&limits), UnderWay::default());
        let waiting =
            Waiting::new(Stream::Plain(stream), Heads::default(), Vec::new(), places.begin());
        let pace = Pace::new(&limits, &metrics);
        let mut transport = Transport::new(waiting, &under_way, &places, pace);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut space = [0; 16];
        let mut nothing_comes = |transport: &mut Transport, context: &mut Context<'_>| {
            let mut buffer = ReadBuf::new(&mut space);
            Pin::new(transport).poll_read(context, &mut buffer).is_pending()
        };
        while Pin::new(&mut transport).poll_write(&mut context, &[7; 65_536]).is_ready() {
            let flushed = Pin::new(&mut transport).poll_flush(&mut context);
            assert!(matches!(flushed, Poll::Ready(Ok(()))));
        }
        // The body has ended, and its mark is gone: hyper alone has what is left.
        assert!(nothing_comes(&mut transport, &mut context), "hyper would end the connection");
        assert!(Pin::new(&mut transport).poll_flush(&mut context).is_ready());
        assert!(!nothing_comes(&mut transport, &mut context), "it is between two requests");
    }
}
