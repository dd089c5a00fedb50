//! How busy this machine is, which decides what a measurement is worth.

use serde::Serialize;

/// The load of the machine at the beginning and at the end of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Processors.
    pub processors: usize,
    /// Processes that ran or wanted to, on the average of a minute, when the measurement began.
    pub load_before: f64,
    /// The same when it ended.
    pub load_after: f64,
}

impl Machine {
    /// The machine after a measurement that began with this load; `None` where the system does not report it.
    pub(super) fn since(load_before: Option<f64>) -> Option<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Some(Self { processors, load_before: load_before?, load_after: load()? })
    }
}

/// The average of the last minute.
pub(super) fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}
