//! The data directory: whose it is, how much room it has, on what it lies, how fast it is flushed.
//!
//! Writes one small file of its own beside the hub's, flushes it some times, and removes it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{StatFs, fdatasync, statfs};

use super::{Finding, middle_and_longest, ms};
use crate::clock::Clock;
use crate::config::Config;
use crate::limits::{SEGMENT_BYTES_MAX, sum};
use crate::store::data_dir_openness;

/// Flushes that are measured, and for how long at most.
const FLUSHES: usize = 40;
const MEASURE_WAIT: i64 = 2_000_000;
/// A block of a journal's.
const BLOCK: [u8; 4_096] = [0; 4_096];
/// A flush of a disk that is up to a busy hub.
const FLUSH_WANTED: Duration = Duration::from_millis(10);

/// All of it.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let dir = &config.data_dir;
    let Some(there) = nearest_existing(dir) else {
        let what = format!("{}: there is no such place", dir.display());
        return vec![Finding::problem("data_dir", what, "give data_dir a place that exists")];
    };
    let mut found = vec![rights(dir, &there)];
    match statfs(&there) {
        Ok(filled) => {
            found.push(room(&filled, config.limits.journal_bytes_max));
            found.extend(kind(filled.f_type));
        }
        Err(error) => found.push(Finding::unknown("disk_room", error.to_string())),
    }
    found.push(flushes(&there, config.limits.sync_period));
    found
}

/// The directory, or the first above it that is there.
fn nearest_existing(dir: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(dir).ok()?;
    dir.ancestors().find(|dir| dir.is_dir()).map(Path::to_owned)
}

fn rights(dir: &Path, there: &Path) -> Finding {
    const NAME: &str = "data_dir";
    if fs::metadata(dir).is_ok_and(|found| !found.is_dir()) {
        let what = format!("{} is no directory", dir.display());
        return Finding::problem(NAME, what, "give data_dir a directory");
    }
    if !dir.is_dir() {
        let what = format!("{} will be made at the first start", dir.display());
        return Finding::ok(NAME, what);
    }
    match data_dir_openness(there) {
        None => Finding::ok(NAME, format!("{} is this user's alone", dir.display())),
        Some(open) => {
            let fix = format!("chmod 700 {0} and chown it to the hub's user", dir.display());
            Finding::warning(NAME, open, &fix)
        }
    }
}

fn room(filled: &StatFs, journal_bytes_max: u64) -> Finding {
    let block = u64::try_from(filled.f_bsize).unwrap_or_default();
    judged_room(filled.f_bavail.saturating_mul(block), journal_bytes_max)
}

fn judged_room(free: u64, journal_bytes_max: u64) -> Finding {
    const NAME: &str = "disk_room";
    const FIX: &str = "make room, or give data_dir another disk";
    let what = format!("{} are free", sum::readable(free));
    // Each shard has a segment in use and one that is prepared.
    if free < 2 * SEGMENT_BYTES_MAX {
        return Finding::problem(NAME, format!("{what}: chat will be refused"), FIX);
    }
    if free < journal_bytes_max {
        let most = sum::readable(journal_bytes_max);
        let what = format!("{what}, journals alone may take {most} while the store is away");
        return Finding::warning(NAME, what, "make room, or lower journal_bytes_max");
    }
    Finding::ok(NAME, what)
}

/// File systems that lose what they hold, or on which SQLite's locks are no locks.
fn kind(magic: i64) -> Option<Finding> {
    const NAME: &str = "file_system";
    // linux/magic.h.
    match magic {
        0x0102_1994 | 0x8584_58F6 => Some(Finding::warning(
            NAME,
            "data_dir lies in memory: all is gone when the machine restarts",
            "give data_dir a disk",
        )),
        0x6969 | 0xFF53_4D42 | 0xFE53_4D42 | 0x517B => Some(Finding::problem(
            NAME,
            "data_dir lies on another machine (NFS, SMB): a flush there is no promise",
            "give data_dir a disk of this machine's",
        )),
        _ => None,
    }
}

fn flushes(dir: &Path, sync_period: u64) -> Finding {
    const NAME: &str = "flushes";
    let measured = measure(dir);
    match measured {
        Ok(times) => match middle_and_longest(times) {
            Some(times) => judged_flushes(times, Duration::from_millis(sync_period)),
            None => Finding::unknown(NAME, "no flush ended"),
        },
        Err(error) => {
            let what = format!("{} can't be written: {error}", dir.display());
            let fix = "give the hub's user the right to write there, and the disk room";
            Finding::problem(NAME, what, fix)
        }
    }
}

fn judged_flushes((middle, longest): (Duration, Duration), period: Duration) -> Finding {
    const NAME: &str = "flushes";
    let what = format!("a flush takes {}, the slowest {}", ms(middle), ms(longest));
    let fix = "give data_dir a faster disk: each durable answer waits for a flush";
    match middle {
        middle if middle <= FLUSH_WANTED => Finding::ok(NAME, what),
        middle if middle <= period => Finding::warning(NAME, what, fix),
        _ => Finding::problem(NAME, format!("{what}, longer than sync_period"), fix),
    }
}

/// How long flushes take there.
fn measure(dir: &Path) -> io::Result<Vec<Duration>> {
    let path = dir.join(format!(".cpi-hub-doctor-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let measured = flush_times(file);
    let removed = fs::remove_file(&path);
    measured.and_then(|times| removed.map(|()| times))
}

fn flush_times(mut file: File) -> io::Result<Vec<Duration>> {
    let clock = Clock::start();
    let begin = clock.now().unix.0;
    let mut times = Vec::new();
    while times.len() < FLUSHES {
        let before = clock.now().unix.0;
        if before - begin > MEASURE_WAIT {
            break;
        }
        file.rewind()?;
        file.write_all(&BLOCK)?;
        fdatasync(&file)?;
        let took = u64::try_from(clock.now().unix.0 - before).unwrap_or_default();
        times.push(Duration::from_micros(took));
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::super::Grade::{Ok, Problem, Warning};
    use super::*;

    #[test]
    fn room_is_judged_by_what_journals_may_take() {
        let most = 1 << 30;
        assert_eq!(judged_room(2 << 30, most).grade, Ok);
        assert_eq!(judged_room(1 << 29, most).grade, Warning);
        assert_eq!(judged_room(1 << 20, most).grade, Problem);
    }

    #[test]
    fn flushes_are_judged_by_how_often_they_come() {
        let ms = Duration::from_millis;
        assert_eq!(judged_flushes((ms(1), ms(90)), ms(50)).grade, Ok);
        assert_eq!(judged_flushes((ms(20), ms(90)), ms(50)).grade, Warning);
        assert_eq!(judged_flushes((ms(60), ms(90)), ms(50)).grade, Problem);
    }

    #[test]
    fn file_systems_that_keep_nothing_are_told() {
        assert_eq!(kind(0x0102_1994).expect("tmpfs").grade, Warning);
        assert_eq!(kind(0x6969).expect("NFS").grade, Problem);
        assert_eq!(kind(0xEF53), None, "ext4");
    }

    #[test]
    fn what_is_measured_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(!measure(dir.path()).expect("it writes").is_empty());
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
        assert!(measure(&dir.path().join("none")).is_err());
    }
}
