//! The least policy of Vault that gives some permissions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::permissions::path_from_home;
use super::policy::acl::fits;
use crate::place::Place;
use crate::run::{LeastPolicy, Needs};
use crate::template::unknown::is_unknown;

/// The capabilities of each path.
type Rules = BTreeMap<String, BTreeSet<&'static str>>;

/// The policy, for the plan's own namespace; none if nothing is needed.
pub(super) fn policies(needs: &[&Needs]) -> Vec<LeastPolicy> {
    let rules = rules(needs);
    if rules.is_empty() {
        return Vec::new();
    }
    let line = |(path, capabilities): (&String, &BTreeSet<&str>)| {
        let capabilities: Vec<String> = capabilities.iter().map(|one| format!("\"{one}\"")).collect();
        format!("path \"{path}\" {{\n  capabilities = [{}]\n}}", capabilities.join(", "))
    };
    let text = rules.iter().map(line).collect::<Vec<_>>().join("\n\n");
    let note = "The policy `default` gives the rest: a token may look itself up, ask for its capabilities, and be revoked.";
    vec![LeastPolicy {
        connection: Place::OWN.connection("vault"),
        step: ("vault.policy", json!({ "rules": rules })),
        text,
        ending: "hcl",
        notes: vec![note.to_owned()],
    }]
}

/// A server takes the rules of the most specific path and no others, so a path also gets what the wider paths
/// around it give.
fn rules(needs: &[&Needs]) -> Rules {
    let mut rules = Rules::new();
    for needs in needs {
        for one in &needs.permissions {
            let path = known_parts(&path_from_home(&needs.place, &one.on));
            rules.entry(path).or_default().extend(one.any_of.first());
        }
    }
    let wide: Vec<(String, BTreeSet<&str>)> = rules
        .iter()
        .filter(|(path, _)| path.contains('+'))
        .map(|(path, all)| (path.clone(), all.clone()))
        .collect();
    for (path, capabilities) in &mut rules {
        for (_, more) in wide.iter().filter(|(around, _)| around != path && fits(around, path)) {
            capabilities.extend(more);
        }
    }
    rules
}

/// A segment of a path that is not known yet may be any.
fn known_parts(path: &str) -> String {
    let parts = path.split('/').map(|part| if is_unknown(part) { "+" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::super::permissions::Making;
    use super::super::permissions::{at, delete, patch, read, sudo};
    use super::*;
    use crate::run::{Access, Permission};
    use crate::template::unknown::marker;

    fn policy(place: Place, permissions: Vec<Permission>) -> Option<String> {
        let needs = Needs { step: "a".to_owned(), provider: "vault", place, may_exist: true, permissions };
        policies(&[&needs]).pop().map(|policy| policy.text)
    }

    #[test]
    fn capabilities_of_a_path_are_merged() {
        let all = [Access::Read, Access::Create, Access::Update];
        let all = all.into_iter().flat_map(|access| at("a/b", access, Making::Create)).chain([sudo("a/b")]);
        let made = policy(Place::OWN.below("team"), all.collect()).expect("a policy");
        assert_eq!(
            made,
            "path \"team/a/b\" {\n  capabilities = [\"create\", \"read\", \"sudo\", \"update\"]\n}"
        );
        assert_eq!(policy(Place::OWN, Vec::new()), None);
    }

    #[test]
    fn narrow_path_keeps_what_the_wide_one_gives() {
        let unknown = format!("pki/issuer/{}", marker("ca.name"));
        let made = policy(Place::OWN, vec![delete(unknown), read("pki/issuer/+"), patch("pki/issuer/root")]);
        let made = made.expect("a policy");
        assert!(made.contains("path \"pki/issuer/+\" {\n  capabilities = [\"delete\", \"read\"]"), "{made}");
        assert!(
            made.contains("path \"pki/issuer/root\" {\n  capabilities = [\"delete\", \"patch\", \"read\"]"),
            "{made}"
        );
    }
}
