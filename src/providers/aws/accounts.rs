//! Several accounts and regions in one plan, and the roles that a plan works as.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::OnceCell;

use super::client::{AwsClient, missing};
use super::error::Answer;
use crate::error::{Error, ErrorKind, Result};
use crate::prompt;
use crate::providers::aws::settings::{AssumeRole, AwsAccount};
use crate::secret::Secret;
use crate::trace::Calls;
use crate::trust::{Grant, Subject, Trust};

const OPERATION: &str = "sts:AssumeRole";
/// A session that ends sooner than this is renewed before it is used.
const MARGIN: Duration = Duration::from_mins(1);
/// How long a person may take to type a code, when a session is renewed.
const PATIENCE: Duration = Duration::from_mins(5);

/// One client for each name under `aws.aliases` that a step uses.
#[derive(Debug, Default)]
pub struct Aliases(Mutex<BTreeMap<String, Arc<OnceCell<Arc<AwsClient>>>>>);

impl Aliases {
    /// The place of the client of this name, to be filled once.
    pub(super) fn cell(&self, name: &str) -> Arc<OnceCell<Arc<AwsClient>>> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.entry(name.to_owned()).or_default().clone()
    }

    /// The client of this name, if it is connected.
    pub(super) fn get(&self, name: &str) -> Option<Arc<AwsClient>> {
        let cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.get(name)?.get().cloned()
    }

    /// The clients that are connected.
    pub fn connected(&self) -> Vec<Arc<AwsClient>> {
        let cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.values().filter_map(|cell| cell.get().cloned()).collect()
    }
}

/// Requires that the caller lets the plan choose this profile and role. To be asked before any of the
/// caller's credentials are used.
///
/// # Errors
/// `Denied` when he has not.
pub fn require_allowed(account: &AwsAccount, trust: &Trust) -> Result<()> {
    if let Some(profile) = &account.profile {
        let why = format!("the plan chooses your profile `{profile}`, which you have not allowed");
        trust.require(&Grant::new(Subject::AwsProfile, profile.as_str()), "connect to AWS", &why)?;
    }
    if let Some(role) = &account.assume_role {
        let why = format!("the plan chooses the role {}, which you have not allowed", role.role_arn);
        trust.require(&Grant::new(Subject::AwsRole, role.role_arn.as_str()), "connect to AWS", &why)?;
    }
    Ok(())
}

/// The configuration for clients that work as this role. Assumes the role right away, so that a
/// problem with it is reported before any other request.
///
/// # Errors
/// The error of STS; `Local` when no code comes from the terminal or standard input.
pub async fn work_as(config: SdkConfig, role: &AssumeRole, calls: &Arc<Calls>) -> Result<SdkConfig> {
    let session = Session {
        sts: aws_sdk_sts::Client::new(&config),
        role: role.clone(),
        calls: calls.clone(),
        held: tokio::sync::Mutex::default(),
    };
    session.credentials().await?;
    let cache = IdentityCache::lazy().load_timeout(PATIENCE).build();
    let provider = SharedCredentialsProvider::new(session);
    Ok(config.into_builder().credentials_provider(provider).identity_cache(cache).build())
}

/// A role's session, renewed when it is about to end.
///
/// The SDK's own provider for roles knows no MFA.
#[derive(Debug)]
struct Session {
    sts: aws_sdk_sts::Client,
    role: AssumeRole,
    calls: Arc<Calls>,
    held: tokio::sync::Mutex<Option<Credentials>>,
}

impl ProvideCredentials for Session {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.renewed().await })
    }
}

impl Session {
    async fn renewed(&self) -> provider::Result {
        self.credentials().await.map_err(|error| CredentialsError::provider_error(error.to_string()))
    }

    async fn credentials(&self) -> Result<Credentials> {
        let mut held = self.held.lock().await;
        let soon = SystemTime::now() + MARGIN;
        if let Some(credentials) = held.as_ref().filter(|one| one.expiry().is_none_or(|end| end > soon)) {
            return Ok(credentials.clone());
        }
        let credentials = self.assume().await?;
        *held = Some(credentials.clone());
        Ok(credentials)
    }

    /// [`AssumeRole`](https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html)
    async fn assume(&self) -> Result<Credentials> {
        let role = &self.role;
        let code = match &role.mfa_serial {
            Some(serial) => Some(ask_code(serial).await?),
            None => None,
        };
        let request = self.sts.assume_role().role_arn(&role.role_arn).role_session_name(&role.session_name);
        let request = request
            .set_external_id(role.external_id.clone())
            .set_duration_seconds(role.duration_seconds)
            .set_serial_number(role.mfa_serial.clone())
            .set_token_code(code.as_ref().and_then(Secret::expose_str).map(ToOwned::to_owned));
        self.calls.count_login();
        let answer = request.send().await.at(OPERATION).map_err(|error| advised(error, role))?;
        let made = answer.credentials.ok_or_else(|| missing(OPERATION, "credentials"))?;
        let end = SystemTime::try_from(made.expiration).ok();
        Ok(Credentials::new(
            made.access_key_id,
            made.secret_access_key,
            Some(made.session_token),
            end,
            "AssumeRole",
        ))
    }
}

async fn ask_code(serial: &str) -> Result<Secret> {
    let question = format!("Code of the MFA device {serial}");
    let typed = prompt::secret_line(question).await;
    let failed = |message: String| Error::new(ErrorKind::Local, "MFA code", message);
    let code = typed.map_err(|error| failed(error.to_string()))?;
    code.ok_or_else(|| {
        failed(format!("no code of the MFA device {serial} was given"))
            .advice("type it, or write it to standard input: `echo CODE | groundwork …`")
    })
}

fn advised(error: Error, role: &AssumeRole) -> Error {
    if error.kind != ErrorKind::Denied {
        return error;
    }
    let message = format!("{} ({})", error.message, role.role_arn);
    Error::new(error.kind, error.operation, message).advice(
        "the role's trust policy must let these credentials in, with the same `external_id` and an MFA device \
         where it asks for them; and their own policies must allow sts:AssumeRole on it",
    )
}
