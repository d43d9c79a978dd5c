//! Every bound of the hub, in one table: its name, default, range, unit and meaning.
//!
//! This table also makes the command line's flags (`--write-wait`), the environment's names
//! (`HUB_WRITE_WAIT`) and the file's keys (`write_wait`), so a bound can't be missing in one of
//! them. [`Limits::check`] holds the bounds against each other, once, at start. Bounds that nobody
//! has to set are the constants at the end; what all of them together may cost is [`sum`]'s to say.

mod fixed;
mod places;
pub mod sum;
mod text;

pub use fixed::*;
pub use places::{members_of, places_for, room_for};
pub use text::parse_time;

/// What a setting's number counts, and so how it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Bytes: `512`, `64KiB`, `1MiB`, `1GiB`.
    Bytes,
    /// Milliseconds: `250ms`, `10s`, `5m`, `2h`; a bare number is seconds.
    Millis,
    /// A plain number.
    Count,
    /// Events: `RATE[/BURST]` with RATE per second, or `off`.
    Rate,
    /// A fixed offset from UTC: `-03:00`; counted in seconds.
    Offset,
}

/// A rate with a burst; 0 per second is off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Events per second in the long run; 0: no limit.
    pub per_second: u32,
    /// Events at once.
    pub burst: u32,
}

impl Rate {
    /// A rate of `per_second` with `burst` at once.
    pub const fn new(per_second: u32, burst: u32) -> Rate {
        Rate { per_second, burst }
    }
}

/// The value of one setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// For all units but rates.
    Number(i64),
    /// For [`Unit::Rate`].
    Rate(Rate),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name: `write_wait`; the flag is `--write-wait`, the variable `HUB_WRITE_WAIT`.
    pub name: &'static str,
    /// What the number counts.
    pub unit: Unit,
    /// The value without any configuration.
    pub default: Value,
    /// The least number allowed (of a rate: per second).
    pub min: i64,
    /// The greatest number allowed (of a rate: per second).
    pub max: i64,
    /// What it bounds, for `--help` and docs/CONFIGURATION.md.
    pub help: &'static str,
}

/// A value or a combination that can't be run with: one line, for exit 78.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct BadLimit {
    /// The setting.
    pub name: &'static str,
    /// What is wrong, and what was expected.
    pub problem: String,
}

trait Field: Copy {
    fn value(self) -> Value;
    fn from_value(value: Value) -> Self;
}

macro_rules! number_field {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn value(self) -> Value {
                Value::Number(i64::try_from(self).expect("limits fit an i64"))
            }
            fn from_value(value: Value) -> Self {
                let Value::Number(number) = value else { unreachable!("checked by set()") };
                <$type>::try_from(number).expect("the range fits the type")
            }
        }
    )*};
}
number_field!(u32 u64 usize i32);

impl Field for Rate {
    fn value(self) -> Value {
        Value::Rate(self)
    }
    fn from_value(value: Value) -> Self {
        let Value::Rate(rate) = value else { unreachable!("checked by set()") };
        rate
    }
}

macro_rules! limits {
    ($(
        $name:ident: $type:ty = $default:expr, $unit:ident, $min:expr, $max:expr, $help:literal;
    )*) => {
        /// Every bound, checked together. Times are milliseconds, sizes bytes.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct Limits {
            $(#[doc = $help] pub $name: $type,)*
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default,)* }
            }
        }

        /// The table, in the order of the help.
        pub fn settings() -> Vec<Setting> {
            let defaults = Limits::default();
            vec![$(Setting {
                name: stringify!($name),
                unit: Unit::$unit,
                default: defaults.$name.value(),
                min: $min,
                max: $max,
                help: $help,
            },)*]
        }

        impl Limits {
            /// Sets one bound by name, within its range.
            pub fn set(&mut self, setting: &Setting, value: Value) -> Result<(), BadLimit> {
                setting.check(value)?;
                match setting.name {
                    $(stringify!($name) => self.$name = Field::from_value(value),)*
                    other => unreachable!("{other} is not in the table"),
                }
                Ok(())
            }

            /// One bound by name, for printing the configuration.
            pub fn get(&self, name: &str) -> Option<Value> {
                match name {
                    $(stringify!($name) => Some(self.$name.value()),)*
                    _ => None,
                }
            }
        }
    };
}

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;

limits! {
    message_bytes_max: usize = 512, Bytes, 64, 64 * KIB,
        "A client's message over a socket, all fragments together; more closes with 1009.";
    fragments_max: u32 = 16, Count, 1, 1_024,
        "Frames that one message may come in; more closes with 1009.";
    content_chars_max: usize = 1_000, Count, 1, 65_536,
        "Characters (Unicode scalar values) of a chat's content.";
    username_chars_max: usize = 256, Count, 1, 1_024,
        "Characters of a user name.";
    image_bytes_max: usize = 2_048, Bytes, 0, 8 * KIB,
        "An image URL that is fanned out; a longer one is sent as \"\".";
    compression: u32 = 0, Count, 0, 9,
        "Offers of permessage-deflate are taken, and what a space says is compressed once for all \
         who offered, at this level: 1 is fast, 9 is small, 0 is off.";
    json_depth_max: usize = 32, Count, 2, 128,
        "Nesting of a client's JSON.";
    body_bytes_max: usize = 65_536, Bytes, KIB, 64 * MIB,
        "An HTTP request body.";
    chat_body_bytes_max: usize = 8 << 20, Bytes, KIB, 64 * MIB,
        "The body of a chat post, which may hold an avatar.";
    bodies_bytes_max: usize = 64 << 20, Bytes, 64 * KIB, 4 * GIB,
        "All request bodies in flight together, large ones at most three quarters of it; more is \
         answered 503. An eighth of the memory limit bounds it too.";
    answers_bytes_max: usize = 64 << 20, Bytes, MIB, 4 * GIB,
        "All answers in flight together; more is answered 503. An eighth of the memory limit \
         bounds it too.";
    page_images_bytes_max: usize = 8 << 20, Bytes, 0, GIB,
        "All pictures of one history page; those beyond it are \"\".";
    head_bytes_max: usize = 16_384, Bytes, 8 * KIB, MIB,
        "The head of an HTTP request.";
    heads_bytes_max: usize = 64 << 20, Bytes, 64 * KIB, 4 * GIB,
        "All heads that are still coming; 1/16 of the memory limit bounds it too.";
    headers_max: usize = 64, Count, 8, 1_024,
        "Header lines of an HTTP request.";
    handshake_wait: u64 = 10_000, Millis, 100, HOUR,
        "Time for a request's head, and for its body, to arrive.";
    keep_alive_wait: u64 = 75_000, Millis, 100, 24 * HOUR,
        "How long a connection may be idle between two requests; longer than a proxy in front \
         keeps its own.";
    durable_wait_max: u64 = 5_000, Millis, 10, HOUR,
        "How long a post waits for the store's commit before it answers 202.";
    write_wait: u64 = 10_000, Millis, 100, HOUR,
        "A blocked member whose cursor does not move for so long is evicted (4008).";
    pong_wait: u64 = 60_000, Millis, 200, 24 * HOUR,
        "A member that is silent for so long is closed (4008).";
    ping_period: u64 = 54_000, Millis, 100, 24 * HOUR,
        "A member that is silent for so long gets a ping; below pong_wait.";
    close_wait: u64 = 1_000, Millis, 10, HOUR,
        "Time between a close frame of the hub's and the end of the TCP connection.";
    connections_max: usize = 1_000_000, Count, 1, 16_000_000,
        "Members in all, beside an eighth for HTTP (32 to 1024); open files and memory bound both.";
    user_connections_max: u32 = 256, Count, 0, 1_000_000,
        "Connections of one user; 0 is off.";
    address_connections_max: u32 = 2_000, Count, 0, 16_000_000,
        "Members of one address (IPv6: /64), beside an eighth for HTTP; 0 is off, loopback exempt.";
    connection_rate: Rate = Rate::new(2_000, 4_000), Rate, 0, 1_000_000,
        "New connections of the whole hub.";
    address_connection_rate: Rate = Rate::new(100, 500), Rate, 0, 1_000_000,
        "New connections of one address; loopback is exempt.";
    failed_logins_max: u32 = 10, Count, 0, 1_000_000,
        "Tokens and keys that are none, of one address in a minute; then what it shows is 429. 0 \
         is off; loopback is exempt.";
    message_rate: Rate = Rate::new(50, 100), Rate, 0, 10_000_000,
        "Messages of one connection.";
    user_message_rate: Rate = Rate::new(100, 200), Rate, 0, 10_000_000,
        "Messages of one user on one shard, over sockets and posts.";
    address_message_rate: Rate = Rate::new(500, 1_000), Rate, 0, 10_000_000,
        "Messages of one address on one shard; loopback is exempt.";
    control_rate: Rate = Rate::new(2, 20), Rate, 0, 1_000_000,
        "Ping and pong frames of one connection.";
    flood_wait: u64 = 5_000, Millis, 100, HOUR,
        "A flood over its rate for so long is closed (4029).";
    offence_wait: u64 = 10_000, Millis, 0, HOUR,
        "How long who flooded, or twice did not read, is kept out; doubles each time. 0 is off.";
    junk_max: u32 = 20, Count, 1, 1_000_000,
        "Junk messages within junk_window; more closes with 1008.";
    junk_window: u64 = 10_000, Millis, 100, HOUR,
        "The time in which junk messages are counted.";
    announce_members_max: usize = 500, Count, 0, 16_000_000,
        "Members up to which joins and leaves are announced one by one; 0 is never.";
    lobby_members_max: usize = 2_000, Count, 0, 16_000_000,
        "Sockets up to which the lobby lists who is online and tells who comes and goes.";
    log_bytes_max: usize = 1 << 20, Bytes, 64 * KIB, GIB,
        "What a space's log retains for members that lag.";
    logs_bytes_max: usize = 1 << 30, Bytes, MIB, 1 << 40,
        "All space logs together; a quarter of the memory limit bounds it too.";
    resume_bytes_max: usize = 65_536, Bytes, 0, GIB,
        "What a space's log retains for those who come back.";
    resume_window: u64 = 300_000, Millis, 0, 24 * HOUR,
        "How long a space's log retains it.";
    resume_messages_max: usize = 10_000, Count, 1, 1_000_000,
        "Messages that a resume reads at most.";
    resume_wait: u64 = 5_000, Millis, 100, HOUR,
        "How long a resume waits for the store, for the first page and for each further one.";
    absent_window: u64 = 30_000, Millis, 0, HOUR,
        "How long messages of users, and to spaces, that the store did not know are refused.";
    private_bytes_max: usize = 65_536, Bytes, 4 * KIB, 16 * MIB,
        "Private frames (pong, error, ack) that one member is owed.";
    dead_letters_bytes_max: u64 = 67_108_864, Bytes, 4 * KIB, 16 * GIB,
        "Messages kept that the store refused; half of it for those of unknown users and spaces.";
    nonces_max: usize = 262_144, Count, 1_024, 16_000_000,
        "Nonces that one shard remembers.";
    nonce_window: u64 = 120_000, Millis, SECOND, 24 * HOUR,
        "How long a nonce is remembered.";
    rate_buckets_max: usize = 100_000, Count, 1_024, 16_000_000,
        "Users and addresses whose rates one shard remembers.";
    sweep_sends_max: usize = 64, Count, 1, 65_536,
        "Sends of one slice of the sweep, before reads run again.";
    inbox_commands_max: usize = 65_536, Count, 1_024, 1 << 24,
        "Commands that wait for one shard; more is answered 503.";
    journal_bytes_max: u64 = 1 << 30, Bytes, 4 * MIB, 1 << 44,
        "All journals on the disk together, hub_journal_disk_bytes; at 100 % chat is refused.";
    batch_rows_max: usize = 10_000, Count, 1, 1_000_000,
        "Rows of one transaction.";
    batch_bytes_max: usize = 4 << 20, Bytes, 64 * KIB, GIB,
        "Bytes of one transaction.";
    batch_wait: u64 = 5, Millis, 0, 60 * SECOND,
        "How long rows that come together wait for more before their transaction begins; in SQLite \
         up to 20ms where each is of another space. One that comes alone does not wait.";
    batch_linger: u64 = 100, Millis, 0, 60 * SECOND,
        "How long after a transaction the next one begins while nobody waits for its rows: no \
         durable ack, no post, nobody who comes back and no page of history. Fewer, larger \
         transactions cost less.";
    sync_period: u64 = 50, Millis, 1, 60 * SECOND,
        "How often journals are flushed to the disk.";
    page_size_max: u32 = 100, Count, 1, 1_000,
        "Messages of one history page.";
    send_buffer_bytes: usize = 65_536, Bytes, 4 * KIB, 16 * MIB,
        "SO_SNDBUF of a member's socket, which bounds what a dead reader costs the kernel.";
    drain_window: u64 = 10_000, Millis, 0, HOUR,
        "Time over which closes are spread at shutdown.";
    stop_wait: u64 = 30_000, Millis, 100, HOUR,
        "Time for the whole shutdown: drain_window, twice close_wait and 500ms at least.";
    utc_offset: i32 = -10_800, Offset, -50_400, 50_400,
        "The fixed offset of all times; the existing database holds -03:00.";
}

impl Limits {
    /// Holds the bounds against each other; the first that can't be is the answer.
    pub fn check(&self) -> Result<(), BadLimit> {
        let (log, message) = (self.log_bytes_max, self.message_bytes_max);
        let (chat_body, body) = (self.chat_body_bytes_max, self.body_bytes_max);
        let (logs, resume) = (self.logs_bytes_max, self.resume_bytes_max);
        let (heads, head) = (self.heads_bytes_max, self.head_bytes_max);
        let (answers, images) = (self.answers_bytes_max, self.page_images_bytes_max);
        let (bodies, private) = (self.bodies_bytes_max, self.private_bytes_max);
        let rules: [(&'static str, bool, &str); 10] = [
            ("ping_period", self.ping_period < self.pong_wait, "must be below pong_wait"),
            (
                "drain_window",
                self.drain_window + 2 * self.close_wait + STORE_WAIT <= self.stop_wait,
                "with twice close_wait and 500ms for the store it must be within stop_wait",
            ),
            ("log_bytes_max", resume <= log, "must be at least resume_bytes_max"),
            ("logs_bytes_max", logs >= log, "must be at least log_bytes_max"),
            ("log_bytes_max", log >= 16 * message, "must hold 16 messages of message_bytes_max"),
            ("heads_bytes_max", heads >= 2 * head, "must be at least twice head_bytes_max"),
            ("bodies_bytes_max", bodies >= chat_body, "must hold one body of chat_body_bytes_max"),
            (
                "answers_bytes_max",
                answers / 4 >= images,
                "must hold four pages of page_images_bytes_max",
            ),
            ("chat_body_bytes_max", chat_body >= body, "must be at least body_bytes_max"),
            (
                "private_bytes_max",
                private >= 8 * message,
                "must hold 8 messages of message_bytes_max",
            ),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((name, _, problem)) => Err(BadLimit { name, problem: problem.into() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_together_and_survive_their_text() {
        Limits::default().check().expect("the defaults are consistent");
        for setting in settings() {
            let text = setting.show(setting.default);
            assert_eq!(setting.parse(&text), Ok(setting.default), "{setting}");
        }
    }

    #[test]
    fn bounds_that_contradict_each_other_are_named() {
        let limits = Limits { ping_period: 60_000, ..Limits::default() };
        let error = limits.check().expect_err("ping is not below pong");
        assert_eq!(error.to_string(), "ping_period: must be below pong_wait");
    }
}
