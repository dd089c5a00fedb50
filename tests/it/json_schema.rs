//! A validator for the part of JSON Schema that the program's own schemas use.
//!
//! Libraries for this would switch on features of dependencies that the program itself builds
//! without, and so have all of them compiled twice. A keyword that is not known here is a failure, so
//! that nothing passes unseen.

use serde_json::Value;

/// What is wrong with `value`, with the place.
pub fn mistakes(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let Value::Object(keywords) = schema else {
        assert!(*schema == true, "unknown schema {schema}");
        return;
    };
    let valid = |schema: &Value| {
        let mut inner = Vec::new();
        check(root, schema, value, place, &mut inner);
        inner.is_empty()
    };
    let list = |keyword: &Value| keyword.as_array().expect("a list").clone();
    let passes = |keyword: &str, expected: &Value| match keyword {
        "type" => match expected {
            Value::Array(types) => types.iter().any(|name| is_of(name, value)),
            name => is_of(name, value),
        },
        "const" => expected == value,
        "enum" => list(expected).contains(value),
        "anyOf" => list(expected).iter().any(valid),
        "oneOf" => list(expected).iter().filter(|schema| valid(schema)).count() == 1,
        "minimum" => value.as_f64().is_none_or(|number| Some(number) >= expected.as_f64()),
        "required" => value.as_object().is_none_or(|fields| {
            list(expected).iter().all(|name| fields.contains_key(name.as_str().expect("a name")))
        }),
        "$ref" | "properties" | "items" | "$schema" | "$defs" | "title" | "description" | "format"
        | "default" => true,
        other => panic!("the keyword `{other}` is not known here"),
    };
    for (keyword, expected) in keywords {
        if !passes(keyword, expected) {
            found.push(format!("{place}: `{keyword}` wants {expected}, found {value}"));
        }
    }
    if let Some(reference) = keywords.get("$ref") {
        let pointer =
            reference.as_str().and_then(|text| text.strip_prefix('#')).expect("a reference in here");
        let target = root.pointer(pointer).unwrap_or_else(|| panic!("nothing at {reference}"));
        check(root, target, value, place, found);
    }
    for (name, schema) in keywords.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(inner) = value.get(name) {
            check(root, schema, inner, &format!("{place}/{name}"), found);
        }
    }
    if let (Some(schema), Some(items)) = (keywords.get("items"), value.as_array()) {
        for (index, item) in items.iter().enumerate() {
            check(root, schema, item, &format!("{place}/{index}"), found);
        }
    }
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type's name") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("unknown type `{other}`"),
    }
}

#[test]
fn values_that_violate_the_schema_are_found() {
    use serde_json::json;
    let schema = json!({
        "$defs": { "word": { "oneOf": [{ "const": "a" }, { "type": "string", "enum": ["b"] }] } },
        "type": "object", "required": ["w"],
        "properties": {
            "w": { "$ref": "#/$defs/word" }, "n": { "type": ["integer", "null"], "minimum": 0 },
            "l": { "type": "array", "items": { "anyOf": [{ "$ref": "#/$defs/word" }, { "type": "null" }] } },
        },
    });
    let rows = [
        (json!({ "w": "a", "n": null, "l": ["b", null], "more": 1 }), 0),
        (json!({}), 1),
        (json!({ "w": "c" }), 1),
        (json!({ "w": "a", "n": -1 }), 1),
        (json!({ "w": "a", "n": "1" }), 1),
        (json!({ "w": "a", "l": [1, "a"] }), 1),
        (json!([]), 1),
    ];
    for (value, expected) in rows {
        assert_eq!(mistakes(&schema, &value).len(), expected, "{value}: {:?}", mistakes(&schema, &value));
    }
}
