//! A record: one chat message on its way to the store, as bytes.
//!
//! Written by the shard, kept by the journal, read by the batcher. The journal adds lengths and
//! checksums per append; inside, a record is only laid out, little-endian:
//! `len u32 | id u128 | at i64 | space i32 | user i32 | name_len u16 | name | content`.
//! The highest bit of `name_len` says that a nonce stands behind it: `key u128 | content u64`.

use super::nonce::{First, Nonce, NonceKey};
use super::time::Micros;
use super::{Id, SpaceId, UserId};

const FIXED_BYTES: usize = 16 + 8 + 4 + 4 + 2;
const NONCE_BYTES: usize = 16 + 8;
const WITH_NONCE: u16 = 1 << 15;

/// One chat message as the store keeps it (WIRE F, `chat_messages`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// The message's id and position.
    pub id: Id,
    /// The instant of acceptance.
    pub at: Micros,
    /// The space it was said in.
    pub space: SpaceId,
    /// The sender.
    pub user: UserId,
    /// The sender's name at that time.
    pub username: &'a str,
    /// The text, at most what `limits.rs` allows.
    pub content: &'a str,
    /// The nonce that it was published once under.
    pub nonce: Option<Nonce>,
}

impl<'a> Record<'a> {
    /// How many bytes [`append_to`](Record::append_to) adds.
    pub fn encoded_bytes(&self) -> usize {
        let nonce = if self.nonce.is_some() { NONCE_BYTES } else { 0 };
        4 + FIXED_BYTES + nonce + self.username.len() + self.content.len()
    }

    /// Adds the record to `out`. The name is below 32 KiB, the content 4 GiB; the door sees to
    /// both.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let length = self.encoded_bytes() - 4;
        let name_length = u16::try_from(self.username.len()).expect("the door bounds names");
        assert!(name_length < WITH_NONCE, "the door bounds names");
        let flag = if self.nonce.is_some() { WITH_NONCE } else { 0 };
        out.extend_from_slice(&u32::try_from(length).expect("the door bounds text").to_le_bytes());
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&self.space.0.to_le_bytes());
        out.extend_from_slice(&self.user.0.to_le_bytes());
        out.extend_from_slice(&(name_length | flag).to_le_bytes());
        if let Some(nonce) = &self.nonce {
            out.extend_from_slice(&nonce.key.0.to_le_bytes());
            out.extend_from_slice(&nonce.content.to_le_bytes());
        }
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
        let name_length = u16::from_le_bytes(*name_length);
        let (nonce, body) = match name_length & WITH_NONCE {
            0 => (None, body),
            _ => {
                let (key, body) = body.split_first_chunk::<16>()?;
                let (content, body) = body.split_first_chunk::<8>()?;
                let key = NonceKey(u128::from_le_bytes(*key));
                (Some(Nonce { key, content: u64::from_le_bytes(*content) }), body)
            }
        };
        let name_length = usize::from(name_length & !WITH_NONCE);
        let (username, content) = body.split_at_checked(name_length)?;
        let record = Record {
            id: Id(u128::from_le_bytes(*id)),
            at: Micros(i64::from_le_bytes(*at)),
            space: SpaceId(i32::from_le_bytes(*space)),
            user: UserId(i32::from_le_bytes(*user)),
            username: std::str::from_utf8(username).ok()?,
            content: std::str::from_utf8(content).ok()?,
            nonce,
        };
        Some((record, rest))
    }

    /// What is remembered of it, if it has a nonce.
    pub fn first(&self) -> Option<First> {
        let nonce = self.nonce?;
        Some(First { nonce, space: self.space, id: self.id, at: self.at })
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
                nonce: (*at % 2 == 0).then_some(Nonce { key: NonceKey(!*id), content: *id as u64 }),
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
