//! The differences between objects, as paths of fields.
//!
//! An apply merges: what it does not name stays, unless this plan named it before. Which fields those are
//! is in the object itself, under `metadata.managedFields`:
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.

use serde_json::{Map, Value};

use crate::providers::leaves::{self, is_empty};
pub use crate::providers::leaves::{Difference, below};

/// Fields that the server keeps about an object; no plan declares them.
const OF_THE_SERVER: [&str; 6] =
    ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"];

/// All differences between two forms of an object, but for what the server keeps about it and its status.
pub fn between(before: &Value, after: &Value) -> Vec<Difference> {
    leaves::between(&declarable(before), &declarable(after))
}

fn declarable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !OF_THE_SERVER.contains(&name.as_str()));
    }
    object
}

/// The certain changes of an apply of `declared`, as far as they can be seen without asking the server:
/// declared fields that differ, and fields that this manager has and no longer declares. A value that the server
/// keeps in another notation counts as different.
pub fn declared(declared: &Value, live: &Value, manager: &str) -> Vec<Difference> {
    let mut found = Vec::new();
    subset("", declared, live, &mut found);
    if let Some(fields) = managed(live, manager) {
        given_up("", fields, declared, live, &mut found);
    }
    found.retain(|one| !is_empty(&one.before) || !is_empty(&one.after));
    found
}

fn subset(path: &str, declared: &Value, live: &Value, found: &mut Vec<Difference>) {
    match (declared, live) {
        (Value::Object(declared), Value::Object(live)) => {
            for (name, value) in declared {
                subset(&below(path, name), value, live.get(name).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Object(declared), Value::Null) if !declared.is_empty() => {
            declared.iter().for_each(|(name, value)| subset(&below(path, name), value, &Value::Null, found));
        }
        (Value::Array(wanted), Value::Array(is)) if wanted.len() == is.len() => {
            let mut inside = Vec::new();
            wanted.iter().zip(is).for_each(|(wanted, is)| subset("", wanted, is, &mut inside));
            if !inside.is_empty() {
                found.push(difference(path, live, declared));
            }
        }
        (declared, live) if declared == live => {}
        _ => found.push(difference(path, live, declared)),
    }
}

fn difference(path: &str, before: &Value, after: &Value) -> Difference {
    Difference { path: path.to_owned(), before: before.clone(), after: after.clone() }
}

/// The fields that a manager has applied.
fn managed<'a>(live: &'a Value, manager: &str) -> Option<&'a Map<String, Value>> {
    let entries = live["metadata"]["managedFields"].as_array()?;
    let is_ours = |entry: &&Value| {
        entry["manager"] == manager && entry["operation"] == "Apply" && entry.get("subresource").is_none()
    };
    entries.iter().find(is_ours)?["fieldsV1"].as_object()
}

/// Fields of this manager that are live and no longer declared. Items of lists are left to the comparison of
/// the list as a whole.
fn given_up(
    path: &str,
    fields: &Map<String, Value>,
    declared: &Value,
    live: &Value,
    found: &mut Vec<Difference>,
) {
    for (key, inner) in fields {
        let Some(name) = key.strip_prefix("f:") else { continue };
        let (declared, live) =
            (declared.get(name).unwrap_or(&Value::Null), live.get(name).unwrap_or(&Value::Null));
        let path = below(path, name);
        let inner = inner.as_object().filter(|inner| inner.keys().any(|key| key.starts_with("f:")));
        match inner {
            Some(inner) => given_up(&path, inner, declared, live, found),
            None if declared.is_null() && !live.is_null() => {
                found.push(difference(&path, live, &Value::Null));
            }
            None => {}
        }
    }
}

/// The names of a map's entries that this manager has, such as those of `data`.
pub fn managed_names(live: &Value, manager: &str, field: &str) -> Vec<String> {
    let fields = managed(live, manager).and_then(|fields| fields.get(&format!("f:{field}"))?.as_object());
    let names = fields.into_iter().flat_map(Map::keys).filter_map(|key| key.strip_prefix("f:"));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(found: &[Difference]) -> Vec<&str> {
        found.iter().map(|one| one.path.as_str()).collect()
    }

    #[test]
    fn fields_of_the_server_are_no_difference() {
        let before =
            json!({ "metadata": { "name": "x", "uid": "1", "managedFields": [] }, "status": { "a": 1 } });
        let after = json!({ "metadata": { "name": "x", "labels": { "a": "b" } } });
        assert_eq!(paths(&between(&before, &after)), ["metadata.labels.a"]);
        assert!(between(&json!({ "data": {} }), &json!({})).is_empty());
    }

    #[test]
    fn undeclared_fields_of_others_are_no_difference() {
        let live = json!({ "data": { "a": "1", "theirs": "2" }, "metadata": { "managedFields": [
            { "manager": "us", "operation": "Apply", "fieldsV1": { "f:data": { "f:a": {}, "f:gone": {} } } },
            { "manager": "them", "operation": "Update", "fieldsV1": { "f:data": { "f:theirs": {} } } },
        ] } });
        assert!(declared(&json!({ "data": { "a": "1" } }), &live, "us").is_empty());
        assert_eq!(paths(&declared(&json!({ "data": { "a": "2" } }), &live, "us")), ["data.a"]);
    }

    #[test]
    fn field_that_is_no_longer_declared_goes() {
        let live = json!({ "data": { "a": "1", "b": "2" }, "metadata": { "managedFields": [
            { "manager": "us", "operation": "Apply", "fieldsV1": { "f:data": { ".": {}, "f:a": {}, "f:b": {} } } },
        ] } });
        let found = declared(&json!({ "data": { "a": "1" } }), &live, "us");
        assert_eq!(found, [difference("data.b", &json!("2"), &Value::Null)]);
        assert_eq!(managed_names(&live, "us", "data"), ["a", "b"]);
        assert_eq!(paths(&declared(&json!({}), &live, "us")), ["data.a", "data.b"]);
    }

    #[test]
    fn defaults_inside_of_list_items_are_no_difference() {
        let live = json!({ "rules": [{ "verbs": ["get"], "apiGroups": [""] }] });
        assert!(declared(&json!({ "rules": [{ "verbs": ["get"] }] }), &live, "us").is_empty());
        assert_eq!(paths(&declared(&json!({ "rules": [{ "verbs": ["list"] }] }), &live, "us")), ["rules"]);
        assert_eq!(paths(&declared(&json!({ "rules": [] }), &live, "us")), ["rules"]);
    }
}
