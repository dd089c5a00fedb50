//! AWS Secrets Manager as one of custody's stores.
//!
//! The object `a/b` in version 2 is the secret `<prefix>/a/b.2`. Each has one value for ever: the
//! service's own versions are not used, because it drops old ones by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};
use futures::future::try_join_all;
use sha2::{Digest, Sha256};

use super::client::{AwsClient, missing};
use super::error::Answer;
use super::secret::{LiveValue, ValueResponse, values};
use crate::custody::Store;
use crate::custody::store::{parse_versioned, versioned};
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;

/// The canary's name below the prefix. The leading dot keeps it from being an object.
const CANARY: &str = ".canary";
const NOT_FOUND: &[&str] = &["ResourceNotFoundException"];

/// A store in Secrets Manager.
#[derive(Debug)]
pub struct SecretsStore {
    client: Arc<AwsClient>,
    prefix: String,
    /// Whether the caller may not ask for many secrets at once.
    one_by_one: AtomicBool,
}

impl SecretsStore {
    /// The store whose secrets' names begin with `prefix`. Sends nothing.
    ///
    /// # Errors
    /// `Rejected` when no secret can have such a name.
    pub fn new(client: Arc<AwsClient>, prefix: &str) -> Result<Self> {
        let prefix = prefix.trim_matches('/');
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
        if prefix.is_empty() || !prefix.chars().all(allowed) {
            let message = format!("`{prefix}` cannot be the beginning of a secret's name");
            return Err(Error::new(ErrorKind::Rejected, "custody.stores", message)
                .advice("use only letters, digits and /_+=.@-, e.g. `groundwork/production`"));
        }
        Ok(Self { client, prefix: prefix.to_owned(), one_by_one: AtomicBool::new(false) })
    }

    fn id(&self, name: &str, version: u32) -> String {
        format!("{}/{}", self.prefix, versioned(name, version))
    }

    /// The service's answer about a value, in one request with the other questions of this moment; `None` where it
    /// has to be asked for by itself.
    async fn answer(&self, id: &str) -> Result<Option<ValueResponse>> {
        if self.one_by_one.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let client = &*self.client;
        match client.batches.secrets.ask(id, |names| values(client, names)).await {
            Err(error) if error.kind == ErrorKind::Denied => {
                self.one_by_one.store(true, Ordering::Relaxed);
                Ok(None)
            }
            answer => answer,
        }
    }

    /// Whether there is a secret of this name that is not about to be deleted.
    async fn has(&self, id: &str) -> Result<bool> {
        match self.answer(id).await? {
            Some(ValueResponse::Value(..)) => return Ok(true),
            // One that exists and has no value is told by its stage.
            Some(ValueResponse::Refused { code, why })
                if NOT_FOUND.contains(&code.as_str()) && !why.contains("staging label") =>
            {
                return Ok(false);
            }
            _ => {}
        }
        let answer = self.client.read().secretsmanager().describe_secret().secret_id(id).send().await;
        let found = answer.found("secretsmanager:DescribeSecret", NOT_FOUND)?;
        Ok(found.is_some_and(|secret| secret.deleted_date.is_none()))
    }

    async fn get(&self, id: &str, version_id: Option<String>) -> Result<Vec<u8>> {
        const OPERATION: &str = "secretsmanager:GetSecretValue";
        if version_id.is_none()
            && let Some(ValueResponse::Value(LiveValue::Text(text), _)) = self.answer(id).await?
        {
            return Ok(text.expose_bytes().to_vec());
        }
        let request = self.client.read().secretsmanager().get_secret_value().secret_id(id);
        let answer = request.set_version_id(version_id).send().await.at(OPERATION)?;
        answer.secret_string.map(String::into_bytes).ok_or_else(|| missing(OPERATION, "secret string"))
    }

    /// Makes the secret; `Conflict` when there is one of its name. A repetition of a request whose
    /// answer was lost has the same token and the same value, which the service knows to be one.
    async fn make(&self, permit: &Permit, id: &str, bytes: &[u8]) -> Result<Option<String>> {
        const OPERATION: &str = "secretsmanager:CreateSecret";
        let request = self.client.write(permit).secretsmanager().create_secret().name(id);
        let request = request.client_request_token(token(bytes)).secret_string(text(OPERATION, bytes)?);
        let request =
            request.description("Kept by Groundwork's custody, encrypted; see `groundwork custody show`");
        let answer = request.send().await;
        let taken = answer.as_ref().is_err_and(|error| {
            let code = aws_smithy_types::error::metadata::ProvideErrorMetadata::code(error);
            code == Some("ResourceExistsException")
        });
        match answer.at(OPERATION) {
            Ok(made) => Ok(made.version_id),
            Err(error) if taken => Err(Error::new(ErrorKind::Conflict, error.operation, error.message)),
            Err(error) => Err(error),
        }
    }

    /// Gives the secret another value.
    async fn change(&self, permit: &Permit, id: &str, bytes: &[u8]) -> Result<Option<String>> {
        const OPERATION: &str = "secretsmanager:PutSecretValue";
        let request = self.client.write(permit).secretsmanager().put_secret_value().secret_id(id);
        let request = request.client_request_token(token(bytes)).secret_string(text(OPERATION, bytes)?);
        Ok(request.send().await.at(OPERATION)?.version_id)
    }
}

#[async_trait]
impl Store for SecretsStore {
    fn describe(&self) -> String {
        format!("Secrets Manager {}", self.prefix)
    }

    /// Asks for each by name, because a list of secrets may lack those of the last minutes. A
    /// version may have been removed, but never two in a row.
    /// [`ListSecrets`](https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html)
    async fn versions(&self, name: &str) -> Result<Vec<u32>> {
        let (mut versions, mut next) = (Vec::new(), 1);
        loop {
            // Of most objects there is one version.
            let asked: Vec<u32> = (next..next + 3).collect();
            let ids: Vec<String> = asked.iter().map(|version| self.id(name, *version)).collect();
            let found = try_join_all(ids.iter().map(|id| self.has(id))).await?;
            versions.extend(asked.iter().zip(&found).filter(|(_, has)| **has).map(|(version, _)| *version));
            next = versions.last().copied().unwrap_or_default() + 1;
            if asked.last().is_some_and(|last| next < *last) {
                return Ok(versions);
            }
        }
    }

    async fn read(&self, name: &str, version: u32) -> Result<Vec<u8>> {
        self.get(&self.id(name, version), None).await
    }

    async fn write(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        self.make(permit, &self.id(name, version), bytes).await.map(drop)
    }

    /// At once, without the time in which a deletion can be taken back.
    async fn remove(&self, permit: &Permit, name: &str, version: u32) -> Result<()> {
        let request = self.client.write(permit).secretsmanager().delete_secret();
        let request = request.secret_id(self.id(name, version)).force_delete_without_recovery(true);
        request.send().await.found("secretsmanager:DeleteSecret", NOT_FOUND).map(drop)
    }

    /// The service keeps it for a week.
    async fn set_aside(&self, permit: &Permit, name: &str, version: u32) -> Result<()> {
        let request = self.client.write(permit).secretsmanager().delete_secret();
        let request = request.secret_id(self.id(name, version)).recovery_window_in_days(7);
        request.send().await.found("secretsmanager:DeleteSecret", NOT_FOUND).map(drop)
    }

    /// The service keeps the damaged one as the secret's previous version.
    async fn repair(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        self.change(permit, &self.id(name, version), bytes).await.map(drop)
    }

    async fn objects(&self, prefix: &str) -> Result<Vec<(String, u32)>> {
        let begins = Filter::builder().key(FilterNameStringType::Name);
        let begins = begins.values(format!("{}/{prefix}", self.prefix)).build();
        let pages = self.client.read().secretsmanager().list_secrets().filters(begins).into_paginator();
        let pages: Vec<_> = pages.send().try_collect().await.at("secretsmanager:ListSecrets")?;
        let secrets: Vec<_> =
            pages.into_iter().flat_map(|page| page.secret_list.unwrap_or_default()).collect();
        let parse = |id: &str| {
            let (name, version) = parse_versioned(id.strip_prefix(&self.prefix)?.strip_prefix('/')?)?;
            Some((name.to_owned(), version))
        };
        let objects = secrets.iter().filter_map(|secret| parse(secret.name()?));
        Ok(objects.filter(|(name, _)| name.starts_with(prefix)).collect())
    }

    /// The canary stays, under one name: a secret that was just deleted blocks its name for a while,
    /// and the service drops a secret's old values automatically.
    async fn probe(&self, permit: &Permit, bytes: &[u8]) -> Result<Vec<u8>> {
        let id = format!("{}/{CANARY}", self.prefix);
        let version_id = match self.has(&id).await? {
            true => self.change(permit, &id, bytes).await?,
            false => self.make(permit, &id, bytes).await?,
        };
        self.get(&id, version_id).await
    }
}

/// The same for the same value, in the form of a UUID, which is what the service wants.
fn token(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    uuid::Uuid::from_bytes(first).to_string()
}

/// Envelopes are JSON, so this does not fail.
fn text<'a>(operation: &str, bytes: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| Error::new(ErrorKind::Local, operation, error.to_string()))
}
