//! Values of fields, for people.

use serde_json::Value;

/// Characters of a value that are shown on one line.
const MAX: usize = 100;

/// A value on one line: text as it is, structure as JSON, nothing as a dash.
pub fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => return "—".to_owned(),
        Value::String(text) if text.is_empty() => return "\"\"".to_owned(),
        Value::String(text) => crate::resource::neutralise(text),
        other => crate::resource::neutralise(&other.to_string()),
    };
    let line = text.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(MAX).collect();
    if cut.len() < text.trim_end().len() { format!("{cut}…") } else { cut }
}

/// Whether a value is text of several lines.
pub fn is_long(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.trim_end().contains('\n'))
}

/// A value as lines, for a line difference: text as it is, structure as indented JSON.
pub fn lines(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => crate::resource::neutralise(text),
        other => crate::resource::neutralise(&serde_json::to_string_pretty(other).unwrap_or_default()),
    }
}
