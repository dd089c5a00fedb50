//! Steps that change in the same way are shown once.
//!
//! Two steps are alike when everything shown of them is the same except for a name: the key of a
//! repeated step, `payments` of `policies[payments]`, or the differing part of the ids of steps that
//! are written out, `payments` of `payments_policy`. Numbers, booleans and other texts must be equal.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::name::{self, written_with_place};
use crate::changeset::{Action, StepChange};

/// How many instances of a `for_each` must be alike before they are shown as one.
const INSTANCES: usize = 3;
/// How many steps that are written out must be alike: a few are easier to read one by one.
pub const WRITTEN_OUT: usize = 10;

/// The key of a repeated step, `payments` of `policies[payments]`.
pub fn key(id: &str) -> Option<&str> {
    id.split_once('[')?.1.strip_suffix(']')
}

/// The part of a repeated step's id before the key, `policies` of `policies[payments]`.
pub fn base(id: &str) -> Option<&str> {
    key(id).and(id.split('[').next())
}

/// A step, and the others that it stands for.
pub type Folded<'a> = (&'a StepChange, Vec<&'a StepChange>);

/// The steps in their order, each with the later steps that are like it. Steps for which `is_apart`
/// returns true, deletions and blocked steps are never folded.
pub fn fold<'a>(steps: &[&'a StepChange], is_apart: &dyn Fn(&StepChange) -> bool) -> Vec<Folded<'a>> {
    let ways = ways(steps, is_apart);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut is_folded = vec![false; steps.len()];
    for rank in 0..ways.iter().map(Vec::len).max().unwrap_or_default() {
        let mut alike: HashMap<String, Vec<usize>> = HashMap::new();
        for index in (0..steps.len()).filter(|index| !is_folded[*index]) {
            if let Some(way) = ways[index].get(rank) {
                alike.entry(shape(steps[index], way)).or_default().push(index);
            }
        }
        for members in alike.into_values().filter(|members| members.len() >= enough(steps[members[0]])) {
            for member in &members {
                is_folded[*member] = true;
            }
            groups.push(members);
        }
    }
    groups.sort_unstable();
    let has_name = |index: &usize| ways[*index].iter().any(|way| matches!(way, Way::Name(_)));
    let candidate = |index: usize| Candidate { index, ways: &ways[index], shown: shown(steps[index]) };
    let left = (0..steps.len()).filter(|index| !is_folded[*index]).filter(has_name);
    let mut left: Vec<Candidate> = left.map(candidate).collect();
    for members in &mut groups {
        let first = candidate(members[0]);
        let (like, unlike) = left.into_iter().partition(|candidate| candidate.is_like(&first));
        let like: Vec<Candidate> = like;
        members.extend(like.iter().map(|candidate| candidate.index));
        for candidate in &like {
            is_folded[candidate.index] = true;
        }
        members.sort_unstable();
        left = unlike;
    }
    let others: HashMap<usize, &[usize]> = groups.iter().map(|members| (members[0], &members[1..])).collect();
    let stands_for_itself = |index: &usize| !is_folded[*index] || others.contains_key(index);
    (0..steps.len())
        .filter(stands_for_itself)
        .map(|index| {
            let others = others.get(&index).copied().unwrap_or_default();
            (steps[index], others.iter().map(|other| steps[*other]).collect())
        })
        .collect()
}

/// A step with everything that is shown of it.
struct Candidate<'a> {
    index: usize,
    ways: &'a [Way<'a>],
    shown: Value,
}

impl Candidate<'_> {
    /// Whether it is like another one, although its name also occurs as a value, such as `0644`.
    fn is_like(&self, first: &Self) -> bool {
        let mut ways = self.ways.iter().zip(first.ways);
        ways.any(|pair| match pair {
            (Way::Name(name), Way::Name(first_name)) => {
                same_but_for((&self.shown, name), (&first.shown, first_name))
            }
            _ => false,
        })
    }
}

/// Whether two values are equal but for the names, text by text.
fn same_but_for((one, name): (&Value, &str), (other, other_name): (&Value, &str)) -> bool {
    let same_text = |one: &str, other: &str| {
        one == other || written_with_place(one, name) == written_with_place(other, other_name)
    };
    match (one, other) {
        (Value::String(one), Value::String(other)) => same_text(one, other),
        (Value::Array(one), Value::Array(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len()
                && pairs.all(|(one, other)| same_but_for((one, name), (other, other_name)))
        }
        (Value::Object(one), Value::Object(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len()
                && pairs.all(|((key, one), (other_key, other))| {
                    same_text(key, other_key) && same_but_for((one, name), (other, other_name))
                })
        }
        (one, other) => one == other,
    }
}

fn enough(step: &StepChange) -> usize {
    if key(&step.id).is_some() { INSTANCES } else { WRITTEN_OUT }
}

/// The only difference that two alike steps may have.
enum Way<'a> {
    /// This name, at every place where it occurs.
    Name(&'a str),
    /// Their ids and names, which are all that is shown of them.
    Called,
}

/// For each step, the differences by which enough others may be like it, the most frequent first.
fn ways<'a>(steps: &[&'a StepChange], is_apart: &dyn Fn(&StepChange) -> bool) -> Vec<Vec<Way<'a>>> {
    let named: Vec<Vec<(&str, String)>> = steps
        .iter()
        .map(|step| match key(&step.id) {
            _ if !may_fold(step) || is_apart(step) => Vec::new(),
            Some(key) => vec![(key, base(&step.id).unwrap_or_default().to_owned())],
            None => name::candidates(&step.id),
        })
        .collect();
    let mut counts: HashMap<(&str, Action, &str), usize> = HashMap::new();
    for (step, names) in steps.iter().zip(&named) {
        for (_, pattern) in names {
            *counts.entry((step.kind, step.action, pattern)).or_default() += 1;
        }
    }
    let of_step = |(step, names): (&&'a StepChange, &Vec<(&'a str, String)>)| {
        let count = |pattern: &String| counts[&(step.kind, step.action, pattern.as_str())];
        let mut names: Vec<_> = names.iter().filter(|(_, pattern)| count(pattern) >= enough(step)).collect();
        names.sort_by_key(|(_, pattern)| std::cmp::Reverse(count(pattern)));
        let is_bare = step.changes.is_empty() && matches!(step.action, Action::None | Action::Deferred);
        let called = (is_bare && !is_apart(step)).then_some(Way::Called);
        called.into_iter().chain(names.into_iter().map(|(name, _)| Way::Name(name))).collect()
    };
    steps.iter().zip(&named).map(of_step).collect()
}

fn may_fold(step: &StepChange) -> bool {
    !matches!(step.action, Action::Delete | Action::Blocked)
}

/// Everything that is shown of a step, with a placeholder for the allowed difference.
fn shape(step: &StepChange, way: &Way) -> String {
    match way {
        Way::Called => json!([step.kind, step.action, base(&step.id), step.reason]).to_string(),
        Way::Name(name) => placed(shown(step), name).to_string(),
    }
}

/// Everything that is shown of a step.
fn shown(step: &StepChange) -> Value {
    // Leaves out the key of an instance, which is in brackets behind the rest of its id.
    let id = base(&step.id).unwrap_or(&step.id);
    json!([step.kind, step.action, step.reason, id, step.name, step.changes, step.unchanged])
}

fn placed(value: Value, name: &str) -> Value {
    match value {
        Value::String(text) => Value::String(written_with_place(&text, name)),
        Value::Array(items) => items.into_iter().map(|item| placed(item, name)).collect(),
        Value::Object(fields) => {
            let placed =
                |(key, value): (String, Value)| (written_with_place(&key, name), placed(value, name));
            Value::Object(fields.into_iter().map(placed).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::review::testing::step;

    fn told(steps: &[StepChange]) -> Vec<(&str, usize)> {
        let all: Vec<&StepChange> = steps.iter().collect();
        let folded = fold(&all, &|step| step.id.contains("risky"));
        folded.iter().map(|(first, others)| (first.id.as_str(), others.len())).collect()
    }

    /// A policy that is written out, with `value` in its one other field.
    fn policy(name: &str, value: Value) -> StepChange {
        let name = name.to_owned();
        let rule = format!("rules.secret/data/{name}/*");
        let fields = [("name", json!(null), json!(format!("{name}-app"))), (&rule, json!(null), value)];
        step(&format!("{name}_policy"), "vault.policy", "create", &fields)
    }

    #[test]
    fn instances_differing_only_by_key_are_folded() {
        let mut steps: Vec<StepChange> = ["pay", "search", "mail"]
            .iter()
            .map(|key| {
                let name = json!(format!("{key}-app"));
                step(&format!("p[{key}]"), "vault.policy", "create", &[("name", json!(null), name)])
            })
            .collect();
        steps.push(step("p[odd]", "vault.policy", "create", &[("name", json!(null), json!("other"))]));
        steps.push(step("q", "vault.policy", "create", &[]));
        assert_eq!(told(&steps), [("p[pay]", 2), ("p[odd]", 0), ("q", 0)]);
    }

    #[test]
    fn small_groups_of_steps_are_not_folded() {
        let two = [step("p[a]", "vault.policy", "create", &[]), step("p[b]", "vault.policy", "create", &[])];
        assert_eq!(told(&two).len(), 2);
        let nine: Vec<StepChange> =
            (1..=9).map(|number| policy(&format!("team{number}"), json!(["read"]))).collect();
        assert_eq!(told(&nine).len(), 9);
    }

    #[test]
    fn similar_written_out_steps_are_folded_except_outliers() {
        let name = |number: usize| format!("team{number:02}");
        let mut steps: Vec<StepChange> =
            (0..40).map(|number| policy(&name(number), json!(["read"]))).collect();
        steps[17] = policy(&name(17), json!(["read", "update"]));
        steps[20] = policy("risky", json!(["read"]));
        assert_eq!(told(&steps), [("team00_policy", 37), ("team17_policy", 0), ("risky_policy", 0)]);
    }

    #[test]
    fn value_equal_to_name_does_not_prevent_folding() {
        let file = |number: usize| {
            let name = format!("{number:04}");
            let fields =
                [("path", json!(null), json!(format!("out/{name}"))), ("mode", json!(null), json!("0007"))];
            step(&format!("note_{name}"), "file.template", "create", &fields)
        };
        let all: Vec<StepChange> = (7..40).map(file).collect();
        assert_eq!(told(&all), [("note_0007", 32)]);
    }

    #[test]
    fn number_derived_from_name_prevents_folding() {
        let keyed = |number: usize| {
            let ttl = ("token_ttl", json!(null), json!(number * 10));
            step(&format!("role[{number}]"), "vault.approle_role", "create", &[ttl])
        };
        assert_eq!(told(&[keyed(1), keyed(2), keyed(3)]).len(), 3, "ten, twenty and thirty");
        let written: Vec<StepChange> = (10..30)
            .map(|number| {
                policy(&format!("team{number}"), json!({ "capabilities": ["read"], "min": number }))
            })
            .collect();
        assert_eq!(told(&written).len(), 20);
    }

    #[test]
    fn removals_and_blocked_steps_are_never_folded() {
        for action in ["delete", "blocked"] {
            let steps: Vec<StepChange> =
                (0..20).map(|number| step(&format!("p[{number}]"), "vault.policy", action, &[])).collect();
            assert_eq!(told(&steps).len(), 20, "{action}");
        }
    }

    #[test]
    fn steps_without_fields_are_folded_by_reason() {
        let mut steps: Vec<StepChange> =
            ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay"]
                .iter()
                .map(|animal| step(animal, "vault.policy", "deferred", &[]))
                .collect();
        assert_eq!(told(&steps), [("ant", 9)]);
        steps[3].reason = Some("another".to_owned());
        assert_eq!(told(&steps).len(), 10);
    }

    #[test]
    fn instance_id_has_base_and_key() {
        assert_eq!((base("p[a.b]"), key("p[a.b]")), (Some("p"), Some("a.b")));
        assert_eq!((base("p"), key("p")), (None, None));
    }
}
