//! The one place that decides how long to wait before trying again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::providers::timeout::hasten;

/// Waits between attempts at a write: throttling passes in seconds, a fresh IAM principal may stay
/// invisible to other services for two minutes. Jitter keeps parallel steps from coming back at
/// the same moment.
pub fn write_delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(hasten(Duration::from_millis(250)))
        .with_max_delay(hasten(Duration::from_secs(20)))
        .with_max_times(12)
        .with_jitter()
        .build()
}

/// Waits between looks at a thing that was just written.
pub fn read_delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(hasten(Duration::from_millis(50)))
        .with_max_delay(hasten(Duration::from_secs(5)))
        .with_max_times(10)
        .with_jitter()
        .build()
}
