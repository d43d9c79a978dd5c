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
    let waits = stage.shard.floors.len();
    assert!(waits < 100, "{waits} wait for a commit, of 1 member");
    stage.append();
    stage.input(Input::Committed(stage.end));
    assert_eq!(stage.fx.fetches.iter().map(|fetch| fetch.member).collect::<Vec<_>>(), [ana]);
}
