//! Writes HCL that every version of the language reads.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// A text that is being written.
#[derive(Debug, Default)]
pub(crate) struct Document {
    text: String,
    depth: usize,
}

impl Document {
    /// Attributes, and one block for each object in a list; nothing for an empty list.
    pub(crate) fn fields(&mut self, fields: &Map<String, Value>) {
        for (name, value) in fields {
            match value {
                Value::Null => {}
                Value::Array(items) if items.iter().all(Value::is_object) => {
                    for fields in items.iter().filter_map(Value::as_object) {
                        self.block(name, &[], |block| block.fields(fields));
                    }
                }
                value => self.attribute(name, value),
            }
        }
    }

    /// `name = value`.
    pub(crate) fn attribute(&mut self, name: &str, value: &Value) {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
        let name = if plain { name.to_owned() } else { quoted(name) };
        let _ = writeln!(self.text, "{}{name} = {}", self.indent(), expression(value, self.depth));
    }

    /// `name "label" { … }`.
    pub(crate) fn block(&mut self, name: &str, labels: &[&str], within: impl FnOnce(&mut Self)) {
        let labels: String = labels.iter().map(|label| quoted(label) + " ").collect();
        let _ = writeln!(self.text, "{}{name} {labels}{{", self.indent());
        self.depth += 1;
        within(self);
        self.depth -= 1;
        let _ = writeln!(self.text, "{}}}", self.indent());
    }

    /// An empty line.
    pub(crate) fn gap(&mut self) {
        self.text.push('\n');
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn indent(&self) -> String {
        "  ".repeat(self.depth)
    }
}

/// A text in quotes. `${` would begin something that is not text.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace("${", "\\u0024{")
}

fn expression(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| expression(item, depth)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let line = |(name, value): (&String, &Value)| {
                format!("{indent}  {} = {}\n", quoted(name), expression(value, depth + 1))
            };
            format!("{{\n{}{indent}}}", fields.iter().map(line).collect::<String>())
        }
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{parse, value_of};
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let fields = json!({
            "text": "a \"b\" ${c} $${d}\n\\ é", "list": [1, "x", [true]], "map": { "a b": { "c": "d" } },
            "blocks": [{ "a": 1 }, { "a": 2 }],
        });
        let mut document = Document::default();
        document.fields(fields.as_object().expect("fields"));
        document.block("path", &["x/${y}", "z"], |block| block.attribute("on", &json!(true)));
        let text = document.into_text();
        let read = value_of(&parse(&text).expect(&text));
        for (name, value) in fields.as_object().expect("fields") {
            assert_eq!(&read[name], value, "{name} in\n{text}");
        }
        assert_eq!(read["path"]["x/${y}"]["z"]["on"], true, "{text}");
    }
}
