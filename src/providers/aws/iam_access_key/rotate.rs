//! Carries out the phases of a rotation, each announced in the journal before its request.

use std::collections::BTreeSet;

use aws_sdk_iam::types::AccessKeyMetadata;
use jiff::Timestamp;

use super::custodian::{KeyCustodian, Pair, ids, object};
use super::next::Next;
use super::replace::{MOST, no_room};
use super::rotation::{Phase, UnderWay, Used};
use super::{Desired, Status, status_of};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Entry, PHASED, Record};
use crate::permit::Permit;
use crate::providers::aws::error::Answer;
use crate::providers::aws::iam::NO_SUCH_ENTITY;
use crate::resource::Turn;

/// The journal's word for the deactivation of a key.
const DEACTIVATE: &str = "deactivate access key";

/// The journal's word for the rotation of a user's key.
fn rotate() -> String {
    format!("{PHASED} access key")
}

impl KeyCustodian {
    /// The intent of the rotation that is under way, and the key on its way out.
    fn intent(&self, user: &str) -> Option<(Record, String)> {
        let intent = self.journal.open_intent(&rotate(), user)?;
        let Entry::Intent { detail, .. } = &intent.entry else { return None };
        let old = detail.first()?.clone();
        Some((intent, old))
    }

    /// The key that is made in place of the one on its way out.
    pub(super) fn rotated_to(&self, user: &str, held: &BTreeSet<String>) -> Option<String> {
        let (_, old) = self.intent(user)?;
        held.iter().find(|key| **key != old).cloned()
    }

    /// The rotation that is under way, and how the keys of it are used.
    pub(super) async fn under_way(
        &self,
        user: &str,
        live: &[AccessKeyMetadata],
        next: &Next,
    ) -> Result<Option<UnderWay>> {
        let (Some((intent, old)), Next::Keep { key, .. }) = (self.intent(user), next) else {
            return Ok(None);
        };
        let later: Vec<Record> =
            self.journal.believed().into_iter().filter(|record| record.seq > intent.seq).collect();
        let when = |operation: &str, target: &str, is: fn(&Entry) -> bool| {
            let about = |record: &&Record| record.entry.subject() == Some((operation, target));
            later.iter().filter(about).rfind(|record| is(&record.entry)).map(|record| record.time)
        };
        let exists = ids(live).contains(&old);
        let delivered = when(&rotate(), user, |entry| matches!(entry, Entry::Verified { .. }));
        let (mut uses, mut unseen) = ([None, None], None);
        if exists && delivered.is_some() && *key != old {
            match (self.last_use(&old).await, self.last_use(key).await) {
                (Ok(old), Ok(new)) => uses = [old, new],
                (Err(error), _) | (_, Err(error)) if error.kind == ErrorKind::Denied => {
                    unseen = Some(error.to_string());
                }
                (Err(error), _) | (_, Err(error)) => return Err(error),
            }
        }
        Ok(Some(UnderWay {
            status: exists.then(|| status_of(live, &old)),
            is_current: *key == old,
            delivered,
            deactivated: when(DEACTIVATE, &target(user, &old), |_| true),
            uses,
            unseen,
            now: Timestamp::now(),
            old,
        }))
    }

    /// The latest use of a key.
    /// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccessKeyLastUsed.html>
    async fn last_use(&self, key: &str) -> Result<Option<Used>> {
        let request = self.aws.read().iam.get_access_key_last_used().access_key_id(key);
        let found = request.send().await.found("iam:GetAccessKeyLastUsed", NO_SUCH_ENTITY)?;
        let Some(used) = found.and_then(|found| found.access_key_last_used) else { return Ok(None) };
        let at = used.last_used_date.and_then(|date| Timestamp::from_second(date.secs()).ok());
        Ok(at.map(|at| Used { at, service: used.service_name }))
    }

    /// Carries out the next phase in this direction.
    pub(super) async fn turn(
        &self,
        permit: &Permit,
        step: &str,
        desired: &Desired,
        next: Next,
        turn: Turn,
    ) -> Result<()> {
        let user = &desired.user;
        let live = self.live(user).await?.unwrap_or_default();
        let Next::Keep { key, lost } = &next else { return self.recover(permit, step, desired, next).await };
        let rotation = self.under_way(user, &live, &next).await?;
        let spec = desired.rotation;
        // A run that was cut off may have left keys without a secret, and a secret in some of the stores only.
        self.remove(permit, user, lost.clone()).await?;
        self.custody.complete(permit, &object(user, key)).await?;
        match (rotation, turn) {
            (Some(rotation), Turn::Back) if !rotation.is_current && rotation.status.is_some() => {
                self.go_back(permit, step, desired, key, &rotation.old).await
            }
            (_, Turn::Back) => Err(nothing_before(user)),
            (None, Turn::Forward) => {
                let left: Vec<String> = ids(&live).into_iter().filter(|id| !lost.contains(id)).collect();
                if left.len() >= MOST {
                    return Err(no_room(user, &left, key));
                }
                self.announce(permit, step, user, key).await?;
                self.make_beside(permit, step, desired).await
            }
            (Some(rotation), Turn::Forward) => {
                self.forward(permit, step, desired, rotation.phase(spec), &rotation.old, key).await
            }
        }
    }

    async fn forward(
        &self,
        permit: &Permit,
        step: &str,
        desired: &Desired,
        phase: Phase,
        old: &str,
        key: &str,
    ) -> Result<()> {
        let user = &desired.user;
        if phase == Phase::Make {
            return self.make_beside(permit, step, desired).await;
        }
        let pair = self.read_pair(user, key).await?;
        if phase == Phase::Deliver {
            return self.hand_over(permit, desired, &pair).await;
        }
        // A destination that has lost the key since gets it again.
        self.finish(permit, desired, &pair).await?;
        match phase {
            Phase::Make | Phase::Deliver | Phase::Wait(..) => Ok(()),
            Phase::Deactivate => self.deactivate(permit, step, user, old).await,
            Phase::Delete => {
                self.remove(permit, user, vec![old.to_owned()]).await?;
                self.end_rotation(permit, user).await
            }
            Phase::End => self.end_rotation(permit, user).await,
        }
    }

    async fn announce(&self, permit: &Permit, step: &str, user: &str, old: &str) -> Result<()> {
        let (step, target, detail) = (step.to_owned(), user.to_owned(), vec![old.to_owned()]);
        self.journal.append(permit, Entry::Intent { step, operation: rotate(), target, detail }).await
    }

    async fn make_beside(&self, permit: &Permit, step: &str, desired: &Desired) -> Result<()> {
        let pair = self.make(permit, step, desired).await?;
        self.hand_over(permit, desired, &pair).await
    }

    /// Proves a key before it is delivered, delivers it, and notes when that was done.
    async fn hand_over(&self, permit: &Permit, desired: &Desired, pair: &Pair) -> Result<()> {
        self.prove(&desired.user, pair).await?;
        self.finish(permit, desired, pair).await?;
        let (operation, target) = (rotate(), desired.user.clone());
        self.journal.append(permit, Entry::Verified { operation, target }).await
    }

    /// The old key takes the place of the new one, which from now on is the one on its way out.
    async fn go_back(
        &self,
        permit: &Permit,
        step: &str,
        desired: &Desired,
        new: &str,
        old: &str,
    ) -> Result<()> {
        let user = &desired.user;
        let pair = self.read_pair(user, old).await?;
        self.announce(permit, step, user, new).await?;
        self.update_status(permit, user, old, Status::Active).await?;
        self.end_deactivation(permit, user, old).await?;
        self.hand_over(permit, desired, &pair).await
    }

    async fn deactivate(&self, permit: &Permit, step: &str, user: &str, old: &str) -> Result<()> {
        let (operation, target) = (DEACTIVATE.to_owned(), target(user, old));
        let detail = Vec::new();
        let intent = Entry::Intent { step: step.to_owned(), operation, target: target.clone(), detail };
        self.journal.append(permit, intent).await?;
        self.update_status(permit, user, old, Status::Inactive).await?;
        let (operation, detail) = (DEACTIVATE.to_owned(), Vec::new());
        self.journal.append(permit, Entry::Committed { operation, target, detail }).await
    }

    /// Notes that the key's deactivation, which a run may have announced and not ended, needs nothing more.
    async fn end_deactivation(&self, permit: &Permit, user: &str, key: &str) -> Result<()> {
        let target = target(user, key);
        if self.journal.open_intent(DEACTIVATE, &target).is_none() {
            return Ok(());
        }
        let (operation, detail) = (DEACTIVATE.to_owned(), Vec::new());
        self.journal.append(permit, Entry::Committed { operation, target, detail }).await
    }

    /// Notes the end of the rotation, if one was under way, and of the deactivation in it.
    pub(super) async fn end_rotation(&self, permit: &Permit, user: &str) -> Result<()> {
        let Some((_, old)) = self.intent(user) else { return Ok(()) };
        self.end_deactivation(permit, user, &old).await?;
        let (operation, target) = (rotate(), user.to_owned());
        self.journal.append(permit, Entry::Committed { operation, target, detail: vec![old] }).await
    }
}

fn target(user: &str, key: &str) -> String {
    format!("{user}/{key}")
}

fn nothing_before(user: &str) -> Error {
    let message = format!("{user} has no key before the current one to go back to");
    Error::new(ErrorKind::Rejected, "rotate", message)
        .advice("rotate the key once more if the current one must not be used")
}
