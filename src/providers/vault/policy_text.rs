//! The text of Vault policies: making it, and comparing it by meaning.
//!
//! A policy's text is HCL, in the first version of that language or the second, or JSON; see
//! <https://openbao.org/docs/concepts/policies/>. What parses is brought into one form, in which the
//! order of paths, capabilities and parameters, comments and spaces are gone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::notation::seconds;

/// Rules by path; several rules for one path add up.
pub type Paths = BTreeMap<String, Vec<Map<String, Value>>>;

/// What a policy may allow on a path, on OpenBao or on HashiCorp Vault.
pub(super) const CAPABILITIES: [&str; 11] =
    ["create", "read", "update", "delete", "list", "sudo", "deny", "patch", "scan", "subscribe", "recover"];

/// The one form of a policy's text; `None` when it is no HCL that is understood here.
pub(super) fn normalise(text: &str) -> Option<String> {
    parse(text).ok().map(|paths| render(&paths))
}

/// Whether two texts mean the same; texts that do not parse are compared line by line.
pub(super) fn same(a: &str, b: &str) -> bool {
    match (normalise(a), normalise(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a.lines().map(str::trim).eq(b.lines().map(str::trim)) || a.trim() == b.trim(),
    }
}

/// The text for rules given as data, path by path.
pub(super) fn from_data(rules: &BTreeMap<String, Value>) -> String {
    let rule = |value: &Value| match value {
        Value::Array(_) => Map::from_iter([("capabilities".to_owned(), value.clone())]),
        Value::Object(fields) => fields.clone(),
        _ => Map::new(),
    };
    render(&rules.iter().map(|(path, value)| (path.clone(), vec![normal(rule(value))])).collect())
}

/// What is wrong with a policy's text, for the person who wrote it.
pub(super) fn mistakes(text: &str) -> Vec<String> {
    match parse(text) {
        Err(why) => vec![format!("is not a policy: {why}")],
        Ok(paths) if paths.is_empty() => vec!["allows nothing: there is no `path` in it".to_owned()],
        Ok(paths) => unknown_capabilities(&paths),
    }
}

/// What a policy's text allows, path by path; nothing when it is not understood.
pub fn granted(text: &str) -> Vec<(String, Vec<String>)> {
    let capabilities = |rule: &Map<String, Value>| {
        let names = rule.get("capabilities").and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let paths = parse(text).unwrap_or_default();
    let rules = paths.iter().flat_map(|(path, rules)| rules.iter().map(move |rule| (path, rule)));
    rules.map(|(path, rule)| (path.clone(), capabilities(rule))).collect()
}

fn unknown_capabilities(paths: &Paths) -> Vec<String> {
    let rules = paths.iter().flat_map(|(path, rules)| rules.iter().map(move |rule| (path, rule)));
    let named = rules.flat_map(|(path, rule)| {
        let names = rule.get("capabilities").and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).map(move |name| (path, name))
    });
    named
        .filter(|(_, name)| !CAPABILITIES.contains(name))
        .map(|(path, name)| format!("has the unknown capability `{name}` on `{path}`"))
        .collect()
}

/// A policy's rules by path.
///
/// # Errors
/// What about the text is not understood.
pub fn parse(text: &str) -> Result<Paths, String> {
    let value = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        // The first version of HCL lets braces share a line with what is in them.
        hcl::from_str(text).or_else(|error| hcl::from_str(&spread(text)).map_err(|_| error.to_string()))?
    };
    paths(value)
}

fn paths(policy: Value) -> Result<Paths, String> {
    let Value::Object(mut policy) = policy else { return Err("there are no blocks in it".to_owned()) };
    let Value::Object(blocks) = policy.remove("path").unwrap_or_else(|| json!({})) else {
        return Err("`path` must be followed by a quoted path".to_owned());
    };
    // `name` stands in old policies and means nothing.
    policy.remove("name");
    match policy.keys().next() {
        Some(other) => Err(format!("`{other}` is not known at the top; only `path` is")),
        None => blocks.into_iter().map(|(path, rules)| Ok((path, several(rules)?))).collect(),
    }
}

/// Two blocks for one path become a list.
fn several(rules: Value) -> Result<Vec<Map<String, Value>>, String> {
    match rules {
        Value::Object(rule) => Ok(vec![normal(rule)]),
        Value::Array(rules) => {
            let rules: Result<Vec<_>, _> = rules.into_iter().map(several).collect();
            let mut rules: Vec<_> = rules?.into_iter().flatten().collect();
            rules.sort_by_key(|rule| Value::Object(rule.clone()).to_string());
            Ok(rules)
        }
        _ => Err("a path's rules must stand in braces".to_owned()),
    }
}

/// One rule with everything sorted, and the shorthand `policy = "read"` written out.
fn normal(mut rule: Map<String, Value>) -> Map<String, Value> {
    if let Some(shorthand) = rule.remove("policy") {
        rule.insert("capabilities".to_owned(), written_out(shorthand.as_str().unwrap_or_default()));
    }
    for name in ["min_wrapping_ttl", "max_wrapping_ttl"] {
        if let Some(ttl) = rule.get(name).and_then(Value::as_str).and_then(seconds) {
            rule.insert(name.to_owned(), json!(ttl));
        }
    }
    let sorted: BTreeMap<String, Value> = rule.into_iter().map(|(name, value)| (name, sort(value))).collect();
    sorted.into_iter().collect()
}

fn written_out(shorthand: &str) -> Value {
    match shorthand {
        "read" => json!(["read", "list"]),
        "write" => json!(["create", "read", "update", "delete", "list"]),
        "sudo" => json!(["create", "read", "update", "delete", "list", "sudo"]),
        other => json!([other]),
    }
}

fn sort(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(sort).collect();
            items.sort_by_key(Value::to_string);
            items.dedup();
            Value::Array(items)
        }
        Value::Object(fields) => {
            let sorted: BTreeMap<String, Value> = fields.into_iter().map(|(k, v)| (k, sort(v))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        other => other,
    }
}

fn render(paths: &Paths) -> String {
    let rules = paths.iter().flat_map(|(path, rules)| rules.iter().map(move |rule| (path, rule)));
    let blocks = rules.map(|(path, rule)| {
        let mut block = format!("path {} {{\n", quoted(path));
        for (name, value) in rule {
            let _ = writeln!(block, "  {name} = {}", expression(value, 1));
        }
        block + "}\n"
    });
    blocks.collect::<Vec<_>>().join("\n")
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
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
        other => other.to_string(),
    }
}

/// Puts braces outside of strings and comments on lines of their own.
fn spread(text: &str) -> String {
    text.lines().map(spread_line).collect::<Vec<_>>().join("\n")
}

fn spread_line(line: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::new(), false, false);
    for (at, c) in line.char_indices() {
        let rest = &line[at..];
        if !in_string && (c == '#' || rest.starts_with("//")) {
            break;
        }
        match c {
            '"' if !escaped => {
                in_string = !in_string;
                out.push(c);
            }
            '{' if !in_string => out.push_str("{\n"),
            '}' if !in_string => out.push_str("\n}"),
            _ => out.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "path \"secret/data/team/*\" {\n  capabilities = [\"list\", \"read\"]\n}\n";

    #[test]
    fn notation_is_no_difference() {
        let rows = [
            "path \"secret/data/team/*\" { capabilities = [\"read\", \"list\"] }",
            "# comment\npath \"secret/data/team/*\" {\n\n  capabilities=[\"read\",\n \"list\", \"read\",]\n}",
            // The first version of HCL.
            "path \"secret/data/team/*\" {\n capabilities = [\"read\", \"list\"] }",
            "path \"secret/data/team/*\" {\n policy = \"read\" }",
            r#"{"path": {"secret/data/team/*": {"capabilities": ["read", "list"]}}}"#,
        ];
        for row in rows {
            assert_eq!(normalise(row).as_deref(), Some(PLAIN), "{row}");
        }
    }

    #[test]
    fn order_of_paths_and_parameters_is_no_difference() {
        let one = "path \"a\" {\n capabilities = [\"update\"]\n allowed_parameters = { \"x\" = [\"1\", \"2\"], \"*\" = [] }\n}\n\
                   path \"b\" { capabilities = [\"deny\"] }";
        let other = "path \"b\" { capabilities = [\"deny\"] }\n\
                     path \"a\" {\n allowed_parameters = {\n \"*\" = []\n \"x\" = [\"2\", \"1\"]\n }\n capabilities = [\"update\"]\n}";
        assert!(same(one, other), "{:?} {:?}", normalise(one), normalise(other));
        assert!(!same(one, "path \"a\" { capabilities = [\"update\"] }"));
    }

    #[test]
    fn data_and_text_agree() {
        let data = serde_json::from_value(json!({ "secret/data/team/*": ["read", "list"] })).expect("a map");
        assert_eq!(from_data(&data), PLAIN);
        let text = "path \"a\" {\n capabilities = [\"read\"]\n min_wrapping_ttl = \"1s\"\n required_parameters = [\"b\", \"a\"]\n}";
        let data = json!({ "a": { "capabilities": ["read"], "min_wrapping_ttl": 1, "required_parameters": ["a", "b"] } });
        assert!(same(text, &from_data(&serde_json::from_value(data).expect("a map"))));
    }

    #[test]
    fn templates_of_identities_stay() {
        let text = "path \"secret/data/{{identity.entity.name}}/*\" {\n  capabilities = [\"read\"]\n}\n";
        assert_eq!(normalise(text).as_deref(), Some(text));
    }

    #[test]
    fn what_does_not_parse_is_compared_as_text() {
        assert!(same("path a {", " path a {\n"));
        assert!(!same("path a {", "path b {"));
        assert_eq!(normalise("path a {"), None);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(mistakes("path \"a\" { capabilities = [\"read\"] }").is_empty());
        assert_eq!(
            mistakes("path \"a\" { capabilities = [\"reads\"] }"),
            ["has the unknown capability `reads` on `a`"]
        );
        assert!(mistakes("path \"a\" {")[0].starts_with("is not a policy"));
        assert!(mistakes("")[0].starts_with("allows nothing"));
        assert!(mistakes("paths \"a\" {}")[0].contains("`paths`"));
    }
}
