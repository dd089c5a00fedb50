//! The request that creates or replaces the alarm.

use std::collections::BTreeSet;

use aws_sdk_cloudwatch::operation::put_metric_alarm::builders::PutMetricAlarmInputBuilder;
use aws_sdk_cloudwatch::types::{Dimension, MetricAlarm, StandardUnit, Statistic};

use super::Desired;

/// Statistics with a field of their own in PutMetricAlarm; all others are extended statistics, such as
/// percentiles.
const STATISTICS: [&str; 5] = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"];

/// The request that creates or replaces the alarm. It replaces every setting, so live settings that the
/// plan does not declare are sent again.
pub fn request(desired: &Desired, live: Option<&MetricAlarm>) -> PutMetricAlarmInputBuilder {
    let list = |actions: &BTreeSet<String>| Some(actions.iter().cloned().collect());
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let dimensions =
        desired.dimensions.iter().map(|(name, value)| Dimension::builder().name(name).value(value).build());
    let simple = is_simple(&desired.statistic);
    let request = PutMetricAlarmInputBuilder::default()
        .alarm_name(&desired.name)
        .alarm_description(&desired.description)
        .namespace(&desired.namespace)
        .metric_name(&desired.metric)
        .set_dimensions(Some(dimensions.collect()))
        .set_statistic(simple.then(|| Statistic::from(desired.statistic.as_str())))
        .set_extended_statistic((!simple).then(|| desired.statistic.clone()))
        .set_unit(desired.unit.as_deref().map(StandardUnit::from))
        .period(number(desired.period_seconds))
        .comparison_operator(desired.comparison.to_sdk())
        .threshold(desired.threshold)
        .evaluation_periods(number(desired.evaluation_periods))
        .set_datapoints_to_alarm(desired.datapoints_to_alarm.map(number))
        .treat_missing_data(desired.treat_missing_data.name())
        .actions_enabled(desired.actions_enabled)
        .set_alarm_actions(list(&desired.alarm_actions))
        .set_ok_actions(list(&desired.ok_actions))
        .set_insufficient_data_actions(list(&desired.insufficient_data_actions));
    match live {
        Some(live) => with_undeclared(request, live, simple),
        None => request,
    }
}

/// Only an alarm on a percentile has a treatment of few samples.
fn with_undeclared(
    request: PutMetricAlarmInputBuilder,
    live: &MetricAlarm,
    simple: bool,
) -> PutMetricAlarmInputBuilder {
    // All datapoints, which is the default, may also be written as a number.
    let datapoints =
        live.datapoints_to_alarm.filter(|count| Some(*count) == *request.get_evaluation_periods());
    let datapoints = request.get_datapoints_to_alarm().or(datapoints);
    let few_samples = live.evaluate_low_sample_count_percentile.clone().filter(|_| !simple);
    request
        .set_datapoints_to_alarm(datapoints)
        .set_evaluate_low_sample_count_percentile(few_samples)
        .set_evaluation_window(live.evaluation_window.clone())
        .set_evaluation_interval(live.evaluation_interval)
        .set_warm_up_configuration(live.warm_up_configuration.clone())
        .set_action_configuration(live.action_configuration.clone())
}

/// Whether PutMetricAlarm has a field for the statistic.
pub fn is_simple(statistic: &str) -> bool {
    STATISTICS.contains(&statistic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_cloudwatch::types::WarmUpConfiguration;
    use serde_json::json;

    #[test]
    fn undeclared_settings_survive_an_update() {
        let mut live = MetricAlarm::builder().evaluate_low_sample_count_percentile("ignore").build();
        live.evaluation_interval = Some(30);
        let warm_up = WarmUpConfiguration::builder().warm_up_period_duration_in_minutes(5).build();
        live.warm_up_configuration = Some(warm_up.clone());
        let desired = json!({ "name": "a", "namespace": "n", "metric": "m", "comparison": ">",
            "threshold": 5, "statistic": "p99" });
        let desired: Desired = serde_json::from_value(desired).expect("valid");
        let sent = request(&desired, Some(&live));
        assert_eq!(sent.get_evaluate_low_sample_count_percentile().as_deref(), Some("ignore"));
        assert_eq!(sent.get_evaluation_interval(), &Some(30));
        assert_eq!(sent.get_warm_up_configuration(), &Some(warm_up));
    }
}
