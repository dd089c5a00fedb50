//! The meaning of a server's refusals:
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/> and `Status` in
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>.

use serde_json::Value;

use crate::error::{Error, ErrorKind};

/// Whether a request may change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It cannot.
    Read,
    /// It may.
    Write,
}

/// A field that another manager has, with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConflict {
    /// The other manager.
    pub manager: String,
    /// The field, as the server names it: `.data.region`.
    pub field: String,
}

/// The error of a response that is not a success.
pub fn of_status(operation: &str, status: u16, told: &Value, effect: Effect) -> Error {
    let reason = told["reason"].as_str();
    let message = told["message"].as_str().filter(|text| !text.is_empty());
    let message = message.map_or_else(|| format!("the server answered {status}"), str::to_owned);
    let uncertain = if effect == Effect::Write { ErrorKind::Unknown } else { ErrorKind::Unavailable };
    let kind = match status {
        _ if cause(told, "NamespaceTerminating").is_some() => ErrorKind::Conflict,
        401 | 403 => ErrorKind::Denied,
        409 => ErrorKind::Conflict,
        429 => ErrorKind::Throttled,
        503 => ErrorKind::Unavailable,
        500.. => uncertain,
        _ => ErrorKind::Rejected,
    };
    let error = Error::new(kind, operation, message).code(reason);
    match advice(status, told) {
        Some(advice) => error.advice(advice),
        None => error,
    }
}

fn advice(status: u16, told: &Value) -> Option<String> {
    if cause(told, "NamespaceTerminating").is_some() {
        let advice = "the namespace is being deleted: wait until it is gone and apply again, or declare another \
                      one; `kubectl get namespace NAME -o yaml` shows what keeps it";
        return Some(advice.to_owned());
    }
    match status {
        401 => Some("log in again, or name another context in `kubernetes.context`".to_owned()),
        403 => Some("have an administrator bind a role that allows it to the user that is named".to_owned()),
        _ => None,
    }
}

fn causes(told: &Value) -> impl Iterator<Item = &Value> {
    told["details"]["causes"].as_array().into_iter().flatten()
}

fn cause<'a>(told: &'a Value, reason: &str) -> Option<&'a Value> {
    causes(told).find(|cause| cause["reason"] == reason)
}

/// The fields that other managers have, in a refused apply.
pub fn conflicts(told: &Value) -> Vec<FieldConflict> {
    let of_managers = causes(told).filter(|cause| cause["reason"] == "FieldManagerConflict");
    let conflict = |cause: &Value| {
        let manager = cause["message"].as_str().and_then(|text| text.split('"').nth(1));
        let field = cause["field"].as_str().unwrap_or_default().to_owned();
        FieldConflict { manager: manager.unwrap_or("another manager").to_owned(), field }
    };
    of_managers.map(conflict).collect()
}

/// The error of a refused apply with its conflicts.
pub fn of_conflicts(operation: &str, conflicts: &[FieldConflict]) -> Error {
    let each = conflicts.iter().map(in_words).collect::<Vec<_>>().join(", ");
    Error::new(ErrorKind::Conflict, operation, format!("other managers have these fields: {each}"))
        .code(Some("Conflict"))
        .advice(CONFLICT_ADVICE)
}

/// What to do about a conflict.
pub const CONFLICT_ADVICE: &str =
    "declare the live value, leave the field out, or set `force: true` on the step to take the field over";

/// A conflict in words: `data.region (kubectl)`.
pub fn in_words(conflict: &FieldConflict) -> String {
    format!("{} ({})", conflict.field.trim_start_matches('.'), conflict.manager)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conflict_names_manager_and_field() {
        let told = json!({
            "reason": "Conflict", "message": "Apply failed with 1 conflict",
            "details": { "causes": [
                { "reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\" using v1", "field": ".data.a" },
            ] },
        });
        let found = conflicts(&told);
        assert_eq!(found, [FieldConflict { manager: "kubectl-edit".into(), field: ".data.a".into() }]);
        let error = of_conflicts("PATCH x", &found);
        assert!(error.message.ends_with("data.a (kubectl-edit)") && error.is("Conflict"), "{error}");
    }

    #[test]
    fn namespace_being_deleted_is_a_conflict_with_advice() {
        let told = json!({
            "reason": "Forbidden", "message": "forbidden: namespace x is being terminated",
            "details": { "causes": [{ "reason": "NamespaceTerminating", "field": "metadata.namespace" }] },
        });
        let error = of_status("PATCH x", 403, &told, Effect::Write);
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.advice.is_some_and(|advice| advice.contains("being deleted")));
    }

    #[test]
    fn failed_write_is_unknown_and_failed_read_is_not() {
        let of = |status, effect| of_status("x", status, &Value::Null, effect).kind;
        assert_eq!(of(500, Effect::Write), ErrorKind::Unknown);
        assert_eq!(of(500, Effect::Read), ErrorKind::Unavailable);
        assert_eq!(of(503, Effect::Write), ErrorKind::Unavailable);
        assert_eq!(of(422, Effect::Write), ErrorKind::Rejected);
    }
}
