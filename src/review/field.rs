//! One field of a step as it is shown.

use serde_json::Value;

use super::lines::{self, Line};
use super::policy;
use crate::changeset::{Action, StepChange};
use crate::resource::Change;
use crate::secret::SecretChange;
use crate::visible::sanitize;

/// The longest structure that is shown on one line, in characters.
const SHORT: usize = 60;

/// One field of a step. Its text contains no terminal control characters; the renderers of other
/// formats escape their own special characters.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// A dotted path below the step.
    pub path: String,
    /// The current and the new content.
    pub content: Content,
    /// A remark.
    pub note: Option<String>,
}

/// The change of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A value where there was nothing, on one line.
    Set(String),
    /// A value in place of another, on one line each; `None` where there is no value.
    Changed(Option<String>, Option<String>),
    /// A secret: its change, and a description of it, `sensitive, changed: env DB_URL`.
    Secret(SecretChange, String),
    /// Lines where there was nothing.
    Text(Vec<String>),
    /// Lines that differ.
    Lines(Vec<Line>),
}

/// The fields to show for a step.
pub fn fields(step: &StepChange) -> Vec<Field> {
    let shown = step.changes.iter().chain(&step.unchanged);
    shown.map(|change| field(step.action, change)).collect()
}

fn field(action: Action, change: &Change) -> Field {
    Field {
        // A key of a live map, such as a tag's, is part of a path.
        path: sanitize(&change.path).replace(['\n', '\t'], " "),
        content: content(action, change),
        note: change.note.as_deref().map(sanitize),
    }
}

fn content(action: Action, change: &Change) -> Content {
    if change.sensitive {
        return secret(change);
    }
    let (before, after) = (&change.before, &change.after);
    if is_long(before) || is_long(after) {
        let (before, after) = as_text(before, after);
        return match before.is_empty() && action == Action::Create {
            true => Content::Text(after.lines().map(ToOwned::to_owned).collect()),
            false => Content::Lines(lines::difference(&before, &after)),
        };
    }
    let told = |value: &Value| short(value).map(|text| text + &as_time(&change.path, value));
    match (action, told(after)) {
        (Action::Create, Some(after)) if before.is_null() => Content::Set(after),
        (_, after) => Content::Changed(told(before), after),
    }
}

/// Seconds in words, for fields that are a time: ` (4h)`.
fn as_time(path: &str, value: &Value) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    let is_time = ["ttl", "_period", "_duration", "_interval"].iter().any(|end| name.ends_with(end));
    let Some(seconds) = value.as_u64().filter(|seconds| is_time && *seconds >= 60) else {
        return String::new();
    };
    let parts = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let (mut rest, mut words) = (seconds, String::new());
    for (length, letter) in parts {
        if rest >= length {
            words.push_str(&format!("{}{letter}", rest / length));
        }
        rest %= length;
    }
    format!(" ({words})")
}

fn secret(change: &Change) -> Content {
    let what = change.secret.unwrap_or(SecretChange::Changed);
    let words = match &change.source {
        Some(source) if what != SecretChange::Unchanged => {
            format!("sensitive, {}: {}", what.name(), sanitize(source))
        }
        _ => format!("sensitive, {}", what.name()),
    };
    Content::Secret(what, words)
}

/// Whether a value needs lines of its own.
fn is_long(value: &Value) -> bool {
    match value {
        Value::String(text) => text.trim_end_matches('\n').contains('\n'),
        Value::Object(_) | Value::Array(_) => value.to_string().chars().count() > SHORT,
        _ => false,
    }
}

/// Both sides as text, in the same notation.
fn as_text(before: &Value, after: &Value) -> (String, String) {
    let (before, after) = policy::aligned(before, after);
    (sanitize(&text(&before)), sanitize(&text(&after)))
}

/// A structure is shown in the notation of plans, whose lines differ without commas and braces.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).map(|item| format!("{item}\n")).collect()
        }
        other => serde_saphyr::to_string(other).unwrap_or_else(|_| other.to_string()),
    }
}

/// A value on one line.
pub fn brief(value: &Value) -> String {
    short(value).unwrap_or_default().replace('\n', " ")
}

/// A value on one line; `None` when there is none.
fn short(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.trim_end_matches('\n').to_owned(),
        other => other.to_string(),
    };
    Some(sanitize(&text).replace('\t', " "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::review::Sign;
    use crate::review::testing::{step, with_secret};

    fn one(action: &str, before: Value, after: Value) -> Content {
        let step = step("a", "aws.x", action, &[("f", before, after)]);
        fields(&step).remove(0).content
    }

    #[test]
    fn short_values_are_shown_on_one_line() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(one("create", json!(null), json!("x")), Content::Set("x".into()));
        assert_eq!(one("update", json!(true), json!(false)), Content::Changed(some("true"), some("false")));
        assert_eq!(one("update", json!(null), json!(["a"])), Content::Changed(None, some("[\"a\"]")));
        assert_eq!(one("update", json!(""), json!(null)), Content::Changed(some("\"\""), None));
    }

    #[test]
    fn durations_are_shown_in_readable_units() {
        let rows = [
            ("token_ttl", 14_400, " (4h)"),
            ("max_session_duration", 5_400, " (1h30m)"),
            ("a.ttl", 59, ""),
            ("size", 60, ""),
        ];
        for (path, seconds, words) in rows {
            assert_eq!(as_time(path, &json!(seconds)), words, "{path} {seconds}");
        }
    }

    #[test]
    fn long_values_are_compared_line_by_line() {
        assert_eq!(one("create", json!(null), json!("a\nb\n")), Content::Text(vec!["a".into(), "b".into()]));
        let Content::Lines(lines) = one("update", json!("a\nb\n"), json!("a\nc\n")) else {
            panic!("no lines")
        };
        let told: Vec<(Sign, &str)> = lines.iter().map(|line| (line.sign, line.text.as_str())).collect();
        assert_eq!(told, [(Sign::Same, "a"), (Sign::Removed, "b"), (Sign::Added, "c")]);
        let long = |last: &str| json!([format!("arn:{}", "x".repeat(60)), last]);
        let Content::Lines(lines) = one("update", long("one"), long("two")) else { panic!("no lines") };
        assert_eq!(lines[1].text, "one");
    }

    #[test]
    fn secrets_are_shown_as_words() {
        let base = || step("a", "vault.kv_secret", "update", &[]);
        let rows = [
            (SecretChange::New, "sensitive, new: env DB_URL"),
            (SecretChange::Changed, "sensitive, changed: env DB_URL"),
            (SecretChange::Unchanged, "sensitive, unchanged"),
            (SecretChange::Resent, "sensitive, resent: env DB_URL"),
        ];
        for (what, words) in rows {
            let step = with_secret(base(), "data.url", what, "env DB_URL");
            assert_eq!(fields(&step)[0].content, Content::Secret(what, words.into()));
        }
    }

    #[test]
    fn field_values_cannot_control_the_terminal() {
        let hostile = "a\u{1b}[31mb\u{7}\u{202e}c";
        let mut step =
            step("a", "x.y", "update", &[(hostile, json!(hostile), json!(format!("{hostile}\nb")))]);
        step.changes[0].note = Some(hostile.to_owned());
        // What is shown escaped has a backslash of its own.
        let text = format!("{:?}", fields(&step)).replace("\\\\u{", "");
        assert!(
            !text.contains("\\u{1b}") && !text.contains("\\u{7}") && !text.contains("\\u{202e}"),
            "{text}"
        );
    }
}
