//! What the machine allows: open files, the kernel's queues and tables for TCP, memory, the clock.
//!
//! Each judgement is a function of what was read, so that tests give it what no machine here has.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Finding;
use crate::clock::unix_now;
use crate::config::{Config, Machine};
use crate::limits::{BACKLOG, sum};

/// Open files with which a hub is of use to more than a few.
const FILES_WANTED: usize = 65_536;
const FILES_LEAST: usize = 1_024;
/// Memory with which a hub is of use to more than a few.
const MEMORY_WANTED: u64 = 256 << 20;
/// 2026-01-01, before which this program was not there.
const BUILT_AFTER: i64 = 1_767_225_600;
/// How long `timedatectl` may take.
const ASK_WAIT: Duration = Duration::from_secs(3);
/// Files that are there while something keeps the clock.
const KEEPERS: [(&str, &str); 3] = [
    ("/run/systemd/timesync/synchronized", "systemd-timesyncd"),
    ("/run/chrony/chronyd.pid", "chronyd"),
    ("/run/ntpd.pid", "ntpd"),
];

/// All of it.
pub(super) fn look(config: &Config, machine: Machine) -> Vec<Finding> {
    let members = config.limits.connections_max as u64;
    let read = |name: &str| {
        std::fs::read_to_string(Path::new("/proc/sys").join(name.replace('.', "/"))).ok()
    };
    vec![
        descriptors(machine.descriptors_max, config.limits.connections_max),
        cores(machine.cores, config.shards, config.pinned),
        queue("net.core.somaxconn", read("net.core.somaxconn")),
        queue("net.ipv4.tcp_max_syn_backlog", read("net.ipv4.tcp_max_syn_backlog")),
        tcp_memory(read("net.ipv4.tcp_mem"), rustix::param::page_size() as u64, members),
        table("fs.file-max", read("fs.file-max"), members),
        ports(read("net.ipv4.ip_local_port_range")),
        tracked(read("net.netfilter.nf_conntrack_max"), members),
        memory(config, machine.memory_max),
        clock(unix_now().0 / 1_000_000, kept_by()),
    ]
}

fn descriptors(allowed: Option<usize>, members: usize) -> Finding {
    const NAME: &str = "descriptors";
    const FIX: &str = "allow more: LimitNOFILE=1048576 in the unit, `ulimit -Hn`, or \
        /etc/security/limits.conf";
    let Some(allowed) = allowed else {
        return Finding::ok(NAME, "open files are not limited");
    };
    let what = format!("{allowed} open files are allowed, enough for {members} members");
    match allowed {
        ..FILES_LEAST => Finding::problem(NAME, what, FIX),
        FILES_LEAST..FILES_WANTED => Finding::warning(NAME, what, FIX),
        _ => Finding::ok(NAME, what),
    }
}

fn cores(cores: usize, shards: usize, pinned: bool) -> Finding {
    let what = format!("{cores} cores, {shards} shards");
    if shards > cores {
        let fix = "lower shards to the cores less one, or leave it out";
        return Finding::warning("cores", what, fix);
    }
    if pinned && cores == 1 {
        let fix = "say --pinned false: edge and store share the only core with the shard";
        return Finding::warning("cores", what, fix);
    }
    Finding::ok("cores", what)
}

fn number(text: Option<String>) -> Option<u64> {
    text?.trim().parse().ok()
}

fn not_shown(name: &'static str) -> Finding {
    Finding::unknown(name, "this system does not show it")
}

/// A queue of connections that are not taken yet: all members may come back at once.
fn queue(name: &'static str, text: Option<String>) -> Finding {
    let Some(places) = number(text) else { return not_shown(name) };
    let wanted = u64::try_from(BACKLOG).unwrap_or_default();
    let what = format!("{places} connections may wait to be taken");
    if places >= wanted {
        return Finding::ok(name, what);
    }
    let fix = format!("sysctl -w {name}={wanted}: all members come back at once after a restart");
    Finding::warning(name, what, &fix)
}

/// What the kernel gives all sockets together, in pages; above the last number it drops.
fn tcp_memory(text: Option<String>, page: u64, members: u64) -> Finding {
    const NAME: &str = "net.ipv4.tcp_mem";
    let last = text.and_then(|text| text.split_whitespace().nth(2)?.parse::<u64>().ok());
    let Some(pages) = last else { return not_shown(NAME) };
    let bytes = pages.saturating_mul(page);
    // A page for each direction is what a member who reads and writes takes at the least.
    let wanted = members.saturating_mul(2 * page);
    let what = format!("all sockets may take {}", sum::readable(bytes));
    if bytes >= wanted {
        return Finding::ok(NAME, what);
    }
    let fix = format!(
        "raise its last number to {} pages, or lower connections_max ({members})",
        wanted / page
    );
    Finding::warning(NAME, what, &fix)
}

fn table(name: &'static str, text: Option<String>, members: u64) -> Finding {
    let Some(files) = number(text) else { return not_shown(name) };
    let what = format!("{files} files may be open on the whole machine");
    match files > members {
        true => Finding::ok(name, what),
        false => Finding::warning(name, what, &format!("sysctl -w {name}={}", members * 2)),
    }
}

/// Ports for connections that begin here: a proxy on this machine needs one for each member.
fn ports(text: Option<String>) -> Finding {
    const NAME: &str = "net.ipv4.ip_local_port_range";
    let numbers: Option<Vec<u64>> =
        text.map(|text| text.split_whitespace().filter_map(|it| it.parse().ok()).collect());
    let Some([first, last]) = numbers.as_deref() else { return not_shown(NAME) };
    let ports = (last + 1).saturating_sub(*first);
    let what =
        format!("{ports} ports, one for each member that a proxy here brings to one address");
    if ports >= 28_000 {
        return Finding::ok(NAME, what);
    }
    Finding::warning(NAME, what, "sysctl -w net.ipv4.ip_local_port_range='10000 65535'")
}

/// The firewall's table of connections, where one is kept.
fn tracked(text: Option<String>, members: u64) -> Finding {
    const NAME: &str = "net.netfilter.nf_conntrack_max";
    let Some(entries) = number(text) else {
        return Finding::ok(NAME, "connections are not tracked here");
    };
    let what = format!("{entries} connections are tracked at most");
    if entries > members {
        return Finding::ok(NAME, what);
    }
    let fix = format!("sysctl -w {NAME}={}, or don't track the hub's port", members * 2);
    Finding::warning(NAME, what, &fix)
}

fn memory(config: &Config, allowed: Option<u64>) -> Finding {
    const NAME: &str = "memory";
    let parts = sum::memory(&config.limits, config.shards, config.tls.is_some());
    let most = sum::total(&parts);
    let Some(allowed) = allowed else {
        let what = format!("{} by all bounds; what is allowed can't be seen", sum::readable(most));
        return Finding::unknown(NAME, what);
    };
    let shown = sum::readable(allowed);
    let what = format!("{} at most by all bounds, {shown} allowed", sum::readable(most));
    if allowed < MEMORY_WANTED {
        let fix = "allow the hub more (MemoryMax, the container's limit)";
        return Finding::warning(NAME, what, fix);
    }
    // No hub of a normal size has room for the worst that each of its members can do at once.
    let kept = "near it, members that take nothing are closed and nobody else is let in";
    Finding::ok(NAME, if most <= allowed { what } else { format!("{what}: {kept}") })
}

fn clock(now: i64, kept: Option<String>) -> Finding {
    const NAME: &str = "clock";
    const FIX: &str = "have something keep it: systemctl enable --now systemd-timesyncd, or chrony";
    if now < BUILT_AFTER {
        let what = "the machine's clock is before this program's time";
        return Finding::problem(NAME, what, FIX);
    }
    match kept.as_deref() {
        None => Finding::unknown(NAME, "what keeps the machine's clock can't be seen"),
        Some("") => Finding::warning(NAME, "nothing keeps the machine's clock", FIX),
        Some(keeper) => Finding::ok(NAME, format!("kept by {keeper}")),
    }
}

/// What keeps the clock; empty: nothing does. `None`: it can't be told.
fn kept_by() -> Option<String> {
    let there = KEEPERS.iter().find(|(file, _)| Path::new(file).exists());
    if let Some((_, keeper)) = there {
        return Some((*keeper).to_owned());
    }
    let mut ask = Command::new("timeout");
    ask.arg(ASK_WAIT.as_secs().to_string());
    ask.args(["timedatectl", "show", "--property=NTPSynchronized", "--value"]);
    let told = ask.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    match String::from_utf8_lossy(&told.stdout).trim() {
        "yes" => Some("NTP, as timedatectl says".into()),
        "no" => Some(String::new()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade::{self, Ok, Problem, Unknown, Warning};
    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.into())
    }

    #[track_caller]
    fn check(finding: Finding, grade: Grade) {
        assert_eq!(finding.grade, grade, "{finding:?}");
        assert_eq!(finding.fix.is_some(), grade >= Warning, "{finding:?}");
    }

    #[test]
    fn open_files_are_judged_by_whom_they_let_in() {
        check(descriptors(None, 1_000_000), Ok);
        check(descriptors(Some(1_048_576), 900_000), Ok);
        check(descriptors(Some(4_096), 3_000), Warning);
        check(descriptors(Some(512), 300), Problem);
    }

    #[test]
    fn the_kernels_numbers_are_judged_and_what_is_not_shown_is_not_called_well() {
        check(queue("net.core.somaxconn", text("4096\n")), Ok);
        check(queue("net.core.somaxconn", text("128\n")), Warning);
        check(queue("net.core.somaxconn", None), Unknown);
        check(tcp_memory(text("1\t2\t1000000\n"), 4_096, 100_000), Ok);
        check(tcp_memory(text("1\t2\t1000\n"), 4_096, 100_000), Warning);
        check(tcp_memory(text("1"), 4_096, 100_000), Unknown);
        check(table("fs.file-max", text("9223372036854775807\n"), 1_000_000), Ok);
        check(table("fs.file-max", text("1000\n"), 1_000_000), Warning);
        check(ports(text("32768\t60999\n")), Ok);
        check(ports(text("60000\t60999\n")), Warning);
        check(ports(text("x")), Unknown);
        check(tracked(None, 10), Ok);
        check(tracked(text("65536\n"), 1_000_000), Warning);
    }

    #[test]
    fn a_clock_that_nothing_keeps_or_that_is_long_past_is_told() {
        check(clock(BUILT_AFTER + 1, text("chronyd")), Ok);
        check(clock(BUILT_AFTER + 1, text("")), Warning);
        check(clock(BUILT_AFTER + 1, None), Unknown);
        check(clock(0, text("chronyd")), Problem);
    }

    #[test]
    fn more_shards_than_cores_are_told() {
        check(cores(4, 3, true), Ok);
        check(cores(2, 3, true), Warning);
        check(cores(1, 1, true), Warning);
        check(cores(1, 1, false), Ok);
    }
}
