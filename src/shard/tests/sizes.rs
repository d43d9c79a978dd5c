//! What members and spaces cost that say nothing: their sizes, and what a quiet space still holds.

use super::*;

/// What each idle connection costs here, and what each space does. A field more is paid for by all
/// of them.
#[test]
fn members_and_spaces_stay_small() {
    // With its slot's generation, a member takes two cache lines.
    assert_eq!(size_of::<Member>(), 120);
    // How much is said in a space takes 32 of them; up to where it is secured 8.
    assert_eq!(size_of::<Space>(), 400);
}

#[test]
fn a_space_in_which_nobody_has_spoken_holds_no_log_and_one_that_was_left_is_gone() {
    let mut stage = Stage::new(off());
    let members: Vec<_> = (1..=10).map(|user| stage.join(SPACE, user, None)).collect();
    assert!(stage.shard.turn.logs.held() > 1 << 10, "their joins are still to be read");
    stage.sweep();
    let space = stage.shard.turn.logs.held();
    assert!((1..=512).contains(&space), "{space} bytes for what is no log");
    for member in members {
        stage.input(Input::Close(member, Close::Gone));
    }
    stage.sweep();
    stage.pass(100);
    let rooms = &stage.shard.rooms;
    assert_eq!((rooms.members.len(), rooms.spaces.len()), (0, 0));
    assert_eq!(stage.shard.turn.logs.held(), 0);
}
