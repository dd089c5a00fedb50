//! Token roles: <https://openbao.org/api-docs/auth/token/#create-update-token-role>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::notation::{Cidrs, Names, PolicyNames, Ttl};
use super::{Object, PlainObject, check_name, policies};
use crate::resource::{FieldError, Requirement};

/// A role by which tokens are made with `auth/token/create/NAME`.
pub type TokenRole = Object<TokenRoleSpec>;

/// The declared fields of a token role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRoleSpec {
    /// The role's name.
    pub name: String,
    /// Policies that a token may have; none means those of its maker.
    #[serde(default)]
    pub allowed_policies: PolicyNames,
    /// As `allowed_policies`, with `*` for any text.
    #[serde(default)]
    pub allowed_policies_glob: PolicyNames,
    /// Policies that a token may not have.
    #[serde(default)]
    pub disallowed_policies: PolicyNames,
    /// As `disallowed_policies`, with `*` for any text.
    #[serde(default)]
    pub disallowed_policies_glob: PolicyNames,
    /// Entity aliases that a token may be made for.
    #[serde(default)]
    pub allowed_entity_aliases: Names,
    /// Tokens outlive the token that made them.
    #[serde(default)]
    pub orphan: bool,
    /// Tokens can be renewed.
    #[serde(default = "renewable")]
    pub renewable: bool,
    /// A suffix of the path at which tokens are made, to revoke them by.
    #[serde(default)]
    pub path_suffix: String,
    /// Tokens can be renewed for ever, each time for this long; 0 is not so.
    #[serde(default)]
    pub token_period: Ttl,
    /// A limit that even periodic tokens have; 0 is none.
    #[serde(default)]
    pub token_explicit_max_ttl: Ttl,
    /// Without the policy `default`.
    #[serde(default)]
    pub token_no_default_policy: bool,
    /// `service` or `batch`, or `default-service`, `default-batch` for what a request may change.
    #[serde(default = "token_type")]
    pub token_type: String,
    /// Networks from which tokens can be used; none is any.
    #[serde(default)]
    pub token_bound_cidrs: Cidrs,
}

const fn renewable() -> bool {
    true
}

fn token_type() -> String {
    "default-service".to_owned()
}

impl PlainObject for TokenRoleSpec {
    const KIND: &'static str = "vault.token_role";
    const ABOUT: &'static str = "A role by which tokens are made, with the policies they may have.";
    const EXAMPLE: &'static str = "\
nightly_jobs:
  kind: vault.token_role
  name: nightly-jobs
  allowed_policies: [jobs]
  orphan: true
  token_period: 24h
";
    const IDENTITY: &'static [&'static str] = &["name"];

    fn path(&self) -> String {
        format!("auth/token/roles/{}", self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        check_name("name", &self.name).into_iter().collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        policies(self.allowed_policies.iter()).collect()
    }
}
