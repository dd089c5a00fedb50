//! `aws.secret`: a secret in Secrets Manager.

mod desired;
mod live;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use desired::{Desired, Replica, Rotation};
pub use live::{LiveValue, Observed, ValueResponse, values};

use super::client::AwsClient;
use super::{kms_key, policy};
use crate::access::{Grant, Granting};
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover, ROTATION};
use crate::providers::aws::needs::{self, Need, On, creates, deletes, reads, updates, writes};
use crate::providers::aws::policy::iam_policy;
use crate::providers::aws::risk::KEY_RISKS;
use crate::providers::aws::states;
use crate::resource::risk::Category::{BroaderGrant, Destination, Destroy, ProtectionOff};
use crate::resource::risk::{LABELS, Risks, added, changed, gone, identity, off, removed, replaced, safe};
use crate::resource::{
    Attachment, Blocked, Diff, Look, Partial, Replacement, Requirement, Resource, Tags, Writer,
};
use crate::run::{Permission, Use};
use crate::secret::{Fields, SecretChange, SecretSource, path_of};

const IS_BINARY: &str = "the live value is binary, which a plan cannot declare, and would be lost; copy it \
                         elsewhere and delete the secret, or declare another name";
const IS_NO_DOCUMENT: &str = "the live value is not a JSON object, so its fields cannot be kept; declare \
                              `value` instead of `data`, or make the value a JSON object first";
const COPY_FAILED: &str = "AWS could not replicate the secret into this region, usually because a secret of \
                           the same name exists there or a key cannot be used. Remove the cause and run \
                           again";

/// A secret.
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html>
pub struct AwsSecret;

/// The name; and the recovery window for its deletion.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Id {
    name: String,
    recovery_window_days: u8,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The outputs for other steps, which never include a value.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AwsSecretOutputs")]
pub struct Outputs {
    /// The secret's name.
    pub name: String,
    /// The secret's ARN, which ends with six random characters.
    pub arn: String,
    /// The id of the current version.
    pub version_id: Option<String>,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&[
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetResourcePolicy",
        "secretsmanager:GetSecretValue",
    ]),
    reads(&["secretsmanager:BatchGetSecretValue"]).on(On::Everything),
    creates(&["secretsmanager:CreateSecret", "secretsmanager:TagResource"]),
    writes(&["secretsmanager:PutResourcePolicy"]).with(&["policy"]),
    writes(&["secretsmanager:ReplicateSecretToRegions"]).with(&["replicas"]),
    writes(&["secretsmanager:RotateSecret"]).with(&["rotation"]),
    writes(&["lambda:InvokeFunction"]).with(&["rotation"]).on(On::Other("rotation")),
    updates(&["secretsmanager:PutSecretValue"]).with_default(&["data", "value"]),
    updates(&["secretsmanager:UpdateSecret"]).with_default(&["description", "kms_key"]),
    updates(&["secretsmanager:RemoveRegionsFromReplication"]).with(&["replicas"]),
    updates(&["secretsmanager:RestoreSecret"]).live(&["pending_deletion"]),
    updates(&["secretsmanager:TagResource"]).with(&["tags"]),
    reads(&["kms:Decrypt"]).with(&["kms_key"]).on(On::Other("kms_key")).through("secretsmanager"),
    writes(&["kms:GenerateDataKey"]).with(&["kms_key"]).on(On::Other("kms_key")).through("secretsmanager"),
    deletes(&["secretsmanager:DeleteSecret"]),
    deletes(&["secretsmanager:RemoveRegionsFromReplication"]).with(&["replicas"]),
];

impl Resource for AwsSecret {
    const KIND: &'static str = "aws.secret";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A secret in Secrets Manager: a JSON document, or any text, whose values are \
                                 generated once or taken from variables, files and templates.";
    const EXAMPLE: &'static str = r#"app_secrets:
  kind: aws.secret
  name: candlefish/production/app
  description: Database credentials of the application
  data:
    username: app
    password: { generate: { length: 40 } }
    url: { template: "postgres://{{ data.username }}:{{ data.password }}@db.candlefish.example/app" }
  kms_key: alias/candlefish-data
  replicas: [ { region: us-west-2 } ]
"#;
    const REBUILT: Option<&'static str> =
        Some("without its earlier versions, and generated values are made again");
    const RISKS: Risks = &[
        &[
            identity("name"),
            safe("description tags", LABELS),
            safe(
                "data value exact",
                "the change of each value is shown, and one that is removed is always a risk",
            ),
            iam_policy("policy"),
            gone("rotation").medium(ProtectionOff, "it is no longer rotated"),
            replaced("rotation.function").medium(Destination, "another function reads and replaces it"),
            changed("rotation.every_days rotation.schedule rotation.window")
                .low(ProtectionOff, "it is rotated at other times"),
            added("replicas").low(
                Destination,
                "its value is copied to other regions, or encrypted there with another key",
            ),
            removed("replicas").low(Destroy, "these copies are deleted"),
            safe("recovery_window_days", "it counts only when the secret is removed"),
            off("pending_deletion")
                .live()
                .low(BroaderGrant, "was scheduled for deletion; its value can be read again"),
        ],
        KEY_RISKS,
    ];
    const PROOF: Proof =
        Proof::Tried("its value is read, compared, and no older than its tag `rotation_days` says");
    const TAGGED: bool = true;
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement = Replacement::Renewed;
    const ROTATION: crate::resource::Rotation = crate::resource::Rotation::AtOnce(
        "generated values are made again, and the version before stays readable",
    );
    const HOLDS_VALUES: bool = true;
    const REMOVAL: Option<&'static str> =
        Some("it can be restored for `recovery_window_days`, then it is gone");

    type Client = AwsClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |on| match on {
            On::Other("kms_key") => {
                desired.kms_key.as_deref().map(|key| needs::kms_key(used.realm, key)).into_iter().collect()
            }
            On::Other(_) => {
                desired.rotation.iter().map(|rotation| needs::literal(&rotation.function)).collect()
            }
            _ => needs::secret(used.realm, &needs::literal(&desired.name)).into(),
        })
    }

    fn id(desired: &Desired) -> Id {
        Id { name: desired.name.clone(), recovery_window_days: desired.recovery_window_days }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        desired.check()
    }

    fn grants(desired: &Desired, live: Option<&Observed>, _: &Realm) -> Vec<Grant> {
        let policy = desired.policy.as_ref().or_else(|| live?.policy.as_ref());
        states::with_policy("AWS secret", &desired.name, states::SECRET, policy)
    }

    fn granted(observed: &Observed) -> Vec<Grant> {
        states::with_policy("AWS secret", &observed.name, states::SECRET, observed.policy.as_ref())
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.kms_key.as_deref().and_then(kms_key::requirement).into_iter().collect()
    }

    fn sources(desired: &mut Desired) -> Vec<&mut SecretSource> {
        desired.data.values_mut().chain(desired.value.as_mut()).collect()
    }

    fn secrets(observed: &Observed) -> Fields {
        let fields = observed.fields().into_iter().map(|(name, value)| (path_of("data", &name), value));
        fields.chain(write::plain(observed)).collect()
    }

    fn compared(desired: &mut Desired) -> (&'static str, BTreeMap<String, &mut SecretSource>) {
        match &mut desired.value {
            Some(value) => ("", BTreeMap::from([("value".to_owned(), value)])),
            None => ("data", desired.data.iter_mut().map(|(name, source)| (name.clone(), source)).collect()),
        }
    }

    async fn observe(client: &AwsClient, id: &Id, look: Look<'_, Self>) -> Result<Option<Observed>> {
        live::observe(client, &id.name, look.values).await
    }

    /// Only the deletion is reported for a secret that is scheduled for deletion.
    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        if observed.pending_deletion {
            diff.push("pending_deletion", json!(true), json!(false));
            return diff;
        }
        diff.field("description", &observed.description, &desired.description);
        compare_value(&mut diff, desired, observed);
        if !observed.key.is(desired.kms_key.as_deref()) {
            diff.push("kms_key", json!(observed.key.name), json!(desired.kms_key));
        }
        if let Some(declared) = &desired.policy {
            policy::compare(&mut diff, "policy", observed.policy.as_ref(), declared);
        }
        if let Some(declared) = &desired.rotation {
            diff.field("rotation", &observed.rotation, declared);
        }
        if let Some(declared) = &desired.replicas {
            diff.field("replicas", &observed.replicas, declared);
            compare_copies(&mut diff, declared, &observed.failed_replicas);
        }
        diff.entries("tags", &observed.tags, &desired.tags);
        diff
    }

    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        write::create(w, desired).await
    }

    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        write::update(w, desired, observed).await
    }

    async fn delete(w: &Writer<'_, AwsClient>, id: &Id) -> Result<()> {
        write::delete(w, id).await
    }

    async fn attachments(_: &AwsClient, _: &Id, observed: &Observed) -> Result<Vec<Attachment>> {
        let regions = observed.replicas.iter().map(|replica| &replica.region);
        Ok(regions.map(|region| Attachment::ends("replicas", region)).collect())
    }

    fn attaches(desired: &Desired) -> Option<Vec<String>> {
        let regions = desired.replicas.iter().flatten().map(|replica| &replica.region);
        Some(regions.map(|region| Attachment::ends("replicas", region).path()).collect())
    }

    fn is_deleted(observed: &Observed) -> bool {
        observed.pending_deletion
    }

    async fn prove(prover: &Prover<'_, AwsClient>, _: &Desired, observed: &Observed) {
        if let Some(days) = observed.tags.get(ROTATION) {
            prover.judge_age(days, observed.written);
        }
    }

    fn outputs(observed: &Observed) -> Outputs {
        let (name, arn) = (observed.name.clone(), observed.arn.clone());
        Outputs { name, arn, version_id: observed.version_id.clone() }
    }

    fn predicted_outputs(desired: &Desired, _: &Realm) -> Partial {
        Partial::default().with("name", &desired.name)
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

/// A replica that is out of date differs from the declaration, and creating it again would not help.
fn compare_copies(diff: &mut Diff, declared: &BTreeSet<Replica>, failed: &BTreeMap<String, String>) {
    for replica in declared {
        if let Some(why) = failed.get(&replica.region) {
            let path = format!("replicas.{}", replica.region);
            diff.immutable(&path, why, "InSync", COPY_FAILED);
        }
    }
}

/// A live value that cannot be kept is never overwritten. The diff says so only for a value that is
/// compared.
fn compare_value(diff: &mut Diff, desired: &Desired, observed: &Observed) {
    let path = if desired.value.is_some() { "value" } else { "data" };
    let is_compared = desired.sources().values().any(|source| source.unseen().is_none());
    let why = match &observed.value {
        LiveValue::Binary => Some(IS_BINARY),
        LiveValue::Text(_) if desired.value.is_none() && observed.document().is_none() => {
            Some(IS_NO_DOCUMENT)
        }
        LiveValue::Text(_) | LiveValue::Absent => None,
    };
    if let Some(why) = why.filter(|_| is_compared) {
        diff.secret(path, SecretChange::Changed, None);
        diff.blocked.push(Blocked::new(path, why));
    } else if desired.value.is_some() {
        diff.secrets("", &desired.sources(), &write::plain(observed), false);
    } else {
        diff.secrets("data", &desired.data, &observed.kept(&desired.data), desired.exact);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::aws::key_name::LiveKey;
    use crate::secret::{Loader, Secret};
    use serde_json::Value;

    fn desired(extra: Value) -> Desired {
        let mut fields = json!({ "name": "a/b" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        let mut desired: Desired = serde_json::from_value(fields).expect("valid");
        AwsSecret::load(&mut desired, &Loader::default()).expect("loads");
        desired
    }

    fn observed(value: &str) -> Observed {
        Observed {
            name: "a/b".into(),
            arn: "arn".into(),
            version_id: None,
            pending_deletion: false,
            description: String::new(),
            value: LiveValue::Text(Secret::from(value.to_owned())),
            written: None,
            key: LiveKey::default(),
            policy: None,
            rotation: None,
            replicas: BTreeSet::new(),
            failed_replicas: BTreeMap::new(),
            tags: Tags::new(),
        }
    }

    fn paths(diff: &Diff) -> Vec<&str> {
        diff.changes.iter().map(|change| change.path.as_str()).collect()
    }

    #[test]
    fn document_is_compared_by_field() {
        let declared = desired(json!({ "data": { "port": 5432, "user": "app", "key": { "generate": {} } } }));
        let live = observed("{ \"user\" : \"app\",\n \"port\": 5432, \"key\": \"k\", \"other\": true }");
        assert!(AwsSecret::diff(&declared, &live).is_empty());
        let changed = observed("{\"user\": \"other\", \"port\": 5432}");
        assert_eq!(paths(&AwsSecret::diff(&declared, &changed)), ["data.key", "data.user"]);
        let exact = Desired { exact: true, ..declared };
        assert_eq!(paths(&AwsSecret::diff(&exact, &live)), ["data.other"]);
    }

    #[test]
    fn empty_value_does_not_count_as_generated() {
        let declared = desired(json!({ "data": { "key": { "generate": {} }, "port": 0 } }));
        for nothing in ["null", "\"\"", "0", "0.0", "false"] {
            let live = observed(&format!("{{\"key\": {nothing}, \"port\": 0}}"));
            assert_eq!(paths(&AwsSecret::diff(&declared, &live)), ["data.key"], "{nothing}");
        }
        let live = observed("{\"key\": 12345, \"port\": 0}");
        assert!(AwsSecret::diff(&declared, &live).is_empty());
    }

    #[test]
    fn value_that_cannot_be_kept_is_blocked() {
        let (data, value) = (json!({ "data": { "a": { "generate": {} } } }), json!({ "value": "x" }));
        let blocked = |declared: &Value, live: LiveValue| {
            let live = Observed { value: live, ..observed("") };
            AwsSecret::diff(&desired(declared.clone()), &live).blocked.len()
        };
        let text = |text: &str| LiveValue::Text(Secret::from(text.to_owned()));
        for live in ["hunter2", "", "[1]", "null", "{\"a\":"] {
            assert_eq!((blocked(&data, text(live)), blocked(&value, text(live))), (1, 0), "{live}");
        }
        assert_eq!((blocked(&data, LiveValue::Binary), blocked(&value, LiveValue::Binary)), (1, 1));
        assert_eq!((blocked(&data, LiveValue::Absent), blocked(&data, text("{}"))), (0, 0));
    }

    #[test]
    fn failed_replica_is_blocked() {
        let declared = desired(json!({ "value": "x", "replicas": [{ "region": "eu-west-1" }] }));
        let mut live = observed("x");
        live.replicas.insert(Replica { region: "eu-west-1".into(), kms_key: None });
        assert!(AwsSecret::diff(&declared, &live).is_empty());
        live.failed_replicas.insert("eu-west-1".into(), "Failed".into());
        assert_eq!(AwsSecret::diff(&declared, &live).blocked[0].path, "replicas.eu-west-1");
    }

    #[test]
    fn secret_values_are_never_shown() {
        let declared = desired(json!({ "data": { "user": "declared-value" } }));
        let diff = AwsSecret::diff(&declared, &observed("{\"user\": \"live-value\"}"));
        let text = serde_json::to_string(&diff).expect("JSON") + &format!("{:?}", observed("live-value"));
        assert!(
            diff.changes[0].sensitive && !text.contains("declared-value") && !text.contains("live-value")
        );
    }

    #[test]
    fn declared_fields_are_compared() {
        let value = json!({ "value": "x" });
        let mut live = observed("x");
        live.rotation =
            Some(Rotation { function: "arn:f".into(), every_days: Some(1), schedule: None, window: None });
        live.replicas.insert(Replica { region: "eu-west-1".into(), kms_key: None });
        assert!(AwsSecret::diff(&desired(value), &live).is_empty());
        let all = json!({ "value": "x", "description": "d", "kms_key": "k", "policy": { "Statement": [] },
            "rotation": { "function": "arn:f", "every_days": 2 }, "replicas": [], "tags": { "a": "b" } });
        let diff = AwsSecret::diff(&desired(all), &live);
        assert_eq!(paths(&diff), ["description", "kms_key", "policy", "rotation", "replicas", "tags.a"]);
    }

    #[test]
    fn secret_pending_deletion_is_reported_once() {
        let live = Observed { pending_deletion: true, value: LiveValue::Absent, ..observed("") };
        assert_eq!(paths(&AwsSecret::diff(&desired(json!({ "value": "x" })), &live)), ["pending_deletion"]);
        assert!(AwsSecret::is_deleted(&live) && !AwsSecret::is_deleted(&observed("x")));
    }
}
