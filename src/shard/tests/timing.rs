//! What is counted of how long things take: chats on their way, durable acks, resumes.

use super::*;
use crate::metrics::Latency;

fn times(stage: &mut Stage, latency: Latency) -> (u64, u64) {
    let histogram = stage.shard.counts().latency(latency);
    (histogram.count(), histogram.sum)
}

/// Runs turns, a millisecond each, and says what time it is as a shard's thread does.
fn sweep_slowly(stage: &mut Stage) {
    loop {
        let more = stage.slice();
        stage.now.mono.0 += 1;
        stage.now.unix.0 += 1_000;
        if stage.shard.is_to_be_timed() {
            stage.shard.time(stage.now);
        }
        if !more {
            return;
        }
    }
}

#[test]
fn of_sixteen_chats_one_is_timed_until_all_have_been_sent_it() {
    let mut stage = Stage::new(Limits { sweep_sends_max: 1, ..off() });
    let members: Vec<_> = (1..=10).map(|user| stage.join(SPACE, user, None)).collect();
    sweep_slowly(&mut stage);
    for chats in 1..=33u64 {
        stage.say(members[0], r#""content":"hola""#);
        sweep_slowly(&mut stage);
        // Ten sends, each in a turn of its own that takes a millisecond.
        let timed = chats.div_ceil(16);
        assert_eq!(times(&mut stage, Latency::AcceptToSent), (timed, timed * 10_000), "{chats}");
    }
}

#[test]
fn who_takes_nothing_holds_no_time_up_and_a_space_that_is_gone_is_forgotten() {
    let mut stage = Stage::new(off());
    let [ana, stuck] = [1, 2].map(|user| stage.join(SPACE, user, None));
    stage.sweep();
    stage.takes(stuck, 0);
    stage.say(ana, r#""content":"hola""#);
    sweep_slowly(&mut stage);
    assert_eq!(times(&mut stage, Latency::AcceptToSent), (1, 1_000));
    // The next one to be timed is said by who goes before the turn, and to nobody.
    for _ in 0..15 {
        stage.say(ana, r#""content":"hola""#);
    }
    sweep_slowly(&mut stage);
    stage.say(ana, r#""content":"adios""#);
    stage.input(Input::Close(ana, Close::Gone));
    stage.input(Input::Close(stuck, Close::Gone));
    stage.around.journal.fails = true;
    sweep_slowly(&mut stage);
    assert_eq!(times(&mut stage, Latency::AcceptToSent).0, 1, "no journal has it");
}

#[test]
fn chats_that_nobody_times_are_few_however_many_are_said() {
    let mut stage = Stage::new(off());
    let ana = stage.join(SPACE, 1, None);
    for _ in 0..10_000 {
        stage.say(ana, r#""content":"hola""#);
        stage.sweep();
    }
    stage.shard.time(stage.now);
    assert_eq!(times(&mut stage, Latency::AcceptToSent).0, 64);
}

#[test]
fn each_chat_is_timed_until_the_store_has_it_and_the_oldest_has_an_age() {
    let mut stage = Stage::new(off());
    let ana = stage.join(SPACE, 1, None);
    stage.say(ana, r#""content":"uno""#);
    stage.say(ana, r#""content":"dos""#);
    stage.sweep();
    stage.pass(200);
    stage.say(ana, r#""content":"tres""#);
    stage.sweep();
    stage.pass(100);
    assert_eq!(stage.count(Metric::StoreLag), 300_000);
    stage.committed();
    assert_eq!(times(&mut stage, Latency::DurableAck), (3, 2 * 300_000 + 100_000));
    assert_eq!(stage.count(Metric::StoreLag), 0);
}

#[test]
fn a_resume_is_timed_until_all_that_was_missed_is_sent() {
    let mut stage = Stage::new(off());
    let ana = stage.join(SPACE, 1, None);
    let first = stage.post(1, 10, None);
    stage.say(ana, r#""content":"hola""#);
    stage.sweep();
    let back = stage.join(SPACE, 2, Some(first));
    stage.pass(5);
    stage.sweep();
    assert!(stage.heard(back).contains("\"type\":\"resumed\""), "{}", stage.heard(back));
    assert_eq!(times(&mut stage, Latency::Resume), (1, 5_000));
}
