//! One object in S3 that is only ever changed when it is still as it was seen: the journal's copy
//! and the lock object. <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html>

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;

use super::bucket_object::Kept;
use super::client::missing;
use super::error::Answer;
use super::{AwsClient, body};
use crate::confined_path::JOURNAL;
use crate::error::Result;
use crate::journal::mirror::{Copy, Place, Stored};
use crate::lock::{self, Held, Info, Put};
use crate::permit::Permit;
use crate::plan::S3Location;
use crate::providers::patience::Patience;

const GET: &str = "s3:GetObject";
const PUT: &str = "s3:PutObject";
const DELETE: &str = "s3:DeleteObject";
const NO_BUCKET: &str = "NoSuchBucket";
/// Neither the object nor, before the plan has made it, the bucket.
const ABSENT: [&str; 3] = ["NoSuchKey", NO_BUCKET, "NotFound"];
/// The object is not as expected, or another process is changing it at this moment.
const MOVED: [&str; 2] = ["PreconditionFailed", "ConditionalRequestConflict"];

/// An object and the way to it.
#[derive(Debug)]
pub struct S3Object {
    aws: Arc<AwsClient>,
    place: S3Location,
    /// Settings of the object that a plan does not declare, as last read.
    kept: Mutex<Kept>,
    patience: Patience,
}

impl S3Object {
    /// The object at `place`.
    pub fn new(aws: Arc<AwsClient>, place: S3Location) -> Self {
        let patience = Patience::with(place.to_string());
        Self { aws, place, kept: Mutex::default(), patience }
    }

    async fn get(&self) -> Result<Option<Copy>> {
        self.patience.read(GET, self.get_now()).await
    }

    async fn get_now(&self) -> Result<Option<Copy>> {
        let request = self.aws.read().s3.get_object().bucket(&self.place.bucket).key(&self.place.key);
        let request = request.expected_bucket_owner(self.aws.account_id().await?);
        let Some(answer) = request.send().await.found(GET, &ABSENT)? else { return Ok(None) };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::of(&answer);
        let version = answer.e_tag.ok_or_else(|| missing(GET, "ETag"))?;
        Ok(Some(Copy { text: body::read(answer.body, JOURNAL, GET).await?, version }))
    }

    async fn put(
        &self,
        permit: &Permit,
        body: &[u8],
        media_type: &str,
        version: Option<&str>,
    ) -> Result<Stored> {
        self.patience.write(PUT, self.put_now(permit, body, media_type, version)).await
    }

    /// A version that is replaced keeps the key that encrypts it.
    async fn put_now(
        &self,
        permit: &Permit,
        body: &[u8],
        media_type: &str,
        version: Option<&str>,
    ) -> Result<Stored> {
        let request = self.aws.write(permit).s3.put_object().bucket(&self.place.bucket).key(&self.place.key);
        let request = request.expected_bucket_owner(self.aws.account_id().await?);
        let request = request.body(ByteStream::from(body.to_vec())).content_type(media_type);
        let request = match version {
            Some(version) => {
                let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
                kept.send_encryption(false, request.if_match(version))
            }
            None => request.if_none_match("*"),
        };
        let answer = request.send().await;
        match answer.as_ref().err().and_then(|error| error.as_service_error()).and_then(code) {
            Some(NO_BUCKET) => return Ok(Stored::Nowhere),
            // The object that was to be replaced has gone.
            Some("NoSuchKey") => return Ok(Stored::Moved),
            Some(code) if MOVED.contains(&code) => return Ok(Stored::Moved),
            _ => {}
        }
        Ok(Stored::As(answer.at(PUT)?.e_tag.ok_or_else(|| missing(PUT, "ETag"))?))
    }

    /// Deletes each version and marker, because S3 would keep a deleted object as an old version.
    async fn erase_now(&self, permit: &Permit) -> Result<()> {
        let S3Location { bucket, key } = &self.place;
        erase_versions(&self.aws.write(permit).s3, bucket, key, self.aws.account_id().await?).await
    }

    async fn remove_now(&self, permit: &Permit, held: &Held) -> Result<bool> {
        let request =
            self.aws.write(permit).s3.delete_object().bucket(&self.place.bucket).key(&self.place.key);
        let request = request.expected_bucket_owner(self.aws.account_id().await?).if_match(&held.proof);
        let answer = request.send().await;
        let code =
            answer.as_ref().err().and_then(|error| error.as_service_error()).and_then(|e| e.meta().code());
        if code.is_some_and(|code| MOVED.contains(&code)) {
            return Ok(false);
        }
        answer.found(DELETE, &ABSENT).map(|_| true)
    }
}

/// Deletes each version and marker of an object.
///
/// # Errors
/// The first one that S3 gives. A bucket or an object that is gone is none.
pub(super) async fn erase_versions(
    s3: &aws_sdk_s3::Client,
    bucket: &str,
    key: &str,
    owner: &str,
) -> Result<()> {
    loop {
        let request = s3.list_object_versions().bucket(bucket).prefix(key).expected_bucket_owner(owner);
        let answer = request.send().await.found("s3:ListObjectVersions", &ABSENT)?;
        let Some(page) = answer else { return Ok(()) };
        let versions = page.versions.unwrap_or_default().into_iter().map(|one| (one.key, one.version_id));
        let markers =
            page.delete_markers.unwrap_or_default().into_iter().map(|one| (one.key, one.version_id));
        let all = versions.chain(markers).filter(|(found, _)| found.as_deref() == Some(key));
        let all: Vec<Option<String>> = all.map(|(_, version)| version).collect();
        if all.is_empty() {
            return Ok(());
        }
        for version in all {
            let request = s3.delete_object().bucket(bucket).key(key);
            let request = request.expected_bucket_owner(owner).set_version_id(version);
            request.send().await.found(DELETE, &ABSENT)?;
        }
    }
}

fn code(error: &aws_sdk_s3::operation::put_object::PutObjectError) -> Option<&str> {
    error.meta().code()
}

#[async_trait]
impl Place for S3Object {
    async fn fetch(&self) -> Result<Option<Copy>> {
        self.get().await
    }

    async fn store(&self, permit: &Permit, text: &[u8], version: Option<&str>) -> Result<Stored> {
        self.put(permit, text, "application/x-ndjson", version).await
    }

    async fn erase(&self, permit: &Permit) -> Result<()> {
        self.patience.write(DELETE, self.erase_now(permit)).await
    }

    fn describe(&self) -> String {
        self.place.to_string()
    }
}

#[async_trait]
impl lock::Place for S3Object {
    async fn put(&self, permit: &Permit, info: &Info) -> Result<Put> {
        let body = serde_json::to_vec(info).expect("plain data");
        Ok(match self.put(permit, &body, "application/json", None).await? {
            Stored::As(_) => Put::Taken,
            Stored::Moved => Put::Refused,
            Stored::Nowhere => Put::Nowhere,
        })
    }

    async fn held(&self) -> Result<Option<Held>> {
        let Some(copy) = self.get().await? else { return Ok(None) };
        let info = serde_json::from_slice(&copy.text).map_err(|_| lock::unreadable(&self.path()))?;
        Ok(Some(Held { info, proof: copy.version }))
    }

    async fn remove(&self, permit: &Permit, held: &Held) -> Result<bool> {
        self.patience.write(DELETE, self.remove_now(permit, held)).await
    }

    async fn erase(&self, permit: &Permit) -> Result<()> {
        self.patience.write(DELETE, self.erase_now(permit)).await
    }

    fn path(&self) -> String {
        format!("{}/{}", self.place.bucket, self.place.key)
    }
}
