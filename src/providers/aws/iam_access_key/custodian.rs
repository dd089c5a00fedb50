//! The client of the kind: a user's keys as IAM, custody and the destinations know them.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_sdk_iam::types::{AccessKeyMetadata, StatusType};
use serde::{Deserialize, Serialize};

use super::Status;
use super::ceremony::CREATE;
use super::next::{Key, Next, Request, next};
use crate::custody::{Custody, Gap, name_part};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::permit::Permit;
use crate::place::Place;
use crate::providers::aws::ACCOUNT;
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::iam::NO_SUCH_ENTITY;
use crate::providers::sink::{Delivery, Sink, Sinks};
use crate::resource::Provided;
use crate::run::{Awaited, Run};
use crate::secret::Secret;

/// A key as custody keeps it.
#[derive(Serialize, Deserialize)]
pub(in crate::providers::aws) struct Pair {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
}

impl Drop for Pair {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret_access_key);
    }
}

/// IAM together with custody, journal and the destinations.
pub struct KeyCustodian {
    pub(super) aws: Arc<AwsClient>,
    pub(super) custody: Arc<Custody>,
    pub(super) journal: Arc<Journal>,
    pub(super) awaited: Arc<Awaited>,
    sinks: Sinks,
}

impl Provided for KeyCustodian {
    const PROVIDER: &'static str = AwsClient::PROVIDER;
    const REALM: &'static [&'static str] = ACCOUNT;

    async fn provide(run: &Run, place: &Place) -> Result<Arc<Self>> {
        let aws = AwsClient::provide(run, place).await?;
        let (custody, journal) = (run.custody().await?, Arc::clone(&run.journal));
        let awaited = Arc::clone(&run.awaited);
        let sinks = Sinks::of(run).await;
        Ok(Arc::new(Self { aws, custody, journal, awaited, sinks }))
    }
}

impl KeyCustodian {
    /// The user's keys, oldest first; `None` when there is no such user.
    pub(super) async fn live(&self, user: &str) -> Result<Option<Vec<AccessKeyMetadata>>> {
        let pages = self.aws.read().iam.list_access_keys().user_name(user).into_paginator().items().send();
        let found = pages.try_collect().await.found("iam:ListAccessKeys", NO_SUCH_ENTITY)?;
        let Some(mut keys): Option<Vec<AccessKeyMetadata>> = found else { return Ok(None) };
        keys.sort_by(|a, b| a.create_date.cmp(&b.create_date).then(a.access_key_id.cmp(&b.access_key_id)));
        Ok(Some(keys))
    }

    /// The live keys whose secret custody has.
    pub(super) async fn held(&self, user: &str, live: &[AccessKeyMetadata]) -> Result<BTreeSet<String>> {
        if live.is_empty() {
            return Ok(BTreeSet::new());
        }
        let kept = self.custody.list(&folder(user)).await?;
        let mut held = BTreeSet::new();
        for key in ids(live) {
            let name = object(user, &key);
            // An object that another writer has put there is not the key's secret.
            if kept.contains(&name) && self.custody.has(&name).await? {
                held.insert(key);
            }
        }
        Ok(held)
    }

    /// What is to be done about the user, of whose keys IAM lists these.
    pub(super) async fn next(&self, user: &str, live: &[AccessKeyMetadata]) -> Result<Next> {
        let held = self.held(user, live).await?;
        let requests: Vec<Request> =
            self.journal.unsettled_intents(CREATE, user).iter().filter_map(Request::of).collect();
        let keys: Vec<Key> = live.iter().filter_map(Key::of).collect();
        match next(&keys, &held, &requests) {
            Next::Create => match self.unlisted(user, live).await? {
                Some(key) => Ok(Next::Keep { key, lost: Vec::new() }),
                None => Ok(Next::Create),
            },
            Next::Keep { key, lost } => {
                Ok(Next::Keep { key: self.successor(user, &held).unwrap_or(key), lost })
            }
            next => Ok(next),
        }
    }

    /// A key in custody that works although IAM does not list it: the list lags behind, and another
    /// key must not be made.
    async fn unlisted(&self, user: &str, live: &[AccessKeyMetadata]) -> Result<Option<String>> {
        let listed: BTreeSet<String> = ids(live).iter().map(|key| object(user, key)).collect();
        let kept = match self.custody.list(&folder(user)).await {
            // No key was ever asked for, so a store that does not answer has none either.
            Err(_) if !self.journal.knows(CREATE, user) => return Ok(None),
            kept => kept?,
        };
        for name in kept.iter().rev().filter(|name| !listed.contains(*name)) {
            // An object that cannot be opened is of no use either; custody is proven before a key is made.
            let Ok(pair) = self.read(name).await else { continue };
            match self.owner(&pair).await {
                Ok(owner) if owner == user => return Ok(Some(pair.access_key_id.clone())),
                Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Throttled) => {
                    return Err(error);
                }
                // AWS does not know the key, or no longer knows it.
                _ => {}
            }
        }
        Ok(None)
    }

    /// The copies and recipients that the key in custody lacks.
    pub(super) async fn gaps(&self, user: &str, key: &str) -> Result<Vec<Gap>> {
        self.custody.gaps(&object(user, key)).await
    }

    /// The name of the user whose key it is, as AWS says when it is used.
    pub(super) async fn owner(&self, pair: &Pair) -> Result<String> {
        let secret = Secret::from(pair.secret_access_key.clone());
        let arn = self.aws.caller_identity_with(&pair.access_key_id, &secret).await?;
        Ok(arn.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// The same of the user's key with this id, with what custody has of it.
    pub(in crate::providers::aws) async fn owner_of(&self, user: &str, key: &str) -> Result<String> {
        self.owner(&self.read_pair(user, key).await?).await
    }

    /// The user's key with this id, from custody.
    pub(super) async fn read_pair(&self, user: &str, key: &str) -> Result<Pair> {
        self.read(&object(user, key)).await
    }

    async fn read(&self, name: &str) -> Result<Pair> {
        let kept = self.custody.get(name).await?;
        kept.and_then(|kept| serde_json::from_slice(kept.expose_bytes()).ok())
            .ok_or_else(|| Error::new(ErrorKind::Local, format!("custody: {name}"), "is not an access key"))
    }

    /// Whether a run began to make a key and did not complete it.
    pub(super) fn is_unfinished(&self, user: &str) -> bool {
        self.journal.open_intent(CREATE, user).is_some()
    }

    /// Makes a key active or not.
    pub(super) async fn update_status(
        &self,
        permit: &Permit,
        user: &str,
        key: &str,
        status: Status,
    ) -> Result<()> {
        let status = if status == Status::Active { StatusType::Active } else { StatusType::Inactive };
        let request = self.aws.write(permit).iam.update_access_key().user_name(user).access_key_id(key);
        let answer = request.status(status).send().await;
        answer.found("iam:UpdateAccessKey", NO_SUCH_ENTITY).map(drop)
    }

    /// Deactivates and deletes keys; those that are gone already are success.
    pub(super) async fn remove(&self, permit: &Permit, user: &str, keys: Vec<String>) -> Result<()> {
        for key in keys {
            self.update_status(permit, user, &key, Status::Inactive).await?;
            let request = self.aws.write(permit).iam.delete_access_key().user_name(user).access_key_id(&key);
            request.send().await.found("iam:DeleteAccessKey", NO_SUCH_ENTITY)?;
        }
        Ok(())
    }

    /// Makes keys active again; those that are gone are left out.
    pub(super) async fn activate(&self, permit: &Permit, user: &str, keys: &[String]) -> Result<()> {
        for key in keys {
            self.update_status(permit, user, key, Status::Active).await?;
        }
        Ok(())
    }

    /// A destination.
    pub(super) fn sink(&self, target: &Delivery) -> Result<Box<dyn Sink>> {
        self.sinks.open(target)
    }
}

/// The ids of keys.
pub(super) fn ids(live: &[AccessKeyMetadata]) -> Vec<String> {
    live.iter().filter_map(|key| key.access_key_id.clone()).collect()
}

/// Where a user's keys are in custody; ends with a slash.
pub(super) fn folder(user: &str) -> String {
    format!("aws/{}/access-key/", name_part(user))
}

/// The name of a key in custody.
pub(super) fn object(user: &str, key: &str) -> String {
    format!("{}{}", folder(user), name_part(key))
}
