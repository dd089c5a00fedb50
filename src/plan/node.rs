//! A YAML tree in which every key and value knows where it stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

use super::diagnostic::{Diagnostic, Span};

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: NodeValue,
}

/// A YAML value.
#[derive(Clone, Debug)]
pub enum NodeValue {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer or a finite float.
    Number(Number),
    /// Text.
    String(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A mapping's key and its place.
#[derive(Clone, Debug)]
pub struct Key {
    /// Where it stands.
    pub span: Span,
    /// Its text.
    pub name: String,
}

/// Nodes in one document; the quickstart has 300, a plan of 10,000 secrets 100,000.
const MAX_NODES: usize = 1_000_000;
/// Alias expansions in one document; enough for shared blocks, too few for a bomb.
const MAX_ALIASES: usize = 1_000;
/// Levels of nesting.
const MAX_DEPTH: usize = 64;

impl Node {
    /// Parses one YAML document.
    ///
    /// # Errors
    /// Syntax errors, duplicate keys, several documents, values past the limits above.
    pub fn parse(text: &str, file: usize) -> Result<Self, Diagnostic> {
        let raw: Raw = serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
            let span = error.location().map(|location| span_of(location, file, text));
            Diagnostic::error(span, message_of(&error))
        })?;
        Ok(raw.into_node(file, text))
    }

    /// A value that stands in no file.
    pub fn of(value: Value) -> Self {
        let key = |name| Key { span: Span::default(), name };
        let value = match value {
            Value::Null => NodeValue::Null,
            Value::Bool(flag) => NodeValue::Bool(flag),
            Value::Number(number) => NodeValue::Number(number),
            Value::String(text) => NodeValue::String(text),
            Value::Array(items) => NodeValue::List(items.into_iter().map(Self::of).collect()),
            Value::Object(fields) => {
                NodeValue::Map(fields.into_iter().map(|(name, value)| (key(name), Self::of(value))).collect())
            }
        };
        Self { span: Span::default(), value }
    }

    /// The value of a mapping's key.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entries().iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            NodeValue::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            NodeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, for error messages.
    pub fn describe(&self) -> &'static str {
        match self.value {
            NodeValue::Null => "nothing",
            NodeValue::Bool(_) => "a boolean",
            NodeValue::Number(_) => "a number",
            NodeValue::String(_) => "a string",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a map",
        }
    }

    /// The same value without places.
    pub fn to_value(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(flag) => Value::Bool(*flag),
            NodeValue::Number(number) => Value::Number(number.clone()),
            NodeValue::String(text) => Value::String(text.clone()),
            NodeValue::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            NodeValue::Map(entries) => {
                let fields: Map<String, Value> =
                    entries.iter().map(|(key, node)| (key.name.clone(), node.to_value())).collect();
                Value::Object(fields)
            }
        }
    }

    /// The span of what a dotted path such as `tags.Owner` or `rules[2]` leads to, or of the
    /// deepest node on the way that exists. A path's last key is pointed at itself.
    pub fn span_at(&self, path: &str) -> Span {
        self.find(path).0
    }

    /// As [`Node::span_at`], and whether the path led all the way.
    pub fn find(&self, path: &str) -> (Span, bool) {
        let mut node = self;
        let mut span = self.span;
        for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
            let next = match &node.value {
                NodeValue::List(items) => part.parse().ok().and_then(|index: usize| items.get(index)),
                NodeValue::Map(entries) => {
                    entries.iter().find(|(key, _)| key.name == part).map(|(key, node)| {
                        span = key.span;
                        node
                    })
                }
                _ => None,
            };
            let Some(found) = next else { return (span, false) };
            if !matches!(node.value, NodeValue::Map(_)) {
                span = found.span;
            }
            node = found;
        }
        (span, true)
    }

    /// Calls `visit` with every string below, and its place.
    pub fn strings<'a>(&'a self, visit: &mut dyn FnMut(&'a str, Span)) {
        match &self.value {
            NodeValue::String(text) => visit(text, self.span),
            NodeValue::List(items) => items.iter().for_each(|item| item.strings(visit)),
            NodeValue::Map(entries) => entries.iter().for_each(|(_, node)| node.strings(visit)),
            NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) => {}
        }
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // Otherwise `alias: no` would be the boolean false.
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_aliases: MAX_ALIASES, max_depth: MAX_DEPTH },
    }
}

/// The parser's message without its own rendering of the place, which we draw ourselves.
fn message_of(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let end = [" at line ", ", set DuplicateKeyPolicy"].iter().filter_map(|tail| first.find(tail)).min();
    first[..end.unwrap_or(first.len())].to_owned()
}

fn span_of(location: Location, file: usize, text: &str) -> Span {
    let length = usize::try_from(location.span().byte_len().unwrap_or(1)).unwrap_or(1);
    let start =
        location.span().byte_offset().and_then(|offset| usize::try_from(offset).ok()).unwrap_or_default();
    let start = floor_char(text, start);
    Span { file, start, end: floor_char(text, (start + length.max(1)).min(text.len())) }
}

fn floor_char(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A node whose places are still the parser's.
struct Raw(Spanned<RawValue>);

enum RawValue {
    Scalar(NodeValue),
    List(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

impl Raw {
    fn into_node(self, file: usize, text: &str) -> Node {
        let span = span_of(self.0.referenced, file, text);
        let value = match self.0.value {
            RawValue::Scalar(value) => value,
            RawValue::List(items) => {
                NodeValue::List(items.into_iter().map(|item| item.into_node(file, text)).collect())
            }
            RawValue::Map(entries) => NodeValue::Map(
                entries
                    .into_iter()
                    .map(|(key, raw)| {
                        let span = span_of(key.referenced, file, text);
                        (Key { span, name: key.value }, raw.into_node(file, text))
                    })
                    .collect(),
            ),
        };
        Node { span, value }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::<RawValue>::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(NodeValue::Null))
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(NodeValue::Null))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(NodeValue::Bool(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(NodeValue::Number(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(NodeValue::Number(number.into())))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<RawValue, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("numbers must be finite"))?;
        Ok(RawValue::Scalar(NodeValue::Number(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(NodeValue::String(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(NodeValue::String(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
        let mut entries: Vec<(Spanned<String>, Raw)> = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            if key.value.is_empty() {
                return Err(A::Error::custom("a key must not be empty"));
            }
            entries.push((key, map.next_value()?));
        }
        Ok(RawValue::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_places() {
        let text = "a: 1\nb:\n  - x: no\n    y: \"två\"\n";
        let node = Node::parse(text, 0).expect("valid");
        assert_eq!(node.to_value(), serde_json::json!({ "a": 1, "b": [{ "x": "no", "y": "två" }] }));
        let at = |path: &str| {
            let span = node.span_at(path);
            &text[span.start..span.end]
        };
        assert_eq!(at("b[0].y"), "y");
        assert_eq!(at("b[0].zzz"), "x");
        assert_eq!(at("a"), "a");
    }

    #[test]
    fn mistakes_have_a_place_and_a_message() {
        let error = Node::parse("a: 1\nb: 2\na: 3\n", 0).expect_err("duplicate");
        assert!(error.message.contains("duplicate"), "{}", error.message);
        assert_eq!(error.span.map(|span| span.start), Some(10));
        assert!(Node::parse("a: [1, 2\nb: 3", 0).is_err());
        assert!(Node::parse("a: .nan", 0).is_err());
    }

    #[test]
    fn bombs_die_fast() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let previous = vec![format!("*a{}", level - 1); 9].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
        }
        assert!(Node::parse(&text, 0).is_err());
        assert!(Node::parse(&"[".repeat(100_000), 0).is_err());
    }
}
