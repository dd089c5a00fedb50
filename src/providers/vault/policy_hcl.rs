//! The notation of policies: the first version of HCL, or JSON, with all duplicates.
//!
//! The server merges duplicate entries of a block or a map. A parser that keeps only the last one
//! would mistake a wider policy for a narrower one. So this parser keeps all of them, and refuses
//! unknown syntax. Measured on OpenBao 2.7: two `capabilities` in one block are both granted, in
//! HCL and in JSON.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// A parsed value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// A text, a number, a boolean or null.
    Scalar(Value),
    /// A list.
    List(Vec<Self>),
    /// A map or a block, with duplicate entries.
    Entries(Vec<(String, Self)>),
}

/// The maximum nesting of values and blocks. A policy needs four levels; the readers of the tree
/// are recursive.
const DEEPEST: usize = 64;

/// Parses a policy.
///
/// # Errors
/// The line and the part that is not understood.
pub(super) fn read(text: &str) -> Result<Node, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let mut reader = Reader { rest: text.chars().peekable(), line: 1, depth: 0 };
    let entries = reader.entries(None)?;
    Ok(Node::Entries(entries))
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    /// How many values and blocks are open.
    depth: usize,
}

impl Reader<'_> {
    fn wrong<T>(&self, what: impl fmt::Display) -> Result<T, String> {
        Err(format!("line {}: {what}", self.line))
    }

    /// Runs `read` one level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth == DEEPEST {
            return self.wrong(format!("more than {DEEPEST} levels are nested"));
        }
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        found
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    /// The next significant character.
    fn peek(&mut self) -> Result<Option<char>, String> {
        loop {
            match self.rest.peek() {
                Some(c) if c.is_whitespace() => drop(self.next()),
                Some('#') => self.skip_line(),
                Some('/') => self.skip_comment()?,
                found => return Ok(found.copied()),
            }
        }
    }

    fn skip_line(&mut self) {
        while self.rest.peek().is_some_and(|c| *c != '\n') {
            self.next();
        }
    }

    fn skip_comment(&mut self) -> Result<(), String> {
        self.next();
        match self.next() {
            Some('/') => {
                self.skip_line();
                Ok(())
            }
            Some('*') => {
                let mut before = ' ';
                while let Some(c) = self.next() {
                    if before == '*' && c == '/' {
                        return Ok(());
                    }
                    before = c;
                }
                self.wrong("a comment is not closed")
            }
            _ => self.wrong("`/` is not understood here"),
        }
    }

    /// Entries up to `end`, or to the end of the text.
    fn entries(&mut self, end: Option<char>) -> Result<Vec<(String, Node)>, String> {
        let mut entries = Vec::new();
        loop {
            match self.peek()? {
                found if found == end => {
                    self.next();
                    return Ok(entries);
                }
                None => return self.wrong("a `}` is missing"),
                Some(_) => entries.push(self.entry()?),
            }
            if end.is_some() && self.peek()? == Some(',') {
                self.next();
            }
        }
    }

    /// `key = value`, or `key "label" { … }`, whose label becomes an entry of its own.
    fn entry(&mut self) -> Result<(String, Node), String> {
        let key = self.key()?;
        let mut labels = Vec::new();
        loop {
            match self.peek()? {
                Some('=') if labels.is_empty() => {
                    self.next();
                    return Ok((key, self.value()?));
                }
                Some('{') => {
                    self.next();
                    let body = Node::Entries(self.deeper(|own| own.entries(Some('}')))?);
                    let within = |body, label| Node::Entries(vec![(label, body)]);
                    return Ok((key, labels.into_iter().rev().fold(body, within)));
                }
                Some('"') if labels.len() == DEEPEST => return self.wrong("a block has too many labels"),
                Some('"') => labels.push(self.text()?),
                _ => return self.wrong(format!("expected `=` or `{{` after `{key}`")),
            }
        }
    }

    fn key(&mut self) -> Result<String, String> {
        match self.peek()? {
            Some('"') => self.text(),
            Some(c) if c.is_alphabetic() || c == '_' => Ok(self.word()),
            Some(c) => self.wrong(format!("`{c}` is not understood here")),
            None => self.wrong("the text ends too early"),
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.rest.peek().filter(|c| c.is_alphanumeric() || "_-.".contains(**c)) {
            word.push(*c);
            self.rest.next();
        }
        word
    }

    fn value(&mut self) -> Result<Node, String> {
        match self.peek()? {
            Some('"') => Ok(Node::Scalar(Value::String(self.text()?))),
            Some('[') => self.deeper(Self::list),
            Some('{') => {
                self.next();
                Ok(Node::Entries(self.deeper(|own| own.entries(Some('}')))?))
            }
            Some(c) if c.is_alphanumeric() || c == '-' => self.plain(),
            _ => self.wrong("expected a value"),
        }
    }

    /// A number or a boolean.
    fn plain(&mut self) -> Result<Node, String> {
        let word = self.word();
        let number = || word.parse::<Number>().ok().map(Value::Number);
        match word.as_str() {
            "true" => Ok(Node::Scalar(Value::Bool(true))),
            "false" => Ok(Node::Scalar(Value::Bool(false))),
            _ => match number() {
                Some(number) => Ok(Node::Scalar(number)),
                None => self.wrong(format!("`{word}` is not a value; put text in quotes")),
            },
        }
    }

    fn list(&mut self) -> Result<Node, String> {
        self.next();
        let mut items = Vec::new();
        loop {
            if self.peek()? == Some(']') {
                self.next();
                return Ok(Node::List(items));
            }
            items.push(self.value()?);
            match self.peek()? {
                Some(',') => drop(self.next()),
                Some(']') => {}
                _ => return self.wrong("expected `,` or `]` in a list"),
            }
        }
    }

    /// A quoted text. It includes everything between `${` and `}`.
    fn text(&mut self) -> Result<String, String> {
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') if text.rfind("${") > text.rfind('}') => {
                    return self.wrong("a `\\` between `${` and `}` is not understood");
                }
                Some('\\') => text.push(self.escaped()?),
                Some('\n') | None => return self.wrong("a closing quote is missing"),
                Some(c) => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        match self.next() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some(c @ ('"' | '\\')) => Ok(c),
            Some('u') => {
                let digits: String = (0..4).filter_map(|_| self.next()).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                code.map_or_else(|| self.wrong(format!("`\\u{digits}` is not a character")), Ok)
            }
            _ => self.wrong("this use of `\\` in a text is not understood"),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Everything)
    }
}

/// Reads JSON and keeps duplicate keys.
struct Everything;

impl<'de> Visitor<'de> for Everything {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Node::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            all.push(entry);
        }
        Ok(Node::Entries(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, Node)> {
        match read(text).expect("understood") {
            Node::Entries(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn duplicate_entries_are_all_kept() {
        let texts = ["a = 1\na = 2", "a = 1 a = 2", "# one\na = 1 // and\n/* another\n*/ a = 2"];
        for text in texts {
            assert_eq!(entries(text).len(), 2, "{text}");
        }
        assert_eq!(entries(r#"{"a": 1, "a": 2}"#).len(), 2);
        let Node::Entries(inner) = &entries("m = { \"x\" = [1], \"x\" = [2] }")[0].1 else { panic!("a map") };
        assert_eq!(inner.len(), 2);
    }

    #[test]
    fn labels_become_entries() {
        let one = entries("path \"a\" { }");
        assert_eq!(one, [("path".to_owned(), Node::Entries(vec![("a".to_owned(), Node::Entries(vec![]))]))]);
        assert_eq!(entries("path \"a\"\n{\n}"), one);
    }

    #[test]
    fn texts_are_read_like_the_server_does() {
        let text = |written: &str| match entries(&format!("a = \"{written}\"")).remove(0).1 {
            Node::Scalar(Value::String(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(r#"a\"b\\c\u00e9"#), "a\"b\\cé");
        assert_eq!(text("a$${x}"), "a$${x}");
        assert_eq!(text("{{identity.entity.id}}/%{x}"), "{{identity.entity.id}}/%{x}");
    }

    #[test]
    fn deep_nesting_is_refused_with_its_line() {
        for (open, count) in [("[", 50_000), ("{ x = ", 50_000), ("[", DEEPEST + 1)] {
            let text = format!("x = {}", open.repeat(count));
            assert!(read(&text).expect_err(open).starts_with("line 1: more than"), "{open}");
        }
        let blocks = "x { ".repeat(50_000);
        assert!(read(&blocks).expect_err("blocks").contains("more than"));
        let labels = format!("path {} {{ }}", "\"a\" ".repeat(50_000));
        assert!(read(&labels).expect_err("labels").contains("too many labels"));
        assert!(read(&format!("x = {}{}", "[".repeat(DEEPEST), "]".repeat(DEEPEST))).is_ok());
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
            "a = 0x1f",
        ];
        for text in texts {
            assert!(read(text).expect_err(text).contains("line"), "{text}");
        }
        assert!(read("a = 1\n}").expect_err("a brace").starts_with("line 2"));
    }
}
