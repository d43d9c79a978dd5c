//! Clients that come back for what PostgreSQL holds.

use serde_json::json;

use super::stored::{hub_on, hub_with, post};
use crate::support::postgres::Cluster;
use crate::support::returning::{self, Crowd};
use crate::support::trials::is_slow;

pub fn many_that_keep_dropping_miss_nothing_through_a_kill() {
    let clients_a_space = if is_slow() { 50 } else { 10 };
    let cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    let crowd = Crowd::of(10, clients_a_space, 100, 20_261_124);
    let figures = returning::run(&mut hub, crowd);
    eprintln!("{} clients: {figures:?}, gaps 0, doubles 0", 10 * clients_a_space);
}

pub fn of_more_than_a_resume_brings_the_newest_are_sent() {
    let cluster = Cluster::start(&[]);
    let args = ["--resume-bytes-max", "4KiB", "--resume-messages-max", "20"];
    let mut hub = hub_with(&cluster, &args);
    let said = (0..31).map(|number| post(&hub, (1, 1), &number.to_string()).1["id"].clone());
    let ids: Vec<serde_json::Value> = said.collect();
    hub.kill();
    hub.restart();
    let after = ids[0].as_str().expect("an id");
    let mut back = hub.join_v1(1, 2, &format!("&after={after}"));
    let sent: Vec<serde_json::Value> =
        (0..20).map(|_| back.next_of("chat")["data"]["id"].clone()).collect();
    assert_eq!(sent, ids[11..]);
    let told = back.next_of("resumed")["data"].clone();
    assert_eq!((&told["from"], &told["count"]), (&ids[10], &json!(20)));
    assert_eq!((&told["complete"], &told["reason"]), (&json!(false), &json!("too_many")));
}
