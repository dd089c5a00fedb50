//! CloudWatch: alarms, dashboards, log groups and the metrics that are counted from logs.

mod alarm;
mod dashboard;
mod log_group;
mod log_metric_filter;

pub use alarm::CloudwatchAlarm;
pub use dashboard::CloudwatchDashboard;
pub use log_group::CloudwatchLogGroup;
pub use log_metric_filter::LogMetricFilter;

use crate::resource::{Error, ErrorKind, Result};

/// These services replace what is there without a word, so that absence is made sure of before.
fn refuse_existing(operation: &str, found: bool, what: &str) -> Result<()> {
    match found {
        false => Ok(()),
        true => Err(Error::new(ErrorKind::Conflict, operation, format!("{what} exists already"))
            .advice("it was made in the meantime; run `groundwork plan` again")),
    }
}
