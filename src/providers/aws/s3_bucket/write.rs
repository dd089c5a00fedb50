//! Creates, changes and deletes buckets.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketLocationConstraint, BucketLoggingStatus, BucketVersioningStatus,
    CreateBucketConfiguration, DefaultRetention, LoggingEnabled, ObjectLockConfiguration, ObjectLockEnabled,
    ObjectLockRetentionMode, ObjectLockRule, ObjectOwnership, OwnershipControls, OwnershipControlsRule,
    PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, Tag, Tagging, VersioningConfiguration,
};
use aws_smithy_types::error::operation::BuildError;

use super::compare;
use super::desired::{AccessLogging, Desired, Retention, RetentionMode};
use super::live::{NO_BUCKET, Observed};
use super::replication::Replication;
use super::statements;
use super::{Id, S3Bucket};
use crate::error::{Error, ErrorKind, Result};
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::resource::{Diff, Resource as _, Tags, Writer};

/// The one region that a request to create a bucket must not name.
const FIRST_REGION: &str = "us-east-1";

type W<'a> = Writer<'a, AwsClient>;

/// Creates a bucket with its ownership tags in the same request, then applies everything else.
///
/// An existing bucket is never touched. In us-east-1, creating one's own bucket again returns 200 and
/// resets its access lists, so Groundwork checks right before that it does not exist. The tags in the
/// request need `s3:TagResource` (moto 5.2.5 ignores them, AWS and ministack do not).
pub async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
    make_sure_it_is_absent(w, desired).await?;
    let region = desired.region.as_deref().unwrap_or(w.region());
    let request = w.write_once(w.permit()).s3_in(desired.region.as_deref()).create_bucket();
    let request = request
        .bucket(&desired.name)
        .set_object_lock_enabled_for_bucket(desired.object_lock.then_some(true))
        .create_bucket_configuration(configuration(region, &desired.tags)?);
    request.send().await.at("s3:CreateBucket")?;
    let blank = Observed::blank(&desired.name, region, w.partition(), desired.object_lock);
    let fresh = Observed { tags: desired.tags.clone(), ..undecided(blank, desired) };
    update(w, desired, &fresh).await
}

/// The defaults of a new bucket differ between years and servers, so these settings are always written.
/// <https://aws.amazon.com/blogs/aws/heads-up-amazon-s3-security-changes-are-coming-in-april-of-2023/>
fn undecided(blank: Observed, desired: &Desired) -> Observed {
    Observed {
        owner_enforced: !desired.bucket_owner_enforced.is_on(),
        public_access_blocked: !desired.block_public_access.is_on(),
        ..blank
    }
}

async fn make_sure_it_is_absent(w: &W<'_>, desired: &Desired) -> Result<()> {
    let request = w.read().s3_in(desired.region.as_deref()).head_bucket().bucket(&desired.name);
    let answer = request.expected_bucket_owner(w.account_id().await?).send().await;
    match answer.found("s3:HeadBucket", &["NotFound", NO_BUCKET])? {
        None => Ok(()),
        Some(_) => {
            let message = format!("the bucket {} already exists", desired.name);
            Err(Error::new(ErrorKind::Conflict, "s3:HeadBucket", message)
                .advice("it was created in the meantime; run `groundwork plan` again"))
        }
    }
}

fn configuration(region: &str, tags: &Tags) -> Result<CreateBucketConfiguration> {
    let location = (region != FIRST_REGION).then(|| BucketLocationConstraint::from(region));
    let configuration = CreateBucketConfiguration::builder().set_location_constraint(location);
    Ok(configuration.set_tags(Some(to_sdk(tags)?).filter(|tags| !tags.is_empty())).build())
}

/// Applies the fields that differ: ownership first, access last.
pub async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
    let diff = S3Bucket::diff(desired, observed);
    let s3 = w.write(w.permit()).s3_in(desired.region.as_deref());
    let bucket = Bucket { s3, name: &desired.name, owner: w.account_id().await? };
    if diff.changes.iter().any(|change| is_declared_tag(&change.path)) {
        let record = statements::RECORD.live(&observed.tags);
        bucket.put_tags(&desired.tags, &observed.tags, &record).await?;
    }
    bucket.apply_access(desired, &diff).await?;
    bucket.apply_storage(desired, observed, &diff).await?;
    if ["noncurrent_version_expiration_days", "abort_incomplete_uploads_days", "lifecycle_rules"]
        .iter()
        .any(|field| diff.touches(field))
    {
        bucket.put_rules(desired, observed).await?;
    }
    if let Some(replication) = desired.replication.as_ref().filter(|_| diff.touches("replication")) {
        bucket.put_replication(replication).await?;
    }
    if let Some(logging) = desired.access_logging.as_ref().filter(|_| diff.touches("access_logging")) {
        bucket.put_logging(logging, observed).await?;
    }
    if diff.touches("tls_only") || diff.touches("policy") {
        bucket.put_policy(desired, observed).await?;
    }
    // Only after the statements are added or removed: until then the old record lists the statements to
    // remove.
    let record = compare::record(desired, observed);
    if record != statements::RECORD.live(&observed.tags) {
        bucket.put_tags(&desired.tags, &observed.tags, &record).await?;
    }
    Ok(())
}

fn is_declared_tag(path: &str) -> bool {
    path.strip_prefix("tags.").is_some_and(|tag| !statements::RECORD.is_part(tag))
}

/// A bucket and its expected owner.
struct Bucket<'a> {
    s3: Client,
    name: &'a str,
    owner: &'a str,
}

/// A request about the bucket.
macro_rules! send {
    ($bucket:expr, $call:ident, $operation:literal, |$request:ident| $with:expr) => {{
        let $request = $bucket.s3.$call().bucket($bucket.name).expected_bucket_owner($bucket.owner);
        $with.send().await.at($operation).map(drop)
    }};
}

impl Bucket<'_> {
    /// Before the policy: public access must be blocked before a policy could allow it.
    async fn apply_access(&self, desired: &Desired, diff: &Diff) -> Result<()> {
        if diff.touches("bucket_owner_enforced") {
            self.put_ownership(desired.bucket_owner_enforced.is_on()).await?;
        }
        if diff.touches("block_public_access") {
            self.put_public_access_block(desired.block_public_access.is_on()).await?;
        }
        Ok(())
    }

    async fn apply_storage(&self, desired: &Desired, observed: &Observed, diff: &Diff) -> Result<()> {
        if diff.touches("encryption") {
            self.put_encryption(desired.kms_key(), observed).await?;
        }
        if diff.touches("versioning") {
            self.put_versioning(desired.versioning.is_on()).await?;
        }
        match desired.object_lock_retention.as_ref().filter(|_| diff.touches("object_lock_retention")) {
            Some(retention) => self.put_retention(retention).await,
            None => Ok(()),
        }
    }

    /// S3 replaces all tags at once, so tags of others and the record of statements are sent again.
    async fn put_tags(&self, declared: &Tags, live: &Tags, record: &Tags) -> Result<()> {
        let mut all = live.clone();
        all.retain(|tag, _| !statements::RECORD.is_part(tag));
        all.extend(declared.clone().into_iter().chain(record.clone()));
        let tagging = Tagging::builder().set_tag_set(Some(to_sdk(&all)?)).build().map_err(wrong_request)?;
        send!(self, put_bucket_tagging, "s3:PutBucketTagging", |request| request.tagging(tagging))
    }

    async fn put_ownership(&self, enforced: bool) -> Result<()> {
        let ownership = if enforced {
            ObjectOwnership::BucketOwnerEnforced
        } else {
            ObjectOwnership::BucketOwnerPreferred
        };
        let rule =
            OwnershipControlsRule::builder().object_ownership(ownership).build().map_err(wrong_request)?;
        let controls = OwnershipControls::builder().rules(rule).build().map_err(wrong_request)?;
        send!(self, put_bucket_ownership_controls, "s3:PutBucketOwnershipControls", |request| request
            .ownership_controls(controls))
    }

    async fn put_public_access_block(&self, on: bool) -> Result<()> {
        if !on {
            return send!(self, delete_public_access_block, "s3:PutBucketPublicAccessBlock", |request| {
                request
            });
        }
        let block = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(true)
            .restrict_public_buckets(true)
            .build();
        send!(self, put_public_access_block, "s3:PutBucketPublicAccessBlock", |request| request
            .public_access_block_configuration(block))
    }

    async fn put_encryption(&self, kms_key: Option<&str>, observed: &Observed) -> Result<()> {
        let algorithm =
            if kms_key.is_some() { ServerSideEncryption::AwsKms } else { ServerSideEncryption::Aes256 };
        let default = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(algorithm)
            .set_kms_master_key_id(kms_key.map(str::to_owned))
            .build()
            .map_err(wrong_request)?;
        let rule = ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(default)
            .bucket_key_enabled(kms_key.is_some())
            .set_blocked_encryption_types(observed.blocked_encryption.clone())
            .build();
        let rules =
            ServerSideEncryptionConfiguration::builder().rules(rule).build().map_err(wrong_request)?;
        send!(self, put_bucket_encryption, "s3:PutEncryptionConfiguration", |request| request
            .server_side_encryption_configuration(rules))
    }

    async fn put_versioning(&self, on: bool) -> Result<()> {
        let status = if on { BucketVersioningStatus::Enabled } else { BucketVersioningStatus::Suspended };
        let versioning = VersioningConfiguration::builder().status(status).build();
        send!(self, put_bucket_versioning, "s3:PutBucketVersioning", |request| request
            .versioning_configuration(versioning))
    }

    async fn put_retention(&self, retention: &Retention) -> Result<()> {
        let mode = match retention.mode {
            RetentionMode::Governance => ObjectLockRetentionMode::Governance,
            RetentionMode::Compliance => ObjectLockRetentionMode::Compliance,
        };
        let days = retention.days.try_into().unwrap_or(i32::MAX);
        let default = DefaultRetention::builder().mode(mode).days(days).build();
        let lock = ObjectLockConfiguration::builder()
            .object_lock_enabled(ObjectLockEnabled::Enabled)
            .rule(ObjectLockRule::builder().default_retention(default).build())
            .build();
        send!(self, put_object_lock_configuration, "s3:PutBucketObjectLockConfiguration", |request| request
            .object_lock_configuration(lock))
    }

    async fn put_rules(&self, desired: &Desired, observed: &Observed) -> Result<()> {
        let rules = observed.rules.merged(desired)?;
        if rules.is_empty() {
            return send!(self, delete_bucket_lifecycle, "s3:PutLifecycleConfiguration", |request| request);
        }
        let rules = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build();
        let rules = rules.map_err(wrong_request)?;
        let smallest = observed.rules.smallest.clone();
        send!(self, put_bucket_lifecycle_configuration, "s3:PutLifecycleConfiguration", |request| request
            .lifecycle_configuration(rules)
            .set_transition_default_minimum_object_size(smallest))
    }

    /// Other readers of the logs, and the format of their names, stay as they are.
    async fn put_logging(&self, logging: &AccessLogging, observed: &Observed) -> Result<()> {
        let live = observed.logging.as_ref();
        let enabled = LoggingEnabled::builder()
            .target_bucket(&logging.bucket)
            .target_prefix(&logging.prefix)
            .set_target_grants(live.and_then(|live| live.target_grants.clone()))
            .set_target_object_key_format(live.and_then(|live| live.target_object_key_format.clone()));
        let status =
            BucketLoggingStatus::builder().logging_enabled(enabled.build().map_err(wrong_request)?).build();
        send!(self, put_bucket_logging, "s3:PutBucketLogging", |request| request
            .bucket_logging_status(status))
    }

    async fn put_replication(&self, replication: &Replication) -> Result<()> {
        let configuration = replication.to_sdk().map_err(wrong_request)?;
        send!(self, put_bucket_replication, "s3:PutReplicationConfiguration", |request| request
            .replication_configuration(configuration))
    }

    async fn put_policy(&self, desired: &Desired, observed: &Observed) -> Result<()> {
        match compare::merged_policy(desired, observed) {
            Some(policy) => {
                send!(self, put_bucket_policy, "s3:PutBucketPolicy", |request| request.policy(policy.text()))
            }
            None => send!(self, delete_bucket_policy, "s3:DeleteBucketPolicy", |request| request),
        }
    }
}

/// Deletes an empty bucket, but never objects.
pub async fn delete(w: &W<'_>, id: &Id) -> Result<()> {
    let request = w.write(w.permit()).s3_in(id.region.as_deref()).delete_bucket().bucket(&id.name);
    let answer = request.expected_bucket_owner(w.account_id().await?).send().await;
    answer.found("s3:DeleteBucket", &[NO_BUCKET]).map(drop).map_err(|error| not_empty(error, &id.name))
}

fn not_empty(error: Error, name: &str) -> Error {
    if !error.is("BucketNotEmpty") {
        return error;
    }
    error.advice(format!(
        "{name} still contains objects, old versions or unfinished uploads; Groundwork never deletes data. \
         To discard them, empty the bucket in the S3 console (\"Empty\") and run again"
    ))
}

fn to_sdk(tags: &Tags) -> Result<Vec<Tag>> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build().map_err(wrong_request))
        .collect()
}

fn wrong_request(error: BuildError) -> Error {
    Error::new(ErrorKind::Local, "build a request for S3", error.to_string())
}
