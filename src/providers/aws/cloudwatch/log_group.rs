//! `aws.cloudwatch_log_group`: a log group of CloudWatch Logs.

use std::collections::HashMap;

use aws_sdk_cloudwatchlogs::types::LogGroup;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::access::{Grant, Granting};
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::aws::arn::regional_arn;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::key_name::LiveKey;
use crate::providers::aws::needs::{self, Need, On, creates, deletes, reads, updates};
use crate::providers::aws::risk::KEY_RISKS;
use crate::providers::aws::states;
use crate::providers::aws::{kms_key, tags};
use crate::resource::risk::Category::Destroy;
use crate::resource::risk::{LABELS, Risks, fixed, identity, safe, tightened};
use crate::resource::{Attachment, Diff, Look, Partial, Replacement, Requirement, Resource, Tags, Writer};
use crate::run::{Permission, Use};

const NOT_FOUND: &[&str] = &["ResourceNotFoundException"];
const CLASS_IS_FIXED: &str =
    "CloudWatch Logs fixes a group's class when it is created; declare another name to create another group";
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>
const RETENTIONS: [u32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

type W<'a> = Writer<'a, AwsClient>;

/// A log group.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogGroup.html>
pub struct CloudwatchLogGroup;

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CloudwatchLogGroup")]
pub struct Desired {
    /// The name, unique in account and region.
    pub name: String,
    /// Days for which entries are kept: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731,
    /// 1096, 1827, 2192, 2557, 2922, 3288 or 3653. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// The ARN of the KMS key that encrypts new entries; its policy must let CloudWatch Logs use it.
    /// Default: a key of AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// The class, which decides the group's price and features. Fixed when the group is created.
    #[serde(default)]
    pub class: Class,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// The class of a log group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LogGroupClass")]
pub enum Class {
    /// With metric filters, subscriptions and live tail.
    #[default]
    Standard,
    /// Cheaper, for logs that are rarely read.
    InfrequentAccess,
    /// For delivery to S3 or Firehose; entries are deleted after two days.
    Delivery,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::InfrequentAccess => "INFREQUENT_ACCESS",
            Self::Delivery => "DELIVERY",
        }
    }

    /// `None` for a class that Groundwork does not know.
    fn of(name: &str) -> Option<Self> {
        let known = [Self::Standard, Self::InfrequentAccess, Self::Delivery];
        known.into_iter().find(|class| class.name() == name)
    }
}

/// The log group as CloudWatch Logs reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    name: String,
    arn: String,
    retention_days: Option<u32>,
    key: LiveKey,
    class: String,
    tags: Tags,
}

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CloudwatchLogGroupOutputs")]
pub struct Outputs {
    /// The group's name.
    pub name: String,
    /// The group's ARN, without `:*` at the end.
    pub arn: String,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["logs:DescribeLogGroups"]).on(On::Everything),
    reads(&["logs:ListTagsForResource"]),
    creates(&["logs:CreateLogGroup", "logs:TagResource"]),
    creates(&["logs:PutRetentionPolicy"]).with(&["retention_days"]),
    creates(&["logs:AssociateKmsKey"]).with(&["kms_key"]),
    updates(&["logs:DeleteRetentionPolicy", "logs:PutRetentionPolicy"]).with_default(&["retention_days"]),
    updates(&["logs:AssociateKmsKey", "logs:DisassociateKmsKey"]).with_default(&["kms_key"]),
    updates(&["logs:TagResource"]).with(&["tags"]),
    deletes(&["logs:DeleteLogGroup", "logs:DescribeMetricFilters", "logs:DescribeSubscriptionFilters"]),
];

impl Resource for CloudwatchLogGroup {
    const KIND: &'static str = "aws.cloudwatch_log_group";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A log group in CloudWatch Logs, with its retention and encryption.";
    const EXAMPLE: &'static str = r"vault_audit_log:
  kind: aws.cloudwatch_log_group
  name: /candlefish/production/vault-audit
  retention_days: 365
  kms_key: arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
";
    const REBUILT: Option<&'static str> = Some("empty: its events are lost");
    const RISKS: Risks = &[
        &[
            identity("name"),
            tightened("retention_days").medium(Destroy, "entries are deleted sooner"),
            fixed("class"),
            safe("tags", LABELS),
        ],
        KEY_RISKS,
    ];
    const PROOF: Proof = Proof::InSync("CloudWatch keeps and encrypts as the group reports");
    const TAGGED: bool = true;
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement =
        Replacement::Never("every event in it would be lost; declare another log group");
    const REMOVAL: Option<&'static str> = Some("with every event in it, for good");

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |_| super::arns_of_log_group(used.realm, &desired.name))
    }

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = check_name(&desired.name).into_iter().collect();
        if desired.retention_days.is_some_and(|days| !RETENTIONS.contains(&days)) {
            let nearest = RETENTIONS.into_iter().find(|known| desired.retention_days < Some(*known));
            let error = FieldError::new("retention_days", "CloudWatch Logs does not support this retention");
            found.push(error.help(format!("write {}", nearest.unwrap_or(3653))));
        }
        if desired.kms_key.as_deref().is_some_and(|key| !key.starts_with("arn:")) {
            let error = FieldError::new("kms_key", "CloudWatch Logs accepts only the ARN of a key");
            found.push(error.help("refer to the key's step, e.g. `{{ key.arn }}`"));
        }
        found.extend(tags::check(&desired.tags));
        found
    }

    fn grants(desired: &Desired, _: Option<&Observed>, _: &Realm) -> Vec<Grant> {
        vec![Grant::Target(states::target("log group", &desired.name, states::LOG_GROUP))]
    }

    fn granted(observed: &Observed) -> Vec<Grant> {
        vec![Grant::Target(states::target("log group", &observed.name, states::LOG_GROUP))]
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.kms_key.as_deref().and_then(kms_key::requirement).into_iter().collect()
    }

    /// Sends two requests.
    async fn observe(client: &AwsClient, id: &String, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let Some(group) = describe(client, id).await? else { return Ok(None) };
        let arn =
            group.log_group_arn.or(group.arn).ok_or_else(|| missing("logs:DescribeLogGroups", "ARN"))?;
        let arn = arn.trim_end_matches(":*").to_owned();
        let answer = client.read().logs().list_tags_for_resource().resource_arn(&arn).send().await;
        let tags = answer.found("logs:ListTagsForResource", NOT_FOUND)?.and_then(|answer| answer.tags);
        Ok(Some(Observed {
            name: id.clone(),
            arn,
            retention_days: group.retention_in_days.and_then(|days| days.try_into().ok()),
            key: LiveKey::named(client, group.kms_key_id).await?,
            class: group
                .log_group_class
                .as_ref()
                .map_or(Class::Standard.name(), |class| class.as_str())
                .to_owned(),
            tags: tags.unwrap_or_default().into_iter().collect(),
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.field("retention_days", &observed.retention_days, &desired.retention_days);
        if !observed.key.is(desired.kms_key.as_deref()) {
            diff.push("kms_key", json!(observed.key.name), json!(desired.kms_key));
        }
        diff.immutable("class", &shown_class(&observed.class), &json!(desired.class), CLASS_IS_FIXED)
            .entries("tags", &observed.tags, &desired.tags);
        diff
    }

    async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
        let request = w.write_once(w.permit()).logs().create_log_group().log_group_name(&desired.name);
        let request = request
            .set_kms_key_id(desired.kms_key.clone())
            .log_group_class(desired.class.name().into())
            .set_tags(Some(to_sdk(&desired.tags)).filter(|tags| !tags.is_empty()));
        request.send().await.at("logs:CreateLogGroup")?;
        match desired.retention_days {
            Some(_) => put_retention(w, desired).await,
            None => Ok(()),
        }
    }

    async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
        let diff = Self::diff(desired, observed);
        if diff.touches("retention_days") {
            put_retention(w, desired).await?;
        }
        if diff.touches("kms_key") {
            put_key(w, desired).await?;
        }
        if diff.touches("tags") {
            let added = to_sdk(&tags::to_add(&desired.tags, &observed.tags));
            let request = w.write(w.permit()).logs().tag_resource().resource_arn(&observed.arn);
            request.set_tags(Some(added)).send().await.at("logs:TagResource")?;
        }
        Ok(())
    }

    async fn delete(w: &W<'_>, id: &String) -> Result<()> {
        let answer = w.write(w.permit()).logs().delete_log_group().log_group_name(id).send().await;
        answer.found("logs:DeleteLogGroup", NOT_FOUND).map(drop)
    }

    /// Metric filters are deleted with the group.
    async fn attachments(client: &AwsClient, id: &String, _: &Observed) -> Result<Vec<Attachment>> {
        let logs = client.read().logs();
        let metrics = logs.describe_metric_filters().log_group_name(id).into_paginator().items().send();
        let metrics = metrics.try_collect().await.found("logs:DescribeMetricFilters", NOT_FOUND)?;
        let names = metrics.unwrap_or_default().into_iter().filter_map(|filter| filter.filter_name);
        let metrics = names.map(|name| {
            let thing = format!("{id}:{name}");
            Attachment::ends("metric_filters", name).held_by("aws.log_metric_filter", thing)
        });
        let others = logs.describe_subscription_filters().log_group_name(id).into_paginator().items().send();
        let others = others.try_collect().await.found("logs:DescribeSubscriptionFilters", NOT_FOUND)?;
        let names = others.unwrap_or_default().into_iter().filter_map(|filter| filter.filter_name);
        Ok(metrics.chain(names.map(|name| Attachment::ends("subscription_filters", name))).collect())
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), arn: observed.arn.clone() }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        let arn = regional_arn(realm, "logs", &format!("log-group:{}", desired.name));
        Partial::default().with("name", &desired.name).with_some("arn", arn)
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

/// The class as declared; the service's name for a class that a plan cannot declare.
fn shown_class(name: &str) -> Value {
    Class::of(name).map_or_else(|| json!(name), |class| json!(class))
}

/// The list is sorted, so the group with exactly this name comes before all others that start with it.
async fn describe(client: &AwsClient, name: &str) -> Result<Option<LogGroup>> {
    let request = client.read().logs().describe_log_groups().log_group_name_prefix(name).limit(1);
    let groups = request.send().await.at("logs:DescribeLogGroups")?.log_groups.unwrap_or_default();
    Ok(groups.into_iter().find(|group| group.log_group_name.as_deref() == Some(name)))
}

async fn put_retention(w: &W<'_>, desired: &Desired) -> Result<()> {
    let logs = w.write(w.permit()).logs();
    match desired.retention_days.and_then(|days| i32::try_from(days).ok()) {
        Some(days) => {
            let request = logs.put_retention_policy().log_group_name(&desired.name).retention_in_days(days);
            request.send().await.at("logs:PutRetentionPolicy").map(drop)
        }
        None => {
            let request = logs.delete_retention_policy().log_group_name(&desired.name);
            request.send().await.at("logs:DeleteRetentionPolicy").map(drop)
        }
    }
}

async fn put_key(w: &W<'_>, desired: &Desired) -> Result<()> {
    let logs = w.write(w.permit()).logs();
    match &desired.kms_key {
        Some(key) => {
            let request = logs.associate_kms_key().log_group_name(&desired.name).kms_key_id(key);
            request.send().await.at("logs:AssociateKmsKey").map(drop)
        }
        None => {
            let request = logs.disassociate_kms_key().log_group_name(&desired.name);
            request.send().await.at("logs:DisassociateKmsKey").map(drop)
        }
    }
}

fn to_sdk(tags: &Tags) -> HashMap<String, String> {
    tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html>
fn check_name(name: &str) -> Option<FieldError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-/.#".contains(c);
    let good = (1..=512).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with("aws/");
    (!good).then(|| {
        FieldError::new("name", "not a valid name for a log group")
            .help("1 to 512 letters, digits and `_-/.#`, not beginning with `aws/`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(extra: Value) -> Desired {
        let mut fields = json!({ "name": "/a/b" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        serde_json::from_value(fields).expect("valid")
    }

    #[test]
    fn mistakes_are_found_without_network() {
        let paths = |extra| -> Vec<String> {
            CloudwatchLogGroup::check(&desired(extra)).into_iter().map(|error| error.path).collect()
        };
        assert_eq!(
            paths(json!({ "name": "a b", "retention_days": 100, "kms_key": "alias/x" })),
            ["name", "retention_days", "kms_key"]
        );
        assert!(
            paths(json!({ "retention_days": 30, "kms_key": "arn:aws:kms:us-east-1:1:key/k" })).is_empty()
        );
    }

    #[test]
    fn next_valid_retention_is_suggested() {
        let found = CloudwatchLogGroup::check(&desired(json!({ "retention_days": 100 })));
        assert_eq!(found[0].help.as_deref(), Some("write 120"));
    }

    #[test]
    fn log_classes_are_read_back() {
        for class in [Class::Standard, Class::InfrequentAccess, Class::Delivery] {
            assert_eq!(shown_class(class.name()), json!(class));
        }
        assert_eq!(shown_class("FROZEN"), json!("FROZEN"));
    }
}
