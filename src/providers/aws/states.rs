//! The statements of AWS's kinds about access.

use serde_json::{Value, json};

use super::arn::partition;
use super::policy::Document;
use crate::access::{Grant, Operation, Target};
use crate::place::Realm;

/// An operation on a thing: the right, the actions, and what follows the thing's ARN.
type Operations = &'static [(&'static str, &'static [&'static str], &'static str)];

pub(super) const BUCKET: Operations = &[
    ("read", &["s3:GetObject"], "/*"),
    ("write", &["s3:PutObject"], "/*"),
    ("delete", &["s3:DeleteObject"], "/*"),
    ("delete versions", &["s3:DeleteObjectVersion"], "/*"),
    ("list", &["s3:ListBucket"], ""),
    ("change policy", &["s3:PutBucketPolicy", "s3:DeleteBucketPolicy"], ""),
    ("delete bucket", &["s3:DeleteBucket"], ""),
];
pub(super) const KEY: Operations = &[
    ("encrypt", &["kms:Encrypt"], ""),
    ("decrypt", &["kms:Decrypt"], ""),
    ("make data keys", &["kms:GenerateDataKey"], ""),
    ("sign", &["kms:Sign"], ""),
    ("grant", &["kms:CreateGrant"], ""),
    ("change policy", &["kms:PutKeyPolicy"], ""),
    ("disable", &["kms:DisableKey"], ""),
    ("delete", &["kms:ScheduleKeyDeletion"], ""),
];
pub(super) const TABLE: Operations = &[
    ("read", &["dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"], ""),
    ("write", &["dynamodb:PutItem", "dynamodb:UpdateItem"], ""),
    ("delete items", &["dynamodb:DeleteItem"], ""),
    ("delete table", &["dynamodb:DeleteTable"], ""),
];
pub(super) const TOPIC: Operations = &[
    ("publish", &["sns:Publish"], ""),
    ("subscribe", &["sns:Subscribe"], ""),
    ("change policy", &["sns:SetTopicAttributes", "sns:AddPermission"], ""),
    ("delete", &["sns:DeleteTopic"], ""),
];
pub(super) const SECRET: Operations = &[
    ("read", &["secretsmanager:GetSecretValue"], ""),
    ("write", &["secretsmanager:PutSecretValue", "secretsmanager:UpdateSecret"], ""),
    ("change policy", &["secretsmanager:PutResourcePolicy"], ""),
    ("delete", &["secretsmanager:DeleteSecret"], ""),
];
pub(super) const PARAMETER: Operations = &[
    ("read", &["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"], ""),
    ("write", &["ssm:PutParameter"], ""),
    ("delete", &["ssm:DeleteParameter", "ssm:DeleteParameters"], ""),
];
pub(super) const LOG_GROUP: Operations = &[
    ("read", &["logs:GetLogEvents", "logs:FilterLogEvents", "logs:StartQuery"], ":*"),
    ("write", &["logs:PutLogEvents"], ":*"),
    ("delete", &["logs:DeleteLogGroup"], ":*"),
];
pub(super) const ROLE: Operations = &[
    ("assume", &["sts:AssumeRole"], ""),
    ("assume with a web identity", &["sts:AssumeRoleWithWebIdentity"], ""),
    ("pass", &["iam:PassRole"], ""),
    ("change permissions", &["iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:UpdateAssumeRolePolicy"], ""),
    ("delete", &["iam:DeleteRole"], ""),
];
pub(super) const USER: Operations = &[
    ("make keys", &["iam:CreateAccessKey"], ""),
    ("change permissions", &["iam:PutUserPolicy", "iam:AttachUserPolicy"], ""),
    ("delete", &["iam:DeleteUser"], ""),
];
pub(super) const GROUP: Operations = &[
    ("change permissions", &["iam:PutGroupPolicy", "iam:AttachGroupPolicy"], ""),
    ("add members", &["iam:AddUserToGroup"], ""),
];
pub(super) const POLICY: Operations = &[
    ("change", &["iam:CreatePolicyVersion", "iam:SetDefaultPolicyVersion"], ""),
    ("delete", &["iam:DeletePolicy"], ""),
];

/// The operations on things of every sort.
pub(super) const EVERY: &[Operations] =
    &[BUCKET, KEY, TABLE, TOPIC, SECRET, PARAMETER, LOG_GROUP, ROLE, USER, GROUP, POLICY];

/// A thing with what can be done with it.
pub(super) fn target(sort: &'static str, name: &str, operations: Operations) -> Target {
    let operations = operations.iter().map(|(right, any_of, on)| Operation::new(right, any_of, *on));
    Target { sort, name: name.to_owned(), operations: operations.collect(), ..Target::default() }
}

/// The same with its own policy.
pub(super) fn with_policy(
    sort: &'static str,
    name: &str,
    operations: Operations,
    policy: Option<&Document>,
) -> Vec<Grant> {
    let policy = policy.map(|policy| policy.value().clone());
    vec![Grant::Target(Target { policy, ..target(sort, name, operations) })]
}

/// The policy that KMS gives to a key that is made without one: the account's own policies decide.
/// <https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html>
pub(super) fn default_key_policy(realm: &Realm) -> Value {
    let root = format!("arn:{}:iam::{}:root", partition(realm), realm.get("account").unwrap_or_default());
    json!({ "Version": "2012-10-17", "Statement": [
        { "Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": { "AWS": root }, "Action": "kms:*", "Resource": "*" }
    ] })
}
