//! A changeset for people.

use similar::{ChangeTag, TextDiff};

use super::console;
use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use super::{undeclared, value};
use crate::changeset::{Action, Changeset, Counts, StepChange};
use crate::removal::Extent;
use crate::resource::{Change, Scope, neutralise};

/// Prints a changeset; steps that are as declared only with `all`.
pub fn show(changeset: &Changeset, scope: &Scope, all: bool) {
    console::out(render(changeset, scope, all));
}

/// A changeset as text with colours.
pub fn render(changeset: &Changeset, scope: &Scope, all: bool) -> String {
    let shown: Vec<&StepChange> =
        changeset.steps.iter().filter(|step| all || step.action != Action::None).collect();
    let width = shown.iter().map(|step| step.kind.len()).max().unwrap_or_default();
    let mut text = heading(changeset, scope);
    for step in shown {
        text.push('\n');
        text.push_str(&render_step(step, width));
    }
    text.push_str(&undeclared::render(changeset));
    text.push('\n');
    text.push_str(&match changeset.removes {
        Extent::Everything => undeclared::summary(&changeset.summary),
        _ => summary(&changeset.summary),
    });
    text
}

fn heading(changeset: &Changeset, scope: &Scope) -> String {
    let mut text = paint(STRONG, format_args!("Plan {}", changeset.plan.name));
    if let Some(account) = &scope.account_id {
        text.push_str(&paint(FAINT, format_args!("  account {account}, region {}", scope.region)));
    }
    text.push('\n');
    text
}

fn render_step(step: &StepChange, width: usize) -> String {
    let (sign, style) = match step.action {
        Action::Create => ("+", GOOD),
        Action::Update | Action::Adopt => ("~", CHANGE),
        Action::Delete => ("-", BAD),
        Action::None => (" ", FAINT),
        Action::Blocked => ("!", BAD),
        Action::Deferred => ("?", CHANGE),
    };
    let kind = format!("{:width$}", step.kind);
    let mut text =
        format!("{} {}  {}", paint(style.bold(), sign), paint(FAINT, kind), paint(STRONG, &step.id));
    if step.name != step.id {
        text.push_str(&format!("  {}", step.name));
    }
    if let Some(reason) = &step.reason {
        text.push_str(&match step.action {
            Action::Blocked | Action::Deferred => {
                format!("\n      {}", paint(style, format_args!("{}: {reason}", step.action.name())))
            }
            _ => paint(FAINT, format_args!("  ({reason})")),
        });
    }
    text.push('\n');
    let column =
        step.changes.iter().map(|change| change.path.chars().count()).max().unwrap_or_default().min(48);
    for change in &step.changes {
        text.push_str(&render_change(change, step.action, column));
    }
    text
}

fn render_change(change: &Change, action: Action, column: usize) -> String {
    // A key of a live map, such as a tag's, is part of a path.
    let shown = neutralise(&change.path);
    let path = format!("{shown:column$}");
    let note = change.note.as_ref().map(|note| paint(FAINT, format_args!("  ({note})"))).unwrap_or_default();
    if change.sensitive {
        let note = change.note.as_deref().unwrap_or("changed");
        return format!("      {path}  {}\n", paint(FAINT, format_args!("(sensitive, {note})")));
    }
    if value::is_long(&change.before) || value::is_long(&change.after) || is_structure(change) {
        return format!("      {shown}{note}\n{}", line_diff(change, action));
    }
    let after = value::short(&change.after);
    if action == Action::Create {
        return format!("      {path}  {after}{note}\n");
    }
    let before = paint(BAD, value::short(&change.before));
    format!("      {path}  {before} → {}{note}\n", paint(GOOD, after))
}

/// Whether a side is a structure that one line does not hold, so that a difference by lines tells
/// more.
fn is_structure(change: &Change) -> bool {
    let large = |value: &serde_json::Value| {
        (value.is_object() || value.is_array()) && value.to_string().len() > console::width() / 2
    };
    large(&change.before) || large(&change.after)
}

fn line_diff(change: &Change, action: Action) -> String {
    let (before, after) = (value::lines(&change.before), value::lines(&change.after));
    let mut text = String::new();
    for hunk in TextDiff::from_lines(&before, &after).grouped_ops(3) {
        for operation in &hunk {
            for line in TextDiff::from_lines(&before, &after).iter_changes(operation) {
                let (sign, style) = match line.tag() {
                    ChangeTag::Delete => ("-", BAD),
                    ChangeTag::Insert if action == Action::Create => (" ", anstyle::Style::new()),
                    ChangeTag::Insert => ("+", GOOD),
                    ChangeTag::Equal => (" ", FAINT),
                };
                let content = line.value().trim_end_matches('\n');
                text.push_str(&format!("        {}\n", paint(style, format_args!("{sign} {content}"))));
            }
        }
    }
    text
}

fn summary(counts: &Counts) -> String {
    let parts = [
        (counts.create, "to create", GOOD),
        (counts.update, "to update", CHANGE),
        (counts.adopt, "to adopt", CHANGE),
        (counts.delete, "to delete", BAD),
        (counts.blocked, "blocked", BAD),
        (counts.deferred, "deferred", CHANGE),
        (counts.none, "unchanged", FAINT),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, style)| paint(*style, format_args!("{count} {what}")))
        .collect();
    match counts.writing() + counts.stuck() {
        0 => format!("{} {} steps are as declared.", paint(GOOD, "Nothing to do."), counts.none),
        _ => format!("{}.", told.join(", ")),
    }
}
