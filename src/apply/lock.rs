//! Takes and releases the lock that other machines see. These writes are not steps of a plan.

use super::Approved;
use crate::error::Result;
use crate::lock::{Info, RemoteLock};
use crate::permit::Permit;

/// A person has given the exact id of the lock to remove.
#[derive(Debug)]
pub struct ApprovedUnlock<'a>(&'a str);

impl<'a> ApprovedUnlock<'a> {
    /// Records the approval. Call it only where a person has given the id.
    pub fn by_caller(id: &'a str) -> Self {
        Self(id)
    }
}

/// Takes the lock for a changeset that is about to be applied. Returns `false` when the bucket or
/// table of the lock does not exist yet.
///
/// # Errors
/// `Conflict`, naming the holder, when another run holds it.
pub async fn lock(lock: &RemoteLock, _approved: &Approved<'_>) -> Result<bool> {
    lock.take(&Permit::mint()).await
}

/// Removes the lock, regardless of its holder.
///
/// # Errors
/// `Conflict` when the approved id is not the lock's.
pub async fn force_unlock(approved: ApprovedUnlock<'_>, lock: &RemoteLock) -> Result<Option<Info>> {
    lock.force(&Permit::mint(), approved.0).await
}
