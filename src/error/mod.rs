//! Errors between a kind and its live system.

mod field;

use std::error::Error as StdError;
use std::fmt;

pub use field::FieldError;

use crate::visible::sanitize;

/// The result of a request to a live system.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The meaning of an error for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request was wrong, or the server refused it permanently.
    Rejected,
    /// The caller does not have the permission.
    Denied,
    /// Another owner's thing exists in place of ours.
    Conflict,
    /// Too many requests; the same request may succeed later.
    Throttled,
    /// A recent change is not visible everywhere yet.
    Eventual,
    /// The server could not be reached, or responded that it is unavailable; nothing was done.
    Unavailable,
    /// The server has not been initialised.
    Uninitialised,
    /// The server is sealed.
    Sealed,
    /// The caller did not provide a token.
    Unauthenticated,
    /// The request may or may not have taken effect.
    Unknown,
    /// Something on this machine failed: a file, a key, a clock.
    Local,
}

/// A failed operation: the attempt, the server's message, and what to do.
///
/// `Display` shows the operation and the message, but not the source's text; the source chain
/// contains the rest. It never contains a secret.
#[derive(Debug)]
pub struct Error {
    /// The meaning for the run.
    pub kind: ErrorKind,
    /// The operation, e.g. `s3:PutBucketVersioning` or `POST sys/mounts/secret`.
    pub operation: Box<str>,
    /// The failure: the server's own message if there is one, without terminal escapes.
    pub message: String,
    /// What to do next, if known.
    pub advice: Option<String>,
    /// The server's id of the request. It is not part of the message, so that equal failures have
    /// equal messages.
    pub request_id: Option<Box<str>>,
    /// The server's own code of the failure, e.g. `NoSuchEntity`.
    code: Option<Box<str>>,
    /// Whether another attempt in this run could create a second thing.
    is_last: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` in `operation`.
    pub fn new(kind: ErrorKind, operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            operation: operation.into().into(),
            message: sanitize(&message.into()),
            advice: None,
            request_id: None,
            code: None,
            is_last: false,
            source: None,
        }
    }

    /// A creation found a thing that another writer has made since the plan looked.
    pub fn made_meanwhile(operation: impl Into<String>) -> Self {
        let message = "it was created by someone else in the meantime; nothing was written";
        Self::new(ErrorKind::Conflict, operation, message).advice("plan again, and check the existing one")
    }

    /// The same error for one more place that reports it, without its source.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            kind: self.kind,
            operation: self.operation.clone(),
            message: self.message.clone(),
            advice: self.advice.clone(),
            request_id: self.request_id.clone(),
            code: self.code.clone(),
            is_last: self.is_last,
            source: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The error of a deletion for which `what` was detached first, with the result of attaching it
    /// again.
    #[must_use]
    pub fn after_restoring(mut self, what: &str, restored: Result<()>) -> Self {
        if let Err(second) = restored {
            let lost = format!("{what}: taken away first, and could not be put back: {second}");
            self.message = format!("{}; {}", self.message, sanitize(&lost));
        }
        self
    }

    /// Adds the server's own code of the failure.
    #[must_use]
    pub fn code(mut self, code: Option<&str>) -> Self {
        self.code = code.map(Box::from);
        self
    }

    /// Whether the server gave this code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Adds the server's id of the request.
    #[must_use]
    pub fn request(mut self, id: Option<&str>) -> Self {
        self.request_id = id.map(|id| sanitize(id).into());
        self
    }

    /// Operation, message, and the request's id, for a record of the failure.
    pub fn report(&self) -> String {
        match &self.request_id {
            Some(id) => format!("{self} (request {id})"),
            None => self.to_string(),
        }
    }

    /// Adds the cause. It must not be able to print a secret.
    #[must_use]
    pub fn source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Forbids this run to repeat the write: that could create a second thing.
    #[must_use]
    pub fn last(mut self) -> Self {
        self.is_last = true;
        self
    }

    /// Whether a write that may have had no effect, or whose effect is unknown, may be repeated
    /// after another observation.
    pub fn may_repeat_write(&self) -> bool {
        !self.is_last && (self.is_retriable() || self.kind == ErrorKind::Unknown)
    }

    /// Whether the engine may observe again and repeat the write.
    pub fn is_retriable(&self) -> bool {
        matches!(self.kind, ErrorKind::Throttled | ErrorKind::Eventual | ErrorKind::Unavailable)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Texts that HTTP libraries add around the actual cause.
const HOLLOW: [&str; 6] = [
    "dispatch failure",
    "io error",
    "client error (Connect)",
    "client error (SendRequest)",
    "tcp connect error",
    "error sending request",
];

/// An error and its causes, outermost first: without repetitions, without uninformative texts, and
/// without the operating system's error numbers.
pub fn display_chain<'a>(causes: impl Iterator<Item = &'a (dyn StdError + 'static)>) -> String {
    let all: Vec<String> = causes.map(|cause| without_number(&cause.to_string()).to_owned()).collect();
    let mut words: Vec<&str> = Vec::new();
    for text in &all {
        // The address in this one is informative.
        let address = text.strip_prefix("error sending request for url (");
        let text = address.and_then(|text| text.strip_suffix(')')).unwrap_or(text);
        let is_hollow = HOLLOW.iter().any(|hollow| text.starts_with(hollow) && !text.contains(": "));
        if !is_hollow && !words.iter().any(|earlier| earlier.contains(text)) {
            words.push(text);
        }
    }
    match (words.as_slice(), all.last()) {
        ([], Some(last)) => last.clone(),
        (words, _) => words.join(": "),
    }
}

fn without_number(text: &str) -> &str {
    match text.rfind(" (os error ") {
        Some(at) if text.ends_with(')') => &text[..at],
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_informative_causes_are_shown() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Cause(&'static str);
        let told = |texts: &[&'static str]| {
            let causes: Vec<Cause> = texts.iter().map(|text| Cause(text)).collect();
            display_chain(causes.iter().map(|cause| cause as &(dyn StdError + 'static)))
        };
        let refused = "Connection refused (os error 111)";
        assert_eq!(
            told(&["dispatch failure", "io error", "tcp connect error", refused]),
            "Connection refused"
        );
        assert_eq!(
            told(&["error sending request for url (http://a)", "invalid certificate", "invalid"]),
            "http://a: invalid certificate"
        );
        assert_eq!(told(&["dispatch failure"]), "dispatch failure");
        assert_eq!(told(&[]), "");
    }

    #[test]
    fn server_cannot_control_the_terminal() {
        let said = "gone\u{1b}]0;owned\u{7} \u{9b}2J\r\u{202e}txet";
        let error = Error::new(ErrorKind::Rejected, "read", said);
        let shown = "read: gone\\u{1b}]0;owned\\u{7} \\u{9b}2J\\u{d}\\u{202e}txet";
        assert_eq!(error.to_string(), shown);
    }
}
