//! CloudWatch: alarms, dashboards, log groups and the metrics that count log entries.

mod alarm;
mod dashboard;
mod log_group;
mod log_metric_filter;

pub use alarm::CloudwatchAlarm;
pub use dashboard::CloudwatchDashboard;
pub use log_group::CloudwatchLogGroup;
pub use log_metric_filter::LogMetricFilter;

use super::needs;
use crate::error::{Error, ErrorKind, Result};
use crate::place::Realm;

/// The ARNs of a log group: most actions take the one that ends with `:*`, those on tags the other one.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html>
fn arns_of_log_group(realm: &Realm, name: &str) -> Vec<String> {
    let name = needs::literal(name);
    ["", ":*"].map(|end| needs::in_region(realm, "logs", &format!("log-group:{name}{end}"))).into()
}

/// These services replace an existing resource without an error, so Groundwork first checks that it does
/// not exist.
fn refuse_existing(operation: &str, found: bool, what: &str) -> Result<()> {
    match found {
        false => Ok(()),
        true => Err(Error::new(ErrorKind::Conflict, operation, format!("{what} already exists"))
            .advice("it was created in the meantime; run `groundwork plan` again")),
    }
}
