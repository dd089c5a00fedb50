//! Namespaces: <https://openbao.org/api-docs/system/namespaces/>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{VaultClient, content};
use super::{Object, PlainObject, check_name};
use crate::resource::{Attachment, FieldError, Result};

/// A Vault inside of Vault, with policies, mounts and identities of its own.
pub type Namespace = Object<NamespaceSpec>;

/// The declared fields of a namespace.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceSpec {
    /// Its name below the namespace that the plan, or this step, is in.
    pub name: String,
    /// What people note of it.
    #[serde(default)]
    pub custom_metadata: BTreeMap<String, String>,
}

impl PlainObject for NamespaceSpec {
    const KIND: &'static str = "vault.namespace";
    const ABOUT: &'static str = "A namespace, which has policies, mounts and identities of its own. OpenBao, or HashiCorp Vault Enterprise.";
    const EXAMPLE: &'static str = "\
payments_team:
  kind: vault.namespace
  name: payments
  custom_metadata: { owner: payments-team }
payments_secrets:
  kind: vault.mount
  namespace: payments
  path: secret
  type: kv
";
    const PROTECTED: bool = true;
    const IDENTITY: &'static [&'static str] = &["name"];
    const OUTPUTS: &'static [(&'static str, &'static str)] =
        &[("id", "The id that the server gave it."), ("path", "Its path, with a slash at the end.")];

    fn path(&self) -> String {
        format!("sys/namespaces/{}", self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// One that is being deleted can be read until everything in it is gone.
    fn is_set(told: &Value) -> bool {
        told["tainted"] != true
    }

    async fn attachments(&self, client: &VaultClient, _: &Value) -> Result<Vec<Attachment>> {
        content::of_namespace(client, &self.name).await
    }

    fn check(&self) -> Vec<FieldError> {
        let reserved = ["root", "sys", "audit", "auth", "cubbyhole", "identity"];
        let taken = reserved
            .contains(&self.name.as_str())
            .then(|| FieldError::new("name", "is reserved by the server"));
        check_name("name", &self.name).into_iter().chain(taken).collect()
    }
}
