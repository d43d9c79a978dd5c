//! What one message costs on the wire's side: reading its frame, decoding its JSON, encoding the
//! chat that goes out, and its row for PostgreSQL. Each bench checks its result once before it
//! measures.
//!
//! simd-json (in use) and borrowed serde_json read the same bodies, so that a run says which is
//! ahead on the real mix. `HUB_BENCH_FRAMES` sets the frames of one read (32).

mod samples;

use std::borrow::Cow;
use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;

use cpi_hub::store::copy::{self, WallMicros};
use cpi_hub::wire::Dialect;
use cpi_hub::wire::client_message::{ClientMessage, DecodeRules, Decoder};
use cpi_hub::wire::deflate::{Deflater, Inflater};
use cpi_hub::wire::frame_reader::{Heard, Incoming, ReadLimits, Reader};
use cpi_hub::wire::server_message::{self, Chat};

use samples::{body, frame};

const LIMITS: ReadLimits = ReadLimits {
    message_bytes_max: 65_536,
    fragments_max: 16,
    heard: Heard::Read,
    may_deflate: false,
};
const RULES: DecodeRules = DecodeRules { dialect: Dialect::V1, depth_max: 32 };

fn read(c: &mut Criterion) {
    let frames = std::env::var("HUB_BENCH_FRAMES").map_or(32, |n| n.parse().expect("a number"));
    let mut group = c.benchmark_group("read");
    let cases = [
        ("200 B, 1 frame".to_owned(), "hola ", 1),
        ("200 B with accents, 1 frame".to_owned(), "acción ", 1),
        (format!("200 B, {frames} frames"), "hola ", frames),
    ];
    for (name, piece, frames) in cases {
        let bytes = frame(&body(200, piece)).repeat(frames);
        let (mut reader, mut inflater) = (Reader::default(), Inflater::default());
        let mut count = |bytes: &mut [u8]| {
            let (mut input, mut messages) = (bytes, 0);
            while let Some(event) = reader.next(&mut input, LIMITS, &mut inflater) {
                assert!(matches!(black_box(event), Ok(Incoming::Message(_))));
                messages += 1;
            }
            messages
        };
        assert_eq!(count(&mut bytes.clone()), frames);
        let mut copy = bytes.clone();
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            // The copy is what a socket's read would be; 200 B of it cost about 5 ns.
            b.iter(|| {
                copy.copy_from_slice(&bytes);
                assert_eq!(count(black_box(&mut copy)), frames);
            });
        });
    }
    group.finish();
}

/// Borrows where there is no escape. Serde borrows a bare `Cow` field only; inside an `Option` it
/// would copy.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct SerdeMessage<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    data: Option<SerdeData<'a>>,
}

#[derive(Deserialize)]
struct SerdeData<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    image: Option<Text<'a>>,
    #[serde(borrow)]
    nonce: Option<Text<'a>>,
}

fn decode(c: &mut Criterion) {
    let bodies = [
        ("133 B plain", body(133, "hola que tal ")),
        ("200 B plain", body(200, "hola que tal ")),
        ("937 B plain", body(937, "hola que tal ")),
        ("133 B one escape per 20 B", body(133, r"hola que tal estas\n")),
        ("512 B one escape per 20 B", body(512, r"hola que tal estas\n")),
        ("133 B escape-heavy", body(133, r"\u00f1\n\u00e1a")),
        ("512 B escape-heavy", body(512, r"\u00f1\n\u00e1a")),
    ];
    let mut group = c.benchmark_group("decode");
    for (name, body) in &bodies {
        let mut decoder = Decoder::default();
        let mut copy = body.clone();
        let content = match decoder.decode(&mut copy, RULES) {
            Ok(ClientMessage::Chat(chat)) => chat.content.to_owned(),
            other => panic!("{other:?}"),
        };
        let by_serde: SerdeMessage<'_> = serde_json::from_slice(body).expect("valid");
        let data = by_serde.data.expect("there");
        let text = data.content.expect("there").0;
        assert_eq!((&*by_serde.kind.0, &*text), ("chat", &*content));
        assert_eq!(matches!(text, Cow::Borrowed(_)), !body.contains(&b'\\'));
        assert!(data.image.is_none() && data.nonce.is_none());
        group.bench_function(BenchmarkId::new("simd-json", name), |b| {
            let mut copy = body.clone();
            b.iter(|| {
                copy.copy_from_slice(body);
                decoder.decode(black_box(&mut copy), RULES).is_ok()
            });
        });
        group.bench_function(BenchmarkId::new("serde_json", name), |b| {
            let mut copy = body.clone();
            b.iter(|| {
                copy.copy_from_slice(body);
                serde_json::from_slice::<SerdeMessage<'_>>(black_box(&copy)).is_ok()
            });
        });
    }
    // The slow path: a number that the parser can't hold.
    let body = br#"{"type":"chat","data":{"content":"hola que tal"},"n":1e400}"#;
    group.bench_function("1e400 beside the content", |b| {
        let mut decoder = Decoder::default();
        assert!(decoder.decode(&mut body.to_vec(), RULES).is_ok());
        b.iter_batched_ref(
            || body.to_vec(),
            |body| decoder.decode(black_box(body), RULES).is_ok(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn encode(c: &mut Criterion) {
    let at = b"2026-01-02T03:04:05.678901-03:00";
    let chat = samples::outgoing_chat();
    let mut out = BytesMut::with_capacity(1 << 16);
    let bytes = server_message::chat(&mut out, &chat, at);
    assert_eq!(bytes, out.len());
    c.bench_function("encode/chat of 128 B", |b| {
        b.iter(|| {
            out.clear();
            server_message::chat(&mut out, black_box(&chat), at)
        });
    });
}

/// A frame compressed, and inflated again, with the bytes that it comes to in the bench's name.
fn deflate(c: &mut Criterion) {
    let at = b"2026-01-02T03:04:05.678901-03:00";
    let mut group = c.benchmark_group("deflate");
    for content in [samples::outgoing_chat().content, samples::LONG] {
        let (mut plain, mut out) = (BytesMut::new(), BytesMut::with_capacity(1 << 16));
        server_message::chat(&mut plain, &Chat { content, ..samples::outgoing_chat() }, at);
        for level in [1, 2, 3, 4, 6, 9] {
            let mut deflater = Deflater::new(level);
            deflater.frames(&mut out, &plain);
            let name = format!("level {level}: {} B of {}", out.len(), plain.len());
            assert!(out.len() < plain.len(), "{name}");
            group.bench_function(BenchmarkId::new("compress", &name), |b| {
                b.iter(|| {
                    out.clear();
                    deflater.frames(&mut out, black_box(&plain));
                });
            });
            let header = if out[1] < 126 { 2 } else { 4 };
            let (mut inflater, payload) = (Inflater::default(), &out[header..]);
            assert!(inflater.inflate(payload, LIMITS.message_bytes_max).is_ok());
            group.bench_function(BenchmarkId::new("inflate", &name), |b| {
                b.iter(|| inflater.inflate(black_box(payload), LIMITS.message_bytes_max).is_ok());
            });
            out.clear();
        }
    }
    group.finish();
}

/// Rows for PostgreSQL, as a batch of them is encoded.
fn copy_rows(c: &mut Criterion) {
    const ROWS: usize = 1_000;
    let wall = WallMicros::new(-10_800);
    let bound = copy::bytes_for(ROWS, ROWS * (128 + 7));
    let rows = || copy::rows((0..ROWS).map(samples::record), black_box(wall), bound);
    let bytes = rows().len();
    assert!(bytes <= bound && bytes > ROWS * 128);
    let mut group = c.benchmark_group("copy");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("1,000 rows of 128 B", |b| b.iter(rows));
    group.finish();
}

criterion_group!(benches, read, decode, encode, deflate, copy_rows);
criterion_main!(benches);
