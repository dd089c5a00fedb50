//! Findings of the rules.

use super::Rule;
use super::facts::{Fact, Facts};
use crate::plan::{Diagnostic, Section, Severity, Span};

/// One finding of a rule.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The problem in this case. Quotes no secret.
    pub message: String,
    /// The place.
    pub span: Option<Span>,
    /// The step, before `for_each`.
    pub step: Option<String>,
    /// The field, as a dotted path below the step or section.
    pub path: String,
}

impl Finding {
    /// The finding as a diagnostic for people.
    pub fn diagnostic(&self) -> Diagnostic {
        let message = format!("{} [{}]", self.message, self.rule.id);
        let diagnostic = match self.rule.severity {
            Severity::Error => Diagnostic::error(self.span, message),
            Severity::Warning => Diagnostic::warning(self.span, message),
            Severity::Note => Diagnostic::note(self.span, message),
        };
        diagnostic.help(self.rule.help)
    }
}

/// Collects the findings of one rule.
pub struct Findings<'a> {
    facts: &'a Facts<'a>,
    rule: &'static Rule,
    list: Vec<Finding>,
}

impl<'a> Findings<'a> {
    /// Starts without findings.
    pub fn new(facts: &'a Facts<'a>, rule: &'static Rule) -> Self {
        Self { facts, rule, list: Vec::new() }
    }

    /// All findings.
    pub fn into_list(self) -> Vec<Finding> {
        self.list
    }

    /// Adds a finding in a field of a step.
    pub fn step(&mut self, fact: &Fact<'_>, path: &str, message: impl Into<String>) {
        let span = self.facts.place(fact, path, None);
        self.add(Some(span), Some(fact.id()), path, message.into());
    }

    /// Adds a finding in a field of a step, at the place of `needle`.
    pub fn within(&mut self, fact: &Fact<'_>, path: &str, needle: &str, message: impl Into<String>) {
        let span = self.facts.place(fact, path, Some(needle));
        self.add(Some(span), Some(fact.id()), path, message.into());
    }

    /// Adds a finding in the rules of a Vault policy, at the place of this path.
    pub fn vault_path(&mut self, fact: &Fact<'_>, path: &str, message: impl Into<String>) {
        let span = self.facts.place_of_path(fact, path);
        self.add(Some(span), Some(fact.id()), &format!("rules.{path}"), message.into());
    }

    /// Adds a finding in a section beside the steps.
    pub fn section(&mut self, section: Section, path: &str, message: impl Into<String>) {
        let span = self.facts.section(section, path);
        self.add(span, None, &format!("{}.{path}", section.key()), message.into());
    }

    /// Adds a finding about the plan as a whole.
    pub fn plan(&mut self, message: impl Into<String>) {
        self.add(self.facts.name(), None, "name", message.into());
    }

    /// Adds a finding at a place.
    pub fn at(&mut self, span: Span, step: Option<&str>, message: impl Into<String>) {
        self.add(Some(span), step, "", message.into());
    }

    /// A finding that every instance of a repeated step has is reported once.
    fn add(&mut self, span: Option<Span>, step: Option<&str>, path: &str, message: String) {
        if !self.list.iter().any(|known| known.span == span && known.message == message) {
            let step = step.map(str::to_owned);
            self.list.push(Finding { rule: self.rule, message, span, step, path: path.to_owned() });
        }
    }
}
