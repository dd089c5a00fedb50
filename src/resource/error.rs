//! What can go wrong between a kind and its live system.

use std::error::Error as StdError;
use std::fmt;

use crate::visible::neutralise;

/// The result of talking to a live system.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request was wrong, or the server refused it for good.
    Rejected,
    /// The caller may not do this.
    Denied,
    /// Somebody else's thing stands where ours should.
    Conflict,
    /// Too many requests; the same request may succeed later.
    Throttled,
    /// A change made a moment ago is not visible everywhere yet.
    Eventual,
    /// The server could not be reached or answered that it cannot serve now; nothing was done.
    Unavailable,
    /// The server has not been initialised.
    Uninitialised,
    /// The server is sealed.
    Sealed,
    /// There is no token to log in with.
    Unauthenticated,
    /// The request may or may not have taken effect.
    Unknown,
    /// Something on this machine failed: a file, a key, a clock.
    Local,
}

/// A failed operation: what was being done, what the server said, what to do about it.
///
/// `Display` gives the operation and the message, never the source's text again; the source
/// chain holds the rest. No secret ever gets in here.
#[derive(Debug)]
pub struct Error {
    /// What it means for the run.
    pub kind: ErrorKind,
    /// The operation, e.g. `s3:PutBucketVersioning` or `POST sys/mounts/secret`.
    pub operation: String,
    /// What failed: the server's own words where it spoke, terminal escapes removed.
    pub message: String,
    /// What to do next, where that is known.
    pub advice: Option<String>,
    /// The id by which the server knows the request. No part of the message, which is the same
    /// whenever the same thing happens.
    pub request_id: Option<String>,
    /// Whether another attempt in this run could make a second thing.
    is_last: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` in `operation`.
    pub fn new(kind: ErrorKind, operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            operation: operation.into(),
            message: neutralise(&message.into()),
            advice: None,
            request_id: None,
            is_last: false,
            source: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The error of a deletion before which `what` was taken off, with how putting it back ended.
    #[must_use]
    pub fn after_restoring(mut self, what: &str, restored: Result<()>) -> Self {
        if let Err(second) = restored {
            let lost = format!("{what} was taken off before and could not be put back: {second}");
            self.message = format!("{}; {}", self.message, neutralise(&lost));
        }
        self
    }

    /// Adds the id by which the server knows the request.
    #[must_use]
    pub fn request(mut self, id: Option<&str>) -> Self {
        self.request_id = id.map(neutralise);
        self
    }

    /// Operation, message, and the request's id: for a record of what happened.
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

    /// Says that the write must not be repeated by this run: a second thing could come of it.
    #[must_use]
    pub fn last(mut self) -> Self {
        self.is_last = true;
        self
    }

    /// Whether a write that may have had no effect, or whose effect is unknown, may be repeated after
    /// another look.
    pub fn may_repeat_write(&self) -> bool {
        !self.is_last && (self.is_retriable() || self.kind == ErrorKind::Unknown)
    }

    /// Whether the engine may look again and repeat the write.
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

/// What HTTP libraries say on the way to the cause that tells something.
const HOLLOW: [&str; 6] = [
    "dispatch failure",
    "io error",
    "client error (Connect)",
    "client error (SendRequest)",
    "tcp connect error",
    "error sending request",
];

/// An error and its causes in words, outermost first: without repetitions, without what tells
/// nothing, and without the numbers that the operating system has for its errors.
pub fn in_words<'a>(causes: impl Iterator<Item = &'a (dyn StdError + 'static)>) -> String {
    let all: Vec<String> = causes.map(|cause| without_number(&cause.to_string()).to_owned()).collect();
    let mut words: Vec<&str> = Vec::new();
    for text in &all {
        // Of this one the address is worth telling.
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
    fn causes_are_told_by_what_they_tell() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Cause(&'static str);
        let told = |texts: &[&'static str]| {
            let causes: Vec<Cause> = texts.iter().map(|text| Cause(text)).collect();
            in_words(causes.iter().map(|cause| cause as &(dyn StdError + 'static)))
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
    fn a_server_cannot_drive_the_terminal() {
        let said = "gone\u{1b}]0;owned\u{7} \u{9b}2J\r\u{202e}txet";
        let error = Error::new(ErrorKind::Rejected, "read", said);
        let shown = "read: gone\\u{1b}]0;owned\\u{7} \\u{9b}2J\\u{d}\\u{202e}txet";
        assert_eq!(error.to_string(), shown);
    }
}
