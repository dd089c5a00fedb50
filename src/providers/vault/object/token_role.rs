//! Token roles: <https://openbao.org/api-docs/auth/token/#create-update-token-role>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::fields;
use super::super::notation::{Cidrs, Names, PolicyNames, Ttl};
use super::super::states::login;
use super::super::{VaultClient, prove};
use super::{Making, Object, PlainObject, check_name, policies};
use crate::access::{Grant, Granting};
use crate::error::FieldError;
use crate::proof::{Proof, Prover};
use crate::providers::vault::risk::{TOKEN_RISKS, of_policy_names};
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff, Wildcard};
use crate::resource::risk::{
    Risks, added, analysed, changed, identity, includes, removed, turned_on, unbound,
};
use crate::run::Permission;

/// A role for tokens created with `auth/token/create/NAME`.
pub type TokenRole = Object<TokenRoleSpec>;

/// The declared fields of a token role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRoleSpec {
    /// The role's name.
    pub name: String,
    /// Policies that a token may have; an empty list means those of the creating token.
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
    /// Entity aliases for which a token may be created.
    #[serde(default)]
    pub allowed_entity_aliases: Names,
    /// Tokens outlive the token that created them.
    #[serde(default)]
    pub orphan: bool,
    /// Tokens can be renewed.
    #[serde(default = "renewable")]
    pub renewable: bool,
    /// A suffix of the path at which tokens are created, for revocation by prefix.
    #[serde(default)]
    pub path_suffix: String,
    /// Tokens can be renewed without limit, each time for this long; 0 disables it.
    #[serde(default)]
    pub token_period: Ttl,
    /// A limit that even periodic tokens have; 0 is none.
    #[serde(default)]
    pub token_explicit_max_ttl: Ttl,
    /// Without the policy `default`.
    #[serde(default)]
    pub token_no_default_policy: bool,
    /// `service` or `batch`, or `default-service` or `default-batch` for a type that a request may
    /// change.
    #[serde(default = "token_type")]
    pub token_type: String,
    /// Networks from which tokens can be used; an empty list allows all.
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
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A role for the creation of tokens, with their allowed policies.";
    const EXAMPLE: &'static str = "\
nightly_jobs:
  kind: vault.token_role
  name: nightly-jobs
  allowed_policies: [jobs]
  orphan: true
  token_period: 24h
";
    const RISKS: Risks = &[
        &[
            identity("name"),
            analysed("allowed_policies", of_policy_names),
            unbound("allowed_policies")
                .medium(BroaderGrant, "its tokens may have all policies of the one that creates them"),
            includes("allowed_policies_glob", "*").high(Wildcard, "its tokens may have every policy (`*`)"),
            added("allowed_policies_glob").medium(BroaderGrant, "its tokens may have more policies"),
            removed("disallowed_policies disallowed_policies_glob")
                .medium(BroaderGrant, "policies are no longer kept from its tokens (`{field}`)"),
            includes("allowed_entity_aliases", "*")
                .high(Wildcard, "its tokens may be for every entity (`*`)"),
            added("allowed_entity_aliases").medium(BroaderGrant, "its tokens may be for more entities"),
            turned_on("orphan").medium(ProtectionOff, "its tokens outlive the one that created them"),
            turned_on("renewable").low(BroaderGrant, "its tokens can be renewed"),
            changed("path_suffix")
                .low(ProtectionOff, "a revocation by prefix no longer finds its new tokens"),
        ],
        TOKEN_RISKS,
    ];
    const PROOF: Proof = Proof::Tried("a token is made through it for a minute and compared with the role");
    const IDENTITY: &'static [&'static str] = &["name"];
    const MAKING: Making = Making::Create;

    fn path(&self) -> String {
        format!("auth/token/roles/{}", self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        prove::token_role::needs(&self.name, &fields::fields(self))
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, _: &Value) {
        prove::token_role::prove(prover, &desired.name, &fields::fields(desired)).await;
    }

    fn grants(&self) -> Vec<Grant> {
        let policies = self.allowed_policies.iter();
        login("token", &self.name, &self.path(), policies, self.token_no_default_policy)
    }

    fn check(&self) -> Vec<FieldError> {
        check_name("name", &self.name).into_iter().collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        policies(self.allowed_policies.iter()).collect()
    }
}
