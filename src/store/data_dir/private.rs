//! Keeps the data directory to the hub's user: all that people say is in it. What
//! is made there is by the process's umask (`main.rs`), what an earlier version or a hasty hand
//! left open is closed here.
//!
//! Owns nothing. Follows no link out of the directory, and touches nothing that is another's.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// What group and others may do.
const OTHERS: u32 = 0o077;

/// Makes the directory, if it is not there, and closes it and what is in it to all but its owner.
/// What can't be closed is no error: the hub can serve, and [`openness`] tells of it.
pub(crate) fn make(data_dir: &Path) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let was_open = openness(data_dir).is_some();
    // From the top, so that nobody can put a link where a file was meanwhile.
    let mut files = 0;
    close(data_dir, &fs::metadata(data_dir)?);
    let mut folders = vec![data_dir.to_owned()];
    while let Some(folder) = folders.pop() {
        files += close_within(&folder, &mut folders);
    }
    // In an empty directory there was nothing to read.
    if was_open && files > 0 && openness(data_dir).is_none() {
        let data_dir = data_dir.display();
        tracing::warn!(%data_dir, files, "the data directory could be read by others until now");
    }
    Ok(())
}

/// Closes what is in a folder, and gives its folders to be gone through; how much was open.
fn close_within(folder: &Path, folders: &mut Vec<PathBuf>) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let mut closed = 0;
    for entry in entries.flatten() {
        // A link is looked at itself, not what it leads to.
        let Ok(found) = entry.metadata() else { continue };
        if found.is_symlink() {
            continue;
        }
        closed += usize::from(close(&entry.path(), &found));
        if found.is_dir() {
            folders.push(entry.path());
        }
    }
    closed
}

/// Takes from others what they may do with a file; whether that was anything.
fn close(path: &Path, found: &Metadata) -> bool {
    let is_open = found.mode() & OTHERS != 0 && found.uid() == geteuid().as_raw();
    let closed = Permissions::from_mode(found.mode() & 0o7777 & !OTHERS);
    is_open && fs::set_permissions(path, closed).is_ok()
}

/// What others than the hub's user may do with the directory, the system's own user apart, whom
/// nothing keeps out.
pub(crate) fn openness(data_dir: &Path) -> Option<String> {
    // A directory that is gone is told of by others.
    let found = fs::metadata(data_dir).ok()?;
    let (owner, mode, path) = (found.uid(), found.mode() & 0o777, data_dir.display());
    if ![geteuid().as_raw(), 0].contains(&owner) {
        return Some(format!("{path} belongs to user {owner}"));
    }
    (mode & OTHERS != 0).then(|| format!("{path} has the mode {mode:o}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").mode() & 0o7777
    }

    #[test]
    fn a_directory_of_any_mode_is_closed_and_keeps_what_its_owner_may() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("a/b");
        for (before, after, is_open) in
            [(0o777, 0o700, true), (0o2750, 0o2700, true), (0o700, 0o700, false)]
        {
            make(&data_dir).expect("it is made");
            fs::set_permissions(&data_dir, Permissions::from_mode(before)).expect("it is ours");
            assert_eq!(openness(&data_dir).is_some(), is_open, "{before:o}");
            make(&data_dir).expect("it is there");
            assert_eq!((mode(&data_dir), openness(&data_dir)), (after, None));
        }
        assert_eq!(openness(&folder.path().join("nothing")), None);
    }

    #[test]
    fn files_of_any_depth_are_closed_and_those_behind_links_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (data_dir, outside) = (folder.path().join("data"), folder.path().join("outside"));
        let deep = data_dir.join("one/two");
        fs::create_dir_all(&deep).expect("folders");
        for path in [&outside, &deep.join("file")] {
            fs::write(path, "").expect("it writes");
            fs::set_permissions(path, Permissions::from_mode(0o664)).expect("it is ours");
        }
        std::os::unix::fs::symlink(&outside, data_dir.join("link")).expect("a link");
        std::os::unix::fs::symlink(&data_dir, deep.join("circle")).expect("a link");
        make(&data_dir).expect("it is there");
        assert_eq!([mode(&deep.join("file")), mode(&outside)], [0o600, 0o664]);
        assert_eq!([mode(&deep), mode(&data_dir)], [0o700; 2]);
    }
}
