//! Bodies that their route answers without reading. A small one is read and thrown away, so that
//! the connection goes on; otherwise its answer has to be the connection's last and to say so,
//! since the next request would begin somewhere behind it.
//!
//! A route's body is lent: where the route drops it before its end, it comes back here.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::limits::UNREAD_BYTES_MAX;

/// A body in a route's hands.
struct Lent {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

/// What becomes of a request's body once the request is answered.
pub(super) struct Unread {
    body: Option<oneshot::Receiver<Body>>,
    /// The sender waits to be asked for the body, and is not asked for what nobody reads.
    waits: bool,
}

/// Lends a request's body to whoever answers the request.
pub(super) fn lend(request: Request) -> (Request, Unread) {
    if request.body().is_end_stream() {
        return (request, Unread { body: None, waits: false });
    }
    let waits = request.headers().contains_key(header::EXPECT);
    let (back, given_back) = oneshot::channel();
    let lent = request.map(|body| Body::new(Lent { body, back: Some(back) }));
    (lent, Unread { body: Some(given_back), waits })
}

impl Unread {
    /// Reads on what the route has left, for this long at most. Whether all of it is read, so that
    /// another request may follow.
    pub(super) async fn finish(self, wait: Duration) -> bool {
        let Some(mut given_back) = self.body else { return true };
        let body = match given_back.try_recv() {
            Ok(body) => body,
            Err(TryRecvError::Closed) => return true,
            Err(TryRecvError::Empty) => return false,
        };
        let is_large = body.size_hint().lower() > UNREAD_BYTES_MAX;
        if self.waits || is_large {
            return false;
        }
        tokio::time::timeout(wait, throw_away(body)).await.unwrap_or(false)
    }
}

async fn throw_away(mut body: Body) -> bool {
    let mut left = UNREAD_BYTES_MAX;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        let Some(less) = left.checked_sub(bytes) else { return false };
        left = less;
    }
    true
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.body.is_end_stream()
            && let Some(back) = self.back.take()
        {
            // The door may be gone with its connection.
            _ = back.send(std::mem::take(&mut self.body));
        }
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};
    use http_body_util::StreamBody;

    /// A body of unannounced length, in pieces of 1 KiB, which then ends or never does.
    fn pieces(count: usize, ends: bool) -> Body {
        let piece = |_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![7; 1 << 10])));
        let pieces = stream::iter((0..count).map(piece));
        match ends {
            true => Body::new(StreamBody::new(pieces)),
            false => Body::new(StreamBody::new(pieces.chain(stream::pending()))),
        }
    }

    /// Whether the connection may go on behind a route that reads `frames` frames of a body.
    async fn goes_on(body: Body, frames: usize, lines: &[(&str, &str)]) -> bool {
        let mut request = Request::builder();
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (request, unread) = lend(request.body(body).expect("a request"));
        let mut body = request.into_body();
        for _ in 0..frames {
            body.frame().await;
        }
        drop(body);
        unread.finish(Duration::from_millis(50)).await
    }

    #[tokio::test]
    async fn what_is_small_and_there_is_thrown_away_and_nothing_else() {
        let most = (UNREAD_BYTES_MAX >> 10) as usize;
        for (body, frames, expected) in [
            (Body::empty(), 0, true),
            (Body::from("x"), 0, true),
            (Body::from("x"), 2, true),
            (Body::from(vec![7; UNREAD_BYTES_MAX as usize]), 0, true),
            (Body::from(vec![7; UNREAD_BYTES_MAX as usize + 1]), 0, false),
            (pieces(most, true), 0, true),
            (pieces(most + 1, true), 0, false),
            (pieces(most + 9, true), 9, true),
            (pieces(1, false), 0, false),
        ] {
            let of = format!("{:?} after {frames}", body.size_hint());
            assert_eq!(goes_on(body, frames, &[]).await, expected, "{of}");
        }
        assert!(!goes_on(Body::from("x"), 0, &[("expect", "100-continue")]).await);
        assert!(goes_on(Body::from("x"), 2, &[("expect", "100-continue")]).await);
    }
}
