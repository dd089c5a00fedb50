//! The typed sections of a plan beside its steps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ownership;
use crate::error::FieldError;

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
    /// The profile whose credentials are used. Default: `AWS_PROFILE`, then the chain of AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The role that this plan works as. The credentials found otherwise are used to assume it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
    /// Tags that every AWS step gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Further accounts and regions; a step with `provider: aws.NAME` is in the one of this name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, AwsAccount>,
}

/// A further account or region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsAccount {
    /// The region. Default: as `aws.region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The only account that these steps may touch, twelve digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The profile whose credentials are used. Default: as `aws.profile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The role that these steps work as. It is assumed from where the plan's own begins, not from
    /// the plan's own role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
}

/// A role to work as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssumeRole {
    /// The role's ARN.
    pub role_arn: String,
    /// The external id that the role's trust policy requires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The session's name, as it is seen in audit logs.
    #[serde(default = "groundwork")]
    pub session_name: String,
    /// How long a session lasts, in seconds, 900 to 43200. Default: 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 900, max = 43200))]
    pub duration_seconds: Option<i32>,
    /// Serial number or ARN of the caller's MFA device, where the role wants one. The code is asked
    /// for on the terminal, or read from standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_serial: Option<String>,
}

fn groundwork() -> String {
    "groundwork".to_owned()
}

impl AwsSettings {
    /// The account and region that a step is in: the plan's own, or the one of this name. `None` when
    /// there is none of this name.
    pub fn account(&self, alias: Option<&str>) -> Option<AwsAccount> {
        let Some(alias) = alias else {
            return Some(AwsAccount {
                region: self.region.clone(),
                account_id: self.account_id.clone(),
                profile: self.profile.clone(),
                assume_role: self.assume_role.clone(),
            });
        };
        let account = self.aliases.get(alias)?.clone();
        Some(AwsAccount {
            region: account.region.or_else(|| self.region.clone()),
            profile: account.profile.or_else(|| self.profile.clone()),
            ..account
        })
    }

    /// Mistakes beyond the types, with paths below the section.
    pub fn check(&self) -> Vec<FieldError> {
        let own = self.assume_role.iter().map(|role| ("assume_role".to_owned(), role));
        let others = self.aliases.iter().filter_map(|(name, account)| {
            Some((format!("aliases.{name}.assume_role"), account.assume_role.as_ref()?))
        });
        let roles = own.chain(others).flat_map(|(path, role)| role.check(&path));
        let reserved = self.tags.keys().filter(|key| key.to_ascii_lowercase().starts_with("aws:"));
        let reserved = reserved.map(|key| {
            let mistake = FieldError::new(format!("tags.{key}"), "tags that start with `aws:` are reserved");
            mistake.help("choose another prefix")
        });
        roles.chain(ownership::check(self.tags.keys())).chain(reserved).collect()
    }
}

impl AssumeRole {
    fn check(&self, path: &str) -> Vec<FieldError> {
        let mut found = Vec::new();
        if !self.role_arn.starts_with("arn:") || !self.role_arn.contains(":role/") {
            let mistake = FieldError::new(format!("{path}.role_arn"), "not the ARN of a role");
            found.push(mistake.help("e.g. `arn:aws:iam::123456789012:role/deployer`"));
        }
        let fits = |text: &str| {
            (2..=64).contains(&text.len())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c))
        };
        if !fits(&self.session_name) {
            let mistake = FieldError::new(format!("{path}.session_name"), "not a valid name for a session");
            found.push(mistake.help("2 to 64 letters, digits and `+=,.@_-`"));
        }
        if self.duration_seconds.is_some_and(|seconds| !(900..=43200).contains(&seconds)) {
            found.push(FieldError::new(
                format!("{path}.duration_seconds"),
                "must be from 900 to 43200 seconds",
            ));
        }
        found
    }
}

/// The `vault:` section: where Vault is and how to log in.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultSettings {
    /// The cluster's address, e.g. `https://vault.example.internal:8200`. Default: `VAULT_ADDR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Every node's own address, for unsealing. Default: `GROUNDWORK_VAULT_NODES`, separated by
    /// commas, then only `address`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings() -> AwsSettings {
        serde_json::from_value(json!({
            "region": "eu-west-1", "account_id": "111111111111", "profile": "work",
            "assume_role": { "role_arn": "arn:aws:iam::111111111111:role/deployer" },
            "aliases": {
                "audit": { "account_id": "222222222222",
                           "assume_role": { "role_arn": "x", "session_name": "a b", "duration_seconds": 60 } },
                "frankfurt": { "region": "eu-central-1" },
            },
        }))
        .expect("valid")
    }

    #[test]
    fn another_account_takes_over_region_and_profile_and_no_role() {
        let audit = settings().account(Some("audit")).expect("declared");
        assert_eq!((audit.region.as_deref(), audit.profile.as_deref()), (Some("eu-west-1"), Some("work")));
        let frankfurt = settings().account(Some("frankfurt")).expect("declared");
        assert_eq!((frankfurt.account_id, frankfurt.assume_role), (None, None));
        assert!(settings().account(None).expect("the own").assume_role.is_some());
        assert_eq!(settings().account(Some("other")), None);
    }

    #[test]
    fn reserved_tags_are_refused_in_any_case() {
        let tags = ["groundwork:plan", "Groundwork:Step", "AWS:x", "groundwork:team", "plan"];
        let tags = tags.map(|key| (key.to_owned(), "x".to_owned())).into();
        let mistakes = AwsSettings { tags, ..AwsSettings::default() }.check();
        let mut paths: Vec<String> = mistakes.into_iter().map(|mistake| mistake.path).collect();
        paths.sort();
        assert_eq!(paths, ["tags.AWS:x", "tags.Groundwork:Step", "tags.groundwork:plan"]);
    }

    #[test]
    fn roles_are_checked_where_they_stand() {
        let paths: Vec<String> = settings().check().into_iter().map(|mistake| mistake.path).collect();
        let role = "aliases.audit.assume_role";
        let wanted = ["role_arn", "session_name", "duration_seconds"].map(|field| format!("{role}.{field}"));
        assert_eq!(paths, wanted);
    }
}
