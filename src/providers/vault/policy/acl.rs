//! Which capabilities policies give on a path, as the server finds out.
//!
//! The exact path goes before patterns. Of patterns, the one counts whose first `+` or `*` comes last, then one that
//! ends without `*`, then the one with fewer `+`, then the longer one. Of several policies with the same path, all
//! capabilities count, and `deny` removes them: `internal/vault/policy/acl.go` of OpenBao, and
//! <https://openbao.org/docs/concepts/policies/#policy-syntax>.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::text::parse;

/// The rules of all policies of a token.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    capabilities: BTreeMap<String, BTreeSet<String>>,
}

impl Acl {
    /// The rules of these texts. One that cannot be read gives nothing.
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a str>) -> Self {
        let mut acl = Self::default();
        for (path, rules) in policies.into_iter().flat_map(|text| parse(text).unwrap_or_default()) {
            let named = rules.iter().filter_map(|rule| rule.get("capabilities")?.as_array()).flatten();
            let named = named.filter_map(Value::as_str).map(ToOwned::to_owned);
            acl.capabilities.entry(path).or_default().extend(named);
        }
        acl
    }

    /// The capabilities on a path; none where `deny` is among them.
    pub fn on(&self, path: &str) -> BTreeSet<&str> {
        let found = self.rule_of(path).into_iter().flatten().map(String::as_str).collect::<BTreeSet<_>>();
        if found.contains("deny") { BTreeSet::new() } else { found }
    }

    /// Whether one of these capabilities is given on a path. The server lists at a path with a slash at its end,
    /// and then looks without it.
    pub fn allows(&self, path: &str, any_of: &[&str]) -> bool {
        let with_slash = format!("{}/", path.trim_end_matches('/'));
        any_of.iter().any(|capability| match *capability {
            "list" | "scan" => self.listing(&with_slash).contains(capability),
            _ => self.on(path).contains(capability),
        })
    }

    fn listing(&self, with_slash: &str) -> BTreeSet<&str> {
        let bare = with_slash.trim_end_matches('/');
        let exact = [with_slash, bare].into_iter().find(|path| self.exact(path).is_some());
        let pattern = [with_slash, bare].into_iter().find(|path| self.best_pattern(path).is_some());
        exact.or(pattern).map(|path| self.on(path)).unwrap_or_default()
    }

    fn rule_of(&self, path: &str) -> Option<&BTreeSet<String>> {
        self.exact(path).or_else(|| self.best_pattern(path))
    }

    fn exact(&self, path: &str) -> Option<&BTreeSet<String>> {
        self.capabilities.get(path).filter(|_| !has_wildcards(path) && !path.ends_with('*'))
    }

    fn best_pattern(&self, path: &str) -> Option<&BTreeSet<String>> {
        let fitting = self.capabilities.iter().filter(|(pattern, _)| fits(pattern, path));
        fitting.max_by_key(|(pattern, _)| rank(pattern)).map(|(_, capabilities)| capabilities)
    }
}

/// Whether a pattern has a `+` for a part of a path.
fn has_wildcards(pattern: &str) -> bool {
    pattern == "+" || pattern.starts_with("+/") || pattern.contains("/+")
}

/// Whether a path is one for which a pattern stands.
fn fits(pattern: &str, path: &str) -> bool {
    let (start, is_prefix) = pattern.strip_suffix('*').map_or((pattern, false), |start| (start, true));
    if !has_wildcards(pattern) {
        return is_prefix && path.starts_with(start);
    }
    let (wanted, parts): (Vec<&str>, Vec<&str>) = (start.split('/').collect(), path.split('/').collect());
    if parts.len() < wanted.len() || (!is_prefix && parts.len() != wanted.len()) {
        return false;
    }
    let last = wanted.len() - 1;
    wanted.iter().zip(&parts).enumerate().all(|(at, (wanted, part))| {
        *wanted == "+" || wanted == part || (is_prefix && at == last && part.starts_with(wanted))
    })
}

type Rank<'a> = (usize, bool, Reverse<usize>, usize, &'a str);

/// Decides between patterns that fit the same path: the greatest counts.
fn rank(pattern: &str) -> Rank<'_> {
    let (start, is_prefix) = pattern.strip_suffix('*').map_or((pattern, false), |start| (start, true));
    let pluses = match has_wildcards(pattern) {
        true => start.split('/').filter(|part| *part == "+").count(),
        false => 0,
    };
    let first = if pluses > 0 { pattern.find('+') } else { None }.unwrap_or(start.len());
    (first, !is_prefix, Reverse(pluses), start.len(), start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(policies: &[&str], path: &str) -> String {
        Acl::of(policies.iter().copied()).on(path).into_iter().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn most_specific_rule_counts_alone() {
        let policy = "path \"secret/*\" { capabilities = [\"read\", \"list\"] }\n\
                      path \"secret/a/*\" { capabilities = [\"update\"] }\n\
                      path \"secret/+/b\" { capabilities = [\"create\"] }\n\
                      path \"secret/a/b\" { capabilities = [\"delete\"] }\n\
                      path \"secret/a/closed\" { capabilities = [\"read\", \"deny\"] }\n\
                      path \"+/x/+\" { capabilities = [\"patch\"] }\n\
                      path \"+/x/y*\" { capabilities = [\"sudo\"] }";
        let rows = [
            ("secret/c", "list read"),
            ("secret/a/c", "update"),
            ("secret/c/b", "create"),
            ("secret/a/b", "delete"),
            ("secret/a/closed", ""),
            ("kv/x/z", "patch"),
            ("kv/x/yz", "patch"),
            ("kv/x/y/z", "sudo"),
            ("kv/y", ""),
        ];
        for (path, expected) in rows {
            assert_eq!(on(&[policy], path), expected, "{path}");
        }
    }

    #[test]
    fn policies_add_up_and_deny_wins() {
        let [read, list, deny] =
            ["read", "list", "deny"].map(|word| format!("path \"a\" {{ capabilities = [\"{word}\"] }}"));
        assert_eq!(on(&[&read, &list], "a"), "list read");
        assert_eq!(on(&[&read, &deny, &list], "a"), "");
    }

    #[test]
    fn lists_are_looked_up_with_and_without_slash() {
        let allows = |policy: &str| Acl::of([policy]).allows("kv/metadata", &["list"]);
        for path in ["kv/metadata/", "kv/metadata", "kv/metadata/*", "kv/+", "kv/*"] {
            assert!(allows(&format!("path \"{path}\" {{ capabilities = [\"list\"] }}")), "{path}");
        }
        assert!(!allows("path \"kv/metadata/a\" { capabilities = [\"list\"] }"));
        assert!(!allows(
            "path \"kv/*\" { capabilities = [\"list\"] } path \"kv/metadata/\" { capabilities = [\"read\"] }"
        ));
    }
}
