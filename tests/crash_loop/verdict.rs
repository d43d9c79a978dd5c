//! What was written down, held against the table.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::book::{Id, Receiver, Sender, id, number};
use super::talker::PUBLISH_ONCE_SURVIVES_KILLS;
use crate::support::postgres::Cluster;

/// A message as it is stored.
struct Row {
    space: i32,
    id: Id,
    text: String,
}

/// The figures of a run. All but the first rows are to be 0.
#[derive(Debug, Default)]
pub struct Verdict {
    sent: usize,
    accepted: usize,
    durable: usize,
    received: usize,
    stored: usize,
    refused: usize,
    /// Accepted, and not stored under its id with its text, nor named as missing.
    lost: usize,
    /// Accepted, not stored, and among what the hub has named as missing.
    named: usize,
    /// Named as missing beyond those.
    named_beyond: usize,
    /// Received by a member, and not stored.
    lost_seen: usize,
    /// Told as durable, and not stored right after a kill of both.
    pub durable_broken: usize,
    /// Stored more often than it was sent to different runs of the hub.
    doubled: usize,
    /// Stored again because it was sent again to another run.
    doubled_by_resend: usize,
    /// Told under two ids.
    renamed: usize,
    /// Refused, and stored.
    refused_but_stored: usize,
    /// Ids that a member got out of order, or that it should have got between two others.
    disordered: usize,
    /// Messages of one sender that are not in the order in which they were sent.
    overtaken: usize,
    /// Ids whose time is below that of the id before.
    fell: usize,
    /// Messages that nobody sent.
    foreign: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} sent, {} accepted, {} durable, {} received, {} stored, {} refused; lost {} \
             ({} more named as missing), \
             doubled {}, doubled by resend {}, durable broken {}, out of order {}",
            self.sent,
            self.accepted,
            self.durable,
            self.received,
            self.stored,
            self.refused,
            self.lost + self.lost_seen,
            self.named,
            self.doubled,
            self.doubled_by_resend,
            self.durable_broken,
            self.disordered + self.overtaken + self.fell,
        )
    }
}

impl Verdict {
    /// Holds what clients know against what the database has.
    pub fn reach(
        cluster: &Cluster,
        (senders, receivers): (&[Sender], &[Receiver]),
        known: &Known,
    ) -> Verdict {
        let holes = &known.holes;
        let rows = rows(cluster);
        let mut verdict = Verdict { stored: rows.len(), ..Verdict::default() };
        let at: HashMap<Id, usize> =
            rows.iter().enumerate().map(|(index, row)| (row.id, index)).collect();
        verdict.copies(&rows, senders, known);
        for sender in senders {
            verdict.sender(&rows, &at, (sender, holes));
        }
        verdict.named_beyond = holes.messages.saturating_sub(verdict.named);
        for receiver in receivers {
            verdict.receiver(&rows, &at, (receiver, holes));
        }
        let fell = "SELECT count(*) FROM (SELECT timestamp < lag(timestamp) OVER \
                    (PARTITION BY space_id ORDER BY id COLLATE \"C\") AS fell \
                    FROM chat_messages) AS times WHERE fell";
        verdict.fell = cluster.sql("hub", fell)[0].parse().expect("a number");
        verdict
    }

    /// Panics unless all is as it was promised.
    pub fn hold(&self) {
        let by_resend = if PUBLISH_ONCE_SURVIVES_KILLS { self.doubled_by_resend } else { 0 };
        let renamed = if PUBLISH_ONCE_SURVIVES_KILLS { self.renamed } else { 0 };
        let faults = [
            self.lost,
            self.lost_seen,
            self.named_beyond,
            self.durable_broken,
            self.doubled,
            by_resend,
            renamed,
            self.refused_but_stored,
            self.disordered,
            self.overtaken,
            self.fell,
            self.foreign,
        ];
        assert!(faults.iter().all(|count| *count == 0), "{self:#?}");
        assert!(self.stored > 0 && self.durable > 0, "{self:#?}");
    }

    /// Counts the copies of each text, and looks at the order of their first ones.
    fn copies(&mut self, rows: &[Row], senders: &[Sender], known: &Known) {
        let mut stored: HashMap<(&str, usize), usize> = HashMap::new();
        let mut latest: HashMap<&str, usize> = HashMap::new();
        for row in rows {
            let Some((name, number)) = number(&row.text) else {
                self.foreign += 1;
                continue;
            };
            let copies = stored.entry((name, number)).or_default();
            *copies += 1;
            let last = latest.entry(name).or_default();
            self.overtaken += usize::from(*copies == 1 && number < *last);
            *last = number.max(*last);
        }
        for sender in senders {
            for (number, message) in sender.messages.iter().enumerate() {
                let copies = stored.remove(&(sender.name.as_str(), number)).unwrap_or(0);
                let mut runs = message.runs.clone();
                runs.dedup();
                let beyond = copies.saturating_sub(runs.len());
                self.doubled += beyond;
                // Publish once holds for the hubs of one data directory.
                let to_others = runs.iter().filter(|run| known.others.contains(run)).count();
                if to_others == 0 || to_others == runs.len() {
                    self.doubled_by_resend += copies.saturating_sub(1) - beyond;
                    self.renamed += usize::from(message.renamed);
                }
                // A message that was sent twice may have been accepted without anybody's knowledge.
                let refused = message.refused && message.runs.len() == 1;
                self.refused_but_stored += usize::from(refused && copies > 0);
            }
        }
        self.foreign += stored.len();
    }

    fn sender(
        &mut self,
        rows: &[Row],
        at: &HashMap<Id, usize>,
        (sender, holes): (&Sender, &Holes),
    ) {
        self.sent += sender.messages.len();
        for (number, message) in sender.messages.iter().enumerate() {
            self.durable += usize::from(message.durable);
            self.refused += usize::from(message.refused);
            let Some(id) = message.accepted else { continue };
            self.accepted += 1;
            let row = at.get(&id).map(|index| &rows[*index]);
            let is_it = |row: &Row| row.space == sender.space && row.text == sender.text(number);
            let is_named = row.is_none() && holes.name(&id);
            self.named += usize::from(is_named);
            self.lost += usize::from(!is_named && !row.is_some_and(is_it));
        }
    }

    /// Over a connection, a member gets exactly the space's rows from the first to the last.
    fn receiver(
        &mut self,
        rows: &[Row],
        at: &HashMap<Id, usize>,
        (receiver, holes): (&Receiver, &Holes),
    ) {
        let mut last: Option<usize> = None;
        for stretch in &receiver.stretches {
            let mut goes_on = stretch.goes_on;
            for id in &stretch.ids {
                self.received += 1;
                let Some(index) = at.get(id).copied() else {
                    self.lost_seen += usize::from(!holes.name(id));
                    continue;
                };
                let in_order = match last {
                    Some(last) if goes_on => index == last + 1,
                    Some(last) => index > last,
                    None => true,
                };
                self.disordered += usize::from(!in_order || rows[index].space != receiver.space);
                (last, goes_on) = (Some(index), true);
            }
        }
    }
}

/// What the test knows of a run beside what clients have written down.
#[derive(Debug, Default)]
pub struct Known {
    /// What the hub has named as missing.
    pub holes: Holes,
    /// Runs of hubs with another data directory.
    pub others: Vec<u32>,
}

/// What the hub has named as missing.
#[derive(Debug, Default)]
pub struct Holes {
    /// From which id to which.
    stretches: Vec<(Id, Id)>,
    /// How many in all.
    messages: usize,
}

impl Holes {
    /// Reads a data directory's.
    pub fn read(data_dir: &Path) -> Holes {
        let text = std::fs::read_to_string(data_dir.join("holes.jsonl")).unwrap_or_default();
        let mut holes = Holes::default();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(line["count"], "exact", "{line}");
            let end = |name: &str| id(line[name].as_str().expect("an id"));
            holes.stretches.push((end("first_id"), end("last_id")));
            let messages = line["messages"].as_u64().expect("a number");
            holes.messages += usize::try_from(messages).expect("not so many");
        }
        holes
    }

    fn name(&self, id: &Id) -> bool {
        self.stretches.iter().any(|(first, last)| first <= id && id <= last)
    }
}

fn rows(cluster: &Cluster) -> Vec<Row> {
    let sql = "SELECT space_id, id, content FROM chat_messages ORDER BY space_id, id COLLATE \"C\"";
    let row = |line: String| {
        let mut columns = line.splitn(3, '|');
        let mut column = || columns.next().expect("three columns");
        let space = column().parse().expect("a space");
        Row { space, id: id(column()), text: column().to_owned() }
    };
    cluster.sql("hub", sql).into_iter().map(row).collect()
}

/// How many of these ids are not in the table now.
pub fn missing(cluster: &Cluster, ids: &[Id]) -> usize {
    const AT_ONCE: usize = 2_000;
    let missing = |ids: &[Id]| {
        let ids: Vec<&str> =
            ids.iter().map(|id| std::str::from_utf8(id).expect("letters and digits")).collect();
        let sql = format!(
            "SELECT count(*) FROM unnest('{{{}}}'::text[]) AS told(id) WHERE NOT EXISTS \
             (SELECT 1 FROM chat_messages AS stored WHERE stored.id = told.id)",
            ids.join(",")
        );
        cluster.sql("hub", &sql)[0].parse::<usize>().expect("a number")
    };
    ids.chunks(AT_ONCE).map(missing).sum()
}
