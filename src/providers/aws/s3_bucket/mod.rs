//! `aws.s3_bucket`: a bucket with a hardened baseline.

mod compare;
mod desired;
mod lifecycle;
mod live;
mod replication;
mod risk;
mod statements;
mod write;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use desired::{AccessLogging, Desired, Encryption, LifecycleRule, Retention, RetentionMode, Transition};
pub use live::Observed;
pub use replication::{Replication, ReplicationRule};

use super::client::AwsClient;
use super::{kms_key, partition, prove};
use crate::access::{Grant, Granting, Target};
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::providers::aws::ACCOUNT;
use crate::providers::aws::needs::{self, Need, On, creates, deletes, proves, reads, updates, writes};
use crate::providers::aws::policy::iam_policy;
use crate::providers::aws::risk::{NO_OWN_KEY, OTHER_KEY};
use crate::providers::aws::states;
use crate::resource::risk::Category::{Destination, Destroy, ProtectionOff, PublicExposure};
use crate::resource::risk::{
    LABELS, Risks, analysed, becomes, changed, fixed, gone, identity, lowered, off, replaced, safe, tightened,
};
use crate::resource::{Attachment, Diff, Look, Partial, Requirement, Resource, Tags, Writer};
use crate::run::{Access, Permission, Use};

/// An S3 bucket.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>
pub struct S3Bucket;

/// The name; and the region, if it is not the plan's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Id {
    name: String,
    region: Option<String>,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "S3BucketOutputs")]
pub struct Outputs {
    /// The bucket's name.
    pub name: String,
    /// The bucket's ARN.
    pub arn: String,
    /// The host name that works in every region.
    pub domain_name: String,
    /// The host name that contains the region.
    pub regional_domain_name: String,
    /// The bucket's region.
    pub region: String,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&[
        "s3:GetBucketLogging",
        "s3:GetBucketObjectLockConfiguration",
        "s3:GetBucketOwnershipControls",
        "s3:GetBucketPolicy",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketTagging",
        "s3:GetBucketVersioning",
        "s3:GetEncryptionConfiguration",
        "s3:GetLifecycleConfiguration",
    ]),
    reads(&["s3:GetReplicationConfiguration"]).with(&["replication"]),
    creates(&[
        "s3:CreateBucket",
        "s3:ListBucket",
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketPublicAccessBlock",
        "s3:PutEncryptionConfiguration",
        "s3:TagResource",
    ]),
    // S3 asks for both where a bucket is made with object lock.
    creates(&["s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning"]).with(&["object_lock"]),
    creates(&["s3:PutBucketVersioning"]).with(&["versioning"]),
    creates(&["s3:PutLifecycleConfiguration"]).with(&RULES),
    creates(&["s3:PutBucketPolicy"]).with(&["policy", "tls_only"]),
    creates(&["s3:PutBucketTagging"]).with(&["policy"]),
    updates(&["s3:PutBucketOwnershipControls"]).with_default(&["bucket_owner_enforced"]),
    updates(&["s3:PutBucketPublicAccessBlock"]).with_default(&["block_public_access"]),
    updates(&["s3:PutEncryptionConfiguration"]).with_default(&["encryption"]),
    updates(&["s3:PutBucketVersioning"]).with_default(&["versioning"]),
    updates(&["s3:PutLifecycleConfiguration"]).with_default(&RULES),
    updates(&["s3:PutBucketPolicy", "s3:PutBucketTagging"]).with_default(&["policy", "tls_only"]),
    updates(&["s3:DeleteBucketPolicy"]).live(&["policy", "tls_only"]),
    updates(&["s3:PutBucketTagging"]).with(&["tags"]),
    writes(&["s3:PutBucketObjectLockConfiguration"]).with(&["object_lock_retention"]),
    writes(&["s3:PutBucketLogging"]).with(&["access_logging"]),
    writes(&["s3:PutReplicationConfiguration"]).with(&["replication"]),
    writes(&["iam:PassRole"]).with(&["replication"]).on(On::Other("replication")),
    deletes(&["s3:DeleteBucket", "s3:ListBucketVersions"]),
];

/// The objects of a trial.
const TRIALS: On = On::Other("trials");
/// The key that encrypts them.
const TRIALS_KEY: On = On::Other("key");

/// The actions that its proof needs.
const PROOF: &[Need] = &[
    proves(&["s3:GetReplicationConfiguration", "s3:ListBucketVersions"]),
    proves(&["s3:DeleteObjectVersion", "s3:PutObject"]).on(TRIALS),
    proves(&["s3:GetObjectVersion"]).on(TRIALS).with(&["versioning"]),
    proves(&["s3:PutObjectRetention"]).on(TRIALS).with(&["object_lock"]),
    proves(&["kms:GenerateDataKey"]).on(TRIALS_KEY).through("s3"),
    proves(&["kms:Decrypt"]).on(TRIALS_KEY).through("s3").with(&["versioning"]),
];

/// The only one where the bucket replicates: then nothing is written.
const PROOF_UNTRIED: &[Need] = &[proves(&["s3:GetReplicationConfiguration"])];

/// The fields that are lifecycle rules.
const RULES: [&str; 3] =
    ["abort_incomplete_uploads_days", "lifecycle_rules", "noncurrent_version_expiration_days"];

impl Resource for S3Bucket {
    const KIND: &'static str = "aws.s3_bucket";
    const GRANTS: Granting = Granting::States;
    /// Names of buckets are unique in a partition.
    const REALM: &'static [&'static str] = ACCOUNT;
    const ABOUT: &'static str = "An S3 bucket: versioned, encrypted, private and reachable only over TLS, \
                                 unless a plan switches a safeguard off with a reason.";
    const EXAMPLE: &'static str = r#"state_bucket:
  kind: aws.s3_bucket
  name: candlefish-terraform-state
  encryption: { kms_key: alias/candlefish-state }
  access_logging: { bucket: candlefish-logs, prefix: state/ }
  noncurrent_version_expiration_days: 365
  replication:
    role: arn:aws:iam::123456789012:role/state-replication
    rules: [ { id: everything, destination: "arn:aws:s3:::candlefish-state-copy" } ]
web_bucket:
  kind: aws.s3_bucket
  name: candlefish-web
  region: eu-central-1
  versioning: { off: "rebuilt from source at any time" }
  policy:
    Version: "2012-10-17"
    Statement:
      - Sid: Build
        Effect: Allow
        Principal: { AWS: "arn:aws:iam::123456789012:role/build" }
        Action: "s3:PutObject"
        Resource: arn:aws:s3:::candlefish-web/*
  lifecycle_rules:
    - { id: previews, prefix: previews/, expiration_days: 14 }
"#;
    const REBUILT: Option<&'static str> =
        Some("empty: its objects are lost, but for those that this plan writes");
    const RISKS: Risks = &[&[
        identity("name region"),
        off("versioning")
            .high(ProtectionOff, "versioning is suspended: what is overwritten or deleted is gone"),
        gone("encryption.kms_key").medium(ProtectionOff, NO_OWN_KEY),
        replaced("encryption.kms_key").medium(Destination, OTHER_KEY),
        off("block_public_access").high(PublicExposure, "public access is not blocked"),
        off("bucket_owner_enforced").medium(ProtectionOff, "access lists (ACLs) of single objects count"),
        off("tls_only").medium(ProtectionOff, "requests without TLS are let in"),
        iam_policy("policy"),
        safe("policy_exact", "the statements that it removes are shown as a change of `policy`"),
        gone("access_logging").medium(ProtectionOff, "accesses are no longer logged"),
        replaced("access_logging").medium(Destination, "accesses are logged to another place"),
        changed("replication").medium(Destination, "new objects are copied to other places, or no longer"),
        tightened("noncurrent_version_expiration_days").medium(Destroy, "old versions are deleted sooner"),
        tightened("abort_incomplete_uploads_days")
            .low(Destroy, "parts of unfinished uploads are deleted sooner"),
        analysed("lifecycle_rules", risk::of_lifecycle),
        fixed("object_lock"),
        gone("object_lock_retention").high(ProtectionOff, "objects are no longer held against deletion"),
        becomes("object_lock_retention.mode", "governance")
            .high(ProtectionOff, "users with the permission may delete objects that are held"),
        lowered("object_lock_retention.days")
            .high(ProtectionOff, "objects are held against deletion for a shorter time"),
        safe("tags", LABELS),
    ]];
    const PROOF: Proof =
        Proof::Tried("an object is stored, overwritten and removed, and strangers are refused");
    const TAGGED: bool = true;
    const PROTECTED: bool = true;

    type Client = AwsClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        let table = match (used.access, &desired.replication) {
            (Access::Prove, None) => PROOF,
            (Access::Prove, Some(_)) => PROOF_UNTRIED,
            _ => NEEDS,
        };
        needs::of(table, used, desired, |on| match on {
            TRIALS => vec![needs::in_s3(used.realm, &desired.name, Some(prove::bucket::FOLDER)) + "*"],
            TRIALS_KEY => desired.kms_key().map(|key| needs::kms_key(used.realm, key)).into_iter().collect(),
            On::Other(_) => {
                desired.replication.iter().map(|replication| needs::literal(&replication.role)).collect()
            }
            _ => vec![needs::in_s3(used.realm, &desired.name, None)],
        })
    }

    fn id(desired: &Desired) -> Id {
        Id { name: desired.name.clone(), region: desired.region.clone() }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        desired.check()
    }

    fn grants(desired: &Desired, live: Option<&Observed>, realm: &Realm) -> Vec<Grant> {
        let policy = match live {
            Some(live) => compare::merged_policy(desired, live),
            None => desired.first_policy(partition(realm)),
        };
        let is_closed = desired.block_public_access.is_on();
        let bucket = states::target("bucket", &desired.name, states::BUCKET);
        let policy = policy.map(|policy| policy.value().clone());
        vec![Grant::Target(Target { policy, is_closed, ..bucket })]
    }

    fn granted(observed: &Observed) -> Vec<Grant> {
        let bucket = states::target("bucket", &observed.name, states::BUCKET);
        let policy = observed.policy.as_ref().map(|policy| policy.value().clone());
        vec![Grant::Target(Target { policy, is_closed: observed.public_access_blocked, ..bucket })]
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        let logs = desired.access_logging.as_ref();
        let copies = desired.replication.iter().flat_map(|replication| replication.buckets());
        let buckets = logs.map(|logging| logging.bucket.as_str()).into_iter().chain(copies);
        let buckets =
            buckets.filter(|name| *name != desired.name).map(|name| Requirement::thing(Self::KIND, name));
        desired.kms_key().and_then(kms_key::requirement).into_iter().chain(buckets).collect()
    }

    async fn observe(client: &AwsClient, id: &Id, look: Look<'_, Self>) -> Result<Option<Observed>> {
        live::observe(client, id, look.declares(|desired| desired.replication.is_some())).await
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        compare::diff(desired, observed)
    }

    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        write::create(w, desired).await
    }

    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        write::update(w, desired, observed).await
    }

    async fn delete(w: &Writer<'_, AwsClient>, id: &Id) -> Result<()> {
        write::delete(w, id).await
    }

    /// The objects in the bucket, which block its deletion.
    async fn attachments(client: &AwsClient, id: &Id, _: &Observed) -> Result<Vec<Attachment>> {
        live::contents(client, id).await
    }

    fn outputs(observed: &Observed) -> Outputs {
        let (name, region) = (observed.name.clone(), observed.region.clone());
        Outputs {
            arn: bucket_arn(&observed.partition, &name),
            domain_name: format!("{name}.s3.{}", suffix(&observed.partition)),
            regional_domain_name: format!("{name}.s3.{region}.{}", suffix(&observed.partition)),
            name,
            region,
        }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        let (name, partition) = (&desired.name, partition(realm));
        let region =
            desired.region.as_ref().map_or_else(|| realm.get("region").unwrap_or_default(), String::as_str);
        let partial = Partial::default()
            .with("name", name)
            .with("arn", bucket_arn(partition, name))
            .with("domain_name", format!("{name}.s3.{}", suffix(partition)));
        if region.is_empty() {
            return partial;
        }
        partial
            .with("regional_domain_name", format!("{name}.s3.{region}.{}", suffix(partition)))
            .with("region", region)
    }

    async fn prove(prover: &Prover<'_, AwsClient>, desired: &Desired, _: &Observed) {
        prove::bucket::prove(prover, desired).await;
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

/// A bucket's ARN contains neither region nor account.
fn bucket_arn(partition: &str, name: &str) -> String {
    format!("arn:{partition}:s3:::{name}")
}

/// The domain of the partition's services.
pub fn suffix(partition: &str) -> &'static str {
    if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_predicted() {
        let desired: Desired = serde_json::from_value(serde_json::json!({ "name": "b-1" })).expect("valid");
        let realm = Realm::default().with("region", "cn-north-1").with("partition", "aws-cn");
        let outputs = S3Bucket::predicted_outputs(&desired, &realm).into_map();
        assert_eq!(outputs["arn"], "arn:aws-cn:s3:::b-1");
        assert_eq!(outputs["regional_domain_name"], "b-1.s3.cn-north-1.amazonaws.com.cn");
    }
}
