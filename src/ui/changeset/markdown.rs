//! A changeset as a comment of a pull request.
//!
//! Text from plans and servers is written as code, where neither GitHub nor GitLab treats anything as
//! markup, a mention or a link.

use std::collections::HashSet;
use std::fmt::Write;

use super::access;
use super::lacking::sentence;
use super::wrap::{some_of, thousands};
use crate::changeset::Action;
use crate::destination::value_text;
use crate::review::{
    Content, Field, Group, Item, Reason, Review, Risk, Severity, Sign, as_declared, counted, sign,
};
use crate::secret::SecretChange;
use crate::visible::sanitize;

/// GitHub's limit on a comment, in characters; counted in bytes here, which are never fewer.
const LIMIT: usize = 65_536;
/// Kept free for what is said about what is left out.
const RESERVE: usize = 1_024;
/// The number of risks that are shown; further ones are only counted.
const RISKS: usize = 50;
/// Characters of one destination's values that are shown.
const DESTINATION: usize = 1_000;

/// A changeset as Markdown that stays within the limit of a comment.
pub fn render(review: &Review) -> String {
    let head = head(review);
    let risky: HashSet<&str> = review.risks.iter().map(|risk| risk.step.as_str()).collect();
    let groups = review.groups.iter().enumerate();
    let mut entries: Vec<Entry> = groups.flat_map(|(index, group)| of_group(index, group, &risky)).collect();
    let frame: usize = review.groups.iter().map(|group| opening(group).len() + CLOSING.len()).sum();
    fit(&mut entries, LIMIT.saturating_sub(RESERVE + head.len() + frame));
    let mut text = head;
    for (index, group) in review.groups.iter().enumerate() {
        let own: Vec<&Entry> = entries.iter().filter(|entry| entry.group == index).collect();
        if !own.is_empty() {
            text.push_str(&opening(group));
            for entry in own {
                text.push_str(entry.shown());
            }
            text.push_str(CLOSING);
        }
    }
    text.push_str(&left_out(&entries));
    if review.is_abridged() {
        text.push_str("\n> Steps that differ only in their name are shown once; `groundwork plan --full` shows each of them.\n");
    }
    text
}

/// The HTML comment by which a script finds its earlier comment, to replace it. It holds the plan's
/// name, so that several plans can have a comment each.
fn marker(plan: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' };
    format!("<!-- groundwork:plan:{} -->", plan.chars().map(plain).collect::<String>())
}

fn head(review: &Review) -> String {
    let changeset = review.changeset;
    let counts = &changeset.summary;
    let told: Vec<String> = counted(counts).into_iter().map(|(_, words)| words).collect();
    let mut text = format!(
        "{}\n## Plan {}{}\n\n",
        marker(&changeset.plan.name),
        code(&changeset.plan.name),
        changeset.plan.stage.iter().map(|stage| format!(", stage {}", code(stage))).collect::<String>()
    );
    if counts.writing() + counts.stuck() == 0 {
        let _ = writeln!(text, "**Nothing to do.** {}", as_declared(counts));
    } else {
        let _ = writeln!(text, "**{}**", told.join(" · "));
    }
    if let Some(place) = &review.place {
        let _ = writeln!(text, "<br>{}", inline(place));
    }
    if let Some(part) = changeset.part() {
        let _ = writeln!(text, "\n**{}**", inline(&part));
    }
    text.push_str(&destinations(review));
    text.push_str(&access_changes(review));
    text.push_str(&risks(review));
    text.push_str(&lacking(review));
    text.push_str(&undeclared(review));
    for one in &review.changeset.elsewhere {
        let _ = writeln!(text, "\n**Elsewhere**: {}", inline(&one.describe()));
    }
    text
}

/// Where the changeset goes, expanded if any of it has changed.
fn destinations(review: &Review) -> String {
    let all = review.destinations();
    if all.is_empty() {
        return String::new();
    }
    let open = if all.iter().any(|one| one.before.is_some()) { " open" } else { "" };
    let remark = review.destinations_remark().map(|text| format!(" ({text})")).unwrap_or_default();
    let mut text = format!("\n<details{open}><summary><b>Where this goes</b>{remark}</summary>\n\n");
    for one in all {
        let value = |values: &[String]| code(&shortened(&value_text(values), DESTINATION));
        let before = one.before.as_ref().map(|before| format!(", was {}", value(before)));
        let _ = writeln!(text, "- {} {}{}", code(&one.name), value(&one.values), before.unwrap_or_default());
    }
    text + CLOSING
}

/// Who gains or loses what.
fn access_changes(review: &Review) -> String {
    let all = &review.changeset.access_changes;
    if all.is_empty() && !review.changeset.access_not_compared {
        return String::new();
    }
    let mut text = "\n### Access changes\n\n".to_owned();
    if review.changeset.access_not_compared {
        let _ = writeln!(text, "{}", access::NOT_COMPARED);
    }
    for one in all.iter().take(RISKS) {
        let _ = writeln!(
            text,
            "- <code>{}</code> {}",
            access::sign(one.change).0,
            inline(&shortened(&one.line(), DESTINATION))
        );
    }
    if all.len() > RISKS {
        let _ = writeln!(text, "- and {} more; `groundwork plan` shows them all", all.len() - RISKS);
    }
    text
}

/// The orphans: things that the plan has made and no longer declares.
fn undeclared(review: &Review) -> String {
    let all = &review.changeset.undeclared;
    if all.is_empty() {
        return String::new();
    }
    let mut text = "\n### No longer declared\n\n".to_owned();
    if all.iter().any(|step| step.action == Action::Delete) {
        text.push_str("`groundwork apply --prune` removes what is marked with `-`.\n\n");
    }
    for step in all.iter().take(RISKS) {
        let reason = step.reason.as_deref().map(|reason| format!(": {}", inline(reason))).unwrap_or_default();
        let goes = if step.action == Action::Delete { "<code>-</code> " } else { "" };
        let _ = writeln!(text, "- {goes}<b>{}</b> {}{reason}", code(&step.id), code(step.kind));
    }
    if all.len() > RISKS {
        let _ = writeln!(text, "- and {} more; `groundwork plan` shows them all", all.len() - RISKS);
    }
    text
}

fn risks(review: &Review) -> String {
    if review.risks.is_empty() {
        return String::new();
    }
    let counts: Vec<String> = review
        .severities()
        .into_iter()
        .map(|(severity, count)| format!("{count} {}", severity.name()))
        .collect();
    let mut text = format!("\n### Risks: {}\n\n", counts.join(", "));
    let told = review.risks_by_words();
    for (risk, steps) in told.iter().take(RISKS) {
        text.push_str(&render_risk(risk, steps));
    }
    if told.len() > RISKS {
        let _ = writeln!(text, "- and {} more; `groundwork plan` shows them all", told.len() - RISKS);
    }
    text
}

/// The permissions that the caller lacks.
fn lacking(review: &Review) -> String {
    let all = &review.changeset.lacking;
    if all.is_empty() {
        return String::new();
    }
    let mut text = format!("\n### Permissions you lack: {}\n\n", all.len());
    for one in all.iter().take(RISKS) {
        let _ = writeln!(text, "- <b>{}</b> {}", code(&one.step), code(&sentence(one)));
    }
    if all.len() > RISKS {
        let _ = writeln!(text, "- and {} more; `groundwork plan` shows them all", all.len() - RISKS);
    }
    text
}

fn render_risk(risk: &Risk, steps: &[&str]) -> String {
    let light = match risk.severity {
        Severity::High => "🔴",
        Severity::Medium => "🟠",
        Severity::Low => "⚪",
    };
    let more = match steps.len() {
        1 => String::new(),
        count => format!(" and {} more in the same way", count - 1),
    };
    let message = shortened(&risk.message, 400);
    format!("- {light} **{}** {}{more}: {}\n", risk.severity.name(), code(&risk.step), inline(&message))
}

/// One item, long and short.
struct Entry {
    group: usize,
    /// The order of importance, for when not everything fits.
    rank: usize,
    steps: usize,
    title: String,
    detail: String,
    level: Level,
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Left,
    Title,
    Detail,
}

impl Entry {
    fn shown(&self) -> &str {
        match self.level {
            Level::Left => "",
            Level::Title => &self.title,
            Level::Detail => &self.detail,
        }
    }
}

const CLOSING: &str = "\n</details>\n";

fn opening(group: &Group) -> String {
    let told: Vec<String> = counted(&group.counts).into_iter().map(|(_, words)| words).collect();
    let open = if group.counts.writing() + group.counts.stuck() <= 10 { " open" } else { "" };
    format!("\n<details{open}><summary><b>{}</b>: {}</summary>\n\n", group.title, told.join(", "))
}

fn of_group(index: usize, group: &Group, risky: &HashSet<&str>) -> Vec<Entry> {
    let items = group.items.iter().filter(|item| item.step.action != Action::None);
    items.map(|item| entry(index, item, risky.contains(item.step.id.as_str()))).collect()
}

fn entry(group: usize, item: &Item, is_risky: bool) -> Entry {
    let step = item.step;
    let mut title = format!("<code>{}</code> <b>{}</b>", escaped(sign(step.action)), code(&step.id));
    if !item.others.is_empty() {
        let _ = write!(title, " and {} more in the same way", item.others.len());
    }
    let _ = write!(title, " {}", code(step.kind));
    if step.name != step.id {
        let _ = write!(title, " {}", code(&shortened(&step.name, 120)));
    }
    let mut body = String::new();
    if let Some(Reason::Told(reason, below)) = item.reason {
        let label = match step.action {
            Action::Blocked | Action::Deferred => format!("**{}:** ", step.action.name()),
            _ => String::new(),
        };
        let too = if below > 0 { format!(" (so for the {below} below)") } else { String::new() };
        let _ = writeln!(body, "{label}{}{too}\n", inline(reason));
    }
    if !item.others.is_empty() {
        let _ =
            writeln!(body, "The same for {}\n", code(&shortened(&some_of(&item.other_names(), 600), 600)));
    }
    body.push_str(&fenced(&item.fields));
    let short = format!("- {title}\n");
    let detail = match body.is_empty() {
        true => short.clone(),
        false => format!("<details><summary>{title}</summary>\n\n{body}</details>\n\n"),
    };
    let rank = if is_risky { 0 } else { rank(step.action) };
    Entry { group, rank, steps: item.count(), title: short, detail, level: Level::Left }
}

/// Fields as a difference, in a fence that nothing in them can end.
fn fenced(fields: &[Field]) -> String {
    if fields.is_empty() {
        return String::new();
    }
    let lines: String = fields.iter().map(field).collect();
    let longest = lines.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}diff\n{lines}{fence}\n")
}

fn field(field: &Field) -> String {
    let path = &field.path;
    let note = field.note.as_ref().map(|note| format!("  ({})", note.replace('\n', " "))).unwrap_or_default();
    match &field.content {
        Content::Set(value) => format!("+ {path}: {}{note}\n", one_line(value)),
        Content::Changed(before, after) => {
            let row = |mark: &str, value: &Option<String>| match value {
                Some(value) => format!("{mark} {path}: {}{note}\n", one_line(value)),
                None => String::new(),
            };
            row("-", before) + &row("+", after)
        }
        Content::Secret(SecretChange::Unchanged, words) => format!("  {path}: ({words})\n"),
        Content::Secret(_, words) => format!("! {path}: ({}){note}\n", one_line(words)),
        Content::Text(lines) => {
            let rows: String = lines.iter().map(|line| format!("+   {line}\n")).collect();
            format!("+ {path}:{note}\n{rows}")
        }
        Content::Lines(lines) => {
            let rows = lines.iter().map(|line| match line.sign {
                Sign::Remark => format!("@@ {} @@\n", line.text),
                sign => format!("{}   {}\n", sign.mark(), line.text),
            });
            format!("@@ {path}{note} @@\n{}", rows.collect::<String>())
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// Shows as much as fits: all titles if possible, then details, dangerous or unusual ones first.
fn fit(entries: &mut [Entry], budget: usize) {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|index| entries[*index].rank);
    let mut used = 0;
    for (level, cost) in [
        (Level::Title, (|entry| entry.title.len()) as fn(&Entry) -> usize),
        (Level::Detail, |entry| entry.detail.len().saturating_sub(entry.title.len())),
    ] {
        for index in &order {
            let entry = &mut entries[*index];
            let more = cost(entry);
            let is_next = level == Level::Title || entry.level == Level::Title;
            if is_next && used + more <= budget {
                entry.level = level;
                used += more;
            }
        }
    }
}

fn rank(action: Action) -> usize {
    match action {
        Action::Delete | Action::Replace => 1,
        Action::Blocked => 2,
        Action::Update => 3,
        Action::Adopt => 4,
        Action::Deferred => 5,
        Action::Create => 6,
        Action::None => 7,
    }
}

fn left_out(entries: &[Entry]) -> String {
    let count = |level: Level| -> usize {
        entries.iter().filter(|entry| entry.level == level).map(|entry| entry.steps).sum()
    };
    let without_detail: usize = entries
        .iter()
        .filter(|entry| entry.level == Level::Title && entry.title != entry.detail)
        .map(|entry| entry.steps)
        .sum();
    let parts = [(without_detail, "stand here without their fields"), (count(Level::Left), "are left out")];
    let told: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} steps {what}"))
        .collect();
    match told.is_empty() {
        true => String::new(),
        false => format!(
            "\n> {}, since a comment holds no more. `groundwork plan` shows everything.\n",
            told.join(", ")
        ),
    }
}

/// Text inside of `<code>`, on one line.
pub(in crate::ui) fn code(text: &str) -> String {
    format!("<code>{}</code>", inline(text))
}

/// Text among Markdown, on one line, in which nothing is markup, a mention or a link.
pub(in crate::ui) fn inline(text: &str) -> String {
    escaped(&sanitize(text).replace(['\n', '\t'], " "))
}

/// Word joiners separate parts of words, so that nothing turns into a mention, a reference or a link;
/// characters that mean something in Markdown or HTML are written as character references.
fn escaped(text: &str) -> String {
    // As a reference, because an invisible character that stands in the text as such is not let out.
    const JOINER: &str = "&#8288;";
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '@' | '#' => out = out + c.encode_utf8(&mut [0; 4]) + JOINER,
            ':' if chars.peek() == Some(&'/') => out = out + ":" + JOINER,
            '.' if out.to_ascii_lowercase().ends_with("www") => out = out + JOINER + ".",
            '&' | '<' | '>' | '"' | '\'' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '|' | '~' | '\\'
            | '!' | '$' | '{' | '}' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn shortened(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => {
            let left_out = thousands(text[end..].chars().count());
            format!("{}… and {left_out} more characters", &text[..end])
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::changeset::Changeset;
    use crate::providers::PROVIDERS;
    use crate::review::testing::{PLACE, changeset, step};

    fn of(changeset: &Changeset) -> String {
        render(&Review::new(changeset, &PROVIDERS, PLACE))
    }

    #[test]
    fn content_cannot_leave_its_fence() {
        let hostile =
            "a\n```\n````\n</details>\n<script>alert(1)</script>\n@someone https://evil.example #1\nb";
        let text = of(&changeset(vec![step(
            "it",
            "file.template",
            "update",
            &[
                ("content", json!("old\n```\nx\n"), json!(hostile)),
                ("x", json!("`````"), json!("y\u{1b}[31m")),
            ],
        )]));
        let fence =
            text.lines().find(|line| line.ends_with("diff")).expect("a fence").trim_end_matches("diff");
        assert_eq!(fence, "``````", "longer than anything inside");
        assert_eq!(text.lines().filter(|line| line.trim() == fence).count(), 1, "closed once");
        let outside: String = text.split(fence).step_by(2).collect();
        assert!(!outside.contains("script") && !outside.contains("@someone"), "{outside}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn names_outside_fences_are_escaped() {
        let hostile = "</summary><b>@all</b> [x](https://evil.example) `c` www.evil.example #12 *b* | $x$";
        let mut row = step("it", "vault.policy", "blocked", &[]);
        row.name = hostile.to_owned();
        row.reason = Some(hostile.to_owned());
        let text = of(&changeset(vec![row]));
        for markup in ["<b>@", "@all", "](", "://", "`c`", "www.e", " #12", "*b*", "| $"] {
            assert!(!text.contains(markup), "{markup} in {text}");
        }
        assert_eq!(text.matches("</summary>").count(), 2, "{text}");
    }

    #[test]
    fn comment_marker_names_only_the_plan() {
        assert_eq!(marker("a-b.c"), "<!-- groundwork:plan:a-b.c -->");
        assert_eq!(marker("a --> <b>"), "<!-- groundwork:plan:a_--___b_ -->");
    }

    #[test]
    fn large_plan_fits_and_names_omitted_parts() {
        let long = "x".repeat(900);
        let many = |count: usize, kind: &'static str| -> Changeset {
            let rows = (0..count).map(|index| {
                let action = if index == count - 1 { "update" } else { "create" };
                let value = json!(format!("{}{long}", index * 31 + 5));
                step(&format!("step_{index}"), kind, action, &[("field", json!(null), value)])
            });
            changeset(rows.collect())
        };
        let some = of(&many(100, "vault.policy"));
        assert!(some.len() <= LIMIT && some.len() > LIMIT / 2, "{}", some.len());
        assert!(some.contains("stand here without their fields") && !some.contains("are left out"));
        assert!(some.contains("step&#95;99</code></b>") && some.contains(&format!("{long}\n")));
        let all = of(&many(2_000, "vault.policy"));
        assert!(all.len() <= LIMIT && all.contains("are left out"), "{}", all.len());
        assert!(all.contains("step&#95;1999"), "an update is not left out");
        let risky = of(&many(2_000, "aws.kms_key"));
        assert!(risky.len() <= LIMIT);
    }

    #[test]
    fn similar_steps_are_shown_once_and_outlier_whole() {
        let rows = (0..2_000).map(|index| {
            let ttl = if index == 700 { 7_200 } else { 3_600 };
            let fields =
                [("name", json!(null), json!(format!("app-{index}"))), ("ttl", json!(null), json!(ttl))];
            step(&format!("app_{index}"), "vault.policy", "create", &fields)
        });
        let text = of(&changeset(rows.collect()));
        assert!(text.len() < 4_000, "{text}");
        assert!(text.contains("app&#95;0</code></b> and 1998 more in the same way"), "{text}");
        assert!(text.contains("+ name: app-700\n+ ttl: 7200 (2h)\n"), "{text}");
        assert!(text.contains("`groundwork plan --full` shows each"), "{text}");
        assert!(!text.contains("left out"), "{text}");
    }

    #[test]
    fn unchanged_steps_are_only_counted() {
        let text = of(&changeset(vec![step("it", "vault.policy", "none", &[])]));
        assert!(text.contains("**Nothing to do.** 1 step is as declared."), "{text}");
        assert!(!text.contains("<code>it</code>"), "{text}");
    }
}
