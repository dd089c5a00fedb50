//! The small object that a bucket is tried with.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ObjectLockMode;

use super::{Aws, unique};
use crate::error::Result;
use crate::proof::Undo;
use crate::providers::aws::body;
use crate::providers::aws::error::Answer;
use crate::providers::aws::s3_object::erase_versions;

/// Where the objects of trials are.
pub const FOLDER: &str = ".groundwork-verify/";
/// After how many seconds the object of another run has been abandoned: no trial takes that long.
const ABANDONED: u64 = 900;
/// For how many seconds a version is locked.
const LOCKED: u64 = 8;
/// The most that is read of an object that should be the trial's own.
const LIMIT: u64 = 4_096;

/// An object in a bucket, under a random name.
pub(super) struct Trial<'a> {
    pub s3: Client,
    pub bucket: &'a str,
    pub key: String,
    owner: &'a str,
    /// When its lock ends, in seconds since 1970, in a bucket that locks.
    locked_until: Option<u64>,
}

impl<'a> Trial<'a> {
    /// Makes nothing yet, and registers the removal of every version that will be there.
    pub(super) fn of<'p>(
        prover: &Aws<'p>,
        s3: Client,
        (bucket, owner): (&'a str, &'a str),
        locks: bool,
    ) -> (Self, Undo<'p>) {
        let locked_until = locks.then(|| now() + LOCKED);
        let key = format!("{FOLDER}{}-{}", now(), unique());
        let (client, of, name, whose) = (s3.clone(), bucket.to_owned(), key.clone(), owner.to_owned());
        let undo = prover.undo(format!("the object {key}"), move || {
            let (client, of, name, whose) = (client.clone(), of.clone(), name.clone(), whose.clone());
            async move {
                // A lock that ends by itself takes no permission to lift it.
                if let Some(until) = locked_until {
                    tokio::time::sleep(Duration::from_secs((until + 1).saturating_sub(now()))).await;
                }
                erase_versions(&client, &of, &name, &whose).await
            }
        });
        (Self { s3, bucket, key, owner, locked_until }, undo)
    }

    /// Writes it, as a client that asks for no encryption. In a bucket that locks, the lock is one of seconds in
    /// place of the bucket's own.
    pub(super) async fn put(&self, text: &str) -> Result<PutObjectOutput> {
        let request = self.s3.put_object().bucket(self.bucket).key(&self.key);
        let request =
            request.expected_bucket_owner(self.owner).body(ByteStream::from(text.as_bytes().to_vec()));
        let request = match self.locked_until.and_then(|until| i64::try_from(until).ok()) {
            Some(until) => request
                .object_lock_mode(ObjectLockMode::Governance)
                .object_lock_retain_until_date(DateTime::from_secs(until)),
            None => request,
        };
        request.send().await.at("s3:PutObject")
    }

    /// The text of one version; `None` when it is gone.
    pub(super) async fn get(&self, version: &str) -> Result<Option<String>> {
        const GET: &str = "s3:GetObjectVersion";
        let request = self.s3.get_object().bucket(self.bucket).key(&self.key).version_id(version);
        let answer = request.expected_bucket_owner(self.owner).send().await;
        let Some(answer) = answer.found(GET, &["NoSuchVersion", "NoSuchKey"])? else { return Ok(None) };
        let bytes = body::read(answer.body, LIMIT, GET).await?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Tries to delete one version.
    pub(super) async fn delete(&self, version: &str) -> Result<()> {
        let request = self.s3.delete_object().bucket(self.bucket).key(&self.key).version_id(version);
        request.expected_bucket_owner(self.owner).send().await.at("s3:DeleteObjectVersion").map(drop)
    }
}

/// Removes what runs that were killed have left. Returns how many objects there were.
///
/// # Errors
/// When they cannot be listed or removed.
pub(super) async fn sweep(s3: &Client, bucket: &str, owner: &str) -> Result<usize> {
    let request = s3.list_object_versions().bucket(bucket).prefix(FOLDER).expected_bucket_owner(owner);
    let page = request.send().await.at("s3:ListObjectVersions")?;
    let versions = page.versions.unwrap_or_default().into_iter().map(|one| (one.key, one.last_modified));
    let markers = page.delete_markers.unwrap_or_default().into_iter().map(|one| (one.key, one.last_modified));
    let all = versions.chain(markers).filter_map(|(key, written)| Some((key?, written)));
    let old: BTreeSet<String> =
        all.filter(|(key, written)| is_abandoned(key, written.as_ref())).map(|(key, _)| key).collect();
    for key in &old {
        erase_versions(s3, bucket, key, owner).await?;
    }
    Ok(old.len())
}

/// Whether the trial of an object began long ago, as its name says; one without a time in its name, when it was
/// written long ago.
fn is_abandoned(key: &str, written: Option<&DateTime>) -> bool {
    let named = key.strip_prefix(FOLDER).and_then(|rest| rest.split_once('-')?.0.parse().ok());
    let began = named.or_else(|| u64::try_from(written?.secs()).ok());
    began.is_some_and(|began: u64| began + ABANDONED < now())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_of_a_killed_run_is_told_by_its_time() {
        let written = |ago: u64| DateTime::from_secs(i64::try_from(now() - ago).unwrap_or_default());
        let named = |ago: u64| format!("{FOLDER}{}-ab12", now() - ago);
        assert!(
            is_abandoned(&named(ABANDONED + 60), None) && !is_abandoned(&named(60), Some(&written(9_999)))
        );
        assert!(is_abandoned(".groundwork-verify/ab12", Some(&written(ABANDONED + 60))));
        assert!(!is_abandoned(".groundwork-verify/ab12", Some(&written(60))));
        assert!(!is_abandoned(".groundwork-verify/ab12", None));
    }
}
