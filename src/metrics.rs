//! Every metric: its name, kind and help in one table, counted in plain numbers.
//!
//! A shard counts in its own [`Counts`] and publishes them once a turn by relaxed stores; the
//! edge and the store count straight into a [`Published`]. The edge reads all of them when
//! `/metrics` is asked for. No label ever holds a user, a space or an address.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

use crate::wire::close::Close;
use crate::wire::reject::Reject;

/// Whether a number only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows; its name ends in `_total` on the wire.
    Counter,
    /// Goes up and down; all sources' values add up.
    Gauge,
}

macro_rules! metrics {
    ($($variant:ident $name:literal $kind:ident $help:literal;)*) => {
        /// One number that the hub keeps.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant,)*];

            /// Name without prefix (`hub_`), kind and help.
            pub fn describe(self) -> (&'static str, Kind, &'static str) {
                match self {
                    $(Metric::$variant => ($name, Kind::$kind, $help),)*
                }
            }
        }
    };
}

metrics! {
    Members "members" Gauge "Connections that are in a space now";
    Spaces "spaces" Gauge "Spaces that have members or a log";
    Joins "joins" Counter "Connections that joined a space";
    Leaves "leaves" Counter "Connections that left their space";
    MessagesReceived "messages_received" Counter "Messages that clients sent over sockets";
    ReceivedBytes "received_bytes" Counter "Bytes of those messages";
    ChatsAccepted "chats_accepted" Counter "Chat messages accepted, over sockets and posts";
    ChatsDuplicate "chats_duplicate" Counter "Chat messages answered with their first copy's id";
    FramesAppended "frames_appended" Counter "Frames appended to space logs";
    Sends "sends" Counter "Send calls to members' sockets";
    SentBytes "sent_bytes" Counter "Bytes sent to members";
    SendsBlocked "sends_blocked" Counter "Send calls that found the socket full";
    MembersBlocked "members_blocked" Gauge "Members whose socket is full now";
    SpacePauses "space_pauses" Counter "Times a space's publishers were paused for its readers";
    LogBytes "log_bytes" Gauge "Bytes that space logs hold";
    PrivateBytes "private_bytes" Gauge "Bytes of private frames that wait";
    Resumes "resumes" Counter "Joins that asked for what they missed";
    ResumesIncomplete "resumes_incomplete" Counter "Resumes with a hole, told to the client";
    NotificationsPushed "notifications_pushed" Counter "Notifications pushed to a user's sockets";
    InboxRefused "inbox_refused" Counter "Commands refused because a shard's inbox was full";
    Ticks "ticks" Counter "Ticks of all shards, ten a second each";
    JournalBytes "journal_bytes" Gauge "Bytes of records that wait in journals";
    JournalDiskBytes "journal_disk_bytes" Gauge "Bytes of journal segments, empty ones included";
    JournalAppends "journal_appends" Counter "Journal writes";
    JournalFaults "journal_faults" Counter "Journal writes or flushes that failed";
    ShardsRefusing "shards_refusing" Gauge "Shards that refuse chat: journal full or broken";
    RowsStored "rows_stored" Counter "Chat messages that the store has committed";
    MessagesMissing "messages_missing" Gauge "Stored messages that are gone, not acknowledged";
    RowsDead "rows_dead_lettered" Counter "Chat messages that the store refused";
    DeadLetters "dead_letters" Gauge "Refused messages that wait in the dead-letter file";
    DeadLetterBytes "dead_letter_bytes" Gauge "Bytes of the dead-letter file";
    LettersUnkept "dead_letters_unkept" Counter "Refused messages without room in that file";
    Batches "store_batches" Counter "Transactions that the store committed";
    BatchFaults "store_batch_faults" Counter "Transactions that failed and were tried again";
    ReadFaults "store_read_faults" Counter "History queries that failed";
    BatchMicros "store_batch_microseconds" Counter "Time spent in committed transactions";
    HandshakesAccepted "handshakes_accepted" Counter "Upgrades answered with 101";
    EventStreams "event_streams" Counter "Streams of events that were begun";
    Displaced "connections_displaced" Counter "Connections closed to make room for others";
    HttpRequests "http_requests" Counter "HTTP requests, upgrades included";
    OperatorRequests "operator_requests" Counter "Kicks, pushes and lists of spaces asked for";
    HttpFaults "http_faults" Counter "HTTP requests answered with a status of 500 or above";
    TlsFailed "tls_handshakes_failed" Counter "Handshakes of TLS that failed, or took too long";
    AnswersCut "answers_cut" Counter "Connections closed whose peer did not take its answer";
    LogLinesWaiting "log_lines_waiting" Gauge "Log lines that are not written yet";
    LogLinesLost "log_lines_lost" Counter "Log lines that nobody took";
    LoginsFailed "logins_failed" Counter "Tokens and keys shown that are none";
    Unintroduced "proxy_headers_missing" Counter "Proxies' connections without a PROXY header";
    OriginsRefused "origins_refused" Counter "Requests refused for Origin or Host";
}

macro_rules! parts {
    ($($variant:ident $name:literal $about:literal;)*) => {
        /// A part of the hub whose panic does not end the hub at once.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum Part {
            $(#[doc = $about] $variant,)*
        }

        impl Part {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Part] = &[$(Part::$variant,)*];

            /// What it is called in `/metrics`.
            pub fn name(self) -> &'static str {
                match self { $(Part::$variant => $name,)* }
            }
        }
    };
}

parts! {
    Connection "connection" "A connection that is no member's: handshake, request, answer.";
    Shard "shard" "A shard, with its spaces and members.";
    Store "store" "The thread that stores what the journals hold.";
    Checkpoint "checkpoint" "The thread that moves the embedded database's log into its file.";
    Reader "reader" "A connection that reads history, or its thread.";
    Journal "journal" "The thread that makes the journals' segments.";
    Flush "flush" "The thread that flushes the journals.";
}

/// Not in a build that measures what counting costs.
const COUNTS: bool = !cfg!(measure_no_metrics);

const METRICS: usize = Metric::ALL.len();
const REJECTS: usize = METRICS + Reject::KINDS;
const NUMBERS: usize = REJECTS + Close::KINDS;

/// The numbers of one source, in plain memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts([u64; NUMBERS]);

impl Default for Counts {
    fn default() -> Counts {
        Counts([0; NUMBERS])
    }
}

impl Counts {
    /// Adds to a counter or a gauge.
    pub fn add(&mut self, metric: Metric, amount: u64) {
        if COUNTS {
            self.0[metric as usize] = self.0[metric as usize].wrapping_add(amount);
        }
    }

    /// Takes from a gauge.
    pub fn sub(&mut self, metric: Metric, amount: u64) {
        if COUNTS {
            self.0[metric as usize] = self.0[metric as usize].wrapping_sub(amount);
        }
    }

    /// Sets a gauge.
    pub fn set(&mut self, metric: Metric, value: u64) {
        if COUNTS {
            self.0[metric as usize] = value;
        }
    }

    /// Counts a refusal.
    pub fn reject(&mut self, reject: Reject) {
        self.0[METRICS + reject.kind()] += 1;
    }

    /// Counts the end of a connection.
    pub fn close(&mut self, close: Close) {
        self.0[REJECTS + close.kind()] += 1;
    }

    /// One number.
    pub fn get(&self, metric: Metric) -> u64 {
        self.0[metric as usize]
    }

    /// Refusals of one kind.
    pub fn rejects(&self, kind: usize) -> u64 {
        self.0[METRICS..REJECTS][kind]
    }

    /// Closes of one kind.
    pub fn closes(&self, kind: usize) -> u64 {
        self.0[REJECTS..][kind]
    }

    /// Adds another source's numbers.
    pub fn merge(&mut self, other: &Counts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.wrapping_add(theirs);
        }
    }
}

/// The numbers of one source, where other threads can read them.
#[derive(Debug)]
pub struct Published(CachePadded<[AtomicU64; NUMBERS]>);

impl Default for Published {
    fn default() -> Published {
        Published(CachePadded::new([const { AtomicU64::new(0) }; NUMBERS]))
    }
}

impl Published {
    /// Shows a shard's numbers as they are now; the shard is the only writer.
    pub fn publish(&self, counts: &Counts) {
        if COUNTS {
            for (cell, value) in self.0.iter().zip(counts.0) {
                cell.store(value, Relaxed);
            }
        }
    }

    /// Adds to a counter or gauge, from any thread.
    pub fn add(&self, metric: Metric, amount: u64) {
        self.0[metric as usize].fetch_add(amount, Relaxed);
    }

    /// Takes from a gauge, from any thread.
    pub fn sub(&self, metric: Metric, amount: u64) {
        self.0[metric as usize].fetch_sub(amount, Relaxed);
    }

    /// Sets a gauge, from any thread.
    pub fn set(&self, metric: Metric, value: u64) {
        self.0[metric as usize].store(value, Relaxed);
    }

    /// Counts a refusal, from any thread.
    pub fn reject(&self, reject: Reject) {
        self.0[METRICS + reject.kind()].fetch_add(1, Relaxed);
    }

    /// Counts the end of a connection, from any thread.
    pub fn close(&self, close: Close) {
        self.0[REJECTS + close.kind()].fetch_add(1, Relaxed);
    }

    /// The numbers as they are now, each by itself.
    pub fn read(&self) -> Counts {
        let mut counts = Counts::default();
        for (value, cell) in counts.0.iter_mut().zip(self.0.iter()) {
            *value = cell.load(Relaxed);
        }
        counts
    }
}

/// All sources: one a shard, one for the edge, one for the store.
#[derive(Debug, Default)]
pub struct Metrics {
    /// One a shard, in order.
    pub shards: Vec<Published>,
    /// Counted by the edge.
    pub edge: Published,
    /// Counted by the batcher and the journal's flusher.
    pub store: Published,
    panics: [AtomicU64; Part::ALL.len()],
}

impl Metrics {
    /// Numbers for this number of shards, all zero.
    pub fn new(shards: usize) -> Metrics {
        let shards = (0..shards).map(|_| Published::default()).collect();
        Metrics { shards, ..Metrics::default() }
    }

    /// Counts a panic, from any thread.
    pub fn panicked(&self, part: Part) {
        self.panics[part as usize].fetch_add(1, Relaxed);
    }

    /// How often each part has panicked.
    pub fn panics(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Part::ALL.iter().map(|part| (part.name(), self.panics[*part as usize].load(Relaxed)))
    }

    /// All sources added up.
    pub fn total(&self) -> Counts {
        let mut total = self.edge.read();
        total.merge(&self.store.read());
        for shard in &self.shards {
            total.merge(&shard.read());
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_add_up_and_kinds_stay_apart() {
        let metrics = Metrics::new(2);
        let mut counts = Counts::default();
        counts.add(Metric::Members, 3);
        counts.sub(Metric::Members, 1);
        counts.reject(Reject::Internal);
        counts.close(Close::Gone);
        metrics.shards[0].publish(&counts);
        metrics.shards[1].publish(&counts);
        metrics.edge.reject(Reject::Internal);
        let total = metrics.total();
        assert_eq!(total.get(Metric::Members), 4);
        assert_eq!(total.rejects(Reject::Internal.kind()), 3);
        assert_eq!(total.closes(Close::Gone.kind()), 2);
        assert_eq!(total.closes(Close::Kicked.kind()), 0);
    }
}
