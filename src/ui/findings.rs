//! The findings of `validate`, for people and as JSON.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::diagnostics;
use crate::console;
use crate::lint::Report;
use crate::lint::told::Told;
use crate::plan::{Diagnostic, Diagnostics, Document, Severity, Span};

/// What was shown already, for an earlier stage of the same plan.
#[derive(Default)]
pub struct Seen(HashSet<(Option<Span>, String)>);

impl Seen {
    fn is_new(&mut self, one: &Diagnostic) -> bool {
        self.0.insert((one.span, one.message.clone()))
    }
}

/// Shows the mistakes of a plan, or of one of its stages.
pub fn show_mistakes(stage: Option<&str>, mistakes: &Diagnostics, seen: &mut Seen) {
    let list: Vec<Diagnostic> = mistakes.list.iter().filter(|one| seen.is_new(one)).cloned().collect();
    let is_new = !list.is_empty();
    if is_new {
        diagnostics::show(&Diagnostics::new(mistakes.sources.clone(), list));
    }
    if let Some(stage) = stage {
        let same = if is_new { "" } else { "the same " };
        console::note(format_args!("stage {stage}: {same}mistakes"));
    }
}

/// Shows a well-formed plan's findings, and counts them.
pub fn show(document: &Document, steps: usize, report: &Report, warnings: &[Diagnostic], seen: &mut Seen) {
    let findings = report.findings.iter().map(crate::lint::Finding::diagnostic);
    let list = warnings.iter().cloned().chain(findings).filter(|one| seen.is_new(one)).collect();
    diagnostics::show_all(&Diagnostics::new(report.sources.clone(), list));
    console::out(summary(document, steps, report));
}

fn summary(document: &Document, steps: usize, report: &Report) -> String {
    let counted = |count: usize, name: &str| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
    let mut text = format!("{}: {}, no mistakes", document.name, counted(steps, "step"));
    let found = [(Severity::Error, "error"), (Severity::Warning, "warning")];
    let found = found.map(|(severity, name)| (report.count(severity), name));
    let found: Vec<String> =
        found.iter().filter(|(count, _)| *count > 0).map(|(count, name)| counted(*count, name)).collect();
    if !found.is_empty() {
        let found = found.join(" and ");
        text.push_str(&format!("; the rules find {found}, and `groundwork explain RULE` says why"));
    }
    match report.silenced.len() {
        0 => {}
        count => text.push_str(&format!("; {} silenced with a reason", counted(count, "finding"))),
    }
    text
}

/// Everything as one JSON value. Without a document the plan is not well-formed.
pub fn json(document: Option<&Document>, told: &[Told], silenced: &[(Told, &str)]) -> Value {
    let count = |severity: &str| told.iter().filter(|one| one.severity == severity).count();
    let silenced: Vec<Value> = silenced
        .iter()
        .map(|(told, reason)| {
            let mut value = json!(told);
            value["reason"] = json!(reason);
            value
        })
        .collect();
    json!({
        "format_version": "1",
        "plan": document.map(|document| {
            let mut plan = json!({ "name": document.name, "digest": document.digest });
            if let Some(stage) = document.stage_name() {
                plan["stage"] = json!(stage);
            }
            plan
        }),
        "findings": told,
        "summary": { "errors": count("error"), "warnings": count("warning"), "silenced": silenced.len() },
        "silenced": silenced,
    })
}
