//! The write side of a connection: whoever does not take its answer is cut.
//!
//! The kernel gives up a peer that takes nothing at all, but neither one that takes a byte now and
//! then, nor on every system one that says again and again that it has no room. So a socket that
//! is found full has `write_wait` to take some of what waits, again and again, until it has taken
//! all. Owns that time; changes no byte.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::limits::Limits;
use crate::metrics::{Metric, Metrics};

/// What a peer has to take within `write_wait`, if so much waits for it.
const TAKEN_BYTES_MIN: usize = 32 << 10;

/// A connection that is cut if its peer is too slow to take what is written to it.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    wait: Duration,
    metrics: Arc<Metrics>,
    /// Since when the socket was full, and how much it has taken since.
    full: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Paced<S> {
    /// Gives its peer `write_wait`, each time; counts those that are cut.
    pub(super) fn new(stream: S, limits: &Limits, metrics: &Arc<Metrics>) -> Paced<S> {
        let wait = Duration::from_millis(limits.write_wait);
        Paced { stream, wait, metrics: Arc::clone(metrics), full: None }
    }

    /// The bare connection.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// What comes of a write: passed on, unless the peer's time is over.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                if let Some((_, taken)) = &mut self.full {
                    *taken += bytes;
                    if *taken >= TAKEN_BYTES_MIN {
                        self.full = None;
                    }
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                let wait = self.wait;
                let begin = || (Box::pin(tokio::time::sleep(wait)), 0);
                let (over, _) = self.full.get_or_insert_with(begin);
                ready!(over.as_mut().poll(context));
                self.metrics.edge.add(Metric::AnswersCut, 1);
                let why = "the peer does not take its answer";
                Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, why)))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What there was is taken; what comes next has its own time.
        self.full = None;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    const FULL: usize = 4 << 10;

    fn paced(wait: u64) -> (Paced<DuplexStream>, DuplexStream, Arc<Metrics>) {
        let (near, far) = tokio::io::duplex(FULL);
        let metrics = Arc::new(Metrics::new(1));
        let limits = Limits { write_wait: wait, ..Limits::default() };
        (Paced::new(near, &limits, &metrics), far, metrics)
    }

    #[tokio::test]
    async fn who_takes_nothing_or_too_little_is_cut_and_counted() {
        let (mut silent, _far, metrics) = paced(50);
        let error = silent.write_all(&[7; 2 * FULL]).await.expect_err("it is cut");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(metrics.edge.read().get(Metric::AnswersCut), 1);

        let (mut trickle, mut far, _) = paced(50);
        let taking = async {
            while far.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let writing = async move { trickle.write_all(&[7; 1 << 20]).await };
        let (ended, ()) = tokio::join!(writing, taking);
        assert_eq!(ended.expect_err("it is cut").kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn enough_or_the_rest_of_an_answer_gives_new_time() {
        let (mut steady, mut far, metrics) = paced(3_600_000);
        let mut taken = vec![0; TAKEN_BYTES_MIN];
        let mut write = Box::pin(steady.write_all(&[7; 2 * TAKEN_BYTES_MIN]));
        tokio::select! {
            biased;
            _ = &mut write => panic!("nobody has taken it"),
            () = std::future::ready(()) => {}
        }
        drop(write);
        let (_, since) = steady.full.as_ref().expect("it waits");
        assert_eq!(*since, 0);
        far.read_exact(&mut taken[..FULL]).await.expect("there is as much");
        assert_eq!(steady.write(&[7; FULL]).await.expect("room"), FULL);
        assert_eq!(steady.full.as_ref().map(|(_, since)| *since), Some(FULL));
        for _ in 1..TAKEN_BYTES_MIN / FULL {
            far.read_exact(&mut taken[..FULL]).await.expect("there is as much");
            assert_eq!(steady.write(&[7; FULL]).await.expect("room"), FULL);
        }
        assert!(steady.full.is_none(), "it has taken enough");
        _ = tokio::time::timeout(Duration::ZERO, steady.write(&[7])).await;
        assert!(steady.full.is_some());
        steady.flush().await.expect("nothing is left");
        assert!(steady.full.is_none(), "what comes next has its own time");
        assert_eq!(metrics.edge.read().get(Metric::AnswersCut), 0);
    }
}
