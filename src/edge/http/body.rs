//! Request bodies, read whole within bounds: of their route, of all bodies together, of time.
//!
//! Owns the room for body bytes in flight. Room is taken as bytes arrive, not when they are
//! announced, so that a slow sender can't hold the place of others. Small bodies, the ordinary
//! ones, have room of their own that large ones never take; and of either room one address holds
//! half at most. Reads JSON objects of a bounded depth from them.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;
use serde::Deserialize;

use super::peer::Peer;
use super::problem::Refusal;
use crate::conditions::Conditions;
use crate::faults::panic_place;
use crate::limits::Limits;
use crate::shares::{Part, Pool};
use crate::wire::reject::Reject;

/// The first allocation for a body; what is announced is not yet there.
const FIRST_BYTES: usize = 16 << 10;

/// All request bodies in flight. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    small: Pool,
    large: Pool,
    /// A longer body is large.
    small_bytes_max: usize,
    wait: Duration,
}

/// A whole body; its bytes count as in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    /// What came.
    pub bytes: Vec<u8>,
    _place: Part,
}

impl Bodies {
    /// Room for the bodies that the limits allow. A bound that holds no small body beside a large
    /// one is one room for both.
    pub(crate) fn new(limits: &Limits, conditions: &Conditions) -> Bodies {
        let (all, largest) = (limits.bodies_bytes_max, limits.chat_body_bytes_max);
        let small_bytes_max = limits.body_bytes_max;
        // An address has half of each room, and room for one body in any case.
        let pool = |bytes: usize, body: usize| {
            Pool::new(bytes, (bytes / 2).max(body)).telling(conditions, "bodies_bytes_max")
        };
        let (small, large) = if all >= largest + small_bytes_max {
            let small = (all / 4).clamp(small_bytes_max, all - largest);
            (pool(small, small_bytes_max), pool(all - small, largest))
        } else {
            let both = pool(all, largest);
            (both.clone(), both)
        };
        Bodies { small, large, small_bytes_max, wait: Duration::from_millis(limits.handshake_wait) }
    }

    /// Reads a body of at most `bytes_max`; what goes beyond is not read.
    pub(crate) async fn read(
        &self,
        peer: Peer,
        body: Body,
        bytes_max: usize,
    ) -> Result<Received, Refusal> {
        let announced = body.size_hint();
        let least = usize::try_from(announced.lower()).unwrap_or(usize::MAX);
        if least > bytes_max {
            return Err(Refusal::from(Reject::BodyTooLarge).closing());
        }
        let most = if announced.exact().is_some() { least } else { bytes_max };
        let is_large = least > self.small_bytes_max;
        let pool = if is_large { &self.large } else { &self.small };
        let place = pool.take(peer.number(), 0).ok_or_else(overloaded)?;
        let arriving = Arriving { bytes: Vec::new(), place, most, is_large };
        match tokio::time::timeout(self.wait, self.collect(body, arriving, peer)).await {
            Ok(received) => received,
            Err(_) => Err(Refusal::slow_body()),
        }
    }

    async fn collect(
        &self,
        mut body: Body,
        mut arriving: Arriving,
        peer: Peer,
    ) -> Result<Received, Refusal> {
        while let Some(frame) = body.frame().await {
            // The peer went away, or broke the framing: where its next request begins is unknown.
            let frame = frame.map_err(|_| Refusal::bad_json().closing())?;
            let Ok(piece) = frame.into_data() else { continue };
            panic_place("a body");
            if piece.len() > arriving.most - arriving.bytes.len() {
                return Err(Refusal::from(Reject::BodyTooLarge).closing());
            }
            self.make_room(&mut arriving, piece.len(), peer)?;
            arriving.bytes.extend_from_slice(&piece);
        }
        Ok(Received { bytes: arriving.bytes, _place: arriving.place })
    }

    /// Room for `more` bytes, and for as many again: what is allocated is what is counted.
    fn make_room(&self, arriving: &mut Arriving, more: usize, peer: Peer) -> Result<(), Refusal> {
        let Arriving { bytes, place, most, is_large } = arriving;
        let needed = bytes.len() + more;
        if needed <= place.amount() {
            return Ok(());
        }
        let mut room = needed.max((2 * place.amount()).max(FIRST_BYTES).min(*most));
        if !*is_large && needed > self.small_bytes_max {
            // The body announced no length, and turns out to be a large one.
            *place = self.large.take(peer.number(), needed).ok_or_else(overloaded)?;
            *is_large = true;
        }
        if !*is_large {
            room = room.min(self.small_bytes_max);
        }
        if !place.grow_to(room) {
            room = needed;
            if !place.grow_to(room) {
                return Err(overloaded());
            }
        }
        bytes.reserve_exact(room - bytes.len());
        Ok(())
    }
}

/// A body on its way.
struct Arriving {
    bytes: Vec<u8>,
    /// Room for as many bytes as are allocated.
    place: Part,
    /// The most bytes that it can have.
    most: usize,
    is_large: bool,
}

fn overloaded() -> Refusal {
    Refusal::from(Reject::Overloaded).closing()
}

/// Reads an object of a bounded depth, with nothing behind it.
pub(crate) fn parse_object<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    limits: &Limits,
) -> Result<T, Refusal> {
    let bad = |_| Refusal::bad_json();
    // serde_json checks neither text nor depth of what it skips.
    let text = simdutf8::basic::from_utf8(body).map_err(bad)?;
    if depth(body) > limits.json_depth_max {
        return Err(Refusal::bad_json());
    }
    serde_json::from_str(text).map_err(|_| Refusal::bad_json())
}

/// How deep arrays and objects nest.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = json.iter();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => _ = bytes.next(),
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    fn quiet() -> Conditions {
        Conditions::new(crate::clock::Clock::start())
    }

    fn bodies(in_flight: usize) -> Bodies {
        let (body_bytes_max, chat_body_bytes_max) = (100, 1_000);
        Bodies::new(
            &Limits {
                bodies_bytes_max: in_flight,
                body_bytes_max,
                chat_body_bytes_max,
                ..Limits::default()
            },
            &quiet(),
        )
    }

    fn peer(last: u8) -> Peer {
        Peer::counted(std::net::Ipv4Addr::new(192, 0, 2, last).into())
    }

    /// A body of unannounced length, in pieces of 10 bytes.
    fn pieces(count: usize) -> Body {
        let piece = || Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"0123456789")));
        Body::new(StreamBody::new(stream::iter((0..count).map(move |_| piece()))))
    }

    fn announced(bytes: usize) -> Body {
        Body::from("x".repeat(bytes))
    }

    fn code(read: Result<Received, Refusal>) -> Result<usize, &'static str> {
        read.map(|received| received.bytes.len()).map_err(|refusal| refusal.code)
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound_and_no_further() {
        let bodies = bodies(10_000);
        let whole = bodies.read(peer(1), pieces(5), 50).await.expect("within its bound");
        assert_eq!(whole.bytes, b"0123456789".repeat(5));
        for body in [pieces(6), announced(51)] {
            let refusal = bodies.read(peer(1), body, 50).await.expect_err("over its bound");
            assert_eq!((refusal.code, refusal.closes), ("body_too_large", true));
        }
    }

    #[tokio::test]
    async fn a_small_body_never_waits_behind_large_ones() {
        // 1,000 for small ones, 3,000 for large ones, of which an address has half.
        let bodies = bodies(4_000);
        let large = async |last, bytes| bodies.read(peer(last), announced(bytes), 1_000).await;
        let mut held = vec![large(1, 1_000).await.expect("room"), large(1, 500).await.expect("")];
        assert_eq!(code(large(1, 101).await), Err("overloaded"), "its share is held");
        held.push(large(2, 1_000).await.expect("the others' half"));
        held.push(large(3, 500).await.expect("the rest"));
        let refusal = large(4, 101).await.expect_err("all of it is held");
        assert_eq!((refusal.status.as_u16(), refusal.retry_after_ms), (503, Some(1_000)));
        assert_eq!(code(bodies.read(peer(1), announced(100), 1_000).await), Ok(100));
        // A body whose length shows late moves over, or is refused there.
        assert_eq!(code(bodies.read(peer(4), pieces(10), 1_000).await), Ok(100));
        assert_eq!(code(bodies.read(peer(4), pieces(11), 1_000).await), Err("overloaded"));
        drop(held);
        assert_eq!(code(bodies.read(peer(4), pieces(100), 1_000).await), Ok(1_000));
    }

    #[tokio::test]
    async fn of_the_room_for_small_bodies_an_address_has_half_too() {
        let bodies = bodies(4_000);
        let small = async |last| bodies.read(peer(last), announced(100), 100).await;
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(small(1).await.expect("its share"));
        }
        assert_eq!(code(small(1).await), Err("overloaded"));
        assert_eq!(code(small(2).await), Ok(100));
        held.pop();
        assert_eq!(code(small(1).await), Ok(100));
    }

    #[tokio::test]
    async fn a_bound_of_one_large_body_is_room_for_both() {
        let bodies = bodies(1_000);
        let first = bodies.read(peer(1), announced(900), 1_000).await.expect("room");
        assert_eq!(code(bodies.read(peer(2), pieces(11), 1_000).await), Err("overloaded"));
        drop(first);
        assert_eq!(code(bodies.read(peer(2), announced(1_000), 1_000).await), Ok(1_000));
    }

    #[tokio::test]
    async fn a_slow_body_is_given_up() {
        let never = stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
        let bodies = Bodies::new(&Limits { handshake_wait: 0, ..Limits::default() }, &quiet());
        let late = bodies.read(peer(1), Body::new(StreamBody::new(never)), 100).await;
        let refusal = late.expect_err("nothing comes");
        assert_eq!((refusal.status.as_u16(), refusal.closes), (408, true));
    }
}
