//! Translates Vault's error responses.

use rustify::errors::ClientError as HttpError;
use serde_json::Value;
use vaultrs::error::ClientError;

use super::request::{Effect, Request};
use super::server::undid_transaction;
use crate::error::{Error, ErrorKind, display_chain};

/// The parts of an error response that [`translate`] needs.
struct Answer {
    status: u16,
    messages: Vec<String>,
}

/// Converts a failure of `request` into an [`Error`]. Bodies are never quoted, since they may hold
/// secrets; only the `errors` array is, which Vault writes for people.
pub(super) fn translate(request: &Request, error: &ClientError) -> Error {
    match answer(error) {
        Some(answer) => from_answer(request, &answer),
        None => from_transport(request, error),
    }
}

/// The HTTP status of an error response, if there was a response.
pub(super) fn status(error: &ClientError) -> Option<u16> {
    answer(error).map(|answer| answer.status)
}

fn answer(error: &ClientError) -> Option<Answer> {
    match error {
        ClientError::APIError { code, errors } => Some(Answer { status: *code, messages: errors.clone() }),
        ClientError::RestClientError { source: HttpError::ServerResponseError { code, content } } => {
            Some(Answer { status: *code, messages: messages(content.as_deref().unwrap_or_default()) })
        }
        _ => None,
    }
}

/// The `errors` array of a response's body.
pub(super) fn messages(body: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let errors = body.get("errors").and_then(Value::as_array).into_iter().flatten();
    errors.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The error for a response with this status and these messages.
pub(super) fn from_status(request: &Request, status: u16, messages: Vec<String>) -> Error {
    from_answer(request, &Answer { status, messages })
}

fn from_answer(request: &Request, answer: &Answer) -> Error {
    let said = tidy(&answer.messages);
    let kind = kind(answer.status, &said, request.effect);
    let message = match said.as_str() {
        "" => format!("the server responded with status {}", answer.status),
        said => format!("{said} ({})", answer.status),
    };
    let error = Error::new(kind, request.to_string(), message);
    match advice(kind, request) {
        Some(advice) => error.advice(advice),
        None => error,
    }
}

/// Joins messages, without the bulleted list that Vault makes of a single error.
fn tidy(messages: &[String]) -> String {
    let clean = |message: &String| {
        let lines = message.lines().map(str::trim).filter(|line| !line.ends_with("error occurred:"));
        lines
            .filter(|line| !line.is_empty())
            .map(|line| line.trim_start_matches("* "))
            .collect::<Vec<_>>()
            .join("; ")
    };
    messages.iter().map(clean).collect::<Vec<_>>().join("; ")
}

/// A response of 5xx to a write does not show whether the write took place: when every audit device
/// fails, the server applies the write and then responds with 500.
fn kind(status: u16, said: &str, effect: Effect) -> ErrorKind {
    match status {
        403 => ErrorKind::Denied,
        // AppRole responds with 400 to a wrong role-id or secret-id.
        400 if effect == Effect::Login => ErrorKind::Denied,
        412 => ErrorKind::Eventual,
        429 => ErrorKind::Throttled,
        // Standbys, disaster-recovery secondaries, and the moment after unsealing.
        301..=308 | 472 | 473 | 503 => ErrorKind::Unavailable,
        400 if is_conflict(said) => ErrorKind::Conflict,
        // A KV engine that is being set up or upgraded to version 2.
        400 if said.contains("unavailable for a brief period") => ErrorKind::Unavailable,
        // A namespace of that name whose deletion has not finished.
        400 if said.contains("currently tainted") => ErrorKind::Unavailable,
        500 if said.contains("node not active") => ErrorKind::Unavailable,
        500 if undid_transaction(said) => ErrorKind::Unavailable,
        500 if said.contains("too large") => ErrorKind::Rejected,
        500.. if effect == Effect::Write => ErrorKind::Unknown,
        500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Rejected,
    }
}

fn is_conflict(said: &str) -> bool {
    ["path is already in use", "check-and-set parameter", "existing mount at"]
        .iter()
        .any(|words| said.contains(words))
}

fn advice(kind: ErrorKind, request: &Request) -> Option<String> {
    let text = match kind {
        ErrorKind::Denied if request.effect == Effect::Login => {
            "the login was refused: check the role and that its secret-id has not expired".to_owned()
        }
        ErrorKind::Denied => format!(
            "the token may have expired (log in again), or its policies lack what `{}` on `{}` needs",
            request.capability(),
            request.path
        ),
        ErrorKind::Conflict => "it was changed by someone else since it was read; plan again".to_owned(),
        ErrorKind::Unavailable => {
            "the server is not ready, often because it is sealed, a standby or starting; wait, then run again"
                .to_owned()
        }
        ErrorKind::Unknown => "it may have been applied; run again to check and continue".to_owned(),
        ErrorKind::Throttled => "a rate-limit quota was exceeded; wait, then run again".to_owned(),
        _ => return None,
    };
    Some(text)
}

/// No response, or a truncated one. A refused connection had no effect; any other failure of a
/// write leaves its outcome unknown.
fn from_transport(request: &Request, error: &ClientError) -> Error {
    let never_sent = causes(error).any(|cause| {
        cause.downcast_ref::<reqwest::Error>().is_some_and(|error| error.is_connect() || error.is_builder())
    });
    let kind = match request.effect {
        Effect::Write if !never_sent => ErrorKind::Unknown,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, request.to_string(), explain(error)).advice(match kind {
        ErrorKind::Unknown => "the response was lost, so it may have been applied; run again to check and continue",
        _ => "check the address (`vault.address`, VAULT_ADDR), the network and the CA (`vault.ca_cert`, VAULT_CACERT)",
    })
}

/// The chain of causes without repetitions, starting at the HTTP library's error.
pub(super) fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let start = causes(error).position(|cause| cause.is::<reqwest::Error>()).unwrap_or(0);
    display_chain(causes(error).skip(start))
}

/// The causes, outermost first. rustify keeps reqwest's errors in `anyhow`, which is transparent.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_for(effect: Effect, status: u16, message: &str) -> ErrorKind {
        let request = Request::new("POST", "sys/mounts/team", effect);
        let body = serde_json::json!({ "errors": [message] }).to_string();
        let error = HttpError::ServerResponseError { code: status, content: Some(body) };
        translate(&request, &ClientError::from(error)).kind
    }

    #[test]
    fn statuses_and_messages_give_error_kinds() {
        let rows = [
            (403, "permission denied", ErrorKind::Denied),
            (400, "path is already in use at team/", ErrorKind::Conflict),
            (400, "check-and-set parameter did not match the current version", ErrorKind::Conflict),
            (400, "unknown backend type", ErrorKind::Rejected),
            (405, "unsupported operation", ErrorKind::Rejected),
            (429, "request path \"x\": rate limit quota exceeded", ErrorKind::Throttled),
            (307, "", ErrorKind::Unavailable),
            (503, "Vault is sealed", ErrorKind::Unavailable),
            (500, "local node not active but active cluster node not found", ErrorKind::Unavailable),
            (500, "put failed due to value being too large; got 1, max: 0", ErrorKind::Rejected),
            (500, "no audit backend succeeded in logging the response", ErrorKind::Unknown),
            (500, "transaction commit failed", ErrorKind::Unavailable),
            (400, "namespace with that name exists and is currently tainted", ErrorKind::Unavailable),
            (
                400,
                "Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief \
                period and will resume service shortly.",
                ErrorKind::Unavailable,
            ),
            (400, "check-and-set parameter 0 did not match the current version 1", ErrorKind::Conflict),
            (502, "", ErrorKind::Unknown),
        ];
        for (status, message, expected) in rows {
            assert_eq!(kind_for(Effect::Write, status, message), expected, "{status} {message}");
        }
        assert_eq!(kind_for(Effect::Read, 502, ""), ErrorKind::Unavailable);
        assert_eq!(kind_for(Effect::Login, 400, "invalid role or secret ID"), ErrorKind::Denied);
    }

    #[test]
    fn server_message_is_quoted_without_decoration() {
        let request = Request::new("GET", "sys/policies/acl/x", Effect::Read);
        let said = "1 error occurred:\n\t* permission denied\n\n".to_owned();
        let error = from_status(&request, 403, vec![said]);
        assert_eq!(error.to_string(), "GET sys/policies/acl/x: permission denied (403)");
        assert!(error.advice.is_some_and(|advice| advice.contains("`read` on `sys/policies/acl/x`")));
    }
}
