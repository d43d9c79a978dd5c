//! Request bodies, read whole within bounds: of their route, of all bodies together, of time.
//!
//! Owns the count of body bytes in flight. Bytes count from when they arrive, not from when they
//! are announced, so that a slow sender can't hold the place of others.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Refusal;
use crate::limits::Limits;
use crate::wire::reject::Reject;

/// The first allocation for a body; what is announced is not yet there.
const FIRST_BYTES: usize = 16 << 10;

/// All request bodies in flight. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Bodies {
    free_bytes: Arc<Semaphore>,
    wait: Duration,
}

/// A whole body; its bytes count as in flight until it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    /// What came.
    pub bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

impl Bodies {
    /// Room for the bodies that the limits allow.
    pub(super) fn new(limits: &Limits) -> Bodies {
        let free_bytes = Arc::new(Semaphore::new(limits.bodies_bytes_max));
        Bodies { free_bytes, wait: Duration::from_millis(limits.handshake_wait) }
    }

    /// Reads a body of at most `bytes_max`; what goes beyond is not read.
    pub(super) async fn read(&self, body: Body, bytes_max: usize) -> Result<Received, Refusal> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > bytes_max {
            return Err(Refusal::from(Reject::BodyTooLarge).closing());
        }
        let first = BytesMut::with_capacity(announced.min(FIRST_BYTES));
        match tokio::time::timeout(self.wait, self.collect(body, first, bytes_max)).await {
            Ok(received) => received,
            Err(_) => Err(Refusal::slow_body()),
        }
    }

    async fn collect(
        &self,
        mut body: Body,
        mut bytes: BytesMut,
        bytes_max: usize,
    ) -> Result<Received, Refusal> {
        let mut place = self.take(0)?;
        while let Some(frame) = body.frame().await {
            // The peer went away, or broke the framing: nobody knows where its next request is.
            let frame = frame.map_err(|_| Refusal::bad_json().closing())?;
            let Ok(piece) = frame.into_data() else { continue };
            if piece.len() > bytes_max - bytes.len() {
                return Err(Refusal::from(Reject::BodyTooLarge).closing());
            }
            place.merge(self.take(piece.len())?);
            bytes.extend_from_slice(&piece);
        }
        Ok(Received { bytes: bytes.freeze(), _place: place })
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let overloaded = || Refusal::from(Reject::Overloaded).closing();
        let bytes = u32::try_from(bytes).map_err(|_| overloaded())?;
        Arc::clone(&self.free_bytes).try_acquire_many_owned(bytes).map_err(|_| overloaded())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    fn bodies(in_flight: usize) -> Bodies {
        Bodies::new(&Limits { bodies_bytes_max: in_flight, ..Limits::default() })
    }

    /// A body of unannounced length, in pieces of 10 bytes.
    fn pieces(count: usize) -> Body {
        let piece = || Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"0123456789")));
        Body::new(StreamBody::new(stream::iter((0..count).map(move |_| piece()))))
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound_and_no_further() {
        let bodies = bodies(1_000);
        let whole = bodies.read(pieces(5), 50).await.expect("within its bound");
        assert_eq!(whole.bytes, b"0123456789".repeat(5));
        for body in [pieces(6), Body::from("x".repeat(51))] {
            let refusal = bodies.read(body, 50).await.expect_err("over its bound");
            assert_eq!((refusal.code, refusal.closes), ("body_too_large", true));
        }
    }

    #[tokio::test]
    async fn bodies_in_flight_are_bounded_and_freed() {
        let bodies = bodies(100);
        let first = bodies.read(pieces(8), 100).await.expect("room");
        let refusal = bodies.read(pieces(3), 100).await.expect_err("only 20 bytes are left");
        assert_eq!((refusal.status.as_u16(), refusal.code), (503, "overloaded"));
        drop(first);
        assert!(bodies.read(pieces(10), 100).await.is_ok());
    }

    #[tokio::test]
    async fn a_slow_body_is_given_up() {
        let never = stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
        let bodies = Bodies::new(&Limits { handshake_wait: 0, ..Limits::default() });
        let late = bodies.read(Body::new(StreamBody::new(never)), 100).await;
        let refusal = late.expect_err("nothing comes");
        assert_eq!((refusal.status.as_u16(), refusal.closes), (408, true));
    }
}
