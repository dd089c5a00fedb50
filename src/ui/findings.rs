//! What `validate` found, for people and as JSON.

use serde_json::{Value, json};

use super::{console, diagnostics};
use crate::lint::Report;
use crate::lint::told::Told;
use crate::plan::{Diagnostic, Diagnostics, Document, Severity};

/// Shows a well-formed plan's findings, and counts them.
pub fn show(document: &Document, steps: usize, report: &Report, warnings: &[Diagnostic]) {
    let findings = report.findings.iter().map(crate::lint::Finding::diagnostic);
    let list: Vec<Diagnostic> = warnings.iter().cloned().chain(findings).collect();
    diagnostics::show_all(&Diagnostics::new(report.sources.clone(), list));
    console::out(summary(document, steps, report));
}

fn summary(document: &Document, steps: usize, report: &Report) -> String {
    let mut text = format!("{}: {steps} steps, no mistakes", document.name);
    let found = [(Severity::Error, "error"), (Severity::Warning, "warning")];
    let counts = found.map(|(severity, name)| (report.count(severity), name));
    if counts.iter().any(|(count, _)| *count > 0) {
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = counts
            .map(|(count, name)| format!("{count} {name}{}", if *count > 1 { "s" } else { "" }))
            .collect();
        text.push_str(&format!("; of the rules: {}", words.join(", ")));
        text.push_str("; `groundwork explain RULE` says why");
    }
    match report.silenced.len() {
        0 => {}
        count => text.push_str(&format!("; {count} silenced with a reason")),
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
        "plan": document.map(|document| json!({ "name": document.name, "digest": document.digest })),
        "findings": told,
        "summary": { "errors": count("error"), "warnings": count("warning"), "silenced": silenced.len() },
        "silenced": silenced,
    })
}
