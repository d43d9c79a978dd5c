//! The public frames of one space in their one order, as the model expects them.

use std::collections::{BTreeMap, BTreeSet};

use cpi_hub::wire::Id;

use super::coverage::Coverage;

/// One frame's payload: known, or one of several whose order only the shard knows (leaves of
/// members that it evicted in one call). The first reader settles which.
#[derive(Debug)]
enum Entry {
    Known(Vec<u8>),
    OneOf(usize),
    /// A chat that the store has refused before anybody was sent it.
    Struck,
}

/// Frames since the shard started.
#[derive(Default, Debug)]
pub struct Sequence {
    entries: Vec<Entry>,
    groups: Vec<Vec<Vec<u8>>>,
    /// For each frame: wire bytes up to its begin, and when it was appended.
    begins: Vec<(u64, u64)>,
    bytes: u64,
    turn_began: usize,
}

impl Sequence {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn push(&mut self, mono: u64, payload: Vec<u8>) {
        let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&payload);
        assert!(parsed.is_ok(), "the model's own text is JSON: {}", show(&payload));
        self.note(mono, payload.len());
        self.entries.push(Entry::Known(payload));
    }

    /// `count` of the candidates, in an order yet unknown.
    pub fn push_some_of(&mut self, mono: u64, count: usize, mut candidates: Vec<Vec<u8>>) {
        if count == 1 && candidates.len() == 1 {
            return self.push(mono, candidates.remove(0));
        }
        let bytes = candidates.iter().map(Vec::len).max().unwrap_or(0);
        self.groups.push(candidates);
        for _ in 0..count {
            self.note(mono, bytes);
            self.entries.push(Entry::OneOf(self.groups.len() - 1));
        }
    }

    fn note(&mut self, mono: u64, payload: usize) {
        self.begins.push((self.bytes, mono));
        self.bytes += match payload {
            0..126 => 2,
            126..65_536 => 4,
            _ => 10,
        } + payload as u64;
    }

    /// Whether the frame at `index` is, or may turn out to be, this one.
    pub fn may_be(&self, index: usize, payload: &[u8]) -> bool {
        match self.entries.get(index) {
            None | Some(Entry::Struck) => false,
            Some(Entry::Known(expected)) => expected == payload,
            Some(Entry::OneOf(group)) => {
                self.groups[*group].iter().any(|candidate| candidate == payload)
            }
        }
    }

    /// Holds a received payload against the frame at `index`.
    pub fn check(&mut self, index: usize, payload: &[u8], whose: &str) {
        let len = self.entries.len();
        let entry = self.entries.get_mut(index).unwrap_or_else(|| {
            panic!("{whose}: frame {index} of {len} was never made: {}", show(payload))
        });
        match entry {
            Entry::Known(expected) => assert!(
                expected == payload,
                "{whose}: frame {index} of {len} is\n  {}\nnot\n  {}",
                show(expected),
                show(payload)
            ),
            Entry::OneOf(group) => {
                let candidates = &mut self.groups[*group];
                let found = candidates.iter().position(|candidate| candidate == payload);
                let at = found.unwrap_or_else(|| {
                    panic!("{whose}: frame {index} is none of its group: {}", show(payload))
                });
                *entry = Entry::Known(candidates.swap_remove(at));
            }
            Entry::Struck => panic!("{whose}: frame {index} was refused: {}", show(payload)),
        }
    }

    /// Nobody is sent the frame at `index`.
    pub fn strike(&mut self, index: usize) {
        self.entries[index] = Entry::Struck;
    }

    /// The first frame at or behind `index` that is sent.
    pub fn next(&self, index: usize) -> usize {
        let struck = |entry: &&Entry| matches!(entry, Entry::Struck);
        index + self.entries[index.min(self.len())..].iter().take_while(struck).count()
    }

    /// The frames before `end` that are sent, the last one first.
    pub fn before(&self, end: usize) -> impl Iterator<Item = usize> {
        (0..end.min(self.len()))
            .rev()
            .filter(|index| !matches!(self.entries[*index], Entry::Struck))
    }

    /// Wire bytes from a frame on, and when it was appended; the end has no time.
    pub fn behind(&self, index: usize) -> (u64, Option<u64>) {
        match self.begins.get(index) {
            Some((begin, mono)) => (self.bytes - begin, Some(*mono)),
            None => (0, None),
        }
    }

    pub fn appended_at(&self, index: usize) -> u64 {
        self.begins[index].1
    }

    pub fn turn_begins(&mut self) {
        self.turn_began = self.entries.len();
    }

    /// The turn's frames were never made.
    pub fn turn_failed(&mut self) {
        self.entries.truncate(self.turn_began);
        self.begins.truncate(self.turn_began);
    }
}

/// A chat space: its frames, who is in it, and whether they are announced.
#[derive(Debug)]
pub struct SpaceModel {
    pub id: i32,
    pub frames: Sequence,
    pub members: usize,
    pub announced: bool,
    pub present: BTreeMap<i32, u32>,
    /// Every number of members that it ever had.
    pub counts: BTreeSet<usize>,
    /// Its chats with their frames' indices.
    pub chats: Vec<(Id, usize)>,
    announce_members_max: usize,
}

impl SpaceModel {
    pub fn new(id: i32, announce_members_max: usize) -> SpaceModel {
        SpaceModel {
            id,
            frames: Sequence::default(),
            members: 0,
            announced: true,
            present: BTreeMap::new(),
            counts: BTreeSet::from([0]),
            chats: Vec::new(),
            announce_members_max,
        }
    }

    /// Off above the limit, on again under 90 % of it (WIRE C, presence).
    fn settle(&mut self) {
        self.counts.insert(self.members);
        if self.members > self.announce_members_max {
            self.announced = false;
        } else if (self.members as f64) < 0.9 * self.announce_members_max as f64 {
            self.announced = true;
        }
    }

    /// A member came. Says whether that is announced.
    pub fn join(&mut self, user: i32) -> bool {
        self.members += 1;
        *self.present.entry(user).or_default() += 1;
        self.settle();
        self.announced
    }

    /// Members that left in one call, most likely in this order, but only the shard knows it: slot,
    /// user, and whether it went silently, since its join was not yet announced. The leaves of the
    /// others all carry `at`.
    pub fn leave(
        &mut self,
        mono: u64,
        left: &[(u32, i32, bool)],
        at: &str,
        coverage: &mut Coverage,
    ) {
        let mut announced = 0;
        for (_, user, silently) in left {
            self.members -= 1;
            let connections = self.present.get_mut(user).expect("it was there");
            *connections -= 1;
            if *connections == 0 {
                self.present.remove(user);
            }
            self.settle();
            announced += usize::from(self.announced && !silently);
        }
        let id = self.id;
        let candidates: Vec<Vec<u8>> = left
            .iter()
            .filter(|(_, _, silently)| !silently)
            .map(|(_, user, _)| {
                format!(
                    "{{\"type\":\"leave\",\"data\":{{\"space_id\":{id},\"user_id\":{user},\
                     \"username\":\"\"}},\"timestamp\":\"{at}\",\"user_id\":{user},\
                     \"space_id\":{id}}}"
                )
                .into_bytes()
            })
            .collect();
        coverage.leaves_in_groups += u64::from(left.len() > 1);
        self.frames.push_some_of(mono, announced, candidates);
    }

    /// Wire bytes behind a position.
    pub fn bytes_behind(&self, after: Id) -> u64 {
        let next = self.chats.partition_point(|(id, _)| *id <= after);
        self.chats.get(next).map_or(0, |(_, index)| self.frames.behind(*index).0)
    }

    /// Everyone is gone and nothing was said about it.
    pub fn fail(&mut self) {
        self.frames.turn_failed();
        let left = self.frames.len();
        self.chats.retain(|(_, index)| *index < left);
        self.members = 0;
        self.present.clear();
        self.settle();
    }
}

pub fn show(payload: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(payload).chars().take(300).collect();
    text
}
