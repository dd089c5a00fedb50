//! Brings IAM policies into the same order and spelling, so that a difference by line shows only
//! differences in meaning.

use serde_json::{Map, Value, json};

use crate::providers::aws::policy::{as_list, element, is_document, statement};

/// The order of a statement's elements.
const ELEMENTS: [&str; 9] = [
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

/// Both documents in the order and spelling of `after`; anything else as it is.
pub fn aligned(before: &Value, after: &Value) -> (Value, Value) {
    if ![before, after].iter().any(|value| is_document(value)) {
        return (before.clone(), after.clone());
    }
    let after = document(after, Vec::new());
    let theirs = statements(&after);
    (document(before, theirs), after)
}

fn statements(document: &Value) -> Vec<Value> {
    as_list(document.get("Statement"))
}

/// The document in one notation; its statements in the order of `like`, where they have a
/// counterpart there.
fn document(value: &Value, like: Vec<Value>) -> Value {
    let Some(fields) = value.as_object() else { return value.clone() };
    let mut rest = statements(value);
    let mut ordered = Vec::new();
    for model in &like {
        if let Some(found) = counterpart(&rest, model) {
            ordered.push(spelled(&rest.remove(found), Some(model)));
        }
    }
    ordered.extend(rest.iter().map(|left| spelled(left, None)));
    let mut shown = Map::new();
    shown.insert("Version".to_owned(), fields.get("Version").cloned().unwrap_or(json!("2008-10-17")));
    shown.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    shown.shift_remove("Statement");
    shown.insert("Statement".to_owned(), Value::Array(ordered));
    Value::Object(shown)
}

/// The statement that became `model`: the same one, or one of the same name, or one with the same
/// effect and actions or resources.
fn counterpart(statements: &[Value], model: &Value) -> Option<usize> {
    let normal = statement(model);
    let shares = |names: [&'static str; 2], candidate: &Value| {
        let candidate = statement(candidate);
        names.iter().all(|name| candidate.get(name) == normal.get(name))
    };
    let find = |fits: &dyn Fn(&Value) -> bool| statements.iter().position(fits);
    find(&|candidate| statement(candidate) == normal)
        .or_else(|| find(&|candidate| !model["Sid"].is_null() && candidate["Sid"] == model["Sid"]))
        .or_else(|| find(&|candidate| shares(["Effect", "Resource"], candidate)))
        .or_else(|| find(&|candidate| shares(["Effect", "Action"], candidate)))
}

/// A statement with its elements in the usual order, and with lists where lists are allowed.
fn spelled(statement: &Value, like: Option<&Value>) -> Value {
    let Some(fields) = statement.as_object() else { return statement.clone() };
    let known = ELEMENTS.iter().filter_map(|name| fields.get_key_value(*name));
    let others = fields.iter().filter(|(name, _)| !ELEMENTS.contains(&name.as_str()));
    let spelled = known.chain(others).map(|(name, value)| {
        let model = like.and_then(|model| model.get(name));
        (name.clone(), element_like(name, value, model))
    });
    Value::Object(spelled.collect())
}

fn element_like(name: &String, value: &Value, like: Option<&Value>) -> Value {
    if like.is_some_and(|model| element((name, model)).1 == element((name, value)).1) {
        return like.cloned().unwrap_or_default();
    }
    match name.as_str() {
        "Action" | "NotAction" | "Resource" | "NotResource" => list_like(name, value, like),
        _ => value.clone(),
    }
}

/// The list in the order of another, with their common elements first.
fn list_like(name: &String, value: &Value, like: Option<&Value>) -> Value {
    let same = |a: &Value, b: &Value| element((name, a)).1 == element((name, b)).1;
    let mut rest = as_list(Some(value));
    let mut ordered = Vec::new();
    for model in as_list(like) {
        if let Some(found) = rest.iter().position(|item| same(item, &model)) {
            rest.remove(found);
            ordered.push(model);
        }
    }
    if like.is_none() {
        rest.sort_by_key(|item| item.to_string().to_lowercase());
    }
    ordered.extend(rest);
    Value::Array(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review::lines::difference;

    fn changes(before: &Value, after: &Value) -> Vec<String> {
        let (before, after) = aligned(before, after);
        let text = |value: &Value| serde_saphyr::to_string(value).expect("YAML");
        let lines = difference(&text(&before), &text(&after));
        let changed = lines.iter().filter(|line| matches!(line.sign.mark(), "+" | "-"));
        changed.map(|line| format!("{}{}", line.sign.mark(), line.text.trim())).collect()
    }

    #[test]
    fn order_and_spelling_are_not_shown_as_changes() {
        let before = json!({ "Statement": [
            { "Effect": "Deny", "Action": "s3:*", "Resource": "*" },
            { "Resource": ["b", "a"], "Action": ["S3:GetObject", "s3:putobject"], "Effect": "Allow" },
        ]});
        let after = json!({ "Statement": [
            { "Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"], "Resource": ["a", "b"] },
            { "Effect": "Deny", "Action": ["s3:*"], "Resource": ["*"] },
        ], "Version": "2008-10-17" });
        assert_eq!(changes(&before, &after), ["+- s3:DeleteObject"]);
    }

    #[test]
    fn added_statement_is_shown_in_full() {
        let one = json!({ "Sid": "A", "Effect": "Allow", "Action": "a:b", "Resource": "r" });
        let two = json!({ "Sid": "B", "Effect": "Deny", "Action": "a:c", "Resource": "q" });
        let told = changes(&json!({ "Statement": one }), &json!({ "Statement": [two, one] }));
        assert!(told.iter().all(|line| line.starts_with('+')), "{told:?}");
        assert!(told.iter().any(|line| line.contains("a:c")), "{told:?}");
    }

    #[test]
    fn values_that_are_not_policies_stay_unchanged() {
        assert_eq!(aligned(&json!("a"), &json!([1])), (json!("a"), json!([1])));
    }
}
