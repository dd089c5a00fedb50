//! Creates the text of Vault policies, and compares it by meaning.
//!
//! A policy's text is HCL, in the first version of that language, or JSON; see
//! <https://openbao.org/docs/concepts/policies/>. Parsed texts are converted to a canonical form,
//! without comments, spaces, and the order of paths, capabilities and parameters. Two texts are
//! equal only if the server grants the same by them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::notation::seconds;
use super::policy_hcl::{Node, read};

/// Rules by path; several rules for one path are merged.
pub type Paths = BTreeMap<String, Vec<Map<String, Value>>>;

/// The capabilities of a policy on OpenBao or on HashiCorp Vault.
pub(super) const CAPABILITIES: [&str; 11] =
    ["create", "read", "update", "delete", "list", "sudo", "deny", "patch", "scan", "subscribe", "recover"];

/// The canonical form of a policy's text; `None` when it cannot be parsed.
pub(super) fn normalise(text: &str) -> Option<String> {
    parse(text).ok().map(|paths| render(&paths))
}

/// Whether two texts mean the same; texts that cannot be parsed are compared literally.
pub(super) fn same(a: &str, b: &str) -> bool {
    match (normalise(a), normalise(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a.trim() == b.trim(),
    }
}

/// The text for rules given as data, by path.
pub(super) fn from_data(rules: &BTreeMap<String, Value>) -> String {
    let rule = |value: &Value| match value {
        Value::Array(_) => Map::from_iter([("capabilities".to_owned(), value.clone())]),
        Value::Object(fields) => fields.clone(),
        _ => Map::new(),
    };
    render(&rules.iter().map(|(path, value)| (path.clone(), vec![normal(rule(value))])).collect())
}

/// The mistakes in a policy's text, for its author.
pub(super) fn mistakes(text: &str) -> Vec<String> {
    match parse(text) {
        Err(why) => vec![format!("is not a policy: {why}")],
        Ok(paths) if paths.is_empty() => {
            vec!["does not allow anything: it does not contain a `path`".to_owned()]
        }
        Ok(paths) => unknown_capabilities(&paths),
    }
}

/// The capabilities that a policy's text grants, by path; empty when it cannot be parsed.
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
/// The part of the text that is not understood.
pub fn parse(text: &str) -> Result<Paths, String> {
    let Node::Entries(policy) = read(text)? else { return Err("it does not contain any blocks".to_owned()) };
    let mut paths = Paths::new();
    for (key, node) in policy {
        match key.as_str() {
            "path" => add_paths(&mut paths, node)?,
            // It appears in old policies, and the server ignores it.
            "name" => {}
            other => return Err(format!("`{other}` is not known at the top level; only `path` is")),
        }
    }
    Ok(paths)
}

/// Adds the blocks of `path`: a map, or in JSON a list of maps.
fn add_paths(paths: &mut Paths, node: Node) -> Result<(), String> {
    match node {
        Node::List(items) => items.into_iter().try_for_each(|item| add_paths(paths, item)),
        Node::Entries(blocks) => {
            for (path, rule) in blocks {
                let rules = rules_of(&path, rule)?;
                paths.entry(path).or_default().extend(rules);
            }
            Ok(())
        }
        Node::Scalar(_) => Err("`path` must be followed by a quoted path".to_owned()),
    }
}

/// The rules for a path: one block, or in JSON a list of them. Their order is kept, since the
/// server merges them in order.
fn rules_of(path: &str, node: Node) -> Result<Vec<Map<String, Value>>, String> {
    match node {
        Node::Entries(entries) => {
            fields(entries).map(|fields| vec![normal(fields)]).map_err(|why| format!("`{path}`: {why}"))
        }
        Node::List(items) => {
            let rules: Result<Vec<_>, _> = items.into_iter().map(|item| rules_of(path, item)).collect();
            Ok(rules?.concat())
        }
        Node::Scalar(_) => Err(format!("the rules of `{path}` must be in braces")),
    }
}

/// The fields of a rule. The server merges two lists of capabilities; the meaning of any other
/// duplicate is not defined here.
fn fields(entries: Vec<(String, Node)>) -> Result<Map<String, Value>, String> {
    let mut fields = Map::new();
    for (name, node) in entries {
        let value = plain(node)?;
        match (fields.get_mut(&name), value) {
            (None, value) => drop(fields.insert(name, value)),
            (Some(Value::Array(before)), Value::Array(more)) if name == CAPABILITIES_FIELD => {
                before.extend(more);
            }
            _ => return Err(format!("`{name}` is given twice")),
        }
    }
    Ok(fields)
}

/// A value without duplicates.
fn plain(node: Node) -> Result<Value, String> {
    match node {
        Node::Scalar(value) => Ok(value),
        Node::List(items) => items.into_iter().map(plain).collect(),
        Node::Entries(entries) => {
            let mut map = Map::new();
            for (name, node) in entries {
                if map.insert(name.clone(), plain(node)?).is_some() {
                    return Err(format!("`{name}` is given twice"));
                }
            }
            Ok(Value::Object(map))
        }
    }
}

const CAPABILITIES_FIELD: &str = "capabilities";

/// The canonical form of a rule: fields sorted by name, sets sorted, and the shorthand `policy =
/// "read"` expanded, as the server does.
fn normal(mut rule: Map<String, Value>) -> Map<String, Value> {
    if let Some(granted) = rule.get("policy").and_then(Value::as_str).and_then(written_out) {
        rule.remove("policy");
        let capabilities = rule.entry(CAPABILITIES_FIELD).or_insert_with(|| json!([]));
        *capabilities = json!([listed(capabilities), granted].concat());
    }
    if let Some(capabilities) = rule.get_mut(CAPABILITIES_FIELD) {
        *capabilities = effective(capabilities.take());
    }
    if let Some(required) = rule.get_mut("required_parameters") {
        *required = as_set(required.take());
    }
    for name in ["allowed_parameters", "denied_parameters"] {
        for values in rule.get_mut(name).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
        {
            *values = as_set(values.take());
        }
    }
    for name in ["min_wrapping_ttl", "max_wrapping_ttl"] {
        if let Some(ttl) = rule.get(name).and_then(Value::as_str).and_then(seconds) {
            rule.insert(name.to_owned(), json!(ttl));
        }
    }
    let sorted: BTreeMap<String, Value> = rule.into_iter().collect();
    sorted.into_iter().map(|(name, value)| (name, by_name(value))).collect()
}

/// The capabilities that a shorthand adds; `None` when the server does not know it.
fn written_out(shorthand: &str) -> Option<Vec<Value>> {
    let granted: &[&str] = match shorthand {
        "deny" => &["deny"],
        "read" => &["read", "list"],
        "write" => &["create", "read", "update", "delete", "list"],
        "sudo" => &["create", "read", "update", "delete", "list", "sudo"],
        _ => return None,
    };
    Some(granted.iter().map(|name| json!(name)).collect())
}

/// Capabilities as the server applies them: `deny` overrides all others.
fn effective(capabilities: Value) -> Value {
    match listed(&capabilities).contains(&json!("deny")) {
        true => json!(["deny"]),
        false => as_set(capabilities),
    }
}

/// A list, or a single value as a list.
fn listed(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        one => vec![one.clone()],
    }
}

/// A list whose order and repetitions do not matter; the order within its items may matter.
fn as_set(value: Value) -> Value {
    match value {
        Value::Array(mut items) => {
            items.sort_by_key(Value::to_string);
            items.dedup();
            Value::Array(items)
        }
        other => other,
    }
}

/// Maps sorted by name.
fn by_name(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(by_name).collect()),
        Value::Object(fields) => {
            let sorted: BTreeMap<String, Value> = fields.into_iter().map(|(k, v)| (k, by_name(v))).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "path \"secret/data/team/*\" {\n  capabilities = [\"list\", \"read\"]\n}\n";

    #[test]
    fn notation_is_not_a_difference() {
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
    fn order_of_paths_is_not_a_difference() {
        let one = "path \"a\" {\n capabilities = [\"update\"]\n allowed_parameters = { \"x\" = [\"1\", \"2\"], \"*\" = [] }\n}\n\
                   path \"b\" { capabilities = [\"deny\"] }";
        let other = "path \"b\" { capabilities = [\"deny\"] }\n\
                     path \"a\" {\n allowed_parameters = {\n \"*\" = []\n \"x\" = [\"2\", \"1\"]\n }\n capabilities = [\"update\"]\n}";
        assert!(same(one, other), "{:?} {:?}", normalise(one), normalise(other));
        assert!(!same(one, "path \"a\" { capabilities = [\"update\"] }"));
    }

    #[test]
    fn wider_policy_never_equals_the_declared() {
        let declared = "path \"a\" { capabilities = [\"read\"] }";
        let wider = [
            "path \"a\" {\n capabilities = [\"read\"]\n policy = \"write\"\n}",
            "path \"a\" {\n policy = \"write\"\n capabilities = [\"read\"]\n}",
            "path \"a\" {\n capabilities = [\"update\"]\n capabilities = [\"read\"]\n}",
            "path \"a\" { policy = \"read\" }",
            "path \"a\" { capabilities = [\"read\"] }\npath \"a\" { capabilities = [\"update\"] }",
            r#"{"path":{"a":{"capabilities":["update"]},"a":{"capabilities":["read"]}}}"#,
            r#"{"path":{"a":{"capabilities":["update"],"capabilities":["read"]}}}"#,
            r#"{"path":[{"a":{"capabilities":["read"]}},{"a":{"capabilities":["update"]}}]}"#,
            "path \"a\" { capabilities = [\"read\"]\n pagination_limit = 5 }",
            "path \"a\" { capabilities = [\"read\"]\n unknown = {} }",
            "path \"a\" { capabilities = \"read\"\n min_wrapping_ttl = 1 }",
        ];
        for live in wider {
            assert!(!same(live, declared), "{live}");
        }
        let added = "path \"a\" { capabilities = [\"create\", \"read\", \"update\", \"delete\", \"list\"] }";
        assert!(same(wider[0], added) && same(wider[1], added));
        let denied = "path \"a\" { capabilities = [\"deny\"] }";
        assert!(same("path \"a\" { capabilities = [\"read\"]\n policy = \"deny\" }", denied));
        assert!(!same("path \"a\" { policy = \"reads\" }", "path \"a\" { capabilities = [\"reads\"] }"));
    }

    #[test]
    fn parameters_are_equal_only_with_equal_values() {
        let with = |more: &str| format!("path \"a\" {{\n capabilities = [\"update\"]\n {more}\n}}");
        let rows = [
            ("allowed_parameters = { \"x\" = [\"1\"] }", "allowed_parameters = { \"x\" = [] }"),
            ("allowed_parameters = { \"x\" = [\"1\"] }", "allowed_parameters = { \"x\" = [1] }"),
            (
                "allowed_parameters = { \"x\" = [[\"a\", \"b\"]] }",
                "allowed_parameters = { \"x\" = [[\"b\", \"a\"]] }",
            ),
            (
                "allowed_parameters = { \"x\" = [\"2\"] }",
                "allowed_parameters = { \"x\" = [\"1\"]\n \"x\" = [\"2\"] }",
            ),
            ("denied_parameters = { \"x\" = [] }", "allowed_parameters = { \"x\" = [] }"),
            ("required_parameters = [\"x\"]", "required_parameters = [\"x\", \"y\"]"),
            ("min_wrapping_ttl = \"1s\"", "min_wrapping_ttl = \"2s\""),
            ("max_wrapping_ttl = \"1h\"", ""),
            ("allowed_parameters = { \"a${x}\" = [] }", "allowed_parameters = { \"a$${x}\" = [] }"),
        ];
        for (one, other) in rows {
            assert!(!same(&with(one), &with(other)), "{one} and {other}");
            assert!(same(&with(one), &with(one)));
        }
    }

    #[test]
    fn rules_as_data_and_text_are_equal() {
        let data = serde_json::from_value(json!({ "secret/data/team/*": ["read", "list"] })).expect("a map");
        assert_eq!(from_data(&data), PLAIN);
        let text = "path \"a\" {\n capabilities = [\"read\"]\n min_wrapping_ttl = \"1s\"\n required_parameters = [\"b\", \"a\"]\n}";
        let data = json!({ "a": { "capabilities": ["read"], "min_wrapping_ttl": 1, "required_parameters": ["a", "b"] } });
        assert!(same(text, &from_data(&serde_json::from_value(data).expect("a map"))));
    }

    #[test]
    fn identity_templates_stay_unchanged() {
        let text = "path \"secret/data/{{identity.entity.name}}/*\" {\n  capabilities = [\"read\"]\n}\n";
        assert_eq!(normalise(text).as_deref(), Some(text));
    }

    #[test]
    fn unparsable_texts_are_compared_literally() {
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
        assert!(mistakes("")[0].starts_with("does not allow anything"));
        assert!(mistakes("paths \"a\" {}")[0].contains("`paths`"));
    }
}
