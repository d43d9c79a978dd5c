//! Members behind a real network that loses packets, or is parted from the hub's (rows 2, 7 and 8
//! of the fault matrix): namespaces, a router, and the kernel's own TCP. Where namespaces can't be
//! had these show as ignored.

use std::time::{Duration, Instant};

use crate::support::figures::{figure, is_long};
use crate::support::neighbours::Neighbours;
use crate::support::network::Network;
use crate::support::returning::{Crowd, run_through};
use crate::support::trials::Outcome;
use crate::support::{Client, Hub, UNLIMITED};

const SPACES: [i32; 2] = [1, 77];
/// In percent.
const LOSS: u8 = 5;
const PARTITION: u8 = 100;

fn hub_on(network: &Network, more: &[&str]) -> Hub {
    network.hub(&[&UNLIMITED[..], &["--shards", "2"], more].concat())
}

const ATTENTIVE: [&str; 4] = ["--ping-period", "1s", "--pong-wait", "2500ms"];

/// A crowd behind a router that loses packets, and then carries nothing for a while.
fn sit_out(row: u32, down: Duration) -> Outcome {
    let network = Network::make()?;
    let mut hub = hub_on(&network, &ATTENTIVE);
    let neighbours = Neighbours::of(&hub, SPACES);
    network.lose(LOSS);
    let own = Crowd::of(2, 6, 400, 20_261_130 + u64::from(row));
    let by = Some(network.behind_the_router(&hub));
    let crowd = Crowd { by, silence: Duration::from_secs(3), ..own };
    let figures = run_through(&mut hub, crowd, 1, |_, _| {
        network.lose(PARTITION);
        std::thread::sleep(down);
        network.lose(LOSS);
    });
    figure(row, "loss_percent", LOSS, "");
    figure(row, "partition_s", down.as_secs(), "");
    figure(row, "network_gaps", 0, 0);
    figure(row, "network_s_to_heal", format!("{:.1}", figures.healed.as_secs_f64()), "");
    neighbours.settle(&[row]);
    Ok(())
}

pub fn members_on_a_network_that_loses_packets_and_is_parted_resume_without_a_gap() -> Outcome {
    sit_out(7, Duration::from_secs(if is_long() { 30 } else { 4 }))
}

pub fn members_on_a_network_that_is_parted_for_5_s_resume_without_a_gap() -> Outcome {
    sit_out(8, Duration::from_secs(5))
}

/// The hub can't know that a partition has begun: only that no pong came.
pub fn a_member_that_a_partition_took_is_announced_as_gone_when_its_pong_is_due() -> Outcome {
    let network = Network::make()?;
    let hub = hub_on(&network, if is_long() { &[] } else { &ATTENTIVE });
    let due = Duration::from_millis(if is_long() { 61_000 } else { 3_500 });
    let neighbours = Neighbours::of(&hub, SPACES);
    let mut watcher = hub.join_v1(1, 1, "");
    watcher.next_of("join");
    let mut parted = Client::dial(network.behind_the_router(&hub), 1, 2);
    while watcher.next_of("join")["user_id"] != 2 {}
    parted.chat("lo último");
    while parted.next_of("chat")["data"]["content"] != "lo último" {}
    network.lose(PARTITION);
    let begun = Instant::now();
    watcher.stream().set_read_timeout(Some(2 * due)).expect("a timeout");
    while watcher.next_of("leave")["user_id"] != 2 {}
    let took = begun.elapsed();
    figure(2, "network_s_to_leave", format!("{:.1}", took.as_secs_f64()), due.as_secs_f64());
    assert!(took < due + Duration::from_secs(1), "{took:?}");
    neighbours.settle(&[2]);
    Ok(())
}
