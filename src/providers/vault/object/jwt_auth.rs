//! The configuration of the JWT method: <https://openbao.org/api-docs/auth/jwt/#configure>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::notation::{Names, Pem};
use super::{Object, PlainObject};
use crate::resource::{FieldError, Requirement};
use crate::secret::SecretSource;

/// How the signatures of JWTs are checked.
pub type JwtAuth = Object<JwtAuthSpec>;

/// The declared fields of the configuration. Exactly one of `oidc_discovery_url`, `jwks_url` and
/// `jwt_validation_pubkeys` says where the keys come from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtAuthSpec {
    /// The method's path below `auth/`.
    #[serde(default = "mount")]
    pub mount: String,
    /// The issuer whose discovery document names the keys, e.g.
    /// `https://token.actions.githubusercontent.com`. The server fetches it at once.
    #[serde(default)]
    pub oidc_discovery_url: String,
    /// The authority of the issuer's certificate; empty is the system's.
    #[serde(default)]
    pub oidc_discovery_ca_pem: Pem,
    /// A key set.
    #[serde(default)]
    pub jwks_url: String,
    /// The authority of the key set's server; empty is the system's.
    #[serde(default)]
    pub jwks_ca_pem: Pem,
    /// Public keys themselves.
    #[serde(default)]
    pub jwt_validation_pubkeys: Vec<Pem>,
    /// The only issuer that is accepted; empty is any.
    #[serde(default)]
    pub bound_issuer: String,
    /// The role of a login that names none.
    #[serde(default)]
    pub default_role: String,
    /// Signature algorithms that are accepted; none is the method's choice.
    #[serde(default)]
    pub jwt_supported_algs: Names,
    /// As whom the server asks the issuer about people with a browser (OIDC); empty is for machines
    /// alone.
    #[serde(default)]
    pub oidc_client_id: String,
    /// The secret that goes with `oidc_client_id`. It cannot be read back: a new value is sent only
    /// together with another change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc_client_secret: Option<SecretSource>,
}

fn mount() -> String {
    "jwt".to_owned()
}

impl PlainObject for JwtAuthSpec {
    const KIND: &'static str = "vault.jwt_auth";
    const ABOUT: &'static str =
        "How a JWT method checks signatures: an OIDC issuer, a key set or public keys.";
    const EXAMPLE: &'static str = "\
github_actions:
  kind: vault.jwt_auth
  mount: github
  oidc_discovery_url: https://token.actions.githubusercontent.com
  bound_issuer: https://token.actions.githubusercontent.com
";
    const IDENTITY: &'static [&'static str] = &["mount"];
    const REPLACED_WHOLE: bool = true;
    const PERMANENT: Option<&'static str> =
        Some("the configuration goes away with its auth method; remove that step's method instead");

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
        // Every change replaces the secret as well.
        if self.oidc_client_id.is_empty() != self.oidc_client_secret.is_none() {
            let message = "comes together with `oidc_client_id`";
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

    /// A method that was never configured answers with empty fields.
    fn is_set(told: &Value) -> bool {
        let filled = |name: &str| match told.get(name) {
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            _ => false,
        };
        ["oidc_discovery_url", "jwks_url", "jwt_validation_pubkeys"].into_iter().any(filled)
    }
}
