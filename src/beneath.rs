//! Files below a folder, whatever links stand there or are put there in the meantime.
//!
//! Every folder on the way is opened from the one before it and no link is followed, so that a
//! path leads where it says or nowhere (the way of `openat`).

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, fstat, fsync, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// What is wrong with a path that should stay below a folder; `None` when nothing is, as far as
/// its text tells.
pub fn mistake(path: &str) -> Option<&'static str> {
    let mut parts = Path::new(path).components();
    let drive = path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    match () {
        () if path.is_empty() => Some("an empty path leads nowhere"),
        () if path.contains(char::is_control) => Some("a path has no control characters"),
        () if path.contains('\\') => Some("a path is written with `/`"),
        () if drive || path.starts_with('/') => {
            Some("the path is absolute; it must stay inside the plan's folder")
        }
        () if parts.any(|part| matches!(part, Component::ParentDir)) => {
            Some("`..` leads out; the path must stay inside the plan's folder")
        }
        () => None,
    }
}

/// A regular file's bytes and permission bits; `None` when there is none.
///
/// # Errors
/// When a link or something else stands in the way, or it cannot be read.
pub fn read(folder: &Path, path: &str) -> Result<Option<(Vec<u8>, u32)>> {
    let Some((parent, name)) = open_parent(folder, path, false)? else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(&parent, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(in_the_way(path, error)),
        Ok(file) => File::from(file),
    };
    let stat = fstat(&file)?;
    if !file.metadata()?.is_file() {
        return Err(Error::other(format!("{path} is no regular file")));
    }
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes)?;
    Ok(Some((bytes, Mode::from_raw_mode(stat.st_mode).bits() & 0o7777)))
}

/// Sees whether a file can be put in this place: makes the folders on the way, writes beside it and
/// removes that again. What stands in the place is left as it is.
///
/// # Errors
/// As [`replace`]; when what stands there is not a regular file.
pub fn prove(folder: &Path, path: &str) -> Result<()> {
    read(folder, path)?;
    let beside = match path.rsplit_once('/') {
        Some((parent, name)) => format!("{parent}/.{name}.{}", uuid::Uuid::new_v4().simple()),
        None => format!(".{path}.{}", uuid::Uuid::new_v4().simple()),
    };
    replace(folder, &beside, b"", 0o600).and_then(|()| remove(folder, &beside))
}

/// Puts a file in its place at once, so that a reader sees the old or the new one; folders on the
/// way are made. Survives a crash when it returns.
///
/// # Errors
/// When a link or something else stands in the way, or it cannot be written.
pub fn replace(folder: &Path, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let Some((parent, name)) = open_parent(folder, path, true)? else {
        return Err(Error::new(ErrorKind::NotFound, "the plan's folder is gone"));
    };
    let temporary = format!(".{name}.{}", uuid::Uuid::new_v4().simple());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(&parent, &*temporary, flags, Mode::RUSR | Mode::WUSR)?);
    let written = file
        .write_all(bytes)
        .and_then(|()| Ok(fchmod(&file, Mode::from_raw_mode(mode))?))
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(renameat(&parent, &*temporary, &parent, name)?));
    if let Err(error) = written {
        // What is half written is of no use; the first error is the one to tell.
        let _ = unlinkat(&parent, &*temporary, AtFlags::empty());
        return Err(error);
    }
    Ok(fsync(&parent)?)
}

/// Removes a file, or the link that stands in its place; one that is gone is success.
///
/// # Errors
/// When a link stands on the way to it, or it cannot be removed.
pub fn remove(folder: &Path, path: &str) -> Result<()> {
    let Some((parent, name)) = open_parent(folder, path, false)? else { return Ok(()) };
    match unlinkat(&parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The folder that a path's last part is in, and that part; `None` when the folder is not there.
fn open_parent<'a>(folder: &Path, path: &'a str, make: bool) -> Result<Option<(OwnedFd, &'a str)>> {
    if let Some(why) = mistake(path) {
        return Err(Error::other(why));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut open = openat(CWD, root, flags, Mode::empty())?;
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let Some(name) = parts.pop() else { return Err(Error::other("the path names no file")) };
    for part in parts {
        let next = || openat(&open, part, flags | OFlags::NOFOLLOW, Mode::empty());
        open = match next() {
            Err(Errno::NOENT) if !make => return Ok(None),
            Err(Errno::NOENT) => {
                match mkdirat(&open, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                next().map_err(|error| in_the_way(part, error))?
            }
            Err(error) => return Err(in_the_way(part, error)),
            Ok(next) => next,
        };
    }
    Ok(Some((open, name)))
}

fn in_the_way(path: &str, error: Errno) -> Error {
    match error {
        Errno::LOOP | Errno::NOTDIR | Errno::MLINK => Error::other(format!(
            "{path} is a link, which is not followed out of the plan's folder, or no folder"
        )),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_is_written_read_and_removed() {
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
    fn place_is_proven_without_a_trace() {
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
            assert!(replace(folder.path(), path, b"ours", 0o644).is_err(), "{path}");
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
    fn paths_that_lead_elsewhere_are_named() {
        for path in ["", "/etc/x", "../x", "a/../../x", "a\\..\\x", "C:x", "c:/x", "a\0b", "a\u{1b}[2J"] {
            assert!(mistake(path).is_some(), "{path:?}");
            assert!(read(Path::new("."), path).is_err(), "{path:?}");
        }
        for path in ["x", "a/b.txt", "./x", "ab:c", "ä"] {
            assert_eq!(mistake(path), None, "{path}");
        }
    }
}
