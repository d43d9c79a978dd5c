//! Rows as PostgreSQL's binary COPY has them, written by hand. Pure.
//!
//! Half as dear for the client as a generic writer: six columns of fixed types, no table of
//! converters. The columns are checked against the database before any row is sent,
//! because a wrong width here is no error that names its column.

use bytes::{BufMut, BytesMut};

use crate::wire::Id;
use crate::wire::record::Record;
use crate::wire::time::Micros;

/// What the rows are for: the columns, in their order.
pub(super) const COPY: &str = "COPY chat_messages \
    (id, content, user_id, username, space_id, timestamp) FROM STDIN (FORMAT binary)";

const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COLUMNS: i16 = 6;
const TRAILER: i16 = -1;
/// Lengths of the columns and what is fixed of them: id, two ints, an instant.
const FIXED_BYTES: usize = 2 + 6 * 4 + 26 + 4 + 4 + 8;
/// From 1970 to 2000, where PostgreSQL's instants begin, in microseconds.
const EPOCH_US: i64 = 946_684_800_000_000;

/// Between instants and the column `timestamp`: microseconds of a fixed offset's wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WallMicros {
    offset_us: i64,
}

impl WallMicros {
    /// The wall clock of a fixed offset east of UTC, in seconds.
    pub fn new(offset_s: i32) -> WallMicros {
        WallMicros { offset_us: i64::from(offset_s) * 1_000_000 }
    }

    /// Microseconds since 1970, by that clock.
    pub fn of(self, at: Micros) -> i64 {
        at.0.saturating_add(self.offset_us)
    }

    /// The instant of such a number.
    pub fn instant(self, wall: i64) -> Micros {
        Micros(wall.saturating_sub(self.offset_us))
    }
}

/// All rows of one COPY, header and trailer included.
pub fn rows<'a>(
    records: impl Iterator<Item = Record<'a>>,
    wall: WallMicros,
    bytes: usize,
) -> BytesMut {
    let mut out = BytesMut::with_capacity(bytes);
    out.put_slice(HEADER);
    for record in records {
        out.reserve(FIXED_BYTES + record.content.len() + record.username.len());
        let Record { id, user, space, .. } = record;
        let at = wall.of(record.at).saturating_sub(EPOCH_US);
        let (content, username) = (record.content.as_bytes(), record.username.as_bytes());
        // What stands between two texts is put at once: each put is a call.
        out.put_slice(&joined::<36>(&[
            &COLUMNS.to_be_bytes(),
            &length(Id::TEXT_BYTES),
            &id.text(),
            &length(content.len()),
        ]));
        out.put_slice(content);
        out.put_slice(&joined::<12>(&[&length(4), &user.0.to_be_bytes(), &length(username.len())]));
        out.put_slice(username);
        out.put_slice(&joined::<20>(&[
            &length(4),
            &space.0.to_be_bytes(),
            &length(8),
            &at.to_be_bytes(),
        ]));
    }
    out.put_i16(TRAILER);
    out
}

/// The bytes that [`rows`] takes at most, for records of `record_bytes` in all.
pub fn bytes_for(rows: usize, record_bytes: usize) -> usize {
    HEADER.len() + 2 + rows * FIXED_BYTES + record_bytes
}

/// A column's length, as it stands before the column.
#[inline]
fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("the door bounds texts").to_be_bytes()
}

/// Pieces of `N` bytes in all, one behind the other.
#[inline]
fn joined<const N: usize>(pieces: &[&[u8]]) -> [u8; N] {
    let mut all = [0; N];
    let mut at = 0;
    for piece in pieces {
        all[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    debug_assert_eq!(at, N);
    all
}

/// One row as the server would read it.
#[cfg(any(test, fuzzing))]
type Row = Vec<Vec<u8>>;

/// Rows as the server would read them: PostgreSQL's manual describes the format (COPY, "Binary
/// Format").
#[cfg(any(test, fuzzing))]
pub(crate) fn decode(mut bytes: &[u8]) -> Vec<Row> {
    use bytes::Buf;

    assert_eq!(bytes.copy_to_bytes(11), &b"PGCOPY\n\xff\r\n\0"[..]);
    assert_eq!((bytes.get_u32(), bytes.get_u32()), (0, 0), "flags, extension");
    let mut rows = Vec::new();
    loop {
        match bytes.get_i16() {
            -1 => break,
            columns => rows.push(
                (0..columns)
                    .map(|_| {
                        let length = usize::try_from(bytes.get_i32()).expect("no nulls");
                        bytes.copy_to_bytes(length).to_vec()
                    })
                    .collect(),
            ),
        }
    }
    assert!(!bytes.has_remaining(), "nothing follows the trailer");
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{SpaceId, UserId};
    use proptest::prelude::*;

    #[test]
    fn an_instant_is_the_wall_clock_since_2000() {
        let wall = WallMicros::new(-10_800);
        let record = Record {
            id: Id(1),
            at: Micros(1_767_333_845_678_901),
            space: SpaceId(1),
            user: UserId(2),
            username: "Ana",
            content: "hola",
            nonce: None,
        };
        let row = decode(&rows(std::iter::once(record), wall, 0)).remove(0);
        // 2026-01-02 03:04:05.678901, counted from 2000-01-01 00:00:00.
        let expected = 1_767_333_845_678_901i64 - 10_800_000_000 - 946_684_800_000_000;
        assert_eq!(row[5], expected.to_be_bytes());
        assert_eq!(wall.instant(wall.of(record.at)), record.at);
    }

    proptest! {
        #[test]
        fn rows_are_read_back_as_they_are(
            given in proptest::collection::vec(
                (any::<u128>(), any::<i32>(), "\\PC{0,20}", "\\PC{0,40}", any::<i32>(),
                 -(1i64 << 60)..1 << 60),
                0..8,
            ),
            offset in -50_400i32..50_400,
        ) {
            let records: Vec<Record<'_>> = given.iter().map(|(id, user, name, text, space, at)| {
                Record {
                    id: Id(*id), at: Micros(*at), space: SpaceId(*space), user: UserId(*user),
                    username: name, content: text, nonce: None,
                }
            }).collect();
            let size = records.iter().map(Record::encoded_bytes).sum();
            let bound = bytes_for(records.len(), size);
            let bytes = rows(records.iter().copied(), WallMicros::new(offset), bound);
            prop_assert!(bytes.len() <= bound && bytes.capacity() == bound, "no second allocation");
            let read = decode(&bytes);
            prop_assert_eq!(read.len(), records.len());
            for (row, record) in read.iter().zip(&records) {
                let wall = record.at.0 + i64::from(offset) * 1_000_000 - 946_684_800_000_000;
                let expected: [&[u8]; 6] = [
                    &record.id.text(), record.content.as_bytes(), &record.user.0.to_be_bytes(),
                    record.username.as_bytes(), &record.space.0.to_be_bytes(),
                    &wall.to_be_bytes(),
                ];
                prop_assert_eq!(row, &expected);
            }
        }
    }
}
