//! A verification as a comment of a pull request.

use std::fmt::Write;

use super::super::changeset::markdown::{code, inline};
use super::totals;
use crate::proof::Outcome;
use crate::verify::Report;

/// How many findings a table has. A comment has a limit.
const SHOWN: usize = 100;

/// The text.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("### {}: {}\n", inline(&report.plan.name), inline(&totals(report)));
    if report.stopped {
        text.push_str("\n> Stopped before everything was tried.\n");
    }
    let failed = report.findings().filter_map(|finding| match &finding.outcome {
        Outcome::Failed { expected, seen, advice } => {
            Some(vec![&finding.tried, expected, seen, advice]).map(|cells| (finding.step.as_str(), cells))
        }
        _ => None,
    });
    table(&mut text, "| Step | Tried | Expected | Seen | To do |\n|---|---|---|---|---|", failed.collect());
    let untried = report.findings().filter_map(|finding| match &finding.outcome {
        Outcome::Untried { needs } => Some((finding.step.as_str(), vec![&finding.tried, needs])),
        _ => None,
    });
    table(&mut text, "| Step | Could not be tried | Needs |\n|---|---|---|", untried.collect());
    text
}

fn table(text: &mut String, head: &str, rows: Vec<(&str, Vec<&String>)>) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(text, "\n{head}\n");
    for (step, cells) in rows.iter().take(SHOWN) {
        let cells: Vec<String> = cells.iter().map(|cell| inline(cell)).collect();
        let _ = writeln!(text, "| {} | {} |", code(step), cells.join(" | "));
    }
    if rows.len() > SHOWN {
        let left_out = rows.len() - SHOWN;
        let _ = writeln!(text, "\n> {left_out} more; `groundwork verify` shows everything.");
    }
}
