//! `aws.iam_access_key`: one access key of a user, its secret in custody and delivered.
//!
//! `CreateAccessKey` gives the secret once. See [`next`] for how every cut is recovered from.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_iam::types::{AccessKeyMetadata, StatusType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{AwsClient, missing};
use super::error::Answer;
use super::iam_holder::{NO_SUCH_ENTITY, check_name};
use crate::custody::{Custody, name_part};
use crate::journal::{Ending, Entry, Journal};
use crate::providers::Providers;
use crate::providers::vault::{KvSink, VaultClient};
use crate::resource::{
    Diff, Error, ErrorKind, FieldError, Permit, Provided, Requirement, Resource, Result, SecretChange, Writer,
};
use crate::secret::Secret;
use crate::secret::sink::{Delivery, Fields, Sink, VaultKv};

/// The request, as errors and the journal name it.
const CREATE: &str = "iam:CreateAccessKey";
/// How often the list of keys is read before a lost request counts as one that had no effect.
const SETTLE_ATTEMPTS: u32 = 5;
/// The time between two looks.
const SETTLE: Duration = Duration::from_secs(1);
/// How long AWS may take to know a new key.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a secret that is in nobody else's hands is offered to custody.
const ESCROW_ATTEMPTS: u32 = 5;

/// An access key of an IAM user.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKey.html>
#[derive(Debug)]
pub struct IamAccessKey;

/// What a plan declares.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamAccessKey")]
pub struct Desired {
    /// The user's name.
    pub user: String,
    /// Where the key is delivered to, beside custody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliver: Vec<Delivery>,
    /// Whether it can be used.
    #[serde(default)]
    pub status: Status,
}

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It works.
    #[default]
    Active,
    /// It is refused until it is made active again.
    Inactive,
}

/// A user's key and where it should be.
#[derive(Clone, Debug)]
pub struct Id {
    user: String,
    deliver: Vec<Delivery>,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)
    }
}

/// What IAM, custody and the destinations say together.
#[derive(Clone, Debug)]
pub struct Observed {
    user: String,
    next: Next,
    status: Status,
    /// For each declared destination, whether it holds exactly this key.
    delivered: Vec<bool>,
    /// Whether an earlier run was cut off before it had proven the key.
    unproven: bool,
}

/// What other steps may refer to; never the secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IamAccessKeyOutputs")]
pub struct Outputs {
    /// The access key's id.
    pub access_key_id: String,
    /// The user's name.
    pub user: String,
}

/// What is to be done about a user's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// There is no key: make one.
    Create,
    /// This key's secret is in custody: deliver what is missing. The keys in `lost` go.
    Keep { key: String, lost: Vec<String> },
    /// Only keys of ours whose secret never arrived: remove them and make one anew.
    Replace { lost: Vec<String> },
    /// Keys that are not ours, or whose secret custody has lost: never touched.
    Blocked { keys: Vec<String> },
}

/// The next step for the keys that are `live`, oldest first. `held` are those whose secret custody
/// has; `baseline`, while an intent is open, those that existed when it was written.
///
/// A key that appeared after an open intent and is not held was made by the request whose answer
/// was lost: nobody can have its secret, so removing it harms nobody.
fn next(live: &[String], held: &BTreeSet<String>, baseline: Option<&[String]>) -> Next {
    let is_held = |key: &&String| held.contains(*key);
    let is_lost = |key: &&String| baseline.is_some_and(|baseline| !baseline.contains(key));
    let (ours, others): (Vec<_>, Vec<_>) = live.iter().partition(is_held);
    let (lost, foreign): (Vec<_>, Vec<_>) = others.into_iter().partition(is_lost);
    let owned = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>();
    match ours.last() {
        _ if !foreign.is_empty() => Next::Blocked { keys: owned(foreign) },
        Some(key) => Next::Keep { key: (*key).clone(), lost: owned(lost) },
        None if lost.is_empty() => Next::Create,
        None => Next::Replace { lost: owned(lost) },
    }
}

/// A key as custody keeps it.
#[derive(Serialize, Deserialize)]
pub(super) struct Pair {
    access_key_id: String,
    secret_access_key: String,
}

impl Drop for Pair {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret_access_key);
    }
}

/// IAM together with custody, journal and the destinations.
#[derive(Debug)]
pub struct KeyCustodian {
    aws: Arc<AwsClient>,
    custody: Arc<Custody>,
    journal: Arc<Journal>,
    /// Why there is no Vault matters only to steps that deliver there.
    vault: Result<Arc<VaultClient>>,
}

impl Provided for KeyCustodian {
    async fn provide(providers: &Providers) -> Result<Arc<Self>> {
        let aws = AwsClient::provide(providers).await?;
        let (custody, journal) = (providers.custody().await?, providers.journal()?);
        Ok(Arc::new(Self { aws, custody, journal, vault: VaultClient::provide(providers).await }))
    }
}

impl Resource for IamAccessKey {
    const KIND: &'static str = "aws.iam_access_key";
    const ABOUT: &'static str =
        "An access key of an IAM user, made once; its secret goes into custody and where it is delivered.";
    const EXAMPLE: &'static str = r"admin_key:
  kind: aws.iam_access_key
  user: candlefish-secrets-admin
  deliver:
    - vault_kv:
        mount: secret
        path: candlefish/aws
        fields: { id: aws_access_key_id, secret: aws_secret_access_key }
";
    const ONCE_ONLY: bool = true;

    type Client = KeyCustodian;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> Id {
        Id { user: desired.user.clone(), deliver: desired.deliver.clone() }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let twice = |(position, delivery): (usize, &Delivery)| {
            let earlier = desired.deliver[..position].contains(delivery);
            earlier.then(|| FieldError::new(format!("deliver[{position}]"), "is declared twice"))
        };
        let named = check_name("user", &desired.user, 64).into_iter();
        named.chain(desired.deliver.iter().enumerate().filter_map(twice)).collect()
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        let mut requires = vec![Requirement::thing("aws.iam_user", &desired.user)];
        for Delivery::VaultKv(kv) in &desired.deliver {
            requires.push(Requirement::thing("vault.mount", &kv.mount));
            requires.push(Requirement::Kind("vault.init"));
        }
        requires
    }

    async fn observe(client: &KeyCustodian, id: &Id) -> Result<Option<Observed>> {
        let Some(live) = client.live(&id.user).await? else { return Ok(None) };
        let next = client.next(&id.user, &live).await?;
        if next == Next::Create {
            return Ok(None);
        }
        let mut observed = Observed {
            user: id.user.clone(),
            status: Status::Active,
            delivered: vec![false; id.deliver.len()],
            unproven: client.journal.open_intent(CREATE, &id.user).is_some(),
            next,
        };
        if let Next::Keep { key, .. } = &observed.next {
            observed.status = status_of(&live, key);
            let pair = client.read_pair(&id.user, key).await?;
            for (target, delivered) in id.deliver.iter().zip(&mut observed.delivered) {
                *delivered = client.sink(target)?.holds(&fields(target, &pair)).await?;
            }
        }
        Ok(Some(observed))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        match &observed.next {
            Next::Blocked { keys } => block(&mut diff, keys),
            Next::Create => {}
            Next::Replace { lost } => {
                diff.push("access_key_id", json!(lost), json!(null));
                diff.note("its secret never arrived; it is removed and a new key is made");
            }
            Next::Keep { lost, .. } => {
                diff.field("status", &observed.status, &desired.status);
                for (target, _) in desired.deliver.iter().zip(&observed.delivered).filter(|(_, held)| !**held)
                {
                    diff.secret(&path(target), SecretChange::Changed, Some("the key in custody".to_owned()));
                }
                for key in lost {
                    diff.push(&format!("keys[{key}]"), json!("exists"), json!(null));
                    diff.note("its secret never arrived");
                }
                if observed.unproven {
                    diff.push("proven", json!(false), json!(true));
                    diff.note("an earlier run was cut off before it had proven the key");
                }
            }
        }
        diff
    }

    async fn create(w: &Writer<'_, KeyCustodian>, desired: &Desired) -> Result<()> {
        match w.settled(&desired.user).await? {
            Next::Create => {
                let pair = w.make(w.permit(), w.step(), &desired.user).await?;
                w.finish(w.permit(), desired, &pair).await
            }
            next => w.recover(w.permit(), w.step(), desired, next).await,
        }
    }

    async fn update(w: &Writer<'_, KeyCustodian>, desired: &Desired, _: &Observed) -> Result<()> {
        let next = w.settled(&desired.user).await?;
        w.recover(w.permit(), w.step(), desired, next).await
    }

    /// Removes the keys whose secret custody has; the secret stays in custody, where it is of no
    /// use any more.
    async fn delete(w: &Writer<'_, KeyCustodian>, id: &Id) -> Result<()> {
        let Some(live) = w.live(&id.user).await? else { return Ok(()) };
        let held = w.held(&id.user, &live).await?;
        w.remove(w.permit(), &id.user, held.into_iter().collect()).await
    }

    fn outputs(observed: &Observed) -> Outputs {
        let access_key_id = match &observed.next {
            Next::Keep { key, .. } => key.clone(),
            _ => String::new(),
        };
        Outputs { access_key_id, user: observed.user.clone() }
    }
}

fn block(diff: &mut Diff, keys: &[String]) {
    for key in keys {
        let why = format!(
            "the user has the key {key}, which no run of this plan made or whose secret custody has lost; \
             it may be in use, so it is never touched: deactivate and delete it by hand when nothing needs it"
        );
        diff.immutable(&format!("keys[{key}]"), "exists", &json!(null), &why);
    }
}

fn path(Delivery::VaultKv(VaultKv { mount, path, .. }): &Delivery) -> String {
    format!("deliver.vault_kv.{mount}/{path}")
}

fn fields(Delivery::VaultKv(VaultKv { fields, .. }): &Delivery, pair: &Pair) -> Fields {
    [
        (fields.id.clone(), Secret::from(pair.access_key_id.clone())),
        (fields.secret.clone(), Secret::from(pair.secret_access_key.clone())),
    ]
    .into()
}

fn status_of(live: &[AccessKeyMetadata], key: &str) -> Status {
    let found = live.iter().find(|one| one.access_key_id.as_deref() == Some(key));
    match found.and_then(|one| one.status.as_ref()) {
        Some(StatusType::Active) => Status::Active,
        _ => Status::Inactive,
    }
}

fn ids(live: &[AccessKeyMetadata]) -> Vec<String> {
    live.iter().filter_map(|key| key.access_key_id.clone()).collect()
}

fn folder(user: &str) -> String {
    format!("aws/{}/access-key/", name_part(user))
}

fn object(user: &str, key: &str) -> String {
    format!("{}{}", folder(user), name_part(key))
}

impl KeyCustodian {
    /// The user's keys, oldest first; `None` when there is no such user.
    async fn live(&self, user: &str) -> Result<Option<Vec<AccessKeyMetadata>>> {
        let pages = self.aws.read().iam.list_access_keys().user_name(user).into_paginator().items().send();
        let found = pages.try_collect().await.found("iam:ListAccessKeys", NO_SUCH_ENTITY)?;
        let Some(mut keys): Option<Vec<AccessKeyMetadata>> = found else { return Ok(None) };
        keys.sort_by(|a, b| a.create_date.cmp(&b.create_date).then(a.access_key_id.cmp(&b.access_key_id)));
        Ok(Some(keys))
    }

    /// The live keys whose secret custody has.
    async fn held(&self, user: &str, live: &[AccessKeyMetadata]) -> Result<BTreeSet<String>> {
        let kept = self.custody.list(&folder(user)).await?;
        Ok(ids(live).into_iter().filter(|key| kept.contains(&object(user, key))).collect())
    }

    async fn next(&self, user: &str, live: &[AccessKeyMetadata]) -> Result<Next> {
        let held = self.held(user, live).await?;
        let intent = self.journal.open_intent(CREATE, user);
        let baseline = intent.as_ref().and_then(|record| match &record.entry {
            Entry::Intent { detail, .. } => Some(detail.as_slice()),
            _ => None,
        });
        Ok(next(&ids(live), &held, baseline))
    }

    /// As [`KeyCustodian::next`], but after a lost request only once the list had the time to show
    /// the key that it may have made.
    async fn settled(&self, user: &str) -> Result<Next> {
        let mut attempt = 1;
        loop {
            let live = self.live(user).await?.ok_or_else(|| no_user(user))?;
            let next = self.next(user, &live).await?;
            let unsure = next == Next::Create && self.journal.open_intent(CREATE, user).is_some();
            if !unsure || attempt == SETTLE_ATTEMPTS {
                return Ok(next);
            }
            attempt += 1;
            tokio::time::sleep(SETTLE).await;
        }
    }

    async fn recover(&self, permit: &Permit, step: &str, desired: &Desired, next: Next) -> Result<()> {
        let user = &desired.user;
        let pair = match next {
            Next::Blocked { keys } => return Err(blocked(user, &keys)),
            Next::Create => self.make(permit, step, user).await?,
            Next::Replace { lost } => {
                self.remove(permit, user, lost).await?;
                self.make(permit, step, user).await?
            }
            Next::Keep { key, lost } => {
                self.remove(permit, user, lost).await?;
                let kept = self.read_pair(user, &key).await?;
                if self.journal.open_intent(CREATE, user).is_some() {
                    // Completes the stores that the earlier run did not reach.
                    self.escrow(permit, user, &kept).await?;
                }
                kept
            }
        };
        self.finish(permit, desired, &pair).await
    }

    /// Asks for one key, once. Its secret is in custody when this returns.
    pub(super) async fn make(&self, permit: &Permit, step: &str, user: &str) -> Result<Pair> {
        self.custody.prove(permit).await?;
        let baseline = ids(&self.live(user).await?.ok_or_else(|| no_user(user))?);
        self.note(permit, user, |operation, target| Entry::Intent {
            step: step.to_owned(),
            operation,
            target,
            detail: baseline,
        })
        .await?;
        let pair = match self.request(permit, user).await {
            Ok(pair) => pair,
            Err(error) => return Err(self.not_made(permit, user, error).await),
        };
        self.escrow(permit, user, &pair).await?;
        let object = object(user, &pair.access_key_id);
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
        let result = if error.kind == ErrorKind::Unknown { Ending::Unknown } else { Ending::Failed };
        let message = error.to_string();
        let outcome = |operation, target| Entry::Outcome { operation, target, result, message };
        match self.note(permit, user, outcome).await {
            Err(failure) => failure,
            Ok(()) if result == Ending::Unknown => {
                error.advice("run again: a key that was made without its secret is removed and made anew")
            }
            Ok(()) => error,
        }
    }

    async fn escrow(&self, permit: &Permit, user: &str, pair: &Pair) -> Result<()> {
        let secret = Secret::new(serde_json::to_vec(pair).expect("a key is plain data"));
        let name = object(user, &pair.access_key_id);
        let mut attempt = 1;
        loop {
            match self.custody.put(permit, &name, &secret).await {
                Err(_) if attempt < ESCROW_ATTEMPTS => attempt += 1,
                done => return done,
            }
            tokio::time::sleep(SETTLE).await;
        }
    }

    async fn read_pair(&self, user: &str, key: &str) -> Result<Pair> {
        let name = object(user, key);
        let kept = self.custody.get(&name).await?;
        kept.and_then(|kept| serde_json::from_slice(kept.expose_bytes()).ok())
            .ok_or_else(|| Error::new(ErrorKind::Local, format!("custody: {name}"), "is not an access key"))
    }

    /// Delivers and proves the key with what custody gives, and nothing else.
    async fn finish(&self, permit: &Permit, desired: &Desired, made: &Pair) -> Result<()> {
        let user = &desired.user;
        let pair = self.read_pair(user, &made.access_key_id).await?;
        self.set_status(permit, user, &pair.access_key_id, desired.status).await?;
        for target in &desired.deliver {
            let (sink, fields) = (self.sink(target)?, fields(target, &pair));
            if !sink.holds(&fields).await? {
                sink.deliver(permit, &fields).await?;
            }
        }
        if self.journal.open_intent(CREATE, user).is_none() {
            return Ok(());
        }
        if desired.status == Status::Active {
            self.prove(user, &pair).await?;
            self.note(permit, user, |operation, target| Entry::Verified { operation, target }).await?;
        }
        let detail = vec![pair.access_key_id.clone()];
        self.note(permit, user, |operation, target| Entry::Committed { operation, target, detail }).await
    }

    /// Asks AWS, with the new key, whose it is.
    async fn prove(&self, user: &str, pair: &Pair) -> Result<()> {
        let secret = Secret::from(pair.secret_access_key.clone());
        let started = Instant::now();
        loop {
            match self.aws.caller_identity_with(&pair.access_key_id, &secret).await {
                Ok(arn) if arn.rsplit('/').next() == Some(user) => return Ok(()),
                Ok(arn) => return Err(wrong_owner(user, &arn)),
                Err(error) if error.is_retriable() && started.elapsed() < PATIENCE => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(SETTLE).await;
        }
    }

    async fn set_status(&self, permit: &Permit, user: &str, key: &str, status: Status) -> Result<()> {
        let live = self.live(user).await?.unwrap_or_default();
        // A key made in this moment may not be listed yet; it is born active.
        let listed = ids(&live).iter().any(|one| one == key);
        let present = if listed { status_of(&live, key) } else { Status::Active };
        if present == status {
            return Ok(());
        }
        let wanted = if status == Status::Active { StatusType::Active } else { StatusType::Inactive };
        self.update_status(permit, user, key, wanted).await
    }

    async fn update_status(&self, permit: &Permit, user: &str, key: &str, status: StatusType) -> Result<()> {
        let request = self.aws.write(permit).iam.update_access_key().user_name(user).access_key_id(key);
        let answer = request.status(status).send().await;
        answer.found("iam:UpdateAccessKey", NO_SUCH_ENTITY).map(drop)
    }

    /// Deactivates and deletes keys; those that are gone already are success.
    async fn remove(&self, permit: &Permit, user: &str, keys: Vec<String>) -> Result<()> {
        for key in keys {
            self.update_status(permit, user, &key, StatusType::Inactive).await?;
            let request = self.aws.write(permit).iam.delete_access_key().user_name(user).access_key_id(&key);
            request.send().await.found("iam:DeleteAccessKey", NO_SUCH_ENTITY)?;
        }
        Ok(())
    }

    fn sink(&self, Delivery::VaultKv(kv): &Delivery) -> Result<Box<dyn Sink>> {
        match &self.vault {
            Ok(vault) => Ok(Box::new(KvSink::new(Arc::clone(vault), &kv.mount, &kv.path))),
            Err(error) => {
                let again = Error::new(error.kind, &error.operation, &error.message);
                Err(again.advice(error.advice.clone().unwrap_or_default()))
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

fn no_user(user: &str) -> Error {
    Error::new(ErrorKind::Rejected, CREATE, format!("there is no user {user}"))
        .advice("declare it as a step of kind `aws.iam_user`")
}

fn blocked(user: &str, keys: &[String]) -> Error {
    let message = format!("{user} has keys that are not this plan's: {}", keys.join(", "));
    Error::new(ErrorKind::Conflict, CREATE, message)
        .advice("deactivate and delete them by hand when nothing needs them, then run again")
}

fn wrong_owner(user: &str, arn: &str) -> Error {
    Error::new(ErrorKind::Conflict, "sts:GetCallerIdentity", format!("the key of {user} belongs to {arn}"))
        .advice("somebody changed what custody holds; deactivate that key and look into it before going on")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &str) -> Vec<String> {
        names.chars().map(String::from).collect()
    }

    fn decide(live: &str, held: &str, baseline: Option<&str>) -> Next {
        let baseline = baseline.map(keys);
        next(&keys(live), &keys(held).into_iter().collect(), baseline.as_deref())
    }

    #[test]
    fn every_state_has_one_next_step() {
        let keep = |key: &str, lost: &str| Next::Keep { key: key.into(), lost: keys(lost) };
        let replace = |lost: &str| Next::Replace { lost: keys(lost) };
        let blocked = |names: &str| Next::Blocked { keys: keys(names) };
        let rows = [
            // Nothing there: never made, request lost, or all removed since.
            ("", "", None, Next::Create),
            ("", "", Some(""), Next::Create),
            ("", "", Some("a"), Next::Create),
            ("", "a", None, Next::Create),
            // One key.
            ("a", "a", None, keep("a", "")),
            ("a", "a", Some(""), keep("a", "")),
            ("a", "a", Some("a"), keep("a", "")),
            ("a", "", Some(""), replace("a")),
            ("a", "", Some("a"), blocked("a")),
            ("a", "", None, blocked("a")),
            // Two keys.
            ("ab", "ab", None, keep("b", "")),
            ("ab", "a", Some("a"), keep("a", "b")),
            ("ab", "b", Some("a"), blocked("a")),
            ("ab", "b", Some(""), keep("b", "a")),
            ("ab", "a", None, blocked("b")),
            ("ab", "", Some(""), replace("ab")),
            ("ab", "", Some("a"), blocked("a")),
            ("ab", "", Some("ab"), blocked("ab")),
            ("ab", "", None, blocked("ab")),
        ];
        for (live, held, baseline, expected) in rows {
            assert_eq!(decide(live, held, baseline), expected, "{live} {held} {baseline:?}");
        }
    }

    #[test]
    fn a_key_that_may_be_somebodys_is_never_removed() {
        let subsets = ["", "a", "b", "ab"];
        for live in subsets {
            for held in subsets {
                for baseline in [None, Some(""), Some("a"), Some("b"), Some("ab")] {
                    let lost = match decide(live, held, baseline) {
                        Next::Replace { lost } | Next::Keep { lost, .. } => lost,
                        _ => Vec::new(),
                    };
                    let harmless = |key: &String| {
                        baseline.is_some_and(|known| !known.contains(key)) && !held.contains(key)
                    };
                    assert!(lost.iter().all(harmless), "{live} {held} {baseline:?}");
                }
            }
        }
    }

    #[test]
    fn differences_name_destinations_and_never_the_secret() {
        let desired: Desired = serde_json::from_value(json!({
            "user": "ci", "deliver": [{ "vault_kv": { "mount": "secret", "path": "aws" } }],
        }))
        .expect("valid");
        let observed = |next, delivered| Observed {
            user: "ci".into(),
            next,
            status: Status::Active,
            delivered: vec![delivered],
            unproven: false,
        };
        let keep = || Next::Keep { key: "AKIA1".into(), lost: Vec::new() };
        assert!(IamAccessKey::diff(&desired, &observed(keep(), true)).is_empty());
        let diff = IamAccessKey::diff(&desired, &observed(keep(), false));
        assert!(diff.touches("deliver.vault_kv.secret/aws") && diff.changes[0].sensitive);
        let foreign = Next::Blocked { keys: keys("a") };
        assert_eq!(IamAccessKey::diff(&desired, &observed(foreign, false)).blocked.len(), 1);
    }
}
