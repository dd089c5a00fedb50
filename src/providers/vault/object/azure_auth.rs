//! How the Azure method reaches Azure:
//! <https://developer.hashicorp.com/vault/api-docs/auth/azure#configure>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::notation::Ttl;
use super::super::server::Plugin;
use super::{Object, PlainObject, check_one_of};
use crate::resource::{FieldError, Requirement};
use crate::secret::SecretSource;

/// How the Azure method asks Azure who logs in.
pub type AzureAuth = Object<AzureAuthSpec>;

/// The declared fields of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureAuthSpec {
    /// The method's path below `auth/`.
    #[serde(default = "mount")]
    pub mount: String,
    /// The tenant of the organisation.
    pub tenant_id: String,
    /// The address of the application that logins are for, the audience of their JWTs.
    pub resource: String,
    /// The cloud; empty is `AzurePublicCloud`.
    #[serde(default)]
    pub environment: String,
    /// The application as which the server asks about machines; empty is what the server finds in its
    /// surroundings.
    #[serde(default)]
    pub client_id: String,
    /// The secret that goes with `client_id`. It cannot be read back: a new value is sent only together
    /// with another change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretSource>,
    /// How long a secret lasts that the server makes for the application.
    #[serde(default = "half_a_year")]
    pub root_password_ttl: Ttl,
    /// How often a failed request is repeated.
    #[serde(default = "three")]
    pub max_retries: u32,
    /// The first wait before a request is repeated.
    #[serde(default = "four_seconds")]
    pub retry_delay: Ttl,
    /// The longest wait before a request is repeated.
    #[serde(default = "a_minute")]
    pub max_retry_delay: Ttl,
}

fn mount() -> String {
    "azure".to_owned()
}

const fn half_a_year() -> Ttl {
    Ttl::Seconds(4380 * 3600)
}

const fn three() -> u32 {
    3
}

const fn four_seconds() -> Ttl {
    Ttl::Seconds(4)
}

const fn a_minute() -> Ttl {
    Ttl::Seconds(60)
}

const CLOUDS: [&str; 5] =
    ["", "AzurePublicCloud", "AzureUSGovernmentCloud", "AzureChinaCloud", "AzureGermanCloud"];
const NANOSECONDS: u64 = 1_000_000_000;

impl PlainObject for AzureAuthSpec {
    const KIND: &'static str = "vault.azure_auth";
    const ABOUT: &'static str = "How the Azure method asks Azure who logs in. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
azure_logins:
  kind: vault.auth_method
  type: azure
azure_client:
  kind: vault.azure_auth
  tenant_id: 7cd1f227-ca67-4fc6-a1a4-9888ea7f388c
  resource: https://vault.example.com
  client_id: dd794de4-4c6c-40b3-a930-d84cd32e9699
  client_secret: { env: ENTRA_CLIENT_SECRET }
";
    const IDENTITY: &'static [&'static str] = &["mount"];
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("azure"));

    fn path(&self) -> String {
        format!("auth/{}/config", self.mount)
    }

    fn name(&self) -> &str {
        &self.mount
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> =
            check_one_of("environment", &self.environment, &CLOUDS).into_iter().collect();
        if self.client_id.is_empty() && self.client_secret.is_some() {
            errors.push(FieldError::new("client_secret", "needs `client_id`"));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.auth_method", &self.mount)]
    }

    fn secrets(&mut self) -> Vec<(&'static str, &mut SecretSource)> {
        self.client_secret.iter_mut().map(|source| ("client_secret", source)).collect()
    }

    /// The method takes its waits in seconds and tells them in nanoseconds.
    fn understand(mut told: Value) -> Value {
        for name in ["retry_delay", "max_retry_delay"] {
            if let Some(wait) = told[name].as_u64().filter(|wait| *wait >= NANOSECONDS) {
                told[name] = json!(wait / NANOSECONDS);
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::live_of;
    use super::*;
    use crate::resource::{Diff, Resource};

    #[test]
    fn what_the_server_writes_differently_is_no_change() {
        // As the method's source makes an answer.
        let told = json!({
            "tenant_id": "kd83", "resource": "https://management.azure.com/", "environment": "",
            "client_id": "12ud", "root_password_ttl": 15_768_000, "retry_delay": 5_000_000_000_u64,
            "max_retry_delay": 60_000_000_000_u64, "max_retries": 3, "identity_token_audience": "",
        });
        let declared = json!({
            "tenant_id": "kd83", "resource": "https://management.azure.com/", "client_id": "12ud",
            "client_secret": { "env": "SECRET" }, "retry_delay": "5s",
        });
        let declared: AzureAuthSpec = serde_json::from_value(declared).expect("valid");
        assert_eq!(AzureAuth::diff(&declared, &live_of(&declared, &told)), Diff::none());
    }

    #[test]
    fn an_older_server_tells_less() {
        let told = json!({ "tenant_id": "t", "resource": "r", "environment": "", "client_id": "" });
        let declared: AzureAuthSpec =
            serde_json::from_value(json!({ "tenant_id": "t", "resource": "r" })).expect("valid");
        assert_eq!(AzureAuth::diff(&declared, &live_of(&declared, &told)), Diff::none());
    }
}
