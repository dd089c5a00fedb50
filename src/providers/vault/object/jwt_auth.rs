//! The configuration of the JWT method: <https://openbao.org/api-docs/auth/jwt/#configure>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::notation::{Names, Pem};
use super::{Object, PlainObject};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, Destination, ProtectionOff};
use crate::resource::risk::{Risks, added, changed, identity, replaced, safe, unbound, widened};
use crate::secret::SecretSource;

/// The verification of JWT signatures.
pub type JwtAuth = Object<JwtAuthSpec>;

/// The declared fields of the configuration. Exactly one of `oidc_discovery_url`, `jwks_url` and
/// `jwt_validation_pubkeys` provides the keys.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtAuthSpec {
    /// The method's path below `auth/`.
    #[serde(default = "mount")]
    pub mount: String,
    /// The issuer whose discovery document lists the keys, e.g.
    /// `https://token.actions.githubusercontent.com`. The server fetches it immediately.
    #[serde(default)]
    pub oidc_discovery_url: String,
    /// The CA of the issuer's certificate; empty is the system's.
    #[serde(default)]
    pub oidc_discovery_ca_pem: Pem,
    /// The address of a key set (JWKS).
    #[serde(default)]
    pub jwks_url: String,
    /// The CA of the key set's server; empty is the system's.
    #[serde(default)]
    pub jwks_ca_pem: Pem,
    /// Public keys.
    #[serde(default)]
    pub jwt_validation_pubkeys: Vec<Pem>,
    /// The only accepted issuer; empty allows all.
    #[serde(default)]
    pub bound_issuer: String,
    /// The role of a login that does not name one.
    #[serde(default)]
    pub default_role: String,
    /// Accepted signature algorithms; an empty list is the method's default.
    #[serde(default)]
    pub jwt_supported_algs: Names,
    /// The client id with which the server identifies itself to the issuer for logins with a
    /// browser (OIDC); leave it empty if only machines log in.
    #[serde(default)]
    pub oidc_client_id: String,
    /// The secret of `oidc_client_id`. It cannot be read back: a new value is sent only together
    /// with another change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc_client_secret: Option<SecretSource>,
}

fn mount() -> String {
    "jwt".to_owned()
}

impl PlainObject for JwtAuthSpec {
    const KIND: &'static str = "vault.jwt_auth";
    const GRANTS: Granting = Granting::Never("it says how logins are proven; roles say what they get");
    const ABOUT: &'static str =
        "A JWT method's signature verification: an OIDC issuer, a key set or public keys.";
    const EXAMPLE: &'static str = "\
github_actions:
  kind: vault.jwt_auth
  mount: github
  oidc_discovery_url: https://token.actions.githubusercontent.com
  bound_issuer: https://token.actions.githubusercontent.com
";
    const RISKS: Risks = &[&[
        identity("mount"),
        changed("oidc_discovery_url jwks_url")
            .high(Destination, "another issuer says who may log in (`{field}`)"),
        changed("oidc_discovery_ca_pem jwks_ca_pem")
            .medium(Destination, "trusts another authority to be the issuer"),
        added("jwt_validation_pubkeys").high(BroaderGrant, "takes tokens that are signed with another key"),
        unbound("bound_issuer").medium(ProtectionOff, "takes tokens of every issuer"),
        replaced("bound_issuer").medium(BroaderGrant, "takes tokens of another issuer"),
        changed("default_role").low(BroaderGrant, "logins that name no role get another one"),
        widened("jwt_supported_algs").low(BroaderGrant, "takes more signature algorithms"),
        replaced("oidc_client_id")
            .low(Destination, "logins with a browser are for another client of the issuer"),
        safe("oidc_client_secret", "it opens nothing in Vault"),
    ]];
    const PROOF: Proof = Proof::InSync("only a token of its issuer tries it; its roles are proven with one");
    const IDENTITY: &'static [&'static str] = &["mount"];
    const REPLACED_WHOLE: bool = true;
    const PERMANENT: Option<&'static str> =
        Some("the configuration is deleted with its auth method; remove the step of the method instead");

    fn path(&self) -> String {
        format!("auth/{}/config", self.mount)
    }

    fn name(&self) -> &str {
        &self.mount
    }

    fn check(&self) -> Vec<FieldError> {
        let given = [
            !self.oidc_discovery_url.is_empty(),
            !self.jwks_url.is_empty(),
            !self.jwt_validation_pubkeys.is_empty(),
        ];
        let mut errors = Vec::new();
        if given.iter().filter(|given| **given).count() != 1 {
            let message =
                "exactly one of `oidc_discovery_url`, `jwks_url` and `jwt_validation_pubkeys` is needed";
            errors.push(FieldError::new("", message));
        }
        // Every change also replaces the secret.
        if self.oidc_client_id.is_empty() != self.oidc_client_secret.is_none() {
            let message = "must be given together with `oidc_client_id`";
            errors.push(FieldError::new("oidc_client_secret", message));
        }
        if !self.oidc_client_id.is_empty() && self.oidc_discovery_url.is_empty() {
            errors.push(FieldError::new("oidc_client_id", "needs `oidc_discovery_url`"));
        }
        errors
    }

    fn secrets(&mut self) -> Vec<(&'static str, &mut SecretSource)> {
        self.oidc_client_secret.iter_mut().map(|source| ("oidc_client_secret", source)).collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.auth_method", &self.mount)]
    }

    /// A method that was never configured responds with empty fields.
    fn is_set(told: &Value) -> bool {
        let filled = |name: &str| match told.get(name) {
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            _ => false,
        };
        ["oidc_discovery_url", "jwks_url", "jwt_validation_pubkeys"].into_iter().any(filled)
    }
}
