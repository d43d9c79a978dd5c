//! What others see of a hub while it is attacked: a member's echoes, small posts, and the memory
//! that the hub holds.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tungstenite::Message;

use crate::attacks::floods::observe;
use crate::support::group::Group;
use crate::support::peers::post_from;
use crate::support::trials::Over;
use crate::support::{GOOD, Hub};

/// The others' address.
const OTHERS: u8 = 7;

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    pub echoes: usize,
    /// The time that half of the echoes took at most, and 99 of 100.
    pub echo_p50: Duration,
    pub echo_p99: Duration,
    pub posts: usize,
    /// Posts that took more than a second.
    pub late: usize,
    pub refused: Vec<String>,
    pub held_bytes_max: usize,
}

/// Looks while something goes on.
pub fn watch(hub: &Hub, group: &Group, goes_on: impl FnOnce(&AtomicUsize)) -> Seen {
    let (over, echoes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let is_over = || over.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        let echo = |user: i32| {
            let mut member = hub.join(user, user, "Eco");
            let (mut took, chat) = (Vec::new(), r#"{"type":"chat","data":{"content":"eco"}}"#);
            observe();
            while !is_over() {
                let begun = Instant::now();
                member.try_send(Message::text(chat)).expect("the hub reads");
                member.next_of("chat");
                took.push(begun.elapsed());
                echoes.fetch_add(1, Ordering::Relaxed);
                // Within the rates of a member.
                std::thread::sleep(Duration::from_millis(25));
            }
            took
        };
        let echoing: Vec<_> = (11..=14).map(|user| scope.spawn(move || echo(user))).collect();
        let posting = scope.spawn(|| {
            let (mut posts, mut late, mut refused) = (0, 0, Vec::new());
            while !is_over() {
                let begun = Instant::now();
                let answer = post_from(hub, OTHERS, GOOD);
                late += usize::from(begun.elapsed() > Duration::from_secs(1));
                if answer.status != 200 {
                    refused.push(format!("{}: {}", answer.status, answer.text()));
                }
                posts += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            (posts, late, refused)
        });
        let holding = scope.spawn(|| {
            let mut most = 0;
            while !is_over() {
                most = most.max(group.held_bytes());
                std::thread::sleep(Duration::from_millis(10));
            }
            most
        });
        // Also where that fails: the others end then.
        let ends = Over(&over);
        goes_on(&echoes);
        drop(ends);
        let took = echoing.into_iter().flat_map(|it| it.join().expect("the member is not closed"));
        let mut took: Vec<Duration> = took.collect();
        let (posts, late, refused) = posting.join().expect("posts are answered");
        took.sort_unstable();
        let (echo_p50, echo_p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        let held_bytes_max = holding.join().expect("a number");
        Seen { echoes: took.len(), echo_p50, echo_p99, posts, late, refused, held_bytes_max }
    })
}
