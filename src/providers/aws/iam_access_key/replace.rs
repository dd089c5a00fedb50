//! How a key is replaced: another one is made, delivered and proven, then the old one is deleted.
//!
//! The journal has the old keys from before the new one is asked for until they are gone, so that a run
//! that was cut off in between is taken up by the next one.

use std::collections::BTreeSet;

use aws_sdk_iam::types::AccessKeyMetadata;

use super::custodian::{KeyCustodian, Pair, ids};
use super::next::Next;
use super::{Desired, Status};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Entry;
use crate::permit::Permit;

/// The journal's word for the replacement of a user's key.
const REPLACE: &str = "replace access key";
/// How many keys IAM allows a user.
pub(super) const MOST: usize = 2;

/// What is left of a replacement that a run has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    /// These old keys are to go, once the current key is delivered.
    Old(Vec<String>),
    /// The current key is still the old one.
    Current,
}

impl KeyCustodian {
    /// The key that has been made in place of another one, if a replacement is under way: IAM's times are
    /// whole seconds, and do not always say which of two is the newer one.
    pub(super) fn successor(&self, user: &str, held: &BTreeSet<String>) -> Option<String> {
        let Some(begun) = self.journal.open_intent(REPLACE, user) else {
            return self.rotated_to(user, held);
        };
        let Entry::Intent { detail: old, .. } = begun.entry else { return None };
        held.iter().find(|key| !old.contains(key)).cloned()
    }

    /// What is left of a replacement, as the journal says.
    pub(super) fn replacement(
        &self,
        user: &str,
        live: &[AccessKeyMetadata],
        next: &Next,
    ) -> Option<Replaced> {
        let begun = self.journal.open_intent(REPLACE, user)?;
        let Entry::Intent { detail: old, .. } = begun.entry else { return None };
        match next {
            Next::Keep { key, .. } if old.contains(key) => Some(Replaced::Current),
            _ => Some(Replaced::Old(ids(live).into_iter().filter(|key| old.contains(key)).collect())),
        }
    }

    /// Makes another key in place of the current one, or goes on where an earlier run was cut off.
    pub(super) async fn replace(
        &self,
        permit: &Permit,
        step: &str,
        desired: &Desired,
        next: Next,
    ) -> Result<()> {
        let user = &desired.user;
        let live = self.live(user).await?.unwrap_or_default();
        let is_made = matches!(self.replacement(user, &live, &next), Some(Replaced::Old(_)));
        match next {
            Next::Keep { key, lost } if !is_made => {
                // Keys without a secret would take the new one's place.
                self.remove(permit, user, lost.clone()).await?;
                let left: Vec<String> = ids(&live).into_iter().filter(|id| !lost.contains(id)).collect();
                if left.len() >= MOST {
                    return Err(no_room(user, &left, &key));
                }
                self.begin(permit, step, user, key).await?;
                let pair: Pair = self.make(permit, step, desired).await?;
                // Inactive keys are delivered, too; only active ones can be proven.
                let proven = Desired { status: Status::Active, ..desired.clone() };
                self.finish(permit, &proven, &pair).await?;
                if desired.status != Status::Active {
                    self.finish(permit, desired, &pair).await?;
                }
            }
            next => self.recover(permit, step, desired, next).await?,
        }
        self.end(permit, user).await
    }

    async fn begin(&self, permit: &Permit, step: &str, user: &str, key: String) -> Result<()> {
        if self.journal.open_intent(REPLACE, user).is_some() {
            return Ok(());
        }
        let intent = Entry::Intent {
            step: step.to_owned(),
            operation: REPLACE.to_owned(),
            target: user.to_owned(),
            detail: vec![key],
        };
        self.journal.append(permit, intent).await
    }

    /// Deletes the old keys, now that the current one is delivered and proven.
    async fn end(&self, permit: &Permit, user: &str) -> Result<()> {
        let live = self.live(user).await?.unwrap_or_default();
        let next = self.next(user, &live).await?;
        let detail = match self.replacement(user, &live, &next) {
            Some(Replaced::Old(old)) => {
                self.remove(permit, user, old.clone()).await?;
                old
            }
            Some(Replaced::Current) | None => return Ok(()),
        };
        let (operation, target) = (REPLACE.to_owned(), user.to_owned());
        self.journal.append(permit, Entry::Committed { operation, target, detail }).await
    }
}

pub(super) fn no_room(user: &str, keys: &[String], current: &str) -> Error {
    let others: Vec<&str> = keys.iter().map(String::as_str).filter(|key| *key != current).collect();
    let message = format!("{user} has two keys, as many as IAM allows: {} too", others.join(", "));
    Error::new(ErrorKind::Rejected, REPLACE, message)
        .advice(
            "if a rotation is under way, `groundwork rotate PLAN --due` ends it; else deactivate and delete that key by \
             hand when nothing needs it, then run again",
        )
}
