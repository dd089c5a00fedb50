//! Replication: copies of new objects in other buckets.

use std::collections::BTreeSet;

use aws_sdk_s3::types::{
    DeleteMarkerReplication, DeleteMarkerReplicationStatus, Destination, EncryptionConfiguration,
    ExistingObjectReplicationStatus, MetricsStatus, ReplicaModificationsStatus, ReplicationConfiguration,
    ReplicationRule as SdkRule, ReplicationRuleFilter, ReplicationRuleStatus, ReplicationTimeStatus,
    SourceSelectionCriteria, SseKmsEncryptedObjects, SseKmsEncryptedObjectsStatus, StorageClass,
};
use aws_smithy_types::error::operation::BuildError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::FieldError;

/// Where new objects are replicated.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication.html>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// The ARN of the role that S3 assumes for copying.
    pub role: String,
    /// The rules. If two rules match an object and have the same destination, the first applies.
    pub rules: Vec<ReplicationRule>,
}

/// The objects to copy, and their destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicationRule {
    /// The rule's name, unique in the bucket.
    pub id: String,
    /// Prefix of the names of the objects. Default: all objects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The ARN of the bucket that receives the copies; it must be versioned.
    pub destination: String,
    /// The storage class of the copies, e.g. `STANDARD_IA`. Default: the object's class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The ARN of the KMS key that encrypts the copies, in the destination's region. Without it, S3 does
    /// not copy objects that are encrypted with KMS keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// Whether deletions are replicated as well.
    #[serde(default)]
    pub deletions: bool,
    /// Whether the rule is enabled.
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn yes() -> bool {
    true
}

impl Replication {
    /// The bucket name of each destination.
    pub fn buckets(&self) -> BTreeSet<&str> {
        let known = self.rules.iter().map(|rule| rule.destination.as_str());
        known.filter_map(|arn| arn.rsplit(':').next()).collect()
    }

    /// Finds mistakes without network access.
    pub fn check(&self, versioning: bool) -> Vec<FieldError> {
        let mut found = Vec::new();
        if !versioning {
            found.push(
                FieldError::new("replication", "replication requires versioning")
                    .help("set `versioning: true`"),
            );
        }
        if self.rules.is_empty() {
            found.push(FieldError::new("replication.rules", "is empty").help("declare at least one rule"));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let path = format!("replication.rules[{index}]");
            if !rule.destination.starts_with("arn:") {
                let error = FieldError::new(format!("{path}.destination"), "not an ARN");
                found.push(error.help("write the bucket's ARN, e.g. `arn:aws:s3:::NAME`"));
            }
            if self.rules[..index].iter().any(|other| other.id == rule.id) {
                found.push(FieldError::new(format!("{path}.id"), "another rule has the same id"));
            }
        }
        found
    }

    /// The live configuration in the form of a plan, the rule with the highest priority first. A rule
    /// that a plan cannot express is shown as it is.
    pub fn live(live: ReplicationConfiguration) -> Value {
        let mut rules = live.rules;
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        let rules = rules
            .iter()
            .map(|rule| ReplicationRule::of(rule).map_or_else(|| opaque(rule), |rule| json!(rule)));
        json!({ "role": live.role, "rules": rules.collect::<Vec<_>>() })
    }

    /// The request.
    pub fn to_sdk(&self) -> Result<ReplicationConfiguration, BuildError> {
        let priorities = (1..).take(self.rules.len()).collect::<Vec<i32>>().into_iter().rev();
        let rules: Result<_, _> = self.rules.iter().zip(priorities).map(|(rule, n)| rule.to_sdk(n)).collect();
        ReplicationConfiguration::builder().role(&self.role).set_rules(Some(rules?)).build()
    }
}

impl ReplicationRule {
    /// `None` if the declared form would not produce the same rule.
    fn of(live: &SdkRule) -> Option<Self> {
        let on = Some(DeleteMarkerReplicationStatus::Enabled);
        let destination = live.destination.as_ref();
        let rule = Self {
            id: live.id.clone().unwrap_or_default(),
            prefix: prefix(live),
            destination: destination.map(|to| to.bucket.clone()).unwrap_or_default(),
            storage_class: destination.and_then(|to| Some(to.storage_class.as_ref()?.as_str().to_owned())),
            kms_key: destination
                .and_then(|to| to.encryption_configuration.as_ref()?.replica_kms_key_id.clone()),
            deletions: live.delete_marker_replication.as_ref().is_some_and(|markers| markers.status == on),
            enabled: live.status == ReplicationRuleStatus::Enabled,
        };
        let own = rule.to_sdk(live.priority.unwrap_or_default()).ok()?;
        (normal(&own) == normal(live)).then_some(rule)
    }

    fn to_sdk(&self, priority: i32) -> Result<SdkRule, BuildError> {
        let status = |on: bool| {
            if on { DeleteMarkerReplicationStatus::Enabled } else { DeleteMarkerReplicationStatus::Disabled }
        };
        let encryption = self
            .kms_key
            .as_ref()
            .map(|key| EncryptionConfiguration::builder().replica_kms_key_id(key).build());
        let destination = Destination::builder()
            .bucket(&self.destination)
            .set_storage_class(self.storage_class.as_deref().map(StorageClass::from))
            .set_encryption_configuration(encryption)
            .build()?;
        SdkRule::builder()
            .id(&self.id)
            .priority(priority)
            .filter(ReplicationRuleFilter::builder().prefix(&self.prefix).build())
            .status(if self.enabled {
                ReplicationRuleStatus::Enabled
            } else {
                ReplicationRuleStatus::Disabled
            })
            .set_source_selection_criteria(self.kms_key.as_ref().map(|_| encrypted()).transpose()?)
            .destination(destination)
            .delete_marker_replication(
                DeleteMarkerReplication::builder().status(status(self.deletions)).build(),
            )
            .build()
    }
}

fn prefix(live: &SdkRule) -> String {
    let filter = live.filter.as_ref().and_then(|filter| filter.prefix.clone());
    #[expect(deprecated, reason = "old rules have their prefix outside of the filter")]
    filter.or(live.prefix.clone()).unwrap_or_default()
}

/// A rule without redundant notation: a disabled setting equals an absent one.
fn normal(rule: &SdkRule) -> SdkRule {
    let mut rule = rule.clone();
    rule.priority = None;
    let whole = rule.filter.as_ref().is_none_or(|filter| filter.tag.is_none() && filter.and.is_none());
    if whole {
        rule.filter = Some(ReplicationRuleFilter::builder().prefix(prefix(&rule)).build());
        #[expect(deprecated, reason = "old rules have their prefix outside of the filter")]
        {
            rule.prefix = None;
        }
    }
    let off = Some(DeleteMarkerReplicationStatus::Disabled);
    rule.delete_marker_replication =
        rule.delete_marker_replication.filter(|it| it.status.is_some() && it.status != off);
    rule.existing_object_replication =
        rule.existing_object_replication.filter(|it| it.status != ExistingObjectReplicationStatus::Disabled);
    if let Some(criteria) = &mut rule.source_selection_criteria {
        let keys = criteria.sse_kms_encrypted_objects.take();
        criteria.sse_kms_encrypted_objects =
            keys.filter(|it| it.status != SseKmsEncryptedObjectsStatus::Disabled);
        let changes = criteria.replica_modifications.take();
        criteria.replica_modifications =
            changes.filter(|it| it.status != ReplicaModificationsStatus::Disabled);
    }
    let nothing = SourceSelectionCriteria::builder().build();
    rule.source_selection_criteria = rule.source_selection_criteria.filter(|it| *it != nothing);
    if let Some(to) = &mut rule.destination {
        to.metrics = to.metrics.take().filter(|it| it.status != MetricsStatus::Disabled);
        to.replication_time =
            to.replication_time.take().filter(|it| it.status != ReplicationTimeStatus::Disabled);
    }
    rule
}

/// A rule that plans cannot express, with its effect.
fn opaque(rule: &SdkRule) -> Value {
    json!({
        "id": rule.id,
        "note": "a rule that plans cannot express",
        "rule": format!("{:?}", normal(rule)).replace("None", "-"),
    })
}

/// Includes objects that are encrypted with KMS keys.
fn encrypted() -> Result<SourceSelectionCriteria, BuildError> {
    let objects = SseKmsEncryptedObjects::builder().status(SseKmsEncryptedObjectsStatus::Enabled).build()?;
    Ok(SourceSelectionCriteria::builder().sse_kms_encrypted_objects(objects).build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{ExistingObjectReplication, Metrics, ReplicaModifications, Tag};

    fn replication() -> Replication {
        let rules = json!([
            { "id": "reports", "prefix": "reports/", "destination": "arn:aws:s3:::copies", "deletions": true,
              "kms_key": "arn:aws:kms:us-east-1:1:key/k", "storage_class": "STANDARD_IA" },
            { "id": "rest", "destination": "arn:aws:s3:::copies", "enabled": false },
        ]);
        serde_json::from_value(json!({ "role": "arn:r", "rules": rules })).expect("valid")
    }

    #[test]
    fn configuration_survives_a_round_trip() {
        let mut written = replication().to_sdk().expect("complete");
        written.rules.reverse();
        assert_eq!(Replication::live(written), json!(replication()));
    }

    #[test]
    fn inexpressible_rules_differ() {
        let own = replication().rules[0].to_sdk(1).expect("complete");
        let tag = Tag::builder().key("a").value("b").build().expect("complete");
        let metrics = Metrics::builder().status(MetricsStatus::Enabled).build().expect("complete");
        let existing = ExistingObjectReplication::builder().status(ExistingObjectReplicationStatus::Enabled);
        let changes = ReplicaModifications::builder().status(ReplicaModificationsStatus::Enabled).build();
        let mut changed = [own.clone(), own.clone(), own.clone(), own.clone(), own.clone()];
        changed[0].filter = Some(ReplicationRuleFilter::builder().tag(tag).build());
        changed[1].existing_object_replication = Some(existing.build().expect("complete"));
        changed[2].destination.as_mut().expect("one").metrics = Some(metrics);
        changed[3].destination.as_mut().expect("one").account = Some("123456789012".into());
        changed[4].source_selection_criteria.as_mut().expect("one").replica_modifications =
            Some(changes.expect("complete"));
        assert!(ReplicationRule::of(&own).is_some());
        for rule in changed {
            assert!(ReplicationRule::of(&rule).is_none(), "{rule:?}");
        }
    }

    #[test]
    fn mistakes_are_found_without_network() {
        assert!(replication().check(true).is_empty());
        let mut wrong = replication();
        wrong.rules[0].destination = "copies".into();
        wrong.rules[1].id = "reports".into();
        let paths: Vec<String> = wrong.check(false).into_iter().map(|error| error.path).collect();
        assert_eq!(paths, ["replication", "replication.rules[0].destination", "replication.rules[1].id"]);
        assert_eq!(replication().buckets().into_iter().collect::<Vec<_>>(), ["copies"]);
    }
}
