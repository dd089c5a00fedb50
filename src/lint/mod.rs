//! Checks a plan, without network access, for what is valid but unwise. `validate` reports the findings.
//!
//! A rule is a constant in a file of [`rules`], one file for each family. A plan silences a rule, in one
//! step or everywhere, by giving a reason. A silence without a reason, or one that silences nothing, is
//! itself a finding.

mod facts;
mod findings;
mod policy;
mod rules;
mod silenced;
pub mod told;

pub use findings::Finding;
pub use rules::{all, find};

use crate::plan::{Severity, Sources};
use crate::resolve::{OutputTable, Resolved};
use crate::resource::erased::Instance;
use facts::Facts;
use findings::Findings;

/// One thing that a plan should not do.
pub struct Rule {
    /// The name that silences it.
    pub id: &'static str,
    /// Whether `validate` fails because of it.
    pub severity: Severity,
    /// The problem, as a heading.
    pub title: &'static str,
    /// Why it matters.
    pub explanation: &'static str,
    /// The fix.
    pub help: &'static str,
    /// A plan that breaks the rule, without `version` and `name`; `# here` ends each line that the rule
    /// reports.
    pub bad: &'static str,
    /// The same plan, corrected.
    pub good: &'static str,
    check: fn(&Facts<'_>, &mut Findings<'_>),
}

/// The result of linting a plan.
#[derive(Debug)]
pub struct Report {
    /// The findings, in the order of the files.
    pub findings: Vec<Finding>,
    /// The findings that the plan silences, with the reasons.
    pub silenced: Vec<(Finding, String)>,
    /// The plan's files and its templates; everything that looks like a secret is masked.
    pub sources: Sources,
}

/// Applies every rule to a plan. `instances` are the loaded steps of `resolved`, and `outputs` their
/// known outputs.
pub fn run(resolved: &Resolved, instances: &[Box<dyn Instance>], outputs: &OutputTable) -> Report {
    let facts = Facts::of(resolved, instances, outputs);
    let mut found = Vec::new();
    for rule in all() {
        let mut findings = Findings::new(&facts, rule);
        (rule.check)(&facts, &mut findings);
        found.extend(findings.into_list());
    }
    let (mut findings, silenced) = silenced::apply(&facts, found);
    findings.sort_by_key(|finding| finding.span.map(|span| (span.file, span.start)));
    Report { findings, silenced, sources: facts.into_masked_sources() }
}

impl Report {
    /// How many findings have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.rule.severity == severity).count()
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}
