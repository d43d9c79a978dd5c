//! What a seed does: limits, how many people and spaces, and what happens how often.

use cpi_hub::limits::{Limits, Rate};

use super::rng::Rng;

/// Things that happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Join,
    Talk,
    Flood,
    Control,
    Post,
    Notify,
    Kick,
    Relieve,
    Goodbye,
    Manner,
    Writable,
    Stale,
    Room,
    Clock,
    Commit,
    Query,
    Stall,
    Drain,
    Restart,
    PowerCut,
    Panic,
    Failure,
    Feed,
}

impl Op {
    /// Whether everybody goes.
    fn ends_all(self) -> bool {
        matches!(self, Op::Restart | Op::PowerCut | Op::Panic | Op::Drain | Op::Failure)
    }
}

const WEIGHTS: [(Op, u64); 23] = [
    (Op::Join, 90),
    (Op::Talk, 220),
    (Op::Flood, 6),
    (Op::Control, 40),
    (Op::Post, 110),
    (Op::Notify, 40),
    (Op::Kick, 10),
    (Op::Relieve, 4),
    (Op::Goodbye, 30),
    (Op::Manner, 25),
    (Op::Writable, 120),
    (Op::Stale, 15),
    (Op::Room, 6),
    (Op::Clock, 12),
    (Op::Commit, 60),
    (Op::Query, 8),
    (Op::Stall, 3),
    (Op::Drain, 1),
    (Op::Restart, 2),
    (Op::PowerCut, 2),
    (Op::Panic, 2),
    (Op::Failure, 1),
    (Op::Feed, 40),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Theme {
    Crowd,
    Hot,
    Short,
    /// All chats come from elsewhere.
    Fed,
    Any,
}

/// A mistake that the simulator has to find, where chats are accepted once they are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// What is in the journal is sent at once.
    SentBeforeStored,
    /// The shard is told of commits that are still to come.
    ToldTooEarly,
}

/// The draw of one seed.
#[derive(Debug)]
pub struct Plan {
    pub limits: Limits,
    pub turns: u64,
    pub turn_ops: u64,
    pub users: u64,
    pub spaces: u64,
    pub members_max: usize,
    /// Members of the second dialect read events so often in a thousand.
    pub events: u64,
    /// Members take what their space says compressed so often in a thousand.
    pub deflated: u64,
    /// Joins go to the lobby so often in a thousand, and to inboxes.
    pub lobby: u64,
    pub inbox: u64,
    /// Contents are long so often in a thousand.
    pub long: u64,
    /// After a turn the sweep runs to its end so often in a thousand; else, so often not at all,
    /// or for some slices.
    pub swept: u64,
    pub unswept: u64,
    /// Nothing is said here: all chats come from another shard.
    pub fed: bool,
    /// Chats are accepted once they are stored, not once they are in the journal.
    pub by_store: bool,
    /// What is wrong with the shard, or with what it is told.
    pub mutant: Option<Mutant>,
    weights: Vec<(Op, u64)>,
    weight: u64,
}

impl Plan {
    pub fn new(rng: &mut Rng) -> Plan {
        let mut limits = limits(rng);
        // Some seeds are about one thing: a full lobby, a hot space, short memory, a replica.
        let theme = match rng.below(100) {
            0..3 => Theme::Crowd,
            3..25 => Theme::Hot,
            25..30 => Theme::Short,
            30..42 => Theme::Fed,
            _ => Theme::Any,
        };
        // Swarm testing: each seed does without some things, so that others pile up.
        let mut weights: Vec<(Op, u64)> = WEIGHTS.to_vec();
        for (op, weight) in &mut weights {
            if !matches!(op, Op::Join | Op::Talk) && rng.permille(250) {
                *weight = 0;
            } else if rng.permille(150) {
                *weight *= 4;
            }
            match (theme, *op) {
                (Theme::Crowd, Op::Join) => *weight *= 20,
                (Theme::Crowd | Theme::Hot, op) if op.ends_all() => *weight = 0,
                (Theme::Hot | Theme::Short, Op::Post) => *weight = 500,
                (Theme::Fed, Op::Talk | Op::Post | Op::Flood | Op::Failure) => *weight = 0,
                (Theme::Fed, Op::Feed) => *weight = 600,
                _ => {}
            }
        }
        let weight = weights.iter().map(|(_, weight)| weight).sum();
        if matches!(theme, Theme::Hot | Theme::Fed) {
            limits.log_bytes_max = 64 << 10;
            limits.resume_bytes_max = limits.resume_bytes_max.min(4 << 10);
            limits.message_bytes_max = limits.message_bytes_max.min(2 << 10);
            limits.content_chars_max = 256;
            limits.write_wait = 10_000;
        }
        if theme == Theme::Short {
            limits.log_bytes_max = 64 << 10;
            limits.message_bytes_max = limits.message_bytes_max.min(2 << 10);
            limits.resume_bytes_max = limits.resume_bytes_max.min(limits.log_bytes_max);
            limits.logs_bytes_max = limits.log_bytes_max;
        }
        let [crowd, fed, short] = [Theme::Crowd, Theme::Fed, Theme::Short].map(|it| theme == it);
        let hot = fed || theme == Theme::Hot;
        let plan = Plan {
            turns: if crowd { rng.range(15, 30) } else { rng.range(10, 90) },
            turn_ops: rng.range(1, 6),
            users: if crowd { 90 } else { rng.range(2, 12) },
            spaces: match () {
                () if hot => 1,
                () if short => 4,
                () => rng.range(1, 3),
            },
            members_max: if crowd { 80 } else { rng.range(3, 16) as usize },
            events: *rng.pick(&[0, 200, 200, 700]),
            deflated: *rng.pick(&[0, 300, 300, 900]),
            lobby: if crowd { 900 } else { *rng.pick(&[0, 100, 300]) },
            inbox: *rng.pick(&[0, 50, 100]),
            long: if hot || short { 900 } else { *rng.pick(&[0, 50, 400, 900]) },
            swept: *rng.pick(&[0, 300, 700, 1_000]),
            unswept: *rng.pick(&[0, 0, 850]),
            fed,
            by_store: rng.permille(350),
            mutant: None,
            limits,
            weights,
            weight,
        };
        plan.limits.check().expect("a plan's limits hold together");
        plan
    }

    pub fn op(&self, rng: &mut Rng) -> Op {
        let mut at = rng.below(self.weight);
        for (op, weight) in &self.weights {
            if at < *weight {
                return *op;
            }
            at -= weight;
        }
        unreachable!("the weights add up")
    }
}

fn limits(rng: &mut Rng) -> Limits {
    const KIB: usize = 1 << 10;
    let log_bytes_max = *rng.pick(&[64 * KIB, 64 * KIB, 128 * KIB, 1 << 20]);
    let message_bytes_max = (*rng.pick(&[512, 512, 4 * KIB])).min(log_bytes_max / 32);
    let (ping_period, pong_wait) = *rng.pick(&[(54_000, 60_000), (2_000, 3_000)]);
    let rated = rng.permille(400);
    let rate = |per_second, burst| Rate::new(if rated { per_second } else { 0 }, burst);
    Limits {
        message_bytes_max,
        // A turn says less than the log takes between a pause and an eviction.
        content_chars_max: (*rng.pick(&[50, 1_000, 4_000])).min(log_bytes_max / 256),
        image_bytes_max: *rng.pick(&[0, 40, 2_048]),
        compression: *rng.pick(&[1, 6, 9]),
        log_bytes_max,
        logs_bytes_max: 1 << 30,
        resume_bytes_max: (*rng.pick(&[0, 4 * KIB, 16 * KIB, 64 * KIB])).min(log_bytes_max),
        resume_messages_max: *rng.pick(&[2, 30, 10_000]),
        resume_wait: *rng.pick(&[150, 5_000]),
        resume_window: *rng.pick(&[0, 1_000, 300_000]),
        private_bytes_max: *rng.pick(&[8 * message_bytes_max, 64 * KIB]),
        announce_members_max: *rng.pick(&[0, 1, 3, 500, 500]),
        lobby_members_max: *rng.pick(&[0, 5, 40, 2_000, 2_000, 2_000]),
        sweep_sends_max: *rng.pick(&[1, 2, 3, 8, 64]),
        message_rate: rate(*rng.pick(&[5, 50]), *rng.pick(&[3, 100])),
        user_message_rate: rate(100, 200),
        address_message_rate: rate(500, 1_000),
        control_rate: Rate::new(2, 20),
        flood_wait: *rng.pick(&[300, 5_000]),
        nonce_window: *rng.pick(&[1_000, 120_000]),
        write_wait: *rng.pick(&[400, 10_000]),
        close_wait: *rng.pick(&[10, 1_000]),
        ping_period,
        pong_wait,
        ..Limits::default()
    }
}
