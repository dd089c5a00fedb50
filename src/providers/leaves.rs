//! The differences between two documents, as paths of fields.

use serde_json::Value;

/// One field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where, such as `spec.replicas`.
    pub path: String,
    /// The live value; `null` when there is none.
    pub before: Value,
    /// The value that it gets; `null` when it goes.
    pub after: Value,
}

/// All differences between two documents. What is empty is as good as absent; lists differ as a whole.
pub fn between(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk("", before, after, &mut found);
    found
}

fn walk(path: &str, before: &Value, after: &Value, found: &mut Vec<Difference>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before {
                walk(&below(path, name), value, after.get(name).unwrap_or(&Value::Null), found);
            }
            for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
                walk(&below(path, name), &Value::Null, value, found);
            }
        }
        // A map that comes or goes, field by field.
        (Value::Null, Value::Object(fields)) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| walk(&below(path, name), &Value::Null, value, found));
        }
        (Value::Object(fields), Value::Null) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| walk(&below(path, name), value, &Value::Null, found));
        }
        (Value::Null, value) | (value, Value::Null) if is_empty(value) => {}
        _ => found.push(Difference { path: path.to_owned(), before: before.clone(), after: after.clone() }),
    }
}

/// Whether a value says nothing.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

/// The path of a field below another.
pub fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
