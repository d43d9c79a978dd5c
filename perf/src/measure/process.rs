//! What a process costs, read from `/proc`: CPU time and resident memory; and this process's own
//! limits and place.
//!
//! Linux only. Nothing is kept between reads.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// What a process has cost so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// User and system time of all its threads, ended ones too; counted in ticks of 10 ms.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
}

/// Reads what the process `pid` has cost, and those that it has begun and that are there.
pub fn cost(pid: u32) -> io::Result<Cost> {
    let mut sum = cost_of_one(pid)?;
    // Where the system does not tell, there are none.
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    for child in children.unwrap_or_default().split_whitespace().filter_map(|it| it.parse().ok()) {
        // One that has just ended counts no more.
        if let Ok(Cost { cpu, rss_bytes }) = cost_of_one(child) {
            sum = Cost { cpu: sum.cpu + cpu, rss_bytes: sum.rss_bytes + rss_bytes };
        }
    }
    Ok(sum)
}

fn cost_of_one(pid: u32) -> io::Result<Cost> {
    let told = |error| io::Error::other(format!("process {pid}: {error}"));
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(told)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(told)?;
    let unread = || io::Error::other(format!("process {pid}: /proc has an unknown form"));
    let ticks = cpu_ticks(&stat).ok_or_else(unread)?;
    let rss_bytes = rss_bytes(&status).ok_or_else(unread)?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Cost { cpu: Duration::from_secs_f64(ticks as f64 / per_second as f64), rss_bytes })
}

/// What this process has cost.
pub fn own_cost() -> io::Result<Cost> {
    cost(std::process::id())
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    // The name may hold anything, spaces and brackets too: fields are counted behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn rss_bytes(status: &str) -> Option<u64> {
    bytes_of(status, "VmRSS:")
}

fn bytes_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The most memory that a process has had resident.
pub fn peak_rss(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    bytes_of(&status, "VmHWM:").ok_or_else(|| io::Error::other("/proc has an unknown form"))
}

/// Whether a process has ended; its parent need not have asked for its status.
pub fn is_over(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, fields)| fields.trim_start().chars().next());
    matches!(state.flatten(), None | Some('Z' | 'X'))
}

/// Ends a process at once.
pub fn kill(pid: u32) -> io::Result<()> {
    signal(pid, Signal::KILL)
}

/// Asks a process to end.
pub fn terminate(pid: u32) -> io::Result<()> {
    signal(pid, Signal::TERM)
}

fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let unknown = || io::Error::other(format!("process {pid}: no such number"));
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(unknown)?;
    Ok(kill_process(pid, signal)?)
}

/// Raises the number of open files as far as it may go; an error if that is less than needed.
pub fn allow_files(needed: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    match limit.maximum {
        Some(maximum) if maximum < needed => Err(io::Error::other(format!(
            "{needed} open files are needed, {maximum} allowed: raise `ulimit -Hn`"
        ))),
        _ => Ok(()),
    }
}

/// Pins this thread to a core.
pub fn pin(core: usize) -> io::Result<()> {
    match core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        true => Ok(()),
        false => Err(io::Error::other(format!("can't be pinned to core {core}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 9 1 1";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("junk"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(rss_bytes("Name:\tx\nVmRSS:\t    1024 kB\n"), Some(1 << 20));
        assert_eq!(rss_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_costs_memory_and_a_missing_one_is_named() {
        assert!(own_cost().expect("this process runs").rss_bytes > 1 << 16);
        let error = cost(u32::MAX).expect_err("no such process").to_string();
        assert!(error.starts_with("process 4294967295: "), "{error}");
    }
}
