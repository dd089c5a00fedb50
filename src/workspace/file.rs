//! One file of a folder that no link leads into.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::confined_path::{Folder, Keeping, Missing, split};

/// A file below a folder. Every use opens it again, and follows no link below that folder.
#[derive(Clone, Debug)]
pub struct LocalFile {
    root: PathBuf,
    below: String,
    keeping: Keeping,
}

impl LocalFile {
    pub(super) fn new(root: &Path, below: String, keeping: Keeping) -> Self {
        Self { root: root.to_owned(), below, keeping }
    }

    /// A file that the caller has named, in any folder.
    pub fn of_caller(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self::new(path.parent().unwrap_or(Path::new(".")), name, Keeping::Private)
    }

    /// Its path, for messages.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.below)
    }

    /// Its content; `None` when there is no such file.
    ///
    /// # Errors
    /// When it is a link or not a regular file, belongs to another user, is longer than `limit`, or
    /// cannot be read.
    pub fn read(&self, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let (parent, name) = split(&self.below)?;
        match Folder::open(&self.root, parent, self.keeping, Missing::Leave)? {
            Some(folder) => Ok(folder.read(name, limit)?.map(|(bytes, _)| bytes)),
            None => Ok(None),
        }
    }

    /// Opens it for reading and writing, and keeps its content. Creates a missing file, with its
    /// parent folders, for the owner only.
    ///
    /// # Errors
    /// As [`LocalFile::read`]; when it cannot be made.
    pub fn open(&self) -> io::Result<File> {
        let (folder, name) = self.folder()?;
        folder.open_file(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// As [`LocalFile::open`], at its end. Truncates the file to `length`, and makes its name durable.
    ///
    /// # Errors
    /// As [`LocalFile::open`].
    pub fn open_at_end(&self, length: u64) -> io::Result<File> {
        let (folder, name) = self.folder()?;
        let mut file = folder.open_file(name, OFlags::WRONLY | OFlags::CREATE)?;
        file.set_len(length)?;
        file.seek(SeekFrom::End(0))?;
        file.sync_all()?;
        folder.sync()?;
        Ok(file)
    }

    /// Writes it atomically and durably, for its owner only. `write` puts the content on the disk.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one and it is not to be replaced; as [`LocalFile::open`].
    pub fn put(&self, replace: bool, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let (folder, name) = self.folder()?;
        folder.put(name, 0o600, replace, write)
    }

    /// Removes it; a missing file is a success.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        let (parent, name) = split(&self.below)?;
        match Folder::open(&self.root, parent, self.keeping, Missing::Leave)? {
            Some(folder) => folder.remove(name),
            None => Ok(()),
        }
    }

    fn folder(&self) -> io::Result<(Folder, &str)> {
        let (parent, name) = split(&self.below)?;
        let folder = Folder::open(&self.root, parent, self.keeping, Missing::Make)?;
        folder.map(|folder| (folder, name)).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl fmt::Display for LocalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}
