//! A bucket as one of custody's stores.
//!
//! The object `a/b` in version 2 is the key `<prefix>/a/b.2.json`, the same as in a folder, so that
//! `aws s3 sync` makes a file store of it.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::BucketVersioningStatus;

use super::body;
use super::client::{AwsClient, Services};
use super::error::{Answer, taken};
use crate::confined_path::OBJECT;
use crate::custody::Store;
use crate::custody::store::{parse_versioned, versioned};
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::plan::bucket_and_prefix;

/// The canary's key below the prefix. The leading dot keeps it from being an object.
const CANARY: &str = ".canary.json";
const NO_SUCH_BUCKET: &[&str] = &["NoSuchBucket"];

/// A store in a bucket that keeps versions.
#[derive(Debug)]
pub struct S3Store {
    client: Arc<AwsClient>,
    bucket: String,
    /// Ends with a slash, or is empty.
    prefix: String,
}

impl S3Store {
    /// The store at `s3://bucket/prefix`. Sends nothing.
    ///
    /// # Errors
    /// `Rejected` when `url` is of another form.
    pub fn new(client: Arc<AwsClient>, url: &str) -> Result<Self> {
        let (bucket, prefix) = bucket_and_prefix(url).ok_or_else(|| {
            let message = format!("`{url}` is not a place in S3");
            Error::new(ErrorKind::Rejected, "custody.stores", message)
                .advice("write `s3://BUCKET/PREFIX`, e.g. `s3://candlefish-custody/production`")
        })?;
        Ok(Self { client, bucket: bucket.to_owned(), prefix })
    }

    fn key(&self, name: &str, version: u32) -> String {
        format!("{}{}.json", self.prefix, versioned(name, version))
    }

    /// The objects whose names begin with `prefix`, with their versions. A bucket that does not
    /// exist has none: the same run may be about to make it.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, u32)>> {
        let pages = self.client.read().s3.list_objects_v2().bucket(&self.bucket);
        let pages = pages.expected_bucket_owner(self.client.account_id().await?);
        let pages = pages.prefix(format!("{}{prefix}", self.prefix)).into_paginator().send();
        let pages = pages.try_collect().await.found("s3:ListObjectsV2", NO_SUCH_BUCKET)?;
        let keys = pages.unwrap_or_default().into_iter().flat_map(|page| page.contents.unwrap_or_default());
        let parse = |key: &str| {
            let (name, version) = parse_versioned(key.strip_prefix(&self.prefix)?.strip_suffix(".json")?)?;
            Some((name.to_owned(), version))
        };
        Ok(keys.filter_map(|object| parse(object.key()?)).collect())
    }

    async fn get(&self, key: &str, version_id: Option<String>) -> Result<Vec<u8>> {
        const OPERATION: &str = "s3:GetObject";
        let request = self.client.read().s3.get_object().bucket(&self.bucket).key(key);
        let request = request.expected_bucket_owner(self.client.account_id().await?);
        let found = request.set_version_id(version_id).send().await.at(OPERATION)?;
        body::read(found.body, OBJECT, OPERATION).await
    }

    async fn put(&self, services: &Services, put: Put<'_>) -> Result<PutObjectOutput> {
        let request = services.s3.put_object().bucket(&self.bucket).key(put.key);
        let request = request.expected_bucket_owner(self.client.account_id().await?);
        let request = request.content_type("application/json").body(ByteStream::from(put.bytes.to_vec()));
        let answer = request.set_if_none_match(put.new.then(|| "*".to_owned())).send().await;
        answer.at("s3:PutObject").map_err(taken)
    }

    /// Requires a bucket that keeps the versions of overwritten and deleted objects.
    async fn check_versioning(&self) -> Result<()> {
        const OPERATION: &str = "s3:GetBucketVersioning";
        let request = self.client.read().s3.get_bucket_versioning().bucket(&self.bucket);
        let request = request.expected_bucket_owner(self.client.account_id().await?);
        if request.send().await.at(OPERATION)?.status == Some(BucketVersioningStatus::Enabled) {
            return Ok(());
        }
        let message =
            format!("the bucket {} keeps no versions, so one wrong `rm` would be final", self.bucket);
        Err(Error::new(ErrorKind::Rejected, OPERATION, message)
            .advice("enable versioning: `versioning: true` in its `aws.s3_bucket` step"))
    }

    async fn delete(&self, permit: &Permit, key: &str, version_id: Option<String>) -> Result<()> {
        let request = self.client.write(permit).s3.delete_object().bucket(&self.bucket).key(key);
        let request = request.expected_bucket_owner(self.client.account_id().await?);
        request.set_version_id(version_id).send().await.at("s3:DeleteObject").map(drop)
    }
}

/// One object to write.
struct Put<'a> {
    key: &'a str,
    bytes: &'a [u8],
    /// Refuse when there is one already.
    new: bool,
}

#[async_trait]
impl Store for S3Store {
    fn describe(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix.trim_end_matches('/'))
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>> {
        let found = self.list(&format!("{name}.")).await?;
        let mut versions: Vec<u32> =
            found.into_iter().filter(|(found, _)| found == name).map(|(_, version)| version).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    async fn read(&self, name: &str, version: u32) -> Result<Vec<u8>> {
        self.get(&self.key(name, version), None).await
    }

    async fn write(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        let key = self.key(name, version);
        self.put(self.client.write(permit), Put { key: &key, bytes, new: true }).await.map(drop)
    }

    /// Deletes each version, because S3 would keep a deleted object as an old version.
    async fn remove(&self, permit: &Permit, name: &str, version: u32) -> Result<()> {
        let key = self.key(name, version);
        let request = self.client.read().s3.list_object_versions().bucket(&self.bucket).prefix(&key);
        let request = request.expected_bucket_owner(self.client.account_id().await?);
        // One page has a thousand versions; an object that is written once has one or two.
        let page = request.send().await.at("s3:ListObjectVersions")?;
        let versions = page.versions.unwrap_or_default().into_iter().map(|one| (one.key, one.version_id));
        let markers = page.delete_markers.unwrap_or_default().into_iter();
        let versions = versions.chain(markers.map(|one| (one.key, one.version_id)));
        for (_, version_id) in versions.filter(|(found, _)| found.as_deref() == Some(&key)) {
            self.delete(permit, &key, version_id).await?;
        }
        Ok(())
    }

    /// The bucket keeps it as a version that is not the current one.
    async fn set_aside(&self, permit: &Permit, name: &str, version: u32) -> Result<()> {
        self.delete(permit, &self.key(name, version), None).await
    }

    /// The bucket keeps the damaged one as an older version.
    async fn repair(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        let key = self.key(name, version);
        self.put(self.client.write(permit), Put { key: &key, bytes, new: false }).await.map(drop)
    }

    async fn objects(&self, prefix: &str) -> Result<Vec<(String, u32)>> {
        self.list(prefix).await
    }

    /// Reads back and removes exactly the version that it wrote, because another run may do the same
    /// at the same time. A caller that may not delete can use the store all the same; the bucket's
    /// lifecycle removes old canaries.
    async fn probe(&self, permit: &Permit, bytes: &[u8]) -> Result<Vec<u8>> {
        self.check_versioning().await?;
        let key = format!("{}{CANARY}", self.prefix);
        let written = self.put(self.client.write(permit), Put { key: &key, bytes, new: false }).await?;
        let read = self.get(&key, written.version_id.clone()).await;
        match self.delete(permit, &key, written.version_id).await {
            Err(error) if error.kind != ErrorKind::Denied => Err(error),
            _ => read,
        }
    }
}
