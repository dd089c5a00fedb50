//! Who can reach what in Vault, by the policies of roles, entities and groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::Value;

use super::VaultClient;
use super::policy::Policy;
use super::policy::acl::{Acl, DEFAULT, Group, Identity, Paths, Rule, Source, parse};
use crate::access::{Access, Grant, Operation, Principal, Reach, Remark, Right, Stated, Subject, Target};
use crate::place::{Place, Realm};
use crate::resource::{Provided, Resource};
use crate::run::Run;
use crate::template::unknown::is_unknown;

/// The rules of the policy `default` of a new server.
static DEFAULT_RULES: LazyLock<Paths> = LazyLock::new(|| parse(DEFAULT).unwrap_or_default());
static NO_RULES: Paths = Paths::new();

/// Paths that need `sudo` beside the capability.
const SUDO: [&str; 2] = ["sys/auth/", "sys/audit/"];

/// A principal and where it is.
struct Who<'a> {
    principal: &'a Principal,
    stated: &'a Stated,
    id: String,
}

/// The statements of all steps.
struct World<'a> {
    /// Rules by namespace and name; none where they are not known.
    policies: BTreeMap<(String, &'a str), Option<Paths>>,
    who: Vec<Who<'a>>,
    targets: Vec<(&'a Target, &'a Stated)>,
    /// Namespace, method, name at the method, and the id of the entity or group.
    logins: Vec<(String, &'a str, &'a str, &'a str)>,
}

/// The path of the step's namespace as a prefix of paths.
fn namespace(stated: &Stated) -> String {
    stated.place.namespace.as_ref().map_or_else(String::new, |path| format!("{path}/"))
}

/// Who can reach what, by these statements.
pub(super) fn reach(stated: &[Stated]) -> Access {
    let world = World::of(stated);
    let index = Index::of(&world);
    let mut access = Access::default();
    for (target, stated) in &world.targets {
        access.targets.push(subject(target.sort, &target.name, stated));
    }
    for who in &world.who {
        let principal = subject(who.principal.sort, &who.principal.name, who.stated);
        let (acl, unknown) = world.acl(who);
        let mut remark = |message: String| access.remarks.push(Remark { about: principal.clone(), message });
        if who.principal.is_disabled {
            remark("is disabled: the server refuses its tokens".to_owned());
        }
        for name in &unknown {
            remark(format!("has the policy `{name}`, which is not in the plan: what it gives is not known"));
        }
        if !who.principal.is_disabled {
            let of = |at: usize| {
                let (target, place) = &world.targets[at];
                let prefix = namespace(place);
                let rights = target.operations.iter().filter_map(|one| right(&acl, one, &prefix));
                let target = subject(target.sort, &target.name, place);
                let rights: Vec<Right> = rights.collect();
                (!rights.is_empty()).then(|| Reach { principal: principal.clone(), target, rights })
            };
            access.reach.extend(index.reached_by(&acl).into_iter().filter_map(of));
        }
        access.principals.push(principal);
    }
    access
}

/// The things by the paths at which something can be done with them, so that a principal is asked only about those
/// that its rules can concern.
struct Index {
    /// Sorted.
    paths: Vec<(String, usize)>,
}

impl Index {
    fn of(world: &World<'_>) -> Self {
        let targets = world.targets.iter().enumerate();
        let mut paths: Vec<(String, usize)> = targets
            .flat_map(|(at, (target, stated))| {
                let prefix = namespace(stated);
                target.operations.iter().map(move |one| (format!("{prefix}{}", one.on), at))
            })
            .collect();
        paths.sort_unstable();
        Self { paths }
    }

    /// The things that rules can concern, in their order. A rule for a path with a slash at its end counts for a
    /// listing without it.
    fn reached_by(&self, acl: &Acl) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for beginning in acl.beginnings() {
            let beginning = beginning.strip_suffix('/').unwrap_or(beginning);
            let first = self.paths.partition_point(|(path, _)| path.as_str() < beginning);
            let fitting = self.paths[first..].iter().take_while(|(path, _)| path.starts_with(beginning));
            found.extend(fitting.map(|(_, at)| *at));
        }
        found
    }
}

/// The live policies that these principals name and that are not among them.
pub(super) async fn further(run: &Run, stated: &[Stated]) -> Vec<Stated> {
    let mut wanted: BTreeSet<(Place, String)> = BTreeSet::new();
    let mut known = BTreeSet::new();
    for one in stated {
        for grant in &one.grants {
            match grant {
                Grant::Principal(principal) => {
                    let names = principal.policies.iter().map(String::as_str).chain(["default"]);
                    wanted.extend(names.map(|name| (one.place.clone(), name.to_owned())));
                }
                Grant::Policy { name, .. } => drop(known.insert((one.place.clone(), name.clone()))),
                Grant::Target(_) | Grant::Login { .. } => {}
            }
        }
    }
    let mut found = Vec::new();
    for (place, name) in wanted.difference(&known).filter(|(_, name)| name != "root") {
        let Ok(client) = VaultClient::provide(run, place).await else { continue };
        let Ok(Some(told)) = client.get(&format!("sys/policies/acl/{name}")).await else { continue };
        let grants = vec![Grant::Policy { name: name.clone(), rules: told["policy"].clone() }];
        let (place, realm) = (place.clone(), Realm::UNKNOWN);
        let step = format!("policy {name}");
        found.push(Stated {
            step,
            kind: Policy::KIND,
            place,
            realm,
            outputs: serde_json::Map::new(),
            grants,
        });
    }
    found
}

fn subject(sort: &str, name: &str, stated: &Stated) -> Subject {
    let name = stated.place.qualify("vault", name);
    let id = stated.outputs.get("id").and_then(Value::as_str).map(ToOwned::to_owned);
    Subject {
        provider: "vault",
        sort: sort.to_owned(),
        name,
        step: Some(stated.step.clone()),
        also: id.into_iter().collect(),
    }
}

/// The right to do this, if the rules give it.
fn right(acl: &Acl, operation: &Operation, prefix: &str) -> Option<Right> {
    let path = format!("{prefix}{}", operation.on);
    let needs_sudo = SUDO.iter().any(|start| operation.on.starts_with(start));
    if needs_sudo && !acl.allows(&path, &["sudo"]) {
        return None;
    }
    let one = |because: Vec<String>, only: Vec<String>| Right {
        right: operation.right,
        because,
        only,
        unless: Vec::new(),
    };
    if let Some((capability, rule)) = acl.reason(&path, operation.any_of) {
        return Some(one(origins(rule, capability), rule.limits()));
    }
    if acl.is_root_of(&path) {
        return Some(one(vec!["policy `root`".to_owned()], Vec::new()));
    }
    operation.any_of.iter().find_map(|capability| {
        let (pattern, rule) = acl.open_reason(&path, capability)?;
        Some(one(origins(rule, capability), vec![format!("where the path is {pattern}")]))
    })
}

fn origins(rule: &Rule, capability: &str) -> Vec<String> {
    let giving = rule.origins.iter().filter(|origin| origin.gives(capability));
    giving
        .map(|origin| format!("policy `{}`, path \"{}\": {capability}", origin.policy, origin.path))
        .collect()
}

impl<'a> World<'a> {
    fn of(stated: &'a [Stated]) -> Self {
        let mut world =
            Self { policies: BTreeMap::new(), who: Vec::new(), targets: Vec::new(), logins: Vec::new() };
        for one in stated {
            for grant in &one.grants {
                match grant {
                    Grant::Policy { name, rules } => {
                        let text = rules.as_str().unwrap_or_default();
                        let rules = (!is_unknown(text)).then(|| parse(text).unwrap_or_default());
                        world.policies.insert((namespace(one), name), rules);
                    }
                    Grant::Principal(principal) => {
                        world.who.push(Who { principal, stated: one, id: one.output("id") });
                    }
                    Grant::Target(target) => world.targets.push((target, one)),
                    Grant::Login { name, method, principal } => {
                        world.logins.push((namespace(one), method, name, principal));
                    }
                }
            }
        }
        world
    }

    /// The rules of a principal, and its policies that are not known.
    fn acl(&self, who: &Who<'a>) -> (Acl, BTreeSet<String>) {
        let holders = self.holders(who);
        let mut names: BTreeSet<(String, &str)> = BTreeSet::new();
        for holder in &holders {
            let inside = namespace(holder.stated);
            names.extend(holder.principal.policies.iter().map(|name| (inside.clone(), name.as_str())));
        }
        if !who.principal.is_bare && who.principal.sort == "Vault role" {
            names.insert((namespace(who.stated), "default"));
        }
        let mut unknown = BTreeSet::new();
        let mut sources: Vec<Source<'_>> = Vec::new();
        for (inside, name) in &names {
            let mut add = |rules| sources.push(Source { name, rules, namespace: inside });
            match self.policies.get(&(inside.clone(), *name)) {
                Some(Some(rules)) => add(rules),
                None if *name == "default" => add(&DEFAULT_RULES),
                None if *name == "root" => add(&NO_RULES),
                _ => drop(unknown.insert((*name).to_owned())),
            }
        }
        (Acl::with(sources, &identity(&holders), Timestamp::now()), unknown)
    }

    /// The principal, the entity to which its login leads, and all groups of these.
    fn holders(&self, who: &Who<'a>) -> Vec<&Who<'a>> {
        let is_same = |one: &&Who<'a>| std::ptr::eq(one.principal, who.principal);
        let mut found: Vec<&Who<'a>> = self.who.iter().filter(is_same).collect();
        let (home, role_id) = (namespace(who.stated), who.stated.output("role_id"));
        let is_role = who.principal.sort == "Vault role";
        let leads = self.logins.iter().filter(|(inside, method, name, _)| {
            let own = who.principal.name.strip_prefix(*method).and_then(|own| own.strip_prefix('/'));
            is_role && *inside == home && own.is_some_and(|own| own == *name || role_id == *name)
        });
        for (.., id) in leads {
            found.extend(self.who.iter().filter(|one| one.principal.sort != "Vault role" && one.id == *id));
        }
        let mut at = 0;
        while at < found.len() {
            let id = &found[at].id;
            let contains = |group: &&Who<'a>| group.principal.members.iter().any(|member| member == id);
            let above: Vec<&Who<'a>> = self.who.iter().filter(contains).collect();
            let is_new = |group: &&Who<'a>| !found.iter().any(|one| std::ptr::eq(*one, *group));
            let new: Vec<&Who<'a>> = above.into_iter().filter(is_new).collect();
            found.extend(new);
            at += 1;
        }
        found
    }
}

/// The identity of a token, as far as the plan knows it.
fn identity(holders: &[&Who<'_>]) -> Identity {
    let of_sort =
        |sort: &str| holders.iter().filter(move |one| one.principal.sort == sort).collect::<Vec<_>>();
    let known = |id: &String| if is_unknown(id) { None } else { Some(id.clone()) };
    let entity = of_sort("Vault entity").first().map(|one| {
        let mut parts = one.principal.facts.clone();
        parts.insert("name".to_owned(), one.principal.name.clone());
        parts.extend(known(&one.id).map(|id| ("id".to_owned(), id)));
        parts
    });
    let group = |one: &&&Who<'_>| Group {
        id: one.id.clone(),
        name: one.principal.name.clone(),
        metadata: one.principal.facts.clone(),
    };
    // Each login has an entity, also one that the plan does not declare.
    let groups = of_sort("Vault group").iter().map(group).collect();
    Identity { entity: entity.or_else(|| Some(BTreeMap::new())), groups, is_complete: false }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::super::states;
    use super::*;
    use crate::template::unknown::marker;

    fn stated(step: &str, grants: Vec<Grant>) -> Stated {
        Stated {
            step: step.to_owned(),
            kind: "vault.policy",
            place: Place::OWN,
            realm: Realm::UNKNOWN,
            outputs: Map::new(),
            grants,
        }
    }

    fn policy(name: &str, text: &str) -> Stated {
        stated(name, vec![Grant::Policy { name: name.to_owned(), rules: json!(text) }])
    }

    fn principal(sort: &'static str, name: &str, policies: &[&str], members: &[String]) -> Stated {
        let policies = policies.iter().map(|name| (*name).to_owned()).collect();
        let principal = Principal {
            sort,
            name: name.to_owned(),
            policies,
            members: members.to_vec(),
            ..Principal::default()
        };
        stated(name, vec![Grant::Principal(principal)])
    }

    fn told(access: &Access, who: &str) -> Vec<String> {
        let own = access.reach.iter().filter(|one| one.principal.name == who);
        let words = |right: &Right| match right.only.is_empty() {
            true => right.right.to_owned(),
            false => format!("{} ({})", right.right, right.only.join(", ")),
        };
        own.map(|one| {
            format!("{}: {}", one.target.name, one.rights.iter().map(words).collect::<Vec<_>>().join(", "))
        })
        .collect()
    }

    #[test]
    fn entities_have_the_policies_of_their_groups_and_logins() {
        let mut logged_in = stated(
            "alias",
            vec![Grant::Login {
                name: "ann".to_owned(),
                method: "userpass".to_owned(),
                principal: marker("ann.id"),
            }],
        );
        logged_in.kind = "vault.entity_alias";
        let world = [
            policy("read", "path \"kv/data/a\" { capabilities = [\"read\"] }"),
            policy("list", "path \"kv/metadata/*\" { capabilities = [\"list\"] }"),
            policy("own", "path \"kv/data/{{identity.entity.name}}\" { capabilities = [\"update\"] }"),
            principal("Vault entity", "ann", &["own"], &[]),
            principal("Vault group", "inner", &["read"], &[marker("ann.id")]),
            principal("Vault group", "outer", &["list"], &[marker("inner.id")]),
            principal("Vault role", "userpass/ann", &[], &[]),
            principal("Vault role", "userpass/bob", &["own", "elsewhere"], &[]),
            logged_in,
            stated("a", states::kv_secret("kv", "a")),
            stated("ann_secret", states::kv_secret("kv", "ann")),
        ];
        let access = reach(&world);
        assert_eq!(told(&access, "ann"), ["kv/a: read, list", "kv/ann: write, list"]);
        assert_eq!(told(&access, "userpass/ann"), told(&access, "ann"));
        assert_eq!(told(&access, "inner"), ["kv/a: read, list", "kv/ann: list"]);
        let own = "where the path is kv/data/{{identity.entity.name}}";
        assert_eq!(
            told(&access, "userpass/bob"),
            [format!("kv/a: write ({own})"), format!("kv/ann: write ({own})")]
        );
        let [remark] = access.remarks.as_slice() else { panic!("{:?}", access.remarks) };
        assert!(remark.message.contains("`elsewhere`") && remark.about.name == "userpass/bob", "{remark:?}");
        let because = &access.reach[0].rights[0].because;
        assert_eq!(because, &["policy `read`, path \"kv/data/a\": read"]);
    }
}
