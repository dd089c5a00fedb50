//! `aws.log_metric_filter`: a metric that counts a log group's entries.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_cloudwatchlogs::operation::put_metric_filter::builders::PutMetricFilterInputBuilder;
use aws_sdk_cloudwatchlogs::types::{MetricFilter, MetricTransformation, StandardUnit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::refuse_existing;
use crate::access::Granting;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::needs::{self, Need, deletes, reads, writes};
use crate::resource::risk::Category::ProtectionOff;
use crate::resource::risk::{Risks, changed, identity};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Writer};
use crate::run::{Permission, Use};

const NOT_FOUND: &[&str] = &["ResourceNotFoundException"];
const PUT: &str = "logs:PutMetricFilter";

type W<'a> = Writer<'a, AwsClient>;

/// A metric filter.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_MetricFilter.html>
pub struct LogMetricFilter;

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LogMetricFilter")]
pub struct Desired {
    /// The name, unique in the log group.
    pub name: String,
    /// The log group's name.
    pub log_group: String,
    /// Which entries count, e.g. `{ $.error = "permission denied" }`; `""` is every entry.
    pub pattern: String,
    /// The metric.
    pub metric: Metric,
}

/// A metric that entries are counted in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LogMetric")]
pub struct Metric {
    /// The metric's namespace.
    pub namespace: String,
    /// The metric's name.
    pub name: String,
    /// The value that an entry adds: a number, or a field of the entry such as `$.latency`.
    #[serde(default = "one")]
    pub value: String,
    /// The value for a minute without matching entries. Default: no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_value: Option<f64>,
    /// The unit, e.g. `Count`, `Milliseconds`. Default: none.
    #[serde(default = "no_unit")]
    pub unit: String,
    /// Dimensions, each with the field of the entry that has its value. Cannot be combined with
    /// `default_value`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
}

fn one() -> String {
    "1".to_owned()
}

fn no_unit() -> String {
    "None".to_owned()
}

/// A log group and the filter's name in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    log_group: String,
    name: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.log_group, self.name)
    }
}

/// The filter as CloudWatch Logs reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    id: Id,
    pattern: String,
    metric: Metric,
    undeclared: Undeclared,
}

/// Settings of the filter that a plan does not declare.
#[derive(Clone, Debug, Default)]
struct Undeclared {
    on_transformed_logs: bool,
    field_selection: Option<String>,
    system_fields: Option<Vec<String>>,
}

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LogMetricFilterOutputs")]
pub struct Outputs {
    /// The filter's name.
    pub name: String,
    /// The metric's namespace.
    pub namespace: String,
    /// The metric's name.
    pub metric: String,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["logs:DescribeMetricFilters"]),
    writes(&["logs:PutMetricFilter"]),
    deletes(&["logs:DeleteMetricFilter"]),
];

impl Resource for LogMetricFilter {
    const KIND: &'static str = "aws.log_metric_filter";
    const GRANTS: Granting = Granting::Never("a filter belongs to its log group");
    const ABOUT: &'static str = "A metric that counts the entries of a log group.";
    const EXAMPLE: &'static str = r#"failed_logins:
  kind: aws.log_metric_filter
  name: vault-failed-logins
  log_group: /candlefish/production/vault-audit
  pattern: '{ $.error = "permission denied" }'
  metric: { namespace: Candlefish/Vault, name: FailedLogins, default_value: 0 }
"#;
    const RISKS: Risks = &[&[
        identity("name log_group"),
        changed("pattern").medium(ProtectionOff, "counts other entries, and alarms fire on these"),
        changed("metric")
            .medium(ProtectionOff, "counts into another metric, or otherwise: alarms may not fire"),
    ]];
    const PROOF: Proof = Proof::InSync("CloudWatch counts as the filter reports");

    type Client = AwsClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |_| super::arns_of_log_group(used.realm, &desired.log_group))
    }

    fn id(desired: &Desired) -> Id {
        Id { log_group: desired.log_group.clone(), name: desired.name.clone() }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let both = desired.metric.default_value.is_some() && !desired.metric.dimensions.is_empty();
        let message = "a metric with dimensions cannot have a default value";
        both.then(|| FieldError::new("metric.default_value", message).help("remove one of them"))
            .into_iter()
            .collect()
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        vec![Requirement::thing("aws.cloudwatch_log_group", &desired.log_group)]
    }

    async fn observe(client: &AwsClient, id: &Id, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let request = client.read().logs().describe_metric_filters().log_group_name(&id.log_group);
        let pages = request.filter_name_prefix(&id.name).into_paginator().items().send();
        let filters = pages.try_collect().await.found("logs:DescribeMetricFilters", NOT_FOUND)?;
        let found =
            filters.into_iter().flatten().find(|filter| filter.filter_name.as_ref() == Some(&id.name));
        Ok(found.and_then(|filter| to_observed(id, filter)))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let (before, after) = (&observed.metric, &desired.metric);
        let mut diff = Diff::none();
        diff.field("pattern", observed.pattern.trim(), desired.pattern.trim())
            .field("metric.namespace", &before.namespace, &after.namespace)
            .field("metric.name", &before.name, &after.name)
            .field("metric.value", &before.value, &after.value)
            .field("metric.default_value", &before.default_value, &after.default_value)
            .field("metric.unit", &before.unit, &after.unit)
            .field("metric.dimensions", &before.dimensions, &after.dimensions);
        diff
    }

    async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
        let id = Self::id(desired);
        refuse_existing(
            PUT,
            Self::observe(w, &id, Look::BARE).await?.is_some(),
            &format!("the metric filter {id}"),
        )?;
        put(w, desired, &Undeclared::default()).await
    }

    async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
        put(w, desired, &observed.undeclared).await
    }

    async fn delete(w: &W<'_>, id: &Id) -> Result<()> {
        let request = w.write(w.permit()).logs().delete_metric_filter();
        let answer = request.log_group_name(&id.log_group).filter_name(&id.name).send().await;
        answer.found("logs:DeleteMetricFilter", NOT_FOUND).map(drop)
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs {
            name: observed.id.name.clone(),
            namespace: observed.metric.namespace.clone(),
            metric: observed.metric.name.clone(),
        }
    }

    fn predicted_outputs(desired: &Desired, _: &Realm) -> Partial {
        Partial::default()
            .with("name", &desired.name)
            .with("namespace", &desired.metric.namespace)
            .with("metric", &desired.metric.name)
    }
}

/// A filter has one transformation.
fn to_observed(id: &Id, filter: MetricFilter) -> Option<Observed> {
    let transformation = filter.metric_transformations.unwrap_or_default().into_iter().next()?;
    let metric = Metric {
        namespace: transformation.metric_namespace,
        name: transformation.metric_name,
        value: transformation.metric_value,
        default_value: transformation.default_value,
        unit: transformation.unit.map_or_else(no_unit, |unit| unit.as_str().to_owned()),
        dimensions: transformation.dimensions.unwrap_or_default().into_iter().collect(),
    };
    let undeclared = Undeclared {
        on_transformed_logs: filter.apply_on_transformed_logs,
        field_selection: filter.field_selection_criteria,
        system_fields: filter.emit_system_field_dimensions,
    };
    Some(Observed { id: id.clone(), pattern: filter.filter_pattern.unwrap_or_default(), metric, undeclared })
}

async fn put(w: &W<'_>, desired: &Desired, undeclared: &Undeclared) -> Result<()> {
    request(desired, undeclared)?.send_with(w.write(w.permit()).logs()).await.at(PUT).map(drop)
}

/// The request that creates or replaces the filter. It replaces every setting, so live settings that the
/// plan does not declare are sent again.
fn request(desired: &Desired, undeclared: &Undeclared) -> Result<PutMetricFilterInputBuilder> {
    let metric = &desired.metric;
    let dimensions = metric.dimensions.iter().map(|(name, field)| (name.clone(), field.clone()));
    let transformation = MetricTransformation::builder()
        .metric_namespace(&metric.namespace)
        .metric_name(&metric.name)
        .metric_value(&metric.value)
        .set_default_value(metric.default_value)
        .unit(StandardUnit::from(metric.unit.as_str()))
        .set_dimensions((!metric.dimensions.is_empty()).then(|| dimensions.collect()))
        .build()
        .map_err(|error| Error::new(ErrorKind::Local, PUT, error.to_string()))?;
    Ok(PutMetricFilterInputBuilder::default()
        .log_group_name(&desired.log_group)
        .filter_name(&desired.name)
        .filter_pattern(desired.pattern.trim())
        .metric_transformations(transformation)
        .set_apply_on_transformed_logs(undeclared.on_transformed_logs.then_some(true))
        .set_field_selection_criteria(undeclared.field_selection.clone())
        .set_emit_system_field_dimensions(undeclared.system_fields.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn default_value_excludes_dimensions() {
        let metric =
            json!({ "namespace": "n", "name": "m", "default_value": 0, "dimensions": { "a": "$.b" } });
        let desired = json!({ "name": "f", "log_group": "g", "pattern": "", "metric": metric });
        let desired: Desired = serde_json::from_value(desired).expect("valid");
        assert_eq!(LogMetricFilter::check(&desired)[0].path, "metric.default_value");
    }

    #[test]
    fn undeclared_settings_survive_an_update() {
        let metric = json!({ "namespace": "n", "name": "m" });
        let desired = json!({ "name": "f", "log_group": "g", "pattern": "", "metric": metric });
        let desired: Desired = serde_json::from_value(desired).expect("valid");
        let transformation = MetricTransformation::builder().metric_namespace("n").metric_name("m");
        let filter = MetricFilter::builder()
            .filter_name("f")
            .metric_transformations(transformation.metric_value("1").build().expect("complete"))
            .apply_on_transformed_logs(true)
            .field_selection_criteria("@aws.region = 'x'")
            .emit_system_field_dimensions("@aws.account");
        let live = to_observed(&LogMetricFilter::id(&desired), filter.build()).expect("a filter");
        let sent = request(&desired, &live.undeclared).expect("complete");
        assert_eq!(sent.get_apply_on_transformed_logs(), &Some(true));
        assert_eq!(sent.get_field_selection_criteria().as_deref(), Some("@aws.region = 'x'"));
        assert_eq!(
            sent.get_emit_system_field_dimensions().as_deref(),
            Some(&["@aws.account".to_owned()][..])
        );
    }
}
