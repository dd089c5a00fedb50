//! Every request to a live system, as it ends, for who wants to see them (`--verbose`).
//!
//! A call is told by what it was and how it went. Bodies, headers and query strings are not part
//! of it, so that no token and no secret can be.

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
    /// What came back.
    pub answer: Answer,
    /// From the request to the whole answer.
    pub took: Duration,
    /// The id by which the server knows the request.
    pub request_id: Option<&'a str>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This HTTP status.
    Status(u16),
    /// None, for this reason.
    None(String),
}

static OBSERVER: OnceLock<fn(&Call<'_>)> = OnceLock::new();

/// Has every call of this process told to `observer`.
pub fn observe_with(observer: fn(&Call<'_>)) {
    // The first one stays.
    let _ = OBSERVER.set(observer);
}

/// Whether calls are told.
pub fn is_on() -> bool {
    OBSERVER.get().is_some()
}

/// Tells a call that has ended.
pub fn tell(call: &Call<'_>) {
    if let Some(observer) = OBSERVER.get() {
        observer(call);
    }
}

/// An address without what may be secret in it: user, password, query and fragment.
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
    fn an_address_is_told_without_its_secrets() {
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
