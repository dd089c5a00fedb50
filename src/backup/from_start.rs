//! A file that several readers read from its start, each at its own pace.

use std::fs::File;
use std::io::{Read, Result};
use std::os::unix::fs::FileExt;

use crate::error::{Error, ErrorKind};

/// A reader of a file from its start. A copy of a file's handle shares its position with all others, so that stores that
/// are written at the same time would each get a part of the file; this one has a position of its own.
#[derive(Debug)]
pub struct FromStart {
    file: File,
    position: u64,
}

impl FromStart {
    /// A reader of this file.
    ///
    /// # Errors
    /// When the system has no further handle for it.
    pub fn of(file: &File) -> std::result::Result<Self, Error> {
        let file = file.try_clone().map_err(|error| unreadable(&error))?;
        Ok(Self { file, position: 0 })
    }
}

impl Read for FromStart {
    fn read(&mut self, to: &mut [u8]) -> Result<usize> {
        let read = self.file.read_at(to, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// The error when a backup cannot be read on this machine.
pub fn unreadable(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Local, "read the backup", error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn readers_of_one_file_do_not_disturb_each_other() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"abcdef").expect("written");
        let (mut one, mut other) = (FromStart::of(&file).expect("one"), FromStart::of(&file).expect("two"));
        let mut part = [0; 4];
        one.read_exact(&mut part).expect("four bytes");
        let mut whole = String::new();
        other.read_to_string(&mut whole).expect("all");
        let mut rest = String::new();
        one.read_to_string(&mut rest).expect("the rest");
        assert_eq!((&part, whole.as_str(), rest.as_str()), (b"abcd", "abcdef", "ef"));
    }
}
