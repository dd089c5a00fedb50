//! Compares the declared bucket with the live one.

use serde_json::{Value, json};

use super::desired::Desired;
use super::lifecycle::comparable;
use super::live::{LiveEncryption, Observed};
use super::statements;
use crate::providers::aws::kms_key::is_same_key;
use crate::providers::aws::policy::{self, Document, same_statement};
use crate::resource::{Diff, Tags};

const LOCK_IS_FIXED: &str = "object lock is enabled when a bucket is created and can never be disabled; \
                             create another bucket, or enable it by hand (s3:PutObjectLockConfiguration) and \
                             then declare it";

const OTHER_ENCRYPTION: &str = "the plan declares AES256 or `aws:kms`, and this bucket uses another \
                                encryption, which Groundwork does not overwrite; change it by hand first";

/// The differences, by field.
pub fn diff(desired: &Desired, observed: &Observed) -> Diff {
    let mut diff = Diff::none();
    diff.field("versioning", &observed.versioning, &desired.versioning.is_on());
    encryption(&mut diff, desired.kms_key(), &observed.encryption);
    diff.field("block_public_access", &observed.public_access_blocked, &desired.block_public_access.is_on())
        .field("bucket_owner_enforced", &observed.owner_enforced, &desired.bucket_owner_enforced.is_on());
    bucket_policy(&mut diff, desired, observed);
    if desired.access_logging.is_some() {
        diff.field("access_logging", &observed.access_logging(), &desired.access_logging);
    }
    if let Some(declared) = &desired.replication {
        diff.field("replication", &observed.replication, &Some(declared));
    }
    rules(&mut diff, desired, observed);
    diff.immutable("object_lock", &observed.object_lock, &desired.object_lock, LOCK_IS_FIXED);
    if desired.object_lock_retention.is_some() {
        diff.field("object_lock_retention", &observed.retention, &desired.object_lock_retention);
    }
    diff.entries("tags", &observed.tags, &desired.tags);
    diff
}

fn encryption(diff: &mut Diff, declared: Option<&str>, live: &LiveEncryption) {
    match (declared, live) {
        (_, LiveEncryption::Other(algorithm)) => {
            let after = declared.map_or("AES256", |_| "aws:kms");
            diff.immutable("encryption", algorithm, after, OTHER_ENCRYPTION);
        }
        (None, LiveEncryption::S3) => {}
        (None, LiveEncryption::None) => {
            diff.push("encryption", Value::Null, json!("AES256"));
        }
        (Some(declared), LiveEncryption::Kms { key, bucket_key })
            if is_same_key(Some(key.as_str()), Some(declared)) =>
        {
            diff.field("encryption.bucket_key", bucket_key, &true);
        }
        (declared, live) => {
            diff.push("encryption.kms_key", json!(live.kms_key()), json!(declared));
        }
    }
}

fn bucket_policy(diff: &mut Diff, desired: &Desired, observed: &Observed) {
    let tls = observed.tls_statement();
    let (live_tls, live_others) = split(observed.policy.as_ref(), &tls);
    diff.field("tls_only", &live_tls, &desired.tls_only.is_on());
    let live = live_others.and_then(|live| only(&live, |statement| is_ours(desired, observed, statement)));
    let declared = desired.policy.as_ref().map(|declared| {
        let others = split(Some(declared), &tls).1.unwrap_or_else(|| declared.with_statements(Vec::new()));
        observed.policy.as_ref().map_or(others.clone(), |live| others.inheriting(live))
    });
    let nothing = |document: &Document| document.value().is_object() && document.statements().is_empty();
    match (live, declared) {
        (None, None) => {}
        (None, Some(declared)) if nothing(&declared) => {}
        (Some(live), None) => {
            diff.push("policy", live.value().clone(), Value::Null);
        }
        (live, Some(declared)) => policy::compare(diff, "policy", live.as_ref(), &declared),
    }
    if !diff.touches("policy") {
        statements::RECORD.compare(diff, &observed.tags, &record(desired, observed));
    }
}

/// The tags that record the statements which the plan declares.
pub fn record(desired: &Desired, observed: &Observed) -> Tags {
    let tls = observed.tls_statement();
    let declared = desired.policy.as_ref().and_then(|declared| split(Some(declared), &tls).1);
    statements::record(declared.as_ref())
}

/// Whether the plan declares, has added, or would remove a live statement.
fn is_ours(desired: &Desired, observed: &Observed, statement: &Value) -> bool {
    let same_name = |other: &Value| {
        statements::sid(other).is_some() && statements::sid(other) == statements::sid(statement)
    };
    let declared = desired.policy.as_ref().map(Document::statements).unwrap_or_default();
    desired.policy_exact
        || statements::RECORD.has(&observed.tags, &desired.tags, &statements::identity(statement))
        || declared.iter().any(|other| same_name(other) || same_statement(other, statement))
}

/// The document with only its `wanted` statements; `None` if there are none.
fn only(document: &Document, wanted: impl Fn(&Value) -> bool) -> Option<Document> {
    let statements: Vec<Value> = document.statements().into_iter().filter(|one| wanted(one)).collect();
    (!statements.is_empty()).then(|| document.with_statements(statements))
}

/// Whether the TLS statement exists; and the document without it, if statements remain.
fn split(document: Option<&Document>, tls: &Value) -> (bool, Option<Document>) {
    let Some(document) = document else { return (false, None) };
    let others = only(document, |statement| !same_statement(statement, tls));
    let count = others.as_ref().map_or(0, |others| others.statements().len());
    (count < document.statements().len(), others)
}

/// The policy to write: declared statements, then those of others, then the TLS statement; `None` if it
/// would be empty.
pub fn merged_policy(desired: &Desired, observed: &Observed) -> Option<Document> {
    let tls = observed.tls_statement();
    let live = split(observed.policy.as_ref(), &tls).1;
    let theirs = live.and_then(|live| only(&live, |statement| !is_ours(desired, observed, statement)));
    let declared = desired.policy.as_ref().map(|declared| split(Some(declared), &tls).1);
    let declared = declared.map(|others| others.unwrap_or_else(|| Document::of(Vec::new())));
    // Document-level elements that the plan does not declare, such as the version, also apply to the
    // statements of others and stay as they are.
    let base = match (&declared, &observed.policy) {
        (Some(declared), Some(live)) => declared.inheriting(live),
        (Some(document), None) | (None, Some(document)) => document.clone(),
        (None, None) => Document::of(Vec::new()),
    };
    let parts = [declared, theirs].into_iter().flatten().flat_map(|document| document.statements());
    let statements: Vec<Value> = parts.chain(desired.tls_only.is_on().then_some(tls)).collect();
    (!statements.is_empty()).then(|| base.with_statements(statements))
}

fn rules(diff: &mut Diff, desired: &Desired, observed: &Observed) {
    let live = &observed.rules;
    diff.field(
        "noncurrent_version_expiration_days",
        &live.noncurrent_days(),
        &desired.noncurrent_version_expiration_days.get(),
    );
    diff.field(
        "abort_incomplete_uploads_days",
        &live.uploads_days(),
        &desired.abort_incomplete_uploads_days.get(),
    );
    if let Some(declared) = &desired.lifecycle_rules {
        diff.field("lifecycle_rules", &live.others_as_declared(), &comparable(declared));
    }
}

#[cfg(test)]
mod tests {
    use super::super::lifecycle::LiveRules;
    use super::*;
    use crate::providers::aws::tags::PLAN_TAG;

    fn desired(extra: Value) -> Desired {
        let mut fields = json!({ "name": "abc" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        serde_json::from_value(fields).expect("valid")
    }

    fn hardened() -> Observed {
        let mut observed = Observed::blank("abc", "us-east-1", "aws", false);
        observed.versioning = true;
        observed.encryption = LiveEncryption::S3;
        observed.public_access_blocked = true;
        observed.owner_enforced = true;
        let rules = LiveRules::default().merged(&desired(json!({}))).expect("rules");
        observed.rules = LiveRules::sort(rules);
        observed.policy = merged_policy(&desired(json!({})), &observed);
        observed
    }

    fn paths(extra: Value, observed: &Observed) -> Vec<String> {
        diff(&desired(extra), observed).changes.into_iter().map(|change| change.path).collect()
    }

    #[test]
    fn blank_bucket_differs_in_the_whole_baseline() {
        assert_eq!(
            paths(json!({}), &Observed::blank("abc", "us-east-1", "aws", false)),
            [
                "versioning",
                "encryption",
                "block_public_access",
                "bucket_owner_enforced",
                "tls_only",
                "noncurrent_version_expiration_days",
                "abort_incomplete_uploads_days"
            ]
        );
        assert!(paths(json!({}), &hardened()).is_empty());
    }

    #[test]
    fn every_safeguard_can_be_switched_off() {
        let off = json!({ "off": "r" });
        let all = json!({ "versioning": off, "block_public_access": off, "bucket_owner_enforced": off,
            "tls_only": off, "noncurrent_version_expiration_days": off, "abort_incomplete_uploads_days": off });
        assert_eq!(paths(all, &hardened()).len(), 6);
    }

    #[test]
    fn remaining_fields_are_compared() {
        let all = json!({ "encryption": { "kms_key": "k" },
            "access_logging": { "bucket": "logs" },
            "replication": { "role": "arn:r", "rules": [{ "id": "a", "destination": "arn:aws:s3:::d" }] }, "lifecycle_rules": [{ "id": "a", "expiration_days": 1 }],
            "object_lock": true, "object_lock_retention": { "mode": "compliance", "days": 1 }, "tags": { "a": "b" },
            "policy": { "Statement": { "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*" } } });
        let found = diff(&desired(all), &hardened());
        let paths: Vec<&str> = found.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "encryption.kms_key",
                "policy",
                "access_logging",
                "replication",
                "lifecycle_rules",
                "object_lock",
                "object_lock_retention",
                "tags.a"
            ]
        );
        assert_eq!(found.blocked.len(), 1);
    }

    #[test]
    fn every_kms_key_requires_a_bucket_key() {
        let key = "arn:aws:kms:us-east-1:123456789012:key/k";
        let with = |bucket_key| Observed {
            encryption: LiveEncryption::Kms { key: key.into(), bucket_key },
            ..hardened()
        };
        let declared = || json!({ "encryption": { "kms_key": "k" } });
        assert!(paths(declared(), &with(true)).is_empty());
        assert_eq!(paths(declared(), &with(false)), ["encryption.bucket_key"]);
        assert_eq!(paths(json!({}), &with(true)), ["encryption.kms_key"]);
    }

    #[test]
    fn foreign_statements_stay_unless_the_policy_is_exact() {
        let theirs = json!({ "Sid": "X", "Effect": "Allow", "Principal": { "AWS": "123456789012" },
            "Action": "s3:GetObject", "Resource": "arn:aws:s3:::abc/*" });
        let mut live = hardened();
        live.policy = Some(Document::of(vec![theirs.clone(), live.tls_statement()]));
        assert!(paths(json!({}), &live).is_empty());
        let off = desired(json!({ "tls_only": { "off": "r" } }));
        assert_eq!(merged_policy(&off, &live), Some(Document::of(vec![theirs.clone()])));
        let same = json!({ "policy": { "Version": "2012-10-17", "Statement": theirs } });
        assert_eq!(paths(same.clone(), &live), ["tags.groundwork:policy"]);
        live.tags = record(&desired(same.clone()), &live);
        assert!(paths(same, &live).is_empty());
        assert_eq!(paths(json!({}), &live), ["policy"]);
        assert_eq!(merged_policy(&off, &hardened()), None);
    }

    #[test]
    fn declared_statements_are_merged_with_foreign_ones() {
        let statement = |sid: &str, action: &str| {
            json!({ "Sid": sid, "Effect": "Allow", "Principal": "*",
            "Action": action, "Resource": "arn:aws:s3:::abc/*" })
        };
        let mut live = hardened();
        let (ours, theirs) = (statement("Ours", "s3:GetObject"), statement("Theirs", "s3:PutObject"));
        live.policy = Some(Document::of(vec![ours.clone(), theirs.clone(), live.tls_statement()]));
        let with = |statements: Value, exact: bool| json!({ "policy": { "Version": "2012-10-17", "Statement": statements }, "policy_exact": exact });
        live.tags = record(&desired(with(json!([ours]), false)), &live);
        assert!(paths(with(json!([ours]), false), &live).is_empty());
        assert_eq!(paths(with(json!([ours]), true), &live), ["policy"]);
        assert_eq!(paths(with(json!([theirs, ours]), true), &live), ["tags.groundwork:policy"]);

        let changed = statement("Ours", "s3:ListBucket");
        assert_eq!(paths(with(json!([changed]), false), &live), ["policy"]);
        let merged = merged_policy(&desired(with(json!([changed]), false)), &live).expect("a policy");
        assert_eq!(merged, Document::of(vec![changed.clone(), theirs, live.tls_statement()]));
        let merged = merged_policy(&desired(with(json!([changed]), true)), &live).expect("a policy");
        assert_eq!(merged, Document::of(vec![changed, live.tls_statement()]));
    }

    #[test]
    fn statement_removed_from_the_plan_is_removed() {
        let statement = |sid: &str| json!({ "Sid": sid, "Effect": "Allow", "Principal": "*", "Action": format!("s3:Get{sid}"), "Resource": "*" });
        let (a, b, theirs) = (statement("A"), statement("B"), statement("Theirs"));
        let with = |statements: Value| json!({ "policy": { "Statement": statements } });
        let mut live = hardened();
        live.policy = Some(Document::of(vec![a.clone(), b.clone(), theirs.clone(), live.tls_statement()]));
        live.tags = record(&desired(with(json!([a, b]))), &live);
        assert!(paths(with(json!([a, b])), &live).is_empty());
        for (declared, left) in
            [(with(json!([a])), vec![a.clone()]), (with(json!([])), vec![]), (json!({}), vec![])]
        {
            assert_eq!(paths(declared.clone(), &live), ["policy"], "{declared}");
            let merged = merged_policy(&desired(declared), &live).expect("a policy");
            let left: Vec<Value> = left.into_iter().chain([theirs.clone(), live.tls_statement()]).collect();
            assert_eq!(merged, Document::of(left));
        }
    }

    #[test]
    fn statement_recorded_by_another_plan_stays() {
        let theirs =
            json!({ "Sid": "A", "Effect": "Deny", "Principal": "*", "Action": "s3:Put*", "Resource": "*" });
        let mut live = hardened();
        live.policy = Some(Document::of(vec![theirs.clone(), live.tls_statement()]));
        live.tags = record(&desired(json!({ "policy": { "Statement": [theirs] } })), &live);
        live.tags.insert(PLAN_TAG.to_owned(), "other".to_owned());
        let ours = json!({ "tags": { "groundwork:plan": "ours" } });
        assert!(!paths(ours.clone(), &live).contains(&"policy".to_owned()));
        assert_eq!(merged_policy(&desired(ours), &live), live.policy);
    }

    #[test]
    fn version_of_foreign_statements_is_kept() {
        let ours = json!({ "Sid": "Ours", "Effect": "Deny", "Principal": "*", "Action": "s3:Put*", "Resource": "*" });
        let theirs = json!({ "Sid": "Home", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::abc/${aws:username}/*" });
        let mut live = hardened();
        live.policy = Some(Document::of(vec![theirs, live.tls_statement()]));
        let declared = json!({ "policy": { "Statement": [ours] } });
        let merged = merged_policy(&desired(declared.clone()), &live).expect("a policy");
        assert_eq!(merged.value()["Version"], "2012-10-17");
        live.tags = record(&desired(declared.clone()), &live);
        live.policy = Some(merged);
        assert!(paths(declared, &live).is_empty());
    }

    #[test]
    fn unknown_encryption_is_blocked() {
        let live = Observed { encryption: LiveEncryption::Other("aws:kms:dsse".into()), ..hardened() };
        for declared in [json!({}), json!({ "encryption": { "kms_key": "k" } })] {
            let found = diff(&desired(declared), &live);
            assert_eq!((found.blocked.len(), &found.changes[0].before), (1, &json!("aws:kms:dsse")));
        }
    }

    #[test]
    fn absent_policy_is_in_sync() {
        let empty = json!({ "policy": { "Version": "2012-10-17", "Statement": [] }, "policy_exact": true });
        assert!(paths(empty, &hardened()).is_empty());
    }

    #[test]
    fn tls_statement_with_another_name_counts() {
        let mut live = hardened();
        let mut statement = live.tls_statement();
        statement["Sid"] = json!("DenyInsecureTransport");
        statement["Condition"] = json!({ "Bool": { "aws:securetransport": [false] } });
        live.policy = Some(Document::of(vec![statement]));
        assert!(paths(json!({}), &live).is_empty());
    }

    #[test]
    fn unknown_policy_is_a_change() {
        let marker = crate::template::unknown::marker("x.policy");
        assert_eq!(paths(json!({ "policy": marker }), &hardened()), ["policy"]);
    }
}
