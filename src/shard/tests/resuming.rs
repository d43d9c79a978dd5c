//! Cases of members that catch up.

use super::*;

const COLD: SpaceKey = SpaceKey::Chat(SpaceId(2));

#[test]
fn who_came_and_went_while_the_store_was_away_is_not_remembered() {
    let mut stage = Stage::new(off());
    stage.post(1, 10, None);
    let ana = stage.join(COLD, 1, Some(Id::MIN));
    for user in 2..2_000 {
        let key = stage.join(COLD, user, Some(Id::MIN));
        assert!(stage.shard.is_catching_up(key));
        stage.input(Input::Close(key, Close::Gone));
    }
    let waits = stage.shard.commits.waiting()[2];
    assert!(waits < 100, "{waits} wait for a commit, of 1 member");
    stage.slice();
    stage.committed();
    stage.slice();
    assert_eq!(stage.around.fetches.iter().map(|fetch| fetch.member).collect::<Vec<_>>(), [ana]);
}

#[test]
fn memory_is_kept_for_who_catches_up_and_goes_when_that_one_does() {
    let limits = Limits { resume_bytes_max: 0, resume_window: 0, ..off() };
    let mut stage = Stage::new(limits);
    // A log that knows nothing of what the space has seen before: its oldest is the store's.
    stage.post(1, 900, None);
    stage.slice();
    stage.committed();
    stage.pass(1_000);
    stage.pass(1_000);
    let first = stage.post(2, 900, None);
    stage.slice();
    let ana = stage.join(SPACE, 1, Some(Id::MIN));
    assert!(stage.shard.is_catching_up(ana));
    for ticket in 3..100 {
        stage.post(ticket, 900, None);
        stage.sweep();
    }
    for _ in 0..3 {
        stage.pass(1_000);
        stage.sweep();
    }
    let space = stage.shard.rooms.spaces.find(SPACE).expect("it is there");
    let found = space.find(Encoding::Frames, first);
    assert!(matches!(found, position::Whereabouts::At { chats: 97, .. }), "{found:?}");
    stage.input(Input::Close(ana, Close::Gone));
    stage.sweep();
    stage.pass(1_000);
    assert_eq!(stage.count(Metric::LogBytes), 0, "nobody needs it");
}
