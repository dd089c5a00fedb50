//! The short form of a key policy: who may use a key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::FieldError;
use crate::providers::aws::is_account_id;
use crate::providers::aws::policy::Document;

/// The principals that may use or manage a key. All others are denied access.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Whether the account's own IAM policies can grant access to the key. Without it, only the
    /// principals named here have access, and removing them locks the key permanently.
    #[serde(default = "yes")]
    pub account: bool,
    /// ARNs of users and roles, or accounts, that manage the key and cannot use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admins: Vec<String>,
    /// ARNs of users and roles, or accounts, that use the key, and let services of AWS use it for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Services that use the key, e.g. `logs.us-east-1.amazonaws.com`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}

fn yes() -> bool {
    true
}

/// The actions for managing a key, as in the console's policy for key administrators.
/// <https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html>
const MANAGE: [&str; 15] = [
    "kms:CancelKeyDeletion",
    "kms:Create*",
    "kms:Delete*",
    "kms:Describe*",
    "kms:Disable*",
    "kms:Enable*",
    "kms:Get*",
    "kms:List*",
    "kms:Put*",
    "kms:Revoke*",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:Update*",
];

impl Access {
    /// The policy of a key in this account with this usage.
    pub fn policy(&self, partition: &str, account: &str, usage: &str) -> Document {
        let mut statements = Vec::new();
        if self.account {
            let root = format!("arn:{partition}:iam::{account}:root");
            statements.push(allow("Enable IAM User Permissions", json!({ "AWS": root }), json!("kms:*")));
        }
        if !self.admins.is_empty() {
            statements.push(allow("Administrators", json!({ "AWS": self.admins }), json!(MANAGE)));
        }
        if !self.users.is_empty() {
            statements.push(allow("Users", json!({ "AWS": self.users }), using(usage)));
            let actions = json!(["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"]);
            let mut grants = allow("UsersForServices", json!({ "AWS": self.users }), actions);
            grants["Condition"] = json!({ "Bool": { "kms:GrantIsForAWSResource": "true" } });
            statements.push(grants);
        }
        if !self.services.is_empty() {
            statements.push(allow("Services", json!({ "Service": self.services }), using(usage)));
        }
        Document::of(statements)
    }

    /// Finds mistakes.
    pub fn check(&self) -> Vec<FieldError> {
        let mut found = Vec::new();
        if !self.account && self.admins.is_empty() {
            let mistake = FieldError::new("access", "no principal could manage the key");
            found.push(mistake.help("name `admins`, or leave `account` on"));
        }
        for (field, names) in [("admins", &self.admins), ("users", &self.users)] {
            let wrong = names.iter().enumerate().filter(|(_, name)| !is_principal(name));
            found.extend(wrong.map(|(index, _)| {
                FieldError::new(format!("access.{field}[{index}]"), "neither an ARN nor an account")
                    .help("e.g. `{{ step_id.arn }}` or `\"123456789012\"`")
            }));
        }
        let wrong = self.services.iter().enumerate().filter(|(_, name)| !is_service(name));
        found.extend(wrong.map(|(index, _)| {
            FieldError::new(format!("access.services[{index}]"), "not the name of a service")
                .help("e.g. `logs.us-east-1.amazonaws.com`")
        }));
        found
    }
}

fn is_principal(name: &str) -> bool {
    is_account_id(name) || name.starts_with("arn:")
}

fn is_service(name: &str) -> bool {
    name.contains(".amazonaws.")
}

/// The actions for using a key, which depend on its usage.
fn using(usage: &str) -> Value {
    match usage {
        "SIGN_VERIFY" => json!(["kms:DescribeKey", "kms:GetPublicKey", "kms:Sign", "kms:Verify"]),
        "GENERATE_VERIFY_MAC" => json!(["kms:DescribeKey", "kms:GenerateMac", "kms:VerifyMac"]),
        "KEY_AGREEMENT" => json!(["kms:DeriveSharedSecret", "kms:DescribeKey", "kms:GetPublicKey"]),
        _ => {
            json!(["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"])
        }
    }
}

fn allow(sid: &str, principal: Value, actions: Value) -> Value {
    json!({ "Sid": sid, "Effect": "Allow", "Principal": principal, "Action": actions, "Resource": "*" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::aws::policy::PolicyType;

    fn access(value: Value) -> Access {
        serde_json::from_value(value).expect("valid")
    }

    #[test]
    fn each_access_group_makes_a_valid_statement() {
        let role = "arn:aws:iam::123456789012:role/r";
        let all = access(
            json!({ "admins": [role], "users": [role], "services": ["logs.us-east-1.amazonaws.com"] }),
        );
        assert!(all.check().is_empty());
        let document = all.policy("aws-cn", "123456789012", "ENCRYPT_DECRYPT");
        assert!(document.check("policy", PolicyType::Resource).is_empty());
        let statements = document.statements();
        let sids: Vec<&str> = statements.iter().filter_map(|statement| statement["Sid"].as_str()).collect();
        assert_eq!(
            sids,
            ["Enable IAM User Permissions", "Administrators", "Users", "UsersForServices", "Services"]
        );
        assert_eq!(statements[0]["Principal"]["AWS"], "arn:aws-cn:iam::123456789012:root");
        assert_eq!(statements[4]["Principal"]["Service"], json!(["logs.us-east-1.amazonaws.com"]));
    }

    #[test]
    fn user_actions_match_the_key_usage() {
        let key = access(json!({ "account": false, "admins": ["123456789012"], "users": ["123456789012"] }));
        let statements = key.policy("aws", "1", "SIGN_VERIFY").statements();
        assert_eq!(
            statements[1]["Action"],
            json!(["kms:DescribeKey", "kms:GetPublicKey", "kms:Sign", "kms:Verify"])
        );
    }

    #[test]
    fn lockout_and_invalid_names_are_refused() {
        let paths = |value: Value| -> Vec<String> {
            access(value).check().into_iter().map(|mistake| mistake.path).collect()
        };
        assert_eq!(paths(json!({ "account": false })), ["access"]);
        let wrong = json!({ "admins": ["ci"], "users": ["123456789012", "x"], "services": ["logs"] });
        assert_eq!(paths(wrong), ["access.admins[0]", "access.users[1]", "access.services[0]"]);
    }
}
