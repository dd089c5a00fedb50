//! Finds mistakes in a policy document that AWS would refuse, without network access.

use serde_json::{Map, Value};

use super::builder::is_federated;
use super::normal::as_list;
use crate::error::FieldError;

/// The type of a policy, which decides its required elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyType {
    /// Attached to a user, role or group: resources, without a principal.
    Identity,
    /// Trust policy of a role: a principal, without resources.
    Trust,
    /// Attached to a bucket or key: both.
    Resource,
}

const DOCUMENT_KEYS: [&str; 3] = ["Version", "Id", "Statement"];
const STATEMENT_KEYS: [&str; 9] = [
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

/// Mistakes in a document, with paths below `path`.
pub fn document(value: &Value, path: &str, of: PolicyType) -> Vec<FieldError> {
    let Some(fields) = value.as_object() else { return Vec::new() };
    let mut found = unknown_keys(fields, &DOCUMENT_KEYS, path);
    found.extend(version(fields, path));
    let statements = as_list(fields.get("Statement"));
    if statements.is_empty() {
        found.push(FieldError::new(format!("{path}.Statement"), "a policy needs at least one statement"));
    }
    let is_list = fields.get("Statement").is_some_and(Value::is_array);
    for (index, value) in statements.iter().enumerate() {
        let index = if is_list { format!("[{index}]") } else { String::new() };
        found.extend(statement(value, &format!("{path}.Statement{index}"), of));
    }
    found
}

fn version(fields: &Map<String, Value>, path: &str) -> Option<FieldError> {
    match fields.get("Version").map(|version| version.as_str()) {
        None | Some(Some("2012-10-17" | "2008-10-17")) => None,
        Some(_) => Some(
            FieldError::new(format!("{path}.Version"), "unknown version of the policy language")
                .help("write \"2012-10-17\", in quotes"),
        ),
    }
}

fn statement(value: &Value, path: &str, of: PolicyType) -> Vec<FieldError> {
    let Some(fields) = value.as_object() else {
        return vec![FieldError::new(path, "a statement is a map")];
    };
    let mut found = unknown_keys(fields, &STATEMENT_KEYS, path);
    found.extend(effect(fields, path));
    found.extend(exactly_one(fields, path, "Action", "NotAction"));
    if of != PolicyType::Trust {
        found.extend(exactly_one(fields, path, "Resource", "NotResource"));
    }
    found.extend(principal(fields, path, of));
    found.extend(federated(fields, path));
    found
}

fn effect(fields: &Map<String, Value>, path: &str) -> Option<FieldError> {
    match fields.get("Effect").and_then(Value::as_str) {
        Some("Allow" | "Deny") => None,
        _ => Some(FieldError::new(format!("{path}.Effect"), "must be Allow or Deny")),
    }
}

fn exactly_one(fields: &Map<String, Value>, path: &str, one: &str, other: &str) -> Option<FieldError> {
    match (fields.contains_key(one), fields.contains_key(other)) {
        (true, false) | (false, true) => None,
        (true, true) => Some(FieldError::new(path, format!("has both {one} and {other}"))),
        (false, false) => Some(FieldError::new(path, format!("has neither {one} nor {other}"))),
    }
}

fn principal(fields: &Map<String, Value>, path: &str, of: PolicyType) -> Option<FieldError> {
    let named = fields.contains_key("Principal") || fields.contains_key("NotPrincipal");
    match of {
        PolicyType::Identity if named => {
            Some(FieldError::new(path, "a policy of a user or role cannot contain a Principal").help(
                "remove Principal; the policy applies to the user, role or group that it is attached to",
            ))
        }
        PolicyType::Trust if fields.contains_key("Resource") => Some(FieldError::new(
            path,
            "a trust policy cannot contain a Resource: the role itself is the resource",
        )),
        PolicyType::Trust | PolicyType::Resource if !named => {
            Some(FieldError::new(path, "must contain a Principal"))
        }
        _ => None,
    }
}

/// Providers of identities in the place of accounts: AWS takes them there for users that do not exist.
fn federated(fields: &Map<String, Value>, path: &str) -> Option<FieldError> {
    ["Principal", "NotPrincipal"].into_iter().find_map(|element| {
        let named = as_list(fields.get(element)?.get("AWS"));
        let provider = named.iter().filter_map(Value::as_str).find(|name| is_federated(name))?;
        let mistake = format!("`{provider}` is a provider of identities, not an account or a user");
        Some(
            FieldError::new(format!("{path}.{element}.AWS"), mistake)
                .help(format!("write it under `Federated`: {element}: {{ Federated: {provider} }}")),
        )
    })
}

fn unknown_keys(fields: &Map<String, Value>, known: &[&str], path: &str) -> Vec<FieldError> {
    fields
        .keys()
        .filter(|key| !known.contains(&key.as_str()))
        .map(|key| {
            FieldError::new(format!("{path}.{key}"), format!("unknown element `{key}`"))
                .help(format!("one of {}", known.join(", ")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(value: Value, of: PolicyType) -> Vec<String> {
        document(&value, "p", of).into_iter().map(|error| error.path).collect()
    }

    #[test]
    fn valid_document_passes_for_its_policy_type() {
        let identity = json!({ "Version": "2012-10-17",
            "Statement": { "Effect": "Allow", "Action": "s3:*", "Resource": "*" } });
        assert!(paths(identity.clone(), PolicyType::Identity).is_empty());
        assert_eq!(paths(identity, PolicyType::Resource), ["p.Statement"]);
    }

    #[test]
    fn mistakes_name_their_field() {
        let wrong = json!({ "Version": "2012", "Statements": [], "Statement": [
            { "effect": "Allow", "Effect": "allow", "Action": "a", "NotAction": "b", "Principal": "*" }] });
        assert_eq!(
            paths(wrong, PolicyType::Identity),
            [
                "p.Statements",
                "p.Version",
                "p.Statement[0].effect",
                "p.Statement[0].Effect",
                "p.Statement[0]",
                "p.Statement[0]",
                "p.Statement[0]"
            ],
        );
        let provider = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com";
        let trust = |family: &str| {
            json!({ "Statement": { "Effect": "Allow", "Principal": { family: [provider] },
            "Action": "sts:AssumeRoleWithWebIdentity" } })
        };
        assert_eq!(paths(trust("AWS"), PolicyType::Trust), ["p.Statement.Principal.AWS"]);
        assert!(paths(trust("Federated"), PolicyType::Trust).is_empty());
        assert_eq!(paths(json!({}), PolicyType::Trust), ["p.Statement"]);
    }
}
