//! The normal form of a policy document: equal meaning, equal form.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// AWS's default for a document without a version.
const DEFAULT_VERSION: &str = "2008-10-17";

/// The normal form of a document. Statements are a set, so their order is ignored.
pub fn document(value: &Value) -> Value {
    let Some(fields) = value.as_object() else { return value.clone() };
    let statements = sorted(as_list(fields.get("Statement")).iter().map(statement));
    let mut normal: BTreeMap<&str, Value> =
        fields.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    normal.entry("Version").or_insert_with(|| json!(DEFAULT_VERSION));
    normal.insert("Statement", statements);
    json!(normal)
}

/// The normal form of a statement without its `Sid`.
pub fn anonymous_statement(value: &Value) -> Value {
    let mut normal = statement(value);
    if let Some(fields) = normal.as_object_mut() {
        fields.shift_remove("Sid");
    }
    normal
}

/// A scalar is a list of one; an absent value is an empty list.
pub fn as_list(value: Option<&Value>) -> Vec<Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.clone(),
        Some(scalar) => vec![scalar.clone()],
    }
}

/// The normal form of a statement.
pub fn statement(value: &Value) -> Value {
    let Some(fields) = value.as_object() else { return value.clone() };
    let normal: BTreeMap<&str, Value> =
        fields.iter().filter(|(key, value)| !is_empty_sid(key, value)).map(element).collect();
    json!(normal)
}

/// IAM drops an empty `Sid`.
fn is_empty_sid(key: &str, value: &Value) -> bool {
    key == "Sid" && value == ""
}

/// The normal form of one element of a statement.
pub fn element<'a>((key, value): (&'a String, &Value)) -> (&'a str, Value) {
    let normal = match key.as_str() {
        "Action" | "NotAction" => sorted(as_list(Some(value)).iter().map(lowercase)),
        "Resource" | "NotResource" => sorted(as_list(Some(value))),
        "Principal" | "NotPrincipal" => principal(value),
        "Condition" => condition(value),
        _ => value.clone(),
    };
    (key, normal)
}

/// Names of actions are case-insensitive.
fn lowercase(value: &Value) -> Value {
    value.as_str().map_or_else(|| value.clone(), |text| json!(text.to_ascii_lowercase()))
}

/// `"*"` is everyone, as is `{"AWS": "*"}`.
fn principal(value: &Value) -> Value {
    match value {
        Value::Object(types) => {
            let normal: BTreeMap<&str, Value> =
                types.iter().map(|(kind, ids)| (kind.as_str(), principals(kind, ids))).collect();
            json!(normal)
        }
        Value::String(_) => json!({ "AWS": as_list(Some(value)) }),
        other => other.clone(),
    }
}

fn principals(kind: &str, ids: &Value) -> Value {
    let ids = as_list(Some(ids));
    if kind == "AWS" { sorted(ids.iter().map(account)) } else { sorted(ids) }
}

/// `arn:aws:iam::123456789012:root` and `123456789012` name the same account.
fn account(id: &Value) -> Value {
    let parts: Vec<&str> = id.as_str().unwrap_or_default().split(':').collect();
    match parts[..] {
        ["arn", _, "iam", "", account, "root"] if is_account(account) => json!(account),
        _ => id.clone(),
    }
}

fn is_account(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|digit| digit.is_ascii_digit())
}

/// The unique ids in principals: AWS replaces a deleted user or role with its id.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids>
pub fn deleted_principals(value: &Value) -> Vec<String> {
    let statements = as_list(value.get("Statement"));
    let named = statements.iter().flat_map(|statement| {
        ["Principal", "NotPrincipal"].into_iter().filter_map(|key| statement.get(key)?.get("AWS").cloned())
    });
    let ids = named.flat_map(|ids| as_list(Some(&ids)));
    ids.filter_map(|id| id.as_str().filter(|id| is_unique_id(id)).map(ToOwned::to_owned)).collect()
}

fn is_unique_id(id: &str) -> bool {
    let known = ["AIDA", "AROA", "AGPA"].iter().any(|prefix| id.starts_with(prefix));
    known && id.len() >= 16 && id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// Operator → key → values. Keys are case-insensitive; the part after a `/`, such as the name of a tag,
/// is case-sensitive.
fn condition(value: &Value) -> Value {
    let Some(operators) = value.as_object() else { return value.clone() };
    let normal: BTreeMap<&str, Value> = operators
        .iter()
        .map(|(operator, keys)| (operator.as_str(), condition_keys(operator, keys)))
        .collect();
    json!(normal)
}

fn condition_keys(operator: &str, keys: &Value) -> Value {
    let Some(keys) = keys.as_object() else { return keys.clone() };
    // Pairs instead of a map: several spellings of one key may exist, and each counts.
    sorted(keys.iter().map(|(key, values)| {
        let values = as_list(Some(values));
        json!([condition_key(key), sorted(values.iter().map(|value| condition_value(operator, value)))])
    }))
}

fn condition_key(key: &str) -> String {
    match key.split_once('/') {
        Some((name, rest)) => format!("{}/{rest}", name.to_ascii_lowercase()),
        None => key.to_ascii_lowercase(),
    }
}

/// Booleans and numbers may be quoted or not; other values that are not text stay as they are.
fn condition_value(operator: &str, value: &Value) -> Value {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        other => return other.clone(),
    };
    let is_flag = operator.starts_with("Bool") || operator.starts_with("Null");
    json!(if is_flag { text.to_ascii_lowercase() } else { text })
}

/// A set in a fixed order. Its objects are sorted maps, so their text is unique.
fn sorted(values: impl IntoIterator<Item = Value>) -> Value {
    let by_text: BTreeMap<String, Value> =
        values.into_iter().map(|value| (value.to_string(), value)).collect();
    Value::Array(by_text.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: Value, b: Value) -> bool {
        let wrap = |fields: Value| document(&json!({ "Version": "2012-10-17", "Statement": fields }));
        wrap(a) == wrap(b)
    }

    #[test]
    fn order_case_and_scalars_do_not_matter() {
        assert!(same(
            json!([{ "Effect": "Allow", "Action": ["s3:GetObject", "S3:putobject"], "Resource": "*" },
                   { "Effect": "Deny", "Action": "s3:*", "Resource": ["b", "a"] }]),
            json!([{ "Resource": ["a", "b", "a"], "Action": ["s3:*"], "Effect": "Deny" },
                   { "Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject"], "Resource": ["*"] }]),
        ));
        assert!(!same(json!({ "Resource": "a" }), json!({ "Resource": "A" })));
        assert!(!same(json!({ "Effect": "Allow" }), json!({ "Effect": "Deny" })));
        assert!(!same(json!({ "Action": "a:b" }), json!({ "NotAction": "a:b" })));
    }

    #[test]
    fn equivalent_principals_are_equal() {
        let root = json!({ "Principal": { "AWS": "arn:aws:iam::123456789012:root" } });
        assert!(same(root.clone(), json!({ "Principal": { "AWS": ["123456789012"] } })));
        assert!(!same(root, json!({ "Principal": { "AWS": "arn:aws:iam::123456789012:role/root" } })));
        assert!(same(json!({ "Principal": "*" }), json!({ "Principal": { "AWS": ["*"] } })));
        assert!(same(
            json!({ "Principal": { "Service": ["b", "a"], "AWS": "1" } }),
            json!({ "Principal": { "AWS": "1", "Service": ["a", "b"] } }),
        ));
        assert!(!same(json!({ "Principal": "*" }), json!({ "NotPrincipal": "*" })));
    }

    #[test]
    fn conditions_are_compared_by_meaning() {
        assert!(same(
            json!({ "Condition": { "Bool": { "aws:SecureTransport": false }, "NumericLessThan": { "s3:max-keys": 3 } } }),
            json!({ "Condition": { "NumericLessThan": { "s3:max-keys": ["3"] }, "Bool": { "AWS:securetransport": "False" } } }),
        ));
        let tag = |name: &str| json!({ "Condition": { "StringEquals": { (format!("aws:ResourceTag/{name}")): "x" } } });
        assert!(!same(tag("Team"), tag("team")));
        let values = |values: Value| json!({ "Condition": { "StringEquals": { "k": values } } });
        assert!(same(values(json!(["b", "a"])), values(json!(["a", "b"]))));
        assert!(!same(values(json!("true")), values(json!("True"))));
    }

    #[test]
    fn condition_keys_differing_by_case_all_count() {
        let key = |keys: Value| json!({ "Condition": { "IpAddress": keys } });
        let one = key(json!({ "aws:SourceIp": "10.0.0.0/8" }));
        assert!(!same(
            one.clone(),
            key(json!({ "aws:SourceIp": "10.0.0.0/8", "AWS:sourceip": "0.0.0.0/0" }))
        ));
        assert!(same(one, key(json!({ "AWS:SOURCEIP": ["10.0.0.0/8"] }))));
    }

    #[test]
    fn different_documents_are_never_equal() {
        let base = json!({ "Sid": "A", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*",
            "Principal": { "AWS": "arn:aws:iam::123456789012:root" },
            "Condition": { "StringEquals": { "aws:PrincipalTag/Team": "a" } } });
        let others = [
            ("Sid", json!("B")),
            ("Effect", json!("Deny")),
            ("Action", json!("s3:GetObjectVersion")),
            ("Action", json!(["s3:GetObject", "s3:*"])),
            ("Resource", json!("arn:aws:s3:::B/*")),
            ("Resource", json!([])),
            ("Principal", json!("*")),
            ("Principal", json!({ "AWS": "arn:aws:iam::*:root" })),
            ("Principal", json!({ "AWS": "arn:aws:iam::123456789012:user/root" })),
            ("Principal", json!({ "AWS": "AROAEXAMPLE1234567890" })),
            ("Principal", json!({ "Federated": "123456789012" })),
            ("Condition", json!({ "StringLike": { "aws:PrincipalTag/Team": "a" } })),
            ("Condition", json!({ "ForAnyValue:StringEquals": { "aws:PrincipalTag/Team": "a" } })),
            ("Condition", json!({ "ForAllValues:StringEquals": { "aws:PrincipalTag/Team": "a" } })),
            ("Condition", json!({ "StringEqualsIfExists": { "aws:PrincipalTag/Team": "a" } })),
            ("Condition", json!({ "StringEquals": { "aws:PrincipalTag/team": "a" } })),
            ("Condition", json!({ "StringEquals": { "aws:PrincipalTag/Team": "A" } })),
            ("Condition", json!({ "StringEquals": { "aws:PrincipalTag/Team": ["a", "b"] } })),
            ("Condition", json!({ "StringEquals": { "aws:PrincipalTag/Team": [{ "a": 1 }] } })),
        ];
        for (element, other) in others {
            let mut changed = base.clone();
            changed[element] = other.clone();
            assert!(!same(base.clone(), changed), "{element}: {other}");
        }
        for element in ["Sid", "Effect", "Action", "Resource", "Principal", "Condition"] {
            let mut without = base.clone();
            let taken = without.as_object_mut().expect("a map").shift_remove(element);
            assert!(!same(base.clone(), without.clone()), "without {element}");
            without[format!("Not{element}")] = taken.expect("there");
            assert!(!same(base.clone(), without), "Not{element}");
        }
        let named = |fields: Value| document(&fields);
        let statement = json!([base]);
        assert_ne!(
            named(json!({ "Version": "2012-10-17", "Statement": statement })),
            named(json!({ "Version": "2012-10-17", "Id": "x", "Statement": statement }))
        );
    }

    #[test]
    fn versions_matter_and_have_a_default() {
        assert_ne!(
            document(&json!({ "Version": "2012-10-17", "Statement": [] })),
            document(&json!({ "Statement": [] }))
        );
        assert_eq!(document(&json!({ "Version": "2008-10-17" })), document(&json!({ "Statement": [] })));
    }

    #[test]
    fn statement_names_matter_unless_ignored() {
        let named = json!({ "Sid": "A", "Effect": "Allow" });
        assert!(!same(named.clone(), json!({ "Effect": "Allow" })));
        assert_eq!(anonymous_statement(&named), anonymous_statement(&json!({ "Effect": "Allow" })));
        assert!(same(json!({ "Sid": "", "Effect": "Allow" }), json!({ "Effect": "Allow" })));
    }

    #[test]
    fn values_that_are_not_policies_stay_unchanged() {
        assert_eq!(document(&json!("text")), json!("text"));
        assert_eq!(statement(&json!(3)), json!(3));
    }
}
