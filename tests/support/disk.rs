//! A small disk of the test's own, that can be full: a tmpfs, where mounting is allowed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::trials::Lack;

/// Unmounted when dropped.
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    /// Mounts a disk of this size.
    pub fn mount(mebibytes: u32) -> Result<Disk, Lack> {
        let dir = tempfile::Builder::new().prefix("disk").tempdir().expect("a directory");
        let size = format!("size={mebibytes}m,mode=777");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path());
        match mount.stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(status) if status.success() => Ok(Disk { dir }),
            _ => Err(Lack("a small disk can't be mounted here: this needs root".into())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file");
        for size in [1 << 16, 1 << 12, 1] {
            while filler.write_all(&vec![1; size]).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("what filled it");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that is just ending may still be in it.
        _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}
