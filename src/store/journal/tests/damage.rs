//! Whatever byte of a set of segments is wrong: the start, `journal verify` and the batcher's tail
//! judge it the same way, so that no hub gets ready on a journal that it can't read.

use std::fs;

use crate::limits::TAIL_WINDOW_BYTES;
use crate::store::journal::fuzzing::{judge, segments};
use crate::store::journal::segment::HEADER_BYTES;

#[test]
fn start_verify_and_tail_agree_on_every_byte_that_is_wrong() {
    for synced in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let segments = segments(folder.path(), synced);
        segments.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("it writes"));
        assert_eq!(judge(folder.path(), "untouched"), Some(6));
        let mut refused = 0;
        for (n, (path, sound)) in segments.iter().enumerate() {
            for at in 0..sound.len() {
                let mask = [0x01, 0x80, 0xFF][at % 3];
                let mut bytes = sound.clone();
                bytes[at] ^= mask;
                fs::write(path, bytes).expect("it writes");
                let what = format!("segment {n}, byte {at} ^ {mask:#x}, synced: {synced}");
                refused += u32::from(judge(folder.path(), &what).is_none());
            }
            fs::write(path, sound).expect("it writes");
        }
        assert_eq!(refused > 0, synced, "only what was on the disk is missed");
    }
}

#[test]
fn bytes_behind_a_full_segments_last_block_are_no_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path(), true);
    segments.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("it writes"));
    let (path, sound) = &segments[0];
    let end = sound.iter().rposition(|byte| *byte != 0).expect("blocks") + 1;
    assert!(end > HEADER_BYTES);
    // Anything that looks like the beginning of a block: its length leads anywhere.
    for length in [1u32, 20, 60, 300, 1 << 20, u32::MAX] {
        let mut bytes = sound.clone();
        bytes[end + 4..end + 8].copy_from_slice(&length.to_le_bytes());
        fs::write(path, bytes).expect("it writes");
        assert_eq!(judge(folder.path(), &format!("length {length}")), Some(6));
    }
}

#[test]
fn start_verify_and_tail_agree_on_segments_that_are_cut_or_gone() {
    for synced in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let segments = segments(folder.path(), synced);
        segments.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("it writes"));
        for (n, (path, sound)) in segments.iter().enumerate() {
            for length in (0..sound.len()).step_by(3) {
                fs::write(path, &sound[..length]).expect("it writes");
                judge(folder.path(), &format!("segment {n} cut to {length}, synced: {synced}"));
            }
            fs::remove_file(path).expect("it goes");
            judge(folder.path(), &format!("segment {n} is gone, synced: {synced}"));
            fs::write(path, sound).expect("it writes");
        }
    }
}

#[test]
fn a_rest_that_is_longer_than_what_the_tail_reads_at_once_is_no_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut segments = segments(folder.path(), true);
    let sound = segments[0].1.clone();
    let end = sound.iter().rposition(|byte| *byte != 0).expect("blocks") + 1;
    let rest = 3 * usize::try_from(TAIL_WINDOW_BYTES).expect("it fits");
    for length in [60, TAIL_WINDOW_BYTES as u32, 2 * TAIL_WINDOW_BYTES as u32, 1 << 20] {
        segments[0].1.resize(end + rest, 0xA5);
        segments[0].1[end + 4..end + 8].copy_from_slice(&length.to_le_bytes());
        segments.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("it writes"));
        assert_eq!(judge(folder.path(), &format!("length {length}")), Some(6));
    }
}
