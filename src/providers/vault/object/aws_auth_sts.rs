//! Roles with which the AWS method accesses other AWS accounts:
//! <https://developer.hashicorp.com/vault/api-docs/auth/aws#create-sts-role>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::server::Plugin;
use super::{Making, Object, PlainObject};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::providers::aws::is_account_id;
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff};
use crate::resource::risk::{Risks, changed, identity, replaced, unbound};

/// The role with which the AWS method verifies logins from another account.
pub type AwsAuthSts = Object<AwsAuthStsSpec>;

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsAuthStsSpec {
    /// The method's path below `auth/`.
    #[serde(default = "mount")]
    pub mount: String,
    /// The account, 12 digits.
    pub account_id: String,
    /// The ARN of the role in that account, which trusts the method's own credentials.
    pub sts_role: String,
    /// The external id that the role's trust policy requires. HashiCorp Vault 1.17 or later. Not
    /// managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

fn mount() -> String {
    "aws".to_owned()
}

impl PlainObject for AwsAuthStsSpec {
    const KIND: &'static str = "vault.aws_auth_sts";
    const GRANTS: Granting = Granting::Never("it says how logins are proven; roles say what they get");
    const ABOUT: &'static str =
        "The role with which the AWS method verifies logins from another account. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
aws_logins:
  kind: vault.auth_method
  type: aws
logins_from_production:
  kind: vault.aws_auth_sts
  account_id: \"123456789012\"
  sts_role: arn:aws:iam::123456789012:role/vault-reads-iam
";
    const RISKS: Risks = &[&[
        identity("mount account_id"),
        changed("sts_role").medium(BroaderGrant, "logins of that account are verified with another role"),
        unbound("external_id").medium(ProtectionOff, "the role is assumed without an external id"),
        replaced("external_id").low(BroaderGrant, "the role is assumed with another external id"),
    ]];
    const PROOF: Proof = Proof::InSync("AWS itself checks a login; only a machine there can pass it");
    const IDENTITY: &'static [&'static str] = &["mount", "account_id"];
    const MAKING: Making = Making::Unknown;
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("aws"));

    fn path(&self) -> String {
        format!("auth/{}/config/sts/{}", self.mount, self.account_id)
    }

    fn name(&self) -> &str {
        &self.account_id
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let is_account = is_account_id(&self.account_id);
        if !is_account {
            errors.push(
                FieldError::new("account_id", "is not an AWS account id")
                    .help("write its 12 digits in quotes"),
            );
        }
        let account = self.sts_role.split(':').nth(4);
        if is_account && account != Some(self.account_id.as_str()) {
            let error = FieldError::new("sts_role", "is not a role of that account");
            errors.push(error.reading("account_id"));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.auth_method", &self.mount)]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::Resource;

    #[test]
    fn role_must_belong_to_the_account() {
        let wrong = |account: &str, role: &str| {
            let spec = json!({ "account_id": account, "sts_role": role });
            let errors = AwsAuthSts::check(&serde_json::from_value(spec).expect("valid"));
            errors.into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        let role = "arn:aws:iam::123456789012:role/vault";
        assert_eq!(wrong("123456789012", role), [""; 0]);
        assert_eq!(wrong("210987654321", role), ["sts_role"]);
        assert_eq!(wrong("12345", role), ["account_id"]);
    }
}
