//! The places where custody keeps its objects.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::confined_path::{self, Folder, Keeping, Missing, OBJECT};
use crate::durable;
use crate::durable::make_folder;
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::workspace;

/// The free disk space that a folder needs before a run requests irreplaceable secrets.
const MIN_FREE_BYTES: u64 = 16 << 20;
/// The depth to which folders are searched for objects.
const DEPTH: usize = 16;
/// What to do about a store that is a link.
const ELSEWHERE: &str = "for a store on another disk, mount that in this place, or write the store's absolute path \
     and allow it with `--trust store=PATH`";

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
    /// Moves an object that is not the plan's out of the place of a version. The store keeps it where
    /// it can.
    async fn set_aside(&self, permit: &Permit, name: &str, version: u32) -> Result<()>;
    /// Puts `bytes` in the place of a damaged version.
    async fn repair(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()>;
    /// Removes what is left in a place without objects: what was put aside, and empty folders.
    async fn tidy(&self, _permit: &Permit) -> Result<()> {
        Ok(())
    }
    /// Writes `bytes` under a name that no object has, and returns the bytes that it reads back. Repeated
    /// calls leave at most that one name behind.
    async fn probe(&self, permit: &Permit, bytes: &[u8]) -> Result<Vec<u8>>;
}

/// A folder. The object `a/b` in version 2 is the file `a/b.2.json`.
#[derive(Debug)]
pub struct FileStore {
    root: PathBuf,
    below: String,
    keeping: Keeping,
}

impl FileStore {
    /// A store in a folder that the caller names, which the first write makes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { root: folder.into(), below: String::new(), keeping: Keeping::Private }
    }

    /// A store below a plan's folder, as the plan says. No link leads there.
    pub fn below(root: &Path, below: &str) -> Self {
        let keeping =
            if Path::new(below).starts_with(workspace::NAME) { Keeping::Guarded } else { Keeping::Private };
        Self { root: root.to_owned(), below: below.to_owned(), keeping }
    }

    /// The folder of an object's files; `None` when it does not exist and is not to be made.
    fn open(&self, object: &str, missing: Missing) -> io::Result<Option<Folder>> {
        let inner = object.rsplit_once('/').map_or("", |(folder, _)| folder);
        if missing == Missing::Make {
            make_folder(&self.root)?;
        }
        let parts: Vec<&str> =
            [self.below.as_str(), inner].into_iter().filter(|part| !part.is_empty()).collect();
        Folder::open(&self.root, &parts.join("/"), self.keeping, missing)
    }

    fn make(&self, object: &str) -> io::Result<Folder> {
        self.open(object, Missing::Make)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn failed(&self, name: &str, source: &io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
            _ => ErrorKind::Local,
        };
        let error = Error::new(kind, format!("custody: {name}"), format!("{}: {source}", self.describe()));
        match source.to_string().ends_with(confined_path::NOT_FOLLOWED) {
            true => error.advice(ELSEWHERE),
            false => error.advice("check the folder's permissions and the free disk space, then run again"),
        }
    }

    fn files_of(&self, name: &str) -> io::Result<Vec<String>> {
        let entries = self.open(name, Missing::Leave)?.map_or(Ok(Vec::new()), |folder| folder.entries())?;
        Ok(entries.into_iter().filter(|(_, is_folder)| !is_folder).map(|(name, _)| name).collect())
    }

    fn read_file(&self, name: &str, version: u32) -> io::Result<Vec<u8>> {
        let folder = self.open(name, Missing::Leave)?;
        let read = folder.map_or(Ok(None), |folder| folder.read(&file_name(name, version), OBJECT))?;
        read.map(|(bytes, _)| bytes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such file"))
    }

    fn repair_file(&self, name: &str, version: u32, bytes: &[u8]) -> io::Result<()> {
        let (folder, file) = (self.make(name)?, file_name(name, version));
        folder.keep_aside(&file, &format!(".replaced.{}", uuid::Uuid::new_v4()), OBJECT)?;
        put(&folder, &file, bytes, true)
    }

    fn reject_file(&self, name: &str, version: u32) -> io::Result<()> {
        let Some(folder) = self.open(name, Missing::Leave)? else { return Ok(()) };
        let file = file_name(name, version);
        folder.keep_aside(&file, &format!(".rejected.{file}.{}", uuid::Uuid::new_v4()), OBJECT)?;
        folder.remove(&file)
    }

    /// Removes the folder itself, if it is below the plan's and empty.
    fn remove_root(&self) -> io::Result<()> {
        if self.below.is_empty() {
            return Ok(());
        }
        let (parent, name) = self.below.rsplit_once('/').unwrap_or(("", &self.below));
        let parent = Folder::open(&self.root, parent, self.keeping, Missing::Leave)?;
        parent.map_or(Ok(()), |parent| parent.remove_folder(name))
    }

    fn probe_file(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let folder = self.make("")?;
        enough_space(&folder)?;
        let name = format!(".canary.{}", uuid::Uuid::new_v4());
        let read = put(&folder, &name, bytes, false).and_then(|()| folder.read(&name, OBJECT));
        folder.remove(&name)?;
        Ok(read?.map(|(bytes, _)| bytes).unwrap_or_default())
    }
}

#[async_trait]
impl Store for FileStore {
    fn describe(&self) -> String {
        format!("folder {}", self.root.join(&self.below).display())
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>> {
        let leaf = name.rsplit('/').next().unwrap_or(name);
        let files = self.files_of(name).map_err(|source| self.failed(name, &source))?;
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
        self.read_file(name, version).map_err(|source| self.failed(name, &source))
    }

    async fn write(&self, _permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        let written =
            self.make(name).and_then(|folder| put(&folder, &file_name(name, version), bytes, false));
        written.map_err(|source| self.failed(name, &source))
    }

    async fn remove(&self, _permit: &Permit, name: &str, version: u32) -> Result<()> {
        let folder = self.open(name, Missing::Leave);
        let removed = folder
            .and_then(|folder| folder.map_or(Ok(()), |folder| folder.remove(&file_name(name, version))));
        removed.map_err(|source| self.failed(name, &source))
    }

    /// It stays as `.rejected.…`.
    async fn set_aside(&self, _permit: &Permit, name: &str, version: u32) -> Result<()> {
        self.reject_file(name, version).map_err(|source| self.failed(name, &source))
    }

    /// The old file stays beside the new one, as `.replaced.…`, for a person to look at. The file exists
    /// at every moment of the replacement.
    async fn repair(&self, _permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        self.repair_file(name, version, bytes).map_err(|source| self.failed(name, &source))
    }

    async fn objects(&self, prefix: &str) -> Result<Vec<(String, u32)>> {
        let mut objects = Vec::new();
        let walked = self
            .open("", Missing::Leave)
            .and_then(|folder| folder.map_or(Ok(()), |folder| walk(&folder, "", DEPTH, &mut objects)));
        walked.map_err(|source| self.failed(prefix, &source))?;
        objects.retain(|(name, _)| name.starts_with(prefix));
        objects.sort_unstable();
        Ok(objects)
    }

    async fn tidy(&self, _permit: &Permit) -> Result<()> {
        let tidied = self
            .open("", Missing::Leave)
            .and_then(|folder| folder.map_or(Ok(()), |folder| sweep(&folder, DEPTH)));
        tidied.and_then(|()| self.remove_root()).map_err(|source| self.failed("store", &source))
    }

    async fn probe(&self, _permit: &Permit, bytes: &[u8]) -> Result<Vec<u8>> {
        self.probe_file(bytes).map_err(|source| self.failed("canary", &source))
    }
}

fn enough_space(folder: &Folder) -> io::Result<()> {
    let free = folder.free_bytes()?;
    if free >= MIN_FREE_BYTES {
        return Ok(());
    }
    Err(io::Error::other(format!("only {} KiB are free on this disk", free >> 10)))
}

/// Writes a file atomically and durably, readable only for its owner.
fn put(folder: &Folder, name: &str, bytes: &[u8], replace: bool) -> io::Result<()> {
    folder.put(name, 0o600, replace, |file| durable::write(file, bytes))?;
    match folder.read(name, OBJECT)? {
        Some((read, _)) if read == bytes => Ok(()),
        _ => Err(io::Error::other("what was read back is not what was written")),
    }
}

/// Removes the folders that hold nothing but what was put aside.
fn sweep(folder: &Folder, depth: usize) -> io::Result<()> {
    for (name, is_folder) in folder.entries()? {
        if is_folder && depth > 0 {
            if let Some(inner) = folder.enter(&name)? {
                sweep(&inner, depth - 1)?;
            }
            folder.remove_folder(&name)?;
        } else if [".replaced.", ".rejected.", ".canary."].iter().any(|aside| name.starts_with(aside)) {
            folder.remove(&name)?;
        }
    }
    Ok(())
}

fn walk(folder: &Folder, prefix: &str, depth: usize, objects: &mut Vec<(String, u32)>) -> io::Result<()> {
    for (name, is_folder) in folder.entries()? {
        if is_folder && depth > 0 {
            if let Some(inner) = folder.enter(&name)? {
                walk(&inner, &format!("{prefix}{name}/"), depth - 1, objects)?;
            }
        } else if let Some((stem, version)) = parse(&name).filter(|_| !is_folder) {
            objects.push((format!("{prefix}{stem}"), version));
        }
    }
    Ok(())
}

/// The name of the file of an object's version, in its folder.
fn file_name(name: &str, version: u32) -> String {
    let leaf = name.rsplit('/').next().unwrap_or(name);
    format!("{}.json", versioned(leaf, version))
}

/// The name in a place of the version `version` of the object `name`.
pub fn versioned(name: &str, version: u32) -> String {
    format!("{name}.{version}")
}

/// Splits a name from [`versioned`]; `None` for names that are not objects, such as a canary.
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

    fn files_in(folder: &Path) -> Vec<String> {
        let entries = folder.read_dir().expect("lists");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[tokio::test]
    async fn store_behind_a_link_is_refused() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("store")).expect("linked");
        let (store, permit) = (FileStore::below(folder.path(), "store"), Permit::mint());
        for error in [
            store.versions("a").await.expect_err("refused"),
            store.read("a", 1).await.expect_err("refused"),
            store.write(&permit, "a", 1, b"x").await.expect_err("refused"),
            store.remove(&permit, "a", 1).await.expect_err("refused"),
            store.repair(&permit, "a", 1, b"x").await.expect_err("refused"),
            store.objects("").await.expect_err("refused"),
            store.probe(&permit, b"x").await.expect_err("refused"),
        ] {
            assert!(error.message.contains("store is a link"), "{error}");
            assert!(error.advice.is_some_and(|advice| advice.contains("--trust store=PATH")));
        }
        assert!(files_in(elsewhere.path()).is_empty());
    }

    #[tokio::test]
    async fn special_files_and_oversized_objects_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, permit) = (FileStore::new(folder.path()), Permit::mint());
        let pipe = folder.path().join("a.1.json");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, 0o600.into(), 0).expect("a pipe");
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("b.1.json")).expect("linked");
        assert!(store.read("a", 1).await.is_err() && store.read("b", 1).await.is_err());
        assert!(store.versions("a").await.expect("lists").is_empty());
        store.write(&permit, "c", 1, &vec![0; 5 << 20]).await.expect_err("larger than an object");
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
        assert_eq!(mode(&folder.path().join("custody/vault/a.1.json")), 0o600);
        assert_eq!(mode(&folder.path().join("custody/vault")), 0o700);
        assert_eq!(mode(&folder.path().join("custody")), 0o700);
        let left: Vec<String> = files_in(&folder.path().join("custody/vault"));
        assert_eq!(left, ["a.1.json"], "no temporary file is left");
    }

    #[tokio::test]
    async fn store_distinguishes_names_and_versions() {
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
    async fn repair_keeps_the_replaced_object_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FileStore::new(folder.path());
        let permit = Permit::mint();
        store.write(&permit, "a", 1, b"old").await.expect("writes");
        store.repair(&permit, "a", 1, b"new").await.expect("replaces");
        assert_eq!(store.read("a", 1).await.expect("reads"), b"new");
        let files = files_in(folder.path());
        let aside = files.iter().find(|file| file.starts_with(".replaced.")).expect("kept");
        assert_eq!(std::fs::read(folder.path().join(aside)).expect("reads"), b"old");
        assert_eq!(store.objects("").await.expect("lists"), [("a".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn probe_leaves_no_files_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FileStore::new(folder.path());
        assert_eq!(store.probe(&Permit::mint(), b"x").await.expect("works"), b"x");
        assert!(files_in(folder.path()).is_empty());
    }
}
