//! The Azure method's access to Azure:
//! <https://developer.hashicorp.com/vault/api-docs/auth/azure#configure>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::notation::Ttl;
use super::super::server::Plugin;
use super::{Making, Object, PlainObject, check_one_of};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, Destination, ProtectionOff};
use crate::resource::risk::{Risks, changed, identity, raised, safe};
use crate::secret::SecretSource;

/// The Azure method's configuration, with which it verifies logins.
pub type AzureAuth = Object<AzureAuthSpec>;

/// The declared fields of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureAuthSpec {
    /// The method's path below `auth/`.
    #[serde(default = "mount")]
    pub mount: String,
    /// The organisation's tenant.
    pub tenant_id: String,
    /// The application id URI for which logins are made: the audience of their JWTs.
    pub resource: String,
    /// The cloud; empty is `AzurePublicCloud`.
    #[serde(default)]
    pub environment: String,
    /// The application with which the server looks up machines; when empty, the server uses the
    /// credentials of its environment.
    #[serde(default)]
    pub client_id: String,
    /// The secret of `client_id`. It cannot be read back: a new value is sent only together with
    /// another change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretSource>,
    /// The TTL of a secret that the server creates for the application.
    #[serde(default = "half_a_year")]
    pub root_password_ttl: Ttl,
    /// How often a failed request is retried.
    #[serde(default = "three")]
    pub max_retries: u32,
    /// The first delay before a retry.
    #[serde(default = "four_seconds")]
    pub retry_delay: Ttl,
    /// The longest delay before a retry.
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
    const GRANTS: Granting = Granting::Never("it says how logins are proven; roles say what they get");
    const ABOUT: &'static str =
        "The Azure method's configuration, with which it verifies logins. HashiCorp Vault.";
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
    const RISKS: Risks = &[&[
        identity("mount"),
        changed("tenant_id").high(Destination, "another organisation says who may log in"),
        changed("resource").medium(BroaderGrant, "takes logins that were made for another application"),
        changed("environment").high(Destination, "another cloud says who may log in"),
        changed("client_id").low(BroaderGrant, "the method works with the rights of another application"),
        safe("client_secret", "it opens nothing in Vault"),
        raised("root_password_ttl").low(ProtectionOff, "secrets of the application last longer"),
        safe("max_retries retry_delay max_retry_delay", "it decides only how Azure is reached"),
    ]];
    const PROOF: Proof = Proof::InSync("Azure itself checks a login; only a machine there can pass it");
    const IDENTITY: &'static [&'static str] = &["mount"];
    const MAKING: Making = Making::Unknown;
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

    /// The method accepts its delays in seconds and reports them in nanoseconds.
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
    fn servers_notation_is_not_a_change() {
        // A response according to the method's source.
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
    fn older_servers_shorter_response_is_understood() {
        let told = json!({ "tenant_id": "t", "resource": "r", "environment": "", "client_id": "" });
        let declared: AzureAuthSpec =
            serde_json::from_value(json!({ "tenant_id": "t", "resource": "r" })).expect("valid");
        assert_eq!(AzureAuth::diff(&declared, &live_of(&declared, &told)), Diff::none());
    }
}
