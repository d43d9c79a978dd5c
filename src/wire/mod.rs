//! What goes over the wire, as pure functions: ids and positions (here), times, frames in and
//! out, client messages, server messages, refusals and close codes, journal records.
//!
//! Owns no state but the id generator's. Knows no socket, clock, thread, runtime or logger.

use std::fmt;

pub mod client_message;
pub mod close;
pub mod deflate;
pub mod event_stream;
pub mod feed;
pub mod frame_reader;
pub mod frame_writer;
pub mod nonce;
pub(crate) mod percent;
pub(crate) mod random;
pub mod record;
pub mod reject;
pub mod server_message;
pub mod time;

use crate::limits::CLOCK_STEP_MAX;
use random::SplitMix64;
use time::Micros;

/// A numbered space. The database's column is INT, hence `i32` (WIRE, common forms).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SpaceId(pub i32);

/// A person. The database's column is INT, hence `i32` (WIRE, common forms).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UserId(pub i32);

impl fmt::Display for SpaceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What a log is kept for: the three socket endpoints are three kinds of space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SpaceKey {
    /// A numbered space with joins, leaves and stored chat.
    Chat(SpaceId),
    /// The space that tells who is online, over the whole hub (`/v1/ws/user-connection`).
    Lobby,
    /// The pushes to one person (`/v1/ws/notifications`).
    Inbox(UserId),
    /// Those whose messages are sent back to them alone (`/v1/debug/echo`).
    Echo,
}

impl SpaceKey {
    /// Which of `shards` the space lives on: fixed for ever, so that tests and tools can tell.
    pub fn shard(self, shards: usize) -> usize {
        let (kind, number) = match self {
            SpaceKey::Chat(space) => (0, space.0),
            SpaceKey::Lobby => (1, 0),
            SpaceKey::Inbox(user) => (2, user.0),
            SpaceKey::Echo => (3, 0),
        };
        // The finalizer of MurmurHash3, whose every output bit depends on every input bit.
        let mut word = kind << 32 | u64::from(number.cast_unsigned());
        word = (word ^ (word >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        word = (word ^ (word >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
        word ^= word >> 33;
        (word % shards as u64) as usize
    }
}

/// Which messages a member understands: the seed's only, or `cpi-hub.v1` too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// No subprotocol: exactly the seed's messages.
    Seed,
    /// Subprotocol [`SUBPROTOCOL`]: also welcome, ack, resumed, presence, closing.
    V1,
}

/// How what a member is sent is wrapped. A space has a log for each that somebody in it reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Frames of a WebSocket.
    Frames,
    /// Server-sent events: the member only reads.
    Events,
    /// Frames of a WebSocket, those of its space compressed where that makes them shorter.
    Deflated,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Encoding; 3] = [Encoding::Frames, Encoding::Events, Encoding::Deflated];
}

/// The subprotocol that a client offers to get the second dialect.
pub const SUBPROTOCOL: &str = "cpi-hub.v1";

/// Reads `[+-]?[0-9]+` within i32, as the existing server's routes do: `+1` is 1, `007` is 7.
pub fn parse_int(text: &str) -> Option<i32> {
    // `i32::from_str` takes one sign, then digits, and refuses all else, also Arabic digits.
    text.parse().ok()
}

/// A ULID: 48 bits of Unix milliseconds, then 80 bits that ascend within one millisecond.
///
/// Ids ascend strictly in each space, so an id is also a *position* in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u128);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Each two digits, by their ten bits: half as many steps as for single ones.
const PAIRS: [[u8; 2]; 1_024] = {
    let mut pairs = [[0; 2]; 1_024];
    let mut bits = 0;
    while bits < pairs.len() {
        pairs[bits] = [CROCKFORD[bits >> 5], CROCKFORD[bits & 31]];
        bits += 1;
    }
    pairs
};
const TAIL_BITS: u32 = 80;

impl Id {
    /// The length of the text form, in bytes.
    pub const TEXT_BYTES: usize = 26;
    /// Below every id that a generator makes.
    pub const MIN: Id = Id(0);
    /// Above every id that a generator makes.
    pub const MAX: Id = Id(u128::MAX);

    /// The Unix millisecond in which the id was made.
    pub fn unix_ms(self) -> i64 {
        i64::try_from(self.0 >> TAIL_BITS).expect("48 bits fit an i64")
    }

    /// The lowest id of a Unix millisecond.
    pub fn first_of_ms(unix_ms: i64) -> Id {
        Id((u128::from(unix_ms.clamp(0, (1 << 48) - 1).unsigned_abs())) << TAIL_BITS)
    }

    /// Reads 26 upper-case Crockford characters; anything else is no id.
    pub fn parse(text: &str) -> Option<Id> {
        let bytes = text.as_bytes();
        // 26 characters hold 130 bits: the first may only be 0..=7.
        if bytes.len() != Id::TEXT_BYTES || bytes[0] > b'7' {
            return None;
        }
        let digit = |byte: &u8| CROCKFORD.iter().position(|known| known == byte);
        let value =
            bytes.iter().try_fold(0u128, |value, byte| Some(value << 5 | digit(byte)? as u128))?;
        Some(Id(value))
    }

    /// The text form.
    pub fn text(self) -> [u8; Id::TEXT_BYTES] {
        let mut text = [0; Id::TEXT_BYTES];
        let mut value = self.0;
        for pair in text.as_chunks_mut().0.iter_mut().rev() {
            *pair = PAIRS[(value & 1_023) as usize];
            value >>= 10;
        }
        text
    }
}

impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(std::str::from_utf8(&self.text()).expect("Crockford digits are ASCII"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Makes ids that ascend strictly, whatever the clock does; one a shard, so without a lock.
#[derive(Debug)]
pub struct IdGenerator {
    last: Id,
    /// Whether `last` was made elsewhere, where its successors may be made too.
    is_foreign: bool,
    at: Micros,
    random: SplitMix64,
}

impl IdGenerator {
    /// A generator whose random tails come from `seed`.
    pub fn new(seed: u64) -> IdGenerator {
        let random = SplitMix64(seed);
        IdGenerator { last: Id::MIN, is_foreign: false, at: Micros(0), random }
    }

    /// Goes on above `id`: for what journals and store already hold (P1, across restarts), and for
    /// what was made elsewhere.
    pub fn start_above(&mut self, id: Id) {
        if id > self.last {
            (self.last, self.is_foreign) = (id, true);
        }
        // The message of that id may carry any microsecond of its millisecond.
        self.at = self.at.max(Micros(self.last.unix_ms() * 1000 + 999));
    }

    /// The highest id made or known so far.
    pub fn last(&self) -> Id {
        self.last
    }

    /// The instant that a frame carries: `now`, or the last one when the clock went back a little,
    /// so that a later frame says no earlier time but where the clock was set (WIRE, form `T`).
    pub fn instant(&mut self, now: Micros) -> Micros {
        let was_set = self.at.0.saturating_sub(now.0) > CLOCK_STEP_MAX;
        self.at = if was_set { now } else { self.at.max(now) };
        self.at
    }

    /// The next id, and the instant that its message carries. The id's millisecond is the
    /// instant's, or a later one where ids are ahead of the clock (WIRE, form `T`).
    pub fn next_id(&mut self, now: Micros) -> (Id, Micros) {
        self.instant(now);
        let first = Id::first_of_ms(self.at.0.div_euclid(1000));
        self.last = if first > self.last {
            Id(first.0 | self.tail())
        } else if self.is_foreign {
            // Others who know the same id may count up from there.
            Id(self.last.0.saturating_add(1 + (self.tail() >> 9)))
        } else {
            Id(self.last.0 + 1)
        };
        self.is_foreign = false;
        (self.last, self.at)
    }

    /// 79 random bits: the top bit stays free, so that counting up can't leave the millisecond.
    /// Enough to keep two shards' ids apart; ids are no secret.
    fn tail(&mut self) -> u128 {
        let high = u128::from(self.random.next() >> 1) << 16;
        high & ((1 << 79) - 1) | u128::from(self.random.next() & 0xFFFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_space_lives_on_the_same_shard_for_ever() {
        let of = |key: SpaceKey| key.shard(7);
        let chats: Vec<usize> = (-1..6).map(|space| of(SpaceKey::Chat(SpaceId(space)))).collect();
        assert_eq!(chats, [3, 0, 0, 5, 2, 5, 5]);
        assert_eq!(of(SpaceKey::Lobby), 6);
        let inboxes: Vec<usize> = (1..4).map(|user| of(SpaceKey::Inbox(UserId(user)))).collect();
        assert_eq!(inboxes, [5, 3, 0]);
    }

    #[test]
    fn numbered_spaces_spread_evenly_over_the_shards() {
        let mut spaces = [0; 4];
        for space in 1..=10_000 {
            spaces[SpaceKey::Chat(SpaceId(space)).shard(4)] += 1;
        }
        assert!(spaces.iter().all(|count| (2_300..2_700).contains(count)), "{spaces:?}");
    }

    #[test]
    fn an_id_has_the_text_of_the_ulid_specification() {
        let id = Id((1_469_918_176_385u128 << 80) | 0xABCD_EF01_2345_6789_ABCD);
        assert_eq!(&id.to_string()[..10], "01ARYZ6S41");
        assert_eq!(Id::MAX.to_string(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        assert_eq!(id.unix_ms(), 1_469_918_176_385);
    }

    #[test]
    fn ids_ascend_when_the_clock_stands_or_goes_back() {
        let mut ids = IdGenerator::new(1);
        let mut last = (Id::MIN, Micros(0));
        for now in [5_000_000, 5_000_000, 4_000_000, 5_000_999, 5_001_000, 4_001_000, 9_000_000] {
            let next = ids.next_id(Micros(now));
            assert!(next.0 > last.0 && next.1 >= last.1);
            assert_eq!(next.0.unix_ms(), next.1.0 / 1000);
            last = next;
        }
    }

    #[test]
    fn times_follow_a_clock_that_was_set_back_while_ids_go_on_ascending() {
        let day = 86_400_000_000;
        let mut ids = IdGenerator::new(1);
        let ahead = ids.next_id(Micros(401 * day));
        let back = ids.next_id(Micros(day));
        assert!(back.0 > ahead.0 && back.1 == Micros(day), "{back:?} after {ahead:?}");
        // In the next run, on two shards that know the same.
        let next = [2, 3].map(|seed| {
            let mut ids = IdGenerator::new(seed);
            ids.start_above(back.0);
            assert_eq!(ids.instant(Micros(day + 5)), Micros(day + 5));
            [ids.next_id(Micros(day + 5)), ids.next_id(Micros(day + 9))]
        });
        let mut made: Vec<Id> = next.into_iter().flatten().map(|(id, _)| id).collect();
        assert!(made.iter().all(|id| *id > back.0) && made[1] > made[0] && made[3] > made[2]);
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 4, "no two shards make the same id");
    }

    #[test]
    fn a_generator_goes_on_above_a_known_id_of_the_future() {
        let mut ids = IdGenerator::new(1);
        let known = Id(Id::first_of_ms(9_000).0 | 77);
        ids.start_above(known);
        let (id, at) = ids.next_id(Micros(8_500_000));
        assert!(id > known);
        assert_eq!(at, Micros(9_000_999), "a little is waited for");
        assert_eq!(ids.next_id(Micros(1_000_000)).1, Micros(1_000_000));
    }

    #[test]
    fn integers_are_read_as_the_existing_routes_do() {
        let cases = [
            ("1", Some(1)),
            ("+1", Some(1)),
            ("-1", Some(-1)),
            ("007", Some(7)),
            ("2147483647", Some(i32::MAX)),
            ("2147483648", None),
            ("", None),
            ("1e3", None),
            (" 1", None),
            ("+-1", None),
            ("\u{661}", None),
            ("1\0", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_int(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_id_survives_its_text(value: u128) {
            let id = Id(value);
            prop_assert_eq!(Id::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn text_order_is_id_order(a: u128, b: u128) {
            prop_assert_eq!(Id(a).text().cmp(&Id(b).text()), a.cmp(&b));
        }

        #[test]
        fn only_an_id_is_read_as_one(text in "[0-9A-Za-z]{24,28}|\\PC*") {
            if let Some(id) = Id::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
