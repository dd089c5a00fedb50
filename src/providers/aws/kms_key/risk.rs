//! The risks of a key's grants.

use serde_json::Value;

use crate::resource::Change;
use crate::resource::risk::{Category, FieldChanges, Finding, Severity, some};

/// Grants that let others use the key, or more than before.
pub(super) fn of_grants(changes: &FieldChanges<'_>) -> Vec<Finding> {
    if changes.is_new {
        return Vec::new();
    }
    changes.changes.iter().flat_map(|change| of_grant(change)).collect()
}

fn of_grant(change: &Change) -> Vec<Finding> {
    let name = change.path.trim_start_matches("grants.");
    let (before, after) = (&change.before, &change.after);
    let is_same_grantee = before["grantee"] == after["grantee"];
    let new: Vec<&str> = operations(after)
        .into_iter()
        .filter(|operation| !is_same_grantee || !operations(before).contains(operation))
        .collect();
    let grantee = after["grantee"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    if new.contains(&"CreateGrant") {
        let message = format!("the grant `{name}` lets {grantee} pass the use of the key on (CreateGrant)");
        found.push(Finding::new(Severity::High, Category::BroaderGrant, message));
    }
    if !new.is_empty() {
        let message = format!("the grant `{name}` lets {grantee} do more: {}", some(&new));
        found.push(Finding::new(Severity::Medium, Category::BroaderGrant, message));
    }
    let context = |grant: &Value| grant["encryption_context"].as_object().cloned().unwrap_or_default();
    let lost = context(before).into_iter().filter(|(key, value)| context(after).get(key) != Some(value));
    let lost: Vec<String> = lost.map(|(key, _)| key).collect();
    if !after.is_null() && !lost.is_empty() {
        let message = format!("the grant `{name}` no longer asks for this context: {}", some(&lost));
        found.push(Finding::new(Severity::Medium, Category::ProtectionOff, message));
    }
    if before["retiring"] != after["retiring"] && !after["retiring"].is_null() && is_same_grantee {
        let message = format!("the grant `{name}` can be ended by another principal");
        found.push(Finding::new(Severity::Low, Category::BroaderGrant, message));
    }
    found
}

fn operations(grant: &Value) -> Vec<&str> {
    grant["operations"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
