//! Declared fields as changes from nothing.

use serde_json::Value;

use super::Diff;
use crate::secret::{SECRET_KEY, SecretChange};

/// The leaves of a value as changes from nothing; a secret's source becomes a sensitive one.
/// Undeclared defaults that do not enable anything (empty, false, zero) are omitted. A policy
/// document stays whole.
pub(super) fn flatten(diff: &mut Diff, path: &str, value: &Value, declared: Option<&Value>) {
    match value {
        Value::Object(fields) if fields.contains_key("Statement") => {
            diff.push(path, Value::Null, value.clone());
        }
        Value::Object(fields) => match fields.get(SECRET_KEY).and_then(Value::as_str) {
            Some(source) => {
                diff.secret(path, SecretChange::New, Some(source.to_owned()));
            }
            None => {
                for (key, value) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    flatten(diff, &path, value, declared.and_then(|declared| declared.get(key)));
                }
            }
        },
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                flatten(
                    diff,
                    &format!("{path}[{index}]"),
                    item,
                    declared.and_then(|declared| declared.get(index)),
                );
            }
        }
        leaf if sets_nothing(leaf, declared) => {}
        leaf => {
            diff.push(path, Value::Null, leaf.clone());
        }
    }
}

fn sets_nothing(leaf: &Value, declared: Option<&Value>) -> bool {
    match leaf {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(false) => declared.is_none(),
        Value::Number(number) => declared.is_none() && number.as_f64() == Some(0.0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preview_lists_leaves_and_hides_secrets() {
        let mut diff = Diff::none();
        let fields =
            serde_json::json!({ "a": { "b": 1 }, "c": null, "d": { "$secret": "env X" }, "e": ["x"] });
        flatten(&mut diff, "", &fields, None);
        let paths: Vec<_> =
            diff.changes.iter().map(|change| (change.path.as_str(), change.sensitive)).collect();
        assert_eq!(paths, [("a.b", false), ("d", true), ("e", false)]);
    }
}
