//! The comparison of keys.

use super::*;
use serde_json::{Value, json};

pub(super) fn desired(extra: Value) -> Desired {
    let mut fields = json!({ "alias": "alias/x" });
    fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
    serde_json::from_value(fields).expect("valid")
}

pub(super) fn observed() -> Observed {
    Observed {
        alias: "alias/x".into(),
        is_named: true,
        declared_tags: Tags::new(),
        alias_arn: "arn:aws:kms:us-east-1:1:alias/x".into(),
        key_id: "k".into(),
        arn: "arn:aws:kms:us-east-1:1:key/k".into(),
        description: String::new(),
        enabled: true,
        pending_deletion: false,
        broken: None,
        rotation: Some(365),
        material: None,
        rotating_since: None,
        policy: None,
        key_spec: symmetric(),
        key_usage: encrypt_decrypt(),
        multi_region: false,
        replica_regions: BTreeSet::new(),
        grants: grants::LiveGrants::new(),
        tags: Tags::new(),
    }
}

pub(super) fn paths(diff: &Diff) -> Vec<&str> {
    diff.changes.iter().map(|change| change.path.as_str()).collect()
}

#[test]
fn defaults_are_in_sync_with_a_plain_key() {
    assert!(KmsKey::diff(&desired(json!({})), &observed()).is_empty());
    let other_period = Observed { rotation: Some(90), ..observed() };
    assert!(KmsKey::diff(&desired(json!({})), &other_period).is_empty());
}

#[test]
fn every_field_is_compared() {
    let policy = json!({ "Statement": [] });
    let all = json!({ "key_id": "other", "description": "d", "rotation_period_days": 100, "policy": policy,
        "grants": { "g": { "grantee": "x", "operations": ["Decrypt"] } }, "key_spec": "RSA_2048",
        "key_usage": "SIGN_VERIFY", "multi_region": true, "replica_regions": ["eu-west-1"], "enabled": false,
        "tags": { "a": "b" } });
    let diff = KmsKey::diff(&desired(all), &observed());
    assert_eq!(
        paths(&diff),
        [
            "key_id",
            "description",
            "rotation",
            "policy",
            "grants.g",
            "key_spec",
            "key_usage",
            "multi_region",
            "replica_regions",
            "enabled",
            "tags.a"
        ]
    );
    assert_eq!(diff.blocked.len(), 3);
}

#[test]
fn declared_access_is_compared_with_live_policy() {
    let access = desired(json!({ "access": { "admins": ["123456789012"] } }));
    let live = Observed { arn: "arn:aws-cn:kms:cn-north-1:123456789012:key/k".into(), ..observed() };
    assert_eq!(live.home(), ("aws-cn", "123456789012"));
    let (_, policy) = access.key_policy("aws-cn", "123456789012").expect("a policy");
    assert_eq!(paths(&KmsKey::diff(&access, &live)), ["access"]);
    assert!(KmsKey::diff(&access, &Observed { policy: Some(policy), ..live }).is_empty());
}

#[test]
fn declared_key_and_replicas_are_compared() {
    for same in ["k", "arn:aws:kms:us-east-1:1:key/k"] {
        assert!(KmsKey::diff(&desired(json!({ "key_id": same })), &observed()).is_empty());
    }
    let replicated = Observed {
        multi_region: true,
        replica_regions: BTreeSet::from(["eu-west-1".into(), "eu-west-2".into()]),
        ..observed()
    };
    let declared = desired(json!({ "multi_region": true, "replica_regions": ["eu-west-2"] }));
    assert!(KmsKey::diff(&declared, &replicated).is_empty());
    assert_eq!(KmsKey::check(&desired(json!({ "replica_regions": ["x"] })))[0].path, "replica_regions");
}

#[test]
fn key_pending_deletion_is_reported_once() {
    let dying = Observed { pending_deletion: true, enabled: false, ..observed() };
    assert_eq!(paths(&KmsKey::diff(&desired(json!({})), &dying)), ["pending_deletion"]);
}

#[test]
fn rotation_period_requires_rotation() {
    let found = KmsKey::check(&desired(json!({ "rotation": false, "rotation_period_days": 100 })));
    assert_eq!(found[0].path, "rotation_period_days");
}
