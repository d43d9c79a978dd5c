//! PostgreSQL away for a while under load: chat goes on, memory stays, all is stored after.

use std::time::{Duration, Instant};

use super::kills::{hub_on_disk, until_ready, until_stored};
use super::load::Load;
use super::plan::setting;
use super::verdict::{Known, Verdict};
use crate::support::Hub;
use crate::support::trials::is_slow;

/// What nonces, logs and waits for commits may add while the store is away, in KiB.
const GROWTH_MAX_KIB: u64 = 64 << 10;
/// All is to be stored so soon after the store is back.
const BACK_MAX: Duration = Duration::from_secs(60);
const SAMPLE: Duration = Duration::from_millis(500);

/// Memory that a hub has in use, in KiB.
fn resident_kib(hub: &Hub) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", hub.pid()));
    let status = status.expect("the hub runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Lets the load run for this time; the most memory meanwhile.
fn watch(hub: &Hub, time: Duration) -> u64 {
    let (begun, mut most) = (Instant::now(), 0);
    let mut sampled = 0;
    while begun.elapsed() < time {
        std::thread::park_timeout(SAMPLE);
        let now = resident_kib(hub);
        most = most.max(now);
        sampled += 1;
        if sampled % 120 == 0 {
            let journal = hub.metric("hub_journal_bytes") / f64::from(1 << 20);
            let (seconds, resident) = (begun.elapsed().as_secs(), now >> 10);
            eprintln!("away {seconds} s: resident {resident} MiB, journal {journal:.0} MiB");
        }
    }
    most
}

pub fn the_database_away_stops_nobody_and_everything_is_stored_when_it_is_back() {
    let long = is_slow();
    let away = Duration::from_secs(setting("HUB_OUTAGE_SECONDS", if long { 20 } else { 2 }));
    let rate: u64 = setting("HUB_OUTAGE_RATE", 500);
    eprintln!("away for {away:?} at {rate} messages/s");
    let (mut cluster, hub) = hub_on_disk();
    let load = Load::start(&hub, rate);
    load.accept(rate * away.as_secs().min(20) / 4);
    let before = resident_kib(&hub);
    let accepted = || load.counted(|counts| &counts.accepted);
    let (begun, first) = (Instant::now(), accepted());
    cluster.end("INT");
    let most = watch(&hub, away);
    let during = accepted() - first;
    let per_second = during as f64 / begun.elapsed().as_secs_f64();
    assert_ne!(hub.get("/readyz").json()["store"], "ready");
    let journal = hub.metric("hub_journal_bytes") / f64::from(1 << 20);
    assert!(journal > 0.0, "what waits is counted");
    let back = Instant::now();
    cluster.restart();
    // The load goes on meanwhile.
    until_ready(&hub);
    let caught_up = back.elapsed();
    let after = resident_kib(&hub);
    load.settle();
    until_stored(&hub);
    let stored = back.elapsed();
    let (senders, receivers) = load.stop();
    let verdict = Verdict::reach(&cluster, (&senders, &receivers), &Known::default());
    eprintln!(
        "{away:?} away: {during} accepted, {per_second:.0}/s; {verdict}; resident {} MiB before, \
         {} at most, {} after; journal {journal:.0} MiB; caught up {:.1} s after its return, all \
         stored {:.1} s",
        before >> 10,
        most >> 10,
        after >> 10,
        caught_up.as_secs_f64(),
        stored.as_secs_f64(),
    );
    verdict.hold();
    assert!(per_second > rate as f64 * 0.9, "chat was slower: {per_second:.0}/s of {rate}");
    assert!(most < before + GROWTH_MAX_KIB, "memory grew: {before} to {most} KiB");
    assert!(stored < BACK_MAX, "stored {stored:?} after its return");
}
