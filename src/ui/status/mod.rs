//! Shows how an environment stands: for people, for programs, and for a collector of metrics.

mod human;
mod prometheus;

pub use human::human;
pub use prometheus::prometheus;

use serde_json::{Value, json};

use crate::status::Report;

/// Everything as one JSON value.
pub fn json(report: &Report) -> Value {
    json!({
        "format_version": "1",
        "plan": report.plan,
        "at": report.at,
        "state": report.word(),
        "findings": report.findings,
        "systems": report.systems,
        "custody": report.custody,
        "backups": report.backups,
        "drill": report.drill,
        "due": report.due,
        "locks": report.locks,
        "outcomes": report.outcomes,
        "drift": report.drift,
    })
}
