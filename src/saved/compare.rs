//! Finds the differences between a reviewed changeset and the current one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use super::content::{Content, Identities, PlanRecord, StepRecord};
use crate::destination::Destinations;
use crate::place::Realm;
use crate::visible::sanitize;

/// The number of characters shown of a value.
const SHOWN: usize = 60;

/// One difference from the reviewed changeset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The subject: `step state_bucket`, `plan`, `where `aws` is`.
    pub subject: String,
    /// The differing part of it: `versioning`, `file quickstart.yaml`; may be empty.
    pub what: String,
    /// The reviewed value.
    pub expected: String,
    /// The current value.
    pub found: String,
}

impl Difference {
    fn new(subject: &str, what: &str, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        let (expected, found) = (sanitize(&expected.to_string()), sanitize(&found.to_string()));
        Self { subject: sanitize(subject), what: sanitize(what), expected, found }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, what, expected, found } = self;
        let colon = if what.is_empty() { "" } else { ": " };
        write!(f, "{subject}{colon}{what}: expected {expected}, is {found}")
    }
}

impl PlanRecord {
    /// The differences in the plan's files, name, commit and digest.
    pub fn differences(&self, now: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let names: BTreeSet<&String> = self.files.keys().chain(now.files.keys()).collect();
        for name in names {
            match (self.files.get(name), now.files.get(name)) {
                (Some(before), Some(after)) if before != after => {
                    found.push(Difference::new("plan", name, "the text that was reviewed", "another text"));
                }
                (Some(_), None) => found.push(Difference::new("plan", name, "a part of the plan", "none")),
                (None, Some(_)) => found.push(Difference::new("plan", name, "no part of the plan", "one")),
                _ => {}
            }
        }
        if self.name != now.name {
            found.push(Difference::new("plan", "name", &self.name, &now.name));
        }
        if self.commit != now.commit {
            let commit = |plan: &Self| plan.commit.clone().unwrap_or_else(|| "none".to_owned());
            found.push(Difference::new("plan", "commit", commit(self), commit(now)));
        }
        if found.is_empty() && self.digest != now.digest {
            found.push(Difference::new("plan", "digest", &self.digest, &now.digest));
        }
        found
    }
}

/// All differences between `saved` and `now`.
pub fn differences(saved: &Content, now: &Content) -> Vec<Difference> {
    let mut found = saved.plan.differences(&now.plan);
    let is_another_plan = !found.is_empty();
    identities(&saved.identities, &now.identities, &mut found);
    if is_another_plan || are_others(&saved.identities, &now.identities) {
        // Everything else differs too.
        return found;
    }
    destinations(&saved.destinations, &now.destinations, &mut found);
    let by_id = |content| -> BTreeMap<String, StepRecord> {
        let Content { steps, .. }: &Content = content;
        steps.iter().map(|step| (id_of(step), step.clone())).collect()
    };
    let (before, after) = (by_id(saved), by_id(now));
    for step in saved.steps.iter().map(id_of) {
        match after.get(&step) {
            now if is_of_other_machine(&before[&step], now) => {}
            Some(now) => compare_step(&step, &before[&step], now, &mut found),
            None => found.push(Difference::new(&subject(&step), "", "a part of the changes", "none")),
        }
    }
    for step in now.steps.iter().map(id_of).filter(|step| !before.contains_key(step)) {
        found.push(Difference::new(&subject(&step), "", "no part of the changes", "one"));
    }
    found
}

/// Whether these are other systems. A cluster that has an id only now may be the same one.
fn are_others(saved: &Identities, now: &Identities) -> bool {
    let (saved, now) = (saved.realms(), now.realms());
    let mut names = saved.keys().chain(now.keys());
    names.any(|name| match (saved.get(name), now.get(name)) {
        (Some(before), Some(after)) => before.conflicts(after),
        _ => true,
    })
}

fn identities(saved: &Identities, now: &Identities, found: &mut Vec<Difference>) {
    let is_older = matches!(saved, Identities::Older(_));
    let (saved, now) = (saved.realms(), now.realms());
    let names: BTreeSet<&String> = saved.keys().chain(now.keys()).collect();
    for name in names {
        let differs = match (saved.get(name), now.get(name)) {
            // Older versions recorded fewer parts.
            (Some(before), Some(after)) if is_older => before.exceeds(after),
            (before, after) => before != after,
        };
        let text = |realms: &BTreeMap<String, Realm>| match realms.get(name) {
            Some(realm) if !realm.is_unknown() => realm.to_string(),
            _ => "not known".to_owned(),
        };
        if differs {
            found.push(Difference::new(&format!("where `{name}` is"), "", text(&saved), text(&now)));
        }
    }
}

fn destinations(saved: &Destinations, now: &Destinations, found: &mut Vec<Difference>) {
    let names: BTreeSet<&String> = saved.keys().chain(now.keys()).collect();
    for name in names.into_iter().filter(|name| saved.get(*name) != now.get(*name)) {
        let values =
            |all: &Destinations| all.get(name).map_or_else(|| "none".to_owned(), |all| all.join(", "));
        found.push(Difference::new("where this goes", name, values(saved), values(now)));
    }
}

/// Whether a file of the machine that planned is absent here: a fresh clone does not have what a plan renders.
/// What is written is decided by the plan, its templates and the outputs of other steps, and these are compared.
fn is_of_other_machine(saved: &StepRecord, now: Option<&StepRecord>) -> bool {
    let is_absent = now.is_none_or(|now| now.observed.local && now.observed.state == "absent");
    saved.observed.local && saved.observed.state == "present" && is_absent
}

fn id_of(step: &StepRecord) -> String {
    step.change.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn subject(step: &str) -> String {
    format!("step {step}")
}

fn compare_step(id: &str, saved: &StepRecord, now: &StepRecord, found: &mut Vec<Difference>) {
    if saved == now {
        return;
    }
    let subject = subject(id);
    if saved.observed.state != now.observed.state {
        // All other differences follow from that.
        found.push(Difference::new(&subject, "state", &saved.observed.state, &now.observed.state));
        return;
    }
    let count = found.len();
    let mut note = |what: &str, before: &str, after: &str| {
        if before != after {
            found.push(Difference::new(&subject, what, before, after));
        }
    };
    note("action", &brief(saved.change.get("action")), &brief(now.change.get("action")));
    note("belongs to", &text_or_nobody(saved), &text_or_nobody(now));
    for (path, before, after) in changed_fields(&saved.change, &now.change) {
        note(&path, &before, &after);
    }
    for (name, before, after) in pairs(&saved.observed.outputs, &now.observed.outputs) {
        note(&format!("output {name}"), &brief(before), &brief(after));
    }
    let revision = |step: &StepRecord| step.observed.revision.clone().unwrap_or_else(|| "none".to_owned());
    note("last written", &revision(saved), &revision(now));
    for (key, before, after) in pairs(&saved.change, &now.change) {
        match key.as_str() {
            "action" | "changes" => {}
            "unchanged" => note("secrets that stay", &paths(before), &paths(after)),
            key => note(key, &brief(before), &brief(after)),
        }
    }
    if found.len() == count {
        let (before, after) = (&saved.observed.fingerprint, &now.observed.fingerprint);
        found.push(Difference::new(&subject, "fingerprint", before, after));
    }
}

fn text_or_nobody(step: &StepRecord) -> String {
    step.observed.owner.clone().unwrap_or_else(|| "no plan".to_owned())
}

/// The paths at which two lists of changes differ, with the live values of both.
fn changed_fields(saved: &Map<String, Value>, now: &Map<String, Value>) -> Vec<(String, String, String)> {
    let by_path = |change: &Map<String, Value>| -> BTreeMap<String, Value> {
        let changes = change.get("changes").and_then(Value::as_array);
        let path = |change: &Value| change["path"].as_str().unwrap_or_default().to_owned();
        changes.into_iter().flatten().map(|change| (path(change), change.clone())).collect()
    };
    let (before, after) = (by_path(saved), by_path(now));
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| {
            let (told, tells) = (before.get(path), after.get(path));
            let side = if told.map(|one| &one["before"]) == tells.map(|one| &one["before"]) {
                "after"
            } else {
                "before"
            };
            (path.clone(), describe(told, side), describe(tells, side))
        })
        .collect()
}

/// A description of a change's live or declared value.
fn describe(change: Option<&Value>, side: &str) -> String {
    match change {
        None => "as declared".to_owned(),
        Some(change) if change["sensitive"] == true => {
            let about = ["secret", "source", "note"].iter().filter_map(|key| change[*key].as_str());
            let about: Vec<&str> = about.collect();
            if about.is_empty() {
                "(sensitive)".to_owned()
            } else {
                format!("(sensitive, {})", about.join(": "))
            }
        }
        Some(change) => brief(Some(&change[side])),
    }
}

type Pair<'a> = (&'a String, Option<&'a Value>, Option<&'a Value>);

/// The values of two maps that differ.
fn pairs<'a>(before: &'a Map<String, Value>, after: &'a Map<String, Value>) -> Vec<Pair<'a>> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let both = keys.into_iter().map(|key| (key, before.get(key), after.get(key)));
    both.filter(|(_, before, after)| before != after).collect()
}

/// The paths of a list of fields.
fn paths(fields: Option<&Value>) -> String {
    let fields = fields.and_then(Value::as_array).into_iter().flatten();
    let paths: Vec<&str> = fields.filter_map(|field| field["path"].as_str()).collect();
    if paths.is_empty() { "none".to_owned() } else { paths.join(", ") }
}

/// A value on one short line.
fn brief(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
