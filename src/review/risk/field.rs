//! Evaluates what a kind says about its fields.

use std::borrow::Cow;

use serde_json::Value;

use super::{Category, Finding, Severity, some};
use crate::changeset::{Action, StepChange};
use crate::resource::Change;
use crate::resource::erased::Kind;
use crate::resource::risk::{FieldChanges, FieldRisk, When, Zero, is_at};
use crate::secret::SecretChange;

/// The risks of a step's fields.
pub(super) fn findings(step: &StepChange, kind: Option<&dyn Kind>) -> Vec<Finding> {
    let is_new = step.action == Action::Create;
    let risks = kind.map(|kind| kind.risks()).unwrap_or_default();
    let risks: Vec<&FieldRisk> = risks.iter().copied().flatten().collect();
    let mut found = Vec::new();
    for change in &step.changes {
        let rules = of_rules(&risks, change, is_new).into_iter();
        // Several changes below one field have the same consequence.
        let new: Vec<Finding> = rules.filter(|finding| !found.contains(finding)).collect();
        found.extend(new);
        found.extend(removed_secret(change));
    }
    for risk in risks {
        let FieldRisk::Analysed { fields, by, .. } = risk else { continue };
        for field in fields.split_whitespace() {
            let at = |change: &&Change| is_at(&change.path, field);
            let changes: Vec<&Change> = step.changes.iter().filter(at).collect();
            if !changes.is_empty() {
                found.extend(by(&FieldChanges { field, changes, is_new }));
            }
        }
    }
    found
}

fn removed_secret(change: &Change) -> Option<Finding> {
    let message = format!("the secret field `{}` is removed", change.path);
    (change.secret == Some(SecretChange::Removed))
        .then(|| Finding::new(Severity::Medium, Category::Destroy, message))
}

/// The finding of the first rule of a field that applies.
fn of_rules(risks: &[&FieldRisk], change: &Change, is_new: bool) -> Vec<Finding> {
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for risk in risks {
        let FieldRisk::Rule(rule) = risk else { continue };
        for field in rule.fields.split_whitespace() {
            if seen.contains(&field) {
                continue;
            }
            let Some(part) = Part::of(change, field) else { continue };
            let Some(detail) = detail(rule.when, &part, is_new) else { continue };
            let message = format!("{}{detail}", rule.consequence.replace("{field}", field));
            found.push(Finding::new(rule.severity, rule.category, message));
            seen.push(field);
        }
    }
    found
}

/// What a change says about a field.
struct Part<'a> {
    before: Cow<'a, Value>,
    after: Cow<'a, Value>,
    /// The name of the part of the field that changes; empty when it is the field as a whole.
    below: String,
    secret: Option<SecretChange>,
}

impl<'a> Part<'a> {
    /// The change of the field, or of a part of it; `None` when the change is about another field.
    fn of(change: &'a Change, field: &str) -> Option<Self> {
        let (path, entry) = without_brackets(&change.path);
        let secret = change.secret;
        if let Some(below) = is_at(&path, field).then(|| &path[field.len()..]) {
            let below = if below.is_empty() { entry } else { below[1..].to_owned() };
            return Some(Self {
                before: Cow::Borrowed(&change.before),
                after: Cow::Borrowed(&change.after),
                below,
                secret,
            });
        }
        let below = is_at(field, &path).then(|| &field[path.len() + 1..])?;
        let (before, after) = (inside(&change.before, below), inside(&change.after, below));
        (before != after).then(|| Self { before, after, below: String::new(), secret })
    }
}

/// A path without what is in brackets, which names an entry of a list; and the last such name.
fn without_brackets(path: &str) -> (String, String) {
    let (mut plain, mut entry) = (String::new(), String::new());
    let mut depth = 0_usize;
    for c in path.chars() {
        match c {
            '[' if depth == 0 => {
                entry.clear();
                depth = 1;
            }
            ']' if depth == 1 => depth = 0,
            c if depth == 0 => plain.push(c),
            c => {
                depth = match c {
                    '[' => depth + 1,
                    ']' => depth - 1,
                    _ => depth,
                };
                entry.push(c);
            }
        }
    }
    (plain, entry)
}

/// The value at a dotted path; of each entry of a list.
fn inside<'a>(value: &'a Value, path: &str) -> Cow<'a, Value> {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let part = match value {
        Value::Array(items) => Cow::Owned(items.iter().map(|item| inside(item, path).into_owned()).collect()),
        value => Cow::Borrowed(value.get(name).unwrap_or(&Value::Null)),
    };
    match (rest, part) {
        ("", part) | (_, part @ Cow::Owned(_)) => part,
        (rest, Cow::Borrowed(part)) => inside(part, rest),
    }
}

/// What to add to the consequence, if the change is the dangerous one.
fn detail(when: When, part: &Part<'_>, is_new: bool) -> Option<String> {
    let (before, after) = (&*part.before, &*part.after);
    let plain = |applies: bool| applies.then(String::new);
    let listed = |entries: Vec<String>| (!entries.is_empty()).then(|| format!(": {}", some(&entries)));
    let values = || format!(" ({} before, {} now)", in_words(before), in_words(after));
    match when {
        When::Off if part.below == "off" => {
            Some(after.as_str().map(|why| format!(" (reason given: {why})")).unwrap_or_default())
        }
        When::Off => plain(*after == false),
        When::On => plain(is_true(after) && !is_true(before)),
        When::Includes(item) => plain(items(after).contains(&item) && !items(before).contains(&item)),
        _ if is_new => None,
        When::TurnedOff => plain(*before == true && *after == false),
        When::TurnedOn => plain(*before == false && *after == true),
        When::Gone => plain(!before.is_null() && after.is_null()),
        When::Unbound => plain(!is_empty(before) && is_empty(after)),
        When::Becomes(dangerous) => {
            let is =
                |value: &Value| value.as_str().is_some_and(|is| dangerous.split(' ').any(|one| one == is));
            plain(is(after) && !is(before))
        }
        When::Replaced => plain(before != after && !is_empty(before) && !is_empty(after)),
        When::Changed => plain(before != after || is_new_secret(part.secret)),
        When::Lowered(zero) => lower(after, before, zero).then(values),
        When::Raised(zero) => lower(before, after, zero).then(values),
        When::Added => listed(new_entries(&part.below, before, after)),
        When::Removed => listed(new_entries(&part.below, after, before)),
        When::Widened => {
            let limits = |value: &Value| !items(value).contains(&"*");
            let is_wider = !is_empty(before) && limits(before) && limits(after);
            is_wider.then(|| new_entries(&part.below, before, after)).and_then(listed)
        }
    }
}

fn is_new_secret(secret: Option<SecretChange>) -> bool {
    matches!(secret, Some(SecretChange::New | SecretChange::Changed | SecretChange::Removed))
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(is_true),
        value => value == true || value == "true",
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn items(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => vec![text],
        _ => Vec::new(),
    }
}

/// Whether the first number is the lower one.
fn lower(one: &Value, other: &Value, zero: Zero) -> bool {
    let number = |value: &Value| match (value, zero) {
        (Value::Null, Zero::Itself) => None,
        (Value::Null, _) => Some(0.0),
        (value, _) => value.as_f64(),
    };
    let meant = |number: f64| match zero {
        Zero::Unlimited if number == 0.0 => f64::INFINITY,
        Zero::Means(usual) if number == 0.0 => f64::from(usual),
        _ => number,
    };
    matches!((number(one), number(other)), (Some(one), Some(other)) if meant(one) < meant(other))
}

/// The names of the entries of `after` that `before` lacks. An entry of a map with another value is another
/// entry. `below` is the entry's name if only one has changed.
fn new_entries(below: &str, before: &Value, after: &Value) -> Vec<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let is_new = |(name, value): &(&String, &Value)| before.get(*name) != Some(*value);
            after.iter().filter(is_new).map(|(name, _)| name.clone()).collect()
        }
        (Value::Array(before), Value::Array(after)) => {
            after.iter().filter(|item| !before.contains(item)).map(name_of).collect()
        }
        (Value::Null, Value::Object(after)) if below.is_empty() => after.keys().cloned().collect(),
        (Value::Null, Value::Array(after)) if below.is_empty() => after.iter().map(name_of).collect(),
        (_, Value::Null) => Vec::new(),
        (before, after) if before == after => Vec::new(),
        (_, after) if below.is_empty() => vec![name_of(after)],
        _ => vec![below.to_owned()],
    }
}

/// How a reader knows an entry of a list.
fn name_of(entry: &Value) -> String {
    let named = ["id", "name", "region", "address"].iter().find_map(|field| entry.get(*field)?.as_str());
    match named.or(entry.as_str()) {
        Some(name) => name.to_owned(),
        None => entry.to_string(),
    }
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => format!("`{text}`"),
        value => value.to_string(),
    }
}
