//! The Google Cloud method's access to Google Cloud:
//! <https://developer.hashicorp.com/vault/api-docs/auth/gcp#configure>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::notation::Names;
use super::super::server::Plugin;
use super::{Making, Object, PlainObject, check_one_of};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::providers::vault::risk::METADATA;
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, Destination};
use crate::resource::risk::{Risks, changed, identity, safe};
use crate::secret::SecretSource;

/// The Google Cloud method's configuration, with which it verifies logins.
pub type GcpAuth = Object<GcpAuthSpec>;

/// The declared fields of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GcpAuthSpec {
    /// The method's path below `auth/`.
    #[serde(default = "mount")]
    pub mount: String,
    /// The credentials file of a service account, as JSON; without it the server uses the
    /// credentials of its environment. It cannot be read back: a new value is sent only together
    /// with another change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretSource>,
    /// The alias name of a service account: `role_id` or `unique_id`.
    #[serde(default = "role_id")]
    pub iam_alias: String,
    /// Metadata recorded for a service account that logs in. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_metadata: Option<Names>,
    /// The alias name of an instance: `role_id` or `instance_id`.
    #[serde(default = "role_id")]
    pub gce_alias: String,
    /// Metadata recorded for an instance that logs in. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gce_metadata: Option<Names>,
    /// Endpoints to use instead of Google's, by `api`, `iam`, `crm` and `compute`. Not managed when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_endpoint: Option<BTreeMap<String, String>>,
}

fn mount() -> String {
    "gcp".to_owned()
}

fn role_id() -> String {
    "role_id".to_owned()
}

impl PlainObject for GcpAuthSpec {
    const KIND: &'static str = "vault.gcp_auth";
    const GRANTS: Granting = Granting::Never("it says how logins are proven; roles say what they get");
    const ABOUT: &'static str =
        "The Google Cloud method's configuration, with which it verifies logins. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
gcp_logins:
  kind: vault.auth_method
  type: gcp
gcp_client:
  kind: vault.gcp_auth
  credentials: { env: GCP_CREDENTIALS }
  iam_alias: unique_id
";
    const RISKS: Risks = &[&[
        identity("mount"),
        safe("credentials", "it opens nothing in Vault"),
        changed("iam_alias gce_alias")
            .medium(BroaderGrant, "logins are recognised, and get policies, by another name (`{field}`)"),
        changed("iam_metadata gce_metadata").low(BroaderGrant, METADATA),
        changed("custom_endpoint").high(Destination, "another server says who may log in"),
    ]];
    const PROOF: Proof = Proof::InSync("Google itself checks a login; only a machine there can pass it");
    const IDENTITY: &'static [&'static str] = &["mount"];
    const MAKING: Making = Making::Unknown;
    const OUTPUTS: &'static [(&'static str, &'static str)] = &[
        ("client_email", "The service account of the credentials."),
        ("project_id", "The project of the credentials."),
    ];
    const PERMANENT: Option<&'static str> =
        Some("the configuration is deleted with its auth method; remove the step of the method instead");
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("gcp"));

    fn path(&self) -> String {
        format!("auth/{}/config", self.mount)
    }

    fn name(&self) -> &str {
        &self.mount
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> =
            check_one_of("iam_alias", &self.iam_alias, &["role_id", "unique_id"]).into_iter().collect();
        errors.extend(check_one_of("gce_alias", &self.gce_alias, &["role_id", "instance_id"]));
        for (name, noted) in [("iam_metadata", &self.iam_metadata), ("gce_metadata", &self.gce_metadata)] {
            // The server responds with the list that `default` stands for.
            if noted.iter().flat_map(Names::iter).any(|name| name == "default") {
                let help = "omit the field, or list the names";
                errors.push(FieldError::new(name, "`default` is not a name").help(help));
            }
        }
        let known = ["api", "iam", "crm", "compute"];
        let services = self.custom_endpoint.iter().flatten().map(|(service, _)| service);
        errors.extend(services.filter_map(|service| check_one_of("custom_endpoint", service, &known)));
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.auth_method", &self.mount)]
    }

    fn secrets(&mut self) -> Vec<(&'static str, &mut SecretSource)> {
        self.credentials.iter_mut().map(|source| ("credentials", source)).collect()
    }

    /// A method that was never configured reports only the default metadata.
    fn is_set(told: &Value) -> bool {
        ["iam_alias", "gce_alias", "client_email", "custom_endpoint"]
            .iter()
            .any(|name| !told[*name].is_null())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::live_of;
    use super::*;
    use crate::resource::{Diff, Resource};

    #[test]
    fn unconfigured_method_counts_as_absent() {
        let noted = json!({ "gce_metadata": ["zone"], "iam_metadata": ["role"] });
        assert!(!GcpAuthSpec::is_set(&noted));
        assert!(GcpAuthSpec::is_set(&json!({ "client_email": "a@b", "gce_metadata": [] })));
    }

    #[test]
    fn credentials_are_reported_partly_and_not_compared() {
        // A response according to the documentation and the method's source.
        let told = json!({
            "client_email": "service-account@project-123456.iam.gserviceaccount.com",
            "client_id": "123456789101112131415", "private_key_id": "97fd7ba59a96e1f3830296aedb4f50879e4d5382",
            "project_id": "project-123456", "iam_alias": "unique_id",
            "iam_metadata": ["service_account_email", "project_id"], "gce_metadata": ["zone"],
        });
        let declared = json!({
            "credentials": { "env": "CREDENTIALS" }, "iam_alias": "unique_id",
            "iam_metadata": ["project_id", "service_account_email"],
        });
        let declared: GcpAuthSpec = serde_json::from_value(declared).expect("valid");
        let live = live_of(&declared, &told);
        assert_eq!(GcpAuth::diff(&declared, &live), Diff::none());
        assert_eq!(json!(GcpAuth::outputs(&live))["project_id"], "project-123456");
    }

    #[test]
    fn mistakes_are_found_by_check() {
        let errors = |value| GcpAuth::check(&serde_json::from_value(value).expect("valid")).len();
        assert_eq!(errors(json!({ "iam_alias": "instance_id", "iam_metadata": ["default"] })), 2);
        assert_eq!(errors(json!({ "custom_endpoint": { "iam": "https://a", "s3": "https://b" } })), 1);
        assert_eq!(errors(json!({ "gce_alias": "instance_id" })), 0);
    }
}
