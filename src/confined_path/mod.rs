//! Local files that a plan names: every one of them is read and written through here.
//!
//! A plan may come from a stranger, and so may all that lies in its folder. A path is relative and
//! stays below the plan's folder, has no hidden part, and leads where it says or nowhere: every
//! folder on the way is opened from the one before it and no link is followed (the way of
//! `openat`), whatever is put there in the meantime. Only regular files are read, and only so much
//! of them. [`reserved`] lists the places that a plan must not write.

mod folder;
mod limit;
mod reserved;
mod tail;

use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags};

use crate::plan_shape::is_plan;

pub use folder::{Folder, Keeping, Missing, NOT_FOLLOWED, in_words, read_to};
pub use limit::{FILE, JOURNAL, KEY, OBJECT, PLAN, PLAN_IN_ALL, TEMPLATE};
pub use reserved::mistake_in_writing;
pub use tail::ends_with_text;

/// The only hidden folder that a plan may name: the default place of custody.
const CUSTODY: &str = ".groundwork/custody";

/// What is wrong with a path that should stay below a folder, judged by its text; `None` when nothing
/// is.
pub fn leads_out(path: &str) -> Option<&'static str> {
    let mut parts = Path::new(path).components();
    let drive = path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    match () {
        () if path.is_empty() => Some("an empty path leads nowhere"),
        () if path.contains(char::is_control) => Some("a path has no control characters"),
        () if path.contains('\\') => Some("a path is written with `/`"),
        () if path.contains("://") => {
            Some("this is an address, and nothing is fetched; copy the file into the plan's folder")
        }
        () if drive || path.starts_with('/') => {
            Some("the path is absolute; it must stay inside the plan's folder")
        }
        () if parts.any(|part| matches!(part, Component::ParentDir)) => {
            Some("`..` leads out; the path must stay inside the plan's folder")
        }
        () => None,
    }
}

/// What is wrong with the path of a file that a plan wants to read; `None` when nothing is.
pub fn mistake(path: &str) -> Option<&'static str> {
    leads_out(path).or_else(|| has_hidden_part(path).then_some(HIDDEN))
}

/// What is wrong with the path of a folder for custody; `None` when nothing is.
pub fn mistake_of_store(path: &str) -> Option<&'static str> {
    match path.strip_prefix("./").unwrap_or(path).strip_prefix(CUSTODY) {
        Some("") => None,
        Some(below) if below.starts_with('/') => mistake(&below[1..]),
        _ => mistake(path),
    }
}

const HIDDEN: &str =
    "a part of the path is hidden (its name begins with a dot); hidden files belong to other programs";

fn has_hidden_part(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.') && part != ".")
}

/// A regular file's bytes and permission bits; `None` when there is none.
///
/// # Errors
/// When the path is not one to read, a link or something else stands in the way, the file is
/// longer than `limit`, or it cannot be read.
pub fn read(folder: &Path, path: &str, limit: u64) -> Result<Option<(Vec<u8>, u32)>> {
    refuse(mistake(path))?;
    let (parent, name) = split(path)?;
    match Folder::open(folder, parent, Keeping::Open, Missing::Leave)? {
        Some(parent) => parent.read(name, limit).map_err(|error| named(path, error)),
        None => Ok(None),
    }
}

/// A file that the caller names himself, wherever it is; links are followed.
///
/// # Errors
/// When it is not a regular file, longer than `limit`, or cannot be read.
pub fn read_caller_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => read_to(file, limit),
        false => Err(Error::other("it is not a regular file")),
    }
}

/// The same for a path from the plan's text; a file that does not exist is an error.
///
/// # Errors
/// As [`read`].
pub fn read_existing(folder: &Path, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let text = path.to_str().ok_or_else(|| Error::other("the path is not UTF-8"))?;
    match read(folder, text, limit)? {
        Some((bytes, _)) => Ok(bytes),
        None => Err(Error::new(ErrorKind::NotFound, "there is no such file")),
    }
}

/// The present content of a place that a plan wants to write, as [`read`]. `None` for a place that a
/// plan must not write.
///
/// # Errors
/// As [`read`]; when a plan lies there, which another plan does not touch.
pub fn read_output(folder: &Path, path: &str) -> Result<Option<(Vec<u8>, u32)>> {
    if leads_out(path).is_none() && mistake_in_writing(path).is_some() {
        return Ok(None);
    }
    let found = read(folder, path, FILE)?;
    match &found {
        Some((bytes, _)) if is_plan(bytes) => {
            Err(Error::other(format!("{path} is a plan; a plan does not write plans")))
        }
        _ => Ok(found),
    }
}

/// Checks whether a file can be put in this place: makes the folders on the way, writes a file beside
/// it and removes that again. A file in the place itself is left as it is.
///
/// # Errors
/// As [`replace`]; when what stands there is not a regular file.
pub fn prove(folder: &Path, path: &str) -> Result<()> {
    refuse(mistake_in_writing(path))?;
    read_output(folder, path)?;
    let (parent, _) = split(path)?;
    let parent = made(folder, parent)?;
    let beside = format!(".proof.{}", uuid::Uuid::new_v4().simple());
    parent.put(&beside, 0o600, false, |_| Ok(())).and_then(|()| parent.remove(&beside))
}

/// Puts a file in its place at once, so that a reader sees the old or the new one; folders on the
/// way are made. Survives a crash when it returns.
///
/// # Errors
/// When the path is not one to write, a link or something else stands in the way, or it cannot be
/// written.
pub fn replace(folder: &Path, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    refuse(mistake_in_writing(path))?;
    let (parent, name) = split(path)?;
    let put = made(folder, parent)?.put(name, mode, true, |file| file.write_all(bytes));
    put.map_err(|error| named(path, error))
}

/// Removes a file, or the link that stands in its place; one that is gone is success.
///
/// # Errors
/// When the path is not one to write, a link stands on the way to it, or it cannot be removed.
pub fn remove(folder: &Path, path: &str) -> Result<()> {
    refuse(mistake_in_writing(path))?;
    let (parent, name) = split(path)?;
    match Folder::open(folder, parent, Keeping::Open, Missing::Leave)? {
        Some(parent) => parent.remove(name).map_err(|error| named(path, error)),
        None => Ok(()),
    }
}

fn made(folder: &Path, below: &str) -> Result<Folder> {
    let made = Folder::open(folder, below, Keeping::Open, Missing::Make)?;
    made.ok_or_else(|| Error::new(ErrorKind::NotFound, "the plan's folder is gone"))
}

fn refuse(mistake: Option<impl Into<String>>) -> Result<()> {
    mistake.map_or(Ok(()), |why| Err(Error::other(why.into())))
}

/// The folder of a path, and its last part.
pub(crate) fn split(path: &str) -> Result<(&str, &str)> {
    let path = path.trim_end_matches("/.").trim_end_matches('/');
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() || name == "." {
        return Err(Error::other("the path names no file"));
    }
    Ok((parent, name))
}

/// An error about the last part names the whole path.
fn named(path: &str, error: Error) -> Error {
    let text = error.to_string();
    match path.rsplit_once('/') {
        Some((parent, name)) if text.starts_with(name) => {
            Error::new(error.kind(), format!("{parent}/{text}"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn read(folder: &Path, path: &str) -> Result<Option<(Vec<u8>, u32)>> {
        super::read(folder, path, 1024)
    }

    #[test]
    fn file_is_written_read_and_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read(folder.path(), "a/b.txt").expect("readable"), None);
        for text in ["one", "two"] {
            replace(folder.path(), "./a/b.txt", text.as_bytes(), 0o640).expect("written");
            assert_eq!(read(folder.path(), "a/b.txt").expect("readable"), Some((text.into(), 0o640)));
        }
        assert_eq!(
            folder.path().join("a").read_dir().expect("a folder").count(),
            1,
            "nothing is left behind"
        );
        remove(folder.path(), "a/b.txt").expect("removed");
        remove(folder.path(), "a/b.txt").expect("removed already");
        remove(folder.path(), "c/d").expect("never there");
    }

    #[test]
    fn path_probe_changes_no_files() {
        let folder = tempfile::tempdir().expect("a folder");
        prove(folder.path(), "a/b.txt").expect("can be written");
        assert_eq!(folder.path().join("a").read_dir().expect("a folder").count(), 0);
        replace(folder.path(), "a/b.txt", b"theirs", 0o600).expect("written");
        prove(folder.path(), "a/b.txt").expect("can be replaced");
        assert_eq!(read(folder.path(), "a/b.txt").expect("readable"), Some((b"theirs".to_vec(), 0o600)));
        assert!(prove(folder.path(), "a/b.txt/c").is_err() && prove(folder.path(), "a").is_err());
    }

    #[test]
    fn links_are_not_followed() {
        let outside = tempfile::tempdir().expect("a folder");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(outside.path().join("x"), "theirs").expect("written");
        symlink(outside.path(), folder.path().join("out")).expect("linked");
        symlink(outside.path().join("x"), folder.path().join("x")).expect("linked");
        for path in ["out/x", "out/new/x"] {
            let error = replace(folder.path(), path, b"ours", 0o644).expect_err(path);
            assert_eq!(error.to_string(), "out is a link; links are not followed");
            assert!(read(folder.path(), path).is_err(), "{path}");
            assert!(remove(folder.path(), path).is_err(), "{path}");
        }
        assert!(read(folder.path(), "x").is_err());
        // The link itself is replaced, never what it leads to.
        replace(folder.path(), "x", b"ours", 0o644).expect("written");
        assert_eq!(std::fs::read_to_string(outside.path().join("x")).expect("theirs"), "theirs");
        assert_eq!(outside.path().read_dir().expect("a folder").count(), 1);
    }

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("folder")).expect("made");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("a pipe");
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("a socket");
        for path in ["folder", "pipe", "socket"] {
            let error = read(folder.path(), path).expect_err(path).to_string();
            assert!(error.contains("not a regular file"), "{path}: {error}");
        }
        std::fs::write(folder.path().join("long"), [b'x'; 1025]).expect("written");
        let error = read(folder.path(), "long").expect_err("too long");
        assert_eq!(error.to_string(), "it is larger than 1 KiB");
        std::fs::write(folder.path().join("long"), [b'x'; 1024]).expect("written");
        assert!(read(folder.path(), "long").is_ok());
    }

    #[test]
    fn outside_and_hidden_paths_are_refused() {
        for path in ["", "/etc/x", "../x", "a/../../x", "a\\..\\x", "C:x", "c:/x", "a\0b", "a\u{1b}[2J"] {
            assert!(leads_out(path).is_some(), "{path:?}");
            assert!(read(Path::new("."), path).is_err(), "{path:?}");
        }
        for path in [".git/config", "a/.env", ".groundwork/journal/x.jsonl", ".groundwork/custody/x.json"] {
            assert!(mistake(path).is_some() && read(Path::new("."), path).is_err(), "{path}");
        }
        for path in ["x", "a/b.txt", "./x", "ab:c", "ä", "a..b"] {
            assert_eq!(mistake(path), None, "{path}");
        }
    }

    #[test]
    fn store_path_may_use_default_hidden_folder() {
        for path in [".groundwork/custody", "./.groundwork/custody", ".groundwork/custody/one", "custody"] {
            assert_eq!(mistake_of_store(path), None, "{path}");
        }
        for path in
            [".groundwork", ".groundwork/journal", ".groundwork/custodyx", ".groundwork/custody/.git", ".ssh"]
        {
            assert!(mistake_of_store(path).is_some(), "{path}");
        }
    }
}
