//! The time that a peer has to take its answer: whoever does not is cut.
//!
//! The kernel gives up a peer that takes nothing at all, but neither one that takes a byte now and
//! then, nor on every system one that says again and again that it has no room. So a socket that
//! is found full has `write_wait` to take some of what waits, again and again, until it has taken
//! all. Owns that time; writes nothing itself.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use crate::limits::Limits;
use crate::metrics::{Metric, Metrics};

/// What a peer has to take within `write_wait`, if as much waits for it.
const TAKEN_BYTES_MIN: usize = 32 << 10;

/// Judges the writes to one socket.
#[derive(Debug)]
pub(super) struct Pace {
    wait: Duration,
    metrics: Arc<Metrics>,
    /// The socket was full, and what waits is not taken yet.
    full: Option<Full>,
}

#[derive(Debug)]
struct Full {
    /// When the peer's time is over.
    over: Pin<Box<Sleep>>,
    /// What it has taken within that time.
    taken_bytes: usize,
}

impl Pace {
    /// Gives its peer `write_wait`, each time; counts those that are cut.
    pub(super) fn new(limits: &Limits, metrics: &Arc<Metrics>) -> Pace {
        let wait = Duration::from_millis(limits.write_wait);
        Pace { wait, metrics: Arc::clone(metrics), full: None }
    }

    /// The outcome of a write: passed on, unless the peer's time is over.
    pub(super) fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                if let Some(full) = &mut self.full {
                    full.taken_bytes += bytes;
                    if full.taken_bytes >= TAKEN_BYTES_MIN {
                        self.full = None;
                    }
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                let wait = self.wait;
                let begin = || Full { over: Box::pin(tokio::time::sleep(wait)), taken_bytes: 0 };
                let full = self.full.get_or_insert_with(begin);
                ready!(full.over.as_mut().poll(context));
                self.metrics.edge.add(Metric::AnswersCut, 1);
                let why = "the peer does not take its answer";
                Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, why)))
            }
        }
    }

    /// All that there was is taken; what comes next has its own time.
    pub(super) fn renew(&mut self) {
        self.full = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

    const FULL: usize = 4 << 10;

    /// A stream whose writes are judged.
    struct Paced {
        stream: DuplexStream,
        pace: Pace,
    }

    impl AsyncWrite for Paced {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let written = Pin::new(&mut self.stream).poll_write(context, bytes);
            self.pace.judge(context, written)
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.pace.renew();
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn paced(wait: u64) -> (Paced, DuplexStream, Arc<Metrics>) {
        let (stream, far) = tokio::io::duplex(FULL);
        let metrics = Arc::new(Metrics::new(1));
        let limits = Limits { write_wait: wait, ..Limits::default() };
        (Paced { stream, pace: Pace::new(&limits, &metrics) }, far, metrics)
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
        let taken_bytes = |steady: &Paced| steady.pace.full.as_ref().map(|full| full.taken_bytes);
        assert_eq!(taken_bytes(&steady), Some(0));
        far.read_exact(&mut taken[..FULL]).await.expect("there is as much");
        assert_eq!(steady.write(&[7; FULL]).await.expect("room"), FULL);
        assert_eq!(taken_bytes(&steady), Some(FULL));
        for _ in 1..TAKEN_BYTES_MIN / FULL {
            far.read_exact(&mut taken[..FULL]).await.expect("there is as much");
            assert_eq!(steady.write(&[7; FULL]).await.expect("room"), FULL);
        }
        assert!(steady.pace.full.is_none(), "it has taken enough");
        _ = tokio::time::timeout(Duration::ZERO, steady.write(&[7])).await;
        assert!(steady.pace.full.is_some());
        steady.flush().await.expect("nothing is left");
        assert!(steady.pace.full.is_none(), "what comes next has its own time");
        assert_eq!(metrics.edge.read().get(Metric::AnswersCut), 0);
    }
}
