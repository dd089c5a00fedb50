//! Checks whether a key policy leaves a principal that can manage the key. Otherwise the policy can
//! never be changed again, not even by the account's root user; only AWS Support can help.
//! <https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html>

use serde_json::Value;

use crate::error::FieldError;
use crate::providers::aws::policy::evaluate::covers;
use crate::providers::aws::policy::{Document, as_list};

/// The action that gives access to every other action.
const MANAGE: &str = "kms:putkeypolicy";

/// The principals that can manage a key under a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Managers {
    /// None.
    Nobody,
    /// Some, while a condition holds.
    OnCondition,
    /// Some, without a condition.
    Somebody,
}

/// The principals that can manage a key, judged by the document.
pub fn managers(document: &Document) -> Managers {
    let statements = document.statements();
    let about = |effect: &'static str| {
        statements.iter().filter(move |it| it["Effect"] == effect && is_about_managing(it))
    };
    if about("Deny").any(|it| is_everybody(&it["Principal"]) && !has_condition(it)) {
        return Managers::Nobody;
    }
    let mut allowed = about("Allow").filter(|it| is_for_people(it)).peekable();
    match (allowed.peek().is_some(), allowed.any(|it| !has_condition(it))) {
        (false, _) => Managers::Nobody,
        (true, false) => Managers::OnCondition,
        (true, true) => Managers::Somebody,
    }
}

/// Refuses a policy under which no principal can manage the key.
pub fn check(document: &Document) -> Option<FieldError> {
    let statements = document.statements();
    (!statements.is_empty() && managers(document) == Managers::Nobody).then(|| {
        FieldError::new("policy", "no principal could manage the key")
            .help(
                "allow kms:PutKeyPolicy for the account or an administrator, e.g. allow `kms:*` to \
             `arn:aws:iam::123456789012:root`, or declare `access` instead",
            )
            .reading("policy")
    })
}

fn is_about_managing(statement: &Value) -> bool {
    let names = |element: &str| as_list(statement.get(element));
    let covered = |element: &str| {
        names(element).iter().filter_map(Value::as_str).any(|name| covers(&name.to_ascii_lowercase(), MANAGE))
    };
    let action = if statement.get("NotAction").is_some() { !covered("NotAction") } else { covered("Action") };
    // The resource of a key policy is the key itself; any resource but `*` is its ARN.
    action && statement.get("NotResource").is_none()
}

/// Whether a statement applies to principals of an account and not only to AWS services.
fn is_for_people(statement: &Value) -> bool {
    let principal = &statement["Principal"];
    principal.is_string()
        || !as_list(principal.get("AWS")).is_empty()
        || statement.get("NotPrincipal").is_some()
}

fn is_everybody(principal: &Value) -> bool {
    principal == "*" || as_list(principal.get("AWS")).iter().any(|name| name == "*")
}

fn has_condition(statement: &Value) -> bool {
    statement["Condition"].as_object().is_some_and(|operators| !operators.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(statements: Value) -> Managers {
        managers(&Document::of(as_list(Some(&statements))))
    }

    fn allow(principal: Value, action: &str) -> Value {
        json!({ "Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*" })
    }

    #[test]
    fn policy_without_a_manager_is_refused() {
        let root = || json!({ "AWS": "arn:aws:iam::1:root" });
        for action in ["kms:*", "*", "kms:Put*", "KMS:PutKeyPolicy", "kms:???KeyPolicy"] {
            assert_eq!(of(allow(root(), action)), Managers::Somebody, "{action}");
        }
        assert_eq!(of(allow(root(), "kms:Decrypt")), Managers::Nobody);
        assert_eq!(of(allow(json!({ "Service": "logs.amazonaws.com" }), "kms:*")), Managers::Nobody);
        let deny = json!({ "Effect": "Deny", "Principal": "*", "Action": "kms:Put*", "Resource": "*" });
        assert_eq!(of(json!([allow(root(), "kms:*"), deny])), Managers::Nobody);
        let not = json!({ "Effect": "Allow", "Principal": root(), "NotAction": "kms:PutKeyPolicy", "Resource": "*" });
        assert_eq!(of(not), Managers::Nobody);
        assert!(check(&Document::of(vec![allow(root(), "kms:Decrypt")])).is_some());
        assert!(check(&Document::of(vec![allow(root(), "kms:*")])).is_none());
    }

    #[test]
    fn conditional_manager_is_distinguished() {
        let mut statement = allow(json!({ "AWS": "arn:aws:iam::1:root" }), "kms:*");
        statement["Condition"] = json!({ "Bool": { "aws:MultiFactorAuthPresent": "true" } });
        assert_eq!(of(statement.clone()), Managers::OnCondition);
        assert!(check(&Document::of(vec![statement])).is_none());
    }
}
