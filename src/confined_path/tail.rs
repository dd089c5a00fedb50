//! Looks for a text near the end of a file that grows, such as a log.

use std::fs::File;
use std::io::{Error, Read, Result, Seek, SeekFrom};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Whether the last `limit` bytes of a file have this text. The path may be a server's word: nothing of the file
/// is shown, and only a regular file is read.
///
/// # Errors
/// When it is not a regular file, or cannot be read.
pub fn ends_with_text(path: &Path, text: &str, limit: u64) -> Result<bool> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(Error::other("it is not a regular file"));
    }
    file.seek(SeekFrom::Start(about.len().saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(2 * limit).read_to_end(&mut bytes)?;
    Ok(bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_regular_file_is_searched() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        std::fs::write(&log, format!("first{}last", "x".repeat(100))).expect("written");
        assert!(ends_with_text(&log, "last", 50).expect("readable"));
        assert!(!ends_with_text(&log, "first", 50).expect("readable"));
        assert!(ends_with_text(&log, "first", 500).expect("readable"));
        assert!(ends_with_text(folder.path(), "x", 50).is_err());
        assert!(ends_with_text(&folder.path().join("none"), "x", 50).is_err());
    }
}
