//! A bucket's controls are tried with an object of a moment.

use aws_sdk_s3::primitives::ByteStream;

use super::Aws;
pub(in crate::providers::aws) use super::bucket_trial::FOLDER;
use super::bucket_trial::{Trial, sweep};
use crate::error::{Error, ErrorKind, Result};
use crate::proof::Undo;
use crate::providers::aws::error::Answer;
use crate::providers::aws::kms_key::is_same_key;
use crate::providers::aws::s3_bucket::Desired;

const SWEEPS: &str = "removes what a killed verification left";
const STORES: &str = "stores an object";
const ENCRYPTS: &str = "encrypts an object that asks for no encryption";
const KEEPS: &str = "keeps what is overwritten";
const LOCKS: &str = "does not give up a locked version, until its lock ends";
const SEE_BUCKET: &str =
    "compare the bucket with the plan (`groundwork plan`), and its history with who may change it";

/// The two texts that are written, one over the other.
const FIRST: &str = "Written by groundwork verify, and removed again.\n";
const SECOND: &str = "Written over another by groundwork verify, and removed again.\n";

/// Tries what the plan declares: encryption, versions, the lock, and that strangers are refused.
pub(in crate::providers::aws) async fn prove(prover: &Aws<'_>, desired: &Desired) {
    let s3 = prover.write(prover.permit()).s3_in(desired.region.as_deref());
    let Some(owner) = prover.ask(STORES, "the account is known", prover.account_id().await) else { return };
    let copies = replicates(&s3, &desired.name, owner).await;
    match prover.ask(STORES, "whether it copies objects elsewhere is known", copies) {
        None => return,
        Some(true) => {
            let needs =
                "a bucket that does not replicate: the copy of an object would stay in the other bucket";
            return prover.untried(STORES, needs);
        }
        Some(false) => {}
    }
    match prover.ask(SWEEPS, "they are removed", sweep(&s3, &desired.name, owner).await) {
        None => return,
        Some(0) => {}
        Some(count) => prover.proven(format!("{SWEEPS}: {count}")),
    }
    let (trial, undo) = Trial::of(prover, s3, (&desired.name, owner), desired.object_lock);
    let locks = with(prover, desired, &trial).await;
    end(prover, undo, locks).await;
}

/// Does everything with the object. Returns whether its lock held.
async fn with(prover: &Aws<'_>, desired: &Desired, trial: &Trial<'_>) -> bool {
    let Some(first) = prover.ask(STORES, "an object is stored", trial.put(FIRST).await) else { return false };
    let algorithm = first.server_side_encryption.as_ref().map(|algorithm| algorithm.as_str());
    match judge(desired.kms_key(), algorithm, first.ssekms_key_id.as_deref()) {
        Verdict::Good => prover.proven(ENCRYPTS),
        // S3 of Amazon always says how; an emulator may not.
        Verdict::Silent => prover.proven(STORES),
        Verdict::Wrong(expected, seen) => prover.failed(ENCRYPTS, expected, seen, SEE_BUCKET),
    }
    if desired.versioning.is_on() {
        let kept = keeps(trial, first.version_id.as_deref()).await;
        if let Some(kept) = prover.ask(KEEPS, "the first version is still there", kept) {
            let seen = if kept { "the first version is still there" } else { "the first version is gone" };
            prover.compare(KEEPS, &"the first version is still there", &seen, SEE_BUCKET);
        }
    }
    let locks = match first.version_id.filter(|_| desired.object_lock) {
        Some(version) => locks(prover, trial, &version).await,
        None => false,
    };
    if desired.block_public_access.is_on() {
        strangers(prover, desired, trial).await;
    }
    if desired.tls_only.is_on() {
        in_the_clear(prover, desired, trial).await;
    }
    locks
}

/// Removes what was made. The refusal of a locked version proves the lock only when the same caller could remove
/// it later.
async fn end(prover: &Aws<'_>, undo: Undo<'_>, locks: bool) {
    // A failure is tried again, and reported, at the end.
    if undo.now().await.is_ok() && locks {
        prover.proven(LOCKS);
    }
}

/// Whether objects are copied into other buckets, by any setting.
async fn replicates(s3: &aws_sdk_s3::Client, bucket: &str, owner: &str) -> Result<bool> {
    let answer = s3.get_bucket_replication().bucket(bucket).expected_bucket_owner(owner).send().await;
    let answer =
        answer.found("s3:GetReplicationConfiguration", &["ReplicationConfigurationNotFoundError"])?;
    let rules = answer.and_then(|answer| answer.replication_configuration).map(|found| found.rules);
    Ok(rules.is_some_and(|rules| !rules.is_empty()))
}

async fn keeps(trial: &Trial<'_>, first: Option<&str>) -> Result<bool> {
    let second = trial.put(SECOND).await?;
    let Some(first) = first.filter(|first| Some(*first) != second.version_id.as_deref()) else {
        return Ok(false);
    };
    Ok(trial.get(first).await?.as_deref() == Some(FIRST))
}

/// Whether the deletion of a version that is locked is refused.
async fn locks(prover: &Aws<'_>, trial: &Trial<'_>, version: &str) -> bool {
    match trial.delete(version).await {
        Ok(()) => {
            prover.failed(LOCKS, "S3 refuses to delete it", "it is deleted", SEE_BUCKET);
            false
        }
        Err(error) if is_refusal(&error) => true,
        Err(error) => {
            prover.refused(LOCKS, "S3 refuses to delete it", &error);
            false
        }
    }
}

/// Reads and writes the object without credentials.
async fn strangers(prover: &Aws<'_>, desired: &Desired, trial: &Trial<'_>) {
    let s3 = prover.unsigned_s3(prover.permit(), desired.region.as_deref());
    let read = s3.get_object().bucket(trial.bucket).key(&trial.key).send().await.at("s3:GetObject").map(drop);
    stranger(prover, "a reader without credentials is refused", read);
    let write = s3.put_object().bucket(trial.bucket).key(&trial.key);
    let write = write.body(ByteStream::from_static(SECOND.as_bytes())).send().await;
    stranger(prover, "a writer without credentials is refused", write.at("s3:PutObject").map(drop));
}

/// Reads the object without TLS, where its endpoint has that. An endpoint that has no TLS at all, as in a sandbox,
/// says nothing; neither does one that does not answer there.
async fn in_the_clear(prover: &Aws<'_>, desired: &Desired, trial: &Trial<'_>) {
    let Some(s3) = prover.plain_s3(desired.region.as_deref()) else { return };
    let request = s3.get_object().bucket(trial.bucket).key(&trial.key);
    let answer = request.send().await.at("s3:GetObject").map(drop);
    if !answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Unavailable) {
        stranger(prover, "a request without TLS is refused", answer);
    }
}

fn stranger(prover: &Aws<'_>, tried: &str, answer: Result<()>) {
    match answer {
        Ok(()) => prover.failed(
            tried,
            "S3 refuses it",
            "S3 lets it in",
            "see what `groundwork plan` says of the bucket, close it with `groundwork apply`, then find out who opened it",
        ),
        Err(error) if is_refusal(&error) => prover.proven(tried),
        Err(error) => prover.refused(tried, "S3 refuses it", &error),
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Denied | ErrorKind::Unauthenticated)
}

/// The verdict of an object's encryption on the bucket.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// The endpoint does not say how it encrypts, and need not.
    Silent,
    /// Expected and seen.
    Wrong(String, String),
}

fn judge(declared: Option<&str>, algorithm: Option<&str>, key: Option<&str>) -> Verdict {
    let seen = || match (algorithm, key) {
        (None, _) => "no encryption".to_owned(),
        (Some(algorithm), None) => algorithm.to_owned(),
        (Some(algorithm), Some(key)) => format!("{algorithm} with {key}"),
    };
    let is_kms = algorithm.is_some_and(|algorithm| algorithm.starts_with("aws:kms"));
    match declared {
        None if algorithm.is_none() => Verdict::Silent,
        None if is_kms => Verdict::Wrong("AES256".to_owned(), seen()),
        None => Verdict::Good,
        // S3 answers with the key that an alias names.
        Some(declared) if is_kms && (declared.contains("alias/") || is_same_key(key, Some(declared))) => {
            Verdict::Good
        }
        Some(declared) => Verdict::Wrong(format!("aws:kms with {declared}"), seen()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_is_judged_by_algorithm_and_key() {
        let arn = "arn:aws:kms:us-east-1:111111111111:key/a-1";
        let is_wrong =
            |declared, algorithm, key| matches!(judge(declared, algorithm, key), Verdict::Wrong(..));
        assert_eq!(judge(None, None, None), Verdict::Silent);
        assert_eq!(judge(None, Some("AES256"), None), Verdict::Good);
        assert_eq!(judge(Some("a-1"), Some("aws:kms"), Some(arn)), Verdict::Good);
        assert_eq!(judge(Some("alias/x"), Some("aws:kms:dsse"), Some(arn)), Verdict::Good);
        assert!(is_wrong(None, Some("aws:kms"), Some(arn)));
        assert!(is_wrong(Some("b-2"), Some("aws:kms"), Some(arn)));
        assert!(is_wrong(Some("a-1"), Some("AES256"), None));
        assert!(is_wrong(Some("a-1"), None, None));
    }
}
