//! Lifecycle rules: Groundwork's, declared ones, and those of others.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleRule.html>

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleExpiration, LifecycleRule as Rule,
    LifecycleRuleFilter, NoncurrentVersionExpiration, Transition as SdkTransition,
    TransitionDefaultMinimumObjectSize, TransitionStorageClass,
};
use serde_json::{Value, json};

use super::desired::{Desired, LifecycleRule, Transition};
use crate::error::{Error, ErrorKind, Result};

/// Prefix of the names of Groundwork's own rules.
pub const RESERVED: &str = "groundwork-";
const NONCURRENT: &str = "groundwork-noncurrent-versions";
const UPLOADS: &str = "groundwork-incomplete-uploads";

/// The live rules, by owner.
#[derive(Clone, Debug, Default)]
pub struct LiveRules {
    /// The rule for old versions.
    pub noncurrent: Option<Rule>,
    /// The rule for unfinished uploads.
    pub uploads: Option<Rule>,
    /// All other rules, unchanged.
    pub others: Vec<Rule>,
    /// The size below which objects are not moved; a request without it resets it to the default.
    pub smallest: Option<TransitionDefaultMinimumObjectSize>,
}

impl LiveRules {
    /// Sorts the rules of a response.
    pub fn sort(rules: Vec<Rule>) -> Self {
        let mut sorted = Self::default();
        for rule in rules {
            match rule.id.as_deref() {
                Some(NONCURRENT) => sorted.noncurrent = Some(rule),
                Some(UPLOADS) => sorted.uploads = Some(rule),
                _ => sorted.others.push(rule),
            }
        }
        sorted
    }

    /// Days of the rule for old versions; the whole rule if Groundwork would write it differently.
    pub fn noncurrent_days(&self) -> Value {
        let days = |rule: &Rule| days(rule.noncurrent_version_expiration.as_ref()?.noncurrent_days);
        own_days(self.noncurrent.as_ref(), days, noncurrent_rule)
    }

    /// Days of the rule for unfinished uploads; the whole rule if Groundwork would write it differently.
    pub fn uploads_days(&self) -> Value {
        let days = |rule: &Rule| days(rule.abort_incomplete_multipart_upload.as_ref()?.days_after_initiation);
        own_days(self.uploads.as_ref(), days, uploads_rule)
    }

    /// The other rules in the form of a plan; a rule that a plan cannot express is shown as it is.
    pub fn others_as_declared(&self) -> Value {
        in_order(
            self.others.iter().map(|rule| to_declared(rule).map_or_else(|| opaque(rule), |rule| json!(rule))),
        )
    }

    /// All rules to write.
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

/// A rule of ours counts only if it is exactly the one that Groundwork would write.
fn own_days(
    live: Option<&Rule>,
    days: impl Fn(&Rule) -> Option<u32>,
    make: impl Fn(u32) -> Result<Rule>,
) -> Value {
    let Some(live) = live else { return Value::Null };
    let days = days(live).filter(|days| make(*days).is_ok_and(|own| normal(&own) == normal(live)));
    days.map_or_else(|| opaque(live), |days| json!(days))
}

/// Declared rules in the form that is compared, which ignores their order.
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

/// A rule without redundant notation.
fn normal(rule: &Rule) -> Rule {
    let mut rule = rule.clone();
    if let Some(prefix) = prefix(&rule) {
        #[expect(deprecated, reason = "old rules have their prefix outside of the filter")]
        {
            rule.prefix = None;
        }
        rule.filter = Some(LifecycleRuleFilter::builder().prefix(prefix).build());
    }
    rule.expiration = rule.expiration.map(|mut it| {
        it.days = it.days.filter(|days| *days > 0);
        it.expired_object_delete_marker = it.expired_object_delete_marker.filter(|on| *on);
        it
    });
    rule.expiration = rule.expiration.filter(|it| *it != LifecycleExpiration::builder().build());
    rule.transitions = sorted(rule.transitions);
    rule.noncurrent_version_transitions = rule.noncurrent_version_transitions.filter(|all| !all.is_empty());
    rule
}

fn sorted(transitions: Option<Vec<SdkTransition>>) -> Option<Vec<SdkTransition>> {
    let mut transitions = transitions.filter(|all| !all.is_empty())?;
    transitions.sort_by_key(|transition| transition.days);
    Some(transitions)
}

/// The prefix, if it is the whole filter.
fn prefix(rule: &Rule) -> Option<String> {
    #[expect(deprecated, reason = "old rules have their prefix outside of the filter")]
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

/// `None` if a plan cannot express the rule: if the declared form would not produce the same rule.
fn to_declared(rule: &Rule) -> Option<LifecycleRule> {
    let mut transitions = rule.transitions().iter().map(to_transition).collect::<Option<Vec<_>>>()?;
    transitions.sort();
    let declared = LifecycleRule {
        id: rule.id.clone().unwrap_or_default(),
        prefix: prefix(rule)?,
        expiration_days: rule.expiration.as_ref().and_then(|it| days(it.days)),
        noncurrent_version_expiration_days: rule
            .noncurrent_version_expiration
            .as_ref()
            .and_then(|it| days(it.noncurrent_days)),
        transitions,
    };
    to_rule(&declared).is_ok_and(|own| normal(&own) == normal(rule)).then_some(declared)
}

fn to_transition(live: &SdkTransition) -> Option<Transition> {
    let days = u32::try_from(live.days?).ok()?;
    Some(Transition { days, storage_class: live.storage_class.as_ref()?.as_str().to_owned() })
}

/// A rule that plans cannot express, with its effect.
fn opaque(rule: &Rule) -> Value {
    let expiration = rule.expiration.as_ref();
    let noncurrent = rule.noncurrent_version_expiration.as_ref();
    let parts = [
        ("id", json!(rule.id)),
        ("status", json!(rule.status.as_str())),
        ("note", json!("a rule that plans cannot express")),
        ("filter", rule.filter.as_ref().map_or(Value::Null, |filter| json!(format!("{filter:?}")))),
        ("expiration_days", json!(expiration.and_then(|it| it.days))),
        ("expiration_date", json!(expiration.and_then(|it| Some(it.date?.to_string())))),
        ("expired_object_delete_marker", json!(expiration.and_then(|it| it.expired_object_delete_marker))),
        ("noncurrent_days", json!(noncurrent.and_then(|it| it.noncurrent_days))),
        ("newer_noncurrent_versions", json!(noncurrent.and_then(|it| it.newer_noncurrent_versions))),
        ("transitions", moves(rule)),
        ("abort_incomplete_uploads_days", json!(unfinished(rule))),
    ];
    Value::Object(
        parts.into_iter().filter(|(_, part)| !part.is_null()).map(|(k, v)| (k.to_owned(), v)).collect(),
    )
}

fn unfinished(rule: &Rule) -> Option<i32> {
    rule.abort_incomplete_multipart_upload.as_ref()?.days_after_initiation
}

fn moves(rule: &Rule) -> Value {
    let class =
        |class: &Option<TransitionStorageClass>| class.as_ref().map(|class| class.as_str().to_owned());
    let current = rule
        .transitions()
        .iter()
        .map(|it| json!({ "days": it.days, "storage_class": class(&it.storage_class) }));
    let noncurrent = rule.noncurrent_version_transitions().iter();
    let noncurrent = noncurrent.map(
        |it| json!({ "noncurrent_days": it.noncurrent_days, "storage_class": class(&it.storage_class) }),
    );
    let all: Vec<Value> = current.chain(noncurrent).collect();
    if all.is_empty() { Value::Null } else { Value::Array(all) }
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
    fn rules_survive_a_round_trip() {
        let desired = desired(&declared());
        let live = LiveRules::sort(LiveRules::default().merged(&desired).expect("rules"));
        assert_eq!((live.noncurrent_days(), live.uploads_days()), (json!(90), json!(7)));
        assert_eq!(
            live.others_as_declared(),
            comparable(desired.lifecycle_rules.as_deref().expect("declared"))
        );
    }

    #[test]
    fn foreign_rules_stay_unless_rules_are_declared() {
        let theirs = LiveRules::sort(LiveRules::default().merged(&desired(&declared())).expect("rules"));
        assert_eq!(theirs.merged(&desired(&json!({}))).expect("rules").len(), 4);
        assert_eq!(theirs.merged(&desired(&json!({ "lifecycle_rules": [] }))).expect("rules").len(), 2);
        let off = json!({ "noncurrent_version_expiration_days": { "off": "r" }, "abort_incomplete_uploads_days": { "off": "r" } });
        assert_eq!(LiveRules::default().merged(&desired(&off)).expect("rules").len(), 0);
    }

    #[test]
    fn any_addition_to_own_rule_differs() {
        let own = noncurrent_rule(90).expect("a rule");
        let expiration = LifecycleExpiration::builder().days(1).build();
        let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(1).build();
        let newer = NoncurrentVersionExpiration::builder().noncurrent_days(90).newer_noncurrent_versions(3);
        let mut changed = vec![own.clone(); 6];
        changed[0].status = ExpirationStatus::Disabled;
        changed[1].expiration = Some(expiration);
        changed[2].abort_incomplete_multipart_upload = Some(abort);
        changed[3].noncurrent_version_expiration = Some(newer.build());
        changed[4].filter = Some(LifecycleRuleFilter::builder().prefix("logs/").build());
        changed[5].filter = Some(LifecycleRuleFilter::builder().object_size_less_than(5).build());
        assert_eq!(LiveRules::sort(vec![own]).noncurrent_days(), json!(90));
        for rule in changed {
            let shown = LiveRules::sort(vec![rule]).noncurrent_days();
            assert_eq!(shown["id"], NONCURRENT, "{shown}");
        }
    }

    #[test]
    fn inexpressible_rules_are_shown_unchanged() {
        let noncurrent = |it: NoncurrentVersionExpiration| Rule::builder().noncurrent_version_expiration(it);
        let newer = NoncurrentVersionExpiration::builder().noncurrent_days(9).newer_noncurrent_versions(3);
        let rule =
            noncurrent(newer.build()).id("x").status(ExpirationStatus::Enabled).build().expect("a rule");
        let shown = LiveRules::sort(vec![rule]).others_as_declared();
        assert_eq!(shown[0]["newer_noncurrent_versions"], 3);
        let plain = NoncurrentVersionExpiration::builder().noncurrent_days(9).build();
        let rule = noncurrent(plain).id("x").status(ExpirationStatus::Enabled).build().expect("a rule");
        assert_eq!(
            LiveRules::sort(vec![rule]).others_as_declared(),
            json!([{ "id": "x", "noncurrent_version_expiration_days": 9 }])
        );
    }
}
