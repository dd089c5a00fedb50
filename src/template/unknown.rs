//! Values that are not known before apply.
//!
//! A reference to an output that does not exist yet resolves to a *marker*: the reference's text
//! between two private-use characters that no plan may contain. It travels inside ordinary
//! strings, so kinds need no special types: an identifier with a marker in it cannot be observed
//! yet, a field with a marker in it is shown as known after apply, and nothing with a marker in
//! it is ever written.

use serde_json::Value;

/// Opens a marker.
const OPEN: char = '\u{f8f0}';
/// Closes a marker.
const CLOSE: char = '\u{f8f1}';

/// The marker for `reference`, e.g. `state_bucket.arn`.
pub fn marker(reference: &str) -> String {
    format!("{OPEN}{reference}{CLOSE}")
}

/// Whether a marker, or one of its characters, is in `text`.
pub fn is_unknown(text: &str) -> bool {
    text.contains([OPEN, CLOSE])
}

/// Whether a marker is anywhere in `value`, keys included.
pub fn has_unknown(value: &Value) -> bool {
    match value {
        Value::String(text) => is_unknown(text),
        Value::Array(items) => items.iter().any(has_unknown),
        Value::Object(fields) => fields.iter().any(|(key, value)| is_unknown(key) || has_unknown(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `text` for people: `{key.arn}/x` becomes `(known after apply: key.arn)/x`.
pub fn describe(text: &str) -> String {
    text.replace(OPEN, "(known after apply: ").replace(CLOSE, ")")
}

/// `text` with `known` applied to what is known of it, and `unknown` in place of each marker.
pub fn with_each(text: &str, known: impl Fn(&str) -> String, unknown: &str) -> String {
    let mut parts = text.split(OPEN);
    let first = known(parts.next().unwrap_or_default());
    parts.fold(first, |done, part| {
        let rest = part.split_once(CLOSE).map(|(_, rest)| known(rest)).unwrap_or_default();
        done + unknown + &rest
    })
}

/// The references whose markers are in `text`.
pub fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split(OPEN).skip(1).filter_map(|rest| rest.split(CLOSE).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_is_found_described_and_traced_back() {
        let text = format!("arn:{}/x", marker("key.arn"));
        assert!(is_unknown(&text) && !is_unknown("arn:x"));
        assert_eq!(describe(&text), "arn:(known after apply: key.arn)/x");
        assert_eq!(with_each(&text, str::to_uppercase, "*"), "ARN:*/X");
        assert_eq!(with_each("a", str::to_uppercase, "*"), "A");
        assert_eq!(references(&text).collect::<Vec<_>>(), ["key.arn"]);
        assert!(has_unknown(&serde_json::json!({ "a": [{ "b": text }] })));
    }
}
