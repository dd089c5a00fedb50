//! One run of a plan: what all of its steps share, and its connections to the systems.

mod awaited;
mod backups;
mod connection;
mod permission;
mod reports;
mod silent;
#[cfg(test)]
pub(crate) mod testing;
mod under_way;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

pub use awaited::{Awaited, Awaiting};
pub use connection::{Connection, Connections, Existing, Service, Want, Workload};
pub use permission::{Access, Command, Condition, Declared, Kept, Lack, LeastPolicy, Needs, Permission, Use};
pub use reports::{Reporting, Reports};
pub use silent::StoreAnswer;
pub use under_way::UnderWay;

use crate::custody::{Custody, FileStore, Impatient, KeyService, Keyring, Store};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Journal, mirror};
use crate::lock::{self, RemoteLock};
use crate::permit::Permit;
use crate::place::{Place, Realm};
use crate::plan::settings::{CustodySettings, RecipientSettings, StoreSettings};
use crate::plan::{LockPlace, S3Location};
use crate::signing::SigningKey;
use crate::template::unknown;
use crate::trace::Calls;
use crate::trust::{Grant, Subject, Trust};

/// One run of a plan. Making it reads and sends nothing.
pub struct Run {
    /// The plan's name.
    pub plan: String,
    /// The caller's grants to the plan.
    pub trust: Trust,
    /// The plan's folder; relative paths start here.
    pub folder: PathBuf,
    /// The plan's journal.
    pub journal: Arc<Journal>,
    /// The plan's `custody:` section. Its recipients may refer to a KMS key that the same run
    /// makes; [`Custody::set_recipients`] then gets the resolved ones.
    pub custody_settings: Option<CustodySettings>,
    /// The lock that other machines see, where the plan names one.
    pub lock: Option<RemoteLock>,
    /// Steps whose writes have begun and not ended.
    pub under_way: UnderWay,
    /// Where the writes of steps say what they wait for.
    pub reports: Reports,
    /// Once-only responses that are on their way into a durable place.
    pub awaited: Arc<Awaited>,
    /// Counts every request of the run.
    pub calls: Arc<Calls>,
    /// The kinds of the plan's steps, one for each step.
    pub kinds: Vec<&'static str>,
    /// The permissions that each step needs, so that rights can be proven before others are given up.
    pub needs: Arc<Vec<Needs>>,
    /// The permissions that the run itself needs to write, for what it keeps in the systems.
    pub own_needs: Arc<Vec<Needs>>,
    /// The connections, one for each provider.
    pub connections: Connections,
    custody: OnceCell<Arc<Custody>>,
    /// How long the key service of custody may take, in a run that must not wait for it again and again.
    patience: Option<Duration>,
}

impl Run {
    /// A run of the plan with this name in this folder.
    pub fn new(plan: &str, folder: &Path, trust: Trust, journal: Arc<Journal>) -> Self {
        Self {
            plan: plan.to_owned(),
            trust,
            folder: folder.to_owned(),
            journal,
            custody_settings: None,
            lock: None,
            under_way: UnderWay::default(),
            reports: Reports::default(),
            awaited: Arc::default(),
            calls: Arc::default(),
            kinds: Vec::new(),
            needs: Arc::default(),
            own_needs: Arc::default(),
            connections: Connections::default(),
            custody: OnceCell::new(),
            patience: None,
        }
    }

    /// The environment of the run.
    pub const fn environment(&self) -> &Environment {
        self.trust.environment()
    }

    /// The same run with a connection to one more system.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn with(mut self, connection: Arc<dyn Connection>) -> Self {
        self.connections.push(connection);
        self
    }

    /// The same run with this custody, whatever the settings say.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn with_custody(mut self, custody: Custody) -> Self {
        self.custody_settings = Some(CustodySettings::default());
        self.custody = OnceCell::new_with(Some(Arc::new(custody)));
        self
    }

    /// How many steps have a kind whose name starts like this.
    pub fn steps_like(&self, prefix: &str) -> usize {
        self.kinds.iter().filter(|kind| kind.starts_with(prefix)).count()
    }

    /// The connection of this type, for the clients of its provider.
    ///
    /// # Errors
    /// `Local` when the run was made without this provider.
    pub fn connection<C: Connection>(&self) -> Result<&C> {
        self.connections.of_type().ok_or_else(|| {
            let message = "this run has no connection to the provider of the kind";
            Error::new(ErrorKind::Local, "connect", message)
        })
    }

    /// The realm of a provider's place, according to the live system.
    ///
    /// # Errors
    /// As [`Connection::realm`].
    pub async fn realm(&self, provider: &str, place: &Place) -> Result<Realm> {
        match self.connections.named(provider) {
            Some(connection) => connection.realm(self, place).await,
            None => Ok(Realm::UNKNOWN),
        }
    }

    /// The plan's custody. Making it writes nothing and sends nothing.
    ///
    /// # Errors
    /// `Rejected` when the plan has no `custody:` section; `Local` when the age identities cannot
    /// be read.
    pub async fn custody(&self) -> Result<Arc<Custody>> {
        let Some(settings) = &self.custody_settings else { return Err(no_custody()) };
        let made = self.custody.get_or_try_init(|| async {
            let keyring = Keyring::from_env(self.environment(), self.key_service(settings).await)?;
            let mut stores = Vec::with_capacity(settings.stores.len());
            for store in &settings.stores {
                stores.push(self.store(store).await?);
            }
            let authority = Arc::clone(self.journal.authority());
            let recipients = settings.recipients.clone();
            let custody = Custody::new(&self.folder, recipients, stores, keyring, authority);
            Ok(Arc::new(custody.of_plan(&self.plan)))
        });
        made.await.cloned()
    }

    /// Problems of custody and of the systems that do not end the run, to show the user.
    pub fn take_warnings(&self) -> Vec<String> {
        let custody = self.custody.get().map(|custody| custody.take_warnings());
        let systems = self.connections.iter().flat_map(|connection| connection.take_warnings());
        custody.into_iter().flatten().chain(systems).collect()
    }

    /// Makes sure that this machine can sign for the plan: with its own key, else with the one that
    /// custody has. A plan with an empty journal gets a new key.
    ///
    /// # Errors
    /// `Denied` when the journal is not believed, or when the plan has another signer.
    pub async fn ready_to_sign(&self) -> Result<()> {
        let journal = &self.journal;
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

    /// The place of the journal's copy.
    ///
    /// # Errors
    /// When the system that keeps it cannot be used at all.
    pub async fn journal_copy(&self, place: &S3Location) -> Result<Arc<dyn mirror::Place>> {
        for connection in self.connections.iter() {
            if let Some(found) = connection.journal_copy(self, place).await? {
                return Ok(found);
            }
        }
        Err(nobody_keeps("journal"))
    }

    /// The place of a lock.
    ///
    /// # Errors
    /// When the system that keeps it cannot be used at all.
    pub async fn lock_place(&self, place: &LockPlace) -> Result<Box<dyn lock::Place>> {
        for connection in self.connections.iter() {
            if let Some(found) = connection.lock_place(self, place).await? {
                return Ok(found);
            }
        }
        Err(nobody_keeps("lock"))
    }

    /// Forgets everything that was read, so that later steps read it again.
    pub async fn forget(&self) {
        for connection in self.connections.iter() {
            connection.forget().await;
        }
    }

    async fn store(&self, settings: &StoreSettings) -> Result<Box<dyn Store>> {
        let known = match settings {
            StoreSettings::File(path) => return Ok(Box::new(self.file_store(path)?)),
            StoreSettings::S3(place) | StoreSettings::Secretsmanager(place) => place,
        };
        if unknown::is_unknown(known) {
            let message = format!("where a store is, is {}", unknown::describe(known));
            return Err(Error::new(ErrorKind::Rejected, "custody.stores", message)
                .advice("refer to what is known beforehand, such as the `name` of a bucket"));
        }
        for connection in self.connections.iter() {
            if let Some(store) = connection.store(self, settings).await? {
                return Ok(store);
            }
        }
        Err(nobody_keeps("custody.stores"))
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
        if !settings.recipients.iter().any(|one| matches!(one, RecipientSettings::Kms(_))) {
            return None;
        }
        let service = self.any_key_service().await?;
        Some(match self.patience {
            Some(limit) => Arc::new(Impatient::new(service, limit)),
            None => service,
        })
    }

    /// The key management service of the plan's own account, if a system of the run has one.
    pub async fn any_key_service(&self) -> Option<Arc<dyn KeyService>> {
        for connection in self.connections.iter() {
            if let Some(service) = connection.key_service(self).await {
                return Some(service);
            }
        }
        None
    }
}

fn nobody_keeps(section: &str) -> Error {
    Error::new(ErrorKind::Local, section, "no provider of this run keeps it")
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
