//! The actions that an object needs.

use super::Desired;
use crate::providers::aws::needs::{self, Need, On, creates, deletes, reads, updates, writes};
use crate::run::{Permission, Use};

const BUCKET: On = On::Other("bucket");
const KEY: On = On::Other("kms_key");

const NEEDS: &[Need] = &[
    reads(&["s3:GetObject", "s3:GetObjectTagging"]),
    // Without it S3 denies access to an object that does not exist.
    reads(&["s3:ListBucket"]).on(BUCKET),
    creates(&["s3:PutObject", "s3:PutObjectTagging"]),
    updates(&["s3:GetObjectAcl", "s3:PutObject"]).with_default(WRITTEN),
    updates(&["s3:PutObjectTagging"]),
    reads(&["kms:Decrypt"]).with(&["kms_key"]).on(KEY).through("s3"),
    writes(&["kms:GenerateDataKey"]).with(&["kms_key"]).on(KEY).through("s3"),
    deletes(&["s3:DeleteObject"]),
];

/// The fields that are written with the object.
const WRITTEN: &[&str] = &[
    "cache_control",
    "content",
    "content_encoding",
    "content_type",
    "encryption_context",
    "kms_key",
    "metadata",
];

/// As [`Resource::permissions`](crate::resource::Resource::permissions).
pub(super) fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
    needs::of(NEEDS, used, desired, |on| match on {
        BUCKET => vec![needs::in_s3(used.realm, &desired.bucket, None)],
        On::Other(_) => {
            desired.kms_key.as_deref().map(|key| needs::kms_key(used.realm, key)).into_iter().collect()
        }
        _ => vec![needs::in_s3(used.realm, &desired.bucket, Some(&desired.key))],
    })
}
