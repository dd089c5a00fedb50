//! The systems that Groundwork talks to, one folder each; and [`Providers`], from which a run
//! has its clients.

pub mod aws;
pub mod file;
pub mod patience;
pub mod registry;
pub mod sink;
pub mod vault;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;

use self::patience::{PatientKeys, PatientStore};
use crate::custody::{Custody, FileStore, KeyService, Keyring, Store, Unreachable};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::lock::{self, RemoteLock};
use crate::permit::Permit;
use crate::plan::settings::{AwsSettings, CustodySettings, RecipientSettings, StoreSettings, VaultSettings};
use crate::plan::{LockPlace, S3Location};
use crate::resource::{Awaited, Provided, UnderWay};
use crate::signing::SigningKey;
use crate::template::unknown;
use crate::trace::Calls;
use crate::trust::{Grant, Subject, Trust};

/// The settings for the clients of one run, and the clients once a step has asked for them.
#[derive(Debug, Default)]
pub struct Providers {
    /// The plan's name, for ownership tags.
    pub plan: String,
    /// The caller's grants to the plan.
    pub trust: Trust,
    /// The plan's folder; relative paths start here.
    pub folder: PathBuf,
    /// The plan's `aws:` section.
    pub aws_settings: AwsSettings,
    /// How many steps of IAM the plan has.
    pub iam_steps: usize,
    /// The plan's `vault:` section.
    pub vault_settings: VaultSettings,
    /// The plan's `custody:` section. Its recipients may refer to a KMS key that the same run
    /// makes; [`Custody::set_recipients`] then gets the resolved ones.
    pub custody_settings: Option<CustodySettings>,
    /// The plan's journal.
    pub journal: Option<Arc<Journal>>,
    /// The lock that other machines see, where the plan names one.
    pub lock: Option<RemoteLock>,
    /// Steps whose writes have begun and not ended.
    pub under_way: UnderWay,
    /// Once-only responses that are on their way into a durable place.
    pub awaited: Arc<Awaited>,
    /// Counts every request of the run.
    pub calls: Arc<Calls>,
    /// The AWS client, once a step has asked for it.
    pub aws: OnceCell<Arc<aws::AwsClient>>,
    /// The clients of further accounts and regions, once a step in them has asked.
    pub aws_aliases: aws::Aliases,
    /// The Vault client, once a step has asked for it.
    pub vault: OnceCell<Arc<vault::VaultClient>>,
    /// Custody, once a step has asked for it.
    pub custody: OnceCell<Arc<Custody>>,
}

impl Providers {
    /// The plan's custody. Making it writes nothing and sends nothing.
    ///
    /// # Errors
    /// `Rejected` when the plan has no `custody:` section; `Local` when the age identities cannot
    /// be read.
    pub async fn custody(&self) -> Result<Arc<Custody>> {
        let Some(settings) = &self.custody_settings else { return Err(no_custody()) };
        let made = self.custody.get_or_try_init(|| async {
            let keyring = Keyring::from_env(self.key_service(settings).await)?;
            let mut stores = Vec::with_capacity(settings.stores.len());
            for store in &settings.stores {
                stores.push(self.store(store).await?);
            }
            let authority = Arc::clone(self.journal()?.authority());
            let recipients = settings.recipients.clone();
            let custody = Custody::new(&self.folder, recipients, stores, keyring, authority);
            Ok(Arc::new(custody.of_plan(&self.plan)))
        });
        made.await.cloned()
    }

    /// The plan's journal.
    ///
    /// # Errors
    /// `Local` when this run was started without one.
    pub fn journal(&self) -> Result<Arc<Journal>> {
        self.journal.clone().ok_or_else(|| {
            Error::new(ErrorKind::Local, "journal", "this run has no journal, which once-only secrets need")
        })
    }

    /// Makes sure that this machine can sign for the plan: with its own key, else with the one that
    /// custody has. A plan with an empty journal gets a new key.
    ///
    /// # Errors
    /// `Denied` when the journal is not believed, or when the plan has another signer.
    pub async fn ready_to_sign(&self) -> Result<()> {
        let journal = self.journal()?;
        journal.require_believed()?;
        let authority = journal.authority();
        if let Some(signer) = journal.signer() {
            authority.sign_as(&signer);
        }
        if journal.is_empty() {
            // A plan that starts again may have a new custody, which lacks the key.
            authority.note(|seen| seen.in_custody = None)?;
        }
        if authority.key().is_some() {
            return Ok(());
        }
        if let Some(key) = self.key_in_custody(journal.is_empty()).await? {
            return authority.adopt(key).map(drop);
        }
        if journal.is_empty() { authority.make() } else { authority.require_key() }.map(drop)
    }

    /// The plan's key as custody has it. Of a plan that `is_new` custody may not exist yet.
    async fn key_in_custody(&self, is_new: bool) -> Result<Option<SigningKey>> {
        if self.custody_settings.is_none() {
            return Ok(None);
        }
        let found = async { self.custody().await?.signing_key().await };
        match found.await {
            Err(error) if is_new && error.kind != ErrorKind::Denied => Ok(None),
            found => found,
        }
    }

    /// The id of the Vault cluster, if this run uses one that reports its id.
    pub async fn cluster(&self) -> Option<String> {
        self.vault.get()?.cluster_id().await
    }

    /// Makes sure that this run holds the plan's lock; called before each write.
    ///
    /// # Errors
    /// `Conflict` when another run holds it.
    pub async fn confirm_lock(&self, permit: &Permit) -> Result<()> {
        match &self.lock {
            Some(lock) => lock.confirm(permit).await,
            None => Ok(()),
        }
    }

    /// The way to an object in S3.
    ///
    /// # Errors
    /// When AWS cannot be used at all.
    pub async fn s3_object(&self, place: S3Location) -> Result<aws::S3Object> {
        Ok(aws::S3Object::new(aws::AwsClient::provide(self).await?, place))
    }

    /// The place of a lock.
    ///
    /// # Errors
    /// When AWS cannot be used at all.
    pub async fn lock_place(&self, place: LockPlace) -> Result<Box<dyn lock::Place>> {
        Ok(match place {
            LockPlace::Object(place) => Box::new(self.s3_object(place).await?),
            LockPlace::Item { table, id } => {
                Box::new(aws::LockItem::new(aws::AwsClient::provide(self).await?, table, id))
            }
        })
    }

    /// Forgets everything that was read, so that later steps read it again.
    pub async fn forget(&self) {
        if let Some(aws) = self.aws.get() {
            aws.forget().await;
        }
        for aws in self.aws_aliases.connected() {
            aws.forget().await;
        }
        if let Some(vault) = self.vault.get() {
            vault.reset_readiness().await;
        }
    }

    async fn store(&self, settings: &StoreSettings) -> Result<Box<dyn Store>> {
        match settings {
            StoreSettings::File(path) => Ok(Box::new(self.file_store(path)?)),
            StoreSettings::S3(place) | StoreSettings::Secretsmanager(place) if unknown::is_unknown(place) => {
                let message = format!("where a store is, is {}", unknown::describe(place));
                Err(Error::new(ErrorKind::Rejected, "custody.stores", message)
                    .advice("refer to what is known beforehand, such as the `name` of a bucket"))
            }
            StoreSettings::S3(url) => match aws::AwsClient::provide(self).await {
                Ok(client) => Ok(Box::new(PatientStore::new(aws::S3Store::new(client, url)?))),
                Err(error) => Ok(Box::new(Unreachable::new(url, error))),
            },
            StoreSettings::Secretsmanager(prefix) => match aws::AwsClient::provide(self).await {
                Ok(client) => Ok(Box::new(PatientStore::new(aws::SecretsStore::new(client, prefix)?))),
                Err(error) => Ok(Box::new(Unreachable::new(format!("Secrets Manager {prefix}"), error))),
            },
        }
    }

    /// A folder for custody: below the plan's, or one that the caller allows.
    fn file_store(&self, path: &Path) -> Result<FileStore> {
        let text = path.to_string_lossy();
        if !path.is_absolute() {
            return Ok(FileStore::below(&self.folder, &text));
        }
        let why = format!("custody keeps secrets at {text}, which is outside of the plan's folder");
        self.trust.require(&Grant::new(Subject::Store, text), "use a custody store", &why)?;
        Ok(FileStore::new(path))
    }

    async fn key_service(&self, settings: &CustodySettings) -> Option<Arc<dyn KeyService>> {
        if settings.recipients.iter().any(|one| matches!(one, RecipientSettings::Kms(_))) {
            // Without AWS, what another recipient opens can still be had.
            return match aws::AwsClient::provide(self).await {
                Ok(client) => Some(Arc::new(PatientKeys::new("AWS KMS", client))),
                Err(error) => Some(Arc::new(Unreachable::new("AWS KMS", error))),
            };
        }
        None
    }
}

fn no_custody() -> Error {
    Error::new(
        ErrorKind::Rejected,
        "custody",
        "the plan does not say who keeps the secrets that come only once",
    )
    .advice(
        "add a `custody:` section with at least one recipient and one store, e.g. \
             `custody: { recipients: [ { age: age1… } ], stores: [ { file: .groundwork/custody } ] }`",
    )
}

/// The service behind a kind, as far as requests to it should be bounded together: IAM's control
/// plane throttles early, so its kinds share one bound.
pub fn service(kind: &'static str) -> &'static str {
    match kind.split_once('.') {
        Some(("aws", noun)) if noun.starts_with("iam_") => "iam",
        Some((provider, _)) => provider,
        None => kind,
    }
}

/// How many steps of one service are written at the same time.
pub fn limit(service: &str) -> usize {
    match service {
        "iam" => 5,
        _ => usize::MAX,
    }
}
