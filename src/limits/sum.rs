//! What a configuration can cost in memory at most, part by part.
//!
//! Pure: computed from the bounds. A bound that neither a part nor the list of the tests names
//! fails a test, so that no new bound is forgotten here. What is the same in every hub and small
//! (code, stacks, the buffers of a shard's thread, the caches of a database) is left out, and so is
//! what a member that takes bytes is owed for a moment beyond `private_bytes_max`, until the sweep
//! comes to it in the same turn.

use super::{
    ABSENT_MAX, CATCH_UP_QUERIES_MAX, CATCH_UP_ROWS_MAX, COMINGS_MAX, COMMIT_WAITS_MAX,
    CONNECTION_BYTES, DEFLATE_BYTES, DEFLATED_EXTRA_BYTES, HIDDEN_BYTES_MAX, INFLATED_KEPT_BYTES,
    LOG_BYTES_MAX, Limits, MARKS_MAX, MEMBER_RECEIVE_BYTES_MAX, NONCE_BYTES_MAX, OFFENDERS_MAX,
    PAST_SAMPLES_MAX, READER_QUEUE_MAX, REFERENCES_MAX, SEALED_BYTES_MAX, SEGMENT_BYTES_MAX,
    SESSION_BYTES, TAIL_WINDOW_BYTES, TOTALS_MAX, TRIMMED_PIECES_MAX, VERDICTS_MAX, places_for,
};

/// Something that takes memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryPart {
    /// What takes it.
    pub name: &'static str,
    /// How much at most, over the whole hub.
    pub bytes: u64,
    /// The bounds that say so, the one to change first.
    pub bounds: &'static str,
}

/// HTTP's state for a request under way, beside its head.
const REQUEST_BYTES: u64 = 8 << 10;
/// A command in an inbox, beside the texts that it carries.
const COMMAND_BYTES: u64 = 256;
/// A nonce with its first message, in a queue and a table that may both be half empty.
const NONCE_ENTRY_BYTES: u64 = 176;
/// An entry of a map by number, which may be half empty.
const MAP_ENTRY_BYTES: u64 = 64;
/// A member's question for a page of what it missed, queued and in the table of who waits.
const CATCH_UP_QUESTION_BYTES: u64 = 256;
/// A post or an ack that waits for a commit, with its nonce.
const WAIT_BYTES: u64 = 256;
/// A row on its way to the store, beside its texts.
const ROW_BYTES: u64 = 256;
/// A batch is held as records, as rows, and as what the store is sent.
const BATCH_COPIES: u64 = 3;
/// A verdict that waits for its shard; a question that waits for the store; what is told of an
/// unlinked segment.
const STORE_ENTRY_BYTES: u64 = 256;
/// A coming or a going that an operator may ask for.
const COMING_BYTES: u64 = 96;
/// A sample of the hub's numbers.
const SAMPLE_BYTES: u64 = 256;
/// Connections that read from the store, each with members' questions and pages.
const READERS: u64 = 3;
/// The kernel takes twice what a socket's buffer is set to.
const KERNEL_TIMES: u64 = 2;

/// The parts of a hub with this many shards, in the order in which people look for them. No
/// product overflows: the ranges of the settings are too small for that.
pub fn memory(limits: &Limits, shards: usize, has_tls: bool) -> Vec<MemoryPart> {
    let mut parts = vec![part("space logs", limits.logs_bytes_max as u64, "logs_bytes_max")];
    parts.extend(of_connections(limits));
    if has_tls {
        parts.push(of_tls(limits));
    }
    parts.extend(of_shards(limits, shards as u64));
    parts
}

fn part(name: &'static str, bytes: u64, bounds: &'static str) -> MemoryPart {
    MemoryPart { name, bytes, bounds }
}

/// Bytes of a chat's texts at most.
fn chat_bytes(limits: &Limits) -> u64 {
    let characters = limits.content_chars_max + limits.username_chars_max;
    4 * characters as u64 + limits.image_bytes_max as u64
}

/// What members and requests cost.
fn of_connections(limits: &Limits) -> Vec<MemoryPart> {
    let members = limits.connections_max as u64;
    let places = places_for(limits.connections_max) as u64;
    let name = 4 * limits.username_chars_max as u64;
    let head = limits.head_bytes_max as u64;
    let message = limits.message_bytes_max as u64;
    let deflated = limits.compression > 0;
    let deflated = if deflated { message / 8 + DEFLATED_EXTRA_BYTES as u64 } else { 0 };
    let unsent = KERNEL_TIMES * limits.send_buffer_bytes as u64;
    let unread = KERNEL_TIMES * MEMBER_RECEIVE_BYTES_MAX as u64;
    let private = members * limits.private_bytes_max as u64;
    vec![
        part("private frames of members", private, "private_bytes_max, connections_max"),
        part(
            "messages still coming",
            members * (message + deflated),
            "connections_max, message_bytes_max, DEFLATED_EXTRA_BYTES",
        ),
        part("names of members", members * name, "connections_max, username_chars_max"),
        part("connections", places * CONNECTION_BYTES, "connections_max, CONNECTION_BYTES"),
        part("unsent in the kernel", places * unsent, "send_buffer_bytes, connections_max"),
        part(
            "unread of members in the kernel",
            members * unread,
            "connections_max, MEMBER_RECEIVE_BYTES_MAX",
        ),
        part("heads still coming", limits.heads_bytes_max as u64, "heads_bytes_max"),
        part(
            "requests under way",
            places * (REQUEST_BYTES + head),
            "connections_max, head_bytes_max",
        ),
        part("request bodies", limits.bodies_bytes_max as u64, "bodies_bytes_max"),
        part("answers", limits.answers_bytes_max as u64, "answers_bytes_max"),
        part("questions of who catches up", members * CATCH_UP_QUESTION_BYTES, "connections_max"),
    ]
}

/// What TLS of clients costs. What a handshake takes is less than what comes after it.
fn of_tls(limits: &Limits) -> MemoryPart {
    let places = places_for(limits.connections_max) as u64;
    // What comes and is not whole, what is opened and not read, and what is sealed.
    let under_way = HIDDEN_BYTES_MAX as u64 + 2 * SEALED_BYTES_MAX as u64;
    part(
        "TLS of connections",
        places * (SESSION_BYTES + under_way),
        "connections_max, SESSION_BYTES, HIDDEN_BYTES_MAX, SEALED_BYTES_MAX",
    )
}

/// What shards, their journals and the store cost.
fn of_shards(limits: &Limits, shards: u64) -> Vec<MemoryPart> {
    let chat = chat_bytes(limits);
    let head = limits.head_bytes_max as u64;
    let command = (chat + NONCE_BYTES_MAX as u64).max(limits.body_bytes_max as u64).max(head);
    let commands = shards * limits.inbox_commands_max as u64;
    let catch_up_rows = CATCH_UP_QUERIES_MAX as u64 * u64::from(CATCH_UP_ROWS_MAX);
    let rates = (2 + 2 * shards) * limits.rate_buckets_max as u64;
    let batch = limits.batch_bytes_max as u64 + limits.batch_rows_max as u64 * ROW_BYTES;
    // The records of a turn fill two segments at most, and are held plain and as they are written.
    let journal = 2 * 2 * SEGMENT_BYTES_MAX + TAIL_WINDOW_BYTES;
    let verdicts = shards * VERDICTS_MAX as u64 + TRIMMED_PIECES_MAX as u64;
    let references = REFERENCES_MAX as u64 + shards * 2 * ABSENT_MAX as u64;
    // Posts, the same number of acks, and whom the edge's thread tells.
    let waits = shards * 3 * COMMIT_WAITS_MAX as u64;
    let nonces = shards * limits.nonces_max as u64;
    vec![
        part(
            "inboxes of shards",
            commands * (COMMAND_BYTES + command),
            "inbox_commands_max, body_bytes_max, content_chars_max, NONCE_BYTES_MAX",
        ),
        part("nonces", nonces * NONCE_ENTRY_BYTES, "nonces_max"),
        part("rates of users and addresses", rates * MAP_ENTRY_BYTES, "rate_buckets_max"),
        part("who exists", references * MAP_ENTRY_BYTES, "REFERENCES_MAX, ABSENT_MAX"),
        part("who is kept out", OFFENDERS_MAX as u64 * MAP_ENTRY_BYTES, "OFFENDERS_MAX"),
        part("posts and acks that wait", waits * WAIT_BYTES, "COMMIT_WAITS_MAX"),
        part(
            "pages for who catches up",
            2 * catch_up_rows * chat,
            "CATCH_UP_QUERIES_MAX, CATCH_UP_ROWS_MAX, content_chars_max, image_bytes_max",
        ),
        part("journal buffers", shards * journal, "SEGMENT_BYTES_MAX, TAIL_WINDOW_BYTES"),
        part(
            "verdicts, trimmed journals",
            verdicts * STORE_ENTRY_BYTES,
            "VERDICTS_MAX, TRIMMED_PIECES_MAX",
        ),
        part("questions to the store", questions(), "READER_QUEUE_MAX, TOTALS_MAX, MARKS_MAX"),
        part("compression", compression(limits, shards), "compression, DEFLATE_BYTES"),
        part("log lines", LOG_BYTES_MAX, "LOG_BYTES_MAX"),
        part(
            "what operators are shown of the past",
            shards * COMINGS_MAX as u64 * COMING_BYTES + PAST_SAMPLES_MAX as u64 * SAMPLE_BYTES,
            "COMINGS_MAX, PAST_SAMPLES_MAX",
        ),
        part("a batch for the store", BATCH_COPIES * batch, "batch_bytes_max, batch_rows_max"),
    ]
}

/// Questions that wait for the store, and what its readers remember of spaces.
fn questions() -> u64 {
    let entries = 2 * READERS * READER_QUEUE_MAX as u64 + MARKS_MAX as u64;
    entries * STORE_ENTRY_BYTES + TOTALS_MAX as u64 * MAP_ENTRY_BYTES
}

/// What compresses and inflates, once a shard.
fn compression(limits: &Limits, shards: u64) -> u64 {
    let each = DEFLATE_BYTES + 2 * INFLATED_KEPT_BYTES;
    if limits.compression > 0 { shards * each as u64 } else { 0 }
}

/// What all connections cost at most that say nothing, or have not said all.
pub fn connections(limits: &Limits) -> u64 {
    places_for(limits.connections_max) as u64 * CONNECTION_BYTES + limits.heads_bytes_max as u64
}

/// What all parts cost together.
pub fn total(parts: &[MemoryPart]) -> u64 {
    parts.iter().map(|part| part.bytes).sum()
}

/// A size for people: `1.5 GiB`.
pub fn readable(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Unit, Value, settings};

    /// Bounds that cost nothing themselves: they are within a part, on the disk, or of work.
    const NO_PART: &[&str] = &[
        // Testers have these, where `debug_endpoints` are on: no hub in service has.
        "ECHO_MESSAGE_BYTES_MAX",
        "ECHO_FRAGMENTS_MAX",
        "ECHO_OWED_BYTES_MAX",
        // An instant or a number, and a place each.
        "TIMED_CHATS_MAX",
        "HOTTEST_SPACES_MAX",
        // Within what a request takes, and beside its answer's head.
        "REQUEST_ID_BYTES_MAX",
        // For feeds, which no hub has yet.
        "FEED_BYTES_MAX",
        "FEED_RING_BYTES_MAX",
        "FEED_STRETCH_BYTES_MAX",
        // A factor of several parts.
        "SHARDS_MAX",
        // Frames of one message, which has its bytes; work on it.
        "fragments_max",
        "LAST_BLOCKS_MAX",
        // Within compression.
        "INFLATED_KEPT_BYTES",
        "INFLATED_ROOM_BYTES",
        "json_depth_max",
        // Thrown away as it comes.
        "LISTENER_MESSAGE_BYTES_MAX",
        "READER_BYTES_MAX",
        "headers_max",
        // Within request bodies, and answers.
        "chat_body_bytes_max",
        "page_images_bytes_max",
        "page_size_max",
        "PIECE_BYTES_MAX",
        "SPACES_MAX",
        "PRESENCE_USERS_MAX",
        "LISTED_MEMBERS_MAX",
        // Within the space logs.
        "log_bytes_max",
        "resume_bytes_max",
        "resume_messages_max",
        "RESUME_TIMES_MAX",
        "LOG_SEGMENT_BYTES_MIN",
        "LOG_SEGMENT_BYTES_MAX",
        // Within the private frames, or beyond them for a moment.
        "UNVISITED_TIMES_MAX",
        "LISTED_USERS_MAX",
        // Within the connections.
        "MEMBERS_ROOM_MAX",
        "user_connections_max",
        "address_connections_max",
        "failed_logins_max",
        "ASKERS_IDLE_MAX",
        // On the disk.
        "journal_bytes_max",
        "dead_letters_bytes_max",
        "CHECK_AT_START_BYTES_MAX",
        "COPIES_MAX",
        // Read for a moment, twice at most: by who lists letters, and by the store's thread.
        "LETTERS_BYTES_MAX",
        "LETTERS_RETRIED_MAX",
        // These bound work, texts that are thrown away, and numbers.
        "sweep_sends_max",
        "SEND_BYTES",
        "SPACE_SENDS_MAX",
        "TURN_READ_BYTES_MAX",
        "READ_SHARE_BYTES_MIN",
        "FLOOD_READ_BYTES_MAX",
        "TURN_COMMANDS_MAX",
        // Waits, and a count.
        "SAMPLE_PERIOD",
        "PAUSE_WAIT_MAX",
        "OFFENCE_WAIT_MAX",
        "OFFENCE_MEMORY",
        "ADDRESS_FLOODS_MAX",
        // The buffer of a shard's thread.
        "READ_BYTES_MAX",
        "HIDDEN_BYTES_PER_BYTE",
        // Less than what TLS takes afterwards.
        "TLS_HANDSHAKE_BYTES_MAX",
        "MEMBER_WAITS_MAX",
        "READY_SOCKETS_MAX",
        "QUEUED_SOCKETS_MAX",
        "ENDED_SOCKETS_MAX",
        "CLOSED_SOCKETS_MAX",
        "junk_max",
        "announce_members_max",
        "lobby_members_max",
        "TIME_CHARS_MAX",
        "PAGE_NUMBER_MAX",
        // Within a request's head.
        "SEARCH_CHARS_MAX",
        "SEARCH_TERMS_MAX",
        "LINGER_BYTES_MAX",
        "UNREAD_BYTES_MAX",
        // Names in two tables of lines.
        "TOLD_SUBJECTS_MAX",
        // Thrown away as it comes; a few kilobytes of settings.
        "PROXY_HEADER_BYTES_MAX",
        "TRUSTED_PROXIES_MAX",
        "TRIALS_MAX",
        "DOUBTS_MAX",
        "MEMBERS_QUESTIONS_MAX",
        "QUERY_MAX",
        // Within the trimmed journals, and the journal buffers.
        "SEGMENT_PIECES_MAX",
        "FIRST_SEGMENT_BYTES_MAX",
        // Within the log lines.
        "LOG_LINES_MAX",
        // Five megabytes in all, where a collector of traces is given.
        "SPANS_QUEUED_MAX",
        "SPANS_SENT_MAX",
        "COLLECTOR_ANSWER_BYTES_MAX",
        "RESUMES_TRACED_MAX",
        // Within a request's head; names, and files that are read for a moment.
        "TOKEN_BYTES_MAX",
        "TOKEN_MESSAGE_BYTES_MAX",
        "UNPROVEN_BYTES_MAX",
        "TOKEN_ID_CHARS_MAX",
        "SPACE_NAME_CHARS_MAX",
        "TOKEN_SECRET_BYTES_MIN",
        "API_KEY_NAME_CHARS_MAX",
        "KEY_FILE_BYTES_MAX",
        // Less than one body, in messages that are small; and work.
        "RENEWALS_MAX",
        "PHASES_MAX",
        "EXPIRED_MAX",
        // Two megabytes, where as many are called back.
        "REVOCATIONS_MAX",
        // 300 keys of a hundred bytes.
        "TOKEN_KEYS_MAX",
        "API_KEYS_MAX",
        // Within what the kernel takes of a connection; shares of the whole.
        "UNSENT_BYTES_MAX",
        "MEMORY_FULL_PERCENT",
        "MEMORY_FREE_PERCENT",
        // Three numbers of each part.
        "PANICS_MAX",
        // These bound threads, and tools.
        "EDGE_THREADS_MAX",
        "TYPED_LINES_MAX",
        "TYPED_BYTES_MAX",
        "REMOTE_ANSWER_BYTES_MAX",
        "PROBE_BYTES_MAX",
    ];

    #[test]
    fn no_bound_is_forgotten_in_the_sum() {
        let parts = memory(&Limits::default(), 1, true);
        let named = parts.iter().flat_map(|part| part.bounds.split(", "));
        let named: Vec<&str> = named.chain(NO_PART.iter().copied()).collect();
        let counts = |unit| matches!(unit, Unit::Bytes | Unit::Count);
        let settings = settings().into_iter().filter(|setting| counts(setting.unit));
        let mut bounds: Vec<String> = settings.map(|setting| setting.name.to_owned()).collect();
        let constants = include_str!("fixed.rs").lines().filter_map(|line| {
            let (name, kind) = line.strip_prefix("pub const ")?.split_once(": ")?;
            (kind.starts_with('u') && !name.ends_with("_WAIT")).then(|| name.to_owned())
        });
        bounds.extend(constants);
        assert!(bounds.iter().any(|bound| bound == "REFERENCES_MAX"), "{bounds:?}");
        let missing: Vec<_> =
            bounds.iter().filter(|bound| !named.contains(&bound.as_str())).collect();
        assert!(missing.is_empty(), "no part of src/limits/sum.rs names {missing:?}");
        let gone: Vec<_> =
            named.iter().filter(|name| bounds.iter().all(|bound| bound != *name)).collect();
        assert!(gone.is_empty(), "there is no bound {gone:?}");
    }

    #[test]
    fn a_part_grows_with_each_setting_that_it_names() {
        let before = memory(&Limits::default(), 1, true);
        for setting in settings() {
            let mut limits = Limits::default();
            let Value::Number(_) = setting.default else { continue };
            limits.set(&setting, Value::Number(setting.max)).expect("in range");
            for (before, after) in before.iter().zip(memory(&limits, 1, true)) {
                let names = before.bounds.split(", ").any(|bound| bound == setting.name);
                // The greatest text of a command, or of a message, may be another.
                let is_one_of = ["content_chars_max", "message_bytes_max"].contains(&setting.name);
                let grows = after.bytes > before.bytes || is_one_of;
                assert!(after.bytes >= before.bytes, "{setting}: {}", before.name);
                assert!(grows || !names, "{setting}: {}", before.name);
            }
        }
    }

    #[test]
    fn sizes_are_shown_as_people_read_them() {
        let shown = [0, 1_023, 1_024, 1_536, 10 << 20, u64::MAX].map(readable);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "16777215.9 TiB"]);
    }
}
