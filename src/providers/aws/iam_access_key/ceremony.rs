//! How a key is made: intent, one request, escrow, delivery, proof, commit; and how a later run
//! continues after an interruption.
//!
//! IAM's list of keys is the only witness of a request whose answer was lost, and it may lag behind.
//! So no other key is made before the list has had [`LAG`] to show a key that the request made.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::custodian::{KeyCustodian, Pair, folder, ids, object};
use super::next::Next;
use super::{Desired, NO_SUCH_STATUS, Status, fields, status_of};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Entry, OperationOutcome, Record};
use crate::net::timeout::scaled_delay;
use crate::permit::Permit;
use crate::providers::aws::client::{missing, once_timeout};
use crate::providers::aws::error::Answer;
use crate::secret::Secret;

/// The request, as errors and the journal name it.
pub(super) const CREATE: &str = "iam:CreateAccessKey";
/// How long a list of IAM's may lag behind. AWS names no bound; changes have been seen to take one
/// minute, and two at the most.
const LAG: Duration = Duration::from_mins(2);
/// The time between two looks.
const SETTLE: Duration = Duration::from_secs(1);
/// How long AWS may take to know a new key.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the stores may take with a new key before a run that is to end at once waits for them no
/// longer.
const KEEPING: Duration = Duration::from_mins(2);

impl KeyCustodian {
    /// As [`KeyCustodian::next`], but after a request with an unknown end only once the list had the
    /// time to show the key that it may have made.
    ///
    /// # Errors
    /// `Unknown` when the answer was lost and this run has seen no key: the list may lag behind all
    /// the same, so it is left to a later run to make another key.
    pub(super) async fn settled(&self, user: &str) -> Result<Next> {
        let started = Instant::now();
        let mut waited = false;
        loop {
            let live = self.live(user).await?.ok_or_else(|| no_user(user))?;
            let next = self.next(user, &live).await?;
            let intent = self.journal.open_intent(CREATE, user).filter(|_| next == Next::Create);
            let Some(intent) = intent else { return Ok(next) };
            let left = scaled_delay(LAG).saturating_sub(age(&intent).max(started.elapsed()));
            if left.is_zero() {
                let in_doubt = waited && self.journal.is_unknown(CREATE, user);
                return if in_doubt { Err(unsettled(user)) } else { Ok(next) };
            }
            waited = true;
            tokio::time::sleep(left.min(scaled_delay(SETTLE))).await;
        }
    }

    pub(super) async fn recover(
        &self,
        permit: &Permit,
        step: &str,
        desired: &Desired,
        next: Next,
    ) -> Result<()> {
        let user = &desired.user;
        let pair = match next {
            Next::Blocked { keys } => return Err(blocked(user, &keys)),
            Next::Create => self.make(permit, step, desired).await?,
            Next::Replace { lost } => {
                self.remove(permit, user, lost).await?;
                self.make(permit, step, desired).await?
            }
            Next::Keep { key, lost } => {
                self.remove(permit, user, lost).await?;
                // Completes the stores that the earlier run did not reach.
                self.custody.complete(permit, &object(user, &key)).await?;
                self.read_pair(user, &key).await?
            }
        };
        self.finish(permit, desired, &pair).await
    }

    /// Asks for one key, once, after custody and every destination were proven to take it. Its secret
    /// is in custody when this returns.
    pub(in crate::providers::aws) async fn make(
        &self,
        permit: &Permit,
        step: &str,
        desired: &Desired,
    ) -> Result<Pair> {
        let user = &desired.user;
        for target in &desired.deliver {
            self.sink(target)?.prove().await?;
        }
        let prepared = self.custody.prepare_first(permit, &folder(user)).await?;
        let baseline = ids(&self.live(user).await?.ok_or_else(|| no_user(user))?);
        self.note(permit, user, |operation, target| Entry::Intent {
            step: step.to_owned(),
            operation,
            target,
            detail: baseline,
        })
        .await?;
        let waiting = self.awaited.begin(format!("{CREATE} of {user}"), once_timeout() + KEEPING);
        let pair = match self.request(permit, user).await {
            Ok(pair) => pair,
            Err(error) => return Err(self.not_made(permit, user, error).await),
        };
        let object = object(user, &pair.access_key_id);
        let secret = Secret::new(serde_json::to_vec(&pair).expect("a key is plain data"));
        self.custody.keep(permit, prepared.named(object.clone()), &secret).await?;
        drop(waiting);
        self.note(permit, user, |operation, target| Entry::Escrowed { operation, target, object }).await?;
        Ok(pair)
    }

    async fn request(&self, permit: &Permit, user: &str) -> Result<Pair> {
        let answer = self.aws.write_once(permit).iam.create_access_key().user_name(user).send().await;
        let key = answer.at_once(CREATE)?.access_key.ok_or_else(|| missing(CREATE, "access key"))?;
        Ok(Pair { access_key_id: key.access_key_id, secret_access_key: key.secret_access_key })
    }

    /// Records how the request failed.
    async fn not_made(&self, permit: &Permit, user: &str, error: Error) -> Error {
        let result = if error.kind == ErrorKind::Unknown {
            OperationOutcome::Unknown
        } else {
            OperationOutcome::Failed
        };
        let message = error.to_string();
        let outcome = |operation, target| Entry::Outcome { operation, target, result, message };
        match self.note(permit, user, outcome).await {
            Err(failure) => failure,
            Ok(()) if result == OperationOutcome::Unknown => {
                error.advice("run again: a key that was made without its secret is removed and replaced")
            }
            Ok(()) => error,
        }
    }

    /// Delivers and proves the key with what custody gives, and nothing else.
    pub(super) async fn finish(&self, permit: &Permit, desired: &Desired, made: &Pair) -> Result<()> {
        let user = &desired.user;
        let pair = self.read_pair(user, &made.access_key_id).await?;
        self.set_status(permit, user, &pair.access_key_id, desired.status).await?;
        for target in &desired.deliver {
            let (sink, fields) = (self.sink(target)?, fields(target, &pair));
            if !sink.holds(&fields).await? {
                sink.deliver(permit, &fields).await?;
            }
        }
        if !self.is_unfinished(user) {
            return Ok(());
        }
        if desired.status == Status::Active {
            self.prove(user, &pair).await?;
        }
        self.remove_strays(permit, user, &pair.access_key_id).await?;
        if desired.status == Status::Active {
            self.note(permit, user, |operation, target| Entry::Verified { operation, target }).await?;
        }
        let detail = vec![pair.access_key_id.clone()];
        self.note(permit, user, |operation, target| Entry::Committed { operation, target, detail }).await
    }

    /// Asks AWS, with the new key, whose it is.
    pub(super) async fn prove(&self, user: &str, pair: &Pair) -> Result<()> {
        let started = Instant::now();
        loop {
            match self.owner(pair).await {
                Ok(owner) if owner == user => return Ok(()),
                Ok(owner) => return Err(wrong_owner(user, &owner)),
                Err(error) if error.is_retriable() && started.elapsed() < PATIENCE => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(scaled_delay(SETTLE)).await;
        }
    }

    /// Waits until IAM lists the key. A list that shows it shows what earlier requests have made,
    /// too: a key whose secret never arrived is removed while the journal still says whose it is.
    async fn remove_strays(&self, permit: &Permit, user: &str, key: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let live = self.live(user).await?.ok_or_else(|| no_user(user))?;
            if ids(&live).iter().any(|listed| listed == key) {
                return match self.next(user, &live).await? {
                    Next::Keep { lost, .. } => self.remove(permit, user, lost).await,
                    _ => Ok(()),
                };
            }
            if started.elapsed() > scaled_delay(LAG) {
                return Err(unlisted(user, key));
            }
            tokio::time::sleep(scaled_delay(SETTLE)).await;
        }
    }

    async fn set_status(&self, permit: &Permit, user: &str, key: &str, status: Status) -> Result<()> {
        let live = self.live(user).await?.unwrap_or_default();
        match status_of(&live, key) {
            Ok(now) if now == status => Ok(()),
            Ok(_) => self.update_status(permit, user, key, status).await,
            Err(other) => {
                let message = format!("the key {key} of {user} is {other}");
                Err(Error::new(ErrorKind::Rejected, "iam:UpdateAccessKey", message).advice(NO_SUCH_STATUS))
            }
        }
    }

    async fn note(
        &self,
        permit: &Permit,
        user: &str,
        entry: impl FnOnce(String, String) -> Entry,
    ) -> Result<()> {
        let entry = entry(CREATE.to_owned(), user.to_owned());
        self.journal.append(permit, entry).await
    }
}

/// The time since the intent was written; none when another machine's clock was ahead.
fn age(intent: &Record) -> Duration {
    Timestamp::now().duration_since(intent.time).try_into().unwrap_or_default()
}

fn no_user(user: &str) -> Error {
    Error::new(ErrorKind::Rejected, CREATE, format!("there is no user {user}"))
        .advice("declare it as a step of kind `aws.iam_user`")
}

fn blocked(user: &str, keys: &[String]) -> Error {
    let message = format!("{user} has keys that are not this plan's: {}", keys.join(", "));
    Error::new(ErrorKind::Conflict, CREATE, message)
        .advice("deactivate and delete them by hand when nothing needs them, then run again")
}

fn unsettled(user: &str) -> Error {
    let message = format!(
        "an earlier request for a key of {user} was not answered, and IAM lists no key that it has made; the list may lag behind"
    );
    Error::new(ErrorKind::Unknown, CREATE, message).advice(
        "run again: a key that has appeared by then is removed, because its secret is lost, and another one is made",
    )
}

fn unlisted(user: &str, key: &str) -> Error {
    let message =
        format!("{key} works and is in custody, but IAM does not list it among the keys of {user} yet");
    Error::new(ErrorKind::Unknown, CREATE, message).advice("run again in a few minutes; no other key is made")
}

fn wrong_owner(user: &str, owner: &str) -> Error {
    Error::new(ErrorKind::Conflict, "sts:GetCallerIdentity", format!("the key of {user} belongs to {owner}"))
        .advice("the object in custody was replaced; deactivate that key and investigate before you continue")
}
