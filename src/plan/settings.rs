//! The typed sections of a plan that belong to the program itself.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `custody:` section: who can open the once-only secrets and where they are kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodySettings {
    /// Any one of these can open the contents of custody.
    pub recipients: Vec<RecipientSettings>,
    /// Every object is kept on each of these.
    pub stores: Vec<StoreSettings>,
}

/// A recipient, who can open the contents of custody.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum RecipientSettings {
    /// A KMS key, by ARN, id or alias; every principal that may call `kms:Decrypt` with it can open.
    Kms(String),
    /// An age public key, `age1…`; opened with the identity in the file that
    /// `GROUNDWORK_AGE_IDENTITY` names.
    Age(String),
    /// An OpenPGP public key, a file beside the plan, binary or armoured. It can be encrypted for
    /// but not opened with here: its owner decrypts with their own tool. Another recipient that
    /// can be opened is needed beside it.
    Pgp(PathBuf),
}

/// A place that keeps custody's encrypted objects.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum StoreSettings {
    /// A folder, relative to the plan, or an absolute path that the caller allows.
    File(PathBuf),
    /// A bucket and a prefix in it, `s3://bucket/prefix`. The bucket must keep versions.
    S3(String),
    /// The first part of the names of secrets in AWS Secrets Manager, `groundwork/production`.
    Secretsmanager(String),
}

impl std::fmt::Display for StoreSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(folder) => write!(f, "{}", folder.display()),
            Self::S3(place) => f.write_str(place),
            Self::Secretsmanager(prefix) => write!(f, "Secrets Manager {prefix}"),
        }
    }
}

/// The `journal:` section: where the journal's copy is kept. Without it the journal is only beside the
/// plan, in `.groundwork/`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JournalSettings {
    /// `s3://BUCKET/PREFIX`; the copy is the object `PREFIX/PLAN.jsonl`. The plan may make the
    /// bucket: the copy follows once it exists.
    pub s3: String,
}

/// The `lock:` section: a lock in Terraform's format, which other machines and Terraform see.
/// Exactly one of `dynamodb` and `s3`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockSettings {
    /// A DynamoDB table whose hash key is `LockID`. The plan may make it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamodb: Option<String>,
    /// With `dynamodb`: the item's `LockID`. `BUCKET/KEY` of a Terraform state locks that state
    /// too. Default: bucket and key of the journal's copy, else `groundwork/PLAN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The lock object itself, `s3://BUCKET/KEY.tflock`, or `true` for one beside the journal's copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<LockObject>,
}

/// A lock object in S3.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LockObject {
    /// `true`: beside the journal's copy.
    Beside(bool),
    /// `s3://BUCKET/KEY.tflock`.
    At(String),
}

/// The `backup:` section: where backups of Vault are kept, and for how long.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupSettings {
    /// Every backup is kept on each of these.
    pub stores: Vec<BackupStoreSettings>,
    /// Which backups stay.
    #[serde(default)]
    pub keep: KeepSettings,
}

/// A place that keeps backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum BackupStoreSettings {
    /// A folder, relative to the plan, or an absolute path that the caller allows.
    File(PathBuf),
    /// A bucket and a prefix in it, `s3://bucket/prefix`.
    S3(String),
}

/// Which backups stay. The last proven one stays whatever this says, and so does the last one of each
/// generation of key shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeepSettings {
    /// How many of the newest.
    #[schemars(range(min = 1))]
    pub last: u32,
    /// On how many days the newest one of a day stays.
    pub daily: u32,
}

impl Default for KeepSettings {
    fn default() -> Self {
        Self { last: 24, daily: 30 }
    }
}

/// The `recovery:` section: the targets of a recovery, the secrets by which a drill sees that the right data came back,
/// and whether it takes a quorum of holders.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecoverySettings {
    /// How long a recovery may take, such as `15m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto: Option<String>,
    /// How old the recovered data may be, such as `1h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo: Option<String>,
    /// Secrets that a drill reads from what it has recovered.
    pub canaries: Vec<CanarySettings>,
    /// `true`: a whole backup comes back only with key shares that enough holders give; those in custody do not count.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub quorum: bool,
}

/// The `notify:` section: who hears that `break-glass` begins and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NotifySettings {
    /// The ARN of an SNS topic in the plan's region, such as `{{ alarms.arn }}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sns: Option<String>,
}

/// A secret that a drill reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanarySettings {
    /// Its mount and path, `secret/recovery/canary`.
    pub path: String,
    /// The field that is compared.
    #[serde(default = "value")]
    pub field: String,
    /// The SHA-256 of its value, in hexadecimal. Only for a long random value: a reader of the plan can try short ones. Without it the value in the backup counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

fn value() -> String {
    "value".to_owned()
}
