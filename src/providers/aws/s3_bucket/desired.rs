//! The declared fields of a bucket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bucket_arn;
use super::replication::Replication;
use crate::error::FieldError;
use crate::providers::aws::control::{Control, Days};
use crate::providers::aws::policy::{Document, PolicyType, same_statement};
use crate::providers::aws::tags;
use crate::resource::Tags;

/// The declared fields. Safeguards are on unless switched off with a reason.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "S3Bucket")]
pub struct Desired {
    /// The name, unique among all buckets of the partition.
    pub name: String,
    /// The region the bucket is in. Default: the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether old versions of objects are kept.
    #[serde(default)]
    pub versioning: Control,
    /// How objects are encrypted. Default: with S3's own keys (AES256).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Whether all four settings of the public access block are on.
    #[serde(default)]
    pub block_public_access: Control,
    /// Whether the bucket's owner owns every object and access lists are disabled.
    #[serde(default)]
    pub bucket_owner_enforced: Control,
    /// Whether a statement in the policy denies connections without TLS.
    #[serde(default)]
    pub tls_only: Control,
    /// Further statements of the bucket policy, identified by their `Sid`, or by their meaning without
    /// one. A statement that is removed from the plan is removed from the policy. Other statements are
    /// not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Document>,
    /// Remove statements of the bucket policy that are not declared.
    #[serde(default)]
    pub policy_exact: bool,
    /// Where requests are logged. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_logging: Option<AccessLogging>,
    /// Where new objects are replicated. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
    /// Days for which old versions are kept.
    #[serde(default = "ninety")]
    pub noncurrent_version_expiration_days: Days,
    /// Days after which the parts of an unfinished upload are deleted.
    #[serde(default = "seven")]
    pub abort_incomplete_uploads_days: Days,
    /// Further lifecycle rules. Rules of others are kept unless this is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_rules: Option<Vec<LifecycleRule>>,
    /// Whether objects can be locked against deletion. Fixed when the bucket is created.
    #[serde(default)]
    pub object_lock: bool,
    /// How long new objects are locked. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_lock_retention: Option<Retention>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

fn ninety() -> Days {
    Days::After(90)
}

fn seven() -> Days {
    Days::After(7)
}

/// Encryption with a KMS key and a bucket key, which saves most requests to KMS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "S3Encryption")]
pub struct Encryption {
    /// The key: ARN, id or alias. Prefer an ARN: S3 resolves names in the account of the caller that
    /// writes the object.
    pub kms_key: String,
}

/// Where requests are logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLogging {
    /// The bucket that receives the logs; its policy must let `logging.s3.amazonaws.com` write.
    pub bucket: String,
    /// The prefix of the logs' names.
    #[serde(default)]
    pub prefix: String,
}

/// Expiry and transition of old objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LifecycleRule {
    /// The rule's name, unique in the bucket.
    pub id: String,
    /// Prefix of the names of the objects. Default: all objects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Days after which objects expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub expiration_days: Option<u32>,
    /// Days for which old versions are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub noncurrent_version_expiration_days: Option<u32>,
    /// Moves to cheaper storage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<Transition>,
}

/// A move to cheaper storage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// After this many days.
    pub days: u32,
    /// The storage class, e.g. `STANDARD_IA`, `GLACIER`, `DEEP_ARCHIVE`.
    pub storage_class: String,
}

/// How long new objects are locked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Who may lift the lock.
    pub mode: RetentionMode,
    /// Days.
    #[schemars(range(min = 1))]
    pub days: u32,
}

/// Who may lift a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetentionMode {
    /// Users with the permission to lift it.
    Governance,
    /// No user.
    Compliance,
}

impl Desired {
    /// The declared KMS key.
    pub fn kms_key(&self) -> Option<&str> {
        self.encryption.as_ref().map(|encryption| encryption.kms_key.as_str())
    }

    /// The statement that refuses connections without TLS.
    pub fn tls_statement(partition: &str, name: &str) -> Value {
        let arn = bucket_arn(partition, name);
        json!({
            "Sid": "GroundworkTlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, format!("{arn}/*")],
            "Condition": { "Bool": { "aws:SecureTransport": "false" } },
        })
    }

    /// The policy of a bucket that does not exist yet; `None` if it has none.
    pub fn first_policy(&self, partition: &str) -> Option<Document> {
        let declared = self.policy.clone().unwrap_or_else(|| Document::of(Vec::new()));
        let tls = Self::tls_statement(partition, &self.name);
        // The plan may declare it itself.
        let others = declared.statements().into_iter().filter(|statement| !same_statement(statement, &tls));
        let tls = self.tls_only.is_on().then_some(&tls).cloned();
        let statements: Vec<Value> = others.chain(tls).collect();
        (!statements.is_empty()).then(|| declared.with_statements(statements))
    }

    /// Finds mistakes without network access.
    pub fn check(&self) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = check_name(&self.name).into_iter().collect();
        found.extend(self.check_safeguards());
        if let Some(policy) = &self.policy {
            found.extend(policy.check("policy", PolicyType::Resource));
        } else if self.policy_exact {
            let error = FieldError::new("policy_exact", "`policy` is not declared, so it cannot be exact");
            found.push(error.help("declare `policy`, or remove it"));
        }
        found.extend(
            self.replication.as_ref().map(|it| it.check(self.versioning.is_on())).unwrap_or_default(),
        );
        found.extend(self.check_rules());
        found.extend(self.check_lock());
        found.extend(tags::check(&self.tags));
        found
    }

    fn check_safeguards(&self) -> impl Iterator<Item = FieldError> {
        let controls = [
            self.versioning.check("versioning"),
            self.block_public_access.check("block_public_access"),
            self.bucket_owner_enforced.check("bucket_owner_enforced"),
            self.tls_only.check("tls_only"),
            self.noncurrent_version_expiration_days.check("noncurrent_version_expiration_days"),
            self.abort_incomplete_uploads_days.check("abort_incomplete_uploads_days"),
        ];
        controls.into_iter().flatten()
    }

    fn check_rules(&self) -> Vec<FieldError> {
        let rules = self.lifecycle_rules.iter().flatten().enumerate();
        rules.filter_map(|(index, rule)| rule.check(&format!("lifecycle_rules[{index}]"))).collect()
    }

    fn check_lock(&self) -> Vec<FieldError> {
        let mut found = Vec::new();
        if self.object_lock && !self.versioning.is_on() {
            found.push(
                FieldError::new("object_lock", "object lock requires versioning")
                    .help("set `versioning: true`"),
            );
        }
        if self.object_lock_retention.is_some() && !self.object_lock {
            let error = FieldError::new("object_lock_retention", "retention requires object lock");
            found.push(error.help("set `object_lock: true`"));
        }
        found
    }
}

impl LifecycleRule {
    fn check(&self, path: &str) -> Option<FieldError> {
        let does_nothing = self.expiration_days.is_none()
            && self.noncurrent_version_expiration_days.is_none()
            && self.transitions.is_empty();
        match () {
            () if self.id.is_empty() || self.id.len() > 255 => {
                Some(FieldError::new(format!("{path}.id"), "must have 1 to 255 characters"))
            }
            () if self.id.starts_with(super::lifecycle::RESERVED) => Some(FieldError::new(
                format!("{path}.id"),
                "names that start with `groundwork-` are reserved for Groundwork",
            )),
            () if does_nothing => Some(
                FieldError::new(path, "the rule does nothing")
                    .help("give it `expiration_days`, `noncurrent_version_expiration_days` or `transitions`"),
            ),
            () => None,
        }
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
fn check_name(name: &str) -> Option<FieldError> {
    const HELP: &str = "3 to 63 lower-case letters, digits, `-` and `.`, with a letter or digit at both ends";
    let wrong = |message: &str| Some(FieldError::new("name", message).help(HELP));
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    match () {
        () if !(3..=63).contains(&name.len()) => wrong("a bucket's name has 3 to 63 characters"),
        () if !name.chars().all(allowed) => wrong("not a valid name for a bucket"),
        () if !name.starts_with(edge) || !name.ends_with(edge) || name.contains("..") => {
            wrong("not a valid name for a bucket")
        }
        () if name.parse::<std::net::Ipv4Addr>().is_ok() => wrong("a bucket's name cannot be an IP address"),
        () if is_reserved(name) => wrong("AWS reserves this prefix or suffix"),
        () => None,
    }
}

fn is_reserved(name: &str) -> bool {
    let prefixes = ["xn--", "sthree-", "amzn-s3-demo-"];
    let suffixes = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
        || suffixes.iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(value: Value) -> Vec<String> {
        let desired: Desired = serde_json::from_value(value).expect("valid");
        desired.check().into_iter().map(|error| error.path).collect()
    }

    #[test]
    fn bucket_names_follow_s3_rules() {
        for good in ["abc", "a.b-c1", "candlefish-terraform-state"] {
            assert!(check_name(good).is_none(), "{good}");
        }
        for wrong in ["ab", "Abc", "a_b", "-abc", "abc-", "a..b", "10.0.0.1", "xn--abc", "abc-s3alias"] {
            assert!(check_name(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn mistakes_name_their_field() {
        assert_eq!(paths(json!({ "name": "abc", "versioning": false })), ["versioning"]);
        assert_eq!(
            paths(json!({ "name": "abc", "versioning": { "off": "x" }, "object_lock": true })),
            ["object_lock"]
        );
        assert_eq!(
            paths(json!({ "name": "abc", "object_lock_retention": { "mode": "governance", "days": 1 } })),
            ["object_lock_retention"]
        );
        assert_eq!(
            paths(
                json!({ "name": "abc", "lifecycle_rules": [{ "id": "x" }, { "id": "groundwork-x", "expiration_days": 1 }] })
            ),
            ["lifecycle_rules[0]", "lifecycle_rules[1].id"]
        );
    }
}
