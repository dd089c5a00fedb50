//! Collects findings.

use super::{Finding, Severity};

/// The findings so far.
pub(super) struct Findings<'a> {
    command_line: &'a str,
    found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    /// None yet, about the plan that a command line names like this.
    pub(super) fn of(command_line: &'a str) -> Self {
        Self { command_line, found: Vec::new() }
    }

    pub(super) fn attention(&mut self, area: &'static str, message: impl Into<String>, advice: &str) {
        self.add(Severity::Attention, area, message.into(), advice);
    }

    pub(super) fn broken(&mut self, area: &'static str, message: impl Into<String>, advice: &str) {
        self.add(Severity::Broken, area, message.into(), advice);
    }

    pub(super) fn unknown(&mut self, area: &'static str, message: impl Into<String>, advice: &str) {
        self.add(Severity::Unknown, area, message.into(), advice);
    }

    /// The commands of an advice get the plan's own file and options.
    fn add(&mut self, severity: Severity, area: &'static str, message: String, advice: &str) {
        let advice = advice.replace(" PLAN", &format!(" {}", self.command_line));
        self.found.push(Finding { severity, area, message, advice });
    }

    /// The most urgent first, otherwise in the order in which they were added.
    pub(super) fn sorted(mut self) -> Vec<Finding> {
        self.found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        self.found
    }
}
