//! Where custody's objects lie.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::journal::{disk, make_folder, sync_folder};
use crate::resource::{Error, ErrorKind, Permit, Result};

/// Free disk space below which nothing irreplaceable is begun.
const MIN_FREE_BYTES: u64 = 16 << 20;

/// A place that keeps objects. Each version of an object is written once and never changed.
#[async_trait]
pub trait Store: Send + Sync {
    /// The place in words, for errors.
    fn describe(&self) -> String;
    /// The numbers of the versions of `name`, ascending.
    async fn versions(&self, name: &str) -> Result<Vec<u32>>;
    /// Reads one version.
    async fn read(&self, name: &str, version: u32) -> Result<Vec<u8>>;
    /// Writes one version durably. `Conflict` when there is one already.
    async fn write(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()>;
    /// The names that begin with `prefix`, with their versions. A list may lag behind.
    async fn objects(&self, prefix: &str) -> Result<Vec<(String, u32)>>;
    /// Removes one version for good, as far as the place can. One that is not there is success.
    async fn remove(&self, permit: &Permit, name: &str, version: u32) -> Result<()>;
    /// Puts `bytes` in the place of a damaged version.
    async fn repair(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()>;
    /// Writes `bytes` under a name that is no object's, returns what is read back, and leaves at
    /// most that one name behind, however often it is done.
    async fn probe(&self, permit: &Permit, bytes: &[u8]) -> Result<Vec<u8>>;
}

/// A folder. The object `a/b` in version 2 is the file `a/b.2.json`.
#[derive(Debug)]
pub struct FileStore {
    folder: PathBuf,
}

impl FileStore {
    /// A store in `folder`, which the first write makes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    fn path(&self, name: &str, version: u32) -> PathBuf {
        self.folder.join(format!("{}.json", versioned(name, version)))
    }

    fn failed(&self, name: &str, source: &io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
            _ => ErrorKind::Local,
        };
        Error::new(kind, format!("custody: {name}"), format!("{}: {source}", self.describe()))
            .advice("check the folder's permissions and the free disk space, then run again")
    }

    fn enough_space(&self) -> io::Result<()> {
        let disk = rustix::fs::statvfs(&self.folder)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= MIN_FREE_BYTES {
            return Ok(());
        }
        Err(io::Error::other(format!("only {} KiB are free on this disk", free >> 10)))
    }

    fn probe_file(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        make_folder(&self.folder)?;
        self.enough_space()?;
        let path = self.folder.join(format!(".canary.{}", uuid::Uuid::new_v4()));
        let read = create(&path, bytes).and_then(|()| std::fs::read(&path));
        std::fs::remove_file(&path)?;
        read
    }
}

#[async_trait]
impl Store for FileStore {
    fn describe(&self) -> String {
        format!("folder {}", self.folder.display())
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>> {
        let path = self.folder.join(name);
        let (folder, leaf) = (path.parent().unwrap_or(&self.folder), name.rsplit('/').next().unwrap_or(name));
        let files = files_in(folder).map_err(|source| self.failed(name, &source))?;
        let mut versions: Vec<u32> = files
            .iter()
            .filter_map(|file| parse(file))
            .filter(|(stem, _)| *stem == leaf)
            .map(|(_, n)| n)
            .collect();
        versions.sort_unstable();
        Ok(versions)
    }

    async fn read(&self, name: &str, version: u32) -> Result<Vec<u8>> {
        std::fs::read(self.path(name, version)).map_err(|source| self.failed(name, &source))
    }

    async fn write(&self, _permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        create(&self.path(name, version), bytes).map_err(|source| self.failed(name, &source))
    }

    async fn remove(&self, _permit: &Permit, name: &str, version: u32) -> Result<()> {
        let path = self.path(name, version);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| sync_folder(path.parent().unwrap_or(&self.folder))),
        }
        .map_err(|source| self.failed(name, &source))
    }

    /// The old file stays beside the new one, as `.replaced.…`, for a person to look at. At no moment
    /// is there no file in its place.
    async fn repair(&self, _permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        let path = self.path(name, version);
        let aside = path.with_file_name(format!(".replaced.{}", uuid::Uuid::new_v4()));
        let kept = std::fs::hard_link(&path, &aside).or_else(|_| std::fs::copy(&path, &aside).map(drop));
        let replaced = kept.and_then(|()| put(&path, bytes, true));
        replaced.map_err(|source| self.failed(name, &source))
    }

    async fn objects(&self, prefix: &str) -> Result<Vec<(String, u32)>> {
        let mut objects = Vec::new();
        walk(&self.folder, "", &mut objects).map_err(|source| self.failed(prefix, &source))?;
        objects.retain(|(name, _)| name.starts_with(prefix));
        objects.sort_unstable();
        Ok(objects)
    }

    async fn probe(&self, _permit: &Permit, bytes: &[u8]) -> Result<Vec<u8>> {
        self.probe_file(bytes).map_err(|source| self.failed("canary", &source))
    }
}

/// Writes a new file; refuses an old one.
fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, false)
}

/// Writes a file in one step that either happens or does not, durably.
fn put(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    // The temporary file is readable for its owner alone.
    let mut file = tempfile::Builder::new().prefix(".writing.").tempfile_in(folder)?;
    disk::write(file.as_file_mut(), bytes)?;
    let persisted = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    persisted.map_err(|refused| refused.error)?;
    sync_folder(folder)?;
    if std::fs::read(path)? == bytes {
        return Ok(());
    }
    Err(io::Error::other("what was read back is not what was written"))
}

/// The names of the files in `folder`; none when it does not exist.
fn files_in(folder: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
    }
}

fn walk(folder: &Path, prefix: &str, objects: &mut Vec<(String, u32)>) -> io::Result<()> {
    for file in files_in(folder)? {
        let path = folder.join(&file);
        if path.is_dir() {
            walk(&path, &format!("{prefix}{file}/"), objects)?;
        } else if let Some((stem, version)) = parse(&file) {
            objects.push((format!("{prefix}{stem}"), version));
        }
    }
    Ok(())
}

/// The name in a place of the version `version` of the object `name`.
pub fn versioned(name: &str, version: u32) -> String {
    format!("{name}.{version}")
}

/// Name and version from [`versioned`]; `None` for what is no object, such as a canary.
pub fn parse_versioned(text: &str) -> Option<(&str, u32)> {
    let (name, version) = text.rsplit_once('.')?;
    let leaf = name.rsplit('/').next()?;
    if leaf.is_empty() || leaf.starts_with('.') { None } else { Some((name, version.parse().ok()?)) }
}

/// The leaf and the version of a file's name; `None` for files that are not objects.
fn parse(file: &str) -> Option<(&str, u32)> {
    parse_versioned(file.strip_suffix(".json")?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("exists").permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn objects_are_private_and_written_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FileStore::new(folder.path().join("custody"));
        let permit = Permit::mint();
        assert!(store.versions("vault/a").await.expect("reads").is_empty());
        assert!(!folder.path().join("custody").exists(), "reading leaves no trace");
        store.write(&permit, "vault/a", 1, b"one").await.expect("writes");
        let refused = store.write(&permit, "vault/a", 1, b"two").await.expect_err("written once");
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert_eq!(store.read("vault/a", 1).await.expect("reads"), b"one");
        assert_eq!(mode(&store.path("vault/a", 1)), 0o600);
        assert_eq!(mode(&folder.path().join("custody/vault")), 0o700);
        assert_eq!(mode(&folder.path().join("custody")), 0o700);
        let left: Vec<String> = files_in(&folder.path().join("custody/vault")).expect("lists");
        assert_eq!(left, ["a.1.json"], "no temporary file is left");
    }

    #[tokio::test]
    async fn versions_and_names_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FileStore::new(folder.path());
        let permit = Permit::mint();
        for (name, version) in [("aws/ci", 2), ("aws/ci", 10), ("aws/ci.old", 1), ("vault/a", 1)] {
            store.write(&permit, name, version, b"x").await.expect("writes");
        }
        assert_eq!(store.versions("aws/ci").await.expect("lists"), [2, 10]);
        let objects = [("aws/ci".to_owned(), 2), ("aws/ci".to_owned(), 10), ("aws/ci.old".to_owned(), 1)];
        assert_eq!(store.objects("aws/").await.expect("lists"), objects);
    }

    #[tokio::test]
    async fn replaced_object_keeps_the_old_one_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FileStore::new(folder.path());
        let permit = Permit::mint();
        store.write(&permit, "a", 1, b"old").await.expect("writes");
        store.repair(&permit, "a", 1, b"new").await.expect("replaces");
        assert_eq!(store.read("a", 1).await.expect("reads"), b"new");
        let files = files_in(folder.path()).expect("lists");
        let aside = files.iter().find(|file| file.starts_with(".replaced.")).expect("kept");
        assert_eq!(std::fs::read(folder.path().join(aside)).expect("reads"), b"old");
        assert_eq!(store.objects("").await.expect("lists"), [("a".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn a_probe_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FileStore::new(folder.path());
        assert_eq!(store.probe(&Permit::mint(), b"x").await.expect("works"), b"x");
        assert!(files_in(folder.path()).expect("lists").is_empty());
    }
}
