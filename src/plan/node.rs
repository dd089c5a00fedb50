//! A YAML tree in which every key and value knows where it stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

use super::diagnostic::{Diagnostic, Span};
use super::syntax;

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// The parsed value.
    pub value: NodeValue,
    /// The text in the file, for a value that is neither text nor quoted: `0042` of a number, `~` of nothing.
    pub source: Option<Box<str>>,
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
const MAX_NODES: usize = 400_000;
/// Steps of the parser; nodes that aliases repeat count every time.
const MAX_EVENTS: usize = 500_000;
/// Steps of the parser below anchors, which aliases repeat.
const MAX_REPEATED: usize = 50_000;
/// Text in one document, in bytes; text that aliases repeat counts every time.
const MAX_TEXT: usize = 16 * 1024 * 1024;
/// Alias expansions in one document; enough for shared blocks, too few for a bomb.
const MAX_ALIASES: usize = 1_000;
/// The stack of the thread that parses, in bytes; taken only as far as it is used.
const STACK: usize = 256 * 1024 * 1024;
/// Levels of nesting.
const MAX_DEPTH: usize = 64;

impl Node {
    /// Parses one YAML document.
    ///
    /// # Errors
    /// Syntax errors, duplicate keys, several documents, values past the limits above.
    pub fn parse(text: &str, file: usize) -> Result<Self, Diagnostic> {
        // Even the levels that are allowed may take more than the stack of a usual thread.
        let result = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK);
            let parsed = thread.spawn_scoped(scope, || Self::parse_here(text, file)).ok()?;
            parsed.join().ok()
        });
        result.unwrap_or_else(|| {
            Err(Diagnostic::error(None, "the file cannot be read: there is no thread for it"))
        })
    }

    fn parse_here(text: &str, file: usize) -> Result<Self, Diagnostic> {
        let raw: Raw = serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
            let span = error.location().map(|location| span_of(location, file, text));
            syntax::explain(&error, text, span)
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
        Self { span: Span::default(), value, source: None }
    }

    /// Text as it stands in the file, also where YAML reads a number or a truth value.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Bool(_) | NodeValue::Number(_) => self.source.as_deref(),
            _ => self.as_str(),
        }
    }

    /// The scalars below, this one included, that YAML reads as something else than what stands in the
    /// file: neither text nor an integer, a truth value or nothing as JSON writes it.
    pub fn changed_by_yaml(&self) -> Vec<Diagnostic> {
        match &self.value {
            NodeValue::List(items) => items.iter().flat_map(Node::changed_by_yaml).collect(),
            NodeValue::Map(entries) => entries.iter().flat_map(|(_, node)| node.changed_by_yaml()).collect(),
            _ => self.source.as_deref().and_then(|source| self.changed(source)).into_iter().collect(),
        }
    }

    fn changed(&self, source: &str) -> Option<Diagnostic> {
        let value = self.to_value();
        let written = value.to_string();
        let is_float = matches!(&self.value, NodeValue::Number(number) if number.is_f64());
        let is_nothing = value.is_null() && source.is_empty();
        if is_nothing || (written == source && !is_float) {
            return None;
        }
        let message = match written == source {
            true => format!("`{source}` can be a number or text"),
            false => format!("`{source}` does not stay as it is written: YAML reads it as {written}"),
        };
        Some(Diagnostic::error(self.span, message).help(format!("put text in quotes: `\"{source}\"`")))
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

    /// The type of the value, for error messages.
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

    /// The value that a dotted path leads to.
    pub fn at(&self, path: &str) -> Option<&Node> {
        path.split(['.', '[', ']']).filter(|part| !part.is_empty()).try_fold(self, |node, part| {
            match &node.value {
                NodeValue::List(items) => part.parse().ok().and_then(|index: usize| items.get(index)),
                NodeValue::Map(_) => node.get(part),
                _ => None,
            }
        })
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

    /// Calls `visit` with every string below, keys included, and its place.
    pub fn texts<'a>(&'a self, visit: &mut dyn FnMut(&'a str, Span)) {
        match &self.value {
            NodeValue::String(text) => visit(text, self.span),
            NodeValue::List(items) => items.iter().for_each(|item| item.texts(visit)),
            NodeValue::Map(entries) => {
                for (key, node) in entries {
                    visit(&key.name, key.span);
                    node.texts(visit);
                }
            }
            NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) => {}
        }
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
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_events: MAX_EVENTS, max_recorded_anchor_events: MAX_REPEATED,
            max_total_scalar_bytes: MAX_TEXT, max_aliases: MAX_ALIASES, max_depth: MAX_DEPTH,
            max_merge_keys: MAX_ALIASES },
    }
}

fn span_of(location: Location, file: usize, text: &str) -> Span {
    let length = usize::try_from(location.span().byte_len().unwrap_or(1)).unwrap_or(1);
    let start = location.span().byte_offset().and_then(|offset| usize::try_from(offset).ok());
    let start = floor_char(text, start.unwrap_or_else(|| offset_of(location, text)));
    Span { file, start, end: floor_char(text, (start + length.max(1)).min(text.len())) }
}

/// Where a line and a column are, for errors of the scanner, which have no offset in bytes.
fn offset_of(location: Location, text: &str) -> usize {
    let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let mut lines = text.split_inclusive('\n');
    let before: usize = lines.by_ref().take(index(location.line())).map(str::len).sum();
    let line = lines.next().unwrap_or_default().trim_end_matches(['\r', '\n']);
    before + line.chars().take(index(location.column())).map(char::len_utf8).sum::<usize>()
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
        let mut source = None;
        let value = match self.0.value {
            RawValue::Scalar(value) => {
                source = written(&value, span_of(self.0.defined, file, text), text);
                value
            }
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
        Node { span, value, source }
    }
}

/// The text in the file of a number, a truth value or nothing; `None` when that is more than the scalar
/// itself, such as a tag.
fn written(value: &NodeValue, span: Span, text: &str) -> Option<Box<str>> {
    let text = text.get(span.start..span.end)?.trim();
    let is_scalar = !text.contains(|c: char| c.is_whitespace() || "\"'!&*,[]{}#".contains(c));
    match value {
        NodeValue::Bool(_) | NodeValue::Number(_) if is_scalar => Some(text.into()),
        // The place of nothing is that of what follows.
        NodeValue::Null if !["~", "null", "Null", "NULL"].contains(&text) => Some("".into()),
        NodeValue::Null => Some(text.into()),
        _ => None,
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
    fn parsed_nodes_keep_values_and_spans() {
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
        assert!(Node::parse("a: .nan", 0).is_err());
        let error = Node::parse("a: 1e999", 0).expect_err("more than there is");
        assert_eq!(error.help.as_deref(), Some("put text in quotes: `\"1e999\"`"));
    }

    #[test]
    fn syntax_errors_name_their_line() {
        let rows = [
            ("a: [1, 2\nb: 3", 2),
            ("a: 1\nb: \"x\n", 2),
            ("a: 1\nä: [\n  x: }\n", 2),
            ("a: 1\n\tb: 2\n", 1),
            ("a: 1\nb: {{ x }}\n  - c\n", 2),
            ("a: 1\n b: 2\n", 1),
            ("a: *x\n", 1),
        ];
        for (text, line) in rows {
            let error = Node::parse(text, 0).expect_err(text);
            let start = error.span.map(|span| span.start).unwrap_or_default();
            let found = text[..start].matches('\n').count() + 1;
            assert_eq!(found, line, "{text:?}: {}", error.message);
        }
    }

    #[test]
    fn alias_and_nesting_bombs_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let previous = vec![format!("*a{}", level - 1); 9].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
        }
        assert!(Node::parse(&text, 0).is_err());
        assert!(Node::parse(&"[".repeat(100_000), 0).is_err());
    }
}
