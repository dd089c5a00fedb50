//! Compares the declared alarm with the live one.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatch::types::{MetricAlarm, StandardUnit, Statistic};
use serde_json::{Value, json};

use super::request::is_simple;
use super::{Comparison, Desired, MissingData};
use crate::providers::aws::UNKNOWN_VALUE;
use crate::resource::Diff;

const NOT_ON_ONE_METRIC: &str = "a plan declares alarms on one metric, and this live alarm uses more than \
                                 that; declare another name, or delete the alarm first";

/// The differences of everything but tags.
pub fn alarm(desired: &Desired, live: &MetricAlarm) -> Diff {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut diff = Diff::none();
    diff.immutable("metrics", &computed_from(live), &Value::Null, NOT_ON_ONE_METRIC);
    diff.field("description", &text(&live.alarm_description), &desired.description)
        .field("namespace", &text(&live.namespace), &desired.namespace)
        .field("metric", &text(&live.metric_name), &desired.metric)
        .field("dimensions", &live_dimensions(live), &desired.dimensions)
        .field("statistic", &live_statistic(live), &desired.statistic);
    note_lost_evaluation(&mut diff, desired, live);
    diff.field("unit", &live.unit.as_ref().map(StandardUnit::as_str), &desired.unit).field(
        "period_seconds",
        &live.period,
        &desired.period_seconds,
    );
    compare_operator(&mut diff, desired, live);
    diff.field("threshold", &live.threshold, &desired.threshold).field(
        "evaluation_periods",
        &live.evaluation_periods,
        &desired.evaluation_periods,
    );
    compare_datapoints(&mut diff, desired, live);
    compare_treatment(&mut diff, desired, live);
    diff.field("actions_enabled", &live.actions_enabled.unwrap_or(true), &desired.actions_enabled)
        .field("alarm_actions", &set(live.alarm_actions()), &desired.alarm_actions)
        .field("ok_actions", &set(live.ok_actions()), &desired.ok_actions)
        .field(
            "insufficient_data_actions",
            &set(live.insufficient_data_actions()),
            &desired.insufficient_data_actions,
        );
    diff
}

/// The live alarm's evaluation if it is not of one metric: its queries, an anomaly detection band, or a
/// PromQL query. `null` for an alarm that a plan can declare.
fn computed_from(live: &MetricAlarm) -> Value {
    let queries = live.metrics().iter().map(|query| {
        let text = query.expression.as_deref().unwrap_or("a metric");
        json!({ "id": query.id, "expression": text })
    });
    let queries: Vec<_> = queries.collect();
    match () {
        () if !queries.is_empty() => json!(queries),
        () if live.threshold_metric_id.is_some() => json!({ "threshold": live.threshold_metric_id }),
        () if live.evaluation_criteria.is_some() => json!("other evaluation criteria"),
        () => Value::Null,
    }
}

/// Notes the setting that a change of the statistic removes.
fn note_lost_evaluation(diff: &mut Diff, desired: &Desired, live: &MetricAlarm) {
    let lost = live.evaluate_low_sample_count_percentile.is_some() && is_simple(&desired.statistic);
    if lost && diff.touches("statistic") {
        diff.note("also removes the alarm's treatment of few samples, which only percentiles have");
    }
}

fn compare_operator(diff: &mut Diff, desired: &Desired, live: &MetricAlarm) {
    let operator = live.comparison_operator.as_ref();
    match operator.map(|operator| (Comparison::of(operator), operator)) {
        Some((None, other)) => {
            diff.immutable("comparison", other.as_str(), &desired.comparison, UNKNOWN_VALUE)
        }
        known => diff.field("comparison", &known.and_then(|(known, _)| known), &desired.comparison),
    };
}

fn compare_treatment(diff: &mut Diff, desired: &Desired, live: &MetricAlarm) {
    let name = live.treat_missing_data.as_deref().unwrap_or(MissingData::default().name());
    match MissingData::of(name) {
        Some(live) => diff.field("treat_missing_data", &live, &desired.treat_missing_data),
        None => diff.immutable("treat_missing_data", name, &desired.treat_missing_data, UNKNOWN_VALUE),
    };
}

/// Not declared and not set both mean all of them.
fn compare_datapoints(diff: &mut Diff, desired: &Desired, live: &MetricAlarm) {
    let periods = live.evaluation_periods.and_then(|periods| u32::try_from(periods).ok()).unwrap_or_default();
    let before = live.datapoints_to_alarm.and_then(|count| u32::try_from(count).ok());
    let all_before = before.is_none_or(|count| count == periods);
    let all_after = desired.datapoints_to_alarm.is_none_or(|count| count == desired.evaluation_periods);
    if !(all_before && all_after) {
        diff.field("datapoints_to_alarm", &before, &desired.datapoints_to_alarm);
    }
}

fn live_statistic(live: &MetricAlarm) -> Option<&str> {
    live.extended_statistic.as_deref().or(live.statistic.as_ref().map(Statistic::as_str))
}

fn live_dimensions(live: &MetricAlarm) -> BTreeMap<&str, &str> {
    live.dimensions().iter().filter_map(|dimension| Some((dimension.name()?, dimension.value()?))).collect()
}

fn set(actions: &[String]) -> BTreeSet<&String> {
    actions.iter().collect()
}
