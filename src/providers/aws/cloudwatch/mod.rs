//! CloudWatch: alarms, dashboards, log groups and the metrics that count log entries.

mod alarm;
mod dashboard;
mod log_group;
mod log_metric_filter;

pub use alarm::CloudwatchAlarm;
pub use dashboard::CloudwatchDashboard;
pub use log_group::CloudwatchLogGroup;
pub use log_metric_filter::LogMetricFilter;

use crate::error::{Error, ErrorKind, Result};

/// These services replace an existing resource without an error, so Groundwork first checks that it does
/// not exist.
fn refuse_existing(operation: &str, found: bool, what: &str) -> Result<()> {
    match found {
        false => Ok(()),
        true => Err(Error::new(ErrorKind::Conflict, operation, format!("{what} already exists"))
            .advice("it was created in the meantime; run `groundwork plan` again")),
    }
}
