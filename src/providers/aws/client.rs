//! The client: credentials, endpoints, who we are, and the split between reading and writing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kms::primitives::Blob;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use aws_types::service_config::ServiceConfigKey;
use tokio::sync::OnceCell;

use super::accounts;
use super::arn::partition_of;
use super::batch::Batches;
use super::cache::Cached;
use super::connection::Aws;
use super::error::Answer;
use super::iam::Bulk;
use super::intercept::{CountCalls, RefuseWrites, TraceCalls};
use super::kms_key::MadeKeys;
use super::lazy::Lazy;
use super::s3_bucket;
use super::s3_client;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::net::timeout::{at_most, of_once_only};
use crate::net::{endpoint, http};
use crate::permit::Permit;
use crate::place::{Place, Realm};
use crate::resource::Provided;
use crate::run::Run;
use crate::secret::Secret;
use crate::trace::Calls;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts at a call that may be repeated.
const ATTEMPTS: u32 = 4;

/// The services in use, by the ids that settings know them by.
const SERVICES: [&str; 10] =
    ["CloudWatch", "CloudWatch Logs", "DynamoDB", "IAM", "KMS", "S3", "SNS", "SSM", "STS", "Secrets Manager"];

/// AWS, as one run of a plan sees it: one account, one region, one set of credentials.
#[derive(Debug)]
pub struct AwsClient {
    reading: Services,
    /// Made when something is written, which most runs never do.
    writing: OnceLock<Services>,
    once: OnceLock<Services>,
    config: SdkConfig,
    calls: Arc<Calls>,
    region: String,
    declared_account: Option<String>,
    identity: OnceCell<Identity>,
    /// Alias to key id; one `ListAliases` serves all keys.
    pub(super) aliases: Cached<HashMap<String, String>>,
    /// The keys that this run has created.
    pub(super) made_keys: MadeKeys,
    /// One look at all of IAM, where the plan has many steps there.
    pub(super) iam: Bulk,
    /// Questions that many steps ask at once.
    pub(super) batches: Batches,
}

/// The clients of the services in use.
#[derive(Clone, Debug)]
pub struct Services {
    /// Identity and Access Management.
    pub iam: aws_sdk_iam::Client,
    /// DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Key Management Service.
    pub kms: aws_sdk_kms::Client,
    /// Security Token Service.
    pub sts: aws_sdk_sts::Client,
    /// Simple Storage Service, in the plan's region; see [`Services::s3_in`].
    pub s3: aws_sdk_s3::Client,
    /// Further services.
    pub(super) lazy: Lazy,
}

/// The owner of the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Twelve digits.
    pub account_id: String,
    /// The caller's ARN.
    pub arn: String,
    /// The caller's unique id.
    pub user_id: String,
}

impl Provided for AwsClient {
    const PROVIDER: &'static str = "aws";
    /// An account belongs to one partition.
    const REALM: &'static [&'static str] = &["account", "region"];

    async fn provide(run: &Run, place: &Place) -> Result<Arc<Self>> {
        let connection: &Aws = run.connection()?;
        // The SDK's future is nested more deeply than the compiler likes inside of ours.
        let connect = || Box::pin(Self::connect(run, connection, place.alias.as_deref()));
        match &place.alias {
            None => connection.own.get_or_try_init(connect).await.cloned(),
            Some(name) => connection.aliases.cell(name).get_or_try_init(connect).await.cloned(),
        }
    }
}

impl AwsClient {
    /// Finds credentials and region along the SDK's whole default chain (environment, profiles,
    /// SSO, container and instance roles), for the plan's own account or the one of this name, and
    /// assumes the role that the plan declares; `AWS_ENDPOINT_URL` is honoured.
    ///
    /// # Errors
    /// When there is no region, or the account is not the one that the plan names.
    async fn connect(run: &Run, connection: &Aws, alias: Option<&str>) -> Result<Arc<Self>> {
        let settings = connection.settings.account(alias).ok_or_else(|| no_alias(alias))?;
        accounts::require_allowed(&settings, &run.trust)?;
        let mut config =
            load_config(settings.region.clone(), settings.profile.as_deref(), run.environment()).await?;
        endpoints(&config)
            .iter()
            .try_for_each(|endpoint| endpoint::require_aws(endpoint, run.environment()))?;
        let region = config.region().map(ToString::to_string).filter(|region| !region.is_empty());
        let region = region.ok_or_else(no_region)?;
        require_region(&region)?;
        if let Some(role) = &settings.assume_role {
            config = accounts::work_as(config, role, &run.calls).await?;
        }
        let client = Self {
            reading: Services::new(&config, &run.calls, Access::Read),
            writing: OnceLock::new(),
            once: OnceLock::new(),
            config,
            calls: run.calls.clone(),
            region,
            declared_account: settings.account_id,
            identity: OnceCell::new(),
            aliases: Cached::default(),
            made_keys: MadeKeys::default(),
            iam: Bulk::new(run.steps_like("aws.iam_")),
            batches: Batches::default(),
        };
        if client.declared_account.is_some() {
            client.identity().await?;
        }
        Ok(Arc::new(client))
    }

    /// Clients that refuse every operation that could change something.
    pub(super) fn read(&self) -> &Services {
        &self.reading
    }

    /// Clients that may write. The SDK repeats a request that was lost or throttled.
    pub(super) fn write(&self, _permit: &Permit) -> &Services {
        self.iam.note_write();
        self.writing.get_or_init(|| Services::new(&self.config, &self.calls, Access::Write))
    }

    /// Clients that may write and send each request at most once, for calls of which a second
    /// would make a second thing.
    pub(super) fn write_once(&self, _permit: &Permit) -> &Services {
        self.iam.note_write();
        self.once.get_or_init(|| Services::new(&for_once(&self.config), &self.calls, Access::Write))
    }

    /// S3 for a caller without credentials. It needs the permission to write, because it finds out whether such
    /// a writer is let in.
    pub(super) fn unsigned_s3(&self, _permit: &Permit, region: Option<&str>) -> aws_sdk_s3::Client {
        let mut config = self.config.clone().into_builder();
        config.set_credentials_provider(None);
        let unsigned = |builder: aws_sdk_s3::config::Builder| builder.allow_no_auth();
        let s3 = s3_client::make(&config.build(), &self.calls, Access::Write, unsigned);
        region.map_or_else(|| s3.clone(), |region| s3_client::elsewhere(&s3, region))
    }

    /// S3 without TLS, to show that it refuses that; `None` where its endpoint has no TLS that one could do without.
    pub(super) fn plain_s3(&self, region: Option<&str>) -> Option<aws_sdk_s3::Client> {
        let endpoint = match self.config.endpoint_url() {
            Some(endpoint) => without_tls(endpoint)?,
            None => {
                let region = region.unwrap_or(self.region());
                format!("http://s3.{region}.{}", s3_bucket::suffix(self.partition()))
            }
        };
        Some(s3_client::at(&self.reading.s3_in(region), endpoint))
    }

    /// The owner of the credentials; asked once per run.
    ///
    /// # Errors
    /// `Rejected` when the plan names another account.
    /// [`GetCallerIdentity`](https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html)
    pub async fn identity(&self) -> Result<&Identity> {
        self.identity.get_or_try_init(|| self.ask_identity()).await
    }

    async fn ask_identity(&self) -> Result<Identity> {
        let answer = self.reading.sts.get_caller_identity().send().await;
        let identity = answer.at(GET_CALLER_IDENTITY).and_then(to_identity)?;
        match &self.declared_account {
            Some(declared) if *declared != identity.account_id => Err(wrong_account(declared, &identity)),
            _ => Ok(identity),
        }
    }

    /// Whether the credentials are of a session, which may have been begun with MFA, and not an access key.
    pub(super) async fn is_session(&self) -> bool {
        use aws_credential_types::provider::ProvideCredentials as _;
        let Some(provider) = self.config.credentials_provider() else { return true };
        provider.provide_credentials().await.map_or(true, |found| found.session_token().is_some())
    }

    /// The account, for `ExpectedBucketOwner` and ARNs.
    pub async fn account_id(&self) -> Result<&str> {
        Ok(&self.identity().await?.account_id)
    }

    /// The region, e.g. `us-east-1`.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The partition: `aws`, `aws-us-gov` or `aws-cn`.
    pub fn partition(&self) -> &'static str {
        partition_of(&self.region)
    }

    /// The realm as far as it is known without a request: it has the account only if the plan names
    /// it or an earlier request has returned the identity.
    pub fn realm(&self) -> Realm {
        let known = self.identity.get().map(|identity| identity.account_id.clone());
        Realm::default()
            .with_some("account", known.or_else(|| self.declared_account.clone()))
            .with("region", &self.region)
    }

    /// Forgets what was read, so that later steps read it again.
    pub async fn forget(&self) {
        self.aliases.forget().await;
        self.iam.forget().await;
    }

    /// Encrypts up to 4096 bytes under a KMS key (id, ARN or alias). The same `context` is
    /// needed to decrypt.
    /// [`Encrypt`](https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html)
    pub async fn kms_encrypt(
        &self,
        key: &str,
        plaintext: &Secret,
        context: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>> {
        let request = self.reading.kms.encrypt().key_id(key).plaintext(Blob::new(plaintext.expose_bytes()));
        let request = request.set_encryption_context(Some(to_hash_map(context)));
        let answer = request.send().await.at("kms:Encrypt")?;
        let blob = answer.ciphertext_blob.ok_or_else(|| missing("kms:Encrypt", "ciphertext"))?;
        Ok(blob.into_inner())
    }

    /// Decrypts what [`AwsClient::kms_encrypt`] made; KMS finds the key in the ciphertext.
    /// [`Decrypt`](https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html)
    pub async fn kms_decrypt(&self, ciphertext: &[u8], context: &BTreeMap<String, String>) -> Result<Secret> {
        let request = self.reading.kms.decrypt().ciphertext_blob(Blob::new(ciphertext));
        let request = request.set_encryption_context(Some(to_hash_map(context)));
        let answer = request.send().await.at("kms:Decrypt")?;
        let blob = answer.plaintext.ok_or_else(|| missing("kms:Decrypt", "plaintext"))?;
        Ok(Secret::new(blob.into_inner()))
    }

    /// The ARN that an access key belongs to, asked with that key: the proof that it works.
    ///
    /// # Errors
    /// `Eventual` while AWS does not know the key yet, which takes some seconds after its creation.
    pub async fn caller_identity_with(&self, access_key_id: &str, secret: &Secret) -> Result<String> {
        let text = secret.expose_str().ok_or_else(|| {
            Error::new(ErrorKind::Local, "sts:GetCallerIdentity", "the secret access key is not text")
        })?;
        let credentials = Credentials::new(access_key_id, text, None, None, "groundwork");
        let provider = SharedCredentialsProvider::new(credentials);
        let config = self.config.clone().into_builder().credentials_provider(provider).build();
        let config = aws_sdk_sts::config::Builder::from(&config)
            .interceptor(CountCalls(self.calls.clone()))
            .interceptor(TraceCalls);
        let answer = aws_sdk_sts::Client::from_conf(config.build()).get_caller_identity().send().await;
        let unknown_yet = answer.as_ref().is_err_and(|error| error.code() == Some("InvalidClientTokenId"));
        let identity = answer.at(GET_CALLER_IDENTITY).and_then(to_identity);
        identity
            .map(|identity| identity.arn)
            .map_err(|error| if unknown_yet { not_known_yet(error) } else { error })
    }
}

/// A service client that counts its calls and, for reading, refuses to write. The service crates
/// share no trait for this.
macro_rules! client {
    ($service:ident, $config:expr, $calls:expr, $access:expr) => {
        $crate::providers::aws::client::service_client!($service, $config, $calls, $access, |builder| builder)
    };
    ($service:ident, $config:expr, $calls:expr, $access:expr, $adapt:expr) => {{
        let builder = $service::config::Builder::from($config)
            .interceptor(CountCalls($calls.clone()))
            .interceptor(TraceCalls);
        let builder = if $access == Access::Read { builder.interceptor(RefuseWrites) } else { builder };
        #[allow(clippy::redundant_closure_call)]
        let builder = ($adapt)(builder);
        $service::Client::from_conf(builder.build())
    }};
}
pub(super) use client as service_client;

impl Services {
    fn new(config: &SdkConfig, calls: &Arc<Calls>, access: Access) -> Self {
        Self {
            iam: client!(aws_sdk_iam, config, calls, access),
            dynamodb: client!(aws_sdk_dynamodb, config, calls, access),
            kms: client!(aws_sdk_kms, config, calls, access),
            sts: client!(aws_sdk_sts, config, calls, access),
            s3: s3_client::make(config, calls, access, |builder| builder),
            lazy: Lazy::new(config, calls, access),
        }
    }

    /// S3 in the bucket's region; `None` is the plan's region.
    pub fn s3_in(&self, region: Option<&str>) -> aws_sdk_s3::Client {
        match region {
            Some(region) => s3_client::elsewhere(&self.s3, region),
            None => self.s3.clone(),
        }
    }
}

/// The same endpoint without TLS; `None` if it has none. One on the usual port answers on the usual port.
fn without_tls(endpoint: &str) -> Option<String> {
    let rest = endpoint.strip_prefix("https://")?.trim_end_matches('/');
    Some(format!("http://{}", rest.strip_suffix(":443").unwrap_or(rest)))
}

/// Whether a set of clients may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

async fn load_config(
    region: Option<String>,
    profile: Option<&str>,
    environment: &Environment,
) -> Result<SdkConfig> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(at_most(ATTEMPT_TIMEOUT));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http::aws_client(environment)?)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts.build());
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
    }
    Ok(loader.load().await)
}

/// Every endpoint that was set in the place of Amazon's: for all services or for one, in the
/// environment or in a profile.
fn endpoints(config: &SdkConfig) -> Vec<String> {
    let of_service = |id| {
        let key = ServiceConfigKey::builder().service_id(id).env("AWS_ENDPOINT_URL").profile("endpoint_url");
        config.service_config()?.load_config(key.build().ok()?)
    };
    let general = config.endpoint_url().map(ToOwned::to_owned);
    SERVICES.into_iter().filter_map(of_service).chain(general).collect()
}

/// For requests that are sent once: no repetition, and enough time for a response that comes only
/// once.
fn for_once(config: &SdkConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT);
    let timeouts = timeouts.operation_attempt_timeout(once_timeout());
    let builder = config.clone().into_builder().timeout_config(timeouts.build());
    builder.retry_config(RetryConfig::standard().with_max_attempts(1)).build()
}

/// How long a request may take that is sent once.
pub(super) fn once_timeout() -> Duration {
    of_once_only(ATTEMPT_TIMEOUT)
}

const GET_CALLER_IDENTITY: &str = "sts:GetCallerIdentity";

fn to_identity(
    answer: aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityOutput,
) -> Result<Identity> {
    let field = |value: Option<String>, name| value.ok_or_else(|| missing(GET_CALLER_IDENTITY, name));
    Ok(Identity {
        account_id: field(answer.account, "account")?,
        arn: field(answer.arn, "ARN")?,
        user_id: field(answer.user_id, "user id")?,
    })
}

/// The service left out a field that it documents as always present.
pub(super) fn missing(operation: &str, field: &str) -> Error {
    Error::new(ErrorKind::Rejected, operation, format!("the answer has no {field}"))
        .advice("something between here and AWS changes its answers; check AWS_ENDPOINT_URL and proxies")
}

/// A region becomes part of host names, so other characters are refused.
fn require_region(region: &str) -> Result<()> {
    if region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Rejected, "connect to AWS", format!("`{region}` is not a region"))
        .advice("write it as us-east-1, in `aws.region` of the plan or in AWS_REGION"))
}

fn no_region() -> Error {
    Error::new(ErrorKind::Rejected, "connect to AWS", "no region is set")
        .advice("set `aws.region` in the plan, or AWS_REGION")
}

fn wrong_account(declared: &str, identity: &Identity) -> Error {
    let message = format!(
        "the plan is for account {declared}, but the credentials of {} belong to account {}",
        identity.arn, identity.account_id
    );
    Error::new(ErrorKind::Rejected, GET_CALLER_IDENTITY, message)
        .advice("use other credentials (AWS_PROFILE), or correct `aws.account_id` in the plan")
}

fn not_known_yet(error: Error) -> Error {
    Error::new(ErrorKind::Eventual, error.operation, error.message)
        .advice("AWS does not know this access key yet, or no longer")
}

fn no_alias(alias: Option<&str>) -> Error {
    let name = alias.unwrap_or_default();
    let message = format!("the plan no longer declares the account `aws.{name}`");
    Error::new(ErrorKind::Rejected, "connect to AWS", message)
        .advice(format!("declare it again under `aws: {{ aliases: {{ {name}: … }} }}`"))
}

fn to_hash_map(context: &BTreeMap<String, String>) -> HashMap<String, String> {
    context.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::provider::Provider;
    use crate::providers::aws::arn::partition;
    use crate::run::testing;
    use crate::trust::Trust;

    fn run(folder: &Path, account: Option<&str>) -> Run {
        let settings = crate::providers::aws::settings::AwsSettings {
            region: Some("cn-north-1".into()),
            account_id: account.map(str::to_owned),
            ..Default::default()
        };
        testing::run(folder, Trust::default()).with(Arc::new(Aws::open(settings)))
    }

    #[tokio::test]
    async fn reading_client_refuses_writes_without_sending() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = run(folder.path(), None);
        let client = AwsClient::provide(&run, &Place::OWN).await.expect("connecting needs no network");
        let refused = client.read().iam.create_user().user_name("x").send().await.at("iam:CreateUser");
        let refused = refused.expect_err("refused");
        assert_eq!(refused.kind, ErrorKind::Rejected);
        assert!(refused.message.starts_with("CreateUser may write"), "{refused}");
        assert_eq!(run.calls.total(), crate::trace::CallCount::default());
        assert_eq!(partition(&client.realm()), "aws-cn");
    }

    #[test]
    fn wrong_account_error_names_both_accounts() {
        let identity = Identity {
            account_id: "111111111111".into(),
            arn: "arn:aws:iam::111111111111:root".into(),
            user_id: "111111111111".into(),
        };
        let error = wrong_account("222222222222", &identity);
        assert!(error.to_string().contains("222222222222") && error.to_string().contains("111111111111"));
    }
}
