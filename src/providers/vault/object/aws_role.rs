//! Roles of the AWS engine:
//! <https://developer.hashicorp.com/vault/api-docs/secret/aws#create-update-role>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::notation::{Names, Ttl};
use super::super::server::Plugin;
use super::{Making, Object, PlainObject, check_name, check_one_of};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::providers::aws::policy::iam_policy;
use crate::providers::aws::risk::{OTHER_ARN, of_boundary, of_managed_policies};
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff};
use crate::resource::risk::{Risks, added, analysed, changed, identity, loosened};

/// AWS credentials that an engine issues on request.
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
    /// Roles to assume, as ARNs; only for `assumed_role`.
    #[serde(default)]
    pub role_arns: Names,
    /// Managed policies, as ARNs.
    #[serde(default)]
    pub policy_arns: Names,
    /// A policy document; none when absent.
    #[serde(default)]
    pub policy_document: Option<Document>,
    /// Groups that the users join.
    #[serde(default)]
    pub iam_groups: Names,
    /// Tags of the users; only for `iam_user`.
    #[serde(default)]
    pub iam_tags: BTreeMap<String, String>,
    /// The default TTL of tokens; 0 is the engine's default.
    #[serde(default)]
    pub default_sts_ttl: Ttl,
    /// The maximum TTL of tokens; 0 is the engine's limit.
    #[serde(default)]
    pub max_sts_ttl: Ttl,
    /// The path of the users; only for `iam_user`.
    #[serde(default)]
    pub user_path: String,
    /// The permissions boundary of the users, as an ARN; only for `iam_user`.
    #[serde(default)]
    pub permissions_boundary_arn: String,
}

/// A policy document, as JSON or as a text that contains JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Value")]
pub struct Document(Value);

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        let read = value.as_str().map(serde_json::from_str);
        match read {
            Some(Ok(document)) => Self(document),
            // Text that is not JSON stays unchanged, and so differs from the declaration.
            Some(Err(_)) | None => Self(value),
        }
    }
}

impl Document {
    /// The text in requests.
    fn text(&self) -> String {
        self.0.as_str().map_or_else(|| self.0.to_string(), str::to_owned)
    }
}

fn mount() -> String {
    "aws".to_owned()
}

const CREDENTIALS: [&str; 4] = ["iam_user", "assumed_role", "federation_token", "session_token"];

impl PlainObject for AwsRoleSpec {
    const KIND: &'static str = "vault.aws_role";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str =
        "AWS credentials that Vault issues on request. HashiCorp Vault, or a plugin of OpenBao.";
    const EXAMPLE: &'static str = "\
deployer:
  kind: vault.aws_role
  name: deployer
  credential_type: assumed_role
  role_arns: [arn:aws:iam::123456789012:role/deployer]
  default_sts_ttl: 1h
";
    const RISKS: Risks = &[&[
        identity("mount name"),
        changed("credential_type").medium(BroaderGrant, "credentials are of another type, with other limits"),
        added("role_arns").medium(BroaderGrant, "may assume more roles"),
        analysed("policy_arns", of_managed_policies),
        iam_policy("policy_document"),
        added("iam_groups").medium(BroaderGrant, "its users join groups, with their permissions"),
        changed("iam_tags").low(BroaderGrant, "policies that ask for tags may allow its users other things"),
        loosened("default_sts_ttl max_sts_ttl").low(BroaderGrant, "credentials last longer (`{field}`)"),
        changed("user_path").low(ProtectionOff, OTHER_ARN),
        analysed("permissions_boundary_arn", of_boundary),
    ]];
    const PROOF: Proof =
        Proof::InSync("what it issues are users or sessions in AWS, whose rights IAM decides");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Unknown;
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
            let error = FieldError::new("role_arns", "is only for `credential_type: assumed_role`");
            errors.push(error.reading("credential_type"));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![
            Requirement::thing("vault.mount", &self.mount),
            Requirement::thing("vault.aws_root", format!("{}/config/root", self.mount)),
        ]
    }

    /// The document is text in responses; an empty text means that there is none.
    fn understand(mut told: Value) -> Value {
        if told["policy_document"] == "" {
            told["policy_document"] = Value::Null;
        }
        told
    }

    fn requests(&self, mut body: Map<String, Value>, _: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        let text = self.policy_document.as_ref().map(Document::text).unwrap_or_default();
        body.insert("policy_document".to_owned(), json!(text));
        vec![(self.path(), body)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::live_of;
    use super::*;
    use crate::resource::Resource;

    #[test]
    fn policy_document_is_compared_as_json() {
        let document = json!({ "Version": "2012-10-17", "Statement": [] });
        let declared = json!({
            "name": "a", "credential_type": "iam_user", "policy_document": document, "default_sts_ttl": "1h",
        });
        let declared: AwsRoleSpec = serde_json::from_value(declared).expect("valid");
        // A response according to the documentation.
        let told = json!({
            "credential_type": "iam_user", "policy_arns": null, "role_arns": null, "iam_groups": null,
            "policy_document": "{\n  \"Version\": \"2012-10-17\", \"Statement\": []}", "default_sts_ttl": 3600,
            "max_sts_ttl": 0, "user_path": "", "permissions_boundary_arn": "", "iam_tags": null,
        });
        assert!(AwsRole::diff(&declared, &live_of(&declared, &told)).is_empty());
        let sent = |declared: &AwsRoleSpec| {
            let body = super::super::fields::fields(declared);
            declared.requests(body, None)[0].1["policy_document"].clone()
        };
        assert_eq!(sent(&declared), json!(document.to_string()));
        // A text is sent as the document that it contains, not as a JSON string.
        let text =
            AwsRoleSpec { policy_document: Some(json!(document.to_string()).into()), ..declared.clone() };
        assert_eq!(sent(&text), sent(&declared));
        assert!(AwsRole::diff(&text, &live_of(&text, &told)).is_empty());
    }

    #[test]
    fn undeclared_document_is_removed() {
        let declared: AwsRoleSpec =
            serde_json::from_value(json!({ "name": "a", "credential_type": "iam_user" })).expect("valid");
        let told = |document: &str| json!({ "credential_type": "iam_user", "policy_document": document });
        for live in [r#"{"Statement":[]}"#, "not JSON"] {
            assert!(
                AwsRole::diff(&declared, &live_of(&declared, &told(live))).touches("policy_document"),
                "{live}"
            );
        }
        assert!(AwsRole::diff(&declared, &live_of(&declared, &told(""))).is_empty());
        let body = super::super::fields::fields(&declared);
        assert_eq!(declared.requests(body, None)[0].1["policy_document"], "");
    }
}
