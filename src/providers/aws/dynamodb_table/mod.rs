//! `aws.dynamodb_table`: a table, such as the one that holds Terraform's locks.

mod desired;
mod live;
mod write;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

pub use desired::{
    Billing, Capacity, Class, Desired, Encryption, GlobalIndex, Key, KeyKind, LocalIndex, Preset, Projection,
    StreamView,
};
use live::ALL_DAYS;
pub use live::Observed;

use super::arn::regional_arn;
use super::client::AwsClient;
use super::{UNKNOWN_VALUE, kms_key, prove};
use crate::access::{Grant, Granting};
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::providers::aws::needs::{self, Need, On, creates, deletes, proves, reads, updates, writes};
use crate::providers::aws::risk::{NO_OWN_KEY, OTHER_KEY};
use crate::providers::aws::states;
use crate::resource::risk::Category::{Destination, Destroy, ProtectionOff};
use crate::resource::risk::{
    LABELS, Risks, added, changed, fixed, gone, identity, off, removed, replaced, safe, state,
};
use crate::resource::{Diff, Look, Partial, Replacement, Requirement, Resource, Tags, Writer};
use crate::run::{Permission, Use};

const KEY_IS_FIXED: &str =
    "DynamoDB fixes a table's keys when it is created; declare another name and move the items";
const LOCAL_IS_FIXED: &str = "DynamoDB creates local indexes only together with the table; declare a global \
                              index, or another name and move the items";
const GLOBAL_IS_FIXED: &str = "DynamoDB cannot change an index; declare it under another name, and remove \
                               the old one when it is no longer used";

const IS_BROKEN: &str = "the table cannot be used: AWS has archived it, or its KMS key is disabled, deleted \
                         or inaccessible to DynamoDB. Enable the key or restore the table, then run again";

/// A DynamoDB table.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TableDescription.html>
pub struct DynamodbTable;

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DynamodbTableOutputs")]
pub struct Outputs {
    /// The table's name.
    pub name: String,
    /// The table's ARN.
    pub arn: String,
    /// The ARN of the table's stream, if it has one.
    pub stream_arn: Option<String>,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&[
        "dynamodb:DescribeContinuousBackups",
        "dynamodb:DescribeTable",
        "dynamodb:DescribeTimeToLive",
        "dynamodb:ListTagsOfResource",
    ]),
    creates(&["dynamodb:CreateTable", "dynamodb:TagResource"]),
    writes(&["dynamodb:UpdateContinuousBackups"]).with(&["point_in_time_recovery"]),
    creates(&["dynamodb:UpdateTimeToLive"]).with(&["ttl_attribute"]),
    updates(&["dynamodb:UpdateTimeToLive"]).with_default(&["ttl_attribute"]),
    updates(&["dynamodb:UpdateTable"]).with_default(&[
        "billing",
        "class",
        "deletion_protection",
        "encryption",
        "global_indexes",
        "stream",
    ]),
    updates(&["dynamodb:TagResource"]).with(&["tags"]),
    // DynamoDB makes a grant of its own, in the name of the caller.
    writes(&["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey"])
        .with(&["encryption"])
        .on(On::Other("encryption"))
        .through("dynamodb"),
    deletes(&["dynamodb:DeleteTable"]),
    deletes(&["dynamodb:UpdateTable"]).with(&["deletion_protection"]),
    proves(&["dynamodb:DeleteItem", "dynamodb:PutItem"]).with(&["preset"]),
    proves(&["kms:Decrypt"]).with(&["encryption"]).on(On::Other("encryption")).through("dynamodb"),
];

/// The action that the proof needs of a table that is not one of Terraform's.
const READ: &[Need] = &[proves(&["dynamodb:GetItem"])];

impl Resource for DynamodbTable {
    const KIND: &'static str = "aws.dynamodb_table";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str =
        "A DynamoDB table with recovery and deletion protection, e.g. for Terraform's locks.";
    const EXAMPLE: &'static str = r#"lock_table:
  kind: aws.dynamodb_table
  name: candlefish-terraform-lock
  preset: terraform_lock
sessions:
  kind: aws.dynamodb_table
  name: candlefish-sessions
  hash_key: { name: user, type: S }
  range_key: { name: started, type: "N" }
  billing: { provisioned: { read: 5, write: 5 } }
  encryption: { kms_key: alias/candlefish-data }
  point_in_time_recovery: { off: "sessions can be lost" }
  ttl_attribute: expires
  stream: new_and_old_images
  global_indexes:
    by_device:
      hash_key: { name: device, type: S }
      projection: { include: [ address ] }
"#;
    const REBUILT: Option<&'static str> = Some("empty: its items are lost");
    const RISKS: Risks = &[&[
        state("status"),
        identity("name"),
        fixed("preset hash_key range_key local_indexes"),
        safe("billing class", "it decides the price and how many requests are served"),
        off("point_in_time_recovery")
            .high(ProtectionOff, "the table cannot be brought back to an earlier time"),
        gone("encryption.kms_key").medium(ProtectionOff, NO_OWN_KEY),
        replaced("encryption.kms_key").medium(Destination, OTHER_KEY),
        off("deletion_protection").high(ProtectionOff, "the table can be deleted by a single request"),
        removed("global_indexes").low(Destroy, "indexes are deleted, and queries that use them fail"),
        added("ttl_attribute")
            .medium(Destroy, "items are deleted when the time in this attribute has passed"),
        changed("stream").low(ProtectionOff, "what follows the table's changes gets other data, or none"),
        safe("tags", LABELS),
    ]];
    const PROOF: Proof =
        Proof::Tried("two writers want one lock; another table than Terraform's answers a read");
    const TAGGED: bool = true;
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement =
        Replacement::Never("every item in it would be lost; declare another table and move the items");
    const REMOVAL: Option<&'static str> = Some("with every item in it");

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        let resources = |on: On| match on {
            On::Other(_) => {
                desired.kms_key().map(|key| needs::kms_key(used.realm, key)).into_iter().collect()
            }
            _ => {
                let table = format!("table/{}", needs::literal(&desired.name));
                vec![needs::in_region(used.realm, "dynamodb", &table)]
            }
        };
        let read = if desired.preset.is_none() { READ } else { &[] };
        [NEEDS, read].iter().flat_map(|table| needs::of(table, used, desired, resources)).collect()
    }

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        desired.check()
    }

    fn grants(desired: &Desired, _: Option<&Observed>, _: &Realm) -> Vec<Grant> {
        vec![Grant::Target(states::target("table", &desired.name, states::TABLE))]
    }

    fn granted(observed: &Observed) -> Vec<Grant> {
        vec![Grant::Target(states::target("table", &observed.name, states::TABLE))]
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.kms_key().and_then(kms_key::requirement).into_iter().collect()
    }

    async fn observe(client: &AwsClient, id: &String, _: Look<'_, Self>) -> Result<Option<Observed>> {
        live::observe(client, id).await
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.immutable("status", &observed.broken, &None::<String>, IS_BROKEN);
        for (field, live) in &observed.unknown {
            diff.immutable(field, live, "a value that plans know", UNKNOWN_VALUE);
        }
        diff.immutable("hash_key", &observed.hash_key, &desired.hash_key(), KEY_IS_FIXED)
            .immutable("range_key", &observed.range_key, &desired.range_key, KEY_IS_FIXED)
            .field("billing", &observed.billing, &desired.billing)
            .field(
                "point_in_time_recovery",
                &shown_recovery(observed.recovery_days),
                &json!(desired.point_in_time_recovery.is_on()),
            );
        if !observed.key.is(desired.kms_key()) {
            diff.push("encryption.kms_key", json!(observed.key.name), json!(desired.kms_key()));
        }
        diff.field(
            "deletion_protection",
            &observed.deletion_protection,
            &desired.deletion_protection.is_on(),
        );
        compare_global(&mut diff, desired, observed);
        diff.immutable("local_indexes", &observed.local_indexes, &desired.local_indexes, LOCAL_IS_FIXED)
            .field("ttl_attribute", &observed.ttl_attribute, &desired.ttl_attribute)
            .field("stream", &observed.stream, &desired.stream)
            .field("class", &observed.class, &desired.class)
            .entries("tags", &observed.tags, &desired.tags);
        diff
    }

    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        write::create(w, desired).await
    }

    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        write::update(w, desired, observed).await
    }

    async fn delete(w: &Writer<'_, AwsClient>, id: &String) -> Result<()> {
        write::delete(w, id).await
    }

    fn outputs(observed: &Observed) -> Outputs {
        let (name, arn) = (observed.name.clone(), observed.arn.clone());
        Outputs { name, arn, stream_arn: observed.stream_arn.clone() }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        let arn = regional_arn(realm, "dynamodb", &format!("table/{}", desired.name));
        let partial = Partial::default().with("name", &desired.name).with_some("arn", arn);
        if desired.stream.is_none() { partial.with("stream_arn", None::<String>) } else { partial }
    }

    async fn prove(prover: &Prover<'_, AwsClient>, desired: &Desired, _: &Observed) {
        let Some(key) = desired.hash_key() else { return };
        match (desired.preset, &desired.range_key) {
            (Some(Preset::TerraformLock), _) => prove::table::lock(prover, &desired.name, &key).await,
            (None, Some(range)) => prove::table::read(prover, &desired.name, &[&key, range]).await,
            (None, None) => prove::table::read(prover, &desired.name, &[&key]).await,
        }
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

/// A plan declares recovery over the longest period; a shorter period is a difference.
fn shown_recovery(days: Option<u32>) -> Value {
    match days {
        None => json!(false),
        Some(days) if days >= ALL_DAYS => json!(true),
        Some(days) => json!(format!("{days} days")),
    }
}

/// An index can be created and deleted, and its capacity can change, but nothing else.
fn compare_global(diff: &mut Diff, desired: &Desired, observed: &Observed) {
    let fixed = |index: &GlobalIndex| GlobalIndex { capacity: None, ..index.clone() };
    let both: BTreeMap<_, _> = observed.global_indexes.iter().chain(&desired.global_indexes).collect();
    for name in both.into_keys() {
        let path = format!("global_indexes.{name}");
        match (observed.global_indexes.get(name), desired.global_indexes.get(name)) {
            (Some(before), Some(after)) => {
                diff.immutable(&path, &fixed(before), &fixed(after), GLOBAL_IS_FIXED);
                compare_capacity(diff, desired, &path, before, after);
            }
            (before, after) => {
                diff.field(&path, &before, &after);
            }
        }
    }
}

/// A change of the table's billing changes that of its indexes too.
fn compare_capacity(
    diff: &mut Diff,
    desired: &Desired,
    path: &str,
    before: &GlobalIndex,
    after: &GlobalIndex,
) {
    let Billing::Provisioned(wanted) = desired.index_billing(after) else { return };
    if before.capacity.is_some() {
        diff.field(&format!("{path}.capacity"), &before.capacity, &Some(wanted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::aws::key_name::LiveKey;

    fn desired(extra: Value) -> Desired {
        let mut fields = json!({ "name": "locks", "preset": "terraform_lock" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        serde_json::from_value(fields).expect("valid")
    }

    fn observed() -> Observed {
        Observed {
            name: "locks".into(),
            arn: "arn".into(),
            broken: None,
            unknown: BTreeMap::new(),
            stream_arn: None,
            hash_key: Some(Key { name: "LockID".into(), kind: KeyKind::S }),
            range_key: None,
            billing: Billing::OnDemand,
            recovery_days: Some(ALL_DAYS),
            key: LiveKey::default(),
            deletion_protection: true,
            global_indexes: BTreeMap::new(),
            local_indexes: BTreeMap::new(),
            ttl_attribute: None,
            stream: None,
            class: Class::Standard,
            tags: Tags::new(),
        }
    }

    fn paths(diff: &Diff) -> Vec<&str> {
        diff.changes.iter().map(|change| change.path.as_str()).collect()
    }

    #[test]
    fn lock_table_is_in_sync() {
        assert!(DynamodbTable::diff(&desired(json!({})), &observed()).is_empty());
    }

    #[test]
    fn unusable_table_is_blocked() {
        let live = Observed { broken: Some("ARCHIVED".into()), ..observed() };
        let diff = DynamodbTable::diff(&desired(json!({})), &live);
        assert_eq!((paths(&diff), diff.blocked.len()), (vec!["status"], 1));
        let live = Observed { unknown: BTreeMap::from([("class", "FROZEN".to_owned())]), ..observed() };
        let diff = DynamodbTable::diff(&desired(json!({})), &live);
        assert_eq!((paths(&diff), diff.blocked.len()), (vec!["class"], 1));
    }

    #[test]
    fn shorter_recovery_period_is_a_difference() {
        let live = Observed { recovery_days: Some(1), ..observed() };
        let diff = DynamodbTable::diff(&desired(json!({})), &live);
        assert_eq!(diff.changes[0].before, "1 days");
        let off = json!({ "point_in_time_recovery": { "off": "r" } });
        assert_eq!(paths(&DynamodbTable::diff(&desired(off), &live)), ["point_in_time_recovery"]);
    }

    #[test]
    fn every_field_is_compared() {
        let all = json!({ "preset": null, "hash_key": { "name": "a", "type": "N" },
            "range_key": { "name": "b", "type": "S" }, "billing": { "provisioned": { "read": 1, "write": 2 } },
            "point_in_time_recovery": { "off": "r" }, "encryption": { "kms_key": "k" },
            "deletion_protection": { "off": "r" }, "ttl_attribute": "t", "stream": "keys_only",
            "global_indexes": { "g": { "hash_key": { "name": "c", "type": "S" } } },
            "local_indexes": { "l": { "range_key": { "name": "c", "type": "S" } } },
            "class": "infrequent_access", "tags": { "a": "b" } });
        let diff = DynamodbTable::diff(&desired(all), &observed());
        assert_eq!(
            paths(&diff),
            [
                "hash_key",
                "range_key",
                "billing",
                "point_in_time_recovery",
                "encryption.kms_key",
                "deletion_protection",
                "global_indexes.g",
                "local_indexes",
                "ttl_attribute",
                "stream",
                "class",
                "tags.a"
            ]
        );
        assert_eq!(diff.blocked.len(), 3);
    }

    #[test]
    fn index_changes_only_its_capacity() {
        let index = |kind: &str, read: u32| {
            json!({ "provisioned": { "read": 5, "write": 5 }, "g": { "hash_key": { "name": "c", "type": kind },
                "capacity": { "read": read, "write": 5 } } })
        };
        let with = |kind: &str, read| {
            let parts = index(kind, read);
            desired(
                json!({ "billing": { "provisioned": parts["provisioned"] }, "global_indexes": { "g": parts["g"] } }),
            )
        };
        let mut live = observed();
        live.billing = Billing::Provisioned(Capacity { read: 5, write: 5 });
        live.global_indexes = with("S", 5).global_indexes;
        assert!(DynamodbTable::diff(&with("S", 5), &live).is_empty());
        let more = DynamodbTable::diff(&with("S", 6), &live);
        assert!(paths(&more) == ["global_indexes.g.capacity"] && more.blocked.is_empty());
        let other = DynamodbTable::diff(&with("N", 5), &live);
        assert!(paths(&other) == ["global_indexes.g"] && other.blocked.len() == 1);
    }
}
