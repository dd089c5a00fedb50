//! The findings of a verification, by step.

use std::collections::BTreeMap;

use serde::Serialize;

use super::machine::Machine;
use crate::changeset::PlanIdentity;
use crate::observe::ObservedPlan;
use crate::proof::{Finding, Load, Outcome, Proof};
use crate::trace::CallCount;

/// The findings of one verification.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which plan.
    pub plan: PlanIdentity,
    /// The findings, by step in the order of the plan; sections come last.
    pub steps: Vec<StepReport>,
    /// How fast the systems are, by provider, where that was asked for.
    pub load: Vec<(&'static str, Load)>,
    /// How busy this machine was meanwhile.
    pub machine: Option<Machine>,
    /// Whether a signal ended it, so that not everything was tried.
    pub stopped: bool,
    /// Wall time in milliseconds.
    pub ms: u64,
    /// Requests sent to the live systems.
    pub api_calls: CallCount,
}

/// The findings about one step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Its id, or the name of a section of the plan.
    pub id: String,
    /// Its kind; nothing for a section.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Why being as declared is the proof, for a kind that is not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<&'static str>,
    /// The findings.
    pub findings: Vec<Finding>,
}

/// How many findings ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Trials that were proven.
    pub proven: usize,
    /// Trials that failed.
    pub failed: usize,
    /// Trials that could not be made.
    pub untried: usize,
}

impl Totals {
    fn count(&mut self, finding: &Finding) {
        match finding.outcome {
            Outcome::Proven => self.proven += 1,
            Outcome::Failed { .. } => self.failed += 1,
            Outcome::Untried { .. } => self.untried += 1,
        }
    }
}

impl Report {
    /// All findings.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.steps.iter().flat_map(|step| &step.findings)
    }

    /// How many there are of each outcome.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.findings().for_each(|finding| totals.count(finding));
        totals
    }
}

impl StepReport {
    /// Whether everything about it was proven.
    pub fn is_proven(&self) -> bool {
        self.findings.iter().all(|finding| finding.outcome == Outcome::Proven)
    }
}

/// Puts findings to their steps.
pub(super) fn by_step(world: &ObservedPlan, findings: Vec<Finding>) -> Vec<StepReport> {
    let mut by_step: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for finding in findings {
        by_step.entry(finding.step.clone()).or_default().push(finding);
    }
    let steps = world.resolved.steps.iter().filter_map(|step| {
        let findings = by_step.remove(&step.id)?;
        let proof = match step.kind.proof() {
            Proof::InSync(why) => Some(why),
            Proof::Tried(_) | Proof::Unstated => None,
        };
        Some(StepReport { id: step.id.clone(), kind: Some(step.kind.name()), proof, findings })
    });
    let steps: Vec<StepReport> = steps.collect();
    let section = |(id, findings)| StepReport { id, kind: None, proof: None, findings };
    steps.into_iter().chain(by_step.into_iter().map(section)).collect()
}
