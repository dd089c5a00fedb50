//! The one place in which markers of unknown values meet what a kind says of its fields. A kind judges every
//! value as if it were known; what it says of an unknown one is dropped here.

use serde_json::Value;

use super::Requirement;
use super::risk::is_at;
use crate::error::FieldError;
use crate::template::unknown::{has_unknown, is_unknown};

/// The mistakes that do not depend on unknown values. `views` are the fields as declared and as the kind reads
/// them, which may have other paths.
pub(super) fn mistakes(mut found: Vec<FieldError>, views: &[Value]) -> Vec<FieldError> {
    if found.is_empty() || !views.iter().any(has_unknown) {
        return found;
    }
    let mut unknown = Vec::new();
    for view in views {
        collect(view, "", &mut unknown);
    }
    found.retain(|mistake| {
        let is_value = |at: &String| is_at(&mistake.path, at);
        let is_read = |at: &String| mistake.reads.iter().any(|read| is_at(read, at) || is_at(at, read));
        !is_unknown(&mistake.path) && !unknown.iter().any(|at| is_value(at) || is_read(at))
    });
    found
}

/// The requirements whose things are known.
pub(super) fn requirements(mut all: Vec<Requirement>) -> Vec<Requirement> {
    all.retain(|one| !matches!(one, Requirement::Thing { id, .. } if is_unknown(id)));
    all
}

/// The paths of the values that have a marker.
fn collect(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if is_unknown(text) => found.push(path.to_owned()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{path}[{index}]"), found);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(value, &at, found);
                if is_unknown(name) {
                    found.push(at);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::unknown::marker;

    fn left(found: Vec<FieldError>, fields: Value) -> Vec<String> {
        mistakes(found, &[fields]).into_iter().map(|mistake| mistake.path).collect()
    }

    #[test]
    fn mistake_of_an_unknown_value_is_dropped() {
        let fields = json!({ "name": marker("a.b"), "list": ["x", marker("a.c")], "map": { "key": "y" } });
        let found = ["name", "name.part", "list[0]", "list[1]", "list", "map.key", "names"];
        let found = found.map(|path| FieldError::new(path, "is wrong")).to_vec();
        assert_eq!(left(found, fields), ["list[0]", "list", "map.key", "names"]);
    }

    #[test]
    fn mistake_that_reads_an_unknown_value_is_dropped() {
        let fields = json!({ "name": "x", "policy": { "Statement": [{ "Resource": marker("a.b") }] } });
        let found = vec![
            FieldError::new("name", "does not fit").reading("policy"),
            FieldError::new("name", "does not fit").reading("policy.Statement[0].Resource"),
            FieldError::new("name", "does not fit").reading("policy.Version"),
            FieldError::new("policy", "is there"),
        ];
        assert_eq!(left(found, fields), ["name", "policy"]);
    }

    #[test]
    fn mistake_of_an_unknown_key_is_dropped() {
        let key = marker("a.b");
        let found =
            vec![FieldError::new(format!("tags.{key}"), "is wrong"), FieldError::new("tags.b", "is wrong")];
        assert_eq!(left(found, json!({ "tags": { key: "x", "b": "y" } })), ["tags.b"]);
    }

    #[test]
    fn requirement_of_an_unknown_thing_is_dropped() {
        let known = [Requirement::thing("a.b", "c"), Requirement::Kind("a.d")];
        let all = known.iter().cloned().chain([Requirement::thing("a.b", marker("x.y"))]).collect();
        assert_eq!(requirements(all), known);
    }
}
