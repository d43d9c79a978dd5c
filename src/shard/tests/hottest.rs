//! In which spaces most is said.

use super::*;

fn hottest(stage: &mut Stage, max: usize) -> Vec<HotSpace> {
    stage.input(Input::Hottest(Ticket(1), max));
    stage.sweep();
    match stage.around.replies.pop() {
        Some((Ticket(1), Reply::Hottest(spaces))) => spaces,
        other => panic!("{other:?} does not say which are the hottest"),
    }
}

fn space(number: i32) -> SpaceKey {
    SpaceKey::Chat(SpaceId(number))
}

#[test]
fn the_hottest_space_is_the_one_whose_words_cost_most_and_a_quiet_one_is_none() {
    let mut stage = Stage::new(off());
    let _quiet = stage.join(space(1), 1, None);
    let alone = stage.join(space(2), 2, None);
    let crowd: Vec<_> = (3..=12).map(|user| stage.join(space(3), user, None)).collect();
    stage.join(SpaceKey::Lobby, 1, None);
    // Whoever says nothing for a minute is closed.
    for _ in 0..50 {
        // Twice as much is said by the one alone, and ten hear each word of the others.
        (0..2).for_each(|_| stage.say(alone, r#""content":"hola""#));
        stage.say(crowd[0], r#""content":"hola""#);
        stage.sweep();
        stage.pass(1_000);
    }
    let found = hottest(&mut stage, 10);
    let shown: Vec<_> = found.iter().map(|it| (it.space.0, it.members)).collect();
    assert_eq!(shown, [(3, 10), (2, 1)]);
    // The pace is that of the last seconds.
    for (space, chats) in found.iter().zip([1_000, 2_000]) {
        assert!(space.chats_in_1000_s.abs_diff(chats) < chats / 20, "{space:?}");
        assert!(space.bytes_in_1000_s / space.chats_in_1000_s > 200, "{space:?}");
    }
    assert_eq!(hottest(&mut stage, 1).len(), 1);
    // Nobody says anything for minutes.
    (0..300).for_each(|_| stage.pass(1_000));
    assert_eq!(hottest(&mut stage, 10), []);
}

#[test]
fn a_space_of_which_most_is_trimmed_is_counted_by_what_is_left() {
    let limits = Limits { log_bytes_max: 16 << 10, resume_bytes_max: 4 << 10, ..off() };
    let mut stage = Stage::new(limits);
    let member = stage.join(SPACE, 1, None);
    for _ in 0..60 {
        for _ in 0..200 {
            stage.say(member, r#""content":"hola""#);
            stage.sweep();
        }
        stage.pass(1_000);
    }
    let [space] = hottest(&mut stage, 10)[..] else { panic!("one space") };
    assert!(space.chats_in_1000_s.abs_diff(200_000) < 20_000, "{space:?}");
}

#[test]
fn a_space_that_is_gone_is_not_shown_nor_the_one_that_has_its_place() {
    let mut stage = Stage::new(Limits { resume_window: 0, ..off() });
    let member = stage.join(SPACE, 1, None);
    for _ in 0..30 {
        stage.say(member, r#""content":"hola""#);
        stage.sweep();
        stage.pass(1_000);
    }
    assert_eq!(hottest(&mut stage, 10).len(), 1);
    stage.input(Input::Close(member, Close::Gone));
    stage.sweep();
    stage.pass(1_000);
    assert_eq!(stage.shard.rooms.spaces.len(), 0);
    let _other = stage.join(space(2), 1, None);
    assert_eq!(hottest(&mut stage, 10), []);
}
