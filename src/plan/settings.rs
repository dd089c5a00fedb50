//! The typed sections of a plan beside its steps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `aws:` section: the account and region that a plan works in.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsSettings {
    /// The region, e.g. `us-east-1`. Default: `AWS_REGION` or the profile's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The only account that this plan may touch, twelve digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Tags that every AWS step gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// The `vault:` section: where Vault is and how to log in.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultSettings {
    /// The cluster's address, e.g. `https://vault.example.internal:8200`. Default: `VAULT_ADDR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Every node's own address, for unsealing. Default: `GROUNDWORK_VAULT_NODES`, separated by
    /// commas, then the address alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The certificate authority that signed the servers' certificates, a PEM file beside the
    /// plan. Default: `VAULT_CACERT`, then the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,
    /// The namespace, on servers that have them. Default: `VAULT_NAMESPACE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How later runs log in. Default: `VAULT_TOKEN`, then `~/.vault-token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<VaultAuth>,
}

/// How runs after the first one log in to Vault. `VAULT_TOKEN`, when set, goes first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum VaultAuth {
    /// Through an AppRole whose secret-id custody holds.
    Approle(ApproleLogin),
}

/// An AppRole to log in through.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproleLogin {
    /// Where the AppRole method is mounted.
    #[serde(default = "default_approle_mount")]
    pub mount: String,
    /// The role's name.
    pub role: String,
}

fn default_approle_mount() -> String {
    "approle".to_owned()
}

/// The `custody:` section: who can open the once-only secrets and where they are kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodySettings {
    /// Each of these alone can open what custody holds.
    pub recipients: Vec<RecipientSettings>,
    /// Every object is kept on each of these.
    pub stores: Vec<StoreSettings>,
}

/// Somebody who can open what custody holds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum RecipientSettings {
    /// A KMS key, by ARN, id or alias; opened by whoever may call `kms:Decrypt` with it.
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
    /// A folder, relative to the plan.
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

/// The `journal:` section: where the journal's copy is kept. Without it the journal is beside the
/// plan alone, in `.groundwork/`.
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
