//! The report of a drill as text, and as Markdown.

use std::fmt::Write;

use super::super::changeset::markdown::inline;
use super::super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use super::{ended, facts, lists, time};
use crate::drill::{PhaseEnd, Report, Verdict};

/// The report for a terminal.
pub fn human(report: &Report) -> String {
    let style = match report.verdict {
        Verdict::Passed => GOOD,
        Verdict::Missed => CHANGE,
        Verdict::Failed => BAD,
    };
    let mut text =
        format!("drill of {}: {}", paint(STRONG, &report.plan), paint(style, report.verdict.word()));
    for (title, fact) in facts(report) {
        let _ = write!(text, "\n  {title:<16} {fact}");
    }
    text.push('\n');
    for phase in &report.phases {
        let style = match phase.end {
            PhaseEnd::Done => GOOD,
            PhaseEnd::Wanting => CHANGE,
            PhaseEnd::Failed => BAD,
        };
        let detail = phase.detail.as_ref().map(|detail| format!("  {detail}")).unwrap_or_default();
        let end = paint(style, format!("{:<8}", ended(phase.end)));
        let _ =
            write!(text, "\n  {end} {:>8}  {}{}", time(phase.ms), phase.name.words(), paint(FAINT, detail));
    }
    for (title, lines) in lists(report) {
        let _ = write!(text, "\n\n{}", paint(STRONG, title));
        for line in lines {
            let _ = write!(text, "\n  {line}");
        }
    }
    text
}

/// The report as Markdown.
pub fn markdown(report: &Report) -> String {
    let verdict = report.verdict.word();
    let mut text = format!("# Drill of {}: {verdict}\n\n| | |\n|---|---|\n", inline(&report.plan));
    for (title, fact) in facts(report) {
        let _ = writeln!(text, "| {title} | {} |", inline(&fact));
    }
    text.push_str("\n| Phase | Time | End | |\n|---|---|---|---|\n");
    for phase in &report.phases {
        let detail = phase.detail.as_deref().map(inline).unwrap_or_default();
        let (name, end) = (phase.name.words(), ended(phase.end));
        let _ = writeln!(text, "| {name} | {} | {end} | {detail} |", time(phase.ms));
    }
    for (title, lines) in lists(report) {
        let _ = write!(text, "\n## {title}\n\n");
        for line in lines {
            let _ = writeln!(text, "- {}", inline(&line));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    #[test]
    fn human_report_begins_with_the_verdict_and_names_what_is_wrong() {
        let text = anstream::adapter::strip_str(&human(&report())).to_string();
        assert!(text.starts_with("drill of demo: missed\n"), "{text}");
        for expected in [
            "  Recovery time    8.1 s, within 15m\n",
            "  Age of the data  1h 30m, and the target is 1h\n",
            "  done        8.0 s  restore  3 secrets\n",
            "\nTo look at\n  look at @everyone\n",
            "field value: differs",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn markdown_report_has_no_markup_of_others() {
        let text = markdown(&report());
        assert!(text.starts_with("# Drill of demo: missed\n"), "{text}");
        assert!(text.contains("| restore | 8.0 s | done | 3 secrets |"), "{text}");
        assert!(!text.contains("<script>") && !text.contains("@everyone"), "{text}");
    }
}
