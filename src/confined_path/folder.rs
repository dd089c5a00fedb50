//! A folder held open, and what can be done in it without following a link.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, fchmod, fstat, fstatvfs, fsync, linkat, mkdirat,
    openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{leads_out, split};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Never waits for the writer of a pipe, and never makes a terminal the controlling one.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// How the message about a link that is in the way ends.
pub const NOT_FOLLOWED: &str = "; links are not followed";

/// Who may have made a folder, and which mode a new one gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Any user; new folders get the mode that the umask leaves.
    Open,
    /// Any user; new folders are for their owner only.
    Private,
    /// The current user, and no other user may change it; new folders are for their owner only.
    Guarded,
}

/// What to do about the folders on the way that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing: there is no such folder.
    Leave,
    /// Make them.
    Make,
}

/// A folder held open. What is done in it takes place there, whatever its path leads to by now.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    keeping: Keeping,
}

impl Folder {
    /// Opens `below` in `root`, one part after the other. Links are followed in `root`, which the
    /// caller names, and nowhere else. `None` when it does not exist and is not to be made.
    ///
    /// # Errors
    /// When a link or something else stands in the way; when another user may change a guarded folder.
    pub fn open(root: &Path, below: &str, keeping: Keeping, missing: Missing) -> Result<Option<Self>> {
        if let Some(why) = Some(below).filter(|below| !below.is_empty()).and_then(leads_out) {
            return Err(Error::other(why));
        }
        let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        let root = match openat(CWD, root, FOLDER, Mode::empty()) {
            Err(Errno::NOENT) if missing == Missing::Leave => return Ok(None),
            opened => opened?,
        };
        Ok(descend(root, below, keeping, missing)?.map(|fd| Self { fd, keeping }))
    }

    /// The folder one level above, wherever this one lies by now.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn above(&self) -> Result<Self> {
        Ok(Self { fd: openat(&self.fd, "..", FOLDER, Mode::empty())?, keeping: self.keeping })
    }

    /// A folder in this one; `None` when there is none.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn enter(&self, name: &str) -> Result<Option<Self>> {
        let entered = enter(&self.fd, name, name, self.keeping, Missing::Leave)?;
        Ok(entered.map(|fd| Self { fd, keeping: self.keeping }))
    }

    /// A regular file's bytes, some folders below; `None` when there is none.
    ///
    /// # Errors
    /// As [`Folder::open`] and [`Folder::read`].
    pub fn read_below(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let (parent, name) = split(path)?;
        match descend(self.fd.try_clone()?, parent, self.keeping, Missing::Leave)? {
            Some(fd) => Ok(Self { fd, keeping: self.keeping }.read(name, limit)?.map(|(bytes, _)| bytes)),
            None => Ok(None),
        }
    }

    /// A regular file's bytes and permission bits; `None` when there is none.
    ///
    /// # Errors
    /// When it is not a regular file, longer than `limit`, or cannot be read.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<(Vec<u8>, u32)>> {
        match self.open_file(name, OFlags::RDONLY) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(file) => {
                let mode = Mode::from_raw_mode(fstat(&file)?.st_mode).bits() & 0o7777;
                Ok(Some((read_to(file, limit)?, mode)))
            }
        }
    }

    /// Opens a regular file. With [`OFlags::CREATE`], a new one is for its owner only.
    ///
    /// # Errors
    /// When it is not a regular file, or another user may change a guarded one.
    pub fn open_file(&self, name: &str, flags: OFlags) -> Result<File> {
        let opened = openat(&self.fd, name, FILE | flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(opened.map_err(|error| in_the_way(&self.fd, name, name, error))?);
        if !file.metadata()?.is_file() {
            return Err(Error::other(format!("{name} is not a regular file")));
        }
        if self.keeping == Keeping::Guarded {
            guard(&file, name)?;
        }
        Ok(file)
    }

    /// Writes a file in one step that either happens or does not. It is on the disk when this
    /// returns; `write` may stand in for writing and flushing.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one that is not to be replaced; when it cannot be written.
    pub fn put(
        &self,
        name: &str,
        mode: u32,
        replace: bool,
        write: impl FnOnce(&mut File) -> Result<()>,
    ) -> Result<()> {
        let temporary = format!(".writing.{}", uuid::Uuid::new_v4().simple());
        let mut file = self.open_file(&temporary, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        let written = write(&mut file)
            .and_then(|()| Ok(fchmod(&file, Mode::from_raw_mode(mode))?))
            .and_then(|()| file.sync_all())
            .and_then(|()| self.rename(&temporary, name, replace));
        if let Err(error) = written {
            // A partly written file is useless; the first error is the one to report.
            let _ = unlinkat(&self.fd, &*temporary, AtFlags::empty());
            return Err(error);
        }
        self.sync()
    }

    fn rename(&self, from: &str, to: &str, replace: bool) -> Result<()> {
        if replace {
            return Ok(renameat(&self.fd, from, &self.fd, to)?);
        }
        match renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE) {
            // Not every file system knows this.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                linkat(&self.fd, from, &self.fd, to, AtFlags::empty())?;
                Ok(unlinkat(&self.fd, from, AtFlags::empty())?)
            }
            renamed => Ok(renamed?),
        }
    }

    /// Keeps a file under a second name.
    ///
    /// # Errors
    /// When it does not exist or cannot be copied.
    pub fn keep_aside(&self, name: &str, aside: &str, limit: u64) -> Result<()> {
        if linkat(&self.fd, name, &self.fd, aside, AtFlags::empty()).is_ok() {
            return Ok(());
        }
        let (bytes, mode) = self.read(name, limit)?.ok_or_else(|| Error::from(Errno::NOENT))?;
        self.put(aside, mode, false, |file| file.write_all(&bytes))
    }

    /// Removes a file, or the link that stands in its place; one that is gone is success.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => self.sync(),
        }
    }

    /// Removes a folder in this one, if it is empty; one that is gone, or is not empty, is success.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_folder(&self, name: &str) -> Result<()> {
        match unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => self.sync(),
        }
    }

    /// The names in the folder, and whether each is a folder. Links are left out.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn entries(&self) -> Result<Vec<(String, bool)>> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            match statat(&self.fd, &*name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| file_type(&stat)) {
                Ok(FileType::Directory) => found.push((name, true)),
                Ok(FileType::RegularFile) => found.push((name, false)),
                // Not ours, or removed in the meantime.
                _ => {}
            }
        }
        Ok(found)
    }

    /// Makes the names in the folder durable: a new file is not there after a power cut without it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn sync(&self) -> Result<()> {
        Ok(fsync(&self.fd)?)
    }

    /// How many bytes are free on the folder's disk.
    ///
    /// # Errors
    /// The operating system's.
    pub fn free_bytes(&self) -> Result<u64> {
        let disk = fstatvfs(&self.fd)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// Reads all that is there, up to a limit. The length that a file claims is not believed.
///
/// # Errors
/// When there is more, or it cannot be read.
pub fn read_to(from: impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is larger than {}", in_words(limit))));
    }
    Ok(bytes)
}

/// A limit as people read it.
pub fn in_words(limit: u64) -> String {
    match limit {
        0..1024 => format!("{limit} bytes"),
        1024..1_048_576 => format!("{} KiB", limit >> 10),
        _ => format!("{} MiB", limit >> 20),
    }
}

/// Enters the folders of a path one after the other.
fn descend(mut open: OwnedFd, below: &str, keeping: Keeping, missing: Missing) -> Result<Option<OwnedFd>> {
    let mut path = String::new();
    for part in below.split('/').filter(|part| !part.is_empty() && *part != ".") {
        path = if path.is_empty() { part.to_owned() } else { format!("{path}/{part}") };
        let Some(next) = enter(&open, part, &path, keeping, missing)? else { return Ok(None) };
        open = next;
    }
    Ok(Some(open))
}

/// The folder `part` of `open`. `path` is what messages call it.
fn enter(
    open: &OwnedFd,
    part: &str,
    path: &str,
    keeping: Keeping,
    missing: Missing,
) -> Result<Option<OwnedFd>> {
    let next = || openat(open, part, FOLDER | OFlags::NOFOLLOW, Mode::empty());
    let entered = match next() {
        Err(Errno::NOENT) if missing == Missing::Leave => return Ok(None),
        Err(Errno::NOENT) => {
            let mode = if keeping == Keeping::Open { 0o777 } else { 0o700 };
            match mkdirat(open, part, Mode::from_raw_mode(mode)) {
                Ok(()) => fsync(open)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            next()
        }
        opened => opened,
    };
    let entered = entered.map_err(|error| in_the_way(open, part, path, error))?;
    if keeping == Keeping::Guarded {
        guard(&entered, path)?;
    }
    Ok(Some(entered))
}

/// Refuses a file or folder that another user has made or may change.
fn guard(open: impl std::os::fd::AsFd, path: &str) -> Result<()> {
    let stat = fstat(open)?;
    let refused = |why: String| Err(Error::new(ErrorKind::PermissionDenied, why));
    if stat.st_uid != geteuid().as_raw() {
        return refused(format!(
            "{path} belongs to user {}, not to the current user; if its content is yours, run `chown -R \"$(id -u)\"` \
             on it, else remove it",
            stat.st_uid
        ));
    }
    if stat.st_mode & 0o022 != 0 {
        return refused(format!(
            "others may change {path}; if its content is yours, run `chmod -R go-w` on it"
        ));
    }
    Ok(())
}

fn in_the_way(folder: &OwnedFd, name: &str, path: &str, error: Errno) -> Error {
    let there = || statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| file_type(&stat));
    match error {
        Errno::LOOP | Errno::NOTDIR | Errno::MLINK if there() == Ok(FileType::Symlink) => {
            Error::other(format!("{path} is a link{NOT_FOLLOWED}"))
        }
        Errno::NOTDIR => Error::new(ErrorKind::NotADirectory, format!("{path} is not a folder")),
        // A socket, or a pipe without a reader.
        Errno::NXIO => Error::other(format!("{path} is not a regular file")),
        other => other.into(),
    }
}

fn file_type(stat: &rustix::fs::Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
