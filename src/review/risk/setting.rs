//! Fields whose value by itself is a risk.

use serde_json::Value;

use super::{Category, Finding, Severity, some};
use crate::changeset::{Action, StepChange};
use crate::resource::Change;
use crate::secret::SecretChange;
use Category::{BroaderGrant, Destroy, KeyDeletion, ProtectionOff, PublicExposure, Wildcard};
use Severity::{High, Low, Medium};

/// When a field's new value is a risk.
#[derive(Clone, Copy)]
enum When {
    /// It is false, or `{ off: reason }`.
    Off,
    /// It is true.
    On,
    /// It is removed.
    Gone,
    /// It no longer limits anything.
    Unbound,
    /// It now includes everyone (`*`).
    Everybody,
    /// Permission bits make it executable.
    Executable,
}

struct Rule(&'static str, &'static str, When, Severity, Category, &'static str);

#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule("aws.s3_bucket", "block_public_access", When::Off, High, PublicExposure, "public access is not blocked"),
    Rule("aws.s3_bucket", "versioning", When::Off, High, ProtectionOff, "versioning is suspended: what is overwritten or deleted is gone"),
    Rule("aws.s3_bucket", "tls_only", When::Off, Medium, ProtectionOff, "requests without TLS are let in"),
    Rule("aws.s3_bucket", "bucket_owner_enforced", When::Off, Medium, ProtectionOff, "access lists (ACLs) of single objects count"),
    Rule("aws.s3_bucket", "encryption.kms_key", When::Gone, Medium, ProtectionOff, "is no longer encrypted with a key of its own"),
    Rule("aws.s3_bucket", "access_logging", When::Gone, Medium, ProtectionOff, "accesses are no longer logged"),
    Rule("aws.s3_bucket", "object_lock_retention", When::Gone, High, ProtectionOff, "objects are no longer held against deletion"),
    Rule("aws.kms_key", "rotation", When::Off, Medium, ProtectionOff, "the key is not rotated"),
    Rule("aws.kms_key", "enabled", When::Off, High, ProtectionOff, "the key is disabled: what it encrypts cannot be read"),
    Rule("aws.kms_key", "pending_deletion", When::On, High, KeyDeletion, "is scheduled for deletion; data encrypted with it can never be read again"),
    Rule("aws.dynamodb_table", "point_in_time_recovery", When::Off, High, ProtectionOff, "the table cannot be brought back to an earlier time"),
    Rule("aws.dynamodb_table", "deletion_protection", When::Off, High, ProtectionOff, "the table can be deleted by a single request"),
    Rule("aws.dynamodb_table", "encryption.kms_key", When::Gone, Medium, ProtectionOff, "is no longer encrypted with a key of its own"),
    Rule("aws.", "permissions_boundary", When::Gone, High, ProtectionOff, "its permissions are no longer bounded"),
    Rule("file.template", "mode", When::Executable, High, BroaderGrant, "can be run as a program by every user of this folder"),
    Rule("vault.approle_role", "bind_secret_id", When::Off, High, ProtectionOff, "anyone who knows the role-id can log in"),
    Rule("vault.audit", "options.log_raw", When::On, High, PublicExposure, "secrets are written to the audit log in the clear"),
    Rule("vault.auth_method", "user_lockout.disable", When::On, Medium, ProtectionOff, "passwords can be guessed without end"),
    Rule("vault.pki_role", "allow_any_name", When::On, High, Wildcard, "issues certificates for any name"),
    Rule("vault.pki_role", "enforce_hostnames", When::Off, Low, ProtectionOff, "issues certificates for names that are not host names"),
    Rule("vault.kubernetes_role", "bound_service_account_namespaces", When::Everybody, High, Wildcard, "is bound to every namespace (`*`)"),
    Rule("vault.kubernetes_role", "bound_service_account_names", When::Everybody, Medium, Wildcard, "is bound to every service account (`*`)"),
    Rule("vault.", "token_bound_cidrs", When::Unbound, Medium, ProtectionOff, "its tokens work from anywhere"),
    Rule("vault.", "secret_id_bound_cidrs", When::Unbound, Medium, ProtectionOff, "its secret-ids work from anywhere"),
    Rule("vault.", "bound_audiences", When::Unbound, Medium, ProtectionOff, "takes tokens that were issued for others"),
    Rule("vault.", "bound_claims", When::Unbound, High, ProtectionOff, "takes every token of the issuer"),
];

/// Fields whose items are permissions. The items of [`BOUND`] are the principals that have them.
const POLICIES: [&str; 3] = ["token_policies", "policies", "allowed_policies"];
const BOUND: [&str; 7] = [
    "bound_service_account_names",
    "bound_service_account_namespaces",
    "bound_audiences",
    "allowed_common_names",
    "allowed_dns_sans",
    "member_entity_ids",
    "allowed_domains",
];

/// The risks of a step's single fields.
pub(super) fn findings(step: &StepChange) -> Vec<Finding> {
    let mut found = Vec::new();
    for change in &step.changes {
        let rules = RULES.iter().filter(|rule| step.kind.starts_with(rule.0) && applies(rule, change));
        found.extend(rules.map(|rule| Finding::new(rule.3, rule.4, words(rule, change))));
        found.extend(gained(step, change));
        found.extend(lost(step, change));
    }
    found
}

fn applies(Rule(_, path, when, ..): &Rule, change: &Change) -> bool {
    let at = change.path == *path;
    match when {
        When::Off => at && change.after == false || is_off_with_reason(path, &change.path),
        When::On => at && is_true(&change.after),
        When::Gone => at && !change.before.is_null() && change.after.is_null(),
        When::Unbound => at && !is_empty(&change.before) && is_empty(&change.after),
        When::Executable => at && is_executable(&change.after) && !is_executable(&change.before),
        When::Everybody => at && has(&change.after, "*") && !has(&change.before, "*"),
    }
}

/// The path by which a creation shows a safeguard that is off.
fn is_off_with_reason(rule: &str, path: &str) -> bool {
    path.strip_prefix(rule) == Some(".off")
}

fn words(Rule(_, path, _, _, _, message): &Rule, change: &Change) -> String {
    match change.after.as_str() {
        Some(reason) if is_off_with_reason(path, &change.path) => {
            format!("{message} (reason given: {reason})")
        }
        _ => (*message).to_owned(),
    }
}

fn is_executable(mode: &Value) -> bool {
    mode.as_str().and_then(|text| u32::from_str_radix(text, 8).ok()).is_some_and(|mode| mode & 0o111 != 0)
}

fn is_true(value: &Value) -> bool {
    value == true || value == "true"
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn items(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => vec![text],
        _ => Vec::new(),
    }
}

fn has(value: &Value, item: &str) -> bool {
    items(value).contains(&item)
}

/// Risks of new items in a list.
fn gained(step: &StepChange, change: &Change) -> Vec<Finding> {
    let before = items(&change.before);
    let new: Vec<&str> = items(&change.after).into_iter().filter(|item| !before.contains(item)).collect();
    let more = step.action != Action::Create && !new.is_empty();
    let told = || some(&new.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>());
    match change.path.as_str() {
        path if POLICIES.contains(&path) && new.contains(&"root") => {
            vec![Finding::new(High, Wildcard, "its tokens may do everything (the policy `root`)")]
        }
        path if POLICIES.contains(&path) && more => {
            vec![Finding::new(Medium, BroaderGrant, format!("its tokens get more policies: {}", told()))]
        }
        "managed_policies" => managed(&new, more),
        path if BOUND.contains(&path)
            && more
            && !before.is_empty()
            && ![&before, &new].iter().any(|list| list.contains(&"*")) =>
        {
            vec![Finding::new(Low, BroaderGrant, format!("more are let in by `{path}`: {}", told()))]
        }
        _ => Vec::new(),
    }
}

/// Managed policies of AWS that allow very much, by the end of their ARN.
fn managed(new: &[&str], more: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut others = Vec::new();
    for arn in new {
        let name = arn.rsplit('/').next().unwrap_or(arn);
        match name {
            "AdministratorAccess" => {
                found.push(Finding::new(High, Wildcard, format!("may do everything ({name})")));
            }
            "IAMFullAccess" => {
                let message = format!("may give itself every permission ({name})");
                found.push(Finding::new(High, Wildcard, message));
            }
            name if name.ends_with("FullAccess") || name == "PowerUserAccess" => {
                found.push(Finding::new(Medium, Wildcard, format!("may do everything that {name} covers")));
            }
            name => others.push(name.to_owned()),
        }
    }
    if more && !others.is_empty() {
        let message = format!("more managed policies are attached: {}", some(&others));
        found.push(Finding::new(Medium, BroaderGrant, message));
    }
    found
}

/// Risks of parts that are removed from a thing that stays.
fn lost(step: &StepChange, change: &Change) -> Vec<Finding> {
    let pending = step.kind == "aws.kms_key" && change.path == "pending_deletion";
    if pending && change.before == true && change.after == false {
        let message = "the key was scheduled for deletion; this cancels the deletion";
        return vec![Finding::new(Medium, KeyDeletion, message)];
    }
    if change.secret == Some(SecretChange::Removed) {
        return vec![Finding::new(Medium, Destroy, format!("the secret field `{}` is removed", change.path))];
    }
    let is_key = change.path == "access_key_id" || change.path.starts_with("keys[");
    if step.kind == "aws.iam_access_key" && is_key && change.after.is_null() && !change.before.is_null() {
        return vec![Finding::new(Low, Destroy, "an access key whose secret never arrived is deleted")];
    }
    Vec::new()
}
