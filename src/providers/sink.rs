//! Where a secret that was made elsewhere is delivered to.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::vault::{KvSink, VaultClient, delivery, kv_engine};
use crate::error::{Error, FieldError, Result};
use crate::permit::Permit;
use crate::place::Place;
use crate::providers::kubernetes::{Dial, SecretDelivery};
#[cfg(feature = "postgres")]
use crate::providers::postgres::{PostgresClient, RowDelivery};
use crate::resource::{Provided, Requirement, requires_in};
use crate::run::{Access, Permission, Run};
use crate::secret::Fields;

/// A destination for secrets.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Whether it holds exactly these values; other fields next to them are not looked at.
    async fn holds(&self, expected: &Fields) -> Result<bool>;
    /// Checks that the place can take a delivery; called before a credential is made that has no other
    /// place to go. Writes nothing.
    async fn prove(&self) -> Result<()>;
    /// Writes these fields and leaves others next to them as they are.
    async fn deliver(&self, permit: &Permit, fields: &Fields) -> Result<()>;
}

/// A declared destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Delivery {
    /// A secret in a Vault KV version 2 mount.
    VaultKv(VaultKv),
    /// A Secret of the plan's own cluster.
    KubernetesSecret(SecretDelivery),
    /// The jsonb document of a row in PostgreSQL.
    #[cfg(feature = "postgres")]
    PostgresRow(RowDelivery),
}

impl Delivery {
    /// Its path in a step's differences: `deliver.vault_kv.secret/team/aws`.
    pub fn path(&self) -> String {
        match self {
            Self::VaultKv(VaultKv { namespace, mount, path, .. }) => {
                let namespace = namespace.iter().map(|one| format!("{one}/")).collect::<String>();
                format!("deliver.vault_kv.{namespace}{mount}/{path}")
            }
            Self::KubernetesSecret(secret) => format!("deliver.kubernetes_secret.{}", secret.name()),
            #[cfg(feature = "postgres")]
            Self::PostgresRow(row) => format!("deliver.postgres_row.{}", row.name()),
        }
    }

    /// The names that the two halves of an access key get there.
    pub fn key_fields(&self) -> &KeyFields {
        match self {
            Self::VaultKv(kv) => &kv.fields,
            Self::KubernetesSecret(secret) => &secret.fields,
            #[cfg(feature = "postgres")]
            Self::PostgresRow(row) => &row.fields,
        }
    }

    /// Mistakes in it, with paths below it.
    pub fn check(&self) -> Vec<FieldError> {
        let (name, found): (&str, Vec<FieldError>) = match self {
            Self::VaultKv(kv) => ("vault_kv", kv.place().err().into_iter().collect()),
            Self::KubernetesSecret(secret) => ("kubernetes_secret", secret.check()),
            #[cfg(feature = "postgres")]
            Self::PostgresRow(row) => ("postgres_row", row.check()),
        };
        let below = |mistake: FieldError| {
            let path = format!("{name}.{}", mistake.path);
            FieldError { path, ..mistake }
        };
        found.into_iter().map(below).collect()
    }

    /// The steps that must come before a delivery.
    pub fn requires(&self) -> Vec<Requirement> {
        match self {
            Self::VaultKv(kv) => {
                let mut in_vault = vec![Requirement::Kind("vault.init")];
                in_vault.extend(kv_engine(&kv.mount));
                requires_in::<VaultClient>(&kv.place().unwrap_or_default(), in_vault)
            }
            Self::KubernetesSecret(secret) => secret.requires(),
            #[cfg(feature = "postgres")]
            Self::PostgresRow(row) => row.requires(),
        }
    }

    /// The permissions that a delivery needs.
    pub fn permissions(&self, access: Access) -> Vec<Permission> {
        match self {
            Self::VaultKv(kv) => {
                let place = kv.place().unwrap_or_default();
                let needed = delivery(&kv.mount, &kv.path, access).into_iter();
                needed.map(|one| one.at(VaultClient::PROVIDER, place.clone())).collect()
            }
            Self::KubernetesSecret(secret) => secret.permissions(access),
            // PostgreSQL's own rights are not asked for before a run.
            #[cfg(feature = "postgres")]
            Self::PostgresRow(_) => Vec::new(),
        }
    }
}

/// The systems that deliveries go to. Why one is not there matters only to steps that deliver there.
pub struct Sinks {
    vault: Result<Arc<VaultClient>>,
    kubernetes: Result<Arc<Dial>>,
    #[cfg(feature = "postgres")]
    postgres: Result<Arc<PostgresClient>>,
}

impl Sinks {
    /// Those of a run, in the plan's own places. Sends nothing.
    pub async fn of(run: &Run) -> Self {
        Self {
            vault: VaultClient::provide(run, &Place::OWN).await,
            kubernetes: Dial::of(run, &Place::OWN).map(Arc::new),
            #[cfg(feature = "postgres")]
            postgres: PostgresClient::provide(run, &Place::OWN).await,
        }
    }

    /// A destination.
    ///
    /// # Errors
    /// When its system is not there.
    pub fn open(&self, target: &Delivery) -> Result<Box<dyn Sink>> {
        match target {
            Delivery::VaultKv(kv) => {
                let vault = Arc::clone(self.vault.as_ref().map_err(Error::again)?);
                let vault = vault.at(&kv.place().unwrap_or_default());
                Ok(Box::new(KvSink::new(vault, &kv.mount, &kv.path)))
            }
            Delivery::KubernetesSecret(secret) => {
                Ok(Box::new(secret.sink(Arc::clone(self.kubernetes.as_ref().map_err(Error::again)?))))
            }
            #[cfg(feature = "postgres")]
            Delivery::PostgresRow(row) => {
                Ok(Box::new(row.sink(Arc::clone(self.postgres.as_ref().map_err(Error::again)?))))
            }
        }
    }
}

/// A secret in Vault, and the names of the two fields of an access key in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultKv {
    /// In which namespace the mount is, below the plan's own; the plan's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The mount.
    pub mount: String,
    /// The path below the mount.
    pub path: String,
    /// The names of the fields.
    #[serde(default)]
    pub fields: KeyFields,
}

impl VaultKv {
    /// Where the mount is.
    ///
    /// # Errors
    /// When `namespace` is not a valid namespace path.
    pub fn place(&self) -> Result<Place, FieldError> {
        self.namespace.as_deref().map_or(Ok(Place::OWN), Place::of_namespace)
    }
}

/// The names of an access key's fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyFields {
    /// The access key id.
    pub id: String,
    /// The secret access key.
    pub secret: String,
}

impl Default for KeyFields {
    fn default() -> Self {
        Self { id: "aws_access_key_id".to_owned(), secret: "aws_secret_access_key".to_owned() }
    }
}
