//! The tables of all that `/metrics` shows: names, kinds, what they are and what to watch.
//!
//! `docs/METRICS.md` is written from here, and tests hold a real hub's `/metrics` to it. A name
//! says its unit last (`_bytes`, `_seconds`); what a kind adds (`_total`, `_bucket`) is not in it.

/// What a number does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows; its name ends in `_total` on the wire.
    Counter,
    /// Goes up and down; all sources' values add up.
    Gauge,
    /// A gauge in microseconds, shown in seconds: the longest of all sources counts.
    Longest,
    /// How long things took; its samples are `_bucket`, `_sum` and `_count`.
    Histogram,
    /// Always 1, and says something by its labels; its name ends in `_info` on the wire.
    Info,
}

/// What is said of a metric, in `/metrics` and in `docs/METRICS.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct About {
    /// Its name, without what its kind adds.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it is.
    pub help: &'static str,
    /// What in it should make somebody look; may be empty.
    pub watch: &'static str,
}

impl About {
    /// The unit that its name ends with.
    pub fn unit(&self) -> Option<&'static str> {
        ["bytes", "seconds"]
            .into_iter()
            .find(|unit| self.name.strip_suffix(unit).is_some_and(|before| before.ends_with('_')))
    }

    /// Its name on the wire; that of a histogram is what its samples begin with.
    pub fn shown(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Info => format!("{}_info", self.name),
            Kind::Gauge | Kind::Longest | Kind::Histogram => self.name.to_owned(),
        }
    }
}

/// All metrics, in the order of `/metrics`.
pub fn all() -> impl Iterator<Item = &'static About> {
    let (numbers, latencies) = (Metric::ABOUT.iter(), Latency::ABOUT.iter());
    numbers.chain(latencies).chain(Family::ABOUT).chain(ProcessFigure::ABOUT)
}

macro_rules! metrics {
    ($(#[$doc:meta])* $enum:ident
        $($variant:ident $name:literal $kind:ident $([$($label:literal),*])?
            $help:literal $watch:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum $enum {
            $(#[doc = $help] $variant,)*
        }

        impl $enum {
            /// All of them, in the order of the table.
            pub const ALL: &'static [$enum] = &[$($enum::$variant,)*];
            /// What is said of them, in that order.
            pub const ABOUT: &'static [About] = &[$(About {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($($label),*)?],
                help: $help,
                watch: $watch,
            },)*];

            /// What is said of it.
            pub const fn about(self) -> &'static About {
                &Self::ABOUT[self as usize]
            }
        }
    };
}

metrics! {
    /// One number that the hub keeps.
    Metric
    Members "hub_members" Gauge
        "Connections that are in a space now"
        "its limit `connections_max`; a sudden fall";
    Spaces "hub_spaces" Gauge
        "Spaces that have members or a log"
        "";
    Joins "hub_joins" Counter
        "Connections that joined a space"
        "its rate beside that of `hub_leaves_total`: clients that come and go";
    Leaves "hub_leaves" Counter
        "Connections that left their space"
        "";
    MessagesReceived "hub_messages_received" Counter
        "Messages that clients sent over sockets"
        "";
    ReceivedBytes "hub_received_bytes" Counter
        "Bytes of those messages"
        "";
    ChatsAccepted "hub_chats_accepted" Counter
        "Chat messages accepted, over sockets and posts"
        "that it is not zero while people are there";
    ChatsDuplicate "hub_chats_duplicate" Counter
        "Chat messages answered with their first copy's id"
        "a rate near that of accepted chats: clients do not see their acks";
    FramesAppended "hub_frames_appended" Counter
        "Frames appended to space logs"
        "";
    Sends "hub_sends" Counter
        "Send calls to members' sockets"
        "sends for each frame: what fan-out costs";
    SentBytes "hub_sent_bytes" Counter
        "Bytes sent to members"
        "the bandwidth of the machine";
    DeflateInputBytes "hub_deflate_input_bytes" Counter
        "Bytes of frames that were compressed, each once for all who read them so"
        "";
    DeflateOutputBytes "hub_deflate_output_bytes" Counter
        "Bytes of those frames as they are sent"
        "its part of the input: what `compression` saves";
    SendsBlocked "hub_sends_blocked" Counter
        "Send calls that found the socket full"
        "its rate beside that of sends: readers that are too slow";
    MembersBlocked "hub_members_blocked" Gauge
        "Members whose socket is full now"
        "that it falls again";
    SpacePauses "hub_space_pauses" Counter
        "Times a space's publishers were paused for its readers"
        "a rate above zero: a space is said more in than its members can read";
    LogBytes "hub_log_bytes" Gauge
        "Bytes that space logs hold"
        "its limit `logs_bytes_max`";
    PrivateBytes "hub_private_bytes" Gauge
        "Bytes of private frames that wait"
        "";
    Resumes "hub_resumes" Counter
        "Joins that asked for what they missed"
        "a burst: many have lost their connection";
    ResumesIncomplete "hub_resumes_incomplete" Counter
        "Resumes with a hole, told to the client"
        "any: those clients have a gap, and know it";
    NotificationsPushed "hub_notifications_pushed" Counter
        "Notifications pushed to a user's sockets"
        "";
    InboxRefused "hub_inbox_refused" Counter
        "Commands refused because a shard's inbox was full"
        "any: a shard does not keep up with what the edge asks of it";
    Ticks "hub_ticks" Counter
        "Ticks of all shards, ten a second each"
        "a rate below ten for each shard: the machine gives it no time";
    JournalBytes "hub_journal_bytes" Gauge
        "Bytes of records that wait in journals"
        "that it falls again; `hub_journal_limit_bytes`";
    JournalDiskBytes "hub_journal_disk_bytes" Gauge
        "Bytes of journal segments, empty ones included"
        "the room on the disk of `data_dir`";
    JournalAppends "hub_journal_appends" Counter
        "Journal writes"
        "";
    JournalFaults "hub_journal_faults" Counter
        "Journal writes or flushes that failed"
        "any";
    ShardsRefusing "hub_shards_refusing" Gauge
        "Shards that refuse chat: journal full or broken, or the store awaited"
        "anything but 0: people cannot chat";
    ShardsAwaiting "hub_shards_awaiting_store" Gauge
        "Shards that refuse chat until the store takes it (`accept = stored`)"
        "anything but 0: people cannot chat";
    ChatsUnsecured "hub_chats_unsecured" Gauge
        "Chats that nobody is sent before the store has them (`accept = stored`)"
        "that it falls again: it grows while the store is slow or away";
    StoreLag "hub_store_lag_seconds" Longest
        "Age of the oldest chat of this run that the store has not committed"
        "more than a second for long: the store does not keep up, or is away";
    RowsStored "hub_rows_stored" Counter
        "Chat messages that the store has committed"
        "that it follows `hub_chats_accepted_total`";
    MessagesMissing "hub_messages_missing" Gauge
        "Stored messages that are gone, not acknowledged"
        "anything but 0: see `messages_missing`";
    RowsDead "hub_rows_dead_lettered" Counter
        "Chat messages that the store refused"
        "any: see `cpi-hub dead-letters`";
    DeadLetters "hub_dead_letters" Gauge
        "Refused messages that wait in the dead-letter file"
        "anything but 0 for long";
    DeadLetterBytes "hub_dead_letter_bytes" Gauge
        "Bytes of the dead-letter file"
        "its limit `dead_letters_bytes_max`";
    LettersUnkept "hub_dead_letters_unkept" Counter
        "Refused messages without room in that file"
        "any: those messages are nowhere";
    Batches "hub_store_batches" Counter
        "Transactions that the store committed"
        "";
    BatchFaults "hub_store_batch_faults" Counter
        "Transactions that failed and were tried again"
        "a rate above zero: the database refuses, or is away";
    ReadFaults "hub_store_read_faults" Counter
        "History queries that failed"
        "any: history cannot be read";
    HandshakesAccepted "hub_handshakes_accepted" Counter
        "Upgrades answered with 101"
        "";
    HandshakesDeflated "hub_handshakes_deflated" Counter
        "Upgrades that have agreed on permessage-deflate"
        "";
    EventStreams "hub_event_streams" Counter
        "Streams of events that were begun"
        "";
    Displaced "hub_connections_displaced" Counter
        "Connections closed to make room for others"
        "any: places are short, or somebody holds many open";
    HttpRequests "hub_http_requests" Counter
        "HTTP requests, upgrades included"
        "";
    OperatorRequests "hub_operator_requests" Counter
        "Kicks, pushes and lists of spaces asked for"
        "more than you ask for";
    HttpFaults "hub_http_faults" Counter
        "HTTP requests answered with a status of 500 or above"
        "a rate above zero";
    TlsFailed "hub_tls_handshakes_failed" Counter
        "Handshakes of TLS that failed, or took too long"
        "a rate: certificates that clients do not take, or a scanner";
    AnswersCut "hub_answers_cut" Counter
        "Connections closed whose peer did not take its answer"
        "a rate: clients that ask and do not read";
    LogLinesWaiting "hub_log_lines_waiting" Gauge
        "Log lines that are not written yet"
        "that it falls again";
    LogLinesLost "hub_log_lines_lost" Counter
        "Log lines that nobody took"
        "any";
    LoginsFailed "hub_logins_failed" Counter
        "Tokens and keys shown that are none"
        "a rate: tokens that have ended, or somebody who guesses";
    Unintroduced "hub_proxy_headers_missing" Counter
        "Proxies' connections without a PROXY header"
        "any: a proxy without `send-proxy`, or somebody beside it";
    OriginsRefused "hub_origins_refused" Counter
        "Requests refused for Origin or Host"
        "a rate after a change of names: see `origins` and `hosts`";
    SpansSent "hub_spans_sent" Counter
        "Spans that the collector of traces has taken"
        "";
    SpansLost "hub_spans_lost" Counter
        "Spans that no collector has: refused, or no room to wait"
        "any: `traces_unsent`, or more spans than it takes";
}

metrics! {
    /// Something whose duration is counted.
    Latency
    AcceptToSent "hub_accept_to_sent_seconds" Histogram
        "From a chat's acceptance until all in its space who read were sent it; one chat in 16"
        "p99: what people feel of a busy shard, or a space that is too big for one";
    DurableAck "hub_durable_ack_seconds" Histogram
        "From a chat's record in the journal until its shard heard of the store's commit"
        "p99: what senders wait for who ask for `durable`, and posts";
    Batch "hub_store_batch_seconds" Histogram
        "Transactions that the store committed"
        "p99: a slow database or disk";
    HistoryQuery "hub_history_query_seconds" Histogram
        "From a request for history until its rows were read, its wait for a turn included"
        "p99: what people wait for who open a chat";
    Resume "hub_resume_seconds" Histogram
        "From the join of a member that comes back until it was sent all that it missed"
        "p99, after a restart above all";
    Handshake "hub_handshake_seconds" Histogram
        "From a whole upgrade request, or a first message with a token, until the member is in"
        "p99: a busy edge, or costly signatures of tokens";
}

metrics! {
    /// Something that is told apart by labels, or is found when somebody asks.
    Family
    Build "hub_build" Info ["version", "commit"] "What is running" "";
    Ready "hub_ready" Gauge
        "1 while `/readyz` answers 200, 0 while it answers 503"
        "0: people cannot connect or chat";
    JournalLimit "hub_journal_limit_bytes" Gauge
        "Bytes that may wait in journals, `journal_bytes_max`: chat is refused at that"
        "`hub_journal_bytes` over it";
    MembersLimit "hub_members_limit" Gauge
        "Members that the hub lets in at most: `connections_max`, or what memory and files allow"
        "`hub_members` over it";
    Rejects "hub_rejects" Counter ["code"]
        "Refusals, by code"
        "a rate of any; [CODES.md](CODES.md) has each code";
    Closes "hub_closes" Counter ["reason"]
        "Ends of members' connections, by reason"
        "`too_slow`, `too_fast`, `internal`; [CODES.md](CODES.md) has each reason";
    Panics "hub_panics" Counter ["part"]
        "Bugs met by parts that were closed or begun anew, by part"
        "any: report it with the log";
    StoreState "hub_store_state" Gauge ["state"]
        "What the store is doing: 1 at its state"
        "`behind` or `refused` for long";
    Conditions "hub_condition" Gauge ["name", "effect"]
        "What is wrong: 1 at each condition that holds"
        "1 at any; `effect` says whether it is `noted`, `degraded` or `refusing`";
}

metrics! {
    /// A figure of the process, by the names that all exporters use.
    ProcessFigure
    CpuSeconds "process_cpu_seconds" Counter
        "Time that the process has used of the processors"
        "a rate near the number of cores";
    StartTime "process_start_time_seconds" Gauge
        "When the process was started, in seconds since 1970"
        "a change: it was started anew";
    Resident "process_resident_memory_bytes" Gauge
        "Memory that the process has in use"
        "the limit of its group or machine";
    Virtual "process_virtual_memory_bytes" Gauge "Addresses that the process has taken" "";
    OpenFds "process_open_fds" Gauge
        "Descriptors that are open"
        "`process_open_fds / process_max_fds` above 0.9";
    MaxFds "process_max_fds" Gauge "Descriptors that may be open" "";
    Threads "process_threads" Gauge "Threads of the process" "";
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
    Search "search" "The thread that fills the embedded database's index of words.";
    Reader "reader" "A connection that reads history, or its thread.";
    Journal "journal" "The thread that makes the journals' segments.";
    Flush "flush" "The thread that flushes the journals.";
}
