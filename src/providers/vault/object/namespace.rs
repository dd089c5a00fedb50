//! Namespaces: <https://openbao.org/api-docs/system/namespaces/>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::{VaultClient, content};
use super::{Object, PlainObject, check_name};
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::proof::Proof;
use crate::resource::Attachment;
use crate::resource::risk::{LABELS, Risks, identity, safe};

/// A Vault inside Vault, with its own policies, mounts and identities.
pub type Namespace = Object<NamespaceSpec>;

/// The declared fields of a namespace.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceSpec {
    /// Its name, relative to the namespace of the plan or of this step.
    pub name: String,
    /// Free-form metadata. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_metadata: Option<BTreeMap<String, String>>,
}

impl PlainObject for NamespaceSpec {
    const KIND: &'static str = "vault.namespace";
    const GRANTS: Granting = Granting::Never("a namespace has policies of its own");
    const ABOUT: &'static str = "A namespace, which has its own policies, mounts and identities. OpenBao, or HashiCorp Vault Enterprise.";
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
    const RISKS: Risks = &[&[identity("name"), safe("custom_metadata", LABELS)]];
    const PROOF: Proof = Proof::InSync("what is in it is proven by its own steps");
    const PROTECTED: bool = true;
    const IDENTITY: &'static [&'static str] = &["name"];
    const REPLACED_WHOLE: bool = true;
    const OUTPUTS: &'static [(&'static str, &'static str)] =
        &[("id", "The id that the server assigned."), ("path", "Its path, with a slash at the end.")];

    fn path(&self) -> String {
        format!("sys/namespaces/{}", self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// A namespace that is being deleted can be read until its content is deleted.
    fn is_set(told: &Value) -> bool {
        told["tainted"] != true
    }

    async fn attachments(&self, client: &VaultClient, _: &Value) -> Result<Vec<Attachment>> {
        content::of_namespace(client, &self.name).await
    }

    /// The server sets all other reported fields itself.
    fn kept(&self, mut reported: Map<String, Value>, _: &Self) -> Map<String, Value> {
        reported.retain(|name, value| name == "custom_metadata" && !value.is_null());
        reported
    }

    fn broken(told: &Value) -> Option<(&'static str, String)> {
        let locked = told["locked"] == true;
        let why = "the namespace is locked: the server refuses every request in it; unlock it with \
                   `POST sys/namespaces/api-lock/unlock`";
        locked.then(|| ("locked", why.to_owned()))
    }

    fn check(&self) -> Vec<FieldError> {
        let reserved = ["root", "sys", "audit", "auth", "cubbyhole", "identity"];
        let taken = reserved
            .contains(&self.name.as_str())
            .then(|| FieldError::new("name", "is reserved by the server"));
        check_name("name", &self.name).into_iter().chain(taken).collect()
    }
}
