//! Reports every request to a live system when it ends (`--verbose`).
//!
//! A report names the operation and its result. It has no bodies, headers or query strings, so it
//! cannot contain a token or another secret.

mod calls;

use std::sync::OnceLock;
use std::time::Duration;

pub use calls::{CallCount, Calls};

/// One attempt at a request.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// `aws` or `vault`.
    pub system: &'static str,
    /// `iam:GetRole`, `GET`.
    pub operation: String,
    /// The address without user, password and query.
    pub address: String,
    /// The status, or the reason why there is none.
    pub answer: Answer,
    /// From the request to the end of the response.
    pub took: Duration,
    /// The id by which the server knows the request.
    pub request_id: Option<&'a str>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This HTTP status.
    Status(u16),
    /// Success, of a system without a status.
    Done,
    /// No response, for this reason.
    None(String),
}

static OBSERVER: OnceLock<fn(&Call<'_>)> = OnceLock::new();

/// Passes every call of this process to `observer`.
pub fn observe_with(observer: fn(&Call<'_>)) {
    // The first one stays.
    let _ = OBSERVER.set(observer);
}

/// Whether an observer receives the calls.
pub fn is_on() -> bool {
    OBSERVER.get().is_some()
}

/// Passes a call that has ended to the observer.
pub fn tell(call: &Call<'_>) {
    if let Some(observer) = OBSERVER.get() {
        observer(call);
    }
}

/// An address without the parts that may be secret: user, password, query and fragment.
pub fn public(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::public;

    #[test]
    fn traced_address_omits_its_secrets() {
        let rows = [
            ("https://user:pw@host:1/a/b?token=x#y", "https://host:1/a/b"),
            ("http://127.0.0.1:4566/", "http://127.0.0.1:4566/"),
            ("https://host/a@b", "https://host/a@b"),
            ("host?x", "host"),
            ("", ""),
        ];
        for (address, told) in rows {
            assert_eq!(public(address), told);
        }
    }
}
