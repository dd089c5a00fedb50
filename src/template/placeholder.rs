//! Placeholders that a server fills in itself, such as `{{name}}` in a statement of a database role.
//!
//! A field states beside its kind which family of placeholders it takes. They are not expressions: the
//! text between the braces reaches the server unchanged. Everything else between braces is an expression
//! of the plan, so a misspelt placeholder is an undefined name.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// Names that must stand between the braces exactly, without spaces.
type Exact = &'static [&'static str];

/// A family of placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Who asks, in policies and roles: `{{identity.entity.id}}`.
    Identity,
    /// Names in double braces.
    Exact(Exact),
    /// Go's templates: fields such as `{{.RoleName}}`, and these functions.
    Go(Exact),
}

const STATEMENT: Exact = &["name", "username", "password", "expiration", "public_key"];
const CONNECTION: Exact = &["username", "password"];
const ISSUER: Exact = &["issuer_id", "cluster_path", "cluster_aia_path"];
const KEY_ID: Exact = &["token_display_name", "role_name", "public_key_hash"];
const DIRECTORY: Exact = &[];
const USERNAME: Exact = &[
    "random",
    "truncate",
    "truncate_sha256",
    "uppercase",
    "lowercase",
    "replace",
    "sha256",
    "base64",
    "unix_time",
    "unix_time_millis",
    "timestamp",
    "uuid",
    "print",
    "printf",
    "if",
    "else",
    "end",
];

impl Family {
    /// The family that a field's schema names.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "identity" => Self::Identity,
            "statement" => Self::Exact(STATEMENT),
            "connection" => Self::Exact(CONNECTION),
            "issuer" => Self::Exact(ISSUER),
            "key_id" => Self::Exact(KEY_ID),
            "directory" => Self::Go(DIRECTORY),
            "username" => Self::Go(USERNAME),
            _ => return None,
        })
    }

    /// The placeholders in words, for messages.
    pub fn describe(self) -> String {
        match self {
            Self::Identity => "`{{identity.entity.id}}`, `{{identity.entity.name}}`, \
                `{{identity.entity.metadata.KEY}}`, `{{identity.entity.aliases.ACCESSOR.name}}`, \
                `{{identity.groups.ids.ID.name}}`, and `{{ .path }}{{ .key }}` of a filter"
                .to_owned(),
            Self::Exact(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("`{{{{{name}}}}}`")).collect();
                format!("{}, written without spaces", names.join(", "))
            }
            Self::Go(_) => "Go's templates, such as `{{.Username}}`".to_owned(),
        }
    }

    /// The name that a misspelt one may mean.
    pub fn candidates(self) -> Exact {
        match self {
            Self::Exact(names) | Self::Go(names) => names,
            Self::Identity => &["identity"],
        }
    }

    /// The name by which the text between the braces begins, when it is one of these placeholders; empty
    /// when it cannot be mistaken for a name of the plan.
    fn root(self, inner: &str) -> Option<&str> {
        match self {
            Self::Exact(names) => names.contains(&inner).then_some(inner),
            // A list is filtered by these, in `list_scan_response_keys_filter_path`.
            Self::Identity if inner.trim_start().starts_with('.') => Some(""),
            Self::Identity => is_identity(inner).then_some("identity"),
            Self::Go(functions) => {
                let start = inner.trim_start_matches(['-', '(', ' ', '\t', '\n']);
                let word = start.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
                let word = &start[..word.unwrap_or(start.len())];
                match start.starts_with('.') {
                    true => Some(""),
                    false => functions.contains(&word).then_some(word),
                }
            }
        }
    }
}

/// `identity.entity.id` and the like: <https://openbao.org/docs/concepts/policies/#templated-policies>.
fn is_identity(inner: &str) -> bool {
    let inner = inner.trim();
    if inner.contains(|c: char| c.is_control() || "\"'\\{}()[]|".contains(c)) {
        return false;
    }
    let parts: Vec<&str> = inner.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return false;
    }
    match parts.as_slice() {
        ["identity", "entity", "id" | "name"] | ["identity", "entity", "aliases", _, "id" | "name"] => true,
        ["identity", "entity", "metadata", rest @ ..]
        | ["identity", "entity", "aliases", _, "metadata" | "custom_metadata", rest @ ..]
        | ["identity", "groups", "ids" | "names", rest @ .., "id" | "name"]
        | ["identity", "groups", "ids" | "names", rest @ .., "metadata", _] => !rest.is_empty(),
        _ => false,
    }
}

/// The text with each placeholder turned into an expression whose value is the placeholder.
pub fn shield(text: &str, family: Option<Family>) -> Cow<'_, str> {
    match family {
        Some(family) if text.contains("{{") => Cow::Owned(scan(text, family).0),
        _ => Cow::Borrowed(text),
    }
}

/// The names by which placeholders in the text begin.
pub fn roots(text: &str, family: Option<Family>) -> BTreeSet<String> {
    family.map(|family| scan(text, family).1).unwrap_or_default()
}

fn scan(text: &str, family: Family) -> (String, BTreeSet<String>) {
    let (mut written, mut roots) = (String::with_capacity(text.len()), BTreeSet::new());
    let mut rest = text;
    while let Some(at) = opening(rest) {
        written.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = if let Some((length, root)) = placeholder(rest, family, &mut written) {
            roots.insert(root.to_owned());
            length
        } else {
            let length = block(rest);
            written.push_str(&rest[..length]);
            length
        };
        rest = &rest[length..];
    }
    written.push_str(rest);
    roots.remove("");
    (written, roots)
}

/// Writes the placeholder that `text` begins with; its length and the name by which it begins. An
/// expression of the plan may stand within, as in `{{identity.entity.aliases.{{ method.accessor }}.name}}`.
fn placeholder<'a>(text: &'a str, family: Family, written: &mut String) -> Option<(usize, &'a str)> {
    let inner = text.strip_prefix("{{")?;
    let mut parts = Vec::new();
    let (mut plain, mut from, mut at) = (String::new(), 0, 0);
    loop {
        let close = at + inner[at..].find("}}")?;
        match inner[at..close].find("{{") {
            Some(nested) if family == Family::Identity => {
                let nested = at + nested;
                parts.push((&inner[from..nested], ""));
                plain.push_str(&inner[from..nested]);
                plain.push('x');
                at = nested + block(&inner[nested..]);
                parts.push(("", &inner[nested..at]));
                from = at;
            }
            _ => {
                plain.push_str(&inner[from..close]);
                let root = if parts.is_empty() {
                    family.root(&inner[..close])?
                } else {
                    family.root(&plain).map(|_| "identity")?
                };
                parts.push((&inner[from..close], ""));
                let last = parts.len() - 1;
                for (index, (literal, expression)) in parts.into_iter().enumerate() {
                    written.push_str(expression);
                    let open = if index == 0 { "{{" } else { "" };
                    let end = if index == last { "}}" } else { "" };
                    if expression.is_empty() {
                        written.push_str(&quoted(&format!("{open}{literal}{end}")));
                    }
                }
                return Some((2 + close + 2, root));
            }
        }
    }
}

/// An expression whose value is this text.
fn quoted(text: &str) -> String {
    let is_simple = !text.contains(['"', '\\', '\n', '\r']);
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    // The text is the plan's own, so it cannot break out of anything.
    if is_simple { format!("{{{{\"{text}\"}}}}") } else { format!("{{{{\"{text}\"|safe}}}}") }
}

/// The expressions and statements of a text, with their braces.
pub fn blocks(text: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = opening(rest) {
        let length = block(&rest[at..]);
        found.push(&rest[at..at + length]);
        rest = &rest[at + length..];
    }
    found
}

/// Where the first expression, statement or comment begins. It looks at each brace once: a search for each
/// kind would go through the whole text again, block after block, for a kind that does not occur.
pub fn opening(text: &str) -> Option<usize> {
    let begins = |at: usize| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#'));
    text.match_indices('{').map(|(at, _)| at).find(|at| begins(*at))
}

/// The length of the expression, statement, comment or raw block that `text` begins with.
fn block(text: &str) -> usize {
    let end = |mark: &str| text.find(mark).map_or(text.len(), |at| at + mark.len());
    if text.starts_with("{#") {
        return end("#}");
    }
    let close = if text.starts_with("{%") { "%}" } else { "}}" };
    let length = outside_strings(text, close).map_or(text.len(), |at| at + close.len());
    let tag = text[..length].trim_matches(|c: char| "{}%-+".contains(c) || c.is_whitespace());
    if close != "%}" || tag != "raw" {
        return length;
    }
    let from = text[length..].find("endraw").map_or(text.len(), |at| length + at);
    text[from..].find("%}").map_or(text.len(), |at| from + at + 2)
}

/// Where `needle` stands first in an expression, text between quotes left out.
pub fn outside_strings(expression: &str, needle: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in expression.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            None if expression[at..].starts_with(needle) => return Some(at),
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(_) | None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::render;

    fn rendered(text: &str, family: &str) -> Result<String, String> {
        let family = Family::named(family);
        assert!(family.is_some());
        render(&shield(text, family), &json!({ "org": "acme", "method": { "accessor": "auth_1" } }).into())
    }

    #[test]
    fn blocks_of_every_kind_are_found_in_order() {
        let text = "a { b {{ one }} {# two #}{% if three %}{{{ four }} {";
        assert_eq!(blocks(text), ["{{ one }}", "{# two #}", "{% if three %}", "{{{ four }}"]);
        assert_eq!((opening("{"), opening("é{%"), opening("")), (None, Some(2), None));
    }

    #[test]
    fn placeholders_reach_the_server_as_written() {
        let rows = [
            ("statement", "CREATE ROLE \"{{name}}\" WITH PASSWORD '{{password}}';"),
            ("connection", "{{username}}:{{password}}@tcp(127.0.0.1:3306)/"),
            ("identity", "path \"secret/data/{{identity.entity.id}}/*\" {}"),
            ("identity", "{{ identity.groups.ids.fb036ebc.name }} {{identity.entity.metadata.team-a}}"),
            ("username", "{{ printf \"v-%s\\n\" (.RoleName | truncate 8) }}{{random 8}}{{- .DisplayName}}"),
            ("directory", "(&({{.UserAttr}}={{.Username}})(objectClass=person))"),
            ("key_id", "{{token_display_name}}-{{public_key_hash}}"),
        ];
        for (family, text) in rows {
            assert_eq!(rendered(text, family).as_deref(), Ok(text), "{family}");
        }
    }

    #[test]
    fn expressions_work_beside_and_within_placeholders() {
        let accessor = "{{identity.entity.aliases.{{ method.accessor }}.name}}-{{ org }}";
        let text = rendered(accessor, "identity").expect("renders");
        assert_eq!(text, "{{identity.entity.aliases.auth_1.name}}-acme");
        assert_eq!(rendered("{{ org }}-{{random 8}}", "username").as_deref(), Ok("acme-{{random 8}}"));
        let raw = "{% raw %}{{name}} {{other}}{% endraw %} {{ '{{name}}' }} {# {{name}} #}{{name}}";
        assert_eq!(rendered(raw, "statement").as_deref(), Ok("{{name}} {{other}} {{name}} {{name}}"));
    }

    #[test]
    fn misspelt_placeholders_are_expressions() {
        let rows = [
            ("statement", "{{nmae}}"),
            ("statement", "{{ name }}"),
            ("connection", "{{name}}"),
            ("identity", "{{identity.entity.idd}}"),
            ("identity", "{{identity.entity.aliases.x}}"),
            ("directory", "{{Username}}"),
        ];
        for (family, text) in rows {
            assert!(rendered(text, family).is_err(), "{text}");
        }
    }

    #[test]
    fn placeholder_roots_are_possible_plan_names() {
        let found = |text, family| roots(text, Family::named(family)).into_iter().collect::<Vec<_>>();
        assert_eq!(found("{{name}}{{ org }}{{password}}", "statement"), ["name", "password"]);
        assert_eq!(found("{{.X}}{{uuid}}", "username"), ["uuid"]);
    }
}
