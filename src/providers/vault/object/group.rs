//! Groups: <https://openbao.org/api-docs/secret/identity/group/>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::fields::Fixed;
use super::super::notation::{Names, PolicyNames};
use super::super::{VaultClient, content};
use super::{Object, PlainObject, check_name, policies};
use crate::access::{Grant, Granting, Principal};
use crate::error::{FieldError, Result};
use crate::proof::Proof;
use crate::providers::vault::risk::{LETS_IN, METADATA, of_policy_names};
use crate::resource::risk::Category::BroaderGrant;
use crate::resource::risk::{Risks, added, analysed, changed, fixed, identity};
use crate::resource::{Attachment, Requirement};

/// Entities that share policies.
pub type Group = Object<GroupSpec>;

/// The declared fields of a group.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// The group's name.
    pub name: String,
    /// `internal`, with declared members, or `external`, with members determined at login. Fixed.
    #[serde(rename = "type", default = "internal")]
    pub membership: String,
    /// Policies of its members. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<PolicyNames>,
    /// Metadata for policy templates. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Ids of member entities, e.g. `{{ payments_service.id }}`; only for internal groups. Not
    /// managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_entity_ids: Option<Names>,
    /// Ids of member groups; only for internal groups. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_group_ids: Option<Names>,
}

fn internal() -> String {
    "internal".to_owned()
}

impl PlainObject for GroupSpec {
    const KIND: &'static str = "vault.group";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A group of entities or of other groups that share policies.";
    const EXAMPLE: &'static str = "\
on_call:
  kind: vault.group
  name: on-call
  policies: [operations]
";
    const RISKS: Risks = &[&[
        identity("name"),
        fixed("type"),
        analysed("policies", of_policy_names),
        changed("metadata").low(BroaderGrant, METADATA),
        added("member_entity_ids member_group_ids").low(BroaderGrant, LETS_IN),
    ]];
    const PROOF: Proof = Proof::InSync("it takes effect at a login of one of its members");
    const IDENTITY: &'static [&'static str] = &["name"];
    const FOLDS_CASE: bool = true;
    const OUTPUTS: &'static [(&'static str, &'static str)] = &[("id", "The id that the server assigned.")];
    const FIXED: &'static [Fixed] = &[(
        "type",
        "a group cannot change between internal and external; declare another one under a new name",
    )];

    fn path(&self) -> String {
        format!("identity/group/name/{}", self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn grants(&self) -> Vec<Grant> {
        let members = [&self.member_entity_ids, &self.member_group_ids].into_iter().flatten();
        let principal = Principal {
            sort: "Vault group",
            name: self.name.clone(),
            policies: self.policies.iter().flat_map(PolicyNames::iter).map(ToOwned::to_owned).collect(),
            members: members.flat_map(Names::iter).map(ToOwned::to_owned).collect(),
            facts: self.metadata.clone().unwrap_or_default(),
            ..Principal::default()
        };
        vec![Grant::Principal(principal)]
    }

    async fn attachments(&self, _: &VaultClient, told: &Value) -> Result<Vec<Attachment>> {
        Ok(content::aliases("vault.group_alias", &told["alias"]))
    }

    fn check(&self) -> Vec<FieldError> {
        let known = ["internal", "external"].contains(&self.membership.as_str());
        let kind = (!known).then(|| FieldError::new("type", "must be `internal` or `external`"));
        check_name("name", &self.name).into_iter().chain(kind).collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        policies(self.policies.iter().flat_map(PolicyNames::iter)).collect()
    }

    /// The server refuses members of an external group, even an empty list.
    fn requests(&self, mut body: Map<String, Value>, _: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        if self.membership == "external" {
            body.retain(|name, _| !name.starts_with("member_"));
        }
        vec![(self.path(), body)]
    }
}
