//! Descriptors and a disk that fail for a while: what is short is waited for, and told.

use cpi_hub::conditions::Condition;
use std::process::Command;

use super::disks::say_until_refused;
use super::failing::Failing;
use super::stored::{post, until_store_is};
use crate::support::health::{mended, planted};
use crate::support::postgres::Cluster;
use crate::support::trials::{Lack, Outcome};
use crate::support::{Hub, UNLIMITED, eventually};

/// A hub of one shard, whose journal has segments of half a mebibyte.
fn hub_with_small_segments(cluster: &Cluster) -> Hub {
    let url = cluster.url();
    let own = ["--database-url", &url, "--message-bytes-max", "8KiB", "--shards", "1"];
    let args: Vec<&str> =
        own.into_iter().chain(["--journal-bytes-max", "4MiB"]).chain(UNLIMITED).collect();
    let hub = Hub::start(&args);
    assert_eq!(post(&hub, (2, 2), "antes").0, 200);
    hub
}

/// Sets how many descriptors a hub may have, those that it has left alone.
fn limit_descriptors(hub: &Hub, descriptors: u32) -> Result<(), Lack> {
    let pid = hub.pid().to_string();
    let limits = format!("--nofile={descriptors}:");
    match Command::new("prlimit").args(["--pid", &pid, &limits]).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Lack("prlimit is missing, or must not limit the hub".into())),
    }
}

pub fn a_hub_without_descriptors_goes_on_and_stores_all_that_it_took() -> Outcome {
    let cluster = Cluster::start(&[]);
    let hub = hub_with_small_segments(&cluster);
    let (mut watcher, mut speaker) = (hub.join(1, 1, "Ana"), hub.join_v1(1, 2, ""));
    // Whatever is opened from here on fails, the next segment's reading and making first of all.
    limit_descriptors(&hub, 3)?;
    let (mut accepted, refusal) = say_until_refused(&mut speaker, &mut watcher);
    assert_eq!(refusal["data"]["code"], "store_unavailable", "{refusal}");
    for told in ["journal_unread", "journal_segment", "Too many open files"] {
        eventually(told, || hub.log().contains(told).then_some(()));
    }
    limit_descriptors(&hub, 1_024)?;
    eventually("chat is taken again", || {
        let (status, message) = post(&hub, (1, 2), "después");
        (status == 200).then(|| accepted.push(message["id"].clone()))
    });
    let ids: Vec<_> = hub.history(1).iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, accepted);
    until_store_is(&hub, "ready");
    eventually("nothing is wrong any more", || hub.conditions().is_empty().then_some(()));
    Ok(())
}

pub fn a_segment_that_can_not_be_synced_is_made_later_and_leaves_no_file() -> Outcome {
    let cluster = Cluster::start(&[]);
    let hub = hub_with_small_segments(&cluster);
    let (mut watcher, mut speaker) = (hub.join(1, 1, "Ana"), hub.join_v1(1, 2, ""));
    // The sync that fails is that of the new file, or of its folder.
    let failing = Failing::start(&hub, "fsync", None)?;
    let (mut accepted, refusal) = say_until_refused(&mut speaker, &mut watcher);
    assert_eq!(refusal["data"]["code"], "store_unavailable", "{refusal}");
    eventually("it is told alone", || match &hub.conditions()[..] {
        [told] => (told["name"] == "journal_segment").then_some(()),
        _ => None,
    });
    planted(&hub, Condition::JournalSegment);
    assert_eq!(hub.metric("hub_condition"), 1.0);
    assert!(hub.log().matches("journal_segment").count() == 1, "{}", hub.log());
    drop(failing);
    eventually("chat is taken again", || {
        let (status, message) = post(&hub, (1, 2), "después");
        (status == 200).then(|| accepted.push(message["id"].clone()))
    });
    let ids: Vec<_> = hub.history(1).iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, accepted);
    eventually("it is over", || hub.conditions().is_empty().then_some(()));
    mended(&hub, Condition::JournalSegment);
    eventually("no segment is there that nobody counts", || {
        let folder = std::fs::read_dir(hub.data_dir().join("journal")).expect("journals");
        let files = folder.flatten().flat_map(|entry| entry.metadata());
        let there: u64 = files.map(|file| file.len()).sum();
        (there as f64 == hub.metric("hub_journal_disk_bytes")).then_some(())
    });
    Ok(())
}
