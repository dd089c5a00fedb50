//! The secret fields of a plain object: sent, never read back, never compared.

use serde_json::{Map, Value, json};

use super::super::fields;
use super::PlainObject;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::resource::Diff;
use crate::secret::{Input, SecretChange, SecretSource};

/// Mistakes in the sources of secrets. The server has the only other copy and never returns it, so
/// a value generated here would be lost.
pub(super) fn check<S: PlainObject>(desired: &S) -> Vec<FieldError> {
    let mut desired = desired.clone();
    let from_outside = |source: &SecretSource| {
        !matches!(
            source.input(),
            Input::Literal(_) | Input::Generate(_) | Input::Template(_) | Input::Json(_)
        )
    };
    let wrong = desired.secrets().into_iter().filter(|(_, source)| !from_outside(source));
    let error = |(name, _): (&str, _)| {
        FieldError::new(name, "is a secret that cannot be read back from the server")
            .help("take it from `env` or `file`, or from another step with `secret`")
    };
    wrong.map(error).collect()
}

/// The fields that can be compared.
pub(super) fn readable<S: PlainObject>(desired: &S) -> Map<String, Value> {
    let mut all = fields::fields(desired);
    for (name, _) in desired.clone().secrets() {
        all.remove(name);
    }
    all
}

/// Records that the secrets are sent together with another change.
pub(super) fn sent_again<S: PlainObject>(desired: &S, diff: &mut Diff) {
    for (name, source) in desired.clone().secrets() {
        diff.secret(name, SecretChange::Resent, Some(source.to_string()));
    }
}

/// Records the secrets of other steps that are sent although the server never reports them: the steps that they
/// come from are rotated.
pub(super) fn asked_again<S: PlainObject>(desired: &S, diff: &mut Diff) {
    for (name, source) in desired.clone().secrets() {
        if source.is_renewed() {
            diff.secret(name, SecretChange::Changed, Some(source.to_string()));
        }
    }
}

/// Whether any of them is sent because the step that it comes from is rotated.
pub(super) fn is_asked_again<S: PlainObject>(desired: &S) -> bool {
    desired.clone().secrets().iter().any(|(_, source)| source.is_renewed())
}

/// All fields, with the values of the secrets or without them.
///
/// # Errors
/// When a secret is not text.
pub(super) fn body<S: PlainObject>(desired: &S, with_secrets: bool) -> Result<Map<String, Value>> {
    let mut body = readable(desired);
    let mut own = desired.clone();
    for (name, source) in own.secrets().into_iter().filter(|_| with_secrets) {
        body.insert(name.to_owned(), json!(text(source, &desired.path())?));
    }
    Ok(body)
}

/// A secret's text, without the trailing line break of a file.
fn text<'a>(source: &'a SecretSource, path: &str) -> Result<&'a str> {
    let absent = || {
        Error::new(ErrorKind::Local, format!("POST {path}"), format!("the value of {source} is not known"))
            .advice("apply the step that it comes from first")
    };
    let text = source.value().ok_or_else(absent)?.expose_str();
    text.map(|text| text.trim_end_matches(['\r', '\n'])).ok_or_else(|| {
        Error::new(ErrorKind::Local, format!("POST {path}"), format!("{source} is not text"))
            .advice("a secret that goes to Vault's API must be UTF-8")
    })
}
