//! Allows only one run at a time on this machine.

use std::fs::{File, TryLockError};
use std::io::{Seek, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::confined_path::read_to;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Who, local};
use crate::workspace::Workspace;

/// The longest accepted description of a holder, in bytes.
const LONGEST: u64 = 64 << 10;
/// How often a lock that another process has is tried once more, and how long apart.
const LOOKS: u32 = 3;
const LOOK: Duration = Duration::from_millis(10);

/// The exclusive right to apply one plan from this folder, until dropped or until the process ends.
/// The operating system holds the lock, not the existence of the file.
#[derive(Debug)]
pub struct LocalLock {
    _file: File,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run.
    #[serde(flatten)]
    pub who: Who,
    /// When the lock was taken (RFC 3339).
    pub since: Timestamp,
}

impl LocalLock {
    /// Takes the lock `<plan>.lock`; creates its file when it does not exist.
    ///
    /// # Errors
    /// `Conflict`, naming the holder, when another run holds it; `Local` when the file cannot be
    /// created.
    pub fn acquire(workspace: &Workspace, plan: &str, who: &Who) -> Result<Self> {
        let place = workspace.file(&format!("{plan}.lock"));
        let failed = |source: std::io::Error| local("lock", &place.path(), &source);
        let mut file = place.open().map_err(failed)?;
        // Another process may only be looking, which takes an instant.
        let mut attempts = 0..LOOKS;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempts.next().is_some() => std::thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => return Err(taken(plan, &file)),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        let holder = Holder { who: who.clone(), since: Timestamp::now() };
        write_holder(&mut file, &holder).map_err(failed)?;
        Ok(Self { _file: file })
    }

    /// Whether another run holds the lock `<plan>.lock`. Takes nothing and writes nothing.
    ///
    /// # Errors
    /// `Local` when the file cannot be read.
    pub fn look(workspace: &Workspace, plan: &str) -> Result<LocalLook> {
        let place = workspace.file(&format!("{plan}.lock"));
        let failed = |source: std::io::Error| local("read", &place.path(), &source);
        // Without the file no run has ever held it.
        if place.read(LONGEST).map_err(failed)?.is_none() {
            return Ok(LocalLook::Free);
        }
        let file = place.open().map_err(failed)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(LocalLook::Free),
            Err(TryLockError::WouldBlock) => Ok(LocalLook::Held(holder(&file))),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// The state of the lock of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalLook {
    /// No run holds it.
    Free,
    /// A run holds it, which has recorded this about itself.
    Held(Option<Holder>),
}

fn holder(file: &File) -> Option<Holder> {
    let text = read_to(file, LONGEST).ok()?;
    serde_json::from_slice(&text).ok()
}

fn write_holder(file: &mut File, holder: &Holder) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(holder)?)
}

fn taken(plan: &str, file: &File) -> Error {
    let message = match holder(file) {
        Some(Holder { who, since }) => {
            let since = since.strftime("%Y-%m-%d %H:%M:%S UTC");
            format!("another run of {plan} holds the lock: {}, process {}, since {since}", who.who, who.pid)
        }
        None => format!("another run of {plan} holds the lock and has not recorded its holder"),
    };
    Error::new(ErrorKind::Conflict, "lock", message)
        .advice("wait until that run ends, then run again; `--lock-timeout 10m` waits for it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    #[test]
    fn second_run_names_the_lock_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let who = Who::here("sha256:0", &Environment::default());
        let workspace = Workspace::of(folder.path()).expect("usable");
        let held = LocalLock::acquire(&workspace, "demo", &who).expect("free");
        let refused = LocalLock::acquire(&workspace, "demo", &Who::here("sha256:0", &Environment::default()))
            .expect_err("taken");
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert!(refused.message.contains(&who.who) && refused.message.contains(&who.pid.to_string()));
        LocalLock::acquire(&workspace, "other", &who).expect("another plan is free");
        let look = || LocalLock::look(&workspace, "demo").expect("readable");
        assert!(matches!(look(), LocalLook::Held(Some(holder)) if holder.who == who));
        drop(held);
        assert_eq!(look(), LocalLook::Free);
        assert_eq!(LocalLock::look(&workspace, "never").expect("readable"), LocalLook::Free);
        assert!(!folder.path().join(".groundwork/never.lock").exists(), "a look leaves nothing");
        LocalLock::acquire(&workspace, "demo", &who).expect("free again");
    }
}
