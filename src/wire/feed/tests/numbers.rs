//! Cases of numbers: what is applied, dropped, asked for and begun anew.

use bytes::Bytes;

use super::super::follower::{Follower, Step};
use super::super::ring::{Answer, Ring};
use super::*;
use crate::limits::{FEED_ANSWER_WAIT, FEED_RING_BYTES_MAX};
use crate::wire::time::MonoMs;

const SLOT: Slot = Slot(4);

fn at(epoch: u64, n: u64) -> Place {
    Place { epoch, n }
}

/// A message with something stored, or with something that is not.
fn said(place: Place, is_stored: bool) -> Vec<u8> {
    let chat = Made { kind: 0, ..push(50) };
    let frame = chat.frame();
    let kick = Entry::Kick { space: SpaceId(1), user: UserId(1) };
    written(SLOT.0, place, None, &[if is_stored { chat.entry(&frame) } else { kick }])
}

fn begin(place: Place, base: Place) -> Vec<u8> {
    written(SLOT.0, place, Some(base), &[])
}

fn take(follower: &mut Follower, bytes: &[u8]) -> Step {
    follower.take(&Received::read_feed(bytes).expect("it was written"))
}

fn following(from: Place) -> Follower {
    let mut follower = Follower::new(SLOT, Boot(1));
    follower.begin(from);
    follower
}

fn keep(ring: &mut Ring, bytes: Vec<u8>) {
    let feed = Received::read_feed(&bytes).expect("it was written");
    ring.push(&feed, Bytes::from(bytes.clone()));
}

/// What a ring answers to a question, read.
fn asked(ring: &Ring, from: Place) -> Result<Vec<Place>, Anew> {
    let (mut out, question) = (Vec::new(), Question { slot: SLOT, boot: Boot(1), number: 1, from });
    let answer = ring.answer(&question, &mut out);
    match (answer, Received::read(&out).expect("it was written")) {
        (Answer::Stretch, Received::Stretch(stretch)) => {
            Ok(stretch.parts().map(|part| part.place).collect())
        }
        (Answer::Anew, Received::Anew(anew)) => Err(anew),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_next_message_is_applied_and_one_that_was_is_dropped() {
    let mut follower = following(at(3, 7));
    assert_eq!(take(&mut follower, &said(at(3, 8), true)), Step::Apply);
    assert_eq!(take(&mut follower, &said(at(3, 8), true)), Step::Drop);
    assert_eq!(take(&mut follower, &said(at(2, 9), true)), Step::Drop);
    assert_eq!((follower.at(), follower.question(MonoMs(0))), (Some(at(3, 8)), None));
}

#[test]
fn what_is_missed_is_asked_for_once_until_the_answer_or_too_long_a_wait() {
    let mut follower = following(at(3, 7));
    assert_eq!(take(&mut follower, &said(at(3, 9), true)), Step::Drop);
    let question = follower.question(MonoMs(10)).expect("8 is missed");
    assert_eq!((question.from, question.boot), (at(3, 7), Boot(1)));
    for n in 10..30 {
        assert_eq!(take(&mut follower, &said(at(3, n), true)), Step::Drop);
        assert_eq!(follower.question(MonoMs(11)), None, "one is in flight");
    }
    let later = MonoMs(10 + FEED_ANSWER_WAIT);
    let next = follower.question(later).expect("the answer is lost");
    assert_eq!((next.from, next.number), (question.from, question.number + 1));
    let mut ring = Ring::default();
    (8..30).for_each(|n| keep(&mut ring, said(at(3, n), true)));
    let mut out = Vec::new();
    ring.answer(&next, &mut out);
    let Ok(Received::Stretch(stretch)) = Received::read(&out) else { panic!("{out:?}") };
    for part in stretch.parts() {
        assert_eq!(follower.take(&part), Step::Apply);
    }
    follower.stretched(&stretch);
    assert_eq!((follower.at(), follower.question(later)), (Some(at(3, 29)), None));
}

#[test]
fn a_lost_tail_is_shown_by_how_far_the_owner_says_it_is() {
    let mut follower = following(at(3, 7));
    follower.hear(at(3, 7));
    follower.hear(at(2, 100));
    assert_eq!(follower.question(MonoMs(0)), None);
    follower.hear(at(3, 8));
    assert_eq!(follower.question(MonoMs(0)).map(|it| it.from), Some(at(3, 7)));
}

#[test]
fn an_answer_without_anything_new_ends_what_was_heard_and_asks_no_storm() {
    let mut follower = following(at(3, 7));
    follower.hear(at(900, 0));
    let question = follower.question(MonoMs(0)).expect("it was heard");
    let mut ring = Ring::default();
    keep(&mut ring, said(at(3, 7), true));
    let mut out = Vec::new();
    assert_eq!(ring.answer(&question, &mut out), Answer::Stretch);
    let Ok(Received::Stretch(stretch)) = Received::read(&out) else { panic!("{out:?}") };
    follower.stretched(&stretch);
    assert_eq!(follower.question(MonoMs(FEED_ANSWER_WAIT)), None, "nothing is missed");
    follower.hear(at(900, 0));
    assert!(follower.question(MonoMs(FEED_ANSWER_WAIT - 1)).is_none(), "not at once");
}

#[test]
fn an_epoch_goes_on_from_its_base_and_what_was_stored_beyond() {
    let mut follower = following(at(3, 7));
    take(&mut follower, &said(at(3, 8), true));
    take(&mut follower, &said(at(3, 9), true));
    assert_eq!(take(&mut follower, &begin(at(6, 0), at(2, 7))), Step::Drop, "another's");
    assert_eq!(take(&mut follower, &begin(at(6, 0), at(3, 10))), Step::Drop, "10 is missed");
    let turn = take(&mut follower, &begin(at(6, 0), at(3, 8)));
    assert_eq!(turn, Step::Turn { highest: Id(7) }, "9 was stored");
    assert_eq!(take(&mut follower, &said(at(6, 1), true)), Step::Drop, "the store is read");
    assert_eq!(follower.question(MonoMs(0)), None);
    follower.turned();
    assert_eq!(follower.at(), Some(at(6, 0)));
    assert_eq!(follower.question(MonoMs(0)).map(|it| it.from), Some(at(6, 0)));
    assert_eq!(take(&mut follower, &said(at(6, 1), true)), Step::Apply);
}

#[test]
fn who_had_of_the_last_owner_what_no_store_has_and_the_next_owner_has_not_begins_anew() {
    for (unstored, base, step) in [
        (9, 8, Step::Anew),
        (9, 9, Step::Turn { highest: Id(7) }),
        (8, 8, Step::Turn { highest: Id(7) }),
    ] {
        let mut follower = following(at(3, 7));
        for n in 8..=10 {
            take(&mut follower, &said(at(3, n), n != unstored));
        }
        assert_eq!(take(&mut follower, &begin(at(4, 0), at(3, base))), step, "{unstored} {base}");
        assert_eq!(follower.at().is_none(), step == Step::Anew);
    }
    // Nobody knows what lies before its begin.
    let mut follower = following(at(3, 7));
    assert_eq!(take(&mut follower, &begin(at(4, 0), at(3, 6))), Step::Anew);
}

#[test]
fn a_ring_answers_from_where_it_goes_on_and_no_longer_what_it_has_not() {
    let mut ring = Ring::default();
    assert_eq!(asked(&ring, at(3, 7)).map_err(|it| it.epoch), Err(3), "it has nothing");
    keep(&mut ring, said(at(3, 8), true));
    keep(&mut ring, said(at(3, 9), true));
    keep(&mut ring, begin(at(6, 0), at(3, 9)));
    keep(&mut ring, said(at(6, 1), true));
    assert_eq!(asked(&ring, at(3, 7)), Ok(vec![at(3, 8), at(3, 9), at(6, 0), at(6, 1)]));
    assert_eq!(asked(&ring, at(3, 9)), Ok(vec![at(6, 0), at(6, 1)]));
    assert_eq!(asked(&ring, at(3, 12)), Ok(vec![at(6, 0), at(6, 1)]), "it is ahead");
    assert_eq!(asked(&ring, at(6, 1)), Ok(vec![]));
    for from in [at(3, 6), at(4, 3), at(2, 9)] {
        assert_eq!(asked(&ring, from).map_err(|it| it.epoch), Err(6), "{from:?}");
    }
}

#[test]
fn a_ring_keeps_its_bound_and_its_newest_whatever_that_takes() {
    let mut ring = Ring::default();
    for n in 1..20_000 {
        keep(&mut ring, said(at(1, n), true));
        assert!(ring.bytes() <= FEED_RING_BYTES_MAX);
    }
    assert!(ring.bytes() > FEED_RING_BYTES_MAX - 500);
    assert!(asked(&ring, at(1, 19_000)).is_ok_and(|places| places.len() == 999));
    assert!(asked(&ring, at(1, 5)).is_err());
    let frame = push(200_000).frame();
    for n in 20_000..20_002 {
        let long = Entry::Push { user: UserId(1), frame: &frame };
        keep(&mut ring, written(SLOT.0, at(1, n), None, &[long]));
    }
    assert_eq!(asked(&ring, at(1, 20_000)), Ok(vec![at(1, 20_001)]));
    assert!(ring.bytes() <= FEED_RING_BYTES_MAX);
}

#[test]
fn who_is_told_to_begin_anew_does_so_if_that_answers_its_question() {
    let mut follower = following(at(3, 7));
    let late = Anew { slot: SLOT, number: 0, epoch: 9 };
    assert!(!follower.refused(&late), "it has asked nothing");
    follower.hear(at(3, 9));
    let question = follower.question(MonoMs(0)).expect("two are missed");
    let answer = |number, epoch| Anew { slot: SLOT, number, epoch };
    assert!(!follower.refused(&answer(question.number.wrapping_sub(1), 3)));
    assert!(!follower.refused(&answer(question.number, 2)), "an owner of before");
    assert!(follower.refused(&answer(question.number, 3)));
    assert_eq!((follower.at(), follower.question(MonoMs(9_999))), (None, None));
    assert_eq!(take(&mut follower, &said(at(3, 8), true)), Step::Drop);
    follower.begin(at(3, 9));
    assert_eq!(take(&mut follower, &said(at(3, 10), true)), Step::Apply);
}
