//! A hub that stands still, or gets a fifth of a processor (row 65 of the fault matrix): whoever
//! has spoken meanwhile, or could not be asked, is not called dead or slow.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::support::figures::{figure, is_long};
use crate::support::group::Group;
use crate::support::neighbours::Neighbours;
use crate::support::trials::Outcome;
use crate::support::{Client, Hub, UNLIMITED};

const SPACES: [i32; 2] = [1, 77];
const MEMBERS: i32 = 30;
/// Far below the time for which the hub stands still: a deadline that it judged by its clock alone
/// would close everybody.
const LIMITS: [&str; 6] = ["--ping-period", "1s", "--pong-wait", "3s", "--write-wait", "2s"];

fn hub() -> Hub {
    Hub::start(&[&UNLIMITED[..], &LIMITS, &["--shards", "2"]].concat())
}

/// Members who say nothing, answer pings, and read all that comes until the hub is gone.
fn quiet_members(hub: &Hub) -> Vec<std::thread::JoinHandle<()>> {
    let read = |mut member: Client| while member.try_next().is_ok() {};
    let come = |user| hub.join_v1(SPACES[(user % 2) as usize], user, "");
    let members: Vec<Client> = (1..=MEMBERS).map(come).collect();
    members.into_iter().map(|member| std::thread::spawn(move || read(member))).collect()
}

/// Nobody was closed for what the hub itself has missed.
fn check(hub: Hub, neighbours: Neighbours, members: Vec<std::thread::JoinHandle<()>>) {
    let closes = |reason| hub.metric(&format!("hub_closes_total{{reason=\"{reason}\"}}"));
    let closed = closes("pong_timeout") + closes("too_slow");
    figure(65, "false_closes", closed, 0);
    neighbours.settle(&[65]);
    assert_eq!(closed, 0.0);
    assert!(members.iter().all(|member| !member.is_finished()), "they are all there");
    drop(hub);
    members.into_iter().for_each(|member| member.join().expect("it reads to the end"));
}

/// Waits for longer than any deadline that may have begun in the standstill.
fn let_deadlines_pass() {
    std::thread::sleep(Duration::from_secs(4));
}

pub fn a_hub_that_stands_still_calls_nobody_dead_or_slow() {
    let hub = hub();
    let members = quiet_members(&hub);
    let neighbours = Neighbours::of(&hub, SPACES);
    // What comes in the meantime: connections that wait to be accepted, and a message.
    hub.signal("STOP");
    let mut waiting = hub.connect();
    std::io::Write::write_all(&mut waiting, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("the kernel takes it");
    let stands = Duration::from_secs(if is_long() { 10 } else { 6 });
    std::thread::sleep(stands);
    hub.signal("CONT");
    let begun = Instant::now();
    let mut answer = [0; 12];
    waiting.read_exact(&mut answer).expect("it is answered");
    assert_eq!(&answer, b"HTTP/1.1 200");
    figure(65, "stands_still_s", stands.as_secs(), "");
    figure(65, "ms_to_answer_again", begun.elapsed().as_millis(), "");
    let_deadlines_pass();
    check(hub, neighbours, members);
}

pub fn a_hub_with_a_fifth_of_a_processor_calls_nobody_dead_or_slow() -> Outcome {
    let group = Group::of_processor(20)?;
    let hub = group.within(hub);
    let members = quiet_members(&hub);
    let neighbours = Neighbours::of(&hub, SPACES);
    let_deadlines_pass();
    let_deadlines_pass();
    check(hub, neighbours, members);
    Ok(())
}
