//! How fast a system is.

use serde::Serialize;

/// A measurement of many reads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// How many reads there were.
    pub reads: usize,
    /// How many of them were under way at a time.
    pub at_once: usize,
    /// Within how many milliseconds half of them ended.
    pub p50_ms: f64,
    /// Within how many milliseconds 99 of a hundred ended.
    pub p99_ms: f64,
    /// How many ended in a second.
    pub reads_per_second: u64,
}
