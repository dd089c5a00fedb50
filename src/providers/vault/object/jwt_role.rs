//! Roles of the JWT method: <https://openbao.org/api-docs/auth/jwt/#create-update-role>.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::fields;
use super::super::notation::Names;
use super::super::role::{check_role, requirements, role_spec};
use super::super::states::login_role;
use super::super::{VaultClient, prove};
use super::{Making, Object, PlainObject};
use crate::access::{Grant, Granting};
use crate::error::FieldError;
use crate::proof::{Proof, Prover};
use crate::providers::vault::risk::{LETS_IN, LOGIN_RISKS, METADATA, TOKEN_RISKS};
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, Destination, ProtectionOff};
use crate::resource::risk::{
    Risks, added, becomes, changed, identity, removed, replaced, safe, unbound, widened,
};
use crate::run::Permission;

/// A role with which holders of a JWT log in.
pub type JwtRole = Object<JwtRoleSpec>;

role_spec! {
    /// The declared fields of a JWT role.
    pub struct JwtRoleSpec {
        /// The method's path below `auth/`.
        #[serde(default = "mount")]
        pub mount: String,
        /// The role's name.
        pub name: String,
        /// `jwt`, for machines with a token, or `oidc`, for people with a browser.
        #[serde(default = "jwt")]
        pub role_type: String,
        /// The claim that identifies the user, e.g. `sub`.
        pub user_claim: String,
        /// Accepted audiences of the token.
        #[serde(default)]
        pub bound_audiences: Names,
        /// The subject that the token must have; empty allows all.
        #[serde(default)]
        pub bound_subject: String,
        /// Claims that the token must have: name to value or list of values.
        #[serde(default)]
        pub bound_claims: BTreeMap<String, Value>,
        /// How `bound_claims` are compared: `string` or `glob`.
        #[serde(default = "string")]
        pub bound_claims_type: String,
        /// Claims that are copied to the token's metadata: name to metadata key.
        #[serde(default)]
        pub claim_mappings: BTreeMap<String, String>,
        /// The claim that lists groups; empty is none.
        #[serde(default)]
        pub groups_claim: String,
        /// Allowed redirect URIs for a browser; only for `oidc` roles.
        #[serde(default)]
        pub allowed_redirect_uris: Names,
        /// Requested scopes; only for `oidc` roles.
        #[serde(default)]
        pub oidc_scopes: Names,
    }
}

fn mount() -> String {
    "jwt".to_owned()
}

fn jwt() -> String {
    "jwt".to_owned()
}

fn string() -> String {
    "string".to_owned()
}

impl JwtRoleSpec {
    /// A role without bounds admits everyone whom the issuer knows.
    fn is_bound(&self) -> bool {
        let unbound = self.bound_audiences == Names::default()
            && self.bound_subject.is_empty()
            && self.bound_claims.is_empty();
        !unbound
    }
}

impl PlainObject for JwtRoleSpec {
    const KIND: &'static str = "vault.jwt_role";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A role of the JWT method, with which machines such as CI jobs log in.";
    const EXAMPLE: &'static str = "\
deploy_job:
  kind: vault.jwt_role
  mount: github
  name: deploy
  user_claim: sub
  bound_audiences: [https://github.com/example]
  bound_claims: { repository: example/app, ref: refs/heads/main }
  token_policies: [deploy]
  token_ttl: 15m
";
    const RISKS: Risks = &[
        &[
            identity("mount name"),
            changed("role_type").low(BroaderGrant, "logs in another way"),
            changed("user_claim")
                .medium(BroaderGrant, "users are recognised by another claim, and may be taken for others"),
            unbound("bound_audiences").medium(ProtectionOff, "takes tokens that were issued for others"),
            widened("bound_audiences").low(BroaderGrant, LETS_IN),
            unbound("bound_subject").high(ProtectionOff, "takes tokens of every subject"),
            replaced("bound_subject").medium(BroaderGrant, "takes tokens of another subject"),
            unbound("bound_claims").high(ProtectionOff, "takes every token of the issuer"),
            removed("bound_claims")
                .medium(BroaderGrant, "claims are no longer asked for, or with other values"),
            becomes("bound_claims_type", "glob")
                .medium(BroaderGrant, "`*` in the bound claims matches any text"),
            changed("claim_mappings").low(BroaderGrant, METADATA),
            changed("groups_claim")
                .medium(BroaderGrant, "users get the groups, and their policies, of another claim"),
            added("allowed_redirect_uris").medium(Destination, "logins may be sent to more addresses"),
            safe("oidc_scopes", "the issuer is asked for these, and other fields bind the claims that count"),
        ],
        TOKEN_RISKS,
        LOGIN_RISKS,
    ];
    const PROOF: Proof =
        Proof::Tried("logs in with a JWT that the caller gives; the token is compared with the role");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Create;
    const FOLDS_CASE: bool = true;
    // OpenBao keeps most fields that a write omits, but not `oidc_disable_confirmation`.
    const REPLACED_WHOLE: bool = true;

    fn path(&self) -> String {
        format!("auth/{}/role/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn grants(&self) -> Vec<Grant> {
        login_role(&self.mount, &self.name, &self.path(), self)
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = check_role(&self.name, self);
        if !["jwt", "oidc"].contains(&self.role_type.as_str()) {
            errors.push(FieldError::new("role_type", "must be `jwt` or `oidc`"));
        }
        if !["string", "glob"].contains(&self.bound_claims_type.as_str()) {
            errors.push(FieldError::new("bound_claims_type", "must be `string` or `glob`"));
        }
        if self.role_type == "jwt" && !self.is_bound() {
            let help = "set `bound_audiences`, `bound_subject` or `bound_claims`";
            errors.push(FieldError::new("", "the role accepts every token of the issuer").help(help));
        }
        errors
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        prove::token_needs(&fields::fields(self))
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, _: &Value) {
        let kind = prove::given::Credential::Jwt;
        prove::given::prove(prover, kind, &desired.mount, &fields::fields(desired)).await;
    }

    fn requires(&self) -> Vec<Requirement> {
        let mut required = requirements(&self.mount, self);
        required.push(Requirement::thing("vault.jwt_auth", format!("auth/{}/config", self.mount)));
        required
    }
}
