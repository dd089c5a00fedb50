//! Creates the text of Vault policies, and compares it by meaning.
//!
//! Texts that were read are converted to a canonical form, without comments, spaces, and the order of paths,
//! capabilities and parameters. Two texts are equal only if the server grants the same by them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::hcl::Document;
use super::rules::{Paths, read};

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
pub(in crate::providers::vault) fn from_data(rules: &BTreeMap<String, Value>) -> String {
    let rule = |value: &Value| match value {
        Value::Array(_) => Map::from_iter([("capabilities".to_owned(), value.clone())]),
        Value::Object(fields) => fields.clone(),
        _ => Map::new(),
    };
    let written = render(&rules.iter().map(|(path, value)| (path.clone(), vec![rule(value)])).collect());
    normalise(&written).unwrap_or(written)
}

/// The mistakes in a policy's text, for its author.
pub(super) fn mistakes(text: &str) -> Vec<String> {
    match read(text) {
        Err(mistake) => vec![format!("is not a policy: {mistake}")],
        Ok(read) if !read.mistakes.is_empty() => read.mistakes.iter().map(ToString::to_string).collect(),
        Ok(read) if read.paths.is_empty() => {
            vec!["does not allow anything: it does not contain a `path`".to_owned()]
        }
        Ok(_) => Vec::new(),
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

/// A policy's rules by path.
///
/// # Errors
/// The part of the text that is not understood.
pub fn parse(text: &str) -> Result<Paths, String> {
    read(text).map(|read| read.paths).map_err(|mistake| mistake.to_string())
}

fn render(paths: &Paths) -> String {
    let mut document = Document::default();
    for (path, rule) in paths.iter().flat_map(|(path, rules)| rules.iter().map(move |rule| (path, rule))) {
        if !document.is_empty() {
            document.gap();
        }
        document.block("path", &[path], |block| {
            for (name, value) in rule {
                block.attribute(name, value);
            }
        });
    }
    document.into_text()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
            ["line 1: `reads` is not known as a capability of `a`; did you mean `read`?"]
        );
        assert!(mistakes("path \"a\" {")[0].starts_with("is not a policy"));
        assert!(mistakes("")[0].starts_with("does not allow anything"));
        assert!(mistakes("paths \"a\" {}")[0].contains("`paths`"));
    }
}
