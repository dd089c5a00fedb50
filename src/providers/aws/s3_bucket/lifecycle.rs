//! Lifecycle rules: ours, declared ones, and those of others.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleRule.html>

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleExpiration, LifecycleRule as Rule,
    LifecycleRuleFilter, NoncurrentVersionExpiration, Transition as SdkTransition, TransitionStorageClass,
};
use serde_json::{Value, json};

use super::desired::{Desired, LifecycleRule, Transition};
use crate::resource::{Error, ErrorKind, Result};

/// Names of rules that start with this are Groundwork's own.
pub const RESERVED: &str = "groundwork-";
const NONCURRENT: &str = "groundwork-noncurrent-versions";
const UPLOADS: &str = "groundwork-incomplete-uploads";

/// The live rules, sorted by whose they are.
#[derive(Clone, Debug, Default)]
pub struct LiveRules {
    /// Days of the rule for old versions.
    pub noncurrent_days: Option<u32>,
    /// Days of the rule for unfinished uploads.
    pub uploads_days: Option<u32>,
    /// All others, as they are.
    pub others: Vec<Rule>,
}

impl LiveRules {
    /// Sorts the rules of an answer.
    pub fn sort(rules: Vec<Rule>) -> Self {
        let mut sorted = Self::default();
        for rule in rules {
            match rule.id.as_deref() {
                Some(NONCURRENT) if is_active_everywhere(&rule) => {
                    sorted.noncurrent_days =
                        rule.noncurrent_version_expiration.and_then(|it| days(it.noncurrent_days));
                }
                Some(UPLOADS) if is_active_everywhere(&rule) => {
                    sorted.uploads_days =
                        rule.abort_incomplete_multipart_upload.and_then(|it| days(it.days_after_initiation));
                }
                Some(NONCURRENT | UPLOADS) => {}
                _ => sorted.others.push(rule),
            }
        }
        sorted
    }

    /// The others in the form that plans use; what plans cannot express is shown as it is.
    pub fn others_as_declared(&self) -> Value {
        in_order(
            self.others.iter().map(|rule| to_declared(rule).map_or_else(|| opaque(rule), |rule| json!(rule))),
        )
    }

    /// All rules that should be there.
    pub fn merged(&self, desired: &Desired) -> Result<Vec<Rule>> {
        let noncurrent = desired.noncurrent_version_expiration_days.get().map(noncurrent_rule);
        let uploads = desired.abort_incomplete_uploads_days.get().map(uploads_rule);
        let others: Vec<Rule> = match &desired.lifecycle_rules {
            Some(declared) => declared.iter().map(to_rule).collect::<Result<_>>()?,
            None => self.others.clone(),
        };
        noncurrent.into_iter().chain(uploads).chain(others.into_iter().map(Ok)).collect()
    }
}

/// Declared rules in the form that is compared: their order has no meaning.
pub fn comparable(declared: &[LifecycleRule]) -> Value {
    in_order(declared.iter().map(|rule| {
        let mut rule = rule.clone();
        rule.transitions.sort();
        json!(rule)
    }))
}

fn in_order(rules: impl Iterator<Item = Value>) -> Value {
    let mut rules: Vec<Value> = rules.collect();
    rules.sort_by_key(|rule| rule["id"].to_string());
    Value::Array(rules)
}

/// A rule of ours that somebody narrowed or disabled counts as absent.
fn is_active_everywhere(rule: &Rule) -> bool {
    rule.status == ExpirationStatus::Enabled && prefix(rule).is_some_and(|prefix| prefix.is_empty())
}

/// The prefix, where that is the whole filter.
fn prefix(rule: &Rule) -> Option<String> {
    #[expect(deprecated, reason = "old rules carry their prefix outside of the filter")]
    let outside = rule.prefix.clone();
    match &rule.filter {
        None => Some(outside.unwrap_or_default()),
        Some(filter) => {
            let narrowed = filter.tag.is_some()
                || filter.and.is_some()
                || filter.object_size_greater_than.is_some()
                || filter.object_size_less_than.is_some();
            (!narrowed).then(|| filter.prefix.clone().unwrap_or_default())
        }
    }
}

fn days(days: Option<i32>) -> Option<u32> {
    days.and_then(|days| u32::try_from(days).ok()).filter(|days| *days > 0)
}

/// `None` when the rule has something that a plan cannot say.
fn to_declared(rule: &Rule) -> Option<LifecycleRule> {
    let more = rule.abort_incomplete_multipart_upload.is_some()
        || !rule.noncurrent_version_transitions().is_empty()
        || rule
            .expiration
            .as_ref()
            .is_some_and(|it| it.date.is_some() || it.expired_object_delete_marker == Some(true));
    if more || rule.status != ExpirationStatus::Enabled {
        return None;
    }
    let mut transitions = rule.transitions().iter().map(to_transition).collect::<Option<Vec<_>>>()?;
    transitions.sort();
    Some(LifecycleRule {
        id: rule.id.clone().unwrap_or_default(),
        prefix: prefix(rule)?,
        expiration_days: rule.expiration.as_ref().and_then(|it| days(it.days)),
        noncurrent_version_expiration_days: noncurrent(rule.noncurrent_version_expiration.as_ref())?,
        transitions,
    })
}

fn noncurrent(live: Option<&NoncurrentVersionExpiration>) -> Option<Option<u32>> {
    match live {
        None => Some(None),
        Some(it) if it.newer_noncurrent_versions.is_some() => None,
        Some(it) => Some(days(it.noncurrent_days)),
    }
}

fn to_transition(live: &SdkTransition) -> Option<Transition> {
    let days = u32::try_from(live.days?).ok()?;
    Some(Transition { days, storage_class: live.storage_class.as_ref()?.as_str().to_owned() })
}

fn opaque(rule: &Rule) -> Value {
    json!({ "id": rule.id, "status": rule.status.as_str(), "note": "a rule that plans cannot express" })
}

fn noncurrent_rule(days: u32) -> Result<Rule> {
    let expiration = NoncurrentVersionExpiration::builder().noncurrent_days(to_i32(days)).build();
    let rule = Rule::builder().id(NONCURRENT).noncurrent_version_expiration(expiration);
    rule.filter(everything()).status(ExpirationStatus::Enabled).build().map_err(wrong_request)
}

fn uploads_rule(days: u32) -> Result<Rule> {
    let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(to_i32(days)).build();
    let rule = Rule::builder().id(UPLOADS).abort_incomplete_multipart_upload(abort);
    rule.filter(everything()).status(ExpirationStatus::Enabled).build().map_err(wrong_request)
}

fn everything() -> LifecycleRuleFilter {
    LifecycleRuleFilter::builder().prefix("").build()
}

fn to_rule(declared: &LifecycleRule) -> Result<Rule> {
    let expiration =
        declared.expiration_days.map(|days| LifecycleExpiration::builder().days(to_i32(days)).build());
    let noncurrent = declared
        .noncurrent_version_expiration_days
        .map(|days| NoncurrentVersionExpiration::builder().noncurrent_days(to_i32(days)).build());
    let transitions: Vec<SdkTransition> = declared.transitions.iter().map(from_transition).collect();
    Rule::builder()
        .id(&declared.id)
        .filter(LifecycleRuleFilter::builder().prefix(&declared.prefix).build())
        .set_expiration(expiration)
        .set_noncurrent_version_expiration(noncurrent)
        .set_transitions(Some(transitions).filter(|transitions| !transitions.is_empty()))
        .status(ExpirationStatus::Enabled)
        .build()
        .map_err(wrong_request)
}

fn from_transition(declared: &Transition) -> SdkTransition {
    let class = TransitionStorageClass::from(declared.storage_class.as_str());
    SdkTransition::builder().days(to_i32(declared.days)).storage_class(class).build()
}

fn to_i32(days: u32) -> i32 {
    days.try_into().unwrap_or(i32::MAX)
}

fn wrong_request(error: aws_smithy_types::error::operation::BuildError) -> Error {
    Error::new(ErrorKind::Local, "s3:PutBucketLifecycleConfiguration", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(extra: &Value) -> Desired {
        let mut fields = json!({ "name": "abc" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        serde_json::from_value(fields).expect("valid")
    }

    fn declared() -> Value {
        json!({ "lifecycle_rules": [
            { "id": "b", "expiration_days": 3 },
            { "id": "a", "prefix": "x/", "noncurrent_version_expiration_days": 2,
              "transitions": [{ "days": 60, "storage_class": "GLACIER" }, { "days": 30, "storage_class": "STANDARD_IA" }] },
        ] })
    }

    #[test]
    fn rules_survive_the_way_to_s3_and_back() {
        let desired = desired(&declared());
        let live = LiveRules::sort(LiveRules::default().merged(&desired).expect("rules"));
        assert_eq!((live.noncurrent_days, live.uploads_days), (Some(90), Some(7)));
        assert_eq!(
            live.others_as_declared(),
            comparable(desired.lifecycle_rules.as_deref().expect("declared"))
        );
    }

    #[test]
    fn rules_of_others_stay_unless_rules_are_declared() {
        let theirs = LiveRules::sort(LiveRules::default().merged(&desired(&declared())).expect("rules"));
        assert_eq!(theirs.merged(&desired(&json!({}))).expect("rules").len(), 4);
        assert_eq!(theirs.merged(&desired(&json!({ "lifecycle_rules": [] }))).expect("rules").len(), 2);
        let off = json!({ "noncurrent_version_expiration_days": { "off": "r" }, "abort_incomplete_uploads_days": { "off": "r" } });
        assert_eq!(LiveRules::default().merged(&desired(&off)).expect("rules").len(), 0);
    }

    #[test]
    fn a_rule_of_ours_that_was_disabled_is_absent() {
        let mut rule = noncurrent_rule(90).expect("a rule");
        rule.status = ExpirationStatus::Disabled;
        assert_eq!(LiveRules::sort(vec![rule]).noncurrent_days, None);
    }
}
