//! Cases of messages: what is written is read, and any other bytes do no harm.

use proptest::prelude::*;

use super::entry::{Chat, Connection, Join, Leave, Origin};
use super::fuzzing::again;
use super::*;
use crate::limits::FEED_BYTES_MAX;
use crate::wire::frame_writer::FrameWriter;
use crate::wire::nonce::{Nonce, NonceKey};
use crate::wire::{Id, SpaceId, SpaceKey, UserId};

mod model;
mod numbers;

/// What an entry is made of that owns its texts.
#[derive(Clone, Debug)]
struct Made {
    kind: u8,
    numbers: (i32, i32, u64, u128),
    flags: u8,
    name: String,
    text: String,
}

impl Made {
    fn frame(&self) -> Vec<u8> {
        let mut out = bytes::BytesMut::new();
        let mut writer = FrameWriter::begin(&mut out);
        writer.raw(&self.text);
        writer.end();
        out.to_vec()
    }

    fn entry<'a>(&'a self, frame: &'a [u8]) -> Entry<'a> {
        let (first, second, long, wide) = self.numbers;
        let (space, user, is_set) = (SpaceId(first), UserId(second), self.flags & 1 != 0);
        let connection = Connection {
            boot: Boot(long),
            shard: long as u16,
            slot: first.cast_unsigned(),
            generation: second.cast_unsigned(),
        };
        let key =
            [SpaceKey::Chat(space), SpaceKey::Lobby, SpaceKey::Inbox(user)][long as usize % 3];
        let told = if is_set { frame } else { &[] };
        match self.kind {
            0 => Entry::Chat(Chat {
                space,
                id: Id(wide),
                nonce: is_set.then_some(Nonce { key: NonceKey(!wide), content: long }),
                origin: (self.flags & 2 != 0)
                    .then_some(Origin { boot: Boot(!long), number: u64::from(self.flags) }),
                frame,
            }),
            1 => Entry::Join(Join { space: key, connection, user, name: &self.name, frame: told }),
            2 => Entry::Leave(Leave { space: key, connection, user, frame: told }),
            3 => Entry::Members { space, count: long as u32 },
            4 => Entry::Kick { space, user },
            5 => Entry::Status { user, is_online: is_set, frame },
            _ => Entry::Push { user, frame },
        }
    }
}

fn made() -> impl Strategy<Value = Made> {
    let text = prop_oneof![8 => "\\PC{0,40}", 1 => "[a-z]{120,130}", 1 => "[a-z]{400}"];
    (0..7_u8, any::<(i32, i32, u64, u128)>(), 0..4_u8, "\\PC{0,12}", text)
        .prop_map(|(kind, numbers, flags, name, text)| Made { kind, numbers, flags, name, text })
}

/// A message of these entries, with the begin of its epoch where it is the first.
fn written(slot: u8, place: Place, base: Option<Place>, entries: &[Entry<'_>]) -> Vec<u8> {
    let mut writer = Writer::new(Slot(slot), place);
    if place.n == 0 {
        let begin = Entry::Begin(Begin { base, highest: Id(7) });
        writer.push(&begin).expect("it is short");
    }
    entries.iter().for_each(|entry| writer.push(entry).expect("they are short"));
    writer.end()
}

fn message() -> impl Strategy<Value = (Vec<u8>, Vec<Made>)> {
    let base = proptest::option::of(any::<u64>());
    (any::<u8>(), 1..u64::MAX, 0..3_u64, base, proptest::collection::vec(made(), 1..6)).prop_map(
        |(slot, epoch, n, base, all)| {
            let frames: Vec<_> = all.iter().map(Made::frame).collect();
            let entries: Vec<_> = all.iter().zip(&frames).map(|(it, f)| it.entry(f)).collect();
            let base = base.map(|n| Place { epoch: epoch - 1, n });
            (written(slot, Place { epoch, n }, base, &entries), all)
        },
    )
}

/// Any kind of message.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let stretch =
        (any::<u32>(), proptest::collection::vec(message(), 0..4)).prop_map(|(number, parts)| {
            let mut parts: Vec<_> = parts.into_iter().map(|(bytes, _)| bytes).collect();
            parts.iter_mut().for_each(|part| part[2] = 5);
            parts.sort_by_key(|part| Received::read_feed(part).expect("it was written").place);
            parts.dedup_by_key(|part| Received::read_feed(part).expect("it was written").place);
            let newest = Place { epoch: u64::MAX, n: 0 };
            let question = Question { slot: Slot(5), boot: Boot(0), number, from: newest };
            let mut out = Vec::new();
            let count = u16::try_from(parts.len()).expect("few");
            Stretch::begin(&mut out, &question, newest, count);
            parts.iter().for_each(|part| Stretch::add(&mut out, part));
            out
        });
    let small = any::<(bool, u8, u64, u32, u64, u64)>().prop_map(|it| {
        let (is_question, slot, boot, number, epoch, n) = it;
        let (slot, mut out) = (Slot(slot), Vec::new());
        if is_question {
            let from = Place { epoch, n };
            Question { slot, boot: Boot(boot), number, from }.append_to(&mut out);
        } else {
            Anew { slot, number, epoch }.append_to(&mut out);
        }
        out
    });
    prop_oneof![4 => message().prop_map(|(bytes, _)| bytes), 2 => stretch, 1 => small]
}

proptest! {
    #[test]
    fn entries_survive_their_bytes_and_are_read_where_they_stand((bytes, all) in message()) {
        let frames: Vec<_> = all.iter().map(Made::frame).collect();
        let feed = Received::read_feed(&bytes).expect("it was written");
        let read: Vec<_> = feed.entries().filter(|it| !matches!(it, Entry::Begin(_))).collect();
        let entries: Vec<_> = all.iter().zip(&frames).map(|(it, f)| it.entry(f)).collect();
        prop_assert_eq!(&read, &entries);
        prop_assert_eq!(feed.begin().is_some(), feed.place.n == 0);
        let inside = bytes.as_ptr_range();
        for entry in read {
            if let Entry::Chat(Chat { frame, .. }) | Entry::Push { frame, .. } = entry {
                prop_assert!(inside.contains(&frame.as_ptr()), "a frame is not copied");
            }
        }
    }

    #[test]
    fn what_is_read_is_written_as_it_was(bytes in any_message()) {
        prop_assert_eq!(again(&Received::read(&bytes).expect("it was written")), bytes);
    }

    #[test]
    fn a_message_that_ends_early_or_late_is_refused(bytes in any_message(), at: u16, more: u8) {
        let end = usize::from(at) % bytes.len();
        prop_assert!(Received::read(&bytes[..end]).is_err());
        let longer = [&bytes[..], &[more]].concat();
        prop_assert!(Received::read(&longer).is_err());
    }

    #[test]
    fn a_byte_that_is_another_makes_an_error_or_another_message(
        bytes in any_message(), at: u16, with in 1..=u8::MAX,
    ) {
        let mut bytes = bytes;
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= with;
        if let Ok(received) = Received::read(&bytes) {
            prop_assert_eq!(again(&received), bytes);
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(mut bytes: Vec<u8>, kind in 1..6_u8) {
        let _ = Received::read(&bytes);
        if let [version, of, ..] = &mut bytes[..] {
            (*version, *of) = (1, kind);
        }
        if let Ok(received) = Received::read(&bytes) {
            prop_assert_eq!(again(&received), bytes);
        }
    }
}

fn push(text_bytes: usize) -> Made {
    let numbers = (1, 2, 3, 4);
    Made { kind: 6, numbers, flags: 0, name: String::new(), text: "x".repeat(text_bytes) }
}

#[test]
fn an_entry_that_does_not_fit_leaves_the_message_as_it_was() {
    let mut writer = Writer::new(Slot(1), Place { epoch: 1, n: 1 });
    assert!(writer.is_empty());
    let (long, short) = (push(100_000).frame(), push(10).frame());
    let user = UserId(1);
    for _ in 0..2 {
        writer.push(&Entry::Push { user, frame: &long }).expect("two fit");
    }
    assert_eq!(writer.push(&Entry::Push { user, frame: &long }), Err(Full));
    writer.push(&Entry::Push { user, frame: &short }).expect("what is short fits");
    let bytes = writer.end();
    assert!(bytes.len() <= FEED_BYTES_MAX);
    assert_eq!(Received::read_feed(&bytes).expect("it was written").entries().count(), 3);
}

#[test]
fn each_thing_that_is_wrong_has_its_name() {
    let one = Entry::Kick { space: SpaceId(1), user: UserId(2) };
    let first = written(3, Place { epoch: 2, n: 0 }, Some(Place { epoch: 1, n: 9 }), &[one]);
    let later = written(3, Place { epoch: 2, n: 1 }, None, &[one]);
    let change = |bytes: &[u8], at: usize, to: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = to;
        Received::read(&bytes).map(|_| ()).expect_err("it is wrong")
    };
    assert_eq!(change(&later, 0, 2), Malformed::Version(2));
    assert_eq!(change(&later, 1, 9), Malformed::Kind(9, "the message"));
    assert_eq!(change(&later, HEAD_BYTES + 4, 99), Malformed::Kind(99, "an entry"));
    assert_eq!(change(&later, COUNT_AT, 0), Malformed::Empty);
    assert_eq!(change(&later, COUNT_AT, 2), Malformed::Truncated("an entry"));
    assert_eq!(change(&later, HEAD_BYTES - 8, 0), Malformed::Begin);
    assert_eq!(change(&first, HEAD_BYTES - 8, 1), Malformed::Begin);
    assert_eq!(change(&first, HEAD_BYTES + 5, 2), Malformed::Flag(2, "a base"));
    assert_eq!(change(&first, HEAD_BYTES + 6, 2), Malformed::Base);
    let told = push(5).frame();
    let push = written(
        3,
        Place { epoch: 2, n: 1 },
        None,
        &[Entry::Push { user: UserId(1), frame: &told }],
    );
    let frame = HEAD_BYTES + 4 + 1 + 4;
    for (at, to) in [(frame, 0x82), (frame, 0xC1), (frame + 1, 4), (frame + 1, 0x85)] {
        assert_eq!(change(&push, at, to), Malformed::Frame);
    }
    let long = vec![0; FEED_BYTES_MAX];
    let long = [&later[..], &long].concat();
    assert_eq!(Received::read(&long), Err(Malformed::TooLong(long.len())));
}

#[test]
fn a_stretch_has_parts_that_follow_each_other_and_is_no_part_itself() {
    let one = Entry::Kick { space: SpaceId(1), user: UserId(2) };
    let [first, later] = [1, 2].map(|n| written(3, Place { epoch: 2, n }, None, &[one]));
    let other = written(4, Place { epoch: 2, n: 2 }, None, &[one]);
    let newer = written(3, Place { epoch: 9, n: 10 }, None, &[one]);
    let newest = Place { epoch: 9, n: 9 };
    let question = Question { slot: Slot(3), boot: Boot(0), number: 1, from: newest };
    let stretch = |parts: &[&[u8]]| {
        let mut out = Vec::new();
        Stretch::begin(&mut out, &question, newest, parts.len() as u16);
        parts.iter().for_each(|part| Stretch::add(&mut out, part));
        out
    };
    let refused = |parts: &[&[u8]]| Received::read(&stretch(parts)).map(|_| ());
    assert_eq!(refused(&[&first, &later]), Ok(()));
    assert_eq!(refused(&[&later, &first]), Err(Malformed::Order));
    assert_eq!(refused(&[&later, &later]), Err(Malformed::Order));
    assert_eq!(refused(&[&first, &other]), Err(Malformed::Order));
    assert_eq!(refused(&[&first, &newer]), Err(Malformed::Order));
    // As deep as it is long: nothing is read inside a part that is none.
    let deep = (0..5_000).fold(stretch(&[]), |inner, _| stretch(&[&inner]));
    assert_eq!(Received::read(&deep).map(|_| ()), Err(Malformed::Kind(STRETCH, "the message")));
}
