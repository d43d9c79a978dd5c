//! Pages with the senders' pictures, which may have megabytes each: bounded together, in the
//! answer, in the hub's memory, and in what the database sends.

use serde_json::Value;

use super::adopted::adopted;
use super::stored::hub_with;
use crate::support::peers::{forget_peak, get_from, memory};
use crate::support::postgres::Cluster;

/// Users from 11 on with pictures of these lengths, and rows of theirs in space 2, in this order.
fn adopted_with(images: &[usize], rows: &[usize]) -> Cluster {
    let cluster = adopted();
    cluster.sql("hub", "DELETE FROM chat_messages");
    for (n, bytes) in images.iter().enumerate() {
        let (user, letter) = (n + 11, char::from(b'a' + (n % 26) as u8));
        cluster.sql(
            "hub",
            &format!(
                "INSERT INTO users (id, name, last_name, email, password, image) VALUES \
                 ({user}, 'u', 'u', '{user}@x', 'x', repeat('{letter}', {bytes}))"
            ),
        );
    }
    for (n, user) in rows.iter().enumerate() {
        cluster.sql(
            "hub",
            &format!(
                "INSERT INTO chat_messages VALUES ('01JGB4N5ZW000000000000{n:04}', 'm{n}', \
                 {user}, 'u', 2, '2026-01-02 03:04:05.{n:06}')"
            ),
        );
    }
    cluster
}

fn lengths(page: &Value) -> Vec<usize> {
    let rows = page["data"].as_array().expect("rows").iter();
    rows.map(|row| row["image"].as_str().expect("a picture").len()).collect()
}

pub fn a_page_of_great_pictures_is_bounded_and_each_can_be_had() {
    const EACH: usize = 5_000_000;
    let users: Vec<usize> = (11..110).collect();
    let cluster = adopted_with(&[EACH; 99], &users);
    let hub = hub_with(&cluster, &[]);
    let page = |size: u32, number: usize| {
        let path = format!("/v1/messages?space_id=2&page_size={size}&page={number}");
        let answer = get_from(&hub, 3, &path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let length = answer.header("content-length").expect("its length is told");
        assert_eq!(length, answer.body.len().to_string());
        (answer.body.len(), answer.json())
    };
    forget_peak(&hub);
    let before = memory(&hub, "VmRSS");
    for _ in 0..3 {
        let (bytes, all) = page(100, 1);
        assert!(bytes < 8 << 20, "{bytes}");
        let shown = lengths(&all);
        assert_eq!((shown[0], shown[1..].iter().sum::<usize>(), shown.len()), (EACH, 0, 99));
    }
    for number in [1, 2, 50, 99] {
        let (_, one) = page(1, number);
        assert_eq!(lengths(&one), [EACH], "page {number}");
        let letter = char::from(b'a' + ((number - 1) % 26) as u8).to_string();
        assert!(one["data"][0]["image"].as_str().expect("a picture").starts_with(&letter));
    }
    let most = memory(&hub, "VmHWM").saturating_sub(before);
    assert!(most < 100 << 20, "{} MiB more than before", most >> 20);
}

pub fn pictures_count_row_by_row_and_what_does_not_fit_is_left_out() {
    let rows = [11, 11, 11, 12, 13, 14, 15];
    let cluster = adopted_with(&[400, 300, 200, 2_000, 0], &rows);
    let hub = hub_with(&cluster, &["--page-images-bytes-max", "1000"]);
    let shown = |query: &str| lengths(&hub.get(&format!("/v1/messages?space_id=2{query}")).json());
    assert_eq!(shown(""), [400, 400, 0, 0, 200, 0, 0]);
    // In the order of the page, whatever order it was read in.
    assert_eq!(shown("&order_by=timestamp"), [0, 0, 200, 300, 400, 0, 0]);
    assert_eq!(shown("&page_size=3&page=2"), [300, 200, 0]);
    assert_eq!(shown("&page_size=1&page=6"), [0], "longer than all may be together");
    let range = hub.get("/v1/spaces/2/messages?limit=3").json();
    assert_eq!(lengths(&range), [200, 2_000, 0], "each as it was fanned out");
    cluster.sql("hub", "UPDATE users SET image = image || repeat('n', 49) WHERE id = 14");
    assert_eq!(lengths(&hub.get("/v1/spaces/2/messages?limit=3").json()), [200, 0, 0]);
    cluster.sql("hub", "UPDATE users SET image = repeat('ñ', 500) WHERE id = 12");
    assert_eq!(shown("&page_size=1&page=4"), [1_000], "bytes, not characters");
    cluster.sql("hub", "UPDATE users SET image = NULL");
    assert_eq!(shown(""), [0; 7]);
}

pub fn pages_of_pictures_that_nobody_reads_hold_a_share_of_the_memory() {
    use crate::support::eventually;
    use crate::support::peers::{connect_from, get};
    use std::io::Write;
    let users: Vec<usize> = (11..31).collect();
    let cluster = adopted_with(&[3_000_000; 20], &users);
    let hub = hub_with(&cluster, &["--write-wait", "10m"]);
    let path = "/v1/messages?space_id=2&page_size=20";
    assert_eq!(get_from(&hub, 3, path).status, 200);
    forget_peak(&hub);
    let before = memory(&hub, "VmRSS");
    let ask = || {
        let mut stream = connect_from(&hub, 2, true);
        stream.write_all(get(path).as_bytes()).expect("the hub reads");
        stream
    };
    let mut slow: Vec<_> = (0..60).map(|_| ask()).collect();
    eventually("its share is held", || {
        // What this takes itself meanwhile may be what the last of them lacked.
        slow.push(ask());
        (get_from(&hub, 2, path).status == 503).then_some(())
    });
    let other = get_from(&hub, 3, path);
    assert_eq!(
        (other.status, lengths(&other.json())[..3].to_vec()),
        (200, vec![3_000_000, 3_000_000, 0])
    );
    let most = memory(&hub, "VmHWM").saturating_sub(before);
    assert!(most < 160 << 20, "{} MiB more than before", most >> 20);
    drop(slow);
    eventually("it is free again", || (get_from(&hub, 2, path).status == 200).then_some(()));
}
