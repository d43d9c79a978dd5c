//! Streams of the RFC's and of other makers, bombs, cuts, and windows.

mod plainly;

use super::*;

use proptest::prelude::*;

const MAX: usize = 512;

fn inflated(payload: &[u8], max: usize) -> Result<Vec<u8>, Close> {
    Inflater::default().inflate(payload, max).map(|message| message.to_vec())
}

/// A message as somebody else may compress it.
fn stream(message: &[u8], level: u32, window_bits: u8) -> Vec<u8> {
    let mut stream = Compress::new_with_window_bits(Compression::new(level), false, window_bits);
    let mut out = vec![0; message.len() + 1_000];
    stream.compress(message, &mut out, FlushCompress::Sync).expect("a stream");
    out.truncate(stream.total_out() as usize - TAIL.len());
    out
}

/// The frame that a text becomes.
fn frame(text: &[u8]) -> BytesMut {
    let mut plain = BytesMut::new();
    frame_writer::echo(&mut plain, false, text);
    let mut out = BytesMut::new();
    Deflater::new(6).frames(&mut out, &plain);
    out
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    for payload in [
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    ] {
        assert_eq!(inflated(payload, MAX), Ok(b"Hello".to_vec()), "{payload:x?}");
    }
    assert_eq!(inflated(b"\x00", MAX), Ok(Vec::new()));
    assert_eq!(inflated(b"", MAX), Ok(Vec::new()), "some send nothing at all");
}

#[test]
fn many_messages_that_compress_badly_take_nothing_from_those_behind_them() {
    let (mut deflater, mut word) = (Deflater::new(6), 88_172_645_463_325_252u64);
    let mut noise = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word
    };
    // Several times what a stream has room for.
    for _ in 0..1_000 {
        let message: Vec<u8> = (0..32).flat_map(|_| noise().to_le_bytes()).collect();
        let mut out = BytesMut::new();
        deflater.echo(&mut out, true, &message);
        assert_eq!((out[0], &out[4..]), (0x82, &message[..]), "as it is");
    }
    let mut out = BytesMut::new();
    deflater.echo(&mut out, true, &[b'a'; 100]);
    assert_eq!((out[0], inflated(&out[2..], MAX)), (0xC2, Ok(vec![b'a'; 100])));
}

#[test]
fn a_message_is_compressed_only_where_that_makes_it_shorter() {
    let hello = frame(b"Hello");
    assert_eq!(&hello[..], b"\x81\x05Hello");
    let text = "hola que tal, ".repeat(12);
    let short = frame(text.as_bytes());
    assert_eq!((short[0], usize::from(short[1])), (0xC1, short.len() - 2), "RSV1, FIN, text");
    assert_eq!(inflated(&short[2..], MAX), Ok(text.into_bytes()));
    // Two in one, each by itself.
    let two = [&b"\x81\x05Hello"[..], b"\x81\x14", &[b'a'; 20]].concat();
    let mut out = BytesMut::new();
    let mut deflater = Deflater::new(1);
    deflater.frames(&mut out, &two);
    assert_eq!((&out[..7], out[7]), (&two[..7], 0xC1));
    assert_eq!(inflated(&out[9..], MAX), Ok(vec![b'a'; 20]));
    assert_eq!(deflater.take_bytes(), (two.len() as u64, out.len() as u64));
}

#[test]
fn long_frames_have_the_shortest_header_of_what_they_come_to() {
    // Lengths of each of the three sorts before, and after.
    let letters = |count: usize| -> Vec<u8> {
        let mut word = 1_u32;
        let mut next = || {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (word >> 28) as u8
        };
        (0..count).map(|_| next()).collect()
    };
    for (count, header) in [(126, 2), (300, 4), (70_000, 4), (150_000, 10)] {
        let frame = frame(&letters(count));
        assert_eq!(frame[0], 0xC1, "{count}");
        assert_eq!(event_stream::frame(&frame), (header, frame.len() - header), "{count}");
        assert_eq!(inflated(&frame[header..], count), Ok(letters(count)), "{count}");
    }
}

#[test]
fn a_bomb_stops_at_the_limit_whatever_it_would_come_to() {
    let bomb = stream(&vec![b'a'; 5 << 20], 9, 15);
    assert!(bomb.len() < 6_000, "a thousandth: {}", bomb.len());
    let mut inflater = Inflater::default();
    assert_eq!(inflater.inflate(&bomb, MAX), Err(Close::MessageTooBig));
    assert_eq!(inflater.message.len(), 513, "no room was taken for more");
    assert_eq!(inflater.inflate(&bomb, 1 << 20), Err(Close::MessageTooBig));
    // The next one has neither its state nor its room.
    let next = inflater.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", MAX);
    assert_eq!(next, Ok(&mut b"Hello"[..].to_vec()[..]));
    assert!(inflater.message.len() <= INFLATED_KEPT_BYTES);
    for length in [511, 512, 513] {
        let outcome = inflated(&stream(&vec![b'x'; length], 6, 15), MAX);
        assert_eq!(outcome.map(|it| it.len()).ok(), Some(length).filter(|it| *it <= 512));
    }
}

#[test]
fn what_is_no_whole_stream_is_told_so() {
    let whole = stream("hola que tal".as_bytes(), 6, 15);
    for cut in 1..whole.len() - 1 {
        assert_eq!(inflated(&whole[..cut], MAX), Err(Close::InvalidDeflate), "{cut}");
    }
    // A block of no known sort; a length that contradicts itself; a distance before the beginning.
    for bad in [&b"\xFF\xFF\xFF"[..], b"\x00\x05\x00\x05\x00Hello", b"\x4b\x04\x62\x00\x01"] {
        assert_eq!(inflated(bad, MAX), Err(Close::InvalidDeflate), "{bad:x?}");
    }
    // Nothing but ends of streams is work without a message.
    let ends = [b"\x03\x00".repeat(15), vec![0]].concat();
    assert_eq!(inflated(&ends, MAX), Ok(Vec::new()));
    let ends = [b"\x03\x00".repeat(200), vec![0]].concat();
    assert_eq!(inflated(&ends, MAX), Err(Close::InvalidDeflate));
}

#[test]
fn a_client_with_the_smallest_window_reads_it() {
    let word = |at: usize| format!("{}{at} ", ["hola", "que", "tal", "nos", "vemos"][at % 5]);
    let text: String = (0..800).map(|at| word(at * at % 97)).collect();
    for level in 1..=9 {
        let (mut plain, mut out) = (BytesMut::new(), BytesMut::new());
        frame_writer::echo(&mut plain, false, text.as_bytes());
        Deflater::new(level).frames(&mut out, &plain);
        assert_eq!(out[0], 0xC1, "{level}");
        let (header, _) = event_stream::frame(&out);
        let (read, farthest) = plainly::inflated(&out[header..]);
        assert!(read == text.as_bytes() && farthest > 3, "{level}");
        assert!(farthest <= 1 << WINDOW_BITS, "{level}: it refers {farthest} back");
    }
    let (read, farthest) = plainly::inflated(&stream(text.as_bytes(), 6, 15));
    assert!(read == text.as_bytes() && farthest > 1 << WINDOW_BITS, "which another window would");
}

proptest! {
    #[test]
    fn whatever_is_said_comes_back_as_it_was(
        texts in prop::collection::vec("\\PC{0,200}|[a-c ]{0,2000}", 1..6),
        level in 1_u32..=9,
    ) {
        let (mut deflater, mut inflater) = (Deflater::new(level), Inflater::default());
        for text in &texts {
            let mut plain = BytesMut::new();
            frame_writer::echo(&mut plain, false, text.as_bytes());
            let mut out = BytesMut::with_capacity(plain.len());
            let room = out.capacity();
            deflater.frames(&mut out, &plain);
            prop_assert!(out.len() <= plain.len() && out.capacity() == room, "within its bound");
            let (header, payload) = event_stream::frame(&out);
            prop_assert_eq!(header + payload, out.len());
            if out[0] == 0x81 {
                prop_assert_eq!(&out, &plain);
                continue;
            }
            let read = inflater.inflate(&out[header..], 1 << 16).map(|read| read.to_vec());
            prop_assert_eq!(read.as_deref(), Ok(text.as_bytes()));
        }
    }
}
