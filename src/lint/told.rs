//! Findings and mistakes in one form, for programs.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Finding, Report};
use crate::plan::{Diagnostic, Diagnostics, Severity, Sources, Span};

/// The rule of a mistake because of which nothing can be done with a plan.
pub const INVALID: &str = "invalid-plan";
/// The rule of what is allowed, but may not work where the plan is applied.
pub const DOUBTFUL: &str = "doubtful-plan";

/// The rule of what a plan wants and its caller has to allow.
pub const PERMISSION: &str = "wants-permission";

/// One thing that is told about a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// The rule's id.
    pub rule: &'static str,
    /// `error`, `warning` or `note`.
    pub severity: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// The step, before `for_each`.
    pub step: Option<String>,
    /// Where.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// The same for the same thing wherever it moves to within the file.
    pub fingerprint: String,
}

/// A stretch of a file; lines and columns count from one, columns in characters.
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

/// Everything there is to tell about a plan that is well-formed.
pub fn of_report(report: &Report, warnings: &[Diagnostic]) -> Vec<Told> {
    let mut told = of_list(&report.sources, warnings);
    told.extend(report.findings.iter().map(|finding| of_finding(&report.sources, finding)));
    number(told)
}

/// What the plan silences, with the reasons.
pub fn silenced(report: &Report) -> Vec<(Told, &str)> {
    let told = report.silenced.iter().map(|(finding, _)| of_finding(&report.sources, finding)).collect();
    number(told).into_iter().zip(report.silenced.iter().map(|(_, reason)| reason.as_str())).collect()
}

/// Everything there is to tell about a plan that is not.
pub fn of_mistakes(mistakes: &Diagnostics) -> Vec<Told> {
    number(of_list(&mistakes.sources, &mistakes.list))
}

fn of_list(sources: &Sources, list: &[Diagnostic]) -> Vec<Told> {
    let told = |diagnostic: &Diagnostic| {
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
    list.iter().map(told).collect()
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

/// Fingerprints become digests; the second of the same kind at the same thing gets another.
fn number(mut told: Vec<Told>) -> Vec<Told> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for one in &mut told {
        let count = seen.entry(one.fingerprint.clone()).or_default();
        let digest = Sha256::digest(format!("{}|{count}", one.fingerprint));
        *count += 1;
        one.fingerprint = hex::encode(&digest[..16]);
    }
    told
}

fn place(sources: &Sources, span: Span) -> Option<Place> {
    let (path, line, column) = sources.locate(span)?;
    let end = Span { start: span.end.max(span.start), ..span };
    let (_, end_line, end_column) = sources.locate(end).unwrap_or((path, line, column));
    let is_after = (end_line, end_column) > (line, column);
    let (end_line, end_column) = if is_after { (end_line, end_column) } else { (line, column + 1) };
    Some(Place { file: shown(path), line, column, end_line, end_column })
}

/// A path as it is named in reports: relative where it can be, with slashes.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(&here).unwrap_or(path);
    let text = path.to_string_lossy();
    text.strip_prefix("./").unwrap_or(&text).to_owned()
}
