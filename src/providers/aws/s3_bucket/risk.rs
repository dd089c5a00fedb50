//! The risks of lifecycle rules: which objects they delete, and when.

use serde_json::Value;

use crate::resource::risk::{Category, FieldChanges, Finding, Severity};

/// Rules that delete more objects than before, or sooner.
pub(super) fn of_lifecycle(changes: &FieldChanges<'_>) -> Vec<Finding> {
    if changes.is_new {
        return Vec::new();
    }
    let rules = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let of_change = |(before, after): (Vec<Value>, Vec<Value>)| {
        let counterpart = |rule: &Value| before.iter().find(|other| other["id"] == rule["id"]).cloned();
        let found = after.iter().flat_map(|rule| of_rule(&counterpart(rule).unwrap_or_default(), rule));
        found.collect::<Vec<_>>()
    };
    let changes = changes.changes.iter().map(|change| (rules(&change.before), rules(&change.after)));
    changes.flat_map(of_change).collect()
}

fn of_rule(before: &Value, after: &Value) -> Vec<Finding> {
    let deletions = [("expiration_days", "objects"), ("noncurrent_version_expiration_days", "old versions")];
    deletions.into_iter().filter_map(|(field, what)| of_deletion(before, after, field, what)).collect()
}

fn of_deletion(before: &Value, after: &Value, field: &str, what: &str) -> Option<Finding> {
    let days = after[field].as_u64()?;
    let text = |rule: &Value, field: &str| rule[field].as_str().unwrap_or_default().to_owned();
    let (rule, prefix, prefix_before) = (text(after, "id"), text(after, "prefix"), text(before, "prefix"));
    let days_before = before[field].as_u64();
    let is_wider = days_before.is_none() || !prefix.starts_with(&prefix_before);
    let (severity, message) = match days_before {
        _ if is_wider && prefix.is_empty() => {
            let message =
                format!("the lifecycle rule `{rule}` deletes all {what} of the bucket after {days} days");
            (Severity::High, message)
        }
        _ if is_wider => {
            let message = format!(
                "the lifecycle rule `{rule}` deletes more {what} after {days} days: those below `{prefix}`"
            );
            (Severity::Medium, message)
        }
        Some(days_before) if days < days_before => {
            let message = format!(
                "the lifecycle rule `{rule}` deletes {what} sooner ({days_before} days before, {days} now)"
            );
            (Severity::Medium, message)
        }
        _ => return None,
    };
    Some(Finding::new(severity, Category::Destroy, message))
}
