//! Allows only one run at a time on this machine.

use std::fs::{File, TryLockError};
use std::io::{Seek, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::confined_path::read_to;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Who, local};
use crate::workspace::Workspace;

/// The longest accepted description of a holder, in bytes.
const LONGEST: u64 = 64 << 10;

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
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(plan, &file)),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let holder = Holder { who: who.clone(), since: Timestamp::now() };
        write_holder(&mut file, &holder).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn write_holder(file: &mut File, holder: &Holder) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(holder)?)
}

fn taken(plan: &str, file: &File) -> Error {
    let text = read_to(file, LONGEST).ok();
    let holder = text.and_then(|text| serde_json::from_slice::<Holder>(&text).ok());
    let message = match holder {
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
        drop(held);
        LocalLock::acquire(&workspace, "demo", &who).expect("free again");
    }
}
