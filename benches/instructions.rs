//! How many instructions the stages of a message take, for `perf/instructions`: it runs this under
//! callgrind, once and with twice the times, and the difference is the stage.
//!
//! `instructions STAGE TIMES`; without arguments it names the stages. Each checks what it did.

// It talks to the script that runs it.
#![allow(clippy::print_stdout)]

mod samples;
mod stage;

use std::hint::black_box;
use std::process::ExitCode;

use bytes::BytesMut;

use cpi_hub::metrics::Metric;
use cpi_hub::shard::event::Input;
use cpi_hub::store::copy::{self, WallMicros};
use cpi_hub::wire::client_message::{ClientMessage, DecodeRules, Decoder};
use cpi_hub::wire::close::Close;
use cpi_hub::wire::deflate::Inflater;
use cpi_hub::wire::frame_reader::{Heard, Incoming, ReadLimits, Reader};
use cpi_hub::wire::{Dialect, Encoding, server_message};

use stage::Stage;

const READ: ReadLimits = ReadLimits {
    message_bytes_max: 65_536,
    fragments_max: 16,
    heard: Heard::Read,
    may_deflate: false,
};
const RULES: DecodeRules = DecodeRules { dialect: Dialect::V1, depth_max: 32 };
/// Messages of one turn of the heart.
const FRAMES: usize = 16;

/// A stage.
struct Measured {
    name: &'static str,
    /// How often it is done under callgrind, which is some fifty times slower.
    times: u64,
    what: &'static str,
    run: fn(u64),
}

#[rustfmt::skip]
const STAGES: [Measured; 14] = [
    Measured { name: "read", times: 20_000, what: "a masked frame of 200 bytes", run: read },
    Measured { name: "decode", times: 20_000, what: "JSON of 133 plain bytes",
        run: |times| decode("hola que tal ", 133, times) },
    Measured { name: "decode-escapes", times: 5_000, what: "JSON of 512 bytes, mostly escapes",
        run: |times| decode(r"\u00f1\n\u00e1a", 512, times) },
    Measured { name: "encode", times: 20_000, what: "a chat frame of 128 bytes", run: encode },
    Measured { name: "chat", times: 2_000, what: "16 chats of one member, decoding to sweep",
        run: |times| said(false, times) },
    Measured { name: "chat-durable", times: 2_000, what: "16 chats with nonce and durable ack",
        run: |times| said(true, times) },
    Measured { name: "fan-out-10", times: 2_000, what: "16 chats to 10 members",
        run: |times| fan_out(10, times) },
    Measured { name: "fan-out-1000", times: 100, what: "16 chats to 1,000 members",
        run: |times| fan_out(1_000, times) },
    Measured { name: "events-1000", times: 100, what: "16 chats to 1,000 readers of events",
        run: |times| fan_out_in(Encoding::Events, 1_000, times) },
    Measured { name: "deflated-10", times: 50, what: "16 chats to 10 compressed readers",
        run: |times| fan_out_in(Encoding::Deflated, 10, times) },
    Measured { name: "deflated-1000", times: 100, what: "16 chats to 1,000 compressed readers",
        run: |times| fan_out_in(Encoding::Deflated, 1_000, times) },
    Measured { name: "join-leave-10", times: 2_000, what: "a join and a leave beside 10 members",
        run: |times| come_and_go(10, times) },
    Measured { name: "join-leave-1000", times: 200, what: "the same beside 1,000, announced to all",
        run: |times| come_and_go(1_000, times) },
    Measured { name: "copy", times: 50, what: "1,000 rows as PostgreSQL's COPY has them",
        run: copy_rows },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let known = |name: &str| STAGES.iter().find(|stage| stage.name == name);
    match &arguments[..] {
        [name, times] if let (Some(stage), Ok(times)) = (known(name), times.parse()) => {
            (stage.run)(times);
            ExitCode::SUCCESS
        }
        // `cargo bench` says --bench, and wants nothing from this one.
        [] | [_] => {
            for Measured { name, times, what, .. } in &STAGES {
                println!("{name}\t{times}\t{what}");
            }
            ExitCode::SUCCESS
        }
        _ => {
            println!("usage: instructions [STAGE TIMES]");
            ExitCode::from(2)
        }
    }
}

fn read(times: u64) {
    let frame = samples::frame(&samples::body(200, "hola "));
    let (mut reader, mut inflater) = (Reader::default(), Inflater::default());
    let mut copy = frame.clone();
    for _ in 0..times {
        copy.copy_from_slice(&frame);
        let mut input = black_box(&mut copy[..]);
        let event = reader.next(&mut input, READ, &mut inflater);
        assert!(matches!(black_box(event), Some(Ok(Incoming::Message(_)))));
    }
}

fn decode(piece: &str, bytes: usize, times: u64) {
    let body = samples::body(bytes, piece);
    let (mut decoder, mut copy) = (Decoder::default(), body.clone());
    for _ in 0..times {
        copy.copy_from_slice(&body);
        let message = decoder.decode(black_box(&mut copy), RULES);
        assert!(matches!(black_box(message), Ok(ClientMessage::Chat(_))));
    }
}

fn encode(times: u64) {
    let chat = samples::outgoing_chat();
    let mut out = BytesMut::with_capacity(1 << 16);
    for _ in 0..times {
        out.clear();
        let bytes =
            server_message::chat(&mut out, black_box(&chat), b"2026-01-02T03:04:05.678901-03:00");
        assert_eq!(bytes, out.len());
    }
}

fn said(durable: bool, times: u64) {
    let mut stage = Stage::new(1, 500);
    let content = "hola ".repeat(25);
    let member = stage.members[0];
    if durable {
        let data = format!(r#""content":"{content}","nonce":"{:020}","ack":"durable""#, 0);
        stage.json = format!(r#"{{"type":"chat","data":{{{data}}}}}"#).into_bytes();
    }
    let digits = stage.json.windows(20).position(|window| window == [b'0'; 20]);
    for number in 0..times * FRAMES as u64 {
        if let Some(at) = digits {
            // None is a repeat.
            let digit = |place: usize| b'a' + (number >> (4 * place) & 15) as u8;
            stage.json[at..at + 8].copy_from_slice(&std::array::from_fn::<u8, 8, _>(digit));
        }
        stage.say(member);
        if number % FRAMES as u64 == FRAMES as u64 - 1 {
            stage.sweep();
        }
    }
    assert_eq!(stage.shard.counts().get(Metric::ChatsAccepted), times * FRAMES as u64);
}

fn fan_out(members: usize, times: u64) {
    let mut stage = Stage::new(members, 0);
    let before = stage.around.sockets.bytes;
    for _ in 0..times {
        stage.turn(FRAMES);
    }
    let sent = stage.around.sockets.bytes - before;
    let frames = times * (FRAMES * members) as u64;
    assert_eq!((sent % frames, sent / frames > 128), (0, true), "every member, every byte");
}

fn fan_out_in(encoding: Encoding, readers: usize, times: u64) {
    let mut stage = Stage::new(1, 0);
    for user in 0..readers {
        stage.join_as(2_000_000 + user as i32, encoding);
        stage.sweep();
    }
    if encoding == Encoding::Deflated {
        // Words as people say them: a text of one word compresses to nothing.
        let content = samples::outgoing_chat().content;
        stage.json = format!(r#"{{"type":"chat","data":{{"content":"{content}"}}}}"#).into_bytes();
    }
    let before = stage.around.sockets.bytes;
    for _ in 0..times {
        stage.turn(FRAMES);
    }
    let sent = stage.around.sockets.bytes - before;
    let messages = times * (FRAMES * readers) as u64;
    // A frame has 387 bytes here, and so the speaker is sent as many too.
    let expected = match encoding {
        Encoding::Frames => unreachable!("see fan_out"),
        Encoding::Events => 400..600,
        Encoding::Deflated => 100..300,
    };
    assert!(expected.contains(&(sent / messages)), "every reader, every byte: {sent}");
}

fn come_and_go(members: usize, times: u64) {
    let mut stage = Stage::new(members, 16_000_000);
    for user in 0..times {
        let key = stage.join(2_000_000 + user as i32);
        stage.sweep();
        stage.shard.input(stage.now, Input::Close(key, Close::Gone));
        stage.sweep();
    }
    assert_eq!(stage.shard.counts().get(Metric::Leaves), times);
}

fn copy_rows(times: u64) {
    let wall = WallMicros::new(-10_800);
    let bound = copy::bytes_for(1_000, 1_000 * (128 + 7));
    for _ in 0..times {
        let rows = copy::rows((0..1_000).map(samples::record), black_box(wall), bound);
        assert!(black_box(rows).len() <= bound);
    }
}
