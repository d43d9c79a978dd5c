//! A journal directory as a crash, a bad disk or a second hub may leave it.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::stored::{hub_on, post, until_store_is};
use crate::support::postgres::Cluster;
use crate::support::{Hub, eventually, run_hub};

/// The only segment of a journal that anything was written to.
fn written_segment(hub: &Hub) -> PathBuf {
    let folder = fs::read_dir(hub.data_dir().join("journal")).expect("journals");
    let mut written: Vec<PathBuf> = folder
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| end_of_data(path) > HEADER_BYTES)
        .collect();
    assert_eq!(written.len(), 1, "{written:?}");
    written.remove(0)
}

/// Bytes before a segment's first block.
const HEADER_BYTES: u64 = 80;

/// Where a segment's zeros begin.
fn end_of_data(path: &PathBuf) -> u64 {
    let bytes = fs::read(path).expect("a segment");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

fn opened(path: &PathBuf) -> File {
    OpenOptions::new().write(true).open(path).expect("a segment")
}

/// Starts the hub on its directory, where it must not start; the one line that says why.
fn refused(hub: &Hub, url: &str) -> String {
    let dir = hub.data_dir().to_str().expect("a text path");
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", dir, "--database-url", url];
    let output = run_hub(&[&args[..], &["--log", "error"]].concat(), &[]);
    let text = String::from_utf8(output.stderr).expect("a text");
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

fn stored(cluster: &Cluster) -> Vec<String> {
    cluster.sql("hub", "SELECT content FROM chat_messages ORDER BY id COLLATE \"C\"")
}

/// A hub killed while its database is away, with this said and not stored.
fn killed_with_a_full_journal(
    cluster: &mut Cluster,
    messages: impl Iterator<Item = String>,
) -> (Hub, Vec<String>, String) {
    let mut hub = hub_on(cluster);
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    // The next run has a journal to itself, with nothing stored in it.
    hub.kill();
    hub.restart();
    until_store_is(&hub, "ready");
    eventually("the first run's journal is gone", || {
        let folder = fs::read_dir(hub.data_dir().join("journal")).expect("journals");
        let paths = folder.map(|entry| entry.expect("an entry").path());
        paths.into_iter().all(|path| end_of_data(&path) <= HEADER_BYTES).then_some(())
    });
    cluster.end("INT");
    let mut ana = hub.join(1, 1, "Ana");
    let (mut said, mut last) = (Vec::new(), String::new());
    for text in messages {
        ana.chat(&text);
        last = ana.next_of("chat")["data"]["id"].as_str().expect("an id").to_owned();
        said.push(text);
    }
    hub.kill();
    (hub, said, last)
}

pub fn a_second_hub_on_a_directory_is_turned_away_in_one_line() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    let line = refused(&hub, &cluster.url());
    assert!(line.trim_end().ends_with("in use by another hub"), "{line}");
    assert_eq!(post(&hub, (1, 2), "la primera sigue").0, 200);
}

pub fn a_torn_tail_is_cut_and_all_before_it_is_stored() {
    let mut cluster = Cluster::start(&[]);
    let texts = (0..30).map(|number| format!("m{number}"));
    let (mut hub, mut said, last) = killed_with_a_full_journal(&mut cluster, texts);
    let segment = written_segment(&hub);
    let end = end_of_data(&segment);
    opened(&segment).set_len(end - 3).expect("it is cut");
    said.pop();
    said.insert(0, "antes".into());
    cluster.restart();
    hub.restart();
    eventually("all before the tail is stored", || (stored(&cluster) == said).then_some(()));
    assert!(hub.log().contains("the torn tail of a journal was cut"), "{}", hub.log());
    let (status, message) = post(&hub, (1, 2), "después");
    assert_eq!(status, 200);
    assert!(message["id"].as_str().expect("an id") > last.as_str(), "members have seen it");
}

pub fn damage_in_the_middle_is_refused_with_its_offset() {
    let mut cluster = Cluster::start(&[]);
    let mut begun = None;
    // Long enough for many a sync, which later blocks tell of.
    let texts = (0..).map(|number| format!("m{number}"));
    let texts = texts.take_while(|_| {
        begun.get_or_insert_with(Instant::now).elapsed() < Duration::from_millis(500)
    });
    let (mut hub, mut said, _) = killed_with_a_full_journal(&mut cluster, texts);
    let segment = written_segment(&hub);
    let whole = fs::read(&segment).expect("a segment");
    // In the first block's records.
    let at = HEADER_BYTES + 24 + 10;
    let mut file = opened(&segment);
    file.seek(SeekFrom::Start(at)).expect("a place");
    file.write_all(&[whole[at as usize] ^ 1]).expect("a flipped bit");
    let line = refused(&hub, &cluster.url());
    let name = segment.file_name().expect("a name").to_str().expect("a text");
    let expected = format!("{name} is damaged at byte {HEADER_BYTES}:");
    assert!(line.contains(&expected), "{line}");
    assert_eq!(refused(&hub, &cluster.url()), line, "it says so each time");
    fs::write(&segment, whole).expect("the bit is put right");
    cluster.restart();
    hub.restart();
    said.insert(0, "antes".into());
    eventually("all is stored", || (stored(&cluster) == said).then_some(()));
}

pub fn a_journal_shorter_than_what_is_stored_loses_nothing() {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    let mut said = Vec::new();
    for number in 0..20 {
        let text = format!("m{number}");
        assert_eq!(post(&hub, (1, 2), &text).0, 200);
        said.push(text);
    }
    hub.kill();
    // As if a power cut had taken what was committed elsewhere.
    opened(&written_segment(&hub)).set_len(HEADER_BYTES + 40).expect("it is cut");
    for round in 0..2 {
        hub.restart();
        until_store_is(&hub, "ready");
        let text = format!("después {round}");
        assert_eq!(post(&hub, (1, 2), &text).0, 200);
        said.push(text);
        assert_eq!(stored(&cluster), said);
        hub.kill();
    }
}
