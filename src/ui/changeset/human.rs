//! A changeset on a terminal.

use anstyle::Style;

use super::wrap::{columns, pad, shortened, some_of, wrapped};
use super::{access, destinations, lacking};
use crate::changeset::{Action, Counts, RemovalScope, StepChange};
use crate::review::{
    Content, Field, Group, Item, Line, Reason, Review, Risk, Severity, Sign, as_declared, counted, sign,
};
use crate::secret::SecretChange;
use crate::ui::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use crate::ui::undeclared;
use crate::visible::sanitize;

/// Columns before a step's fields.
const INDENT: usize = 6;
/// Columns that are used at most, however wide the terminal is.
const WIDEST: usize = 140;
/// The widest column of paths.
const WIDEST_PATH: usize = 40;
/// Lines that the names of steps that are alike may take.
const NAME_LINES: usize = 2;
/// Lines that a value of one line may take.
const VALUE_LINES: usize = 6;

/// A changeset as text with colours, `width` columns wide; steps that are as declared only with
/// `all`.
pub fn render(review: &Review, width: usize, all: bool) -> String {
    let width = width.clamp(40, WIDEST);
    let mut text = heading(review, width);
    for group in &review.groups {
        text.push_str(&render_group(group, width, all));
    }
    text.push_str(&undeclared::order(review.changeset, width));
    text.push_str(&undeclared::render(review.changeset, width));
    text.push_str(&destinations::render(review, width));
    text.push_str(&access::render(review, width));
    text.push_str(&risks(review, width));
    text.push_str(&lacking::render(review, width));
    if review.is_abridged() {
        let remark = "Steps that differ only in their name are shown once; `plan --full` shows each of them.";
        text.push('\n');
        text.extend(wrapped(remark, width).iter().map(|line| format!("{}\n", paint(FAINT, line))));
    }
    text.push('\n');
    text.push_str(&match review.changeset.removes {
        RemovalScope::Everything | RemovalScope::Teardown => undeclared::summary(&review.changeset.summary),
        _ => summary(&review.changeset.summary, width),
    });
    text
}

fn heading(review: &Review, width: usize) -> String {
    let plan = &review.changeset.plan;
    let stage = plan.stage.as_ref().map(|stage| format!(", stage {}", sanitize(stage))).unwrap_or_default();
    let name = format!("Plan {}{stage}", sanitize(&plan.name));
    let mut text = paint(STRONG, &name);
    if let Some(place) = &review.place {
        let place = sanitize(place);
        let fits = columns(&name) + 2 + columns(&place) <= width;
        text.push_str(if fits { "  " } else { "\n" });
        text.push_str(&paint(FAINT, place));
    }
    text.push('\n');
    for line in review.changeset.part().iter().flat_map(|part| wrapped(&sanitize(part), width)) {
        text.push_str(&format!("{}\n", paint(CHANGE, line)));
    }
    text
}

fn render_group(group: &Group, width: usize, all: bool) -> String {
    let is_shown = |item: &&Item| all || item.step.action != Action::None;
    let shown: Vec<&Item> = group.items.iter().filter(is_shown).collect();
    if shown.is_empty() {
        return String::new();
    }
    let title = columns(&group.title) + 2;
    let counted = counts(&group.counts, title, width);
    let mut text = format!("\n{}  {counted}\n", paint(STRONG.underline(), &group.title));
    let widest = |length: fn(&StepChange) -> usize, limit: usize| {
        shown.iter().map(|item| length(item.step)).max().unwrap_or_default().min(limit)
    };
    let widths = Columns {
        id: widest(|step| columns(&step.id), width / 3),
        kind: widest(|step| step.kind.len(), 28),
        all: width,
    };
    let has_more = |item: &&Item| {
        let is_told = matches!(item.reason, Some(Reason::Told(..)));
        !item.fields.is_empty() || !item.others.is_empty() || is_told
    };
    // Items of several lines are kept apart; a list of titles is kept together.
    let mut apart = shown.iter().any(has_more);
    for item in shown {
        if apart || has_more(&item) {
            text.push('\n');
        }
        apart = has_more(&item);
        text.push_str(&render_item(item, &widths));
    }
    text
}

struct Columns {
    id: usize,
    kind: usize,
    all: usize,
}

fn style_of(action: Action) -> Style {
    match action {
        Action::Create => GOOD,
        Action::Update | Action::Adopt | Action::Deferred => CHANGE,
        Action::Replace | Action::Delete | Action::Blocked => BAD,
        Action::None => FAINT,
    }
}

fn render_item(item: &Item, widths: &Columns) -> String {
    let mut text = title(item, widths);
    let width = widths.all - INDENT;
    if !item.others.is_empty() {
        let also = format!("and {} more in the same way: ", item.others.len());
        let names = some_of(&item.other_names(), (width * NAME_LINES).saturating_sub(columns(&also)));
        text.push_str(&block(&format!("{also}{}", sanitize(&names)), width, FAINT));
    }
    text.push_str(&reason(item, width));
    let column = item.fields.iter().map(|field| columns(&field.path)).max().unwrap_or_default();
    let column = column.min(WIDEST_PATH).min(width / 2);
    for field in &item.fields {
        text.push_str(&render_field(field, column, width));
    }
    text
}

/// `+ id  kind  name`; on a narrow terminal the name has a line of its own.
fn title(item: &Item, widths: &Columns) -> String {
    let step = item.step;
    let style = style_of(step.action);
    let (id, name) = (sanitize(&step.id), sanitize(&step.name));
    let used = 4 + widths.id.max(columns(&id)) + 2 + widths.kind;
    let mark = paint(style.bold(), sign(step.action));
    if used > widths.all {
        let about = if name == id { step.kind.to_owned() } else { format!("{} {name}", step.kind) };
        let room = widths.all - INDENT;
        let id = shortened(&id, widths.all - 4);
        return format!("  {mark} {}\n{}", paint(STRONG, id), block(&about, room, FAINT));
    }
    let start = format!("  {mark} {}  ", paint(STRONG, pad(&id, widths.id)));
    let room = widths.all.saturating_sub(used + 2);
    if name == id {
        format!("{start}{}\n", paint(FAINT, step.kind))
    } else if room >= columns(&name).min(24) {
        let kind = paint(FAINT, pad(step.kind, widths.kind));
        format!("{start}{kind}  {}\n", shortened(&name, room))
    } else {
        let width = widths.all - INDENT;
        format!("{start}{}\n{}", paint(FAINT, step.kind), block(&shortened(&name, width), width, STRONG))
    }
}

fn reason(item: &Item, width: usize) -> String {
    let Some(Reason::Told(reason, below)) = item.reason else { return String::new() };
    let (action, reason) = (item.step.action, sanitize(reason));
    let too = if below > 0 { format!(" (as are the {below} below)") } else { String::new() };
    match action {
        Action::Blocked | Action::Deferred => {
            block(&format!("{}{too}: {reason}", action.name()), width, style_of(action))
        }
        _ => block(&format!("{reason}{too}"), width, FAINT),
    }
}

/// Text below a step's title, in as many lines as it takes.
fn block(text: &str, width: usize, style: Style) -> String {
    let lines = text.lines().flat_map(|line| wrapped(line, width));
    lines.map(|line| format!("{}{}\n", " ".repeat(INDENT), paint(style, line))).collect()
}

fn render_field(field: &Field, column: usize, width: usize) -> String {
    let note = field.note.as_ref().map(|note| format!("  ({note})")).unwrap_or_default();
    let room = width.saturating_sub(column + 2);
    match &field.content {
        Content::Set(value) => beside(field, column, width, value, Style::new()),
        Content::Secret(what, words) => {
            let style = match what {
                SecretChange::Unchanged => FAINT,
                SecretChange::New => Style::new(),
                SecretChange::Changed | SecretChange::Resent => CHANGE,
                SecretChange::Removed => BAD,
            };
            beside(field, column, width, &format!("({words}){note}"), style)
        }
        Content::Changed(before, after) => {
            let (old, new) = (before.as_deref().unwrap_or("not set"), after.as_deref().unwrap_or("removed"));
            let (old_style, new_style) = (strike(before.as_deref(), BAD), strike(after.as_deref(), GOOD));
            if columns(old) + columns(new) + 3 + columns(&note) <= room && columns(&field.path) <= column {
                let change = format!("{} → {}", paint(old_style, old), paint(new_style, new));
                return line(&format!("{}  {change}{}", pad(&field.path, column), paint(FAINT, note)));
            }
            let mut text = line(&format!("{}{}", field.path, paint(FAINT, note)));
            text.push_str(&signed("-", old, width, old_style));
            text.push_str(&signed("+", new, width, new_style));
            text
        }
        Content::Text(lines) => {
            let mut text = line(&format!("{}{}", field.path, paint(FAINT, note)));
            for content in lines {
                text.push_str(&signed(" ", content, width, Style::new()));
            }
            text
        }
        Content::Lines(lines) => {
            let mut text = line(&format!("{}{}", field.path, paint(FAINT, note)));
            for content in lines {
                text.push_str(&difference(content, width));
            }
            text
        }
    }
}

fn strike(value: Option<&str>, style: Style) -> Style {
    if value.is_some() { style } else { FAINT }
}

fn line(text: &str) -> String {
    format!("{}{}\n", " ".repeat(INDENT), text.trim_end())
}

/// A value beside its path, or below when there is not enough room beside it.
fn beside(field: &Field, column: usize, width: usize, value: &str, style: Style) -> String {
    let room = width.saturating_sub(column + 2);
    if columns(&field.path) > column || (columns(value) > room && room < width / 2) {
        return line(&field.path) + &signed(" ", value, width, style);
    }
    let lines = limited(value, room);
    let first = format!("{}  {}", pad(&field.path, column), paint(style, &lines[0]));
    let rest =
        lines[1..].iter().map(|text| line(&format!("{}{}", " ".repeat(column + 2), paint(style, text))));
    line(&first) + &rest.collect::<String>()
}

/// A value of one line in as many lines as it takes; the middle of a very long one is left out.
fn limited(value: &str, room: usize) -> Vec<String> {
    wrapped(&shortened(value, room * VALUE_LINES), room)
}

/// Text behind a sign, two columns in from a path.
fn signed(mark: &str, text: &str, width: usize, style: Style) -> String {
    let lines = limited(text, width.saturating_sub(4));
    let rows = lines.iter().enumerate().map(|(index, part)| {
        let mark = if index == 0 { mark } else { " " };
        line(&paint(style, format_args!("  {mark} {part}")))
    });
    rows.collect()
}

fn difference(content: &Line, width: usize) -> String {
    let style = match content.sign {
        Sign::Added => GOOD,
        Sign::Removed => BAD,
        Sign::Same | Sign::Remark => FAINT,
    };
    let (mark, text) = match content.sign {
        Sign::Remark => ("⋯", content.text.as_str()),
        sign => (sign.mark(), content.text.as_str()),
    };
    // The spaces before a line say how deep it stands; only what is too long is broken.
    if columns(text) + 4 <= width {
        return line(&paint(style, format_args!("  {mark} {text}")));
    }
    let depth = text.len() - text.trim_start().len();
    let depth = depth.min(width / 3);
    let parts = wrapped(text.trim_start(), width.saturating_sub(4 + depth));
    let rows = parts.iter().enumerate().map(|(index, part)| {
        let (mark, more) = if index == 0 { (mark, "") } else { (" ", "  ") };
        line(&paint(style, format_args!("  {mark} {}{more}{part}", " ".repeat(depth))))
    });
    rows.collect()
}

fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::High => BAD.bold(),
        Severity::Medium => CHANGE,
        Severity::Low => FAINT,
    }
}

fn risks(review: &Review, width: usize) -> String {
    if review.risks.is_empty() {
        return String::new();
    }
    let counted: Vec<String> = review
        .severities()
        .into_iter()
        .map(|(severity, count)| paint(severity_style(severity), format_args!("{count} {}", severity.name())))
        .collect();
    let mut text = format!("\n{}  {}\n", paint(STRONG.underline(), "Risks"), counted.join(", "));
    let told = review.risks_by_words();
    let column = told.iter().map(|(risk, _)| columns(&risk.step)).max().unwrap_or_default().min(width / 3);
    for (risk, steps) in told {
        text.push_str(&render_risk(risk, &steps, column, width));
    }
    text
}

fn render_risk(risk: &Risk, steps: &[&str], column: usize, width: usize) -> String {
    let style = severity_style(risk.severity);
    let mut message = risk.message.clone();
    if steps.len() > 1 {
        message.push_str(&format!(" (and {} more in the same way)", steps.len() - 1));
    }
    let id = shortened(&sanitize(&risk.step), column);
    let start = 2 + 6 + 2 + column + 2;
    let lines = wrapped(&message, width.saturating_sub(start));
    let mut text = format!(
        "  {}  {}  {}\n",
        paint(style, pad(risk.severity.name(), 6)),
        paint(STRONG, pad(&id, column)),
        lines[0]
    );
    for line in &lines[1..] {
        text.push_str(&format!("{}{line}\n", " ".repeat(start)));
    }
    text
}

/// The counts behind `start` columns, in as many lines as it takes.
fn counts(counts: &Counts, start: usize, width: usize) -> String {
    let (mut text, mut used) = (String::new(), start);
    for (index, (action, words)) in counted(counts).into_iter().enumerate() {
        let length = columns(&words) + 2;
        if index > 0 {
            text.push(',');
            let breaks = used + length > width;
            text.push_str(if breaks { "\n  " } else { " " });
            used = if breaks { 2 } else { used };
        }
        used += length;
        text.push_str(&paint(style_of(action), words));
    }
    text
}

fn summary(all: &Counts, width: usize) -> String {
    match all.writing() + all.stuck() {
        0 => format!("{} {}", paint(GOOD, "Nothing to do."), as_declared(all)),
        _ => format!("{}.", counts(all, 0, width)),
    }
}

#[cfg(test)]
mod tests;
