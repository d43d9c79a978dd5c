//! Bounds that are the same in every hub: of queues, tables, buffers, pieces of work and waits.

use std::time::Duration;

/// What one connection that says nothing costs the process and the kernel, at most.
pub const CONNECTION_BYTES: u64 = 8 << 10;
/// Bytes of a message on the sockets that only listen (WIRE A6), where `message_bytes_max` is less.
pub const LISTENER_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a message that is sent back, where `debug_endpoints` are on.
pub const ECHO_MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Frames that such a message may come in.
pub const ECHO_FRAGMENTS_MAX: u32 = 128 << 10;
/// Bytes that whoever sends such messages may be owed: two of the longest, and their headers.
pub const ECHO_OWED_BYTES_MAX: usize = 2 * ECHO_MESSAGE_BYTES_MAX + 64;
/// Bytes that a compressed message may have beside an eighth more than it may have plain: for its
/// blocks' heads.
pub const DEFLATED_EXTRA_BYTES: usize = 64;
/// Last blocks of a compressed message: each is a stream of its own, and begins anew.
pub const LAST_BLOCKS_MAX: u32 = 16;
/// Room for an inflated message to begin with.
pub const INFLATED_ROOM_BYTES: usize = 1 << 10;
/// Room for an inflated message, and for a compressed one, that a shard keeps.
pub const INFLATED_KEPT_BYTES: usize = 64 << 10;
/// What a shard's compressor takes, and what inflates: tables and windows.
pub const DEFLATE_BYTES: usize = 320 << 10;
/// Bytes of a nonce and of an `Idempotency-Key`.
pub const NONCE_BYTES_MAX: usize = 64;
/// Characters of a pusher's own time: more than any date in any format takes.
pub const TIME_CHARS_MAX: usize = 64;
/// The greatest number of a history page that is asked of the store. No space has that many
/// pages; a greater number would only overflow the store's arithmetic.
pub const PAGE_NUMBER_MAX: u64 = 1 << 40;
/// Spaces in one list.
pub const SPACES_MAX: u32 = 1_000;
/// Letters of a request's id.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// Chats of one shard that are on their way to their members, and are timed.
pub const TIMED_CHATS_MAX: usize = 64;
/// Users in one answer of who is in a space.
pub const PRESENCE_USERS_MAX: usize = 500;
/// Bytes of one piece of an answer, but for what escapes make longer.
pub const PIECE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a body that nobody reads which are thrown away so that its connection may go on.
pub const UNREAD_BYTES_MAX: u64 = 64 << 10;
/// Bytes that are thrown away of what comes behind a connection's last answer, so that whoever
/// sends them reads the answer before the kernel resets the connection: two of the largest bodies.
pub const LINGER_BYTES_MAX: usize = 16 << 20;
/// Subjects of which the log is told in a minute, of each sort of lines about what strangers do.
pub const TOLD_SUBJECTS_MAX: usize = 64;
/// Bytes of a connection's PROXY header, most of which are thrown away as they come.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 << 10;
/// Networks of proxies that are believed.
pub const TRUSTED_PROXIES_MAX: usize = 1_024;
/// Bytes that the kernel takes for a peer before it can send them.
pub const UNSENT_BYTES_MAX: u32 = 16 << 10;
/// Percent of the memory that may be used, above which members that take nothing make room, and
/// then nobody else is let in.
pub const MEMORY_FULL_PERCENT: u64 = 75;
/// Percent of it down to which they do.
pub const MEMORY_FREE_PERCENT: u64 = 70;
/// Time between two attempts to accept, when descriptors or memory are short.
pub const ACCEPT_WAIT_MAX: Duration = Duration::from_secs(1);
/// Queries at a time for members that catch up.
pub const CATCH_UP_QUERIES_MAX: usize = 4;
/// Rows that are read for one page of a member that catches up; with short messages they fill half
/// of a default page.
pub const CATCH_UP_ROWS_MAX: u32 = 128;
/// Users and spaces of which the edge remembers whether they exist; beyond it all are asked for
/// anew.
pub const REFERENCES_MAX: usize = 100_000;
/// How long it is believed that a user or a space exists, in ms.
pub const EXISTS_WAIT: u64 = 600_000;
/// How long it is believed that a user or a space does not exist, in ms. Shards believe it for
/// `absent_window`.
pub const MISSING_WAIT: u64 = 5_000;
/// Addresses whose counts of commands are kept, beyond those that have commands.
pub const ASKERS_IDLE_MAX: usize = 1_024;
/// Shard threads.
pub const SHARDS_MAX: usize = 1_024;
/// Threads of the edge: HTTP must not take the cores that shards need.
pub const EDGE_THREADS_MAX: usize = 2;
/// How far a clock may be set back without messages' times going back with it, and how far it may
/// be set at all without being told, in microseconds.
pub const CLOCK_STEP_MAX: i64 = 1_000_000;
/// Bytes of log lines that wait for whoever reads the log.
pub const LOG_BYTES_MAX: u64 = 1 << 20;
/// Log lines that wait, however short they are.
pub const LOG_LINES_MAX: usize = 8 << 10;
/// Connections that may wait to be accepted: a herd's, as far as the kernel allows.
pub const BACKLOG: i32 = 4_096;
/// Lines typed into `cpi-hub chat` that wait; more wait in the terminal.
pub const TYPED_LINES_MAX: usize = 16;
/// Bytes that `cpi-hub say` reads of its standard input: more than any message may have.
pub const TYPED_BYTES_MAX: u64 = 64 << 10;
/// Bytes that a command takes of a hub's answer.
pub const REMOTE_ANSWER_BYTES_MAX: usize = 16 << 20;
/// Bytes that `cpi-hub ready` reads of an answer.
pub const PROBE_BYTES_MAX: u64 = 64 << 10;
/// Posts of one shard that wait for a commit, and acks that do. Beyond it the post of the oldest
/// record is forgotten, which was answered 202 long ago, and members that ask for `durable` are
/// refused.
pub const COMMIT_WAITS_MAX: usize = 65_536;
/// Commits that one member may wait for. All may come at once, when a store is back, and their
/// acks are not to be what brings its private frames over their bound.
pub const MEMBER_WAITS_MAX: u32 = 1_024;
/// How long the store may take with a chat where chats are accepted once they are stored, in ms;
/// then new ones are refused until it has it.
pub const STORED_WAIT: u64 = 2_000;
/// Bytes of one message of a slot's feed.
pub const FEED_BYTES_MAX: usize = 256 << 10;
/// Bytes of a slot's newest messages that are kept for who has missed some. The newest one is kept
/// in any case.
pub const FEED_RING_BYTES_MAX: usize = 256 << 10;
/// Bytes of a stretch of a slot's feed: all that is kept, or the newest message alone, and what
/// stands before them.
pub const FEED_STRETCH_BYTES_MAX: usize = FEED_RING_BYTES_MAX + 64;
/// How long the answer about missed messages of a feed is waited for before it is asked for again,
/// in ms.
pub const FEED_ANSWER_WAIT: u64 = 100;
/// Users that a shard remembers as absent, and as many spaces; beyond it all are forgotten, and
/// asked about anew.
pub const ABSENT_MAX: usize = 4_096;
/// Sockets that one pass takes from the epoll.
pub const READY_SOCKETS_MAX: usize = 256;
/// Sockets that one pass takes from those that are queued to be read again. Floods are among them,
/// hundreds at once when a tick lets them be read, and who speaks now and then waits for a pass.
pub const QUEUED_SOCKETS_MAX: usize = 4;
/// Sockets whose peers have ended that one pass takes, so that a crowd that leaves at once delays
/// nobody else.
pub const ENDED_SOCKETS_MAX: usize = 32;
/// Sockets that one turn closes. Each takes up to 200 us where a peer sent what nobody read.
pub const CLOSED_SOCKETS_MAX: usize = 8;
/// Verdicts on refused messages that wait for one shard; the batcher waits with more.
pub const VERDICTS_MAX: usize = 1_024;
/// Trials of refused rows in one transaction; what they do not decide is left to the next one.
pub const TRIALS_MAX: usize = 512;
/// Commits in doubt in a row, after which a dead letter is left for another day.
pub const DOUBTS_MAX: usize = 5;
/// The longest that a question for a page is to wait for its turn, in milliseconds: whoever would
/// wait for longer is told so at once.
pub const PAGES_WAIT: u64 = 2_000;
/// How long a page of history waits at most until what was accepted before is stored, in ms.
pub const PAGE_SETTLE_WAIT: u64 = 200;
/// Questions of members, and as many for pages, that wait for one reading connection.
pub const READER_QUEUE_MAX: usize = 256;
/// Questions of members that a reading connection answers in a row, while a page waits.
pub const MEMBERS_QUESTIONS_MAX: u32 = 8;
/// Spaces whose counted rows a reader of PostgreSQL remembers; beyond it all are counted anew.
pub const TOTALS_MAX: usize = 10_000;
/// Rows in the histories of all spaces whose numbers a reader of PostgreSQL remembers; beyond it
/// all are learnt anew.
pub const MARKS_MAX: usize = 32_768;
/// Lines that tell what one segment of a journal held, once it is unlinked.
pub const SEGMENT_PIECES_MAX: usize = 8_192;
/// Lines that tell what all unlinked segments held; the older half is told in fewer.
pub const TRIMMED_PIECES_MAX: usize = 32_768;
/// Bytes of a journal's segment, where the bound of all journals allows as many.
pub const SEGMENT_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a journal's first segment, which a start waits for.
pub const FIRST_SEGMENT_BYTES_MAX: u64 = 1 << 20;
/// Bytes that the batcher reads of a journal at once; one block may be longer.
pub const TAIL_WINDOW_BYTES: u64 = 256 << 10;
/// The longest that a query for history may run, in milliseconds.
pub const QUERY_MAX: u64 = 5_000;
/// Characters of what somebody looks for in a space's history.
pub const SEARCH_CHARS_MAX: usize = 200;
/// Words, phrases and beginnings of words that are looked for at once.
pub const SEARCH_TERMS_MAX: usize = 16;
/// Sends of one space before the next dirty one has its turn.
pub const SPACE_SENDS_MAX: usize = 32;
/// A send counts as one more for each of these bytes: the kernel copies them in about the time of
/// a short send.
pub const SEND_BYTES: usize = 8 << 10;
/// A resume is given up when this many times what it may have was sent: more is said in its space
/// than is read of it.
pub const RESUME_TIMES_MAX: usize = 2;
/// Factor by which a member that takes bytes may exceed `private_bytes_max` before the sweep
/// reaches it: one read of its socket can ask for many answers, one commit end many waits.
pub const UNVISITED_TIMES_MAX: usize = 8;
/// Bytes of the first segment of a space's log. Each further one is twice the last, up to
/// [`LOG_SEGMENT_BYTES_MAX`], so that quiet spaces stay small and in busy ones few sends cross a
/// segment's end.
pub const LOG_SEGMENT_BYTES_MIN: u32 = 1 << 10;
/// Bytes of the greatest segments of a space's log.
pub const LOG_SEGMENT_BYTES_MAX: u32 = 64 << 10;
/// Members that a shard has room for from its start. Room costs nothing before somebody takes it,
/// as the kernel gives a page when it is written. A table that grows instead is copied while all
/// wait, and is held twice for a while.
pub const MEMBERS_ROOM_MAX: usize = 65_536;
/// Users of the list of who is online that are encoded at a time.
pub const LISTED_USERS_MAX: usize = 32;
/// Bytes that TLS seals for a connection before the kernel has taken the ones before: one record.
pub const SEALED_BYTES_MAX: usize = 16 << 10;
/// Bytes of TLS that come and hold nothing for the hub, before their connection is closed: records
/// may be empty, and the longest is half of this.
pub const HIDDEN_BYTES_MAX: usize = 34 << 10;
/// Bytes of TLS that come with each byte for the hub, at most: a record of one byte has 22 more.
pub const HIDDEN_BYTES_PER_BYTE: usize = 32;
/// What a connection's TLS takes at rest: keys, and the room of one read.
pub const SESSION_BYTES: u64 = 12 << 10;
/// Bytes that a peer may send until its handshake of TLS is done; browsers send 2 KiB.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 16 << 10;
/// The longest that a handshake of TLS may take, in milliseconds.
pub const TLS_HANDSHAKE_WAIT: u64 = 5_000;
/// How long before its end a certificate is told of, in microseconds: two weeks.
pub const CERTIFICATE_NOTICE: i64 = 14 * 86_400_000_000;
/// Bytes that one read of a member takes; a shard has one buffer for all of them.
pub const READ_BYTES_MAX: usize = 64 << 10;
/// Bytes that the kernel is asked to hold of what a member has sent and nobody has read; it holds
/// twice that. It has to be more than a packet of a loopback device (64 KiB): with less, each
/// packet of a burst waits until the one before is acknowledged, which takes the kernel 40 ms.
pub const MEMBER_RECEIVE_BYTES_MAX: usize = 128 << 10;
/// Bytes that a turn reads of all members that are ready, in equal shares, but of each at least
/// [`READ_SHARE_BYTES_MIN`]: of the smallest frames that is a millisecond of work.
pub const TURN_READ_BYTES_MAX: usize = 32 << 10;
/// Bytes that a turn reads at least of a member that is ready and has them.
pub const READ_SHARE_BYTES_MIN: usize = 1 << 10;
/// Bytes that are read in a tick of a member that floods: what is refused is not free.
pub const FLOOD_READ_BYTES_MAX: usize = 512;
/// Bytes that a reader of events may send behind its request. Nobody hears them.
pub const READER_BYTES_MAX: u32 = 64 << 10;
/// How long those that don't read may hold up their space, in milliseconds.
pub const PAUSE_WAIT_MAX: u64 = 1_000;
/// Users and addresses that are remembered for what their connections were closed for.
pub const OFFENDERS_MAX: usize = 10_000;
/// Floods of one address within [`OFFENCE_MEMORY`] before it is kept out as a whole.
pub const ADDRESS_FLOODS_MAX: u32 = 16;
/// How long an offence is remembered, in milliseconds.
pub const OFFENCE_MEMORY: u64 = 5 * 60_000;
/// The longest that somebody is kept out, in milliseconds.
pub const OFFENCE_WAIT_MAX: u64 = 5 * 60_000;
/// Commands taken from the inbox before the others have their turn.
pub const TURN_COMMANDS_MAX: usize = 64;
/// Bytes of an embedded database, its log counted in, that is checked before the hub serves, where
/// its last hub has not ended in order: about a second. A longer one is checked beside the hub.
pub const CHECK_AT_START_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a token. A head has room for one that is twice as long.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Bytes of a message that shows a token in place of a handshake.
pub const TOKEN_MESSAGE_BYTES_MAX: usize = TOKEN_BYTES_MAX + 256;
/// Bytes that a connection may send before it has shown a token: pings too.
pub const UNPROVEN_BYTES_MAX: usize = 4 * TOKEN_BYTES_MAX;
/// Characters that are told of a space's name.
pub const SPACE_NAME_CHARS_MAX: usize = 256;
/// Characters of a token's id.
pub const TOKEN_ID_CHARS_MAX: usize = 256;
/// Keys that tokens may be signed with. Without a name all are tried for each token.
pub const TOKEN_KEYS_MAX: usize = 16;
/// Bytes of a secret that tokens are signed with, at least (RFC 7518 3.2).
pub const TOKEN_SECRET_BYTES_MIN: usize = 32;
/// How far the clocks of those who make tokens and of the hub may differ, in seconds.
pub const TOKEN_LEEWAY: i64 = 30;
/// How long before a token's end a member is told of it, in microseconds.
pub const EXPIRY_NOTICE: i64 = 60_000_000;
/// Members whose tokens have ended that a tick closes.
pub const EXPIRED_MAX: usize = 1_024;
/// Tokens of members that wait to be judged; whoever shows one beyond that is told to try again.
pub const RENEWALS_MAX: usize = 1_024;
/// The least time of an end that the store has, in ms; and any other step that has no time left.
pub const STORE_WAIT: u64 = 500;
/// What the process comes to, and a service manager is not told yet.
pub const PHASES_MAX: usize = 64;
/// Users and tokens that are called back at a time; what is over makes room, nothing else does.
pub const REVOCATIONS_MAX: usize = 10_000;
/// How long a token is called back for where that is not said, in seconds: a year and a day.
pub const REVOKED_FOR: i64 = 366 * 86_400;
/// Keys of programs.
pub const API_KEYS_MAX: usize = 256;
/// Characters of such a key's name.
pub const API_KEY_NAME_CHARS_MAX: usize = 64;
/// Bytes of a file of keys, of any sort.
pub const KEY_FILE_BYTES_MAX: u64 = 256 << 10;
/// Panics of one part within [`PANICS_WAIT`] that end the hub: a part that meets the same bug at
/// once is not mended by beginning anew.
pub const PANICS_MAX: usize = 3;
/// How long a panic counts, in milliseconds.
pub const PANICS_WAIT: u64 = 60_000;
/// Members of a space, and connections of late, that an operator is listed at a time.
pub const LISTED_MEMBERS_MAX: u32 = 500;
/// Comings and goings that a shard remembers.
pub const COMINGS_MAX: usize = 8_192;
/// Spaces that a shard keeps among its hottest, and that an operator is listed.
pub const HOTTEST_SPACES_MAX: usize = 100;
/// Bytes of the dead letters' file that are read at a time, for an operator.
pub const LETTERS_BYTES_MAX: u64 = 1 << 20;
/// Dead letters that an operator is listed, and that are tried again at a time.
pub const LETTERS_RETRIED_MAX: usize = 100;
/// How long batches wait for dead letters that are tried again, in milliseconds.
pub const LETTERS_WAIT: u64 = 500;
/// Copies of the embedded database that are kept of those that an operator has made by the hub.
pub const COPIES_MAX: usize = 7;
/// Samples of the hub's numbers that are kept: with [`SAMPLE_PERIOD`] an hour of them.
pub const PAST_SAMPLES_MAX: usize = 1_800;
/// How often the hub's numbers are sampled, in milliseconds.
pub const SAMPLE_PERIOD: u64 = 2_000;
/// How long an operator is sent samples before the key is asked for again, in milliseconds.
pub const FEED_WAIT: u64 = 600_000;
/// Spans that have ended and wait for the collector: 4 MiB, where there is one.
pub const SPANS_QUEUED_MAX: usize = 4_096;
/// Spans that the collector is sent at a time.
pub const SPANS_SENT_MAX: usize = 512;
/// Bytes of a collector's answer.
pub const COLLECTOR_ANSWER_BYTES_MAX: usize = 64 << 10;
/// Resumes of one shard that are traced at a time.
pub const RESUMES_TRACED_MAX: usize = 1_024;
