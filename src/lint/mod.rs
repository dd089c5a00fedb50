//! Judgement of a plan without the network: what is allowed, but unwise. `validate` tells it.
//!
//! A rule is a constant in a file of [`rules`], one file for each family. A plan silences a rule,
//! in a step or as a whole, by giving a reason; a silence without a reason, or one that silences
//! nothing, is a finding itself.

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
    /// The name by which it is silenced.
    pub id: &'static str,
    /// Whether `validate` fails because of it.
    pub severity: Severity,
    /// What is wrong, as a heading.
    pub title: &'static str,
    /// Why it matters.
    pub explanation: &'static str,
    /// What to do instead.
    pub help: &'static str,
    /// A plan that breaks it, `version` and `name` left out; `# here` ends each line that is found.
    pub bad: &'static str,
    /// The same plan as it should be.
    pub good: &'static str,
    check: fn(&Facts<'_>, &mut Findings<'_>),
}

/// What was found in a plan.
#[derive(Debug)]
pub struct Report {
    /// What is to be told, in the order of the files.
    pub findings: Vec<Finding>,
    /// What the plan silences, with the reasons.
    pub silenced: Vec<(Finding, String)>,
    /// The plan's files and its templates; what looks like a secret is masked.
    pub sources: Sources,
}

/// Looks for everything that the rules forbid. `instances` are those of `resolved`'s steps, loaded,
/// and `outputs` what is certain of them beforehand.
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
