//! What an operator is shown of a space's members.

use super::*;

fn look(stage: &mut Stage, from: i32, max: usize) -> Seen {
    stage.input(Input::Look(Ticket(1), SpaceId(1), UserId(from), max));
    stage.sweep();
    match stage.around.replies.pop() {
        Some((Ticket(1), Reply::Seen(seen))) => seen,
        other => panic!("{other:?} is no answer to a look"),
    }
}

#[test]
fn who_takes_nothing_is_shown_behind_by_what_it_is_owed() {
    let mut stage = Stage::new(Limits::default());
    let [quick, slow] = [1, 2].map(|user| stage.join(SPACE, user, None));
    stage.sweep();
    stage.takes(slow, 0);
    stage.say(quick, r#""content":"hola""#);
    stage.sweep();
    let owed = stage.around.sockets.bytes[&quick].len() as u64;
    stage.pass(700);
    let seen = look(&mut stage, i32::MIN, 10);
    assert_eq!((seen.members, seen.more), (2, false));
    let [first, second] = &seen.listed[..] else { panic!("{seen:?}") };
    assert_eq!((first.user, first.behind_bytes, first.is_blocked), (UserId(1), 0, false));
    assert_eq!((second.user, second.key, second.is_blocked), (UserId(2), slow, true));
    assert!((1..owed).contains(&second.behind_bytes), "{} of {owed}", second.behind_bytes);
    assert_eq!(first.silent_ms, 700);
}

#[test]
fn a_long_list_is_shown_in_stretches_that_part_no_user() {
    let mut stage = Stage::new(Limits::default());
    for user in [4, 1, 2, 2, 2, 3] {
        stage.join(SPACE, user, None);
    }
    stage.sweep();
    let (mut from, mut users, mut stretches) = (i32::MIN, Vec::new(), 0);
    loop {
        let seen = look(&mut stage, from, 2);
        users.extend(seen.listed.iter().map(|it| it.user.0));
        stretches += 1;
        let Some(last) = seen.listed.last().filter(|_| seen.more) else { break };
        from = last.user.0 + 1;
    }
    assert_eq!((users, stretches), (vec![1, 2, 2, 2, 3, 4], 2));
    let none = look(&mut stage, 5, 2);
    assert_eq!((none.members, none.listed.len(), none.more), (6, 0, false));
}

#[test]
fn a_space_where_nobody_is_has_nobody_to_be_shown() {
    let mut stage = Stage::new(Limits::default());
    assert_eq!(look(&mut stage, i32::MIN, 2), Seen::default());
}
