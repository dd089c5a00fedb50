//! What several kinds of AWS say about the risks of their fields.

use serde_json::Value;

use super::policy::iam_policy;
use crate::resource::risk::{
    Category, FieldChanges, FieldRisk, Finding, Severity, analysed, gone, replaced, some,
};

/// Why the loss of a KMS key of its own is a risk.
pub const NO_OWN_KEY: &str = "is no longer encrypted with a key of its own";
/// Why another KMS key is a risk.
pub const OTHER_KEY: &str = "is encrypted with another key: those who may use that one can read it";
/// Why another path of IAM is a risk.
pub const OTHER_ARN: &str = "has another ARN, which policies and boundaries may not name";

/// The risks of the field `kms_key`.
pub const KEY_RISKS: &[FieldRisk] = &[
    gone("kms_key").medium(Category::ProtectionOff, NO_OWN_KEY),
    replaced("kms_key").medium(Category::Destination, OTHER_KEY),
];

/// The risks of the permissions of a user, a role or a group.
pub const GRANT_RISKS: &[FieldRisk] =
    &[analysed("managed_policies", of_managed_policies), iam_policy("inline_policies")];

/// The risks of the permissions boundary of a user or a role.
pub const BOUNDARY_RISKS: &[FieldRisk] = &[analysed("permissions_boundary", of_boundary)];

/// The last part of a policy's ARN.
fn policy_name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Attached policies that allow very much, by the end of their ARN, and others that are added.
pub fn of_managed_policies(changes: &FieldChanges<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut others = Vec::new();
    for change in &changes.changes {
        let before = texts(&change.before);
        for arn in texts(&change.after).into_iter().filter(|arn| !before.contains(arn)) {
            match of_managed_policy(policy_name(arn)) {
                Some(finding) => found.push(finding),
                None => others.push(policy_name(arn)),
            }
        }
    }
    if !changes.is_new && !others.is_empty() {
        let message = format!("more managed policies are attached: {}", some(&others));
        found.push(Finding::new(Severity::Medium, Category::BroaderGrant, message));
    }
    found
}

fn of_managed_policy(name: &str) -> Option<Finding> {
    let (severity, message) = match name {
        "AdministratorAccess" => (Severity::High, format!("may do everything ({name})")),
        "IAMFullAccess" => (Severity::High, format!("may give itself every permission ({name})")),
        name if name.ends_with("FullAccess") || name == "PowerUserAccess" => {
            (Severity::Medium, format!("may do everything that {name} covers"))
        }
        _ => return None,
    };
    Some(Finding::new(severity, Category::Wildcard, message))
}

/// A boundary that is taken away, that bounds nothing, or that is another one.
pub fn of_boundary(changes: &FieldChanges<'_>) -> Vec<Finding> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_change = |(before, after): (String, String)| {
        let name = policy_name(&after);
        let (severity, category, message) = match of_managed_policy(name) {
            _ if after == before || before.is_empty() && after.is_empty() => return None,
            _ if after.is_empty() => {
                (Severity::High, Category::ProtectionOff, "its permissions are no longer bounded".to_owned())
            }
            Some(_) => {
                let message = format!("its boundary hardly bounds its permissions ({name})");
                (Severity::High, Category::ProtectionOff, message)
            }
            None if before.is_empty() => return None,
            None => {
                let message = format!("its permissions are bounded by another policy: {name}");
                (Severity::Medium, Category::BroaderGrant, message)
            }
        };
        Some(Finding::new(severity, category, message))
    };
    let changes = changes.changes.iter().map(|change| (text(&change.before), text(&change.after)));
    changes.filter_map(of_change).collect()
}

/// Tags of a principal, for which policies can ask; those of the program say only whose it is.
pub fn of_principal_tags(changes: &FieldChanges<'_>) -> Vec<Finding> {
    if changes.is_new {
        return Vec::new();
    }
    let names = changes.changes.iter().filter_map(|change| change.path.strip_prefix("tags."));
    let names: Vec<&str> = names.filter(|name| !name.starts_with("groundwork:")).collect();
    let message = format!("policies that ask for these tags may allow it other things: {}", some(&names));
    match names.is_empty() {
        true => Vec::new(),
        false => vec![Finding::new(Severity::Low, Category::BroaderGrant, message)],
    }
}
