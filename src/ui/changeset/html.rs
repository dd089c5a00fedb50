//! A changeset as one self-contained page that opens no connections.
//!
//! All text is escaped by the template engine. The page's policy allows the one style sheet and the
//! one script that are in it, by their hashes, and no connection at all.

use std::collections::HashMap;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::lacking::sentence;
use super::{access, svg};
use crate::changeset::{Action, Elsewhere, PlanIdentity, StepChange};
use crate::destination::value_text;
use crate::review::{Content, Field, Item, Review, Sign, counted, sign};
use crate::ui::page;
use crate::visible::sanitize;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Up to so many steps that change are open from the start.
const OPEN: usize = 12;

/// The values that the template shows.
#[derive(Serialize)]
struct Page<'a> {
    policy: String,
    style: &'static str,
    script: &'static str,
    plan: &'a PlanIdentity,
    place: Option<&'a str>,
    part: Option<String>,
    quiet: bool,
    total: usize,
    counts: Vec<Count>,
    severities: String,
    risks: Vec<ShownRisk<'a>>,
    destinations: Vec<ShownDestination>,
    access: Vec<(&'static str, String)>,
    remark: Option<String>,
    drawing: Option<svg::Drawing>,
    kinds: Vec<&'a str>,
    /// How many steps are like others before them.
    alike: usize,
    prunes: bool,
    undeclared: &'a [StepChange],
    elsewhere: Vec<String>,
    lacking: Vec<(&'a str, String)>,
    groups: Vec<ShownGroup<'a>>,
}

/// Characters up to which an old and a new value stand beside each other.
const ONE_LINE: usize = 80;

/// A changeset as an HTML page.
///
/// # Panics
/// Never: the template and what is given to it are part of the program, and tested.
pub fn render(review: &Review) -> String {
    let mut engine = Environment::new();
    engine.set_auto_escape_callback(|_| AutoEscape::Html);
    let summary = &review.changeset.summary;
    let mut kinds: Vec<&str> = review.changeset.steps.iter().map(|step| step.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let steps = review.changeset.steps.iter().enumerate();
    let numbers: Numbers = steps.map(|(number, step)| (step.id.as_str(), number)).collect();
    let items = review.groups.iter().flat_map(|group| &group.items);
    let abridged = items.filter(|item| item.is_abridged());
    let page = Page {
        policy: page::policy(SCRIPT, STYLE),
        style: STYLE,
        script: SCRIPT,
        plan: &review.changeset.plan,
        place: review.place.as_deref(),
        part: review.changeset.part().as_deref().map(sanitize),
        quiet: summary.writing() + summary.stuck() == 0,
        total: review.changeset.steps.len(),
        counts: counts(review),
        severities: severities(review),
        risks: risks(review, &numbers),
        destinations: destinations(review),
        access: access_changes(review),
        remark: review.destinations_remark(),
        drawing: svg::draw(review, &numbers),
        kinds,
        alike: abridged.map(|item| item.others.len()).sum(),
        prunes: review.changeset.undeclared.iter().any(|step| step.action == Action::Delete),
        undeclared: &review.changeset.undeclared,
        elsewhere: review.changeset.elsewhere.iter().map(Elsewhere::describe).collect(),
        lacking: review.changeset.lacking.iter().map(|one| (one.step.as_str(), sentence(one))).collect(),
        groups: groups(review, &numbers),
    };
    let page = engine.render_str(PAGE, Serde(&page));
    page.unwrap_or_else(|error| unreachable!("the page's template: {error}"))
}

/// The position of each step in the changeset, by which it is linked to.
pub(super) type Numbers<'a> = HashMap<&'a str, usize>;

#[derive(Serialize)]
struct Count {
    action: &'static str,
    sign: &'static str,
    number: String,
    words: String,
}

fn counts(review: &Review) -> Vec<Count> {
    let split = |(action, told): (Action, String)| {
        let (number, words) = told.split_once(' ').unwrap_or((&told, ""));
        Count {
            action: action.name(),
            sign: sign(action),
            number: number.to_owned(),
            words: words.to_owned(),
        }
    };
    counted(&review.changeset.summary).into_iter().map(split).collect()
}

fn severities(review: &Review) -> String {
    let told =
        review.severities().into_iter().map(|(severity, count)| format!("{count} {}", severity.name()));
    told.collect::<Vec<_>>().join(", ")
}

#[derive(Serialize)]
struct ShownRisk<'a> {
    severity: &'static str,
    step: &'a str,
    /// Its place in the page; a destination is not a step.
    number: Option<usize>,
    message: &'a str,
    more: usize,
}

#[derive(Serialize)]
struct ShownDestination {
    name: String,
    values: Vec<String>,
    before: Option<String>,
}

fn destinations(review: &Review) -> Vec<ShownDestination> {
    let shown = review.destinations().into_iter().map(|one| ShownDestination {
        name: sanitize(&one.name),
        values: one.values.iter().map(|value| sanitize(value)).collect(),
        before: one.before.as_ref().map(|before| sanitize(&value_text(before))),
    });
    shown.collect()
}

/// Who gains or loses what: the sign, and the line.
fn access_changes(review: &Review) -> Vec<(&'static str, String)> {
    let unknown = review.changeset.access_not_compared.then(|| ("?", access::NOT_COMPARED.to_owned()));
    let all = review.changeset.access_changes.iter();
    let all = all.map(|one| (access::sign(one.change).0, sanitize(&one.line())));
    unknown.into_iter().chain(all).collect()
}

fn risks<'a>(review: &'a Review, numbers: &Numbers) -> Vec<ShownRisk<'a>> {
    let shown = review.risks_by_words().into_iter().map(|(risk, steps)| ShownRisk {
        severity: risk.severity.name(),
        step: &risk.step,
        number: numbers.get(risk.step.as_str()).copied(),
        message: &risk.message,
        more: steps.len() - 1,
    });
    shown.collect()
}

fn number_of(numbers: &Numbers, id: &str) -> usize {
    numbers.get(id).copied().unwrap_or_default()
}

#[derive(Serialize)]
struct ShownGroup<'a> {
    title: &'a str,
    counts: Vec<String>,
    steps: Vec<ShownStep<'a>>,
}

#[derive(Serialize)]
struct ShownStep<'a> {
    number: usize,
    id: String,
    kind: &'a str,
    name: Option<String>,
    action: &'static str,
    sign: &'static str,
    open: bool,
    reason: Option<String>,
    stuck: bool,
    fields: Vec<ShownField>,
    risks: Vec<(&'a str, &'a str)>,
    needs: Vec<(usize, &'a str)>,
    /// How many steps that are like it follow.
    more: usize,
    /// It is like one before it, and shown when it is looked for.
    alike: bool,
}

#[derive(Serialize)]
struct ShownField {
    path: String,
    note: Option<String>,
    form: &'static str,
    before: Option<String>,
    after: Option<String>,
    lines: Vec<(&'static str, String)>,
}

/// All steps, the repeated ones too: the page can be searched.
fn groups<'a>(review: &'a Review, numbers: &Numbers) -> Vec<ShownGroup<'a>> {
    let few = review.changeset.summary.writing() + review.changeset.summary.stuck() <= OPEN;
    let mut risks: HashMap<&str, Vec<(&str, &str)>> = HashMap::new();
    for risk in &review.risks {
        risks.entry(&risk.step).or_default().push((risk.severity.name(), &risk.message));
    }
    let shown = review.groups.iter().map(|group| {
        let of_item = |item: &'a Item<'a>| {
            let shown = |step| shown_step(step, &risks, numbers, few);
            let mut steps: Vec<ShownStep> =
                std::iter::once(item.step).chain(item.others.iter().copied()).map(shown).collect();
            if item.is_abridged() {
                steps[0].more = item.others.len();
                for step in &mut steps[1..] {
                    step.alike = true;
                }
            }
            steps
        };
        ShownGroup {
            title: &group.title,
            counts: counted(&group.counts).into_iter().map(|(_, words)| words).collect(),
            steps: group.items.iter().flat_map(of_item).collect(),
        }
    });
    shown.collect()
}

fn shown_step<'a>(
    step: &'a StepChange,
    risks: &HashMap<&str, Vec<(&'a str, &'a str)>>,
    numbers: &Numbers,
    few: bool,
) -> ShownStep<'a> {
    let stuck = matches!(step.action, Action::Blocked | Action::Deferred);
    ShownStep {
        number: number_of(numbers, &step.id),
        id: sanitize(&step.id),
        kind: step.kind,
        name: (step.name != step.id).then(|| sanitize(&step.name)),
        action: step.action.name(),
        sign: sign(step.action),
        open: step.action != Action::None && (few || step.action != Action::Create),
        reason: step.reason.as_deref().map(sanitize),
        stuck,
        fields: crate::review::fields(step).into_iter().map(shown_field).collect(),
        risks: risks.get(step.id.as_str()).cloned().unwrap_or_default(),
        needs: step.needs.iter().map(|need| (number_of(numbers, need), need.as_str())).collect(),
        more: 0,
        alike: false,
    }
}

fn shown_field(field: Field) -> ShownField {
    let mut shown = ShownField {
        path: field.path,
        note: field.note,
        form: "set",
        before: None,
        after: None,
        lines: Vec::new(),
    };
    match field.content {
        Content::Set(value) => shown.after = Some(value),
        Content::Changed(before, after) => {
            let length = |side: &Option<String>| side.as_ref().map_or(0, |text| text.chars().count());
            shown.form = if length(&before) + length(&after) > ONE_LINE { "stacked" } else { "changed" };
            (shown.before, shown.after) = (before, after);
        }
        Content::Secret(_, words) => (shown.form, shown.after) = ("secret", Some(words)),
        Content::Text(lines) => {
            shown.form = "lines";
            shown.lines = lines.into_iter().map(|line| ("plain", line)).collect();
        }
        Content::Lines(lines) => {
            shown.form = "lines";
            let class = |sign| match sign {
                Sign::Same => "same",
                Sign::Added => "added",
                Sign::Removed => "removed",
                Sign::Remark => "remark",
            };
            shown.lines = lines.into_iter().map(|line| (class(line.sign), line.text)).collect();
        }
    }
    shown
}
