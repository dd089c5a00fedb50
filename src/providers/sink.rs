//! Where a secret that was made elsewhere is delivered to.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{FieldError, Result};
use crate::permit::Permit;
use crate::place::Place;
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
