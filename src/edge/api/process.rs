//! Figures of the process, as the kernel tells them in `/proc`; those that it does not tell are
//! left out of `/metrics`.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::metrics::table::ProcessFigure;

/// One figure and its value.
pub(super) type Figure = (ProcessFigure, f64);

/// What the process has taken of the processors, in seconds, and what it holds of memory, in bytes;
/// 0 where the kernel does not tell that.
pub(in crate::edge) fn usage() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let pages = stat.as_deref().and_then(Stat::parse).map_or(0, |stat| stat.pages);
    (cpu_seconds(), pages as f64 * page_size() as f64)
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// All that can be told now. Reads files: not for a thread that others wait for.
pub(super) fn figures() -> Vec<Figure> {
    let mut figures = vec![(ProcessFigure::CpuSeconds, cpu_seconds())];
    let stat = fs::read_to_string("/proc/self/stat").ok();
    if let Some(stat) = stat.as_deref().and_then(Stat::parse) {
        let booted = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_time);
        if let Some(booted) = booted {
            let since = stat.started as f64 / clock_ticks_per_second() as f64;
            figures.push((ProcessFigure::StartTime, booted as f64 + since));
        }
        figures.push((ProcessFigure::Resident, stat.pages as f64 * page_size() as f64));
        figures.push((ProcessFigure::Virtual, stat.addresses as f64));
        figures.push((ProcessFigure::Threads, stat.threads as f64));
    }
    if let Some(open) = open_fds() {
        figures.push((ProcessFigure::OpenFds, open as f64));
    }
    if let Some(max) = getrlimit(Resource::Nofile).current {
        figures.push((ProcessFigure::MaxFds, max as f64));
    }
    figures
}

/// What `/proc/self/stat` says.
#[derive(PartialEq, Eq, Debug)]
struct Stat {
    threads: u64,
    /// In ticks of the clock since the machine was started.
    started: u64,
    addresses: u64,
    pages: u64,
}

impl Stat {
    /// Fields are numbered as in proc(5), whose second is the program's name: that may hold spaces
    /// and parentheses.
    fn parse(stat: &str) -> Option<Stat> {
        let (_, behind_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        let (threads, started) = (field(20)?, field(22)?);
        Some(Stat { threads, started, addresses: field(23)?, pages: field(24)? })
    }
}

/// When the machine was started, in seconds since 1970, from `/proc/stat`.
fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Kernels since 6.2 say how many there are as the size of the folder; before, they are counted.
fn open_fds() -> Option<u64> {
    let folder = "/proc/self/fd";
    let size = fs::metadata(folder).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    // The folder itself is open meanwhile.
    Some((fs::read_dir(folder).ok()?.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_program_moves_no_field() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 42 18 9000 123456 77 22 23";
        let parsed = Stat { threads: 42, started: 9_000, addresses: 123_456, pages: 77 };
        for name in ["cpi-hub", "a) S 1 (b c"] {
            let stat = format!("17 ({name}) {fields}");
            assert_eq!(Stat::parse(&stat).as_ref(), Some(&parsed), "{name}");
        }
        assert_eq!(Stat::parse("17 (cpi-hub) S 1 2"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nx 1\n"), Some(1_700_000_000));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn each_figure_is_told_and_is_of_this_process() {
        let figures = figures();
        let of = |wanted| {
            let found = figures.iter().find(|(figure, _)| *figure == wanted);
            found.unwrap_or_else(|| panic!("no {wanted:?}")).1
        };
        for figure in ProcessFigure::ALL {
            assert!(of(*figure) > 0.0, "{figure:?}");
        }
        assert!(of(ProcessFigure::Resident) < of(ProcessFigure::Virtual));
        assert!(of(ProcessFigure::OpenFds) < of(ProcessFigure::MaxFds));
        let now = crate::clock::unix_now().0 as f64 / 1e6;
        let age = now - of(ProcessFigure::StartTime);
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
