//! How much memory this process may use: the machine's, or less where a control group says so,
//! of version 1 or 2, its own or one that it is inside; and how much of that is used.
//!
//! Reads what the kernel tells in `/proc` and in the mounted hierarchies; never sets anything.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// What bounds the memory of a group, in each version's folder: the hard limit, and the one above
/// which the group is slowed down.
const V1_FILES: [&str; 1] = ["memory.limit_in_bytes"];
const V2_FILES: [&str; 2] = ["memory.max", "memory.high"];
/// What `memory.stat` says of bytes that the kernel can take back at once, in each version.
const V1_TAKEN_BACK: [&str; 2] = ["total_inactive_file", "total_active_file"];
const V2_TAKEN_BACK: [&str; 3] = ["inactive_file", "active_file", "slab_reclaimable"];

/// A bound of the memory that this process may use, and where it is seen how much is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MemoryBound {
    /// Bytes that may be used.
    pub(crate) bytes: u64,
    used: Used,
}

/// Where it is seen how much memory is used.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Used {
    /// This process is alone with the bound.
    Process,
    /// A group with its folder, of version 1 or 2.
    GroupV1(PathBuf),
    GroupV2(PathBuf),
}

impl MemoryBound {
    /// The least of all bounds; `None`: nothing is known.
    pub(crate) fn here() -> Option<MemoryBound> {
        let read = |path: &Path| fs::read_to_string(path).ok();
        let text = |path: &str| read(Path::new(path)).unwrap_or_default();
        let group = group_max(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo"), read);
        let machine = machine_max(&text("/proc/meminfo"));
        let machine = machine.map(|bytes| MemoryBound { bytes, used: Used::Process });
        machine.into_iter().chain(group).min_by_key(|bound| bound.bytes)
    }

    /// Bytes that are used and that the kernel could not take back at once: of the bounded group,
    /// with all that is in it, or of this process. `None`: it can't be seen.
    pub(crate) fn used(&self) -> Option<u64> {
        self.used_as(|path| fs::read_to_string(path).ok())
    }

    fn used_as(&self, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
        match &self.used {
            Used::Process => {
                let own = kib(&read(Path::new("/proc/self/status"))?, "RssAnon:")?;
                // The machine's, most of which are the hub's.
                let sockets = read(Path::new("/proc/net/sockstat"));
                Some(own + sockets.as_deref().and_then(of_sockets).unwrap_or(0))
            }
            Used::GroupV1(folder) => {
                let stat = read(&folder.join("memory.stat"))?;
                let used = number(&read(&folder.join("memory.usage_in_bytes"))?)?;
                // What sockets hold has a count of its own.
                let sockets = read(&folder.join("memory.kmem.tcp.usage_in_bytes"));
                let sockets = sockets.as_deref().and_then(number).unwrap_or(0);
                Some(used.saturating_sub(sum_of(&stat, &V1_TAKEN_BACK)) + sockets)
            }
            Used::GroupV2(folder) => {
                let stat = read(&folder.join("memory.stat"))?;
                let used = number(&read(&folder.join("memory.current"))?)?;
                Some(used.saturating_sub(sum_of(&stat, &V2_TAKEN_BACK)))
            }
        }
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The sum of these lines of a `memory.stat`.
fn sum_of(stat: &str, names: &[&str]) -> u64 {
    let lines = stat.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(name, _)| names.contains(name)).filter_map(|(_, bytes)| number(bytes)).sum()
}

/// Bytes that the kernel holds for TCP.
fn of_sockets(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let (_, pages) = line.split_once(" mem ")?;
    Some(number(pages)? * rustix::param::page_size() as u64)
}

fn machine_max(meminfo: &str) -> Option<u64> {
    kib(meminfo, "MemTotal:")
}

/// A line's bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(number(line.trim().strip_suffix(" kB")?)? * 1024)
}

/// The least bound of the process's groups and of all that they are inside, as far as they can be
/// seen. Version 1 says "none" by a number that is larger than any memory.
fn group_max(
    cgroup: &str,
    mountinfo: &str,
    read: impl Fn(&Path) -> Option<String>,
) -> Option<MemoryBound> {
    let mut least: Option<MemoryBound> = None;
    for mount in mountinfo.lines().filter_map(Mount::parse) {
        let Some(group) = cgroup.lines().find_map(|line| mount.group_in(line)) else { continue };
        let own = mount.folder_of(group);
        for folder in own.ancestors().take_while(|folder| folder.starts_with(&mount.point)) {
            let bounds = mount.files.iter().filter_map(|file| number(&read(&folder.join(file))?));
            let Some(bytes) = bounds.min() else { continue };
            if least.as_ref().is_none_or(|least| bytes < least.bytes) {
                let folder = folder.to_owned();
                let is_v2 = mount.files == V2_FILES;
                let used = if is_v2 { Used::GroupV2(folder) } else { Used::GroupV1(folder) };
                least = Some(MemoryBound { bytes, used });
            }
        }
    }
    least
}

/// A mounted hierarchy that bounds memory.
struct Mount {
    /// What of the hierarchy is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
    files: &'static [&'static str],
}

impl Mount {
    /// Reads a line of `mountinfo`: `36 35 0:29 ROOT POINT rw - TYPE SOURCE OPTIONS`, with any
    /// number of optional fields before the dash.
    fn parse(line: &str) -> Option<Mount> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (unescaped(place.next()?), unescaped(place.next()?));
        let mut kind = kind.split(' ');
        let files: &[&str] = match (kind.next()?, kind.nth(1)?) {
            ("cgroup2", _) => &V2_FILES,
            ("cgroup", options) if lists(options, "memory") => &V1_FILES,
            _ => return None,
        };
        Some(Mount { root, point, files })
    }

    /// The group that a line of `/proc/self/cgroup` (`4:memory:/a/b`; of version 2: `0::/a/b`)
    /// names, if it is of this hierarchy.
    fn group_in<'a>(&self, line: &'a str) -> Option<&'a Path> {
        let mut fields = line.splitn(3, ':');
        let (number, controllers) = (fields.next()?, fields.next()?);
        let is_ours = match self.files == V2_FILES {
            true => number == "0" && controllers.is_empty(),
            false => lists(controllers, "memory"),
        };
        is_ours.then_some(Path::new(fields.next()?))
    }

    /// Where a group is seen. In a container it may have another name, or be beyond what is
    /// mounted: then the mount's own root is the nearest that is seen.
    fn folder_of(&self, group: &Path) -> PathBuf {
        let inner = group.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let is_plain = inner.components().all(|part| matches!(part, Component::Normal(_)));
        if is_plain { self.point.join(inner) } else { self.point.clone() }
    }
}

fn lists(list: &str, wanted: &str) -> bool {
    list.split(',').any(|it| it == wanted)
}

/// A path of `mountinfo`, where a space is `\040`.
fn unescaped(path: &str) -> PathBuf {
    let mut pieces = path.split('\\');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok());
        match code {
            Some(code) => plain.extend([char::from(code).to_string().as_str(), &piece[3..]]),
            None => plain.extend(["\\", piece]),
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
    const V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 master:1 - cgroup cgroup rw,memory\n\
                      36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct";

    #[track_caller]
    fn check(cgroup: &str, mountinfo: &str, files: &[(&str, &str)], expected: Option<u64>) {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| format!("{text}\n"))
        };
        let found = group_max(cgroup, mountinfo, read).map(|it| it.bytes);
        assert_eq!(found, expected, "{cgroup} {mountinfo}");
    }

    #[test]
    fn the_own_group_and_those_around_it_bound_memory_in_both_versions() {
        let at = "/sys/fs/cgroup";
        let own = &*format!("{at}/system.slice/hub.service/memory.max");
        let high = &*format!("{at}/system.slice/hub.service/memory.high");
        let slice = &*format!("{at}/system.slice/memory.max");
        let group = "0::/system.slice/hub.service";
        check(group, V2, &[(own, "536870912"), (slice, "max")], Some(536_870_912));
        check(group, V2, &[(own, "536870912"), (slice, "1000")], Some(1_000));
        check(group, V2, &[(own, "max"), (high, "2000"), (slice, "max")], Some(2_000));
        check(group, V2, &[(own, "max"), (slice, "max")], None);
        check(group, V2, &[], None);

        let none = "9223372036854771712";
        let own = "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes";
        let above = "/sys/fs/cgroup/memory/a/memory.limit_in_bytes";
        let root = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        let group = "5:cpu,cpuacct:/x\n4:memory:/a/b\n0::/";
        check(group, V1, &[(own, "5000"), (above, none), (root, none)], Some(5_000));
        check(group, V1, &[(own, none), (above, "4000"), (root, none)], Some(4_000));
        check("5:cpu,cpuacct:/x", V1, &[(root, "3000")], None);
        // Both are mounted, as systemd's hybrid has it: the one with the controller speaks.
        let hybrid = format!("{V1}\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw");
        check(group, &hybrid, &[(own, "5000")], Some(5_000));
    }

    #[test]
    fn in_a_container_the_mounted_root_is_the_group() {
        let (v2, v1) = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes");
        check("0::/", V2, &[(v2, "7000")], Some(7_000));
        // The group's namespace begins elsewhere than the mount's.
        check("0::/../../other", V2, &[(v2, "7000")], Some(7_000));
        let docker = V1.replacen("0:32 / ", "0:32 /docker/c0ffee ", 1);
        check("4:memory:/docker/c0ffee", &docker, &[(v1, "8000")], Some(8_000));
        check("4:memory:/", &docker, &[(v1, "8000")], Some(8_000));
        let inner = "/sys/fs/cgroup/memory/job/memory.limit_in_bytes";
        check(
            "4:memory:/docker/c0ffee/job",
            &docker,
            &[(inner, "6000"), (v1, "8000")],
            Some(6_000),
        );
    }

    #[test]
    fn what_the_kernel_can_take_back_is_not_used() {
        let used = |used: Used, files: &[(&str, &str)]| {
            let bound = MemoryBound { bytes: 1, used };
            bound.used_as(|path| {
                let found = files.iter().find(|(name, _)| Path::new(name) == path);
                found.map(|(_, text)| format!("{text}\n"))
            })
        };
        let stat = "anon 600\nfile 300\ninactive_file 100\nactive_file 150\nslab_reclaimable 7\n\
                    sock 9";
        let v2 = [("/g/memory.stat", stat), ("/g/memory.current", "1000")];
        assert_eq!(used(Used::GroupV2("/g".into()), &v2), Some(743));
        assert_eq!(used(Used::GroupV2("/g".into()), &v2[..1]), None);
        let stat = "cache 300\nrss 600\ninactive_file 1\ntotal_inactive_file 100\n\
                    total_active_file 150";
        let v1 = [
            ("/g/memory.stat", stat),
            ("/g/memory.usage_in_bytes", "1000"),
            ("/g/memory.kmem.tcp.usage_in_bytes", "50"),
        ];
        assert_eq!(used(Used::GroupV1("/g".into()), &v1), Some(800));
        assert_eq!(used(Used::GroupV1("/g".into()), &v1[..2]), Some(750));
        let page = rustix::param::page_size() as u64;
        let own = [
            ("/proc/self/status", "VmRSS:\t 90 kB\nRssAnon:\t      40 kB\nRssFile:\t 50 kB"),
            ("/proc/net/sockstat", "sockets: used 3\nTCP: inuse 5 orphan 0 tw 0 alloc 7 mem 3"),
        ];
        assert_eq!(used(Used::Process, &own), Some(40 * 1_024 + 3 * page));
        assert_eq!(used(Used::Process, &own[..1]), Some(40 * 1_024));
        assert!(MemoryBound::here().and_then(|it| it.used()).is_some_and(|used| used > 1 << 20));
    }

    #[test]
    fn what_is_odd_is_left_alone() {
        let spaced = r"30 23 0:26 / /a\040b rw - cgroup2 cgroup2 rw";
        check("0::/", spaced, &[("/a b/memory.max", "9000")], Some(9_000));
        for mountinfo in ["", "30 23", "30 23 0:26 / /x rw - ext4 /dev/sda rw", "a - b"] {
            check("0::/", mountinfo, &[("/x/memory.max", "1")], None);
        }
        for cgroup in ["", "0", "0::", "x:y", "1:name=systemd:/"] {
            let expected = (cgroup == "0::").then_some(1);
            check(cgroup, V2, &[("/sys/fs/cgroup/memory.max", "1")], expected);
        }
        assert_eq!(machine_max("MemFree: 1 kB\nMemTotal:       24684 kB\n"), Some(25_276_416));
        assert_eq!(machine_max("MemTotal: much"), None);
    }
}
