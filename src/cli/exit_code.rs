//! The exit codes that scripts build on.

use std::process::ExitCode;

use crate::apply::Report;
use crate::changeset::Counts;
use crate::observe::ObservedPlan;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or nothing to do.
    Done,
    /// It failed.
    Failed,
    /// Changes are pending, with `plan --detailed-exitcode`; something was rotated, with `rotate --due`.
    Pending,
    /// Blocked or deferred steps remain.
    Stuck,
    /// An outcome is unknown and needs a person.
    Unknown,
    /// The command line is wrong.
    Usage,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::Pending => 2,
            Outcome::Stuck => 3,
            Outcome::Unknown => 4,
            Outcome::Usage => 64,
        })
    }
}

impl Outcome {
    /// The graver one of two that follow each other.
    #[must_use]
    pub fn and(self, next: Self) -> Self {
        let gravity = |outcome| match outcome {
            Self::Done => 0,
            Self::Pending => 1,
            Self::Stuck => 2,
            Self::Failed => 3,
            Self::Unknown => 4,
            Self::Usage => 5,
        };
        if gravity(next) > gravity(self) { next } else { self }
    }

    /// How a plan ended.
    pub fn of_plan(world: &ObservedPlan, counts: &Counts, detailed: bool) -> Self {
        match counts {
            _ if world.has_unknown() => Self::Unknown,
            counts if counts.stuck() > 0 || leaves_things(world) => Self::Stuck,
            counts if detailed && counts.writing() > 0 => Self::Pending,
            _ => Self::Done,
        }
    }

    /// How an application of a changeset with these counts ended.
    pub fn of_apply(world: &ObservedPlan, report: &Report, counts: &Counts) -> Self {
        if report.has_unknown() || world.has_unknown() {
            Self::Unknown
        } else if !report.failed.is_empty() || report.stopped || report.is_still_locked {
            // A lock that stays stops every later run, so a job must not end as if all were well.
            Self::Failed
        } else if counts.stuck() > 0 || leaves_things(world) {
            Self::Stuck
        } else if !report.skipped.is_empty() {
            Self::Failed
        } else {
            Self::Done
        }
    }
}

/// Whether everything was to be removed, and something is where this run does not go.
fn leaves_things(world: &ObservedPlan) -> bool {
    world.extent.removes_all() && !world.elsewhere.is_empty()
}
