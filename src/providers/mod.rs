//! The systems that Groundwork talks to, one folder each; and [`Providers`], from which a run
//! has its clients.

pub mod aws;
pub mod file;
pub mod timeout;
pub mod vault;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::custody::{Custody, KeyService, Keyring};
use crate::journal::Journal;
use crate::plan::settings::{AwsSettings, CustodySettings, RecipientSettings, VaultSettings};
use crate::resource::{Calls, Error, ErrorKind, Provided, Result};

/// What the clients of one run are made from, and the clients once they are made.
#[derive(Debug, Default)]
pub struct Providers {
    /// The plan's name, for ownership tags.
    pub plan: String,
    /// The plan's folder; relative paths start here.
    pub folder: PathBuf,
    /// The plan's `aws:` section.
    pub aws_settings: AwsSettings,
    /// The plan's `vault:` section.
    pub vault_settings: VaultSettings,
    /// The plan's `custody:` section. Its recipients may refer to a KMS key that the same run
    /// makes; [`Custody::set_recipients`] then gets the resolved ones.
    pub custody_settings: Option<CustodySettings>,
    /// The plan's journal.
    pub journal: Option<Arc<Journal>>,
    /// Counts every request of the run.
    pub calls: Arc<Calls>,
    /// The AWS client, once a step has asked for it.
    pub aws: OnceCell<Arc<aws::AwsClient>>,
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
            let keyring = Keyring::from_env(self.key_service(settings).await?)?;
            Ok(Arc::new(Custody::new(settings, &self.folder, keyring)))
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

    async fn key_service(&self, settings: &CustodySettings) -> Result<Option<Arc<dyn KeyService>>> {
        if settings.recipients.iter().any(|one| matches!(one, RecipientSettings::Kms(_))) {
            return Ok(Some(aws::AwsClient::provide(self).await?));
        }
        Ok(None)
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
