//! Reads files that keys and certificates are in: short ones.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::limits::KEY_FILE_BYTES_MAX;

/// What a file holds, unless that is too much for one of keys.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {KEY_FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
