//! A control group of the test's own that bounds memory or processor time, where one can be made
//! (v1 or v2; root).

use std::fs;
use std::path::{Path, PathBuf};

use super::trials::Lack;

/// Removed when dropped; its processes must have ended before.
pub struct Group {
    dir: PathBuf,
    /// Where this process was before.
    home: PathBuf,
    is_v1: bool,
}

impl Group {
    /// Makes a group that may hold this many bytes.
    pub fn make(bytes: usize) -> Result<Group, Lack> {
        let group = Group::of("memory", ["memory.limit_in_bytes", "memory.max"])?;
        let limit = if group.is_v1 { "memory.limit_in_bytes" } else { "memory.max" };
        group.write(limit, &bytes.to_string())?;
        // Version 1 counts what sockets hold only where that has a bound of its own.
        _ = group.write("memory.kmem.tcp.limit_in_bytes", &(1_u64 << 40).to_string());
        Ok(group)
    }

    /// Makes a group that has this part of one processor.
    pub fn of_processor(percent: u32) -> Result<Group, Lack> {
        const PERIOD: u32 = 100_000;
        let group = Group::of("cpu", ["cpu.cfs_quota_us", "cpu.max"])?;
        let quota = PERIOD / 100 * percent;
        match group.is_v1 {
            true => group.write("cpu.cfs_quota_us", &quota.to_string())?,
            false => group.write("cpu.max", &format!("{quota} {PERIOD}"))?,
        }
        Ok(group)
    }

    /// Makes a group of a controller, which is known by a file, in version 1 or 2.
    fn of(controller: &str, files: [&str; 2]) -> Result<Group, Lack> {
        let lack = |what: &str| Lack(format!("no {controller} group can be made here: {what}"));
        let v1 = Path::new("/sys/fs/cgroup").join(controller);
        let is_v1 = v1.join(files[0]).exists();
        let (root, controller) =
            if is_v1 { (&*v1, controller) } else { (Path::new("/sys/fs/cgroup"), "") };
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|_| lack("no groups at all"))?;
        let path = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            (parts.next()?.split(',').any(|name| name == controller)).then(|| parts.next())?
        });
        let home = root.join(path.ok_or_else(|| lack("not there"))?.trim_start_matches('/'));
        let dir = root.join(format!("hub-test-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| lack(&error.to_string()))?;
        let group = Group { dir, home, is_v1 };
        match is_v1 || group.dir.join(files[1]).exists() {
            true => Ok(group),
            false => Err(lack("the controller is not handed down")),
        }
    }

    fn write(&self, file: &str, text: &str) -> Result<(), Lack> {
        let lack = |error| Lack(format!("no group can be bounded here: {file}: {error}"));
        fs::write(self.dir.join(file), text).map_err(lack)
    }

    /// Starts something in it: children are born where their parent is.
    pub fn within<T>(&self, start: impl FnOnce() -> T) -> T {
        let enter = |group: &Path| {
            let own = std::process::id().to_string();
            fs::write(group.join("cgroup.procs"), own).expect("we may move ourselves");
        };
        enter(&self.dir);
        let started = start();
        enter(&self.home);
        started
    }

    /// What its processes hold, without what the kernel could take back at once.
    pub fn held_bytes(&self) -> usize {
        let stat = fs::read_to_string(self.dir.join("memory.stat")).expect("our group");
        let names: &[&str] = if self.is_v1 { &["total_rss"] } else { &["anon", "sock"] };
        let number = |line: &str| {
            let (name, bytes) = line.split_once(' ')?;
            names.contains(&name).then(|| bytes.parse::<usize>().ok())?
        };
        stat.lines().filter_map(number).sum::<usize>() + self.sockets_bytes()
    }

    /// What the kernel holds for its sockets, where v1 counts that.
    fn sockets_bytes(&self) -> usize {
        let tcp = fs::read_to_string(self.dir.join("memory.kmem.tcp.usage_in_bytes"));
        tcp.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Processes that were killed are gone a little later.
        for _ in 0..1_000 {
            if fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}
