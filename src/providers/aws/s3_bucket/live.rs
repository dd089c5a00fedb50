//! Reads a bucket: nine requests, and a tenth if replication is declared, all at once.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_bucket_encryption::GetBucketEncryptionOutput;
use aws_sdk_s3::operation::get_public_access_block::GetPublicAccessBlockOutput;
use aws_sdk_s3::types::{
    BlockedEncryptionTypes, BucketVersioningStatus, DefaultRetention, LoggingEnabled,
    ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode, ObjectOwnership,
    ServerSideEncryption,
};
use serde_json::{Value, json};

use super::Id;
use super::desired::{AccessLogging, Desired, RetentionMode};
use super::lifecycle::LiveRules;
use super::replication::Replication;
use crate::error::{Error, ErrorKind, Result};
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::in_order::InOrder;
use crate::providers::aws::policy::Document;
use crate::resource::{Attachment, Tags};

/// The error code for a missing bucket.
pub const NO_BUCKET: &str = "NoSuchBucket";

/// The bucket as S3 reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    pub(super) name: String,
    pub(super) region: String,
    pub(super) partition: String,
    pub(super) versioning: bool,
    pub(super) encryption: LiveEncryption,
    /// Encryption types that writers may not use, which a plan cannot declare.
    pub(super) blocked_encryption: Option<BlockedEncryptionTypes>,
    pub(super) public_access_blocked: bool,
    pub(super) owner_enforced: bool,
    pub(super) policy: Option<Document>,
    pub(super) logging: Option<LoggingEnabled>,
    pub(super) replication: Option<Value>,
    pub(super) rules: LiveRules,
    pub(super) object_lock: bool,
    pub(super) retention: Option<Value>,
    pub(super) tags: Tags,
}

/// The default encryption of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveEncryption {
    /// None, which AWS has not allowed since January 2023.
    None,
    /// With S3's own keys.
    S3,
    /// With a KMS key.
    Kms {
        /// ARN, id or alias, as it was set.
        key: String,
        /// Whether a bucket key saves requests to KMS.
        bucket_key: bool,
    },
    /// In a way that plans cannot declare.
    Other(String),
}

impl LiveEncryption {
    /// The KMS key, if there is one.
    pub fn kms_key(&self) -> Option<&str> {
        match self {
            Self::Kms { key, .. } => Some(key),
            Self::None | Self::S3 | Self::Other(_) => None,
        }
    }
}

impl Observed {
    /// A bucket with nothing set yet.
    pub fn blank(name: &str, region: &str, partition: &str, object_lock: bool) -> Self {
        Self {
            name: name.to_owned(),
            region: region.to_owned(),
            partition: partition.to_owned(),
            versioning: false,
            encryption: LiveEncryption::None,
            blocked_encryption: None,
            public_access_blocked: false,
            owner_enforced: false,
            policy: None,
            logging: None,
            replication: None,
            rules: LiveRules::default(),
            object_lock,
            retention: None,
            tags: Tags::new(),
        }
    }

    /// Where requests are logged, in the form of a plan.
    pub fn access_logging(&self) -> Option<AccessLogging> {
        let live = self.logging.as_ref()?;
        Some(AccessLogging { bucket: live.target_bucket.clone(), prefix: live.target_prefix.clone() })
    }

    /// The statement that denies connections to this bucket without TLS.
    pub fn tls_statement(&self) -> Value {
        Desired::tls_statement(&self.partition, &self.name)
    }
}

/// A bucket and its expected owner.
struct Bucket<'a> {
    s3: Client,
    name: &'a str,
    owner: &'a str,
    with_replication: bool,
}

/// Reads a bucket. The request for its versioning decides whether it exists, because every bucket
/// answers it; the other requests treat "no such bucket" as "not set". AWS refuses each request if the
/// bucket is not in our account; ministack 1.5.33 and moto 5.2.5 ignore `ExpectedBucketOwner`. Replication takes
/// another request.
pub async fn observe(client: &AwsClient, id: &Id, with_replication: bool) -> Result<Option<Observed>> {
    let region = id.region.as_deref();
    let owner = client.account_id().await?;
    let s3 = client.read().s3_in(region);
    let bucket = Bucket { s3, name: &id.name, owner, with_replication };
    let blank = Observed::blank(&id.name, region.unwrap_or(client.region()), client.partition(), false);
    bucket.read(blank).await.map_err(|error| explain(error, &id.name))
}

/// The objects of a bucket with their old versions, up to one page. Objects that `aws.s3_object` deletes
/// are gone only if the bucket keeps no versions.
pub async fn contents(client: &AwsClient, id: &Id) -> Result<Vec<Attachment>> {
    let s3 = client.read().s3_in(id.region.as_deref());
    let request = s3.list_object_versions().bucket(&id.name).max_keys(PAGE);
    let answer = request.expected_bucket_owner(client.account_id().await?).send().await;
    let Some(answer) = answer.found("s3:ListObjectVersions", &["NoSuchBucket"])? else {
        return Ok(Vec::new());
    };
    let versions = answer.versions.unwrap_or_default().into_iter().map(|one| (one.key, one.version_id));
    let markers = answer.delete_markers.unwrap_or_default().into_iter().map(|one| (one.key, one.version_id));
    let attachment = |(key, version): (Option<String>, Option<String>)| {
        let (key, version) = (key.unwrap_or_default(), version.filter(|version| version != "null"));
        match version {
            None => Attachment::blocks("objects", &key, format!("the bucket holds `{key}`"))
                .held_by("aws.s3_object", format!("{}/{key}", id.name)),
            Some(version) => {
                let clause = format!("the bucket holds the version {version} of `{key}`");
                Attachment::blocks("objects", format!("{key} ({version})"), clause)
            }
        }
    };
    Ok(versions.chain(markers).map(attachment).collect())
}

/// The most objects and versions that a review names.
const PAGE: i32 = 100;

/// S3 returns the same code for "not yours" and "not allowed", except if the bucket's own policy denies
/// access.
fn explain(error: Error, name: &str) -> Error {
    if !error.is("AccessDenied") {
        return error;
    }
    if error.message.contains("explicit deny in a resource-based policy") {
        return error.advice(format!(
            "the policy of {name} denies it; with `tls_only` it denies every connection to an http:// \
             endpoint"
        ));
    }
    let message = format!(
        "{} — the bucket {name} exists, but belongs to another account or denies us access",
        error.message
    );
    Error::new(ErrorKind::Denied, error.operation, message)
        .advice("choose another name, use credentials of the bucket's account, or ask its owner for access")
}

/// A request about the bucket; these error codes mean that the setting is absent.
macro_rules! ask {
    ($bucket:expr, $call:ident, $operation:literal, $unset:literal) => {{
        let request = $bucket.s3.$call().bucket($bucket.name).expected_bucket_owner($bucket.owner);
        request.send().await.found($operation, &[NO_BUCKET, $unset])
    }};
}

impl Bucket<'_> {
    async fn read(&self, blank: Observed) -> Result<Option<Observed>> {
        let (
            versioning,
            encryption,
            public_access_blocked,
            owner_enforced,
            policy,
            logging,
            replication,
            rules,
            lock,
            tags,
        ) = tokio::join!(
            self.versioning(),
            self.encryption(),
            self.public_access_blocked(),
            self.owner_enforced(),
            self.policy(),
            self.logging(),
            self.replication(),
            self.rules(),
            self.lock(),
            self.tags(),
        )
        .in_order()?;
        let Some(versioning) = versioning else { return Ok(None) };
        let (encryption, blocked_encryption) = encryption;
        let (object_lock, retention) = lock.map(to_lock).unwrap_or_default();
        Ok(Some(Observed {
            versioning,
            encryption,
            blocked_encryption,
            public_access_blocked,
            owner_enforced,
            policy,
            logging,
            replication,
            rules,
            object_lock,
            retention,
            tags,
            ..blank
        }))
    }

    async fn versioning(&self) -> Result<Option<bool>> {
        let answer = ask!(self, get_bucket_versioning, "s3:GetBucketVersioning", "NoSuchBucket")?;
        Ok(answer.map(|answer| answer.status == Some(BucketVersioningStatus::Enabled)))
    }

    async fn encryption(&self) -> Result<(LiveEncryption, Option<BlockedEncryptionTypes>)> {
        let answer = ask!(
            self,
            get_bucket_encryption,
            "s3:GetEncryptionConfiguration",
            "ServerSideEncryptionConfigurationNotFoundError"
        )?;
        Ok(answer.map_or((LiveEncryption::None, None), to_encryption))
    }

    async fn public_access_blocked(&self) -> Result<bool> {
        let answer = ask!(
            self,
            get_public_access_block,
            "s3:GetBucketPublicAccessBlock",
            "NoSuchPublicAccessBlockConfiguration"
        )?;
        Ok(answer.is_some_and(blocks_everything))
    }

    async fn owner_enforced(&self) -> Result<bool> {
        let answer = ask!(
            self,
            get_bucket_ownership_controls,
            "s3:GetBucketOwnershipControls",
            "OwnershipControlsNotFoundError"
        )?;
        let controls = answer.and_then(|answer| answer.ownership_controls);
        Ok(controls.is_some_and(|controls| {
            controls.rules.iter().any(|rule| rule.object_ownership == ObjectOwnership::BucketOwnerEnforced)
        }))
    }

    async fn policy(&self) -> Result<Option<Document>> {
        let answer = ask!(self, get_bucket_policy, "s3:GetBucketPolicy", "NoSuchBucketPolicy")?;
        let text = answer.and_then(|answer| answer.policy);
        text.map(|text| Document::parse("s3:GetBucketPolicy", &text)).transpose()
    }

    async fn logging(&self) -> Result<Option<LoggingEnabled>> {
        let answer = ask!(self, get_bucket_logging, "s3:GetBucketLogging", "NoSuchBucket")?;
        Ok(answer.and_then(|answer| answer.logging_enabled))
    }

    async fn replication(&self) -> Result<Option<Value>> {
        if !self.with_replication {
            return Ok(None);
        }
        let answer = ask!(
            self,
            get_bucket_replication,
            "s3:GetReplicationConfiguration",
            "ReplicationConfigurationNotFoundError"
        )?;
        Ok(answer.and_then(|answer| answer.replication_configuration).map(Replication::live))
    }

    async fn rules(&self) -> Result<LiveRules> {
        let answer = ask!(
            self,
            get_bucket_lifecycle_configuration,
            "s3:GetLifecycleConfiguration",
            "NoSuchLifecycleConfiguration"
        )?;
        let smallest =
            answer.as_ref().and_then(|answer| answer.transition_default_minimum_object_size.clone());
        let rules = LiveRules::sort(answer.and_then(|answer| answer.rules).unwrap_or_default());
        Ok(LiveRules { smallest, ..rules })
    }

    async fn lock(&self) -> Result<Option<ObjectLockConfiguration>> {
        let answer = ask!(
            self,
            get_object_lock_configuration,
            "s3:GetBucketObjectLockConfiguration",
            "ObjectLockConfigurationNotFoundError"
        )?;
        Ok(answer.and_then(|answer| answer.object_lock_configuration))
    }

    async fn tags(&self) -> Result<Tags> {
        let answer = ask!(self, get_bucket_tagging, "s3:GetBucketTagging", "NoSuchTagSet")?;
        let tags = answer.map(|answer| answer.tag_set).unwrap_or_default();
        Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
    }
}

fn to_encryption(answer: GetBucketEncryptionOutput) -> (LiveEncryption, Option<BlockedEncryptionTypes>) {
    let rules = answer.server_side_encryption_configuration.map(|it| it.rules).unwrap_or_default();
    let Some(rule) = rules.into_iter().next() else { return (LiveEncryption::None, None) };
    let bucket_key = rule.bucket_key_enabled.unwrap_or_default();
    let default = rule.apply_server_side_encryption_by_default;
    let encryption = default.map_or(LiveEncryption::None, |default| match default.sse_algorithm {
        ServerSideEncryption::Aes256 => LiveEncryption::S3,
        // Without a key id, S3 uses the key that AWS manages for it.
        ServerSideEncryption::AwsKms => {
            let key = default.kms_master_key_id.unwrap_or_else(|| "alias/aws/s3".to_owned());
            LiveEncryption::Kms { key, bucket_key }
        }
        other => LiveEncryption::Other(other.as_str().to_owned()),
    });
    (encryption, rule.blocked_encryption_types)
}

fn blocks_everything(answer: GetPublicAccessBlockOutput) -> bool {
    answer.public_access_block_configuration.is_some_and(|block| {
        [
            block.block_public_acls,
            block.ignore_public_acls,
            block.block_public_policy,
            block.restrict_public_buckets,
        ]
        .iter()
        .all(|on| *on == Some(true))
    })
}

fn to_lock(lock: ObjectLockConfiguration) -> (bool, Option<Value>) {
    let retention = lock.rule.and_then(|rule| rule.default_retention).and_then(to_retention);
    (lock.object_lock_enabled == Some(ObjectLockEnabled::Enabled), retention)
}

/// In the form of a plan; a mode that a plan cannot declare has the service's name. S3 distinguishes
/// years from days; a year counts as 365 days.
fn to_retention(live: DefaultRetention) -> Option<Value> {
    let days = live.days.or(live.years.map(|years| years * 365))?;
    let mode = match live.mode? {
        ObjectLockRetentionMode::Compliance => json!(RetentionMode::Compliance),
        ObjectLockRetentionMode::Governance => json!(RetentionMode::Governance),
        other => json!(other.as_str()),
    };
    Some(json!({ "mode": mode, "days": days }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{
        ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    };

    fn explained(code: &str, message: &str) -> (String, String) {
        let error = Error::new(ErrorKind::Denied, "s3:GetBucketVersioning", message).code(Some(code));
        let error = explain(error, "b");
        (error.message, error.advice.unwrap_or_default())
    }

    #[test]
    fn denial_is_explained() {
        assert!(explained("AccessDenied", "no").0.contains("the bucket b exists"));
        assert!(explained("AccessDenied", "explicit deny in a resource-based policy").1.contains("tls_only"));
        assert_eq!(explained("ExpiredToken", "late, not AccessDenied").1, "");
    }

    #[test]
    fn years_of_retention_are_days() {
        let live = DefaultRetention::builder().mode(ObjectLockRetentionMode::Compliance).years(2).build();
        assert_eq!(to_retention(live), Some(json!({ "mode": "compliance", "days": 730 })));
        let live = DefaultRetention::builder().mode("STRICT".into()).days(1).build();
        assert_eq!(to_retention(live), Some(json!({ "mode": "STRICT", "days": 1 })));
    }

    #[test]
    fn dual_layer_encryption_is_not_plain_kms() {
        let default =
            ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::AwsKmsDsse);
        let rule = ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(default.build().expect("complete"))
            .build();
        let rules = ServerSideEncryptionConfiguration::builder().rules(rule).build().expect("complete");
        let answer = GetBucketEncryptionOutput::builder().server_side_encryption_configuration(rules).build();
        assert_eq!(to_encryption(answer).0, LiveEncryption::Other("aws:kms:dsse".into()));
    }
}
