//! What a plan leaves behind: things that no step declares any more, and the end of `destroy`.

use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use crate::changeset::{Action, Changeset, Counts, StepChange};

/// A paragraph about them; empty when there are none.
pub fn render(changeset: &Changeset) -> String {
    let all = &changeset.undeclared;
    if all.is_empty() {
        return String::new();
    }
    let goes = all.iter().any(|step| step.action == Action::Delete);
    let help = if goes { "; `--prune` removes what can go" } else { "" };
    let mut text = format!("\n{}{help}:\n", paint(STRONG, "No longer declared"));
    let width = all.iter().map(|step| step.kind.len()).max().unwrap_or_default();
    for step in all {
        text.push_str(&line(step, width));
    }
    text
}

fn line(step: &StepChange, width: usize) -> String {
    let (sign, style) = match step.action {
        Action::Blocked => ("!", BAD),
        Action::Deferred => ("?", CHANGE),
        _ => ("·", FAINT),
    };
    let kind = format!("{:width$}", step.kind);
    let mut text = format!("{} {}  {}", paint(style, sign), paint(FAINT, kind), paint(STRONG, &step.id));
    if step.name != step.id && !step.id.ends_with(&format!("@{}", step.name)) {
        text.push_str(&format!("  {}", step.name));
    }
    if let Some(reason) = &step.reason {
        text.push_str(&paint(FAINT, format_args!("  ({reason})")));
    }
    text.push('\n');
    text
}

/// The last line of what `destroy` shows.
pub fn summary(counts: &Counts) -> String {
    let parts = [
        (counts.delete, "to delete", BAD),
        (counts.blocked, "refused", BAD),
        (counts.deferred, "unknown", CHANGE),
        (counts.none, "staying", FAINT),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, style)| paint(*style, format_args!("{count} {what}")))
        .collect();
    match (counts.delete, told.is_empty()) {
        (0, true) => format!("{} Nothing is there that this plan has made.", paint(GOOD, "Nothing to do.")),
        (0, false) => format!("{} {}.", paint(GOOD, "Nothing to do."), told.join(", ")),
        _ => format!("{}.", told.join(", ")),
    }
}
