//! A disk that fails under the journal: strace makes the hub's system calls end in EIO.

use cpi_hub::conditions::Condition;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::stored::{hub_on, post, until_store_is};
use crate::support::health::{begun_anew, planted};
use crate::support::postgres::Cluster;
use crate::support::trials::{Lack, Outcome};
use crate::support::{Hub, eventually, frame};

/// Makes a system call of a hub fail for as long as it lives.
pub struct Failing(Child);

impl Failing {
    /// Every such call of the hub's, or those on one file.
    pub fn start(hub: &Hub, call: &str, file: Option<&Path>) -> Result<Failing, Lack> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-p", &hub.pid().to_string()]);
        if let Some(file) = file {
            strace.arg("-P").arg(file);
        }
        Failing::inject(strace, call, "EIO")
    }

    /// Such calls of the hub's thread of that name, with this error.
    pub fn start_in_thread(
        hub: &Hub,
        name: &str,
        calls: &str,
        error: &str,
    ) -> Result<Failing, Lack> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", hub.pid())).expect("its threads");
        let named = |task: &std::path::PathBuf| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks.map(|entry| entry.expect("a thread").path()).find(named);
        let task = task.expect("a thread of that name");
        let mut strace = Command::new("strace");
        strace.arg("-p").arg(task.file_name().expect("its number"));
        Failing::inject(strace, calls, error)
    }

    fn inject(mut strace: Command, calls: &str, error: &str) -> Result<Failing, Lack> {
        strace.args(["-o", "/dev/null", "-e", &format!("trace={calls}")]);
        strace.args(["-e", &format!("inject={calls}:error={error}")]);
        let lack = || Lack("strace is missing, or must not look at the hub".into());
        let mut child = strace.stderr(Stdio::piped()).spawn().map_err(|_| lack())?;
        let told = BufReader::new(child.stderr.take().expect("it is piped"));
        match told.lines().map_while(Result::ok).any(|line| line.contains(" attached")) {
            true => Ok(Failing(child)),
            false => Err(lack()),
        }
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // At its end strace lets go of the hub, which goes on.
        let pid = self.0.id().to_string();
        _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        _ = self.0.wait();
    }
}

fn ids(hub: &Hub) -> Vec<serde_json::Value> {
    hub.history(1).iter().map(|row| row["id"].clone()).collect()
}

pub fn a_flush_that_fails_ends_the_hub_and_loses_nothing() -> Outcome {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    let mut ana = hub.join(1, 1, "Ana");
    let mut known = vec![post(&hub, (1, 2), "antes").1["id"].clone()];
    let failing = Failing::start(&hub, "fdatasync", None)?;
    // The flush that fails may come before this is sent, seen or read.
    let chat = json!({"type": "chat", "data": {"content": "durante"}}).to_string();
    _ = ana.stream().write_all(&frame(0x81, chat.as_bytes()));
    let (texts, _) = ana.until_closed();
    let seen = texts.iter().find(|text| text.contains("durante"));
    let seen: Option<serde_json::Value> =
        seen.map(|text| serde_json::from_str(text).expect("a message"));
    known.extend(seen.map(|chat| chat["data"]["id"].clone()));
    let status = hub.wait();
    drop(failing);
    assert!(!status.success(), "{status}");
    assert!(hub.log().contains("flush the journal"), "{}", hub.log());
    hub.restart();
    eventually("what was seen is stored", || ids(&hub).starts_with(&known).then_some(()));
    assert_eq!(post(&hub, (1, 2), "después").0, 200);
    Ok(())
}

pub fn a_write_that_fails_is_seen_by_nobody_and_stops_chat_until_a_restart() -> Outcome {
    let cluster = Cluster::start(&[]);
    let url = cluster.url();
    let mut hub = Hub::start(&["--database-url", &url, "--shards", "1"]);
    let (ana, mut leo) = (hub.join(1, 1, "Ana"), hub.join_v1(1, 2, ""));
    let mut known = vec![post(&hub, (1, 2), "antes").1["id"].clone()];
    let journal = std::fs::read_dir(hub.data_dir().join("journal")).expect("a journal");
    let mut segments: Vec<_> = journal.map(|entry| entry.expect("an entry").path()).collect();
    segments.retain(|path| path.to_string_lossy().ends_with("00000000.segment"));
    let failing = Failing::start(&hub, "pwrite64", Some(&segments[0]))?;
    let data = json!({"content": "durante", "nonce": "a", "ack": "accepted"});
    leo.send(&json!({"type": "chat", "data": data}).to_string());
    let (texts, how) = leo.until_closed();
    assert_eq!(how.code, Some(1011), "{how:?}");
    assert!(!texts.iter().any(|text| text.contains("durante")), "{texts:?}");
    let (texts, how) = ana.until_closed();
    assert_eq!(how.code, Some(1011), "{how:?}");
    assert!(!texts.iter().any(|text| text.contains("durante")), "{texts:?}");
    drop(failing);
    // Whatever the disk says now: what it holds is not known.
    assert_eq!(post(&hub, (1, 2), "durante").0, 503);
    planted(&hub, Condition::JournalBroken);
    assert_eq!(hub.get("/v1/messages?space_id=1").status, 200, "all else goes on");
    hub.kill();
    hub.restart();
    until_store_is(&hub, "ready");
    begun_anew(&hub, Condition::JournalBroken);
    known.push(post(&hub, (1, 2), "después").1["id"].clone());
    assert_eq!(ids(&hub), known);
    Ok(())
}
