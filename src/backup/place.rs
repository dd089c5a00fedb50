//! The places that keep backups.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustix::fs::OFlags;

use super::FromStart;
use crate::confined_path::{Folder, Keeping, Missing, OBJECT};
use crate::durable::make_folder;
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;

/// What is put into a place.
pub enum Payload<'a> {
    /// A file of any length.
    File {
        /// Open for reading.
        file: &'a File,
        /// Its length.
        bytes: u64,
    },
    /// A short text.
    Text(&'a [u8]),
}

/// A place that keeps backups. An object is written once and never changed.
#[async_trait]
pub trait BackupPlace: Send + Sync {
    /// The place in words.
    fn describe(&self) -> String;
    /// The names of all objects, in any order.
    async fn list(&self) -> Result<Vec<String>>;
    /// Writes an object durably, and makes sure that it arrived whole. `Conflict` when there is one already.
    async fn put(&self, permit: &Permit, name: &str, payload: Payload<'_>) -> Result<()>;
    /// A short object; `None` when there is none.
    async fn text(&self, name: &str) -> Result<Option<Vec<u8>>>;
    /// Copies an object of any length into `file`.
    async fn fetch(&self, name: &str, file: &mut File) -> Result<()>;
    /// Removes an object. One that is gone is success.
    async fn remove(&self, permit: &Permit, name: &str) -> Result<()>;
}

/// A folder for backups.
#[derive(Debug)]
pub struct BackupFolder {
    root: PathBuf,
    below: String,
}

impl BackupFolder {
    /// A folder that the caller names, which the first write makes.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), below: String::new() }
    }

    /// A folder below a plan's. No link leads there.
    pub fn below(root: &Path, below: &str) -> Self {
        Self { root: root.to_owned(), below: below.to_owned() }
    }

    /// The folder of an object, and the name of its file.
    fn open<'n>(&self, name: &'n str, missing: Missing) -> io::Result<(Option<Folder>, &'n str)> {
        let (inner, leaf) = name.rsplit_once('/').unwrap_or(("", name));
        if missing == Missing::Make {
            make_folder(&self.root)?;
        }
        let parts = [self.below.as_str(), inner];
        let below: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Ok((Folder::open(&self.root, &below.join("/"), Keeping::Private, missing)?, leaf))
    }

    /// Every object is in the folder of its cluster.
    fn list_files(&self) -> io::Result<Vec<String>> {
        let (Some(root), _) = self.open("", Missing::Leave)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for (cluster, _) in root.entries()?.into_iter().filter(|(_, is_folder)| *is_folder) {
            let inside = root.enter(&cluster)?.map(|folder| folder.entries()).transpose()?;
            let files = inside.into_iter().flatten().filter(|(_, is_folder)| !is_folder);
            names.extend(files.map(|(name, _)| format!("{cluster}/{name}")));
        }
        Ok(names)
    }

    fn write(&self, name: &str, payload: &Payload<'_>) -> io::Result<()> {
        let (folder, leaf) = self.open(name, Missing::Make)?;
        let folder = folder.ok_or_else(|| io::Error::other("the folder is gone"))?;
        folder.put(leaf, 0o600, false, |to| match payload {
            Payload::Text(text) => crate::durable::write(to, text),
            Payload::File { file, bytes } => {
                let mut from = FromStart::of(file).map_err(|error| io::Error::other(error.message))?;
                match io::copy(&mut from, to)? {
                    copied if copied == *bytes => Ok(()),
                    copied => Err(io::Error::other(format!("{copied} of {bytes} bytes were written"))),
                }
            }
        })
    }

    fn copy(&self, name: &str, to: &mut File) -> io::Result<()> {
        let (folder, leaf) = self.open(name, Missing::Leave)?;
        let folder = folder.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        io::copy(&mut folder.open_file(leaf, OFlags::RDONLY)?, to).map(drop)
    }

    fn failed(&self, name: &str, error: &io::Error) -> Error {
        let kind = match error.kind() {
            io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
            _ => ErrorKind::Local,
        };
        Error::new(kind, format!("{} {name}", self.describe()), error.to_string())
    }
}

#[async_trait]
impl BackupPlace for BackupFolder {
    fn describe(&self) -> String {
        format!("folder {}", self.root.join(&self.below).display())
    }

    async fn list(&self) -> Result<Vec<String>> {
        self.list_files().map_err(|error| self.failed("", &error))
    }

    async fn put(&self, _: &Permit, name: &str, payload: Payload<'_>) -> Result<()> {
        self.write(name, &payload).map_err(|error| self.failed(name, &error))
    }

    async fn text(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let read = self.open(name, Missing::Leave).and_then(|(folder, leaf)| match folder {
            Some(folder) => folder.read(leaf, OBJECT),
            None => Ok(None),
        });
        Ok(read.map_err(|error| self.failed(name, &error))?.map(|(bytes, _)| bytes))
    }

    async fn fetch(&self, name: &str, file: &mut File) -> Result<()> {
        self.copy(name, file).map_err(|error| self.failed(name, &error))
    }

    async fn remove(&self, _: &Permit, name: &str) -> Result<()> {
        let removed = self.open(name, Missing::Leave).and_then(|(folder, leaf)| match folder {
            Some(folder) => folder.remove(leaf),
            None => Ok(()),
        });
        removed.map_err(|error| self.failed(name, &error))
    }
}
