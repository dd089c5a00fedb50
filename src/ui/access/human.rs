//! Who can reach what, on a terminal.

use super::View;
use crate::access::{Reach, Remark, Right, Subject};
use crate::template::unknown::describe;
use crate::ui::changeset::wrap::wrapped;
use crate::ui::style::{CHANGE, FAINT, STRONG, paint};
use crate::visible::sanitize;

/// Columns that are used at most.
const WIDEST: usize = 140;

/// The answer by principal; with the reasons if one thing was asked for.
pub fn render(view: &View<'_>, width: usize) -> String {
    let width = width.clamp(40, WIDEST);
    let access = view.access;
    let mut text = format!(
        "{}  {}\n",
        paint(STRONG, format!("Access in {}", sanitize(view.plan))),
        paint(FAINT, view.basis())
    );
    for principal in &access.principals {
        let step = principal
            .step
            .as_ref()
            .map(|step| format!("  {}", paint(FAINT, sanitize(step))))
            .unwrap_or_default();
        text.push_str(&format!("\n{}{step}\n", paint(STRONG.underline(), shown(principal))));
        let own: Vec<&Reach> = access.reach.iter().filter(|one| one.principal == *principal).collect();
        let remarks: Vec<&Remark> =
            access.remarks.iter().filter(|remark| remark.about == *principal).collect();
        if own.is_empty() {
            let known = if remarks.is_empty() { "" } else { ", by what is known" };
            text.push_str(&format!("  reaches nothing that the plan declares{known}\n"));
        }
        for one in own {
            text.push_str(&if view.about.is_some() { explained(one, width) } else { brief(one, width) });
        }
        for remark in remarks {
            text.push_str(&block("  ! ", &sanitize(&remark.message), width, |line| paint(CHANGE, line)));
        }
    }
    if access.principals.is_empty() {
        text.push_str("\nNobody that the plan declares can reach it.\n");
    }
    text
}

fn shown(subject: &Subject) -> String {
    sanitize(&subject.title())
}

/// All rights on one line; those with conditions have a `*`.
fn brief(one: &Reach, width: usize) -> String {
    let word = |right: &Right| match right.is_certain() {
        true => right.right.to_owned(),
        false => format!("{}*", right.right),
    };
    let rights: Vec<String> = one.rights.iter().map(word).collect();
    block("  ", &format!("{}: {}", shown(&one.target), rights.join(", ")), width, |line| line.to_owned())
}

/// Each right with the rule that gives it.
fn explained(one: &Reach, width: usize) -> String {
    let mut text = format!("  {}\n", shown(&one.target));
    for right in &one.rights {
        let because: Vec<String> = right.because.iter().map(|one| sanitize(&describe(one))).collect();
        text.push_str(&block("    ", &format!("{}: {}", right.right, because.join("; ")), width, |line| {
            line.to_owned()
        }));
        for condition in right.conditions() {
            let condition = sanitize(&describe(&condition));
            text.push_str(&block("      ", &condition, width, |line| paint(CHANGE, line)));
        }
    }
    text
}

/// Text in lines, with the first line's start and the others indented further.
fn block(start: &str, text: &str, width: usize, style: impl Fn(&str) -> String) -> String {
    let lines = wrapped(text, width.saturating_sub(start.len() + 2));
    let rest = format!("\n{}  ", " ".repeat(start.len()));
    let lines: Vec<String> = lines.iter().map(|line| style(line)).collect();
    format!("{start}{}\n", lines.join(&rest))
}
