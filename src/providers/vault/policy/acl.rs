//! Which capabilities policies give on a path, as the server finds out.
//!
//! The exact path goes before patterns. Of patterns, the one counts whose first `+` or `*` comes last, then one that
//! ends without `*`, then the one with fewer `+`, then the longer one. Of several policies with the same path, all
//! capabilities count, and `deny` removes them: `internal/vault/policy/acl.go` of OpenBao, and
//! <https://openbao.org/docs/concepts/policies/#policy-syntax>.

mod identity;
mod rule;

use std::cell::LazyCell;
use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub use identity::{Group, Identity};
pub use rule::{Origin, Rule};

pub use super::rules::Paths;
pub use super::text::parse;
use identity::Completed;

/// The policy that every token has unless its role says otherwise, as OpenBao writes it at the start.
pub const DEFAULT: &str = include_str!("acl/default.hcl");

/// The rules of all policies of a token.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    rules: BTreeMap<String, Rule>,
    /// Rules whose paths contain a part of the identity that is not known here.
    open: BTreeMap<String, Rule>,
    /// The path of the namespace below which the token may do everything.
    root: Option<String>,
}

/// One policy of a token.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its rules.
    pub rules: &'a Paths,
    /// The path of its namespace, with a slash at its end; empty for the root.
    pub namespace: &'a str,
}

impl Acl {
    /// The rules of these texts, for a token without an identity. One that cannot be read gives nothing.
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a str>) -> Self {
        let all: Vec<Paths> = policies.into_iter().map(|text| parse(text).unwrap_or_default()).collect();
        let sources = all.iter().map(|rules| Source { name: "", rules, namespace: "" });
        Self::with(sources, &Identity::NOBODY, Timestamp::now())
    }

    /// The rules of these policies at this time, for a token of this identity. A path that the server cannot complete
    /// from the identity gives nothing.
    pub fn with<'a>(
        policies: impl IntoIterator<Item = Source<'a>>,
        identity: &Identity,
        now: Timestamp,
    ) -> Self {
        let mut acl = Self::default();
        for source in policies {
            if source.name == "root" {
                acl.root = Some(source.namespace.to_owned());
                continue;
            }
            for (path, rules) in source.rules {
                for rule in rules.iter().map(|rule| Rule::read(rule, source.name, path)) {
                    // The server then refuses the token altogether.
                    if !acl.add(source.namespace, path, rule, identity, now) {
                        return Self::default();
                    }
                }
            }
        }
        acl
    }

    /// Adds a rule, unless it has expired or the identity lacks a part of its path. Returns whether the identity may
    /// stand in the path at all.
    fn add(&mut self, namespace: &str, path: &str, rule: Rule, identity: &Identity, now: Timestamp) -> bool {
        let (rules, path) = match identity.complete(path) {
            Completed::Path(path) => (&mut self.rules, path),
            Completed::Open(path) => (&mut self.open, path),
            Completed::Nothing => return true,
            Completed::Forbidden => return false,
        };
        if rule.expires.is_some_and(|time| time < now) {
            return true;
        }
        match rules.entry(format!("{namespace}{path}")) {
            Entry::Occupied(mut known) => known.get_mut().merge(rule),
            Entry::Vacant(place) => drop(place.insert(rule)),
        }
        true
    }

    /// The capabilities on a path, as `sys/capabilities` reports them; none where it reports `deny`.
    pub fn on(&self, path: &str) -> BTreeSet<&str> {
        if self.is_root_of(path) {
            return BTreeSet::from(["root"]);
        }
        self.rule(path).map(Rule::capabilities).unwrap_or_default()
    }

    /// The capabilities on a path in the words and the order of `sys/capabilities`.
    pub fn reported(&self, path: &str) -> Vec<&str> {
        let found = self.on(path);
        if found.is_empty() { vec!["deny"] } else { found.into_iter().collect() }
    }

    /// Whether one of these capabilities is given on a path. The server lists at a path with a slash at its end,
    /// and then looks without it.
    pub fn allows(&self, path: &str, any_of: &[&str]) -> bool {
        !any_of.is_empty() && (self.is_root_of(path) || self.reason(path, any_of).is_some())
    }

    /// The first of these capabilities that a rule gives on a path, and the rule. Each of the two rules that can
    /// count for a path is looked for once.
    pub fn reason<'c>(&self, path: &str, any_of: &[&'c str]) -> Option<(&'c str, &Rule)> {
        let of_listing = LazyCell::new(|| self.rule(&format!("{}/", path.trim_end_matches('/'))));
        let of_others = LazyCell::new(|| self.exact(path).or_else(|| self.best_pattern(path)));
        any_of.iter().find_map(|capability| {
            let rule = if is_listing(capability) { *of_listing } else { *of_others };
            rule.filter(|rule| rule.gives(capability)).map(|rule| (*capability, rule))
        })
    }

    /// The rule that gives a capability on a path to some identities only, and its path as it is written.
    pub fn open_reason(&self, path: &str, capability: &str) -> Option<(String, &Rule)> {
        let path = match is_listing(capability) {
            true => format!("{}/", path.trim_end_matches('/')),
            false => path.to_owned(),
        };
        let fitting = self
            .open
            .iter()
            .filter(|(pattern, rule)| identity::fits_open(pattern, &path) && rule.gives(capability));
        fitting
            .max_by_key(|(pattern, _)| pattern.len())
            .map(|(pattern, rule)| (identity::shown(pattern), rule))
    }

    /// How the paths that its rules can count for begin. Any path may be among them where one is empty.
    pub fn beginnings(&self) -> BTreeSet<&str> {
        let literal =
            |path: &'static [char]| move |pattern: &str| pattern.find(path).unwrap_or(pattern.len());
        let (known, open) = (literal(&['+', '*']), literal(&['+', '*', identity::OPEN]));
        let known = self.rules.keys().map(move |pattern| &pattern[..known(pattern)]);
        let open = self.open.keys().map(move |pattern| &pattern[..open(pattern)]);
        known.chain(open).chain(self.root.as_deref()).collect()
    }

    /// The rule that counts for a path, as for a listing: with a slash at its end it is looked for first as it is.
    pub fn rule(&self, path: &str) -> Option<&Rule> {
        let bare = path.strip_suffix('/').unwrap_or(path);
        let exact = self.exact(path).or_else(|| self.exact(bare));
        exact.or_else(|| self.best_pattern(path)).or_else(|| self.best_pattern(bare))
    }

    /// Whether the token may do everything on a path.
    pub fn is_root_of(&self, path: &str) -> bool {
        self.root.as_ref().is_some_and(|namespace| path.starts_with(namespace.as_str()))
    }

    fn exact(&self, path: &str) -> Option<&Rule> {
        self.rules.get(path).filter(|_| !has_wildcards(path) && !path.ends_with('*'))
    }

    fn best_pattern(&self, path: &str) -> Option<&Rule> {
        let fitting = self.rules.iter().filter(|(pattern, _)| fits(pattern, path));
        fitting.max_by_key(|(pattern, _)| rank(pattern)).map(|(_, rule)| rule)
    }
}

/// Whether a capability is to list, for which the server adds a slash to the path.
fn is_listing(capability: &str) -> bool {
    matches!(capability, "list" | "scan")
}

/// Whether the server looks for `+` in a pattern.
fn has_wildcards(pattern: &str) -> bool {
    pattern == "+" || pattern.starts_with("+/") || pattern.contains("/+")
}

/// Of these patterns, the one that counts for a path. A path that is written out goes before patterns.
pub fn closest<'p>(patterns: impl IntoIterator<Item = &'p str>, path: &str) -> Option<&'p str> {
    let fitting = patterns.into_iter().filter(|pattern| *pattern == path || fits(pattern, path));
    let key = |pattern: &'p str| (pattern == path && !has_wildcards(pattern), rank(pattern));
    fitting.max_by(|one, other| key(one).cmp(&key(other)))
}

/// Whether a path is one for which a pattern stands.
pub fn fits(pattern: &str, path: &str) -> bool {
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
    let is_wild = has_wildcards(pattern);
    let pluses = if is_wild { start.split('/').filter(|part| *part == "+").count() } else { 0 };
    // The server takes the first `+` of such a pattern, also one within a part.
    let first = if is_wild { pattern.find('+') } else { None }.unwrap_or(start.len());
    (first, !is_prefix, Reverse(pluses), start.len(), start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(policies: &[&str], path: &str) -> String {
        Acl::of(policies.iter().copied()).on(path).into_iter().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn path_patterns_match_paths() {
        let rows = [
            ("secret/*", "secret/a/b", true),
            ("secret/a*", "secret/abc", true),
            ("secret/+/x", "secret/a/x", true),
            ("secret/+/x", "secret/a/b/x", false),
            ("secret/+/*", "secret/a/b/c", true),
            ("*", "anything/at/all", true),
            ("secret/a", "secret/a", false),
            ("secret/a", "secret/b", false),
        ];
        for (pattern, path, expected) in rows {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn closest_pattern_is_that_of_the_server() {
        let patterns = ["secret/*", "secret/+/b", "secret/a/*", "secret/a/b"];
        for (path, expected) in
            [("secret/a/b", "secret/a/b"), ("secret/c/b", "secret/+/b"), ("secret/a/c", "secret/a/*")]
        {
            assert_eq!(closest(patterns, path), Some(expected), "{path}");
        }
        assert_eq!(closest(patterns, "kv/a"), None);
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
            ("kv/x/y", "patch"),
            ("kv/x/y/z", "sudo"),
            ("kv/y", ""),
        ];
        for (path, expected) in rows {
            assert_eq!(on(&[policy], path), expected, "{path}");
        }
    }

    #[test]
    fn plus_within_a_part_decides_about_priority() {
        let policy = "path \"a/+b\" { capabilities = [\"read\"] }\n\
                      path \"a/*\" { capabilities = [\"list\"] }\n\
                      path \"a/+b*\" { capabilities = [\"update\"] }";
        assert_eq!(on(&[policy], "a/+b"), "read");
        assert_eq!(on(&[policy], "a/+bc"), "update");
        assert_eq!(on(&[policy], "a/xb"), "list", "that `+` stands for itself");
    }

    #[test]
    fn policies_add_up_and_deny_wins() {
        let [read, list, deny] =
            ["read", "list", "deny"].map(|word| format!("path \"a\" {{ capabilities = [\"{word}\"] }}"));
        assert_eq!(on(&[&read, &list], "a"), "list read");
        assert_eq!(on(&[&read, &deny, &list], "a"), "");
        assert_eq!(Acl::of([read.as_str(), &deny]).reported("a"), ["deny"]);
        assert_eq!(Acl::of([list.as_str(), &read]).reported("a"), ["list", "read"]);
    }

    #[test]
    fn expired_rules_and_other_namespaces_do_not_count() {
        let old = "path \"a\" { capabilities = [\"read\"] expiration = \"2020-01-01T00:00:00Z\" }\n\
                   path \"b\" { capabilities = [\"read\"] expiration = \"2999-01-01T00:00:00Z\" }";
        assert_eq!((on(&[old], "a").as_str(), on(&[old], "b").as_str()), ("", "read"));
        let rules = parse("path \"/a/+\" { policy = \"read\" }").expect("a policy");
        let source = Source { name: "p", rules: &rules, namespace: "team/" };
        let acl = Acl::with([source], &Identity::NOBODY, Timestamp::now());
        assert_eq!(acl.reported("team/a/b"), ["list", "read"]);
        assert_eq!(acl.reported("a/b"), ["deny"]);
        let root = Acl::with(
            [Source { name: "root", rules: &Paths::default(), namespace: "team/" }],
            &Identity::NOBODY,
            Timestamp::now(),
        );
        assert_eq!((root.reported("team/x"), root.reported("x")), (vec!["root"], vec!["deny"]));
        assert!(root.allows("team/x", &["sudo"]) && !root.allows("x", &["read"]));
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

    #[test]
    fn default_policy_is_readable() {
        let acl = Acl::of([DEFAULT]);
        assert!(acl.allows("auth/token/lookup-self", &["read"]) && acl.allows("cubbyhole/x", &["create"]));
        assert!(!acl.allows("identity/entity/id/x", &["read"]), "a token without an entity");
    }
}
