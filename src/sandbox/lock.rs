//! One command at a time.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::Error;
use super::error::Doing;
use crate::event::Events;

/// An exclusive lock on a file, held until dropped; the system lets go of it when a holder dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until the lock is free. It polls, so that a waiting command can be interrupted.
    pub async fn acquire(path: &Path, events: &Events) -> Result<Self, Error> {
        let doing = || format!("lock {}", path.display());
        let file = File::options().create(true).append(true).open(path).doing(doing)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(error).doing(doing),
                Err(TryLockError::WouldBlock) if told => {}
                Err(TryLockError::WouldBlock) => {
                    events.progress(format!("waiting for another groundwork that holds {}", path.display()));
                    told = true;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn second_sandbox_lock_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::acquire(&path, &Events::default()).await.unwrap();
        let events = Events::default();
        let second = Lock::acquire(&path, &events);
        tokio::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(120), &mut second).await.is_err());
        drop(first);
        assert!(second.await.is_ok());
    }
}
