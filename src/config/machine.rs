//! What the machine allows, and how the bounds are fitted to it: connections to open files and
//! memory; logs, heads, bodies and answers to memory.
//!
//! The one place that says how many open files are kept for what is no connection.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::memory::MemoryBound;
use super::{BadConfig, Inherited};
use crate::limits::{CONNECTION_BYTES, Limits, SESSION_BYTES, members_of, places_for};

/// Open files that are no connections, of the process: output, listener, signals, the runtime,
/// the store's database with its readers, or their connections, and as many again to spare.
const KEPT_FILES: usize = 56;
/// Open files of each shard: journals that are written, flushed and read, three epolls, nonces.
const KEPT_SHARD_FILES: usize = 10;
/// Open files that are kept for what is no connection where many are allowed.
const KEPT_FILES_OF_MANY: usize = 256;
/// With fewer places a hub is of no use.
const PLACES_MIN: usize = 16;
/// Shares of memory: a quarter for logs, a quarter for connections, 1/16 for heads, an eighth for
/// bodies, an eighth for answers. What is left is for the store, and for all that is small.
const LOGS_SHARE: u64 = 4;
const CONNECTIONS_SHARE: u64 = 4;
const HEADS_SHARE: u64 = 16;
const BODIES_SHARE: u64 = 8;
const ANSWERS_SHARE: u64 = 8;
/// The part of all answers that the pictures of one page may be: two such pages are an address's.
const PAGE_IMAGES_SHARE: usize = 4;

/// What the machine allows and has given the process; given by hand in tests.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// Descriptors that this process may open; `None`: not known, or unlimited.
    pub descriptors_max: Option<usize>,
    /// Memory that this process may use, in bytes.
    pub memory_max: Option<u64>,
    /// Where sockets listen that it was started with.
    pub inherited: Inherited,
}

impl Machine {
    /// This machine, for this process, which from now on may open as many files as it can be
    /// allowed: the soft limit is for programs that can't have many.
    pub fn here(inherited: Inherited) -> Machine {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (descriptors_max, memory) = (raised_descriptors(), MemoryBound::here());
        Machine { cores, descriptors_max, memory_max: memory.map(|it| it.bytes), inherited }
    }
}

/// Raises the limit of open files to the hard one; what it is then.
fn raised_descriptors() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // Some systems refuse what they call their hard limit.
    let allowed = if raised.is_ok() { maximum } else { current };
    allowed.map(|files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// Fits the bounds to the machine. What the operator should know of that; `Err`: nothing of use
/// fits.
pub(super) fn fit(
    limits: &mut Limits,
    (shards, has_tls): (usize, bool),
    machine: Machine,
) -> Result<Option<String>, BadConfig> {
    let mut places = usize::MAX;
    let mut bound = String::new();
    if let Some(allowed) = machine.descriptors_max {
        places = allowed.saturating_sub(kept_files(shards, allowed));
        bound = format!("{allowed} open files are allowed (ulimit -n)");
        if places < PLACES_MIN {
            return Err(BadConfig(format!(
                "{bound}: {shards} shards with journals and store need {}, and connections {}",
                allowed - places,
                PLACES_MIN
            )));
        }
    }
    if let Some(memory) = machine.memory_max {
        fit_bytes(limits, memory);
        let each = CONNECTION_BYTES + if has_tls { SESSION_BYTES } else { 0 };
        let held = share(memory, CONNECTIONS_SHARE * each).max(PLACES_MIN);
        if held < places {
            places = held;
            bound = format!("a quarter of {} MiB of memory holds no more", memory >> 20);
        }
    }
    let asked = limits.connections_max;
    if places_for(asked) <= places {
        return Ok(None);
    }
    let room = members_of(places);
    limits.connections_max = room;
    Ok(Some(format!("connections_max is {room}, not {asked}: {bound}")))
}

/// Fits what is counted in bytes; a single head, and a body of each sort, have room in any case.
fn fit_bytes(limits: &mut Limits, memory: u64) {
    let fit =
        |bound: &mut usize, part, least| *bound = (*bound).min(share(memory, part).max(least));
    fit(&mut limits.logs_bytes_max, LOGS_SHARE, 0);
    fit(&mut limits.heads_bytes_max, HEADS_SHARE, 2 * limits.head_bytes_max);
    let bodies = limits.chat_body_bytes_max + limits.body_bytes_max;
    fit(&mut limits.bodies_bytes_max, BODIES_SHARE, bodies);
    fit(&mut limits.answers_bytes_max, ANSWERS_SHARE, 0);
    let images = limits.answers_bytes_max / PAGE_IMAGES_SHARE;
    limits.page_images_bytes_max = limits.page_images_bytes_max.min(images);
}

/// A part of the memory.
fn share(memory: u64, part: u64) -> usize {
    usize::try_from(memory / part).unwrap_or(usize::MAX)
}

fn kept_files(shards: usize, allowed: usize) -> usize {
    let needed = KEPT_FILES + shards * KEPT_SHARD_FILES;
    needed.max(KEPT_FILES_OF_MANY.min(allowed / 4)).min(allowed)
}
