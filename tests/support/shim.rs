//! A library that the hub is started with, under which calls hang for as long as a file is there:
//! a name server that does not answer, a disk that never comes to an end.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::trials::Lack;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void hang(const char *call) {
    const char *folder = getenv("HANG_FOLDER");
    char path[4096];
    if (!folder) return;
    int at = 0;
    while (folder[at] && at < 4000) { path[at] = folder[at]; at++; }
    path[at++] = '/';
    while (*call) path[at++] = *call++;
    path[at] = 0;
    while (access(path, F_OK) == 0) usleep(20000);
}

int getaddrinfo(const char *n, const char *s, const struct addrinfo *h, struct addrinfo **r) {
    hang("getaddrinfo");
    int (*next)() = dlsym(RTLD_NEXT, "getaddrinfo");
    return next(n, s, h, r);
}

int fdatasync(int fd) {
    hang("sync");
    int (*next)() = dlsym(RTLD_NEXT, "fdatasync");
    return next(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) {
    char thread[17] = "";
    prctl(PR_GET_NAME, thread);
    if (strncmp(thread, "shard-", 6) == 0) hang("append");
    ssize_t (*next)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite64");
    return next(fd, bytes, length, at);
}

int fsync(int fd) {
    hang("sync");
    int (*next)() = dlsym(RTLD_NEXT, "fsync");
    return next(fd);
}
"#;

/// The library, and the folder of files that say which calls hang.
pub struct Shim {
    dir: TempDir,
    library: String,
    folder: String,
}

impl Shim {
    /// Builds it.
    pub fn build() -> Result<Shim, Lack> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).to_str().expect("a text path").to_owned();
        let (source, library, folder) = (path("shim.c"), path("shim.so"), path("hanging"));
        std::fs::write(&source, SOURCE).expect("a file");
        std::fs::create_dir(&folder).expect("a folder");
        let args = ["-w", "-shared", "-fPIC", "-o", &library, &source, "-ldl"];
        match Command::new("cc").args(args).status() {
            Ok(status) if status.success() => Ok(Shim { dir, library, folder }),
            _ => Err(Lack("a C compiler is missing: `scripts/test` needs one".into())),
        }
    }

    /// What a hub is to be started with.
    pub fn env(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", &self.library), ("HANG_FOLDER", &self.folder)]
    }

    fn file(&self, call: &str) -> PathBuf {
        self.dir.path().join("hanging").join(call)
    }

    /// From here on, each such call hangs: `getaddrinfo`, `sync`, or `append`, a shard's write to
    /// its journal.
    pub fn hang(&self, call: &str) {
        std::fs::write(self.file(call), "").expect("a file");
    }

    /// They go on.
    pub fn go_on(&self, call: &str) {
        std::fs::remove_file(self.file(call)).expect("it hung");
    }
}
