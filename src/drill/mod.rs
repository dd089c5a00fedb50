//! Rehearsed recoveries: their reports, and where these are kept.

mod record;
mod report;

pub use record::{keep, latest};
pub use report::{
    Canary, CanaryState, Login, Measure, Phase, PhaseEnd, PhaseName, Report, Server, Subject, Verdict,
};
