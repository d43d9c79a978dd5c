//! What the hub may hold of requests: where that is held, others are told so, and so is whoever
//! runs the hub.

use std::io::Write;

use cpi_hub::conditions::Condition;

use crate::support::health::{mended, planted};
use crate::support::peers::{connect_from, post_head};
use crate::support::{Answer, Hub};

#[test]
fn bodies_beyond_the_bound_are_told_and_that_passes() {
    let hub = Hub::unlimited_with(&[
        "--bodies-bytes-max",
        "128KiB",
        "--chat-body-bytes-max",
        "64KiB",
        "--body-bytes-max",
        "4KiB",
    ]);
    // Two addresses hold all that there is for large bodies, and send the rest of them never.
    let half = vec![b' '; 40 << 10];
    let slow: Vec<_> = (2..5)
        .map(|last| {
            let mut stream = connect_from(&hub, last, false);
            stream.write_all(post_head(60 << 10).as_bytes()).expect("the hub reads");
            // One for which there is no room is answered meanwhile.
            _ = stream.write_all(&half);
            stream
        })
        .collect();
    let detail = planted(&hub, Condition::MemoryShort);
    assert_eq!(detail, "bodies_bytes_max");
    let (mut refused, mut waiting) = (0, Vec::new());
    for mut stream in slow {
        stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("an option");
        let mut first = [0; 1];
        match stream.peek(&mut first) {
            Ok(_) => {
                let answer = Answer::read(&mut stream);
                assert_eq!((answer.status, &answer.json()["code"]), (503, &"overloaded".into()));
                refused += 1;
            }
            Err(_) => waiting.push(stream),
        }
    }
    assert!(refused >= 1 && !waiting.is_empty(), "{refused} of 3 are refused");
    drop(waiting);
    mended(&hub, Condition::MemoryShort);
}
