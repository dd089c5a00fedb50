//! Roles of the AWS engine:
//! <https://developer.hashicorp.com/vault/api-docs/secret/aws#create-update-role>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::notation::{Names, Ttl};
use super::super::server::Plugin;
use super::{Object, PlainObject, check_name, check_one_of};
use crate::resource::{FieldError, Requirement};

/// Credentials of AWS that an engine makes for whoever asks.
pub type AwsRole = Object<AwsRoleSpec>;

/// The declared fields of a role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsRoleSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// The role's name.
    pub name: String,
    /// `iam_user`, `assumed_role`, `federation_token` or `session_token`.
    pub credential_type: String,
    /// Roles to assume, as ARNs; `assumed_role` alone.
    #[serde(default)]
    pub role_arns: Names,
    /// Managed policies, as ARNs.
    #[serde(default)]
    pub policy_arns: Names,
    /// A policy document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_document: Option<Value>,
    /// Groups whose members the users become.
    #[serde(default)]
    pub iam_groups: Names,
    /// Tags of the users; `iam_user` alone.
    #[serde(default)]
    pub iam_tags: BTreeMap<String, String>,
    /// How long tokens last unless said otherwise; 0 is the engine's default.
    #[serde(default)]
    pub default_sts_ttl: Ttl,
    /// How long tokens last at most; 0 is the engine's limit.
    #[serde(default)]
    pub max_sts_ttl: Ttl,
    /// The path of the users; `iam_user` alone.
    #[serde(default)]
    pub user_path: String,
    /// The boundary of the users' permissions, as an ARN; `iam_user` alone.
    #[serde(default)]
    pub permissions_boundary_arn: String,
}

fn mount() -> String {
    "aws".to_owned()
}

const CREDENTIALS: [&str; 4] = ["iam_user", "assumed_role", "federation_token", "session_token"];

impl PlainObject for AwsRoleSpec {
    const KIND: &'static str = "vault.aws_role";
    const ABOUT: &'static str =
        "AWS credentials that Vault makes for whoever asks. HashiCorp Vault, or a plugin of OpenBao.";
    const EXAMPLE: &'static str = "\
deployer:
  kind: vault.aws_role
  name: deployer
  credential_type: assumed_role
  role_arns: [arn:aws:iam::123456789012:role/deployer]
  default_sts_ttl: 1h
";
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Secrets("aws"));

    fn path(&self) -> String {
        format!("{}/roles/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = check_name("name", &self.name).into_iter().collect();
        errors.extend(check_one_of("credential_type", &self.credential_type, &CREDENTIALS));
        if self.role_arns != Names::default() && self.credential_type != "assumed_role" {
            errors.push(FieldError::new("role_arns", "is for `credential_type: assumed_role` alone"));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![
            Requirement::thing("vault.mount", &self.mount),
            Requirement::thing("vault.aws_root", format!("{}/config/root", self.mount)),
        ]
    }

    /// The document is a text on the wire.
    fn understand(mut told: Value) -> Value {
        let document = told["policy_document"].as_str().and_then(|text| serde_json::from_str(text).ok());
        told["policy_document"] = document.unwrap_or(Value::Null);
        told
    }

    fn requests(&self, mut body: Map<String, Value>, _: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        if let Some(document) = &self.policy_document {
            body.insert("policy_document".to_owned(), json!(document.to_string()));
        }
        vec![(self.path(), body)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::live_of;
    use super::*;
    use crate::resource::Resource;

    #[test]
    fn a_policy_document_is_compared_as_json() {
        let document = json!({ "Version": "2012-10-17", "Statement": [] });
        let declared = json!({
            "name": "a", "credential_type": "iam_user", "policy_document": document, "default_sts_ttl": "1h",
        });
        let declared: AwsRoleSpec = serde_json::from_value(declared).expect("valid");
        // As the documentation shows an answer.
        let told = json!({
            "credential_type": "iam_user", "policy_arns": null, "role_arns": null, "iam_groups": null,
            "policy_document": "{\n  \"Version\": \"2012-10-17\", \"Statement\": []}", "default_sts_ttl": 3600,
            "max_sts_ttl": 0, "user_path": "", "permissions_boundary_arn": "", "iam_tags": null,
        });
        assert!(AwsRole::diff(&declared, &live_of(&declared, &told)).is_empty());
        let body = super::super::fields::fields(&declared);
        assert!(declared.requests(body, None)[0].1["policy_document"].is_string());
    }
}
