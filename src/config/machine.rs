//! What the machine allows, and how the bounds are fitted to it: connections to open files and
//! memory, logs and heads to memory.
//!
//! The one place that says how many open files are kept for what is no connection.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::BadConfig;
use super::memory::memory_max;
use crate::hub::{CONNECTION_BYTES, members_of, places_for};
use crate::limits::Limits;

/// Open files that are no connections, of the process: output, listener, signals, the runtime,
/// the store's database with its readers, or their connections, and as many again to spare.
const KEPT_FILES: usize = 56;
/// The same of each shard: journals that are written, flushed and read, three epolls, nonces.
const KEPT_SHARD_FILES: usize = 10;
/// What is kept where there are many.
const KEPT_FILES_MAX: usize = 256;
/// With fewer places a hub is of no use.
const PLACES_MIN: usize = 16;
/// Shares of memory: a quarter for logs, a quarter for connections, 1/16 for heads.
const LOGS_SHARE: u64 = 4;
const CONNECTIONS_SHARE: u64 = 4;
const HEADS_SHARE: u64 = 16;

/// What the machine allows; read by [`Machine::here`], given by hand in tests.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// Descriptors that this process may open; `None`: not known, or unlimited.
    pub descriptors_max: Option<usize>,
    /// Memory that this process may use, in bytes.
    pub memory_max: Option<u64>,
}

impl Machine {
    /// This machine, for this process, which from now on may open as many files as it can be
    /// allowed: the soft limit is for programs that can't have many.
    pub fn here() -> Machine {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Machine { cores, descriptors_max: raised_descriptors(), memory_max: memory_max() }
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
    shards: usize,
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
        let share = |part: u64| usize::try_from(memory / part).unwrap_or(usize::MAX);
        limits.logs_bytes_max = limits.logs_bytes_max.min(share(LOGS_SHARE));
        let heads = share(HEADS_SHARE).max(2 * limits.head_bytes_max);
        limits.heads_bytes_max = limits.heads_bytes_max.min(heads);
        let held = share(CONNECTIONS_SHARE * CONNECTION_BYTES).max(PLACES_MIN);
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

fn kept_files(shards: usize, allowed: usize) -> usize {
    let needed = KEPT_FILES + shards * KEPT_SHARD_FILES;
    needed.max(KEPT_FILES_MAX.min(allowed / 4)).min(allowed)
}
