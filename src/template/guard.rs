//! Values that a template inserts must not break out of where they are inserted.
//!
//! Templates make policies (HCL, JSON) and files in which text stands between double quotes, or a
//! line means something by itself. A value with a quote or a line break in it, from a variable or
//! another system, could end that place and go on as a rule of its own. So each such value is
//! marked when it is printed, and checked where it stands in the result.

use minijinja::{AutoEscape, Environment, Error, Output, State, Value};

/// Before a value that must be checked.
const OPEN: char = '\u{f8f2}';
/// After it.
const CLOSE: char = '\u{f8f3}';

/// Marks what is printed. Text of the template itself, also where macros and `set` blocks carry it,
/// and what the filters `safe` and `tojson` give is trusted.
pub fn install(environment: &mut Environment<'_>) {
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("guarded".into()));
    environment.set_formatter(print);
}

/// The characters that can end the place where a value stands, and our own marks.
const BREAKING: [char; 6] = ['"', '\\', '\n', '\r', OPEN, CLOSE];

/// Whether a template's own text holds a mark, which would pair with those that are put around values.
pub fn has_mark(text: &str) -> bool {
    text.contains([OPEN, CLOSE])
}

/// What is wrong with text that holds a mark.
pub const RESERVED: &str = "the characters U+F8F2 and U+F8F3 are reserved";

fn print(out: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    let text = value.to_string();
    let written = match !value.is_safe() && text.contains(BREAKING) {
        true => write!(out, "{OPEN}{}{CLOSE}", text.replace([OPEN, CLOSE], "\u{fffd}")),
        false => out.write_str(&text),
    };
    written.map_err(Error::from)
}

/// The rendered text without marks.
///
/// # Errors
/// When a value would break out. The message names the line of the result, never the value.
pub fn release(rendered: &str) -> Result<String, String> {
    if !rendered.contains([OPEN, CLOSE]) {
        return Ok(rendered.to_owned());
    }
    let mut place = Place::default();
    let mut released = String::with_capacity(rendered.len());
    let mut rest = rendered;
    while let Some(at) = rest.find(OPEN) {
        let (before, marked) = rest.split_at(at);
        place.pass(before);
        released.push_str(before);
        let Some((value, after)) = marked[OPEN.len_utf8()..].split_once(CLOSE) else {
            return Err(RESERVED.to_owned());
        };
        place.judge(value)?;
        place.line += value.matches('\n').count();
        released.push_str(value);
        rest = after;
    }
    released.push_str(rest);
    Ok(released)
}

/// Where in the result we are.
#[derive(Default)]
struct Place {
    /// Lines before this one.
    line: usize,
    in_quotes: bool,
    escaped: bool,
    /// Whether something stands in this line already.
    in_line: bool,
}

impl Place {
    /// Goes on over text of the template.
    fn pass(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                // Neither in HCL nor in JSON does a string go on in the next line.
                '\n' => *self = Self { line: self.line + 1, ..Self::default() },
                '"' if !self.escaped => self.in_quotes = !self.in_quotes,
                _ => {}
            }
            self.escaped = c == '\\' && !self.escaped;
            self.in_line |= !c.is_whitespace();
        }
    }

    fn judge(&self, value: &str) -> Result<(), String> {
        let (what, instead) = match () {
            () if self.in_quotes => ("a quote, a backslash or a line break, between double quotes", "tojson"),
            () if self.in_line && value.trim_end_matches('\n').contains(['\n', '\r']) => {
                ("a line break, within a line", "replace('\\n', ' ')")
            }
            () => return Ok(()),
        };
        Err(format!(
            "line {} of the result would get a value with {what}, and the value could break out of there; \
             write `{{{{ … | {instead} }}}}`, or `{{{{ … | safe }}}}` if that is meant",
            self.line + 1
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::RESERVED;
    use crate::template;

    fn render(text: &str, values: &Value) -> Result<String, String> {
        template::render(text, &values.clone().into())
    }

    const RULE: &str = "path \"secret/{{ x }}/*\" {\n  capabilities = [\"read\"]\n}\n";

    #[test]
    fn value_cannot_break_out_of_quotes() {
        assert!(render(RULE, &json!({ "x": "app" })).is_ok());
        for hostile in ["a\" {", "a\\", "a\nb", "a\r"] {
            let refused = render(RULE, &json!({ "x": hostile })).expect_err(hostile);
            assert!(refused.starts_with("line 1 of the result") && !refused.contains(hostile), "{refused}");
        }
        assert!(render("[\"{{ x }}\"]", &json!({ "x": ["a\"b"] })).is_err(), "in a list too");
    }

    #[test]
    fn value_within_a_line_cannot_add_lines() {
        assert!(render("A={{ x }}\n", &json!({ "x": "1\nB=2" })).is_err());
        assert_eq!(render("ca:\n  {{ x }}\n", &json!({ "x": "a\nb" })).as_deref(), Ok("ca:\n  a\nb\n"));
        assert!(render("A={{ x }}", &json!({ "x": "1\n" })).is_ok(), "as a file's text ends");
    }

    #[test]
    fn explicit_filters_allow_special_characters() {
        let x = json!({ "x": "a \"b\"\n" });
        assert_eq!(render("a = {{ x|tojson }}", &x).as_deref(), Ok("a = \"a \\\"b\\\"\\n\""));
        assert_eq!(render("\"{{ x|safe }}\"", &x).as_deref(), Ok("\"a \"b\"\n\""));
        let list = render("{% for c in x %}{{ c }}{% endfor %}, {{ x|tojson }}", &json!({ "x": ["a", "b"] }));
        assert_eq!(list.as_deref(), Ok("ab, [\"a\", \"b\"]"));
    }

    #[test]
    fn template_text_is_trusted_but_values_are_not() {
        let macro_text = "{% macro rule(x) %}path \"{{ x }}\" {\n}\n{% endmacro %}rules: {{ rule(p) }}";
        assert!(render(macro_text, &json!({ "p": "a" })).is_ok());
        assert!(render(macro_text, &json!({ "p": "a\" b" })).is_err());
        let set_text = "{% set line %}a = \"{{ x }}\"\n{% endset %}{{ line }}";
        assert!(render(set_text, &json!({ "x": "1" })).is_ok());
        assert!(render(set_text, &json!({ "x": "1\"" })).is_err());
    }

    #[test]
    fn guard_marks_cannot_be_forged() {
        assert!(render("\"{{ x }}\"", &json!({ "x": "\u{f8f3}\" {\u{f8f2}" })).is_err());
        for text in ["\u{f8f2}{{ x }}", "{{ x }}\u{f8f3}", "\u{f8f2}a\u{f8f3}"] {
            assert_eq!(render(text, &json!({ "x": "\"" })).as_deref(), Err(&RESERVED.to_owned()), "{text:?}");
        }
    }
}
