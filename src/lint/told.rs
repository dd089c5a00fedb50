//! Findings and mistakes in one form, for programs.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Finding, Report};
use crate::plan::{Diagnostic, Diagnostics, Severity, Sources, Span};

/// The rule id of a mistake that makes the plan unusable.
pub const INVALID: &str = "invalid-plan";
/// The rule id of what is valid, but may fail where the plan is applied.
pub const DOUBTFUL: &str = "doubtful-plan";

/// The rule id of a grant that a plan requests and its caller has to allow.
pub const PERMISSION: &str = "wants-permission";

/// One finding or mistake of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// The rule's id.
    pub rule: &'static str,
    /// `error`, `warning` or `note`.
    pub severity: &'static str,
    /// The problem.
    pub message: String,
    /// The fix.
    pub help: Option<String>,
    /// The step, before `for_each`.
    pub step: Option<String>,
    /// The place.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// Identifies the problem; it does not change when the lines move within the file.
    pub fingerprint: String,
}

/// A range in a file; lines and columns count from one, columns in characters.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// The file, relative to the working directory where it is below it.
    pub file: String,
    /// The first line.
    pub line: usize,
    /// The first column.
    pub column: usize,
    /// The last line.
    pub end_line: usize,
    /// The column after the last.
    pub end_column: usize,
}

/// The findings and warnings of a well-formed plan.
pub fn of_report(report: &Report, warnings: &[Diagnostic]) -> Vec<Told> {
    let mut problems = of_list(&report.sources, warnings);
    problems.extend(report.findings.iter().map(|finding| of_finding(&report.sources, finding)));
    number(problems)
}

/// The findings that the plan silences, with the reasons.
pub fn silenced(report: &Report) -> Vec<(Told, &str)> {
    let problems = report.silenced.iter().map(|(finding, _)| of_finding(&report.sources, finding)).collect();
    number(problems).into_iter().zip(report.silenced.iter().map(|(_, reason)| reason.as_str())).collect()
}

/// The mistakes of a plan that is not well-formed.
pub fn of_mistakes(mistakes: &Diagnostics) -> Vec<Told> {
    number(of_list(&mistakes.sources, &mistakes.list))
}

fn of_list(sources: &Sources, list: &[Diagnostic]) -> Vec<Told> {
    let problem = |diagnostic: &Diagnostic| {
        let (rule, severity) = match diagnostic.severity {
            Severity::Error => (INVALID, "error"),
            Severity::Warning => (DOUBTFUL, "warning"),
            Severity::Note => (PERMISSION, "note"),
        };
        let place = diagnostic.span.and_then(|span| place(sources, span));
        let fingerprint = format!("{rule}|{}|{}", file(place.as_ref()), diagnostic.message);
        let (message, help) = (diagnostic.message.clone(), diagnostic.help.clone());
        Told { rule, severity, message, help, step: None, place, fingerprint }
    };
    list.iter().map(problem).collect()
}

fn of_finding(sources: &Sources, finding: &Finding) -> Told {
    let place = finding.span.and_then(|span| place(sources, span));
    let step = finding.step.as_deref().unwrap_or_default();
    let fingerprint = format!("{}|{}|{step}|{}", finding.rule.id, file(place.as_ref()), finding.path);
    Told {
        rule: finding.rule.id,
        severity: name(finding.rule.severity),
        message: finding.message.clone(),
        help: Some(finding.rule.help.to_owned()),
        step: finding.step.clone(),
        place,
        fingerprint,
    }
}

/// The word for a severity.
pub fn name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn file(place: Option<&Place>) -> &str {
    place.map(|place| place.file.as_str()).unwrap_or_default()
}

/// Hashes the fingerprints; the second finding of the same kind in the same place gets another.
fn number(mut problems: Vec<Told>) -> Vec<Told> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for one in &mut problems {
        let count = seen.entry(one.fingerprint.clone()).or_default();
        let digest = Sha256::digest(format!("{}|{count}", one.fingerprint));
        *count += 1;
        one.fingerprint = hex::encode(&digest[..16]);
    }
    problems
}

fn place(sources: &Sources, span: Span) -> Option<Place> {
    let (path, line, column) = sources.locate(span)?;
    let end = Span { start: span.end.max(span.start), ..span };
    let (_, end_line, end_column) = sources.locate(end).unwrap_or((path, line, column));
    let is_after = (end_line, end_column) > (line, column);
    let (end_line, end_column) = if is_after { (end_line, end_column) } else { (line, column + 1) };
    Some(Place { file: shown(path), line, column, end_line, end_column })
}

/// A path as reports show it: relative where possible, with slashes.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(&here).unwrap_or(path);
    let text = path.to_string_lossy();
    text.strip_prefix("./").unwrap_or(&text).to_owned()
}
