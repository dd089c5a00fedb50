//! Templates of secrets: text, and fields that are inserted with an encoding. Nothing else.
//!
//! A plan may come from a stranger. A template that could compare, cut or choose would turn a value
//! into something that shows, such as an error. So there are no statements, and what is done to a
//! field is one of a few encodings that work for every text. Text between braces that names no field
//! is an ordinary expression over the plan's variables, evaluated where no field is in reach.

use base64::Engine;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::template;
use crate::template::{Context, deep, describe, environment, opening, unknown};

/// A template, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text of the template itself.
    Text(String),
    /// An expression over the plan's variables.
    Expression(String),
    /// A field of the secret.
    Field(Insert),
    /// A secret of another step.
    Step(Insert),
}

/// A field of the secret, or a secret of another step, that is inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insert {
    /// Its name; of another step's secret the reference, `STEP.PATH`.
    pub field: String,
    /// The filters to apply, in order.
    pub filters: Vec<Filter>,
    /// The line in the template, from 1.
    pub line: usize,
}

/// An encoding for a place. Each takes any text, so that none fails or not as the value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// For a part of a URL.
    UrlEncode,
    /// For a JSON document, with its quotes.
    Json,
    /// Base64 with padding.
    Base64,
    /// Without white space at both ends.
    Trim,
}

/// A mistake in a template, and the line that it is in, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Filter {
    /// The name in digests of declarations, which journals keep: it must never change.
    pub(super) fn recorded(self) -> &'static str {
        match self {
            Self::UrlEncode => "UrlEncode",
            Self::Json => "Json",
            Self::Base64 => "Base64",
            Self::Trim => "Trim",
        }
    }
}

/// The filters by the names that templates have for them.
const FILTERS: [(&str, Filter); 5] = [
    ("urlencode", Filter::UrlEncode),
    ("tojson", Filter::Json),
    ("json", Filter::Json),
    ("base64", Filter::Base64),
    ("trim", Filter::Trim),
];
/// The longest template, in bytes.
const LONGEST: usize = 128 * 1024;
/// The most that the expressions of a template may come to, in bytes.
const LARGEST: usize = 1024 * 1024;
/// The name by which a template knows the fields.
const FIELDS: &str = "data";
/// The name by which a template knows the secrets of other steps.
const STEPS: &str = "secrets";

impl Filter {
    fn named(name: &str) -> Option<Self> {
        FILTERS.iter().find(|(known, _)| *known == name).map(|(_, filter)| *filter)
    }

    /// The value in this encoding.
    pub fn apply(self, text: &str) -> String {
        match self {
            Self::UrlEncode => url_encoded(text),
            Self::Json => json_text(text),
            Self::Base64 => base64(text.as_bytes()),
            Self::Trim => text.trim().to_owned(),
        }
    }
}

/// Base64 with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Everything but what a URL never takes for something else: <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>.
fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                encoded.push('%');
                encoded.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    encoded
}

/// As templates of files write it: safe within HTML, too.
fn json_text(text: &str) -> String {
    let mut quoted = Value::from(text).to_string();
    for (from, to) in [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\'', "\\u0027")] {
        quoted = quoted.replace(from, to);
    }
    quoted
}

/// Takes a template apart.
///
/// # Errors
/// The first thing that a template of secrets does not have; when it is too long.
pub fn parse(text: &str) -> Result<Vec<Part>, Mistake> {
    if text.len() > LONGEST {
        let message = format!("a template has at most {} KiB", LONGEST / 1024);
        return Err(Mistake { line: 1, message });
    }
    let mut parts = Vec::new();
    let mut rest = text;
    let mut trims = false;
    loop {
        let (plain, tag) = next_tag(rest);
        let plain = if trims { plain.trim_start() } else { plain };
        let trims_before = tag.is_some_and(|(_, inner)| inner.starts_with('-'));
        let plain = if trims_before { plain.trim_end() } else { plain };
        if !plain.is_empty() {
            parts.push(Part::Text(plain.to_owned()));
        }
        let Some((kind, inner)) = tag else { return Ok(parts) };
        let line = text[..text.len() - inner.len()].matches('\n').count() + 1;
        let wrong = |message: &str| Mistake { line, message: message.to_owned() };
        let (body, after) = match kind {
            "{%" => return Err(wrong(NO_STATEMENTS)),
            "{#" => inner.split_once("#}").ok_or_else(|| wrong("`{#` has no `#}`"))?,
            _ => split_expression(inner).ok_or_else(|| wrong("`{{` has no `}}`"))?,
        };
        trims = body.ends_with('-');
        if kind == "{{" {
            let body = body.strip_prefix(['-', '+']).unwrap_or(body);
            parts.push(insertion(body.strip_suffix(['-', '+']).unwrap_or(body), line)?);
        }
        rest = after;
    }
}

const NO_STATEMENTS: &str = "a template of secrets has no statements: it is text with `{{ data.NAME }}` and variables; \
     choose by `when` on steps, or in a variable";

/// The text up to the next tag; the tag's opening and all that follows it.
fn next_tag(text: &str) -> (&str, Option<(&'static str, &str)>) {
    let Some(at) = opening(text) else { return (text, None) };
    let open = ["{%", "{#"].into_iter().find(|open| text[at..].starts_with(open)).unwrap_or("{{");
    (&text[..at], Some((open, &text[at + open.len()..])))
}

/// Up to the `}}` that is not in quotes, and what follows it.
fn split_expression(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some((&text[..at], &text[at + 2..])),
            _ => {}
        }
    }
    None
}

/// The part between braces: a field with filters, or an expression that names no field.
fn insertion(body: &str, line: usize) -> Result<Part, Mistake> {
    if let Some(insert) = field_insertion(body, line)? {
        return Ok(Part::Field(insert));
    }
    if let Some(insert) = step_insertion(body, line)? {
        return Ok(Part::Step(insert));
    }
    let wrong = |message: String| Mistake { line, message };
    let names = deep(body.len(), || {
        let environment = environment();
        let whole = format!("{{{{ {body} }}}}");
        let template = environment.template_from_str(&whole).map_err(|error| describe(&error))?;
        Ok::<_, String>(template.undeclared_variables(false))
    });
    let names = names.and_then(|names| names).map_err(wrong)?;
    if names.contains(FIELDS) || names.contains(STEPS) {
        return Err(wrong(only_encodings()));
    }
    Ok(Part::Expression(body.trim().to_owned()))
}

fn only_encodings() -> String {
    let names: Vec<String> = FILTERS.iter().map(|(name, _)| format!("`{name}`")).collect();
    format!(
        "a field of a secret is inserted as it is or encoded, and nothing else is done with it: write \
         `{{{{ data.NAME }}}}` or `{{{{ data.NAME | FILTER }}}}` with one of {}; likewise `{{{{ secrets.STEP.PATH }}}}`",
        names.join(", ")
    )
}

/// `data.NAME` or `data['NAME']`, and filters; `None` when it begins otherwise.
fn field_insertion(body: &str, line: usize) -> Result<Option<Insert>, Mistake> {
    let wrong = || Mistake { line, message: only_encodings() };
    let Some(rest) = body.trim().strip_prefix(FIELDS).map(str::trim_start) else { return Ok(None) };
    let (field, rest) = if let Some(rest) = rest.strip_prefix('.') {
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest.split_at(end)
    } else if let Some(rest) = rest.strip_prefix('[') {
        let rest = rest.trim_start();
        let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c)).ok_or_else(wrong)?;
        let (name, rest) = rest[1..].split_once(quote).ok_or_else(wrong)?;
        (name, rest.trim_start().strip_prefix(']').ok_or_else(wrong)?)
    } else {
        return Ok(None);
    };
    let is_name = !field.is_empty() && !field.contains('\\');
    match filters(rest).filter(|_| is_name) {
        Some(filters) => Ok(Some(Insert { field: field.to_owned(), filters, line })),
        None => Err(wrong()),
    }
}

/// `secrets.STEP.PATH` or `secrets.STEP[KEY].PATH`, and filters; `None` when it begins otherwise.
fn step_insertion(body: &str, line: usize) -> Result<Option<Insert>, Mistake> {
    let Some(rest) = body.trim().strip_prefix(STEPS).and_then(|rest| rest.strip_prefix('.')) else {
        return Ok(None);
    };
    let (written, rest) = rest.split_at(rest.find([' ', '|', '\t', '\n']).unwrap_or(rest.len()));
    let is_reference = |c: char| c.is_alphanumeric() || "_-.[]/@+:".contains(c);
    match filters(rest).filter(|_| written.contains('.') && written.chars().all(is_reference)) {
        Some(filters) => Ok(Some(Insert { field: written.to_owned(), filters, line })),
        None => Err(Mistake { line, message: only_encodings() }),
    }
}

/// The filters behind a name; `None` when there is something else.
fn filters(rest: &str) -> Option<Vec<Filter>> {
    let rest = rest.trim();
    match rest.strip_prefix('|') {
        Some(filters) => filters.split('|').map(|name| Filter::named(name.trim())).collect(),
        None => rest.is_empty().then(Vec::new),
    }
}

/// The secrets of other steps that a template inserts, as they are written; none of one that is wrong.
pub fn step_secrets(text: &str) -> Vec<String> {
    let of = |part| match part {
        Part::Step(insert) => Some(insert.field),
        Part::Text(_) | Part::Expression(_) | Part::Field(_) => None,
    };
    parse(text).unwrap_or_default().into_iter().filter_map(of).collect()
}

/// The parts with the expressions evaluated over the plan's variables; each becomes a value of its own.
///
/// # Errors
/// A mistake in an expression, such as a name that does not exist; when the results are too large.
pub fn evaluated(parts: Vec<Part>, vars: &Context) -> Result<Vec<Piece>, String> {
    let mut size = 0;
    let piece = |part| match part {
        Part::Text(text) => Ok(Piece::Text(text)),
        Part::Field(insert) => Ok(Piece::Field(insert)),
        Part::Step(insert) => Ok(Piece::Step(insert)),
        Part::Expression(expression) => {
            let value = template::render(&format!("{{{{ {expression} }}}}"), vars)?;
            size += value.len();
            match size > LARGEST {
                true => Err("expressions come to more than 1 MiB".to_owned()),
                false => Ok(Piece::Value(value)),
            }
        }
    };
    parts.into_iter().map(piece).collect()
}

/// A part without expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Text of the template itself.
    Text(String),
    /// The value of an expression.
    Value(String),
    /// A field of the secret.
    Field(Insert),
    /// A secret of another step.
    Step(Insert),
}

impl Piece {
    /// Whether it is not known before apply.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Value(text) if unknown::is_unknown(text))
    }
}

/// Pieces that came to texts, and whether each was inserted, as one text. A value with a line break
/// must not end a line that goes on, such as that of an address.
///
/// # Errors
/// The line of the result, from 1, that would break.
pub fn joined(pieces: &[(Zeroizing<String>, bool)]) -> Result<Zeroizing<String>, usize> {
    let length = pieces.iter().map(|(text, _)| text.len()).sum();
    let mut whole = Zeroizing::new(String::with_capacity(length));
    // Whether nothing stands in the last line yet.
    let mut begins = true;
    for (at, (text, inserted)) in pieces.iter().enumerate() {
        if *inserted && text.contains(['\n', '\r']) {
            // A text of several lines, such as a key in PEM, ends its last line itself.
            let is_block = text.ends_with('\n') && text.trim_end().contains('\n');
            if !begins || (goes_on(&pieces[at + 1..]) && !is_block) {
                return Err(whole.matches('\n').count() + 1);
            }
        }
        begins = match text.rsplit_once('\n') {
            Some((_, last)) => last.trim().is_empty(),
            None => begins && text.trim().is_empty(),
        };
        whole.push_str(text);
    }
    Ok(whole)
}

/// Whether something follows in the same line.
fn goes_on(pieces: &[(Zeroizing<String>, bool)]) -> bool {
    for (text, _) in pieces {
        let (line, ends) = text.split_once('\n').map_or((text.as_str(), false), |(line, _)| (line, true));
        if !line.trim().is_empty() || ends {
            return !line.trim().is_empty();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(text: &str) -> Vec<(String, usize)> {
        let parts = parse(text).unwrap_or_else(|mistake| panic!("{text}: {mistake:?}"));
        let field = |part| match part {
            Part::Field(insert) => Some((insert.field, insert.filters.len())),
            Part::Text(_) | Part::Expression(_) | Part::Step(_) => None,
        };
        parts.into_iter().filter_map(field).collect()
    }

    #[test]
    fn template_allows_text_and_filtered_fields() {
        let one = |name: &str, filters| vec![(name.to_owned(), filters)];
        assert_eq!(fields("a {{ data.b }} c"), one("b", 0));
        assert_eq!(fields("{{data.b|urlencode}}"), one("b", 1));
        assert_eq!(fields("{{ data['a-b'] | trim | tojson }}"), one("a-b", 2));
        assert_eq!(fields("{{- data [ \"x\" ] -}}"), one("x", 0));
        assert_eq!(fields("{# data.x[0] #}{{ '{{ data.x }}' }}{{ region }}"), []);
        assert_eq!(fields("plain } }} text"), []);
    }

    #[test]
    fn other_expressions_over_a_field_are_refused() {
        let rows = [
            "(1/0) if data.p[0] in 'abc' else 1",
            "data.p[0]",
            "data.p[1:]",
            "data['p']['q']",
            "data.p.q",
            "data",
            "data | length",
            "data.p | length",
            "data.p | first",
            "data.p | tojson | length",
            "data.p | int",
            "data.p | replace('a', '')",
            "data.p | default('x')",
            "data.p == 'x'",
            "'x' == data.p",
            "data.p is startingwith('x')",
            "not data.p",
            "-data.p",
            "data.p ~ 'x'",
            "'x' ~ data.p",
            "data.p + 1",
            "data.p * 1000000000",
            "data.p.upper()",
            "range(data.p | int)",
            "[data.p][0]",
            "{'a': data.p}.a",
            "debug(data)",
            "data[region]",
            "data[0]",
            "data['p\\x41']",
            "data . p if true",
            "data.p || 'x'",
            "data.",
            "data.p |",
            "data.p | | trim",
            "(data).p",
            "(data.p)",
            "x.y and data.p",
        ];
        for row in rows {
            let template = format!("one\n{{{{ {row} }}}}");
            let mistake = parse(&template).expect_err(row);
            assert_eq!(mistake.line, 2, "{row}");
        }
        for statement in [
            "{% if data.p %}x{% endif %}",
            "{% for c in data.p %}x{% endfor %}",
            "{%- set x = data %}{{ x.p[0] }}",
            "{% macro m() %}{{ m() }}{% endmacro %}",
            "{% include 'x' %}",
            "{% raw %}{{ data.p }}{% endraw %}",
        ] {
            assert!(parse(statement).expect_err(statement).message.contains("no statements"), "{statement}");
        }
    }

    #[test]
    fn unclosed_braces_are_mistakes() {
        for text in ["{{ data.a", "{{ 'x }}", "{# a", "{{ \"}}"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refusal_names_the_allowed_syntax() {
        let mistake = parse("{{ data.p | upper }}").expect_err("no such filter");
        assert!(mistake.message.contains("`{{ data.NAME | FILTER }}`"), "{mistake:?}");
        assert!(mistake.message.contains("`urlencode`"), "{mistake:?}");
    }

    #[test]
    fn expressions_see_variables_but_not_fields() {
        let vars = Context::from(json!({ "region": "eu-1", "data": { "p": "x" }, "on": true }));
        let pieces = |text| evaluated(parse(text).expect("valid"), &vars);
        let value = |text: &str| Piece::Value(text.to_owned());
        assert_eq!(pieces("{{ region | upper }}"), Ok(vec![value("EU-1")]));
        assert_eq!(pieces("{{ 'a' if on else 'b' }}"), Ok(vec![value("a")]));
        assert!(pieces("{{ nothing }}").is_err());
        let field = Insert { field: "p".to_owned(), filters: Vec::new(), line: 1 };
        assert_eq!(pieces("{{ data.p }}"), Ok(vec![Piece::Field(field)]), "a variable is not in its way");
    }

    #[test]
    fn expressions_beside_fields_are_bounded() {
        let vars = Context::from(json!({ "s": "x".repeat(4096) }));
        for bomb in [
            "{{ 'x' * 10**9 }}",
            "{{ 'x' * 1000000000 }}",
            "{{ range(100000000) | list }}",
            "{{ s|replace('x', s)|replace('x', s)|replace('x', s) }}",
            &"{{ 'x' * 100000 }}".repeat(40),
            &"{{ 'x' * 1000 }}".repeat(2000),
        ] {
            let refused = evaluated(parse(bomb).expect("no field in it"), &vars);
            assert!(refused.is_err(), "{bomb}");
        }
    }

    #[test]
    fn filters_accept_any_text() {
        for text in ["", "a b", "ä/ö", "\"\\\n\r\0<'&>", "{\"a\": 1}", "\u{fffd}"] {
            let read: Value = serde_json::from_str(&Filter::Json.apply(text)).expect("JSON");
            assert_eq!(read, text);
            assert!(Filter::UrlEncode.apply(text).is_ascii() && Filter::Base64.apply(text).is_ascii());
        }
        assert_eq!(Filter::UrlEncode.apply("a b/ä~"), "a%20b%2F%C3%A4~");
        assert_eq!(Filter::Trim.apply(" a\n"), "a");
    }
}
