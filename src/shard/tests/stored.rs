//! Cases of chats that are accepted once they are stored.

use super::*;
use crate::limits::STORED_WAIT;

/// A stage whose earlier runs are stored.
fn stage() -> Stage {
    let mut stage = Stage::accepting(Accept::Stored, off());
    stage.input(Input::Committed(0));
    stage
}

fn refused(id: Id) -> Input<'static> {
    Input::Verdict(Verdict::Refused { id, nonce: None, reject: Reject::StoreRefused })
}

#[test]
fn nobody_is_sent_or_acked_a_chat_before_the_store_has_it() {
    let mut stage = stage();
    let [ana, beto] = [1, 2].map(|user| stage.join(SPACE, user, None));
    stage.sweep();
    stage.say(ana, r#""content":"secret","nonce":"a","ack":"durable""#);
    stage.input(Input::Message(ana, &mut br#"{"type":"ping"}"#.to_owned()));
    stage.join(SPACE, 3, None);
    stage.post(1, 10, None);
    stage.sweep();
    for key in [ana, beto] {
        let heard = stage.heard(key);
        assert!(!heard.contains("secret") && !heard.contains("\"nonce\""), "{heard}");
        assert!(!heard.contains("\"user_id\":3") && !heard.contains("pong"), "{heard}");
    }
    assert_eq!((stage.around.replies.len(), stage.count(Metric::ChatsUnsecured)), (0, 2));
    stage.committed();
    stage.sweep();
    let heard = stage.heard(ana);
    let order = ["secret", "\"user_id\":3", "xxxx", "\"accepted\"", "\"durable\"", "\"pong\""];
    let at = order.map(|text| heard.find(text).unwrap_or_else(|| panic!("{text}: {heard}")));
    assert!(at.is_sorted(), "{at:?} {heard}");
    assert!(matches!(stage.around.replies[0].1, Reply::Posted { .. }));
    assert_eq!(stage.around.replies[1].1, Reply::Durable(Ok(())));
    assert_eq!(stage.count(Metric::ChatsUnsecured), 0);
}

#[test]
fn who_comes_while_a_chat_waits_is_sent_it_before_its_own_join() {
    let mut stage = stage();
    let before = stage.post(1, 10, None);
    stage.sweep();
    stage.committed();
    let waiting = stage.post(2, 20, None);
    stage.sweep();
    let ana = stage.join(SPACE, 1, None);
    stage.sweep();
    let heard = stage.heard(ana);
    assert!(heard.contains(&format!("\"position\":\"{before}\"")), "{heard}");
    assert!(!heard.contains("\"type\":\"join\""), "{heard}");
    stage.committed();
    stage.sweep();
    let heard = stage.heard(ana);
    let chat = heard.find(&waiting.to_string()).expect("it is sent what waited");
    assert!(chat < heard.find("\"type\":\"join\"").expect("its own join"), "{heard}");
}

#[test]
fn a_chat_that_the_store_refuses_is_sent_to_nobody_and_leaves_no_gap() {
    let mut stage = stage();
    let [ana, beto] = [1, 2].map(|user| stage.join(SPACE, user, None));
    let first = stage.post(1, 10, None);
    stage.sweep();
    stage.committed();
    stage.sweep();
    for bytes in [1, 50, 100, 500, 1_000] {
        let bad = stage.post(2, bytes, None);
        stage.say(ana, &format!(r#""content":"bad","nonce":"{bytes}""#));
        let worse = stage.shard.commits.highest();
        let good = stage.post(3, 30, None);
        stage.sweep();
        // Who comes back meanwhile is told of what is there in the end.
        let carla = stage.join(SPACE, 3, Some(first));
        stage.input(refused(bad));
        stage.input(refused(worse));
        stage.around.replies.clear();
        stage.committed();
        stage.sweep();
        for key in [ana, beto, carla] {
            let heard = stage.heard(key);
            assert!(!heard.contains(&format!("\"data\":{{\"id\":\"{bad}\"")), "{heard}");
            assert!(!heard.contains("\"content\":\"bad\""), "{heard}");
            assert!(heard.contains(&good.to_string()), "{heard}");
        }
        assert!(stage.heard(ana).contains("\"store_refused\""));
        assert_eq!(stage.around.replies[0].1, Reply::Rejected(Reject::StoreRefused));
        let heard = stage.heard(carla);
        assert!(heard.contains(&format!("\"to\":\"{good}\"")), "{heard}");
        let frames = heard.matches("\"type\":\"chat\"").count();
        assert!(heard.contains(&format!("\"count\":{frames},\"complete\":true")), "{heard}");
    }
}

#[test]
fn a_store_that_takes_too_long_has_new_chats_refused_at_once_and_holds_no_answer_up() {
    let mut stage = stage();
    let ana = stage.join(SPACE, 1, None);
    stage.sweep();
    stage.say(ana, r#""content":"first","nonce":"a""#);
    stage.input(Input::Message(ana, &mut br#"{"type":"ping"}"#.to_owned()));
    stage.sweep();
    stage.pass(STORED_WAIT - 1);
    stage.sweep();
    assert!(!stage.heard(ana).contains("pong"));
    assert_eq!(stage.count(Metric::ShardsAwaiting), 0);
    stage.pass(1);
    stage.say(ana, r#""content":"second","nonce":"b""#);
    stage.post(1, 10, None);
    stage.sweep();
    let heard = stage.heard(ana);
    assert!(heard.contains("pong") && !heard.contains("\"nonce\":\"a\""), "{heard}");
    assert!(heard.contains("\"store_unavailable\"") && heard.contains("\"ref\":\"b\""), "{heard}");
    assert_eq!(stage.around.replies, [(Ticket(1), Reply::Rejected(Reject::StoreUnavailable))]);
    let gauges = [Metric::ShardsAwaiting, Metric::ShardsRefusing];
    assert_eq!(gauges.map(|gauge| stage.count(gauge)), [1, 1]);
    stage.committed();
    stage.say(ana, r#""content":"third","nonce":"c""#);
    stage.sweep();
    assert!(stage.heard(ana).contains("\"nonce\":\"a\""));
    stage.committed();
    stage.sweep();
    assert!(stage.heard(ana).contains("third"));
}

#[test]
fn nothing_is_taken_before_what_earlier_runs_have_left_is_stored() {
    let mut stage = Stage::accepting(Accept::Stored, off());
    stage.post(1, 10, None);
    stage.input(Input::Committed(0));
    stage.post(2, 10, None);
    stage.sweep();
    assert_eq!(stage.around.replies, [(Ticket(1), Reply::Rejected(Reject::StoreUnavailable))]);
    stage.committed();
    stage.sweep();
    assert_eq!(stage.around.replies.len(), 3);
}

#[test]
fn publishers_and_newcomers_wait_while_half_of_a_log_waits_for_the_store() {
    let mut stage = Stage::accepting(Accept::Stored, Limits { log_bytes_max: 64 << 10, ..off() });
    stage.input(Input::Committed(0));
    let ana = stage.join(SPACE, 1, None);
    for ticket in 1..40 {
        stage.post(ticket, 900, None);
        stage.sweep();
    }
    assert!(!stage.shard.may_read(ana));
    let beto = stage.join(SPACE, 2, None);
    assert!(!stage.shard.is_seated(beto));
    stage.committed();
    stage.sweep();
    assert!(stage.shard.may_read(ana));
    let beto = stage.join(SPACE, 2, None);
    assert!(stage.shard.is_seated(beto));
}

#[test]
fn a_post_whose_turn_is_lost_is_refused_and_one_that_is_stored_is_told_so() {
    let mut stage = stage();
    stage.post(1, 10, None);
    stage.sweep();
    stage.committed();
    stage.post(2, 10, None);
    stage.around.journal.fails = true;
    stage.slice();
    let told: Vec<_> = stage.around.replies.iter().map(|(ticket, _)| ticket.0).collect();
    assert_eq!(told, [1, 1, 2]);
    assert_eq!(stage.around.replies[1].1, Reply::Durable(Ok(())));
    assert_eq!(stage.around.replies[2].1, Reply::Rejected(Reject::StoreUnavailable));
}
