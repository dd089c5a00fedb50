//! Vault policies: the capabilities on each path, compared with those before.
//!
//! Matching of paths: <https://openbao.org/docs/concepts/policies/>.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::acl::closest;
use super::text;
use crate::resource::risk::{Category, FieldChanges, Finding, Severity, some};

/// Capabilities that change something.
const WRITING: [&str; 5] = ["create", "update", "patch", "delete", "sudo"];
/// Limits on requests.
const LIMITS: [&str; 3] = ["allowed_parameters", "denied_parameters", "required_parameters"];

/// The capabilities of a policy on each of its paths.
type Grants = BTreeMap<String, Grant>;

#[derive(Clone, Debug, Default, PartialEq)]
struct Grant {
    capabilities: BTreeSet<String>,
    limits: BTreeMap<String, Value>,
}

/// The risks of an ACL policy's rules.
pub(super) fn of_rules(changes: &FieldChanges<'_>) -> Vec<Finding> {
    let (before, after) = (grants(changes, false), grants(changes, true));
    let mut found = wildcards(&before, &after);
    let more = more_than(&before, &after);
    if !changes.is_new && !more.is_empty() {
        let message = format!("grants more than before: {}", some(&more));
        found.push(Finding::new(Severity::Medium, Category::BroaderGrant, message));
    }
    found
}

/// The rules on one side of a step: as text, or path by path as a creation shows them.
fn grants(changes: &FieldChanges<'_>, afterwards: bool) -> Grants {
    let mut grants = Grants::new();
    for change in &changes.changes {
        let value = if afterwards { &change.after } else { &change.before };
        match (change.path.strip_prefix(changes.field), value) {
            (Some(""), Value::String(text)) => {
                for (path, rules) in text::parse(text).unwrap_or_default() {
                    for rule in &rules {
                        add(grants.entry(path.clone()).or_default(), rule);
                    }
                }
            }
            (Some(rest), Value::Array(_)) if rest.starts_with('.') => {
                let path = rest[1..].strip_suffix(".capabilities").unwrap_or(&rest[1..]);
                let rule = Map::from_iter([("capabilities".to_owned(), value.clone())]);
                add(grants.entry(path.to_owned()).or_default(), &rule);
            }
            _ => {}
        }
    }
    grants
}

fn add(grant: &mut Grant, rule: &Map<String, Value>) {
    let named = rule.get("capabilities").and_then(Value::as_array).into_iter().flatten();
    grant.capabilities.extend(named.filter_map(Value::as_str).map(ToOwned::to_owned));
    let limits = LIMITS.iter().filter_map(|name| Some(((*name).to_owned(), rule.get(*name)?.clone())));
    grant.limits.extend(limits);
}

impl Grant {
    fn allows(&self, capability: &str) -> bool {
        self.capabilities.contains(capability) && !self.capabilities.contains("deny")
    }
}

fn wildcards(before: &Grants, after: &Grants) -> Vec<Finding> {
    let mut found = Vec::new();
    let new =
        |path: &String, capability: &str| !before.get(path).is_some_and(|grant| grant.allows(capability));
    let sudo: Vec<String> =
        after.iter().filter(|(path, grant)| grant.allows("sudo") && new(path, "sudo")).map(told).collect();
    for (path, grant) in after.iter().filter(|(path, _)| is_everything(path)) {
        let writes = WRITING.iter().any(|capability| grant.allows(capability) && new(path, capability));
        let reads = grant.allows("read") && new(path, "read");
        if writes || reads {
            let may = if writes { "change" } else { "read" };
            let message = format!("may {may} everything in Vault (path `{path}`)");
            found.push(Finding::new(Severity::High, Category::Wildcard, message));
        }
    }
    if !sudo.is_empty() {
        let message = format!("may use root-protected paths (sudo): {}", some(&sudo));
        found.push(Finding::new(Severity::Medium, Category::Wildcard, message));
    }
    found
}

fn told((path, _): (&String, &Grant)) -> String {
    path.clone()
}

/// Whether a pattern matches every path.
fn is_everything(path: &str) -> bool {
    path.trim_end_matches('*').split('/').all(|part| part == "+" || part.is_empty())
        && path.contains(['*', '+'])
}

/// Descriptions of the capabilities that `after` adds to `before`.
fn more_than(before: &Grants, after: &Grants) -> Vec<String> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut more = Vec::new();
    for path in paths {
        let (old, new) = (effective(before, path), effective(after, path));
        let gained: Vec<&str> = new
            .capabilities
            .iter()
            .map(String::as_str)
            .filter(|capability| *capability != "deny" && new.allows(capability) && !old.allows(capability))
            .collect();
        if !gained.is_empty() {
            more.push(format!("{} on {path}", gained.join(", ")));
        } else if old.limits != new.limits
            && old.limits.iter().any(|(name, _)| !new.limits.contains_key(name))
        {
            more.extend([format!("any parameters on {path}")]);
        }
    }
    more
}

/// The effective grant for a path: its own rule, otherwise that of the pattern that counts for it.
fn effective(grants: &Grants, path: &str) -> Grant {
    let closest = closest(grants.keys().map(String::as_str), path);
    let own = grants.get(path).or_else(|| grants.get(closest?));
    own.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catch_all_patterns_are_recognised() {
        assert!(["*", "+/*", "+", "+/+"].into_iter().all(is_everything));
        assert!(!["secret/*", "sys/*", "a", "+/a", ""].into_iter().any(is_everything));
    }
}
