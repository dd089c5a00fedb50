//! The rights that steps need in Vault, and whether an admin's policies give them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::notation::lower;
use super::policy::acl::Acl;
use super::policy::text::from_data;
use crate::error::FieldError;
use crate::place::Place;
use crate::run::{Access, Declared, Permission};
use crate::template::unknown::is_unknown;
use crate::visible::first_few;

/// How many missing rights one message has.
const SHOWN: usize = 12;

/// To make a thing at a path where the server distinguishes making from changing.
const MAKE: &[&str] = &["create", "update"];
/// To write anywhere else, and to change what is there.
const WRITE: &[&str] = &["update", "create"];

/// Whether a server asks for `create` at a path where nothing is, instead of `update`. Its engine decides;
/// `x-vault-createSupported` in `sys/internal/specs/openapi` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// Every write is an update.
    Update,
    /// It asks for `create`.
    Create,
    /// An engine that OpenBao does not have.
    Unknown,
}

/// To read at a path.
pub(super) fn read(path: impl Into<String>) -> Permission {
    Permission::new(path, &["read"])
}

/// To list at a path.
pub(super) fn list(path: impl Into<String>) -> Permission {
    Permission::new(path, &["list"])
}

/// To write at a path.
pub(super) fn write(path: impl Into<String>) -> Permission {
    Permission::new(path, WRITE)
}

/// To make a thing at a path.
pub(super) fn make(path: impl Into<String>) -> Permission {
    Permission::new(path, MAKE)
}

/// To change a part at a path.
pub(super) fn patch(path: impl Into<String>) -> Permission {
    Permission::new(path, &["patch"])
}

/// To delete at a path.
pub(super) fn delete(path: impl Into<String>) -> Permission {
    Permission::new(path, &["delete"])
}

/// To use a path that the server protects, besides another capability.
pub(super) fn sudo(path: impl Into<String>) -> Permission {
    Permission::new(path, &["sudo"])
}

/// A thing that is read, written and deleted at one path.
pub(super) fn at(path: &str, access: Access, making: Making) -> Vec<Permission> {
    match (access, making) {
        (Access::Read, _) => vec![read(path)],
        (Access::Create, Making::Create) => vec![make(path)],
        (Access::Create, Making::Unknown) => vec![make(path), write(path)],
        (Access::Create | Access::Update, _) => vec![write(path)],
        (Access::Delete, _) => vec![delete(path)],
        (Access::Prove, _) => Vec::new(),
    }
}

/// A delivery into a secret of KV version 2, and whether it is there.
pub(in crate::providers) fn delivery(mount: &str, path: &str, access: Access) -> Vec<Permission> {
    let path = format!("{mount}/data/{path}");
    match access {
        Access::Read => vec![read(path)],
        Access::Create => vec![make(path)],
        Access::Update => vec![patch(path)],
        Access::Delete | Access::Prove => Vec::new(),
    }
}

/// The path as the policies of the plan's own namespace name it.
pub(super) fn path_from_home(place: &Place, path: &str) -> String {
    match &place.namespace {
        Some(namespace) => format!("{namespace}/{path}"),
        None => path.to_owned(),
    }
}

/// A right that is missing, and the step that needs it.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    pub(super) path: String,
    pub(super) any_of: &'static [&'static str],
    pub(super) step: String,
}

/// Capabilities of which any one is enough, the same whichever a least policy would give.
pub(super) fn in_any_order(any_of: &'static [&'static str]) -> &'static [&'static str] {
    if any_of == WRITE { MAKE } else { any_of }
}

/// Whether one of these capabilities is among those that the server lists for a path.
pub(super) fn gives(listed: Option<&Value>, any_of: &[&str]) -> bool {
    let listed = listed.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    listed.into_iter().any(|capability| capability == "root" || any_of.contains(&capability))
}

/// Rules that give what is missing, as lines of a policy.
pub(super) fn rules_for(missing: &[Missing]) -> String {
    let mut by_path: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in missing {
        by_path.entry(&one.path).or_default().extend(one.any_of.iter().copied());
    }
    let rule = |(path, capabilities): (&&str, &BTreeSet<&str>)| {
        let names: Vec<String> = capabilities.iter().map(|name| format!("\"{name}\"")).collect();
        format!("path \"{path}\" {{ capabilities = [{}] }}", names.join(", "))
    };
    by_path.iter().map(rule).collect::<Vec<_>>().join("\n")
}

/// The missing rights in words.
pub(super) fn in_words(missing: &[Missing]) -> String {
    let told = missing.iter().map(|one| {
        let verb = match one.any_of {
            MAKE | WRITE => "write",
            ["sudo"] => "use `sudo` on",
            [one, ..] => one,
            [] => "use",
        };
        format!("{verb} `{}` for step `{}`", one.path, one.step)
    });
    first_few(told, SHOWN, ", ")
}

/// An admin that takes the root token's place and whose policies do not allow the plan's work. Nothing is
/// reported of policies that are not in the plan, or not known yet.
pub(super) fn check(steps: &[&dyn Declared]) -> Vec<(usize, FieldError)> {
    let of_kind = |kind: &'static str| {
        let all = steps.iter().enumerate();
        all.filter(move |(_, step)| step.kind() == kind && *step.place() == Place::OWN)
    };
    let Some((_, root)) = of_kind("vault.root_token").next() else { return Vec::new() };
    let admin = root.fields()["admin"]["approle"].take();
    let mount = admin["mount"].clone();
    let is_named = |fields: &Value, name: &Value| {
        let text = |value: &Value| value.as_str().map(lower).unwrap_or_default();
        text(&fields["name"]) == text(name)
    };
    // Groups of an entity may give further policies.
    if of_kind("vault.entity_alias").any(|(_, alias)| alias.fields()["mount"] == mount) {
        return Vec::new();
    }
    let role = of_kind("vault.approle_role")
        .map(|(index, step)| (index, step.fields()))
        .find(|(_, fields)| fields["mount"] == mount && is_named(fields, &admin["role"]));
    let Some((role, fields)) = role else { return Vec::new() };
    let named = fields["token_policies"].as_array().cloned().unwrap_or_default();
    let (mut place, mut texts) = (None, Vec::new());
    for name in named.iter().filter(|name| **name != "default") {
        let mut policies = of_kind("vault.policy").map(|(index, step)| (index, step.fields()));
        let Some((index, fields)) = policies.find(|(_, fields)| is_named(fields, name)) else {
            return Vec::new();
        };
        let text = match &fields["rules"] {
            Value::String(text) => text.clone(),
            Value::Object(rules) => from_data(&rules.clone().into_iter().collect()),
            _ => return Vec::new(),
        };
        if is_unknown(&text) {
            return Vec::new();
        }
        place.get_or_insert((index, "rules"));
        texts.push(text);
    }
    let acl = Acl::of(texts.iter().map(String::as_str));
    let missing = missing_of(steps, &acl);
    if missing.is_empty() {
        return Vec::new();
    }
    let (index, field) = place.unwrap_or((role, "token_policies"));
    let name = admin["role"].as_str().unwrap_or_default();
    let message = format!(
        "the admin `{name}` takes the root token's place, and its policies do not let it {}",
        in_words(&missing)
    );
    let shown = &missing[..missing.len().min(SHOWN)];
    vec![(index, FieldError::new(field, message).help(format!("add\n{}", rules_for(shown))))]
}

fn missing_of(steps: &[&dyn Declared], acl: &Acl) -> Vec<Missing> {
    let mut told = BTreeSet::new();
    let mut missing = Vec::new();
    for step in steps {
        for permission in step.permissions().into_iter().filter(|one| !is_unknown(&one.on)) {
            let path = path_from_home(step.place(), &permission.on);
            let any_of = in_any_order(permission.any_of);
            if !acl.allows(&path, any_of) && told.insert((path.clone(), any_of)) {
                missing.push(Missing { path, any_of, step: step.id().to_owned() });
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::unknown::marker;

    struct Step {
        id: &'static str,
        kind: &'static str,
        place: Place,
        fields: Value,
        permissions: Vec<Permission>,
    }

    impl Declared for Step {
        fn id(&self) -> &str {
            self.id
        }

        fn kind(&self) -> &'static str {
            self.kind
        }

        fn place(&self) -> &Place {
            &self.place
        }

        fn fields(&self) -> Value {
            self.fields.clone()
        }

        fn permissions(&self) -> Vec<Permission> {
            self.permissions.clone()
        }
    }

    fn step(id: &'static str, kind: &'static str, fields: Value) -> Step {
        Step { id, kind, place: Place::OWN, fields, permissions: Vec::new() }
    }

    /// A plan whose admin has these rules, with a secret in the own namespace and one in another.
    fn plan(rules: Value) -> Vec<Step> {
        let needs = |id, namespace: Option<&str>| Step {
            permissions: vec![read("kv/data/a"), write("kv/data/a"), read(marker("x.y"))],
            place: Place { alias: None, namespace: namespace.map(str::to_owned) },
            ..step(id, "vault.kv_secret", json!({}))
        };
        vec![
            needs("own", None),
            needs("theirs", Some("team")),
            step("policy", "vault.policy", json!({ "name": "Admin", "rules": rules })),
            step(
                "role",
                "vault.approle_role",
                json!({ "name": "boss", "mount": "approle", "token_policies": ["admin", "default"] }),
            ),
            step(
                "root",
                "vault.root_token",
                json!({ "admin": { "approle": { "mount": "approle", "role": "Boss" } } }),
            ),
        ]
    }

    fn found(steps: &[Step]) -> Vec<(usize, FieldError)> {
        check(&steps.iter().map(|step| step as &dyn Declared).collect::<Vec<_>>())
    }

    #[test]
    fn one_of_several_capabilities_is_enough() {
        let gives = |listed: Value, any_of: &[&str]| gives(Some(&listed), any_of);
        assert!(gives(json!(["update"]), &["create", "update"]) && gives(json!(["root"]), &["sudo"]));
        assert!(!gives(json!(["deny"]), &["read"]) && !gives(json!(null), &["read"]));
    }

    #[test]
    fn missing_rights_are_named_with_their_step_and_rule() {
        let all = found(&plan(json!({ "kv/*": ["read"] })));
        let [(2, mistake)] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(mistake.path, "rules");
        assert!(mistake.message.ends_with(
            "its policies do not let it write `kv/data/a` for step `own`, read `team/kv/data/a` for step `theirs`, \
             write `team/kv/data/a` for step `theirs`"
        ), "{}", mistake.message);
        let rules = "add\npath \"kv/data/a\" { capabilities = [\"create\", \"update\"] }\n\
                     path \"team/kv/data/a\" { capabilities = [\"create\", \"read\", \"update\"] }";
        assert_eq!(mistake.help.as_deref(), Some(rules));
    }

    #[test]
    fn enough_rights_and_unknown_policies_are_no_mistake() {
        assert!(found(&plan(json!({ "+/data/*": ["create", "read"], "team/*": ["read", "update"], "kv/*": ["read", "create"] }))).is_empty());
        assert!(found(&plan(json!("path \"*\" { policy = \"write\" }"))).is_empty());
        assert!(found(&plan(json!(marker("a.b")))).is_empty());
        let mut elsewhere = plan(json!({}));
        elsewhere[2].fields["name"] = json!("other");
        assert!(found(&elsewhere).is_empty(), "the server alone knows that policy");
        let mut aliased = plan(json!({ "x": ["read"] }));
        assert_eq!(found(&aliased).len(), 1);
        aliased.push(step("alias", "vault.entity_alias", json!({ "name": "x", "mount": "approle" })));
        assert!(found(&aliased).is_empty(), "an entity may have further policies");
        let without =
            plan(json!({ "x": ["read"] })).into_iter().filter(|step| step.kind != "vault.root_token");
        assert!(found(&without.collect::<Vec<_>>()).is_empty());
    }
}
