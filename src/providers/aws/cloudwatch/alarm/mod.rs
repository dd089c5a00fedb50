//! `aws.cloudwatch_alarm`: an alarm on one metric.

mod compare;
mod request;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_cloudwatch::operation::put_metric_alarm::builders::PutMetricAlarmInputBuilder;
use aws_sdk_cloudwatch::types::{AlarmType, ComparisonOperator, MetricAlarm, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use request::request;

use super::refuse_existing;
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
#[cfg(feature = "aws-sns")]
use crate::proof::Prover;
use crate::providers::aws::arn::regional_arn;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::needs::{self, Need, On, creates, deletes, proves, reads, updates};
#[cfg(feature = "aws-sns")]
use crate::providers::aws::prove;
use crate::providers::aws::tags;
use crate::resource::risk::Category::{Destination, ProtectionOff};
use crate::resource::risk::{
    LABELS, Risks, added, becomes, changed, identity, lowered, off, raised, removed, safe, state,
};
use crate::resource::{Diff, Look, Partial, Resource, Tags, Writer};
use crate::run::{Permission, Use};

const DESCRIBE: &str = "cloudwatch:DescribeAlarms";
const PUT: &str = "cloudwatch:PutMetricAlarm";

type W<'a> = Writer<'a, AwsClient>;

/// An alarm.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricAlarm.html>
pub struct CloudwatchAlarm;

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CloudwatchAlarm")]
pub struct Desired {
    /// The name, unique in account and region.
    pub name: String,
    /// The alarm's meaning, and instructions for its receivers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The metric's namespace.
    pub namespace: String,
    /// The metric's name.
    pub metric: String,
    /// The metric's dimensions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
    /// `SampleCount`, `Average`, `Sum`, `Minimum`, `Maximum`, or a percentile such as `p99`.
    #[serde(default = "average")]
    pub statistic: String,
    /// The metric's unit, e.g. `Seconds`. Default: any unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The period of the statistic in seconds: 10, 20, 30 or a multiple of 60.
    #[serde(default = "minute")]
    pub period_seconds: u32,
    /// How the statistic is compared with the threshold.
    pub comparison: Comparison,
    /// The threshold.
    pub threshold: f64,
    /// How many periods are evaluated.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub evaluation_periods: u32,
    /// How many of them must breach the threshold. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub datapoints_to_alarm: Option<u32>,
    /// How a period without data is treated.
    #[serde(default)]
    pub treat_missing_data: MissingData,
    /// Whether the actions run when the state changes.
    #[serde(default = "yes")]
    pub actions_enabled: bool,
    /// ARNs of the topics or other targets that are notified when the alarm fires.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub alarm_actions: BTreeSet<String>,
    /// ARNs of the targets that are notified when the alarm returns to OK.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ok_actions: BTreeSet<String>,
    /// ARNs of the targets that are notified when there is too little data.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub insufficient_data_actions: BTreeSet<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

fn average() -> String {
    "Average".to_owned()
}

const fn minute() -> u32 {
    60
}

const fn one() -> u32 {
    1
}

const fn yes() -> bool {
    true
}

/// How a statistic is compared with the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Comparison {
    /// Greater.
    #[serde(rename = ">")]
    Greater,
    /// Greater or equal.
    #[serde(rename = ">=")]
    GreaterOrEqual,
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// Less or equal.
    #[serde(rename = "<=")]
    LessOrEqual,
}

impl Comparison {
    fn to_sdk(self) -> ComparisonOperator {
        match self {
            Self::Greater => ComparisonOperator::GreaterThanThreshold,
            Self::GreaterOrEqual => ComparisonOperator::GreaterThanOrEqualToThreshold,
            Self::Less => ComparisonOperator::LessThanThreshold,
            Self::LessOrEqual => ComparisonOperator::LessThanOrEqualToThreshold,
        }
    }

    /// `None` for operators that compare with a band, which a plan cannot declare.
    fn of(live: &ComparisonOperator) -> Option<Self> {
        let all = [Self::Greater, Self::GreaterOrEqual, Self::Less, Self::LessOrEqual];
        all.into_iter().find(|comparison| comparison.to_sdk() == *live)
    }
}

/// How a period without data is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissingData {
    /// As missing: without any data the state is "insufficient data".
    #[default]
    Missing,
    /// The state stays as it is.
    Ignore,
    /// As a breach of the threshold.
    Breaching,
    /// As within the threshold.
    NotBreaching,
}

impl MissingData {
    fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ignore => "ignore",
            Self::Breaching => "breaching",
            Self::NotBreaching => "notBreaching",
        }
    }

    fn of(live: &str) -> Option<Self> {
        let all = [Self::Missing, Self::Ignore, Self::Breaching, Self::NotBreaching];
        all.into_iter().find(|treatment| treatment.name() == live)
    }
}

/// The alarm as CloudWatch reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    arn: String,
    alarm: MetricAlarm,
    tags: Tags,
}

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CloudwatchAlarmOutputs")]
pub struct Outputs {
    /// The alarm's name.
    pub name: String,
    /// The alarm's ARN.
    pub arn: String,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["cloudwatch:DescribeAlarms", "cloudwatch:ListTagsForResource"]),
    creates(&["cloudwatch:PutMetricAlarm", "cloudwatch:TagResource"]),
    updates(&["cloudwatch:PutMetricAlarm"]),
    updates(&["cloudwatch:TagResource"]).with(&["tags"]),
    deletes(&["cloudwatch:DeleteAlarms"]),
    // Of the topics that the plan declares, their own steps read the same.
    proves(&["sns:GetTopicAttributes"]).on(On::Other("topics")),
];

impl Resource for CloudwatchAlarm {
    const KIND: &'static str = "aws.cloudwatch_alarm";
    const GRANTS: Granting = Granting::Never("an alarm calls actions; who may change it is not followed");
    const ABOUT: &'static str = "A CloudWatch alarm on one metric, with the targets that it notifies.";
    const EXAMPLE: &'static str = r#"failed_logins_alarm:
  kind: aws.cloudwatch_alarm
  name: candlefish-vault-failed-logins
  description: More than five failed logins to Vault in a minute
  namespace: Candlefish/Vault
  metric: FailedLogins
  statistic: Sum
  comparison: ">"
  threshold: 5
  treat_missing_data: not_breaching
  alarm_actions: [ "arn:aws:sns:us-east-1:123456789012:candlefish-alerts" ]
"#;
    const RISKS: Risks = &[&[
        state("metrics"),
        identity("name"),
        safe("description tags", LABELS),
        changed("namespace metric dimensions statistic unit")
            .medium(ProtectionOff, "watches something else (`{field}`)"),
        changed("comparison").medium(ProtectionOff, "fires in another direction"),
        lowered("threshold").low(ProtectionOff, "fires at a lower value"),
        raised("threshold").low(ProtectionOff, "fires at a higher value"),
        changed("period_seconds evaluation_periods datapoints_to_alarm")
            .low(ProtectionOff, "fires earlier or later (`{field}`)"),
        becomes("treat_missing_data", "not_breaching ignore missing")
            .medium(ProtectionOff, "does not fire when the metric stops"),
        off("actions_enabled").medium(ProtectionOff, "its actions do not run when it fires"),
        removed("alarm_actions").medium(ProtectionOff, "these are no longer notified when it fires"),
        removed("ok_actions insufficient_data_actions")
            .low(ProtectionOff, "these are no longer notified (`{field}`)"),
        added("alarm_actions ok_actions insufficient_data_actions")
            .low(Destination, "also runs these (`{field}`)"),
    ]];
    const PROOF: Proof = Proof::Tried("the topics that it names exist");
    const TAGGED: bool = true;

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        let alarm = format!("alarm:{}", needs::literal(&desired.name));
        needs::of(NEEDS, used, desired, |on| match on {
            On::Other(_) => {
                let topics = desired.targets().into_iter().filter(|target| prove::notified::is_topic(target));
                topics.map(|topic| needs::literal(topic)).collect()
            }
            _ => vec![needs::in_region(used.realm, "cloudwatch", &alarm)],
        })
    }

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found = check_numbers(desired);
        if !(1..=255).contains(&desired.name.chars().count()) {
            found.push(FieldError::new("name", "an alarm's name has 1 to 255 characters"));
        }
        found.extend(tags::check(&desired.tags));
        found
    }

    /// One request for many alarms, and one for the tags of each.
    async fn observe(client: &AwsClient, id: &String, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let alarm = client.batches.alarms.ask(id, |names| describe(client, names)).await?;
        let Some(alarm) = alarm else { return Ok(None) };
        let arn = alarm.alarm_arn.clone().ok_or_else(|| missing(DESCRIBE, "ARN"))?;
        let answer = client.read().cloudwatch().list_tags_for_resource().resource_arn(&arn).send().await;
        let answer = answer.found("cloudwatch:ListTagsForResource", &["ResourceNotFoundException"])?;
        let tags = answer.and_then(|answer| answer.tags).unwrap_or_default();
        let tags = tags.into_iter().filter_map(|tag| Some((tag.key?, tag.value?))).collect();
        Ok(Some(Observed { arn, alarm, tags }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = compare::alarm(desired, &observed.alarm);
        diff.entries("tags", &observed.tags, &desired.tags);
        diff
    }

    async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
        let found = describe(w, vec![desired.name.clone()]).await?;
        refuse_existing(PUT, !found.is_empty(), &format!("the alarm {}", desired.name))?;
        let tags = Some(to_sdk(&desired.tags)).filter(|tags| !tags.is_empty());
        put(w, request(desired, None).set_tags(tags)).await
    }

    /// A request that replaces an alarm ignores its tags, so they have their own.
    async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
        let diff = Self::diff(desired, observed);
        if diff.changes.iter().any(|change| !change.path.starts_with("tags.")) {
            put(w, request(desired, Some(&observed.alarm))).await?;
        }
        if diff.touches("tags") {
            let added = to_sdk(&tags::to_add(&desired.tags, &observed.tags));
            let request = w.write(w.permit()).cloudwatch().tag_resource().resource_arn(&observed.arn);
            request.set_tags(Some(added)).send().await.at("cloudwatch:TagResource")?;
        }
        Ok(())
    }

    async fn delete(w: &W<'_>, id: &String) -> Result<()> {
        let answer = w.write(w.permit()).cloudwatch().delete_alarms().alarm_names(id).send().await;
        answer.found("cloudwatch:DeleteAlarms", &["ResourceNotFound"]).map(drop)
    }

    fn outputs(observed: &Observed) -> Outputs {
        let name = observed.alarm.alarm_name.clone().unwrap_or_default();
        Outputs { name, arn: observed.arn.clone() }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        let arn = regional_arn(realm, "cloudwatch", &format!("alarm:{}", desired.name));
        Partial::default().with("name", &desired.name).with_some("arn", arn)
    }

    #[cfg(feature = "aws-sns")]
    async fn prove(prover: &Prover<'_, AwsClient>, desired: &Desired, _: &Observed) {
        prove::notified::targets(prover, desired.targets().into_iter()).await;
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

impl Desired {
    /// Where it goes when its state changes.
    fn targets(&self) -> BTreeSet<&String> {
        let Self { alarm_actions, ok_actions, insufficient_data_actions, .. } = self;
        alarm_actions.iter().chain(ok_actions).chain(insufficient_data_actions).collect()
    }
}

/// The alarms of these names. Composite alarms are of another type and not requested.
async fn describe(client: &AwsClient, names: Vec<String>) -> Result<HashMap<String, MetricAlarm>> {
    let request = client.read().cloudwatch().describe_alarms().set_alarm_names(Some(names));
    let pages = request.alarm_types(AlarmType::MetricAlarm).max_records(100).into_paginator().send();
    let pages: Vec<_> = pages.try_collect().await.at(DESCRIBE)?;
    let alarms = pages.into_iter().flat_map(|page| page.metric_alarms.unwrap_or_default());
    Ok(alarms.filter_map(|alarm| Some((alarm.alarm_name.clone()?, alarm))).collect())
}

async fn put(w: &W<'_>, request: PutMetricAlarmInputBuilder) -> Result<()> {
    request.send_with(w.write(w.permit()).cloudwatch()).await.at(PUT).map(drop)
}

fn to_sdk(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

fn check_numbers(desired: &Desired) -> Vec<FieldError> {
    let mut found = Vec::new();
    let period = desired.period_seconds;
    if ![10, 20, 30].contains(&period) && (period == 0 || !period.is_multiple_of(60)) {
        let error = FieldError::new("period_seconds", "CloudWatch does not support this period");
        found.push(error.help("write 10, 20, 30 or a multiple of 60"));
    }
    let too_many = desired.datapoints_to_alarm.is_some_and(|count| count > desired.evaluation_periods);
    if too_many || desired.datapoints_to_alarm == Some(0) {
        let error = FieldError::new("datapoints_to_alarm", "must be from 1 to `evaluation_periods`");
        found.push(error.help(format!("`evaluation_periods` is {}", desired.evaluation_periods)));
    }
    if desired.evaluation_periods == 0 {
        found.push(FieldError::new("evaluation_periods", "must be at least 1"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_cloudwatch::types::{MetricDataQuery, Statistic};
    use serde_json::{Value, json};

    fn desired(extra: Value) -> Desired {
        let mut fields =
            json!({ "name": "a", "namespace": "n", "metric": "m", "comparison": ">", "threshold": 5 });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        serde_json::from_value(fields).expect("valid")
    }

    fn observed() -> Observed {
        let alarm = MetricAlarm::builder()
            .alarm_name("a")
            .namespace("n")
            .metric_name("m")
            .statistic(Statistic::Average)
            .period(60)
            .comparison_operator(ComparisonOperator::GreaterThanThreshold)
            .threshold(5.0)
            .evaluation_periods(1)
            .build();
        Observed { arn: "arn".into(), alarm, tags: Tags::new() }
    }

    fn paths(extra: Value) -> Vec<String> {
        CloudwatchAlarm::diff(&desired(extra), &observed())
            .changes
            .into_iter()
            .map(|change| change.path)
            .collect()
    }

    #[test]
    fn defaults_are_in_sync_with_a_plain_alarm() {
        assert!(paths(json!({})).is_empty());
        assert!(paths(json!({ "datapoints_to_alarm": 1, "threshold": 5.0 })).is_empty());
    }

    #[test]
    fn every_field_is_compared() {
        let all = json!({ "description": "d", "namespace": "o", "metric": "p", "dimensions": { "a": "b" },
            "statistic": "p99", "unit": "Seconds", "period_seconds": 300, "comparison": "<=", "threshold": 1,
            "evaluation_periods": 3, "datapoints_to_alarm": 2, "treat_missing_data": "breaching",
            "actions_enabled": false, "alarm_actions": ["x"], "ok_actions": ["y"],
            "insufficient_data_actions": ["z"], "tags": { "t": "u" } });
        assert_eq!(paths(all.clone()).len(), all.as_object().expect("a map").len());
    }

    #[test]
    fn setting_lost_with_percentile_is_noted() {
        let mut live = observed();
        live.alarm.statistic = None;
        live.alarm.extended_statistic = Some("p99".into());
        live.alarm.evaluate_low_sample_count_percentile = Some("ignore".into());
        let diff = CloudwatchAlarm::diff(&desired(json!({})), &live);
        assert!(diff.changes[0].note.as_deref().is_some_and(|note| note.contains("few samples")));
        let sent = request(&desired(json!({})), Some(&live.alarm));
        assert_eq!(sent.get_evaluate_low_sample_count_percentile(), &None);
    }

    #[test]
    fn alarm_by_expression_is_never_replaced() {
        let query = MetricDataQuery::builder().id("e1").expression("m1 / m2").build();
        let mut live = observed();
        live.alarm.metrics = Some(vec![query]);
        let diff = CloudwatchAlarm::diff(&desired(json!({})), &live);
        assert_eq!(diff.blocked[0].path, "metrics");
        assert_eq!(diff.changes[0].before[0]["expression"], "m1 / m2");
        let mut band = observed();
        band.alarm.threshold_metric_id = Some("ad1".into());
        assert_eq!(CloudwatchAlarm::diff(&desired(json!({})), &band).blocked.len(), 1);
    }

    #[test]
    fn unknown_values_of_enumerations_are_blocked() {
        let mut live = observed();
        live.alarm.treat_missing_data = Some("guess".into());
        live.alarm.comparison_operator = Some(ComparisonOperator::GreaterThanUpperThreshold);
        let diff = CloudwatchAlarm::diff(&desired(json!({})), &live);
        let before: Vec<&Value> = diff.changes.iter().map(|change| &change.before).collect();
        assert_eq!(before, [&json!("GreaterThanUpperThreshold"), &json!("guess")]);
        assert_eq!(diff.blocked.len(), 2);
    }

    #[test]
    fn order_of_actions_does_not_matter() {
        let mut live = observed();
        live.alarm.alarm_actions = Some(vec!["b".into(), "a".into()]);
        let declared = desired(json!({ "alarm_actions": ["a", "b"] }));
        assert!(CloudwatchAlarm::diff(&declared, &live).is_empty());
    }

    #[test]
    fn numbers_are_checked() {
        let paths = |extra| -> Vec<String> {
            CloudwatchAlarm::check(&desired(extra)).into_iter().map(|error| error.path).collect()
        };
        assert_eq!(paths(json!({ "period_seconds": 45 })), ["period_seconds"]);
        assert_eq!(paths(json!({ "datapoints_to_alarm": 2 })), ["datapoints_to_alarm"]);
        assert!(paths(json!({ "period_seconds": 30 })).is_empty());
    }
}
