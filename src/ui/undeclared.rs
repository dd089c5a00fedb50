//! Shows the orphans, which no step declares any longer, and the end of `destroy`.

use super::changeset::wrap::{columns, pad, shortened, wrapped};
use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use crate::changeset::{Action, Changeset, Counts, Elsewhere, RemovalScope, StepChange};
use crate::visible::sanitize;

/// Columns before a reason.
const INDENT: usize = 6;

/// Paragraphs about them and about things elsewhere, `width` columns wide; empty when there are none.
pub fn render(changeset: &Changeset, width: usize) -> String {
    orphans(&changeset.undeclared, width) + &elsewhere(&changeset.elsewhere, width)
}

/// The order of a complete teardown, which the groups by provider do not show; empty for anything else.
pub fn order(changeset: &Changeset, width: usize) -> String {
    if changeset.removes != RemovalScope::Teardown {
        return String::new();
    }
    let steps = changeset.steps.iter().filter(|step| step.action == Action::Delete);
    let named: Vec<String> = steps.map(|step| sanitize(&step.id)).collect();
    let mut text = format!("\n{}\n", paint(STRONG, "In this order"));
    let all = named
        .into_iter()
        .chain(["custody, the journal's copy and the lock (before what they are in)".to_owned()]);
    let all = all.chain(["the journal".to_owned()]).collect::<Vec<_>>().join(" → ");
    text.extend(wrapped(&all, width - 2).iter().map(|line| format!("  {line}\n")));
    text
}

fn elsewhere(all: &[Elsewhere], width: usize) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", paint(STRONG, "Elsewhere"));
    for one in all {
        let lines = wrapped(&sanitize(&one.describe()), width - 2);
        text.extend(lines.iter().map(|line| format!("  {line}\n")));
    }
    text
}

fn orphans(all: &[StepChange], width: usize) -> String {
    if all.is_empty() {
        return String::new();
    }
    let goes = all.iter().any(|step| step.action == Action::Delete);
    let help =
        if goes { "`--prune` removes what is marked with `-`" } else { "nothing of it would be removed" };
    let mut text = format!("\n{}\n", paint(STRONG, "No longer declared"));
    text.extend(wrapped(help, width - 2).iter().map(|line| format!("  {}\n", paint(FAINT, line))));
    let widest = |length: fn(&StepChange) -> usize| all.iter().map(length).max().unwrap_or_default();
    let (id, kind) = (widest(|step| columns(&step.id)).min(width / 3), widest(|step| step.kind.len()));
    for step in all {
        text.push_str(&line(step, (id, kind), width));
    }
    text
}

fn line(step: &StepChange, (id, kind): (usize, usize), width: usize) -> String {
    let (sign, style) = match step.action {
        Action::Delete => ("-", BAD),
        Action::Blocked => ("!", BAD),
        Action::Deferred => ("?", CHANGE),
        _ => ("·", FAINT),
    };
    let called = sanitize(&step.id);
    let is_told = step.name == step.id || step.id.ends_with(&format!("@{}", step.name));
    let name = if is_told { String::new() } else { sanitize(&step.name) };
    let start = format!("  {} {}", paint(style, sign), paint(STRONG, pad(&called, id)));
    let used = 4 + id.max(columns(&called)) + 2 + kind;
    let room = width.saturating_sub(used + 2);
    let mut text = if used > width || room < columns(&name).min(24) {
        let about = shortened(&format!("{} {name}", step.kind), width - INDENT);
        format!("{start}\n{}{}\n", " ".repeat(INDENT), paint(FAINT, about))
    } else if name.is_empty() {
        format!("{start}  {}\n", paint(FAINT, step.kind))
    } else {
        format!("{start}  {}  {}\n", paint(FAINT, pad(step.kind, kind)), shortened(&name, room))
    };
    for line in step.reason.iter().flat_map(|reason| wrapped(&sanitize(reason), width - INDENT)) {
        text.push_str(&format!("{}{}\n", " ".repeat(INDENT), paint(FAINT, line)));
    }
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
        (0, true) => format!("{} This plan has no remaining resources.", paint(GOOD, "Nothing to do.")),
        (0, false) => format!("{} {}.", paint(GOOD, "Nothing to do."), told.join(", ")),
        _ => format!("{}.", told.join(", ")),
    }
}
