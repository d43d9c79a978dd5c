//! A record: one chat message on its way to the store, as bytes.
//!
//! Written by the shard, kept by the journal, read by the batcher. The journal adds lengths and
//! checksums per append; inside, a record is only laid out, little-endian:
//! `len u32 | id u128 | at i64 | space i32 | user i32 | name_len u16 | name | content`.

use super::time::Micros;
use super::{Id, SpaceId, UserId};

const FIXED_BYTES: usize = 16 + 8 + 4 + 4 + 2;

/// One chat message as the store keeps it (WIRE F, `chat_messages`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// The message's id and position.
    pub id: Id,
    /// The instant of acceptance.
    pub at: Micros,
    /// The space it was said in.
    pub space: SpaceId,
    /// Who said it.
    pub user: UserId,
    /// The sender's name at that time.
    pub username: &'a str,
    /// The text, at most what `limits.rs` allows.
    pub content: &'a str,
}

impl<'a> Record<'a> {
    /// How many bytes [`append_to`](Record::append_to) adds.
    pub fn encoded_bytes(&self) -> usize {
        4 + FIXED_BYTES + self.username.len() + self.content.len()
    }

    /// Adds the record to `out`. The name is at most 64 KiB, the content 4 GiB; the door sees
    /// to both.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let length = FIXED_BYTES + self.username.len() + self.content.len();
        let name_length = u16::try_from(self.username.len()).expect("the door bounds names");
        out.extend_from_slice(&u32::try_from(length).expect("the door bounds text").to_le_bytes());
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&self.space.0.to_le_bytes());
        out.extend_from_slice(&self.user.0.to_le_bytes());
        out.extend_from_slice(&name_length.to_le_bytes());
        out.extend_from_slice(self.username.as_bytes());
        out.extend_from_slice(self.content.as_bytes());
    }

    /// Reads the first record of `bytes` and what follows it. `None`: the bytes are no record,
    /// which a checksum above should have caught.
    pub fn split_from(bytes: &'a [u8]) -> Option<(Record<'a>, &'a [u8])> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (id, body) = body.split_first_chunk::<16>()?;
        let (at, body) = body.split_first_chunk::<8>()?;
        let (space, body) = body.split_first_chunk::<4>()?;
        let (user, body) = body.split_first_chunk::<4>()?;
        let (name_length, body) = body.split_first_chunk::<2>()?;
        let (username, content) = body.split_at_checked(u16::from_le_bytes(*name_length).into())?;
        let record = Record {
            id: Id(u128::from_le_bytes(*id)),
            at: Micros(i64::from_le_bytes(*at)),
            space: SpaceId(i32::from_le_bytes(*space)),
            user: UserId(i32::from_le_bytes(*user)),
            username: std::str::from_utf8(username).ok()?,
            content: std::str::from_utf8(content).ok()?,
        };
        Some((record, rest))
    }
}

/// The records of `bytes`, in order; ends early where the bytes are no record.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (record, after) = Record::split_from(rest)?;
        rest = after;
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_survive_their_bytes(
            rows in proptest::collection::vec(
                (any::<u128>(), any::<i64>(), any::<i32>(), "\\PC{0,20}", "\\PC{0,40}"),
                0..8,
            )
        ) {
            let rows: Vec<Record<'_>> = rows.iter().map(|(id, at, n, name, content)| Record {
                id: Id(*id), at: Micros(*at), space: SpaceId(*n), user: UserId(n.wrapping_neg()),
                username: name, content,
            }).collect();
            let mut bytes = Vec::new();
            for row in &rows { row.append_to(&mut bytes); }
            prop_assert_eq!(bytes.len(), rows.iter().map(Record::encoded_bytes).sum::<usize>());
            prop_assert_eq!(records(&bytes).collect::<Vec<_>>(), rows);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let _ = records(&bytes).count();
        }
    }
}
