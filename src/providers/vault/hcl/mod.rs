//! The first version of HCL, and JSON in its place: the notation of policies, password policies and server
//! configurations.
//!
//! The servers read it with <https://github.com/hashicorp/hcl> 1 (`hcl/scanner`, `hcl/parser`, `json/parser`). Its
//! successor, which the crates for HCL implement, refuses several attributes on a line, a brace on the next line and
//! quoted names. The grammar, as that scanner and that parser read it:
//!
//! ```text
//! file    = { item [ "," ] }
//! item    = name "=" value | name { name } object
//! name    = identifier | quoted
//! value   = number | "true" | "false" | quoted | heredoc | list | object
//! list    = "[" { value | "," } "]"         with a comma between two values
//! object  = "{" { item [ "," ] } "}"
//! comment = "#" line | "//" line | "/*" text "*/"
//! ```
//!
//! All duplicates stay in the tree: the server merges those of a policy, and a parser that kept only the last one
//! would mistake a wider policy for a narrower one. Text that the server would silently leave out is refused.

mod json;
mod parser;
mod scanner;
mod text;
mod writer;

use std::fmt;

use serde_json::{Map, Number, Value};

pub(super) use writer::Document;

/// A named value: `name = value`, or a block `name "label" { … }`, whose labels are further names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub names: Vec<String>,
    pub value: Node,
    /// The line of the name.
    pub line: usize,
}

/// A parsed value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// A text, a number, a boolean or null.
    Scalar(Value),
    List(Vec<Self>),
    Object(Vec<Item>),
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub line: usize,
    pub what: String,
}

impl Mistake {
    pub(super) fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

type Result<T> = std::result::Result<T, Mistake>;

/// The maximum nesting of values and blocks. A policy needs six levels; the readers of the tree are recursive.
const DEEPEST: usize = 64;

/// Parses a text. As on the server, a text that begins with a brace is JSON.
///
/// # Errors
/// The line and the part that is not understood.
pub(super) fn parse(text: &str) -> Result<Vec<Item>> {
    match text.trim_start().starts_with('{') {
        true => json::parse(text),
        false => parser::parse(text),
    }
}

/// The items with this name, without it. The server ignores the case of names.
pub(super) fn named<'a>(items: &'a [Item], name: &str) -> impl Iterator<Item = (&'a [String], &'a Item)> {
    items.iter().filter_map(move |item| match item.names.split_first() {
        Some((first, rest)) if first.eq_ignore_ascii_case(name) => Some((rest, item)),
        _ => None,
    })
}

/// The tree as a map. Labels are levels of their own; repeated items become a list.
pub(super) fn value_of(items: &[Item]) -> Value {
    let mut all = Map::new();
    for item in items {
        insert(&mut all, &item.names, plain(&item.value));
    }
    Value::Object(all)
}

fn insert(map: &mut Map<String, Value>, names: &[String], value: Value) {
    match names {
        [] => {}
        [name] => match map.get_mut(name) {
            None => drop(map.insert(name.clone(), value)),
            Some(Value::Array(several)) if value.is_object() => several.push(value),
            Some(before) => *before = Value::Array(vec![before.take(), value]),
        },
        [label, rest @ ..] => {
            let below = map.entry(label.as_str()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(below) = below {
                return insert(below, rest, value);
            }
            // The items of the same name without a label.
            let mut beside = Map::from_iter([(String::new(), below.take())]);
            insert(&mut beside, rest, value);
            *below = Value::Object(beside);
        }
    }
}

/// A value as JSON.
pub(super) fn plain(node: &Node) -> Value {
    match node {
        Node::Scalar(value) => value.clone(),
        Node::List(items) => items.iter().map(plain).collect(),
        Node::Object(items) => value_of(items),
    }
}

impl Node {
    fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    fn text(text: impl Into<String>) -> Self {
        Self::Scalar(Value::String(text.into()))
    }

    fn number(number: impl Into<Number>) -> Self {
        Self::Scalar(Value::Number(number.into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tree(text: &str) -> Value {
        value_of(&parse(text).expect(text))
    }

    #[test]
    fn every_shape_of_a_block_is_the_same() {
        let expected = json!({ "path": { "a": { "b": 1, "c": [true, "x"] } } });
        let shapes = [
            "path \"a\" {\n  b = 1\n  c = [true, \"x\"]\n}",
            "path \"a\"\n{\n  b = 1 c = [true, \"x\",]\n}\n",
            "path \"a\" { b = 1, c = [true, \"x\"] }",
            "\"path\" \"a\" { \"b\" = 1 \"c\" = [\n true, # one\n \"x\" // two\n] }",
            "path a { /* for\nall */ b=1 c=[true,\"x\"] }",
            "path = { a = { b = 0x1, c = [,true,,\"x\"] } }",
            "path \"a\" {\r\n  b = 01\r\n  c = [true, \"x\"]\r\n}\r\n",
        ];
        for shape in shapes {
            assert_eq!(tree(shape), expected, "{shape}");
        }
        assert_eq!(tree(r#"{"path": {"a": {"b": 1, "c": ["x",],},}}"#)["path"]["a"]["c"], json!(["x"]));
    }

    #[test]
    fn json_blocks_become_labels() {
        let shapes = [
            r#"{"path": {"a": {"b": 1}, "c": {"b": 2}}}"#,
            r#"{"path": [{"a": {"b": 1}}, {"c": {"b": 2}}]}"#,
        ];
        for shape in shapes {
            let items = parse(shape).expect(shape);
            let names: Vec<String> = items.iter().map(|item| item.names.join(" ")).collect();
            assert_eq!(names, ["path a", "path c"], "{shape}");
        }
        assert!(parse("{\"a\": 1,\n \"b\": [true]}").expect_err("dropped").to_string().starts_with("line 2"));
    }

    #[test]
    fn duplicates_are_all_kept() {
        for text in ["a = 1\na = 2", "a = 1 a = 2", r#"{"a": 1, "a": 2}"#] {
            assert_eq!(parse(text).expect(text).len(), 2, "{text}");
            assert_eq!(tree(text), json!({ "a": [1, 2] }));
        }
        assert_eq!(
            tree("a { b = 1 }\na { b = 2 }\na { b = 3 }"),
            json!({ "a": [{"b": 1}, {"b": 2}, {"b": 3}] })
        );
    }

    #[test]
    fn texts_are_read_like_the_server_does() {
        let text = |written: &str| tree(&format!("a = {written}"))["a"].clone();
        assert_eq!(text(r#""a\"b\\c\u00e9\x41\101""#), "a\"b\\céAA");
        assert_eq!(text("\"a${x \"quoted\" {y}}b\""), "a${x \"quoted\" {y}}b");
        assert_eq!(text("\"{{identity.entity.id}}/%{x}\""), "{{identity.entity.id}}/%{x}");
        assert_eq!(text("<<EOT\none\n  two\nEOT\n"), "one\n  two\n");
        assert_eq!(text("<<-EOT\n    one\n      two\n    EOT\n"), "one\n  two\n");
        assert_eq!(tree("a = <<X\n\"b\"\nX\nb = 2"), json!({ "a": "\"b\"\n", "b": 2 }));
        assert_eq!(tree("a = -1 b = 1.5 c = 1e3"), json!({ "a": -1, "b": 1.5, "c": 1000.0 }));
    }

    #[test]
    fn deep_nesting_is_refused_with_its_line() {
        for (open, count) in [("[", 50_000), ("{ x = ", 50_000), ("[", DEEPEST + 1)] {
            let text = format!("x = {}", open.repeat(count));
            assert!(parse(&text).expect_err(open).to_string().starts_with("line 1: more than"), "{open}");
        }
        for text in [
            "x { ".repeat(50_000),
            format!("path {} {{ }}", "\"a\" ".repeat(50_000)),
            "{\"a\":".repeat(50_000),
        ] {
            assert!(parse(&text).expect_err("deep").to_string().contains("more than"));
        }
        assert!(parse(&format!("x = {}{}", "[".repeat(DEEPEST), "]".repeat(DEEPEST))).is_ok());
    }

    #[test]
    fn unknown_syntax_is_refused_with_its_line() {
        let texts = [
            "a",
            "path \"a\" {\n",
            "a = [1 2]",
            "a = b",
            "a = \"x",
            "a = \"\\q\"",
            "path \"a\" = 1",
            "}",
            "a = <<E\nE",
            "/* x",
            "a = 08",
            "a = 0x",
            "a = 1h",
            "a [\"b\"]",
            "a \"b\"",
            "a = \"x\ny\"",
            "a = [\"b\"",
            "a == 1",
            "{\"a\"}",
            "{\"a\": [[1]]}",
            "{\"a\": 1} b",
            "{\"a\": 01}",
            "1 = 2",
            "a = 99999999999999999999",
            "a = \"${x\"",
            "a: 1",
            "true = 1",
            "a = <<E x\nE\n",
            "a = \"\\xff\"",
        ];
        for text in texts {
            assert!(parse(text).expect_err(text).to_string().starts_with("line "), "{text}");
        }
        assert!(parse("a = 1\n}").expect_err("a brace").to_string().starts_with("line 2"));
        let unit = parse("a {\n ttl = 1h\n}").expect_err("a unit").to_string();
        assert_eq!(unit, "line 2: `1h` is not a number; put text in quotes");
    }
}
