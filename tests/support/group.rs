//! A control group of the test's own that bounds memory, where one can be made (v1 or v2; root).

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
        let lack = |what: &str| Lack(format!("no memory group can be made here: {what}"));
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let is_v1 = v1.join("memory.limit_in_bytes").exists();
        let (root, controller, limit) = match is_v1 {
            true => (v1, "memory", "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), "", "memory.max"),
        };
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|_| lack("no groups at all"))?;
        let path = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            (parts.next()?.split(',').any(|name| name == controller)).then(|| parts.next())?
        });
        let home = root.join(path.ok_or_else(|| lack("none of memory"))?.trim_start_matches('/'));
        let dir = root.join(format!("hub-test-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| lack(&error.to_string()))?;
        let group = Group { dir, home, is_v1 };
        let bounded = fs::write(group.dir.join(limit), bytes.to_string());
        bounded.map_err(|error| lack(&error.to_string()))?;
        // Version 1 counts what sockets hold only where that has a bound of its own.
        _ = fs::write(group.dir.join("memory.kmem.tcp.limit_in_bytes"), (1_u64 << 40).to_string());
        Ok(group)
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
