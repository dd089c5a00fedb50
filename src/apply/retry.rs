//! Decides how long to wait before each retry. No other module does.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::net::timeout::scaled_delay;

/// Delays between attempts at a write. Throttling passes in seconds; a new IAM principal may stay
/// invisible to other services for two minutes. Jitter prevents parallel steps from retrying at the
/// same moment.
pub fn write_delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(scaled_delay(Duration::from_millis(250)))
        .with_max_delay(scaled_delay(Duration::from_secs(20)))
        .with_max_times(12)
        .with_jitter()
        .build()
}

/// Delays between reads of a thing that was just written.
pub fn read_delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(scaled_delay(Duration::from_millis(50)))
        .with_max_delay(scaled_delay(Duration::from_secs(5)))
        .with_max_times(10)
        .with_jitter()
        .build()
}
