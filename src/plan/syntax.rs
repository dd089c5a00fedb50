//! Mistakes of YAML that people make in every plan, in our words instead of the parser's.

use super::diagnostic::{Diagnostic, Span};

/// The mistake that the parser found, with what to write instead where that is known.
pub(super) fn explain(error: &serde_saphyr::Error, text: &str, span: Option<Span>) -> Diagnostic {
    let message = message_of(error);
    let known = span.and_then(|span| {
        let place = Place::of(text, span);
        place
            .tab()
            .or_else(|| place.expression())
            .or_else(|| message.starts_with("mapping values are not allowed").then(|| place.colon()))
            .or_else(|| message.contains("quoted scalar").then(|| place.open_quote()).flatten())
            .or_else(|| message.starts_with("alias references unknown").then(|| place.alias()))
    });
    known.unwrap_or_else(|| {
        let mistake = Diagnostic::error(span, message);
        match error.without_snippet() {
            serde_saphyr::Error::NonFiniteFloat { value, .. } => {
                mistake.help(format!("put text in quotes: `\"{value}\"`"))
            }
            _ => mistake,
        }
    })
}

/// The parser's message without its own rendering of the place, which we draw ourselves.
fn message_of(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let end = [" at line ", ", set DuplicateKeyPolicy"].iter().filter_map(|tail| first.find(tail)).min();
    first[..end.unwrap_or(first.len())].to_owned()
}

/// Where the parser stopped, and the line of it.
struct Place<'a> {
    text: &'a str,
    span: Span,
    /// Where the line begins.
    start: usize,
    line: &'a str,
}

impl<'a> Place<'a> {
    fn of(text: &'a str, span: Span) -> Self {
        let start = text[..span.start].rfind('\n').map_or(0, |end| end + 1);
        Self { text, span, start, line: text[start..].lines().next().unwrap_or_default() }
    }

    /// A part of the text.
    fn at(&self, start: usize, length: usize) -> Span {
        Span { start, end: start + length, ..self.span }
    }

    /// A tab in front of a key.
    fn tab(&self) -> Option<Diagnostic> {
        let indent = self.line.chars().take_while(|c| c.is_whitespace());
        let has_tab = self.line.starts_with([' ', '\t']) && indent.into_iter().any(|c| c == '\t');
        let mistake = Diagnostic::error(self.span, "YAML does not allow tabs in front of a key");
        has_tab.then(|| mistake.help("indent with spaces"))
    }

    /// An expression without quotes, which YAML takes for a map in a map.
    fn expression(&self) -> Option<Diagnostic> {
        let open = self.line.find("{{").filter(|open| self.start + open <= self.span.start)?;
        let before = self.line[..open].trim_end();
        let is_unquoted = before.ends_with([':', '-', '[', ',']) || before.is_empty();
        let expression =
            self.line[open..].split_inclusive("}}").next().filter(|text| text.ends_with("}}"))?;
        let mistake = Diagnostic::error(
            self.at(self.start + open, expression.len()),
            "an expression has to be in quotes",
        );
        is_unquoted
            .then(|| mistake.help(format!("write `\"{expression}\"`; without quotes `{{` begins a map")))
    }

    /// A `: ` where no key can be: in a value, after a line that lacks its own, or below a value.
    fn colon(&self) -> Diagnostic {
        let before = self.line.get(..self.span.start - self.start).unwrap_or_default();
        if let Some((key, _)) = before.split_once(": ") {
            let value = self.line[key.len() + 1..].trim_start();
            let place = self.at(self.start + self.line.len() - value.len(), value.trim_end().len());
            let mistake = Diagnostic::error(place, "a value with `: ` in it has to be in quotes");
            return mistake.help("put single quotes around the whole value");
        }
        let above = self.text[..self.start].lines().rev().find(|line| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        let Some(above) = above else { return Diagnostic::error(self.span, "a key cannot stand here") };
        let content = above.trim();
        let start =
            self.text[..self.start].rfind(above).unwrap_or_default() + above.len() - above.trim_start().len();
        let place = self.at(start, content.len());
        match content.contains(':') {
            false => {
                let mistake = Diagnostic::error(place, "this line has no `:` after its key");
                mistake.help(format!("write `{content}:`"))
            }
            true => {
                let message =
                    "this line has a value, and the next one is indented as if it were a part of it";
                Diagnostic::error(place, message).help("give keys of one map the same indentation")
            }
        }
    }

    /// A quote that nothing closes: the parser complains where it gave up, which may be the end of the file.
    fn open_quote(&self) -> Option<Diagnostic> {
        let end = self.start + self.line.len();
        let mut starts: Vec<usize> = self.text[..end].match_indices('\n').map(|(at, _)| at + 1).collect();
        starts.insert(0, 0);
        let opened = starts.iter().rev().find_map(|start| {
            let line = self.text[*start..].lines().next().unwrap_or_default();
            let quote = ['"', '\''].into_iter().find(|quote| line.matches(*quote).count() % 2 == 1)?;
            Some(start + line.find(quote)?)
        })?;
        let mistake = Diagnostic::error(self.at(opened, 1), "the quote that begins here is not closed");
        Some(mistake.help("close it on the same line, or write text of several lines below `|`"))
    }

    /// Text that begins with `*`.
    fn alias(&self) -> Diagnostic {
        let name: String =
            self.text[self.span.start..].chars().skip(1).take_while(|c| !c.is_whitespace()).collect();
        let mistake = Diagnostic::error(self.span, format!("there is no anchor `&{name}` before this"));
        mistake.help("put text that begins with `*` in quotes")
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Node;

    /// What is said about a text: line, message and help.
    fn told(text: &str) -> (usize, String, String) {
        let error = Node::parse(text, 0).expect_err(text);
        let start = error.span.map(|span| span.start).unwrap_or_default();
        (text[..start].matches('\n').count() + 1, error.message, error.help.unwrap_or_default())
    }

    #[test]
    fn familiar_mistakes_are_explained() {
        let unquoted = "an expression has to be in quotes";
        let (colon, quote) =
            ("a value with `: ` in it has to be in quotes", "the quote that begins here is not closed");
        let rows = [
            ("a: {{ org }}\n", 1, unquoted, "write `\"{{ org }}\"`; without quotes `{` begins a map"),
            ("a: {{ org }}-x\n", 1, unquoted, "write `\"{{ org }}\"`; without quotes `{` begins a map"),
            ("a:\n  - {{ x.y }}\n", 2, unquoted, "write `\"{{ x.y }}\"`; without quotes `{` begins a map"),
            ("a: [ b, {{ x }} ]\n", 1, unquoted, "write `\"{{ x }}\"`; without quotes `{` begins a map"),
            ("a:\n\tb: 1\n", 2, "YAML does not allow tabs in front of a key", "indent with spaces"),
            ("a: b\nc: d: e\n", 2, colon, "put single quotes around the whole value"),
            ("a:\n  b\n    c: d\n", 2, "this line has no `:` after its key", "write `b:`"),
            (
                "a: 1\n b: 2\n",
                1,
                "this line has a value, and the next one is indented as if it were a part of it",
                "give keys of one map the same indentation",
            ),
            (
                "a: 1\nb: \"x\nc: 2\n",
                2,
                quote,
                "close it on the same line, or write text of several lines below `|`",
            ),
            (
                "a: 1\nb: 'x\n",
                2,
                quote,
                "close it on the same line, or write text of several lines below `|`",
            ),
            (
                "a: *.example.net\n",
                1,
                "there is no anchor `&.example.net` before this",
                "put text that begins with `*` in quotes",
            ),
        ];
        for (text, line, message, help) in rows {
            assert_eq!(told(text), (line, message.to_owned(), help.to_owned()), "{text}");
        }
        assert_ne!(told("a: \"{{ x }}\"\nb: [\n").1, unquoted);
    }
}
