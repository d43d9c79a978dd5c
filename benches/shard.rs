//! What the heart costs beside the kernel: chats decoded, appended and swept to sockets that only
//! count, per delivery; and members coming and going.
//!
//! Each bench checks that every member was sent every byte. `HUB_BENCH_MEMBERS` and
//! `HUB_BENCH_FRAMES` set the lists (1,10,100,1000,10000 and 1,16,64).

mod stage;

use std::io::Write;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use cpi_hub::metrics::Metric;
use cpi_hub::shard::event::Input;
use cpi_hub::wire::close::Close;

use stage::Stage;

fn list(name: &str, default: &[usize]) -> Vec<usize> {
    let Ok(text) = std::env::var(name) else { return default.to_vec() };
    text.split(',').map(|number| number.trim().parse().expect("a list of numbers")).collect()
}

/// A turn of k chats, and everyone is sent them: ns per delivery are time / elements.
fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan_out");
    for members in list("HUB_BENCH_MEMBERS", &[1, 10, 100, 1_000, 10_000]) {
        for frames in list("HUB_BENCH_FRAMES", &[1, 16, 64]) {
            let mut stage = Stage::new(members, 16_000_000);
            stage.turn(1);
            let before =
                (stage.around.sockets.bytes, stage.shard.counts().get(Metric::FramesAppended));
            stage.turn(1);
            let frame = (stage.around.sockets.bytes - before.0) / members as u64;
            group.throughput(Throughput::Elements((members * frames) as u64));
            let id = BenchmarkId::new(format!("{members} members"), format!("k = {frames}"));
            let (mut turns, before) = (0, stage.around.sockets.bytes);
            group.bench_function(id, |bench| {
                bench.iter(|| {
                    stage.turn(frames);
                    turns += frames as u64;
                });
            });
            let sent = stage.around.sockets.bytes - before;
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
                    stage.shard.input(stage.now, Input::Close(key, Close::Gone));
                    if swept {
                        stage.sweep();
                    } else if stage.shard.effects().ended.len() >= 100 {
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
