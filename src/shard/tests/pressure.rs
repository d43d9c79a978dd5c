//! Cases of the heart under pressure: commits that don't come, pauses, stalls, memory.

use super::*;

#[test]
fn repeats_that_wait_for_a_commit_are_bounded() {
    let mut stage = Stage::new(off());
    let ana = stage.join(SPACE, 1, None);
    for _ in 0..1_100 {
        stage.say(ana, r#""content":"x","nonce":"1","ack":"durable""#);
        stage.sweep();
    }
    assert_eq!(stage.shard.commits.waiting()[0], 1_024);
    assert_eq!(stage.heard(ana).matches("\"code\":\"overloaded\"").count(), 76);
    stage.committed();
    stage.sweep();
    assert_eq!(stage.heard(ana).matches("\"level\":\"durable\"").count(), 1_024);
    stage.say(ana, r#""content":"x","nonce":"1","ack":"durable""#);
    stage.sweep();
    assert_eq!(stage.heard(ana).matches("\"level\":\"durable\"").count(), 1_025);
}

#[test]
fn members_with_private_frames_do_not_keep_spaces_from_their_turn() {
    let mut stage = Stage::new(Limits { sweep_sends_max: 1, ..off() });
    let ana = stage.join(SPACE, 1, None);
    let beto = stage.join(SpaceKey::Chat(SpaceId(2)), 2, None);
    stage.sweep();
    stage.post(1, 10, None);
    for turn in 0..20u8 {
        stage.input(Input::Ping(beto, &[turn]));
        stage.slice();
    }
    assert!(stage.heard(ana).contains("\"type\":\"chat\""), "{}", stage.heard(ana));
}

#[test]
fn posts_go_on_though_the_store_is_away_and_a_member_waits_for_it() {
    let mut stage = Stage::new(off());
    let ana = stage.join(SPACE, 1, None);
    stage.say(ana, r#""content":"x","nonce":"1","ack":"durable""#);
    for ticket in 1..70_000 {
        stage.post(ticket, 1, None);
        stage.slice();
        let last = stage.around.replies.pop().expect("an answer");
        assert!(matches!(last, (Ticket(of), Reply::Posted { .. }) if of == ticket), "{last:?}");
        stage.slice();
    }
    assert_eq!(stage.shard.commits.waiting()[1], 65_536);
    stage.committed();
    stage.sweep();
    assert_eq!(stage.around.replies.last(), Some(&(Ticket(69_999), Reply::Durable(Ok(())))));
    assert!(stage.heard(ana).contains("\"level\":\"durable\""));
}

#[test]
fn a_member_that_is_closed_in_a_pause_is_read_again() {
    let mut stage = Stage::new(Limits { log_bytes_max: 64 << 10, resume_bytes_max: 0, ..off() });
    let [ana, beto] = [1, 2].map(|user| stage.join(SPACE, user, None));
    stage.sweep();
    stage.takes(beto, 0);
    for ticket in 0..60 {
        stage.post(ticket, 900, None);
        stage.slice();
    }
    assert!(!stage.shard.may_read(ana));
    stage.input(Input::Kick(Ticket(0), SpaceId(1), UserId(1)));
    assert!(stage.shard.may_read(ana) && stage.shard.effects().readable == [ana]);
}

#[test]
fn who_does_not_read_is_not_read_until_it_does() {
    let mut stage = Stage::new(off());
    let [ana, beto] = [1, 2].map(|user| stage.join(SPACE, user, None));
    stage.sweep();
    stage.takes(beto, 10);
    stage.say(ana, r#""content":"x""#);
    stage.sweep();
    assert!(stage.shard.may_read(ana) && !stage.shard.may_read(beto));
    stage.takes(beto, usize::MAX);
    stage.input(Input::Writable(beto));
    stage.sweep();
    assert!(stage.shard.may_read(beto) && stage.around.readable == [beto]);
}

#[test]
fn those_who_hold_a_space_up_are_evicted_after_a_second_and_the_others_go_on() {
    let mut stage = Stage::new(Limits { log_bytes_max: 64 << 10, resume_bytes_max: 0, ..off() });
    let members: Vec<MemberKey> = (1..=10).map(|user| stage.join(SPACE, user, None)).collect();
    stage.sweep();
    for key in &members[..2] {
        stage.takes(*key, 0);
    }
    let mut paused = 0;
    for ticket in 0..1_000 {
        stage.post(ticket, 900, None);
        stage.sweep();
        stage.pass(10);
        stage.sweep();
        paused += u64::from(!stage.shard.may_read(members[5])) * 10;
    }
    assert!((100..=1_000).contains(&paused), "held up for {paused} ms");
    assert_eq!(stage.shard.counts().closes(Close::TooSlow.kind()), 2);
    let said = stage.heard(members[5]).matches("\"type\":\"chat\"").count();
    assert!(said > 900, "{said} of a thousand");
}

#[test]
fn where_memory_is_short_those_go_who_take_nothing_and_hold_most() {
    let mut stage = Stage::new(off());
    let [ana, beto, caro, dani] = [1, 2, 3, 4].map(|user| stage.join(SPACE, user, None));
    stage.sweep();
    for key in [beto, caro, dani] {
        stage.takes(key, 0);
    }
    stage.post(1, 900, None);
    stage.sweep();
    // Answers that it does not take are held for it alone.
    stage.input(Input::Ping(caro, b"well?"));
    stage.sweep();
    stage.input(Input::Relieve(0));
    assert!([ana, beto, caro, dani].iter().all(|key| stage.shard.is_seated(*key)));
    stage.input(Input::Relieve(1));
    assert!(!stage.shard.is_seated(caro), "it holds most");
    assert!([ana, beto, dani].iter().all(|key| stage.shard.is_seated(*key)));
    stage.input(Input::Relieve(1 << 30));
    assert!(
        stage.shard.is_seated(ana) && ![beto, dani].iter().any(|it| stage.shard.is_seated(*it))
    );
    assert_eq!(stage.shard.counts().closes(Close::Overloaded.kind()), 3);
    stage.sweep();
    assert!(stage.heard(ana).matches("\"type\":\"leave\"").count() == 3, "and the others hear it");
}

#[test]
fn a_process_that_stood_still_asks_before_it_calls_a_member_silent() {
    let mut stage = Stage::new(off());
    let ana = stage.join(SPACE, 1, None);
    stage.sweep();
    for _ in 0..50 {
        stage.pass(1_000);
    }
    stage.pass(11_000);
    stage.sweep();
    assert!(stage.around.sockets.bytes[&ana].ends_with(&[0x89, 0]), "a ping");
    for _ in 0..19 {
        stage.pass(100);
    }
    stage.input(Input::Pong(ana));
    for _ in 0..20 {
        stage.pass(1_000);
        stage.sweep();
    }
    assert_eq!(stage.shard.counts().closes(Close::PongTimeout.kind()), 0);
}

#[test]
fn who_was_only_not_visited_yet_is_not_evicted() {
    let limits = Limits { log_bytes_max: 64 << 10, sweep_sends_max: 1, ..off() };
    let mut stage = Stage::new(limits);
    let members: Vec<MemberKey> = (1..9).map(|user| stage.join(SPACE, user, None)).collect();
    stage.sweep();
    stage.takes(members[3], 0);
    for ticket in 1..90 {
        stage.post(ticket, 900, None);
        // One visit a message: each is eight behind.
        stage.slice();
    }
    stage.sweep();
    let closes = stage.shard.counts().closes(Close::TooSlow.kind());
    assert_eq!(closes, 1, "the one that was blocked");
    assert_eq!(stage.count(Metric::SpacePauses), 0, "nobody waited for it");
    for key in [members[0], members[2], members[7]] {
        assert_eq!(stage.heard(key).matches("\"type\":\"chat\"").count(), 89);
    }
}

#[test]
fn publishers_ahead_of_the_sweep_wait_until_it_has_come_up() {
    let limits = Limits { log_bytes_max: 64 << 10, sweep_sends_max: 1, ..off() };
    let mut stage = Stage::new(limits);
    let members: Vec<MemberKey> = (1..9).map(|user| stage.join(SPACE, user, None)).collect();
    stage.sweep();
    let mut taken = 0;
    for ticket in 1..200 {
        stage.post(ticket, 900, None);
        let answer = stage.shard.effects().replies.last().map(|(_, reply)| reply.clone());
        if answer == Some(Reply::Rejected(Reject::Overloaded)) {
            break;
        }
        taken += 1;
    }
    assert!((20..40).contains(&taken), "half of the log's bound: {taken}");
    assert!(!stage.shard.may_read(members[0]), "nothing more is read in the same turn");
    stage.sweep();
    assert!(stage.shard.may_read(members[0]) && stage.around.readable.len() == 8);
    stage.post(200, 900, None);
    stage.sweep();
    for key in members {
        assert_eq!(stage.heard(key).matches("\"type\":\"chat\"").count(), taken + 1);
    }
}

#[test]
fn a_flood_on_a_socket_that_only_listens_is_too_fast_too() {
    let mut stage = Stage::new(Limits::default());
    let [calm, flood] = [1, 2].map(|user| stage.join(SpaceKey::Lobby, user, None));
    for _ in 0..80 {
        for _ in 0..20 {
            stage.input(Input::Unheard(flood, 2));
        }
        stage.input(Input::Unheard(calm, 2));
        stage.pass(100);
        stage.sweep();
    }
    let closes = stage.shard.counts();
    assert_eq!(closes.closes(Close::TooFast.kind()), 1);
    assert!(!stage.heard(flood).contains("error") && stage.shard.rooms.members.get(calm).is_some());
}

#[test]
fn a_refused_post_makes_no_space() {
    let mut stage = Stage::new(off());
    stage.around.journal.room = 0;
    stage.tick();
    stage.post(1, 10, None);
    stage.around.journal.room = 1 << 30;
    stage.tick();
    stage.input(Input::Drain(1_000));
    stage.post(2, 10, None);
    stage.slice();
    let answers = stage.around.replies.iter().map(|(_, reply)| reply.clone());
    let expected = [Reject::StoreUnavailable, Reject::Draining].map(Reply::Rejected);
    assert!(answers.eq(expected), "{:?}", stage.around.replies);
    assert_eq!(stage.count(Metric::Spaces), 0);
}

#[test]
fn catching_up_trims_by_itself() {
    let mut stage = Stage::new(off());
    let slow = stage.join(SPACE, 1, None);
    stage.join(SPACE, 2, None);
    stage.sweep();
    stage.takes(slow, 0);
    for ticket in 1..400 {
        stage.post(ticket, 900, None);
        stage.sweep();
    }
    assert!(stage.count(Metric::LogBytes) > 400 << 10);
    stage.around.sockets.room.remove(&slow);
    stage.input(Input::Writable(slow));
    stage.sweep();
    let held = stage.count(Metric::LogBytes);
    assert!(held < 200 << 10, "{held} bytes held");
    assert_eq!(stage.shard.counts().closes(Close::TooSlow.kind()), 0);
}
