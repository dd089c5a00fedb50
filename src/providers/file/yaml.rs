//! YAML as every reader understands it. Kubernetes and Helm read version 1.1, in which `on` is a boolean and `1:30` a
//! number; other readers follow 1.2. Texts that either could take for something else are quoted as in JSON.

use std::fmt::Write as _;

use serde_json::Value;

/// Words that are booleans or nothing in one of the versions.
const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"];

/// Documents as a text.
pub fn to_text(documents: &[Value]) -> String {
    let mut text = String::new();
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            text.push_str("---\n");
        }
        match document {
            Value::Object(fields) if !fields.is_empty() => block(document, 0, &mut text),
            Value::Array(items) if !items.is_empty() => block(document, 0, &mut text),
            plain => {
                let _ = writeln!(text, "{plain}");
            }
        }
    }
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let margin = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let _ = write!(text, "{margin}{}:", scalar(name));
                below(value, depth + 1, text);
            }
        }
        Value::Array(items) => {
            for item in items {
                let _ = write!(text, "{margin}-");
                match item {
                    Value::Object(fields) if !fields.is_empty() => entry(item, depth + 1, text),
                    item => below(item, depth + 1, text),
                }
            }
        }
        _ => {}
    }
}

/// A map in a list begins on the line of its dash.
fn entry(item: &Value, depth: usize, text: &mut String) {
    let mut inner = String::new();
    block(item, depth, &mut inner);
    text.push(' ');
    text.push_str(inner.trim_start());
}

fn below(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            block(value, depth, text);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(value, depth, text);
        }
        Value::String(string) if is_lines(string) => {
            text.push_str(" |\n");
            let margin = "  ".repeat(depth);
            for line in string.lines() {
                let _ = writeln!(text, "{}", format!("{margin}{line}").trim_end_matches(' '));
            }
        }
        Value::String(string) => {
            let _ = writeln!(text, " {}", scalar(string));
        }
        other => {
            let _ = writeln!(text, " {other}");
        }
    }
}

/// Whether a text is kept as it is by the notation for lines.
fn is_lines(text: &str) -> bool {
    let is_kept = |line: &str| !line.ends_with(' ') && line.chars().all(|c| c == '\t' || !c.is_control());
    let ends_once = text.ends_with('\n') && !text.ends_with("\n\n");
    ends_once
        && text.lines().count() > 1
        && !text.starts_with([' ', '\n', '\t'])
        && text.lines().all(is_kept)
        && !text.contains('\r')
}

fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let is_safe = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_plain);
    if is_safe && !WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// As in JSON; what YAML does not print is escaped too.
fn quoted(text: &str) -> String {
    let is_hidden =
        |c: char| c == '\u{feff}' || c >= '\u{7f}' && (c.is_control() || "\u{2028}\u{2029}".contains(c));
    let mut all = String::new();
    for c in Value::from(text).to_string().chars() {
        if is_hidden(c) {
            let _ = write!(all, "\\u{:04x}", u32::from(c));
        } else {
            all.push(c);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_reads_back_as_the_same_documents() {
        let all = vec![
            json!({
                "a": { "on": "yes", "b": ["x", 1, { "c": [], "d": {} }, ["n", ["o"]], null] }, "1:30": "0o7",
                "text": "first\n  second\n\nlast\n", "spaces": "a \nb\n", "crlf": "a\r\nb\n", "one": "x\n", "two": "x\n\n",
                "quote": "it's \"so\": #1\t\u{7f}\u{85}\u{2028}\u{feff}", "empty": "", "number": "1e3", "date": "2026-01-01", "tilde": "~",
            }),
            json!(["a", { "b": 1.5, "c": { "d": false } }]),
            json!({}),
        ];
        let text = to_text(&all);
        let read: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        assert_eq!(read, all, "{text}");
    }

    #[test]
    fn words_of_yaml_1_1_are_quoted() {
        let text =
            to_text(&[json!({ "a": "on", "b": "12_000", "c": "1:30", "d": "plain/text-1.0", "e": "NO" })]);
        assert_eq!(text, "a: \"on\"\nb: \"12_000\"\nc: \"1:30\"\nd: plain/text-1.0\ne: \"NO\"\n");
    }

    #[test]
    fn lines_and_lists_are_easy_to_read() {
        let text = to_text(&[
            json!({ "config": "ui = true\nx {\n}\n", "list": [{ "name": "a", "in": { "b": 1 } }] }),
        ]);
        assert_eq!(text, "config: |\n  ui = true\n  x {\n  }\nlist:\n  - name: a\n    in:\n      b: 1\n");
    }
}
