//! The AWS method's access to AWS:
//! <https://developer.hashicorp.com/vault/api-docs/auth/aws#configure-client>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::notation::HeaderNames;
use super::super::server::Plugin;
use super::{Making, Object, PlainObject};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, Destination, ProtectionOff};
use crate::resource::risk::{Risks, added, changed, identity, replaced, safe, turned_on, unbound};
use crate::secret::SecretSource;

/// The AWS method's client configuration, with which it verifies logins.
pub type AwsAuth = Object<AwsAuthSpec>;

/// The declared fields of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsAuthSpec {
    /// The method's path below `auth/`.
    #[serde(default = "mount")]
    pub mount: String,
    /// The id of the access key; when empty, the server uses the credentials of its environment.
    #[serde(default)]
    pub access_key: String,
    /// The secret access key. It cannot be read back: a new value is sent only together with another
    /// change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<SecretSource>,
    /// The role that the server assumes with an identity token of its own. HashiCorp Vault
    /// Enterprise. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The endpoint of EC2; empty is AWS itself.
    #[serde(default)]
    pub endpoint: String,
    /// The endpoint of IAM; empty is AWS itself.
    #[serde(default)]
    pub iam_endpoint: String,
    /// The endpoint of STS; empty is AWS itself.
    #[serde(default)]
    pub sts_endpoint: String,
    /// The region of `sts_endpoint`.
    #[serde(default)]
    pub sts_region: String,
    /// Use STS in the region that a login names, instead of `sts_endpoint`.
    #[serde(default)]
    pub use_sts_region_from_client: bool,
    /// The value that the header `X-Vault-AWS-IAM-Server-ID` of a login must have, so that a login
    /// to another server cannot be replayed here; empty disables the check.
    #[serde(default)]
    pub iam_server_id_header_value: String,
    /// Headers that a login may sign in addition to those that STS expects.
    #[serde(default)]
    pub allowed_sts_header_values: HeaderNames,
    /// How often a failed request is retried; -1 is the SDK's default.
    #[serde(default = "as_the_sdk")]
    pub max_retries: i64,
}

fn mount() -> String {
    "aws".to_owned()
}

const fn as_the_sdk() -> i64 {
    -1
}

impl PlainObject for AwsAuthSpec {
    const KIND: &'static str = "vault.aws_auth";
    const GRANTS: Granting = Granting::Never("it says how logins are proven; roles say what they get");
    const ABOUT: &'static str =
        "The AWS method's client configuration, with which it verifies logins. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
aws_logins:
  kind: vault.auth_method
  type: aws
aws_client:
  kind: vault.aws_auth
  iam_server_id_header_value: vault.example.internal
  sts_endpoint: https://sts.eu-central-1.amazonaws.com
  sts_region: eu-central-1
";
    const RISKS: Risks = &[&[
        identity("mount"),
        changed("access_key role_arn")
            .low(BroaderGrant, "the method works with other rights in AWS (`{field}`)"),
        safe("secret_key", "it opens nothing in Vault"),
        changed("endpoint iam_endpoint sts_endpoint")
            .high(Destination, "another server says who may log in (`{field}`)"),
        turned_on("use_sts_region_from_client")
            .low(BroaderGrant, "the caller chooses the region that verifies the login"),
        unbound("iam_server_id_header_value")
            .medium(ProtectionOff, "a login to another server can be replayed here"),
        replaced("iam_server_id_header_value")
            .low(BroaderGrant, "takes logins that were made for another server"),
        added("allowed_sts_header_values").low(BroaderGrant, "logins may sign more headers"),
        safe("sts_region max_retries", "it decides only how AWS is reached"),
    ]];
    const PROOF: Proof = Proof::InSync("AWS itself checks a login; only a machine there can pass it");
    const IDENTITY: &'static [&'static str] = &["mount"];
    const MAKING: Making = Making::Unknown;
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("aws"));

    fn path(&self) -> String {
        format!("auth/{}/config/client", self.mount)
    }

    fn name(&self) -> &str {
        &self.mount
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.access_key.is_empty() != self.secret_key.is_none() {
            errors.push(FieldError::new("secret_key", "must be given together with `access_key`"));
        }
        if self.sts_endpoint.is_empty() != self.sts_region.is_empty() {
            errors.push(FieldError::new("sts_region", "must be given together with `sts_endpoint`"));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.auth_method", &self.mount)]
    }

    fn secrets(&mut self) -> Vec<(&'static str, &mut SecretSource)> {
        self.secret_key.iter_mut().map(|source| ("secret_key", source)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::live_of;
    use super::*;
    use crate::resource::{Diff, Resource};

    #[test]
    fn servers_notation_is_not_a_change() {
        // A response according to the documentation and the method's source.
        let told = json!({
            "access_key": "VKIAJBRHKH6EVTTNXDHA", "endpoint": "", "iam_endpoint": "", "sts_endpoint": "",
            "sts_region": "", "use_sts_region_from_client": false, "iam_server_id_header_value": "",
            "max_retries": -1, "role_arn": "", "identity_token_ttl": 0,
            "allowed_sts_header_values": ["X-Team", "X-Amz-Extra"],
        });
        let declared = json!({
            "access_key": "VKIAJBRHKH6EVTTNXDHA", "secret_key": { "env": "KEY" },
            "allowed_sts_header_values": ["x-amz-extra", "X-team"],
        });
        let declared: AwsAuthSpec = serde_json::from_value(declared).expect("valid");
        assert_eq!(AwsAuth::diff(&declared, &live_of(&declared, &told)), Diff::none());
    }

    #[test]
    fn older_servers_shorter_response_is_understood() {
        let told = json!({ "access_key": "", "endpoint": "", "allowed_sts_header_values": null });
        let declared: AwsAuthSpec = serde_json::from_value(json!({})).expect("valid");
        assert_eq!(AwsAuth::diff(&declared, &live_of(&declared, &told)), Diff::none());
    }

    #[test]
    fn incomplete_pairs_are_refused() {
        let errors = |value| AwsAuth::check(&serde_json::from_value(value).expect("valid")).len();
        assert_eq!(errors(json!({ "access_key": "A", "sts_region": "eu-west-1" })), 2);
        assert_eq!(errors(json!({})), 0);
    }
}
