//! Taking and giving back the lock that other machines see: writes beside a plan's own.

use super::Approved;
use crate::lock::{Info, RemoteLock};
use crate::resource::{Permit, Result};

/// A person has told the exact id of the lock that is to be taken away.
#[derive(Debug)]
pub struct ApprovedUnlock<'a>(&'a str);

impl<'a> ApprovedUnlock<'a> {
    /// Notes the approval. To be called where a person has given the id.
    pub fn by_caller(id: &'a str) -> Self {
        Self(id)
    }
}

/// Takes the lock, for a changeset that is about to be carried out. `false` when what it would
/// stand in does not exist yet.
///
/// # Errors
/// `Conflict`, naming the holder, when somebody else has it.
pub async fn lock(lock: &RemoteLock, _approved: &Approved<'_>) -> Result<bool> {
    lock.take(&Permit::mint()).await
}

/// Gives this run's own lock back.
///
/// # Errors
/// When that fails; the advice says how to do it by hand.
pub async fn unlock(lock: &RemoteLock) -> Result<()> {
    lock.release(&Permit::mint()).await
}

/// Takes the lock away from whoever holds it.
///
/// # Errors
/// `Conflict` when the approved id is not the lock's.
pub async fn force_unlock(approved: ApprovedUnlock<'_>, lock: &RemoteLock) -> Result<Option<Info>> {
    lock.force(&Permit::mint(), approved.0).await
}
