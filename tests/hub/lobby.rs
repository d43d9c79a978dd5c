//! Who is online, over many people who come and go (`docs/WIRE.md` A6, H 9), and times that no
//! host's zone can bend (H 6).

use std::collections::BTreeMap;

use crate::support::{Client, Hub};

const PEOPLE: i64 = 1_000;

fn open(hub: &Hub, user: i64) -> Client {
    hub.socket(&format!("/v1/ws/user-connection?user_id={user}"), None)
}

/// Reads until each of these people has this status as its last word.
fn hear(reader: &mut Client, last: &mut BTreeMap<i64, String>, expected: &BTreeMap<i64, String>) {
    while last != expected {
        let message = reader.next();
        assert_eq!(message["type"], "user_status");
        let user = message["user_id"].as_i64().expect("a user");
        last.insert(user, message["status"].as_str().expect("a status").to_owned());
    }
}

#[test]
fn the_last_word_on_a_thousand_people_is_right_for_early_and_late_readers() {
    let hub = Hub::unlimited();
    let mut early = open(&hub, 1);
    let mut people: Vec<Client> = (2..2 + PEOPLE).map(|user| open(&hub, user)).collect();
    let mut late = open(&hub, 5_000);
    let online = |users: std::ops::Range<i64>| users.map(|user| (user, "online".to_owned()));
    let mut expected: BTreeMap<i64, String> = online(1..2 + PEOPLE).collect();
    expected.insert(5_000, "online".into());
    let (mut of_early, mut of_late) = (BTreeMap::new(), BTreeMap::new());
    hear(&mut early, &mut of_early, &expected);
    hear(&mut late, &mut of_late, &expected);
    for (user, client) in (2..).zip(people.drain(..PEOPLE as usize / 2)) {
        client.close();
        expected.insert(user, "offline".into());
    }
    hear(&mut early, &mut of_early, &expected);
    hear(&mut late, &mut of_late, &expected);
    let mut newcomer = open(&hub, 6_000);
    expected.retain(|_, status| status == "online");
    expected.insert(6_000, "online".into());
    hear(&mut newcomer, &mut BTreeMap::new(), &expected);
}

#[test]
fn live_and_stored_times_are_the_same_whatever_the_hosts_zone() {
    for zone in ["UTC", "Asia/Tokyo"] {
        let hub = Hub::start_with_env(&[], &[("TZ", zone)]);
        let mut client = hub.join(1, 1, "Ana");
        client.chat("hola");
        let seen = client.next_of("chat");
        let stored = hub.history_of(1, 1);
        assert_eq!(seen["timestamp"], stored[0]["timestamp"], "{zone}");
        let page = hub.get("/v1/messages?space_id=1").json();
        assert_eq!(seen["timestamp"], page["data"][0]["created_at"], "{zone}");
        let at = seen["timestamp"].as_str().expect("a time");
        let since = unix_seconds(at).abs_diff(now());
        assert!(since < 600, "{at} is not now, in {zone}");
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).expect("not so far")
}

/// The instant of form T, by a strict reader of its own.
fn unix_seconds(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().expect("digits");
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let months = [31, 28 + i64::from(leap(number(0..4))), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: i64 = (1970..number(0..4)).map(|year| 365 + i64::from(leap(year))).sum();
    let in_year: i64 = months.iter().take(number(5..7) as usize - 1).sum();
    let days = years + in_year + number(8..10) - 1;
    assert_eq!(&text[26..], "-03:00");
    days * 86_400 + number(11..13) * 3_600 + number(14..16) * 60 + number(17..19) + 3 * 3_600
}

#[test]
fn a_big_lobby_costs_what_its_people_do_and_tells_the_truth_when_it_is_small_again() {
    let hub = Hub::unlimited_with(&["--lobby-members-max", "20"]);
    let mut early = open(&hub, 1);
    let mut counted = hub.socket("/v1/ws/user-connection?user_id=2", Some("cpi-hub.v1"));
    let mut people: Vec<Client> = (3..=12).map(|user| open(&hub, user)).collect();
    let mut expected: BTreeMap<i64, String> = (1..=12).map(online).collect();
    let mut known = BTreeMap::new();
    hear(&mut early, &mut known, &expected);
    let sent = |hub: &Hub| hub.metric("hub_sent_bytes_total");
    let crowd: Vec<Client> = (100..300).map(|user| open(&hub, user)).collect();
    let before = sent(&hub);
    let crowd: Vec<Client> = crowd.into_iter().chain((300..500).map(|it| open(&hub, it))).collect();
    let each = (sent(&hub) - before) / 200.0;
    assert!(each < 500.0, "{each} bytes for each that comes to a big lobby");
    let mut late = open(&hub, 600);
    assert_eq!(late.next()["user_id"], 600, "its own status");
    // Counts instead of names, once a second.
    while counted.next_of("presence")["data"]["members"] != 413 {}
    // Two that were there before it was big go meanwhile, then the crowd does.
    for (user, client) in (3..=4).zip(people.drain(..2)) {
        client.close();
        expected.insert(user, "offline".into());
    }
    crowd.into_iter().for_each(Client::close);
    expected.insert(600, "online".into());
    known.retain(|_, status| status == "online");
    let of_late: BTreeMap<i64, String> =
        expected.clone().into_iter().filter(|(_, status)| status == "online").collect();
    hear_online(&mut early, &mut known, &of_late);
    hear_online(&mut late, &mut online_of(600), &of_late);
}

fn online(user: i64) -> (i64, String) {
    (user, "online".to_owned())
}

fn online_of(user: i64) -> BTreeMap<i64, String> {
    BTreeMap::from([online(user)])
}

/// Reads until those who are online to a reader are these.
fn hear_online(
    reader: &mut Client,
    last: &mut BTreeMap<i64, String>,
    expected: &BTreeMap<i64, String>,
) {
    loop {
        let mut is_online = last.clone();
        is_online.retain(|_, status| status == "online");
        if is_online == *expected {
            return;
        }
        let message = reader.next();
        let user = message["user_id"].as_i64().expect("a user");
        last.insert(user, message["status"].as_str().expect("a status").to_owned());
    }
}
