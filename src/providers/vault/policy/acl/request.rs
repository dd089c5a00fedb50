//! Whether a rule lets a request pass: the capability, then the parameters and the wrapping.

use serde_json::{Map, Value};

use super::rule::{Parameters, Rule};

/// A request to the server.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The capability that it needs.
    pub operation: &'a str,
    /// Its path.
    pub path: &'a str,
    /// Its body.
    pub data: Option<&'a Map<String, Value>>,
    /// For how long the response is to be wrapped, in seconds.
    pub wrap: Option<u64>,
}

/// Operations whose parameters the server looks at.
const WITH_PARAMETERS: [&str; 4] = ["read", "update", "create", "patch"];

impl Request<'_> {
    /// Whether this rule, which is the one for its path, lets it pass.
    pub(super) fn passes(&self, rule: &Rule) -> bool {
        rule.gives(self.operation) && self.is_wrapped_enough(rule) && self.has_good_data(rule)
    }

    fn is_wrapped_enough(&self, rule: &Rule) -> bool {
        let wrap = self.wrap.map(|seconds| u128::from(seconds) * 1_000_000_000);
        let (min, max) = rule.wrapping;
        let fits = |bound: Option<u128>, fits: fn(u128, u128) -> bool| match (bound, wrap) {
            (None, _) => true,
            (Some(bound), Some(wrap)) => fits(wrap, bound),
            (Some(_), None) => false,
        };
        let is_possible = !matches!((min, max), (Some(min), Some(max)) if max < min);
        is_possible && fits(max, |wrap, max| wrap <= max) && fits(min, |wrap, min| wrap >= min)
    }

    fn has_good_data(&self, rule: &Rule) -> bool {
        if !WITH_PARAMETERS.contains(&self.operation) {
            return true;
        }
        let nothing = Map::new();
        let data = self.data.unwrap_or(&nothing);
        if !rule.required.iter().all(|name| data.contains_key(name)) {
            return false;
        }
        if data.is_empty() {
            return true;
        }
        let is_denied = |(name, value): (&String, &Value)| {
            rule.denied.get(&name.to_lowercase()).is_some_and(|denied| is_listed(value, denied))
        };
        if rule.denied.contains_key("*") || data.iter().any(is_denied) {
            return false;
        }
        let allows_all = rule.allowed.contains_key("*");
        let is_free = rule.allowed.is_empty() || (allows_all && rule.allowed.len() == 1);
        is_free || data.iter().all(|(name, value)| is_allowed(&rule.allowed, name, value, allows_all))
    }
}

fn is_allowed(allowed: &Parameters, name: &str, value: &Value, allows_all: bool) -> bool {
    match allowed.get(&name.to_lowercase()) {
        Some(values) => is_listed(value, values),
        None => allows_all,
    }
}

/// Whether a value is in a list; an empty list stands for every value.
fn is_listed(value: &Value, list: &[Value]) -> bool {
    list.is_empty()
        || list.iter().any(|one| match (one, value) {
            (Value::String(pattern), Value::String(text)) => matches(pattern, text),
            _ => one == value,
        })
}

/// Whether a text fits a pattern that may have a `*` at its start and its end.
fn matches(pattern: &str, text: &str) -> bool {
    if pattern.len() < 2 {
        return pattern == text;
    }
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), Some(_)) => text.contains(&pattern[1..pattern.len() - 1]),
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => pattern == text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Acl;
    use super::*;

    fn passes(policies: &[&str], data: &Value, wrap: Option<u64>) -> bool {
        let request = Request { operation: "update", path: "a", data: data.as_object(), wrap };
        Acl::of(policies.iter().copied()).passes(&request)
    }

    #[test]
    fn parameters_are_judged_as_the_server_does() {
        let rule = |rules: &str| format!("path \"a\" {{ capabilities = [\"update\"] {rules} }}");
        let rows = [
            ("", json!({ "x": "1" }), true),
            ("required_parameters = [\"X\"]", json!({ "y": 1 }), false),
            ("required_parameters = [\"X\"]", json!({ "x": 1 }), true),
            ("required_parameters = [\"x\"]", json!({}), false),
            ("allowed_parameters = { \"x\" = [\"a*\", \"*z\"] }", json!({ "X": "ab" }), true),
            ("allowed_parameters = { \"x\" = [\"a*\", \"*z\"] }", json!({ "x": "bz" }), true),
            ("allowed_parameters = { \"x\" = [\"a*\"] }", json!({ "x": "b" }), false),
            ("allowed_parameters = { \"x\" = [] }", json!({ "y": "b" }), false),
            ("allowed_parameters = { \"x\" = [], \"*\" = [] }", json!({ "y": "b" }), true),
            ("allowed_parameters = { \"x\" = [] }", json!({}), true),
            ("denied_parameters = { \"*\" = [] }", json!({ "y": 1 }), false),
            ("denied_parameters = { \"x\" = [\"*b*\"] }", json!({ "x": "abc" }), false),
            ("denied_parameters = { \"x\" = [\"b\"] }", json!({ "x": "c" }), true),
            ("denied_parameters = { \"x\" = [] }", json!({ "x": 3 }), false),
        ];
        for (rules, data, expected) in rows {
            assert_eq!(passes(&[&rule(rules)], &data, None), expected, "{rules} {data}");
        }
    }

    #[test]
    fn wrapping_and_merged_limits_are_judged() {
        let rule = |rules: &str| format!("path \"a\" {{ capabilities = [\"update\"] {rules} }}");
        let [min, max] = [rule("min_wrapping_ttl = \"1m\""), rule("max_wrapping_ttl = \"30s\"")];
        let none = json!({});
        assert!(!passes(&[&min], &none, None) && passes(&[&min], &none, Some(60)));
        assert!(passes(&[&max], &none, Some(30)) && !passes(&[&max], &none, Some(31)));
        assert!(!passes(&[&min, &max], &none, Some(60)), "no time fits both");
        let [one, other] = [
            rule("allowed_parameters = { \"x\" = [\"a\"] }"),
            rule("allowed_parameters = { \"x\" = [\"b\"], \"y\" = [] }"),
        ];
        assert!(passes(&[&one, &other], &json!({ "x": "a", "y": 1 }), None));
        assert!(passes(&[&one, &other], &json!({ "x": "b" }), None));
        assert!(!passes(&[&one, &other], &json!({ "x": "c" }), None));
        let any = rule("allowed_parameters = { \"x\" = [] }");
        assert!(
            passes(&[&one, &any], &json!({ "x": "c" }), None)
                && passes(&[&any, &one], &json!({ "x": "c" }), None)
        );
    }
}
