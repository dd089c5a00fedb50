//! Entities: <https://openbao.org/api-docs/secret/identity/entity/>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::notation::PolicyNames;
use super::super::{VaultClient, content};
use super::{Object, PlainObject, check_name, policies};
use crate::access::{Grant, Granting, Principal};
use crate::error::{FieldError, Result};
use crate::proof::Proof;
use crate::providers::vault::risk::{METADATA, of_policy_names};
use crate::resource::risk::Category::BroaderGrant;
use crate::resource::risk::{Risks, analysed, changed, identity, turned_off};
use crate::resource::{Attachment, Requirement};

/// A person or machine, independent of the login method.
pub type Entity = Object<EntitySpec>;

/// The declared fields of an entity.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntitySpec {
    /// The entity's name.
    pub name: String,
    /// Policies of its tokens, in addition to those of the login. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<PolicyNames>,
    /// Metadata for policy templates. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Its tokens are refused.
    #[serde(default)]
    pub disabled: bool,
}

impl PlainObject for EntitySpec {
    const KIND: &'static str = "vault.entity";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A person or machine in Vault, independent of the login method.";
    const EXAMPLE: &'static str = "\
payments_service:
  kind: vault.entity
  name: payments
  policies: [payments-app]
  metadata: { team: payments }
";
    const RISKS: Risks = &[&[
        identity("name"),
        analysed("policies", of_policy_names),
        changed("metadata").low(BroaderGrant, METADATA),
        turned_off("disabled").medium(BroaderGrant, "its tokens are let in again"),
    ]];
    const PROOF: Proof = Proof::InSync("it takes effect at a login of one of its aliases");
    const IDENTITY: &'static [&'static str] = &["name"];
    const FOLDS_CASE: bool = true;
    const OUTPUTS: &'static [(&'static str, &'static str)] = &[("id", "The id that the server assigned.")];

    fn path(&self) -> String {
        format!("identity/entity/name/{}", self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn grants(&self) -> Vec<Grant> {
        let facts = self.metadata.iter().flatten();
        let principal = Principal {
            sort: "Vault entity",
            name: self.name.clone(),
            policies: self.policies.iter().flat_map(PolicyNames::iter).map(ToOwned::to_owned).collect(),
            facts: facts.map(|(key, value)| (format!("metadata.{key}"), value.clone())).collect(),
            is_disabled: self.disabled,
            ..Principal::default()
        };
        vec![Grant::Principal(principal)]
    }

    async fn attachments(&self, _: &VaultClient, told: &Value) -> Result<Vec<Attachment>> {
        Ok(content::aliases("vault.entity_alias", &told["aliases"]))
    }

    fn check(&self) -> Vec<FieldError> {
        check_name("name", &self.name).into_iter().collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        policies(self.policies.iter().flat_map(PolicyNames::iter)).collect()
    }
}
