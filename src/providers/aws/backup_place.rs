//! A bucket that keeps backups.
//!
//! Every object is written once (`If-None-Match`) with its SHA-256, which S3 compares with what arrived. The
//! bucket's own default encryption and object lock apply.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::body;
use super::client::{AwsClient, missing};
use super::error::{Answer, taken};
use crate::backup::{BackupPlace, FromStart, Payload, unreadable};
use crate::confined_path::OBJECT;
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::plan::S3Location;

const PUT: &str = "s3:PutObject";
const GET: &str = "s3:GetObject";
const HEAD: &str = "s3:HeadObject";
const ABSENT: [&str; 3] = ["NoSuchKey", "NotFound", "NoSuchBucket"];
/// The length of a part, and of the longest object that is sent in one request.
const PART: u32 = 16 << 20;

/// A prefix in a bucket that keeps backups.
#[derive(Debug)]
pub struct S3BackupPlace {
    client: Arc<AwsClient>,
    place: S3Location,
}

impl S3BackupPlace {
    /// Sends nothing.
    pub fn new(client: Arc<AwsClient>, place: S3Location) -> Self {
        Self { client, place }
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.place.key)
    }

    async fn put_bytes(&self, permit: &Permit, key: &str, bytes: Vec<u8>) -> Result<()> {
        let sum = checksum(&bytes);
        let request = self.client.write(permit).s3.put_object().bucket(&self.place.bucket).key(key);
        let request = request.expected_bucket_owner(self.client.account_id().await?);
        let request = request.checksum_sha256(&sum).if_none_match("*").body(ByteStream::from(bytes));
        self.settle(request.send().await.at(PUT).map(drop), key, &sum).await?;
        self.require_arrived(key, None, Some(&sum)).await
    }

    /// A write whose answer was lost is sent again, and refused because of itself: then the object is the one that was
    /// sent.
    async fn settle(&self, written: Result<()>, key: &str, sum: &str) -> Result<()> {
        let Err(error) = written else { return Ok(()) };
        let error = taken(error);
        let is_ours = error.kind == ErrorKind::Conflict && self.sum(key).await?.as_deref() == Some(sum);
        if is_ours { Ok(()) } else { Err(error) }
    }

    /// The checksum that S3 has of an object.
    async fn sum(&self, key: &str) -> Result<Option<String>> {
        let request = self.client.read().s3.head_object().bucket(&self.place.bucket).key(key);
        let request = request.expected_bucket_owner(self.client.account_id().await?);
        Ok(request.checksum_mode(ChecksumMode::Enabled).send().await.at(HEAD)?.checksum_sha256)
    }

    /// Asks for what the bucket has now: emulators and gateways may take a request and lose its body.
    async fn require_arrived(&self, key: &str, bytes: Option<u64>, sum: Option<&str>) -> Result<()> {
        let request = self.client.read().s3.head_object().bucket(&self.place.bucket).key(key);
        let request = request.expected_bucket_owner(self.client.account_id().await?);
        let head = request.checksum_mode(ChecksumMode::Enabled).send().await.at(HEAD)?;
        let length = head.content_length.and_then(|length| u64::try_from(length).ok());
        let differs = bytes.is_some_and(|bytes| length != Some(bytes))
            || sum.is_some_and(|sum| head.checksum_sha256.as_deref().is_some_and(|kept| kept != sum));
        if differs {
            return Err(Error::new(ErrorKind::Unavailable, HEAD, "what the bucket has is not what was sent"));
        }
        Ok(())
    }

    async fn put_parts(&self, permit: &Permit, key: &str, file: &mut FromStart, bytes: u64) -> Result<()> {
        let s3 = &self.client.write(permit).s3;
        let owner = self.client.account_id().await?;
        let request = s3.create_multipart_upload().bucket(&self.place.bucket).key(key);
        let request = request.expected_bucket_owner(owner).checksum_algorithm(ChecksumAlgorithm::Sha256);
        let upload = request.send().await.at("s3:CreateMultipartUpload")?.upload_id;
        let upload = upload.ok_or_else(|| missing("s3:CreateMultipartUpload", "UploadId"))?;
        let sent = self.send_parts(permit, key, &upload, file).await;
        if sent.is_err() {
            let request = s3.abort_multipart_upload().bucket(&self.place.bucket).key(key);
            // Parts cost money until they are removed; the first error is the one to report.
            let _ = request.expected_bucket_owner(owner).upload_id(upload).send().await;
        }
        sent?;
        self.require_arrived(key, Some(bytes), None).await
    }

    async fn send_parts(&self, permit: &Permit, key: &str, upload: &str, file: &mut FromStart) -> Result<()> {
        let s3 = &self.client.write(permit).s3;
        let owner = self.client.account_id().await?;
        let (mut parts, mut sums) = (Vec::new(), Vec::new());
        for number in 1.. {
            let mut part = Vec::new();
            file.by_ref().take(PART.into()).read_to_end(&mut part).map_err(|error| unreadable(&error))?;
            if part.is_empty() {
                break;
            }
            let sum = checksum(&part);
            sums.extend_from_slice(digest(&SHA256, &part).as_ref());
            let request = s3.upload_part().bucket(&self.place.bucket).key(key).upload_id(upload);
            let request = request.expected_bucket_owner(owner).part_number(number).checksum_sha256(&sum);
            let sent = request.body(ByteStream::from(part)).send().await.at("s3:UploadPart")?;
            let part = CompletedPart::builder().part_number(number).checksum_sha256(sum);
            parts.push(part.set_e_tag(sent.e_tag).build());
        }
        // The checksum of the whole is that of its parts' checksums, with their number.
        let whole = format!("{}-{}", checksum(&sums), parts.len());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = s3.complete_multipart_upload().bucket(&self.place.bucket).key(key).upload_id(upload);
        let request = request.expected_bucket_owner(owner).if_none_match("*").multipart_upload(parts);
        self.settle(request.send().await.at("s3:CompleteMultipartUpload").map(drop), key, &whole).await
    }
}

fn checksum(bytes: &[u8]) -> String {
    STANDARD.encode(digest(&SHA256, bytes))
}

#[async_trait]
impl BackupPlace for S3BackupPlace {
    fn describe(&self) -> String {
        self.place.to_string()
    }

    async fn list(&self) -> Result<Vec<String>> {
        let root = self.key("");
        let pages = self.client.read().s3.list_objects_v2().bucket(&self.place.bucket).prefix(&root);
        let pages = pages.expected_bucket_owner(self.client.account_id().await?);
        let pages = pages.into_paginator().send().try_collect().await;
        let pages = pages.found("s3:ListObjectsV2", &ABSENT)?.unwrap_or_default();
        let objects = pages.into_iter().flat_map(|page| page.contents.unwrap_or_default());
        Ok(objects.filter_map(|object| Some(object.key()?.strip_prefix(&root)?.to_owned())).collect())
    }

    async fn put(&self, permit: &Permit, name: &str, payload: Payload<'_>) -> Result<()> {
        let key = self.key(name);
        let (file, bytes) = match payload {
            Payload::Text(text) => return self.put_bytes(permit, &key, text.to_vec()).await,
            Payload::File { file, bytes } => (file, bytes),
        };
        let mut file = FromStart::of(file)?;
        if bytes > u64::from(PART) {
            return self.put_parts(permit, &key, &mut file, bytes).await;
        }
        let mut all = Vec::new();
        file.read_to_end(&mut all).map_err(|error| unreadable(&error))?;
        self.put_bytes(permit, &key, all).await
    }

    async fn text(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let request = self.client.read().s3.get_object().bucket(&self.place.bucket).key(self.key(name));
        let request = request.expected_bucket_owner(self.client.account_id().await?);
        match request.send().await.found(GET, &ABSENT)? {
            Some(found) => body::read(found.body, OBJECT, GET).await.map(Some),
            None => Ok(None),
        }
    }

    /// In ranges, each of which is read whole.
    async fn fetch(&self, name: &str, file: &mut File) -> Result<()> {
        let (key, owner) = (self.key(name), self.client.account_id().await?);
        let request = self.client.read().s3.head_object().bucket(&self.place.bucket).key(&key);
        let head = request.expected_bucket_owner(owner).send().await.at(HEAD)?;
        let length = head.content_length.unwrap_or_default();
        let mut position = 0;
        while position < length {
            let end = (position + i64::from(PART)).min(length) - 1;
            let request = self.client.read().s3.get_object().bucket(&self.place.bucket).key(&key);
            let request = request.expected_bucket_owner(owner).range(format!("bytes={position}-{end}"));
            // Another object under this name would have another tag.
            let found = request.set_if_match(head.e_tag.clone()).send().await.at(GET)?;
            let part = body::read(found.body, PART.into(), GET).await?;
            file.write_all(&part).map_err(|error| unreadable(&error))?;
            position = end + 1;
        }
        Ok(())
    }

    async fn remove(&self, permit: &Permit, name: &str) -> Result<()> {
        let request = self.client.write(permit).s3.delete_object();
        let request = request.bucket(&self.place.bucket).key(self.key(name));
        let request = request.expected_bucket_owner(self.client.account_id().await?);
        request.send().await.found("s3:DeleteObject", &ABSENT).map(drop)
    }
}
