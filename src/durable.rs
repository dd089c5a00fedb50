//! Durable and private files and folders, and the seam through which tests make them fail.
//!
//! Debug builds read `GROUNDWORK_FAULT=<what>@<n>`: at the n-th durable write of the process,
//! `full` stops half-way for lack of space, `fsync` writes all but cannot flush it, `torn` writes
//! half and ends the process, `before` and `after` end it with nothing and all written. Release
//! builds do not have it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Writes `bytes` at the file's position; they are on the disk when this returns.
pub fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    #[cfg(debug_assertions)]
    if let Some(fault) = fault::due() {
        return fault.happen(file, bytes);
    }
    write_all(file, bytes)
}

fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// Options for a file that only its owner may read.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Makes `folder` and those above it durably, accessible only to the owner.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(parent.unwrap_or(Path::new(".")))
}

/// Removes a file; one that is not there is success.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes the names in `folder` durable: a new file is not there after a power cut without it.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(debug_assertions)]
mod fault {
    use std::fs::File;
    use std::io::{self, Write};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustix::io::Errno;
    use rustix::process::{Signal, getpid, kill_process};

    static WRITES: AtomicUsize = AtomicUsize::new(0);
    static PLANNED: LazyLock<Option<(Fault, usize)>> = LazyLock::new(|| {
        let text = std::env::var("GROUNDWORK_FAULT").ok()?;
        let (what, position) = text.split_once('@')?;
        Some((Fault::named(what)?, position.parse().ok()?))
    });

    #[derive(Clone, Copy, Debug)]
    pub enum Fault {
        Full,
        Fsync,
        Torn,
        Before,
        After,
    }

    /// The fault that this write is to meet.
    pub fn due() -> Option<Fault> {
        let (fault, position) = (*PLANNED)?;
        (WRITES.fetch_add(1, Ordering::SeqCst) + 1 == position).then_some(fault)
    }

    impl Fault {
        fn named(name: &str) -> Option<Self> {
            Some(match name {
                "full" => Self::Full,
                "fsync" => Self::Fsync,
                "torn" => Self::Torn,
                "before" => Self::Before,
                "after" => Self::After,
                _ => return None,
            })
        }

        pub fn happen(self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
            let half = &bytes[..bytes.len() / 2];
            match self {
                Self::Full => file.write_all(half).and(Err(Errno::NOSPC.into())),
                Self::Fsync => file.write_all(bytes).and(Err(Errno::IO.into())),
                Self::Torn => super::write_all(file, half).and_then(|()| end()),
                Self::Before => end(),
                Self::After => super::write_all(file, bytes).and_then(|()| end()),
            }
        }
    }

    /// Ends this process as `kill -9` does.
    fn end() -> io::Result<()> {
        kill_process(getpid(), Signal::KILL)?;
        loop {
            std::thread::park();
        }
    }
}
