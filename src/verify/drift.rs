//! Whether a step is as declared.

use serde_json::Value;

use crate::changeset::{Action, StepChange};
use crate::observe::ObservedPlan;
use crate::proof::Finding;
use crate::resource::Change;
use crate::visible::first_few;

/// What is tried of each step.
pub const AS_DECLARED: &str = "is as declared";

/// How many differing fields a finding names.
const SHOWN: usize = 6;

/// How much of a value a finding shows.
const LENGTH: usize = 400;

/// What is found by comparing a step with its live thing.
pub(super) fn finding(step: &StepChange, world: &ObservedPlan) -> Finding {
    let name = &world.resolved.document.name;
    let reason = || step.reason.clone().unwrap_or_default();
    match step.action {
        Action::None => Finding::proven(&step.id, AS_DECLARED),
        Action::Deferred => Finding::untried(&step.id, AS_DECLARED, reason()),
        Action::Create => {
            let expected = format!("{} exists", step.name);
            let advice = format!("find out who removed it; `groundwork apply` of {name} makes it again");
            Finding::failed(&step.id, AS_DECLARED, expected, "it does not exist", advice)
        }
        Action::Blocked => {
            let (expected, seen) = sides(&step.changes);
            let expected = if expected.is_empty() { AS_DECLARED.to_owned() } else { expected };
            let seen = if seen.is_empty() { reason() } else { seen };
            Finding::failed(&step.id, AS_DECLARED, expected, seen, reason())
        }
        Action::Update | Action::Adopt | Action::Replace | Action::Delete => {
            let (expected, seen) = sides(&step.changes);
            let advice = format!(
                "find out who changed it; `groundwork plan` of {name} shows the difference, `apply` sets it back"
            );
            Finding::failed(&step.id, AS_DECLARED, expected, seen, advice)
        }
    }
}

/// The declared and the live values of fields that differ.
fn sides(changes: &[Change]) -> (String, String) {
    let side = |value: fn(&Change) -> &Value, secret: &str| {
        let told = changes.iter().map(|change| match change.sensitive {
            true => format!("{} {secret}", change.path),
            false => format!("{} = {}", change.path, text(value(change))),
        });
        first_few(told, SHOWN, "; ")
    };
    (
        side(|change| &change.after, "has its value"),
        side(|change| &change.before, "has another value, or none"),
    )
}

fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(path: &str, before: Value, after: Value, sensitive: bool) -> Change {
        Change { path: path.to_owned(), before, after, sensitive, ..Change::default() }
    }

    #[test]
    fn both_sides_name_each_field_and_no_secret() {
        let changes = [
            change("ttl", json!(7200), json!(3600), false),
            change("rules", json!("a {\n  b\n}\n"), Value::Null, false),
            change("data.password", Value::Null, Value::Null, true),
        ];
        let (expected, seen) = sides(&changes);
        assert_eq!(expected, "ttl = 3600; rules = nothing; data.password has its value");
        assert_eq!(seen, "ttl = 7200; rules = a { b }; data.password has another value, or none");
    }

    #[test]
    fn long_lists_and_values_are_cut() {
        let long = "ä".repeat(LENGTH + 1);
        let changes: Vec<Change> =
            (0..SHOWN + 2).map(|index| change(&format!("f{index}"), json!(long), json!(1), false)).collect();
        let (expected, seen) = sides(&changes);
        assert!(expected.ends_with("; 2 more"), "{expected}");
        assert!(seen.starts_with(&format!("f0 = {} …; f1", "ä".repeat(LENGTH))), "{seen}");
    }
}
