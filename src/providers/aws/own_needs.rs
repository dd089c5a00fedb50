//! The actions that the run itself needs in AWS: for custody, the journal's copy, the lock and backups.

use super::needs::{in_region, in_s3, kms_key, literal, secret};
use super::s3_bucket::S3Bucket;
use crate::place::Realm;
use crate::plan::settings::{
    BackupSettings, BackupStoreSettings, CustodySettings, RecipientSettings, StoreSettings,
};
use crate::plan::{LockPlace, S3Location, bucket_and_prefix};
use crate::resource::Resource;
use crate::run::{Command, Condition, Declared, Kept, Permission};

type Named = (&'static str, Permission);

/// The permissions, each with the part of the run that needs it.
pub fn of(command: Command, kept: &Kept<'_>, realm: &Realm) -> Vec<Named> {
    let custody = kept.custody.into_iter().flat_map(|custody| of_custody(command, custody, kept, realm));
    let journal = kept.journal.into_iter().flat_map(|place| of_journal(command, place, kept, realm));
    let lock = kept.lock.filter(|_| command.writes()).into_iter();
    let lock = lock.flat_map(|place| of_lock(place, kept, realm));
    let backups = kept.backups.into_iter().flat_map(|settings| of_backups(command, settings, kept, realm));
    custody.chain(journal).chain(lock).chain(backups).collect()
}

/// One permission for each action.
fn all(what: &'static str, on: &str, actions: &'static [&'static str]) -> Vec<Named> {
    actions.chunks(1).map(|action| (what, Permission::new(on, action))).collect()
}

fn of_custody(command: Command, custody: &CustodySettings, kept: &Kept<'_>, realm: &Realm) -> Vec<Named> {
    const WHAT: &str = "custody";
    let mut found = Vec::new();
    let writes = command == Command::Apply;
    for recipient in &custody.recipients {
        if let RecipientSettings::Kms(key) = recipient {
            let key = kms_key(realm, key);
            found.extend(all(WHAT, &key, &["kms:Decrypt"]));
            found.extend(writes.then(|| all(WHAT, &key, &["kms:Encrypt"])).into_iter().flatten());
        }
    }
    for store in &custody.stores {
        match store {
            StoreSettings::File(_) => {}
            StoreSettings::S3(url) => {
                let Some((bucket, prefix)) = bucket_and_prefix(url) else { continue };
                let (whole, objects) =
                    (in_s3(realm, bucket, None), in_s3(realm, bucket, Some(&prefix)) + "*");
                found.extend(all(WHAT, &whole, &["s3:ListBucket"]));
                found.extend(all(WHAT, &objects, &["s3:GetObject"]));
                if writes {
                    found.extend(all(WHAT, &whole, &["s3:GetBucketVersioning"]));
                    found.extend(all(WHAT, &objects, &["s3:GetObjectVersion", "s3:PutObject"]));
                }
                found.extend(of_bucket_key(WHAT, bucket, writes, kept, realm));
            }
            StoreSettings::Secretsmanager(prefix) => {
                let [secrets, _] = secret(realm, &format!("{}/*", literal(prefix)));
                let of_all = &["secretsmanager:BatchGetSecretValue", "secretsmanager:ListSecrets"];
                found.extend(all(WHAT, "*", of_all));
                found.extend(all(WHAT, &secrets, &["secretsmanager:GetSecretValue"]));
                if writes {
                    let written = &[
                        "secretsmanager:CreateSecret",
                        "secretsmanager:DescribeSecret",
                        "secretsmanager:PutSecretValue",
                    ];
                    found.extend(all(WHAT, &secrets, written));
                }
            }
        }
    }
    found
}

/// Without `s3:ListBucket`, S3 denies access to an object that does not exist.
fn of_journal(command: Command, place: &S3Location, kept: &Kept<'_>, realm: &Realm) -> Vec<Named> {
    const WHAT: &str = "journal";
    let object = in_s3(realm, &place.bucket, Some(&place.key));
    let mut found = all(WHAT, &object, &["s3:GetObject"]);
    found.extend(all(WHAT, &in_s3(realm, &place.bucket, None), &["s3:ListBucket"]));
    if command.writes() {
        found.extend(all(WHAT, &object, &["s3:PutObject"]));
    }
    found.extend(of_bucket_key(WHAT, &place.bucket, command.writes(), kept, realm));
    found
}

fn of_lock(place: &LockPlace, kept: &Kept<'_>, realm: &Realm) -> Vec<Named> {
    const WHAT: &str = "lock";
    match place {
        LockPlace::Item { table, .. } => {
            let table = in_region(realm, "dynamodb", &format!("table/{}", literal(table)));
            all(WHAT, &table, &["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem"])
        }
        LockPlace::Object(place) => {
            let object = in_s3(realm, &place.bucket, Some(&place.key));
            let mut found = all(WHAT, &object, &["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]);
            found.extend(of_bucket_key(WHAT, &place.bucket, true, kept, realm));
            found
        }
    }
}

/// Each object is asked for after it was written. Old ones are removed after a new one was stored.
fn of_backups(command: Command, settings: &BackupSettings, kept: &Kept<'_>, realm: &Realm) -> Vec<Named> {
    const WHAT: &str = "backup";
    let writes = command == Command::Backup;
    if !writes && command != Command::Restore {
        return Vec::new();
    }
    let mut found = Vec::new();
    for store in &settings.stores {
        let BackupStoreSettings::S3(url) = store else { continue };
        let Some((bucket, prefix)) = bucket_and_prefix(url) else { continue };
        let objects = in_s3(realm, bucket, Some(&prefix)) + "*";
        found.extend(all(WHAT, &in_s3(realm, bucket, None), &["s3:ListBucket"]));
        found.extend(all(WHAT, &objects, &["s3:GetObject"]));
        if writes {
            found.extend(all(WHAT, &objects, &["s3:DeleteObject", "s3:PutObject"]));
            // Without it, the parts of a large one that was broken off stay, and cost.
            found.extend(all(WHAT, &objects, &["s3:AbortMultipartUpload"]));
        }
        found.extend(of_bucket_key(WHAT, bucket, writes, kept, realm));
    }
    found
}

/// The key with which the plan has S3 encrypt every object of a bucket: S3 asks for it in the caller's name.
fn of_bucket_key(
    what: &'static str,
    bucket: &str,
    writes: bool,
    kept: &Kept<'_>,
    realm: &Realm,
) -> Vec<Named> {
    let key_of = |step: &&dyn Declared| {
        let fields = step.fields();
        let key = fields["encryption"]["kms_key"].as_str().filter(|_| fields["name"] == bucket);
        key.map(ToOwned::to_owned)
    };
    // To have the fields of a step they are all written out.
    let mut buckets = kept.steps.iter().filter(|step| step.kind() == S3Bucket::KIND);
    let Some(key) = buckets.find_map(key_of) else { return Vec::new() };
    let actions: &'static [&'static str] =
        if writes { &["kms:Decrypt", "kms:GenerateDataKey"] } else { &["kms:Decrypt"] };
    let only = Condition::through("s3", realm);
    let named = all(what, &kms_key(realm, &key), actions).into_iter();
    named.map(|(what, one)| (what, Permission { only: Some(only.clone()), ..one })).collect()
}
