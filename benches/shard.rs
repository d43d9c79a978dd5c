//! What the heart costs beside the kernel: chats decoded, appended and swept to sockets that only
//! count, per delivery; and members coming and going.
//!
//! Each bench checks that every member was sent every byte. `CPI_BENCH_MEMBERS` and
//! `CPI_BENCH_FRAMES` set the lists (1,10,100,1000,10000 and 1,16,64).

use std::hint::black_box;
use std::io::Write;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use cpi_hub::limits::{Limits, Rate};
use cpi_hub::metrics::Metric;
use cpi_hub::shard::event::{Effects, Input, Join, MemberKey, Sent, Sockets};
use cpi_hub::shard::{Shard, ShardSetup};
use cpi_hub::wire::close::Close;
use cpi_hub::wire::time::{Micros, MonoMs, Now};
use cpi_hub::wire::{Dialect, Id, SpaceId, SpaceKey, UserId};

const SPACE: SpaceKey = SpaceKey::Chat(SpaceId(1));

/// Sockets that take everything.
#[derive(Default)]
struct Counting {
    sends: u64,
    bytes: u64,
}

impl Sockets for Counting {
    fn send(&mut self, member: MemberKey, bytes: &[u8]) -> Sent {
        self.sends += 1;
        self.bytes += black_box(bytes).len() as u64;
        black_box(member);
        Sent::Bytes(bytes.len())
    }

    fn sendv(&mut self, member: MemberKey, first: &[u8], second: &[u8]) -> Sent {
        self.send(member, first);
        self.sends -= 1;
        self.bytes += black_box(second).len() as u64;
        Sent::Bytes(first.len() + second.len())
    }

    fn arm(&mut self, _member: MemberKey) {}

    fn finish(&mut self, _member: MemberKey) {}
}

struct Stage {
    shard: Shard,
    fx: Effects,
    now: Now,
    sockets: Counting,
    members: Vec<MemberKey>,
    json: Vec<u8>,
    scratch: Vec<u8>,
    journal: u64,
}

impl Stage {
    fn new(members: usize, announce_members_max: usize) -> Stage {
        let off = Rate::new(0, 0);
        let limits = Limits {
            message_rate: off,
            user_message_rate: off,
            announce_members_max,
            ..Limits::default()
        };
        let now = Now { mono: MonoMs(1_000), unix: Micros(1_767_225_600_000_000) };
        let (highest, published) = (Id::MIN, Vec::new());
        let setup = ShardSetup { number: 0, limits, seed: 1, highest, published, now };
        let mut stage = Stage {
            shard: Shard::new(setup),
            fx: Effects::default(),
            now,
            sockets: Counting::default(),
            members: Vec::new(),
            json: chat(128),
            scratch: Vec::new(),
            journal: 0,
        };
        stage.shard.input(now, Input::JournalRoom(1 << 40), &mut stage.fx);
        for user in 0..members {
            // All ids are of one length, and so all frames.
            let member = stage.join(1_000_000 + user as i32);
            stage.members.push(member);
            stage.sweep();
        }
        stage
    }

    fn join(&mut self, user: i32) -> MemberKey {
        let join = Join {
            space: SPACE,
            user: UserId(user),
            username: "Ana Paz".into(),
            dialect: Dialect::V1,
            after: None,
            address: None,
        };
        self.shard.input(self.now, Input::Join(join), &mut self.fx);
        self.fx.joined.take().expect("a join makes a member")
    }

    fn say(&mut self, from: MemberKey) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.json);
        self.shard.input(self.now, Input::Message(from, &mut self.scratch), &mut self.fx);
    }

    /// The turn ends: the journal has its records, everyone is sent what is owed.
    fn sweep(&mut self) {
        if !self.fx.records.is_empty() {
            self.journal += self.fx.records.len() as u64;
            self.fx.records.clear();
            self.shard.input(self.now, Input::Appended(self.journal), &mut self.fx);
            self.shard.input(self.now, Input::Committed(self.journal), &mut self.fx);
        }
        while self.shard.sweep(self.now, &mut self.sockets, &mut self.fx) {}
        self.fx.occupancy.clear();
        self.fx.ended.clear();
        self.now.unix.0 += 50;
    }

    /// So many chats by turns, then one sweep.
    fn turn(&mut self, frames: usize) {
        for frame in 0..frames {
            let from = self.members[frame % self.members.len()];
            self.say(from);
        }
        self.sweep();
    }
}

/// A chat with so many bytes of content.
fn chat(bytes: usize) -> Vec<u8> {
    let content: String = "hola ".chars().cycle().take(bytes).collect();
    format!(r#"{{"type":"chat","data":{{"content":"{content}"}}}}"#).into_bytes()
}

fn list(name: &str, default: &[usize]) -> Vec<usize> {
    let Ok(text) = std::env::var(name) else { return default.to_vec() };
    text.split(',').map(|number| number.trim().parse().expect("a list of numbers")).collect()
}

/// A turn of k chats, and everyone is sent them: ns per delivery are time / elements.
fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan_out");
    for members in list("CPI_BENCH_MEMBERS", &[1, 10, 100, 1_000, 10_000]) {
        for frames in list("CPI_BENCH_FRAMES", &[1, 16, 64]) {
            let mut stage = Stage::new(members, 16_000_000);
            stage.turn(1);
            let before = (stage.sockets.bytes, stage.shard.counts().get(Metric::FramesAppended));
            stage.turn(1);
            let frame = (stage.sockets.bytes - before.0) / members as u64;
            group.throughput(Throughput::Elements((members * frames) as u64));
            let id = BenchmarkId::new(format!("{members} members"), format!("k = {frames}"));
            let (mut turns, before) = (0, stage.sockets.bytes);
            group.bench_function(id, |bench| {
                bench.iter(|| {
                    stage.turn(frames);
                    turns += frames as u64;
                });
            });
            let sent = stage.sockets.bytes - before;
            assert_eq!(sent, turns * frame * members as u64, "every member was sent every byte");
        }
    }
    group.finish();
}

/// Chats of one member alone, plain and with what nonces and acks cost.
fn message(c: &mut Criterion) {
    const FRAMES: u64 = 64;
    let mut group = c.benchmark_group("message");
    group.throughput(Throughput::Elements(FRAMES));
    for ack in ["plain", "none", "accepted", "durable"] {
        let mut stage = Stage::new(1, 500);
        let from = stage.members[0];
        let content = "hola ".repeat(25);
        let mut said = 0u64;
        group.bench_function(ack, |bench| {
            bench.iter(|| {
                for _ in 0..FRAMES {
                    said += 1;
                    let json = &mut stage.json;
                    json.clear();
                    _ = write!(json, r#"{{"type":"chat","data":{{"content":"{content}""#);
                    if ack != "plain" {
                        _ = write!(json, r#","nonce":"{said}","ack":"{ack}""#);
                    }
                    json.extend_from_slice(b"}}");
                    stage.say(from);
                }
                stage.sweep();
            });
        });
        assert_eq!(stage.shard.counts().get(Metric::ChatsAccepted), said);
    }
    group.finish();
}

/// A join and a leave, announced to everyone, or to nobody in a big space.
fn join_leave(c: &mut Criterion) {
    let mut group = c.benchmark_group("join_leave");
    for (members, announced) in [(10, true), (10_000, true), (10_000, false)] {
        let mut stage = Stage::new(members, if announced { 16_000_000 } else { 500 });
        let kind = if announced { "announced" } else { "counted" };
        let first = 2_000_000;
        let mut user = first;
        for swept in [false, true] {
            let what = if swept { "with the sweep" } else { "without" };
            let id = BenchmarkId::new(format!("{members} members, {kind}"), what);
            group.bench_function(id, |bench| {
                bench.iter(|| {
                    let key = stage.join(user);
                    user = user.wrapping_add(1).max(first);
                    if swept {
                        stage.sweep();
                    }
                    stage.shard.input(stage.now, Input::Close(key, Close::Gone), &mut stage.fx);
                    if swept {
                        stage.sweep();
                    } else if stage.fx.ended.len() >= 100 {
                        // Logs are bounded by sweeps; one in a hundred is little of the time.
                        stage.sweep();
                    }
                });
            });
            stage.sweep();
        }
        let counts = stage.shard.counts();
        let left = counts.get(Metric::Joins) - counts.get(Metric::Leaves);
        assert_eq!(left, members as u64, "who came has gone");
        assert_eq!(counts.closes(Close::TooSlow.kind()), 0);
    }
    group.finish();
}

criterion_group!(benches, fan_out, message, join_leave);
criterion_main!(benches);
