//! What the frame reader says to each kind of bad or odd frame, by the rows of
//! `docs/BAD_INPUT.md`.

use cpi_hub::wire::frame_reader::{Heard, ReadLimits, Reader};

use super::{LIMITS, MASK, events, frame, names};

const TOO_BIG: &str = "message_too_big";
const PROTOCOL: &str = "protocol_error";
const UTF8: &str = "invalid_utf8";

/// Holds for the bytes in one read and byte by byte.
#[track_caller]
fn check(frames: &[Vec<u8>], expected: &[&str]) {
    let bytes = frames.concat();
    let whole = events(&mut Reader::default(), [&bytes[..]], LIMITS);
    assert_eq!(names(&whole), expected, "in one read");
    let single = events(&mut Reader::default(), bytes.chunks(1), LIMITS);
    assert_eq!(names(&single), expected, "byte by byte");
}

#[test]
fn whole_messages_and_control_frames_come_in_order() {
    check(&[frame(0x81, b"hola"), frame(0x81, b"")], &["hola", ""]);
    check(&[frame(0x82, "ñ".as_bytes())], &["ñ"]);
    check(&[frame(0x89, b"\x00\xFF"), frame(0x8A, b"x")], &["ping [0, 255]", "pong"]);
    check(&[frame(0x81, &[b'a'; 512])], &["a".repeat(512).as_str()]);
    check(&[frame(0x88, b"")], &["close 1005"]);
    check(&[frame(0x88, b"\x03\xE8bye")], &["close 1000"]);
    check(&[frame(0x88, b"\x0F\xA1")], &["close 4001"]);
}

#[test]
fn fragments_become_one_message_and_control_frames_pass_between_them() {
    let (ñ, rest) = ("ñandú".as_bytes(), frame(0x81, b"next"));
    let parts = [frame(0x01, &ñ[..1]), frame(0x89, b"p"), frame(0x00, &ñ[1..3])];
    let end = [frame(0x8A, b""), frame(0x80, &ñ[3..]), rest];
    check(&[&parts[..], &end[..]].concat(), &["ping [112]", "pong", "ñandú", "next"]);
    check(&[frame(0x02, b"a"), frame(0x80, b"b")], &["ab"]);
}

#[test]
fn what_is_sent_back_is_text_or_any_bytes() {
    let echoed = ReadLimits { heard: Heard::Echoed, ..LIMITS };
    let of = |frames: &[Vec<u8>]| {
        let bytes = frames.concat();
        let whole = events(&mut Reader::default(), [&bytes[..]], echoed);
        assert_eq!(events(&mut Reader::default(), bytes.chunks(1), echoed), whole);
        names(&whole)
    };
    let (text, binary) = (frame(0x81, b"a"), frame(0x82, b"\xFF"));
    assert_eq!(of(&[text.clone(), binary, text.clone()]), ["a", "binary [255]", "a"]);
    let parts = [frame(0x02, b"\xC3"), frame(0x89, b""), frame(0x80, b"b"), text];
    assert_eq!(of(&parts), ["ping []", "binary [195, 98]", "a"]);
    assert_eq!(of(&[frame(0x01, b"\xC3"), frame(0x80, b"b")]), [UTF8]);
}

#[test]
fn row_14_unmasked_frames_are_refused() {
    check(&[vec![0x81, 4, b'h', b'o', b'l', b'a']], &[PROTOCOL]);
    check(&[vec![0x89, 0]], &[PROTOCOL]);
}

#[test]
fn row_15_reserved_bits_and_opcodes_are_refused() {
    for first in [0xC1, 0xA1, 0x91, 0xC9, 0xC0] {
        check(&[frame(first, b"x")], &[PROTOCOL]);
    }
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        check(&[frame(0x80 | opcode, b"")], &[PROTOCOL]);
    }
}

fn long(length: u64) -> Vec<u8> {
    [&[0x81, 0xFF][..], &length.to_be_bytes(), &MASK].concat()
}

#[test]
fn rows_16_and_17_lengths_are_judged_before_anything_is_kept() {
    check(&[vec![0x81, 0xFE, 0, 125]], &[PROTOCOL]);
    for length in [0, 125, 126, 65_535, 1 << 63, u64::MAX] {
        check(&[long(length)], &[PROTOCOL]);
    }
    for length in [65_536, 1 << 30, (1 << 63) - 1] {
        check(&[long(length)], &[TOO_BIG]);
    }
    check(&[frame(0x81, &[b'a'; 513])[..8].to_vec()], &[TOO_BIG]);
    check(&[frame(0x01, &[b'a'; 400]), frame(0x80, &[b'a'; 113])], &[TOO_BIG]);
    let whole = "a".repeat(512);
    check(&[frame(0x01, &[b'a'; 400]), frame(0x80, &[b'a'; 112])], &[&whole]);

    let mut reader = Reader::default();
    events(&mut reader, [&frame(0x81, &[b'a'; 512])[..9]], LIMITS);
    assert!(reader.held_bytes() <= 2, "one byte of 512 has come: {}", reader.held_bytes());
}

#[test]
fn row_18_the_17th_fragment_is_too_many_also_when_all_are_empty() {
    let first = [frame(0x01, b"")];
    let continued = vec![frame(0x00, b""); 15];
    check(&[&first[..], &continued[..14], &[frame(0x80, b"x")]].concat(), &["x"]);
    check(&[&first[..], &continued, &[frame(0x80, b"x")]].concat(), &[TOO_BIG]);
}

#[test]
fn row_19_fragments_out_of_order_and_bad_control_frames_are_refused() {
    check(&[frame(0x80, b"x")], &[PROTOCOL]);
    check(&[frame(0x00, b"x")], &[PROTOCOL]);
    check(&[frame(0x01, b"x"), frame(0x81, b"y")], &[PROTOCOL]);
    check(&[frame(0x01, b"x"), frame(0x02, b"y")], &[PROTOCOL]);
    check(&[frame(0x01, b"a"), frame(0x80, b"b"), frame(0x80, b"c")], &["ab", PROTOCOL]);
    for opcode in [8, 9, 10] {
        check(&[frame(opcode, b"")], &[PROTOCOL]);
        check(&[frame(0x80 | opcode, &[b'x'; 126])], &[PROTOCOL]);
    }
    let ping = format!("ping {:?}", [b'x'; 125]);
    check(&[frame(0x89, &[b'x'; 125])], &[&ping]);
}

#[test]
fn row_21_bad_utf8_is_refused_as_soon_as_it_is_seen() {
    let bad: [&[u8]; 7] =
        [b"\xFF", b"\xC0\xAF", b"\xED\xA0\x80", b"\xF4\x90", b"\x80", b"\xF8", b"a\xC3a"];
    for bytes in bad {
        for first in [0x81, 0x82, 0x01] {
            let text = [b"ok \xC3\xB1", bytes].concat();
            check(&[frame(first, &text)], &[UTF8]);
            // Fail fast: nothing after the bad bytes is waited for.
            let cut = frame(first, &[&text[..], &[b'z'; 99]].concat());
            check(&[cut[..6 + text.len()].to_vec()], &[UTF8]);
        }
    }
    // A character cut by the end of its message.
    check(&[frame(0x81, b"\xC3")], &[UTF8]);
    check(&[frame(0x01, b"\xE2\x82"), frame(0x80, b"")], &[UTF8]);
    check(&[frame(0x01, b"\xE2\x82"), frame(0x00, b"\x28")], &[UTF8]);
}

#[test]
fn row_25_close_frames_that_break_the_rules_are_refused() {
    check(&[frame(0x88, b"\x03")], &[PROTOCOL]);
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        check(&[frame(0x88, &code.to_be_bytes())], &[PROTOCOL]);
    }
    let reason = [&1000_u16.to_be_bytes()[..], &[0xFF; 122]].concat();
    check(&[frame(0x88, &reason)], &[UTF8]);
}

#[test]
fn what_was_kept_is_free_again_when_the_message_is_over() {
    let mut reader = Reader::default();
    let whole = frame(0x81, &[b'a'; 500]);
    assert_eq!(events(&mut reader, [&whole[..300]], LIMITS), []);
    assert!((292..=512).contains(&reader.held_bytes()));
    assert_eq!(events(&mut reader, [&whole[300..]], LIMITS).len(), 1);
    assert_eq!(reader.held_bytes(), 0);
    assert_eq!(events(&mut reader, [&whole[..], &whole[..]], LIMITS).len(), 2);
    assert_eq!(reader.held_bytes(), 0);
}

#[test]
fn row_27_a_compressed_message_is_read_in_any_pieces_and_only_where_that_was_agreed_on() {
    let deflating = ReadLimits { may_deflate: true, ..LIMITS };
    let of = |frames: &[Vec<u8>], limits| {
        let bytes = frames.concat();
        let whole = events(&mut Reader::default(), [&bytes[..]], limits);
        assert_eq!(events(&mut Reader::default(), bytes.chunks(1), limits), whole);
        names(&whole)
    };
    // "Hello", as RFC 7692 7.2.3.1 has it.
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let plain = frame(0x81, b"hola");
    assert_eq!(of(&[frame(0xC1, hello), plain.clone()], deflating), ["Hello", "hola"]);
    let pieces = [frame(0x42, &hello[..2]), frame(0x89, b""), frame(0x80, &hello[2..]), plain];
    assert_eq!(of(&pieces, deflating), ["ping []", "Hello", "hola"]);
    for bad in [
        vec![frame(0xC9, b"")],
        vec![frame(0xC0, hello)],
        vec![frame(0xA1, hello)],
        vec![frame(0x41, &hello[..2]), frame(0xC0, &hello[2..])],
        vec![frame(0x41, &hello[..2]), frame(0xC1, hello)],
    ] {
        let last = of(&bad, deflating).pop();
        assert_eq!(last.as_deref(), Some(PROTOCOL), "{bad:x?}");
    }
    assert_eq!(of(&[frame(0xC1, &[0; 641])], deflating), [TOO_BIG]);
    assert_eq!(of(&[frame(0x41, &[0; 600]), frame(0x80, &[0; 41])], deflating), [TOO_BIG]);
    assert_eq!(of(&[frame(0x81, &[b'a'; 513])], deflating), [TOO_BIG], "plain ones as ever");
    // A stored block of three bytes, the second of which begins no character.
    let latin = frame(0xC1, b"\x00\x03\x00\xfc\xffa\xF1o\x00");
    assert_eq!(of(&[latin], deflating), [UTF8]);
    assert_eq!(of(&[frame(0xC1, b"\xFF\xFF")], deflating), ["invalid_deflate"]);
    let unheard = ReadLimits { heard: Heard::Dropped, ..deflating };
    assert_eq!(of(&[frame(0xC1, &[0xFF; 100])], unheard), ["unheard 100"], "nobody inflates it");
    check(&[frame(0xC1, hello)], &[PROTOCOL]);
}
