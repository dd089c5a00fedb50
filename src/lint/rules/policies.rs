//! Vault policies that do not do what they appear to do.

use std::collections::HashSet;

use crate::lint::Rule;
use crate::lint::facts::{Fact, Facts};
use crate::lint::policy::granted_by;
use crate::plan::Severity;

pub const RULES: &[&Rule] = &[&NO_SUCH_MOUNT, &KV2_WITHOUT_DATA, &NO_SUCH_POLICY];

/// Mounts that every server has from the beginning.
const BUILT_IN_MOUNTS: [&str; 4] = ["sys", "identity", "cubbyhole", "auth"];
const BUILT_IN_METHODS: [&str; 1] = ["token"];
const BUILT_IN_POLICIES: [&str; 2] = ["default", "root"];
/// The API prefixes of a KV engine of version 2.
const KV2: [&str; 8] =
    ["data", "metadata", "delete", "undelete", "destroy", "subkeys", "config", "detailed-metadata"];

const NO_SUCH_MOUNT: Rule = Rule {
    id: "policy-path-without-mount",
    severity: Severity::Warning,
    title: "A Vault policy names a path where nothing is mounted",
    explanation: "A plan that initialises Vault declares every mount. A rule for another path allows nothing \
                  today. It is usually a misspelling, and it grants unintended access as soon as an engine \
                  is mounted there.",
    help: "correct the path, or declare the `vault.mount` or `vault.auth_method`",
    bad: r#"steps:
  init: { kind: vault.init }
  kv: { kind: vault.mount, path: secret, type: kv }
  app:
    kind: vault.policy
    name: app
    rules: |
      path "secrets/data/app/*" {        # here
        capabilities = ["read"]
      }
  logins:
    kind: vault.policy
    name: logins
    rules:
      "auth/aprole/role/*": [ read ]     # here
"#,
    good: r#"steps:
  init: { kind: vault.init }
  kv: { kind: vault.mount, path: secret, type: kv }
  approle: { kind: vault.auth_method, type: approle }
  app:
    kind: vault.policy
    name: app
    rules:
      "secret/data/app/*": [ read ]
      "sys/mounts": [ read ]
      "auth/approle/role/*": [ read ]
      "auth/token/lookup-self": [ read ]
      "+/data/shared": [ read ]
"#,
    check: |facts, findings| {
        if !facts.makes_vault() {
            return;
        }
        let mounts = Mounts::of(paths_of(facts, "vault.mount"), &BUILT_IN_MOUNTS);
        let methods = facts.of_kind("vault.auth_method").map(|fact| method_path(fact).to_owned()).collect();
        let methods = Mounts::of(methods, &BUILT_IN_METHODS);
        for fact in facts.of_kind("vault.policy") {
            for (path, _) in granted_by(fact) {
                let (known, at) = match path.strip_prefix("auth/") {
                    Some(rest) => (&methods, rest),
                    None => (&mounts, path.as_str()),
                };
                if !is_open(at) && !known.cover(at) {
                    findings.vault_path(fact, &path, format!("nothing is mounted at `{path}`"));
                }
            }
        }
    },
};

const KV2_WITHOUT_DATA: Rule = Rule {
    id: "kv2-path-without-data",
    severity: Severity::Warning,
    title: "A Vault policy omits the `data/` of a KV engine of version 2",
    explanation: "Version 2 of the KV engine keeps secrets at `MOUNT/data/PATH` and their metadata at \
                  `MOUNT/metadata/PATH`. A rule for `MOUNT/PATH` allows nothing, and Vault denies the \
                  application access.",
    help: "write `MOUNT/data/PATH` to read and write, and `MOUNT/metadata/PATH` to list",
    bad: r#"steps:
  kv: { kind: vault.mount, path: secret, type: kv }
  app:
    kind: vault.policy
    name: app
    rules:
      "secret/app/*": [ read ]           # here
"#,
    good: r#"steps:
  kv: { kind: vault.mount, path: secret, type: kv }
  old: { kind: vault.mount, path: old, type: kv, version: 1 }
  app:
    kind: vault.policy
    name: app
    rules:
      "secret/data/app/*": [ read ]
      "secret/*": [ list ]
      "old/app/*": [ read ]
"#,
    check: |facts, findings| {
        let is_kv2 = |fact: &&Fact<'_>| fact.text("type") == "kv" && fact.fields["version"] != 1;
        let mounts: Vec<&str> =
            facts.of_kind("vault.mount").filter(is_kv2).map(|fact| fact.text("path")).collect();
        for fact in facts.of_kind("vault.policy") {
            for (path, _) in granted_by(fact) {
                let below = mounts.iter().find_map(|mount| path.strip_prefix(*mount)?.strip_prefix('/'));
                let first = below.map(|below| below.split('/').next().unwrap_or_default());
                if first.is_some_and(|first| !first.is_empty() && !is_open(first) && !KV2.contains(&first)) {
                    let message = format!("`{path}` allows nothing: the engine is a KV engine of version 2");
                    findings.vault_path(fact, &path, message);
                }
            }
        }
    },
};

const NO_SUCH_POLICY: Rule = Rule {
    id: "role-with-unknown-policy",
    severity: Severity::Warning,
    title: "A Vault role names a policy that does not exist",
    explanation: "A plan that initialises Vault declares every policy in it. Vault accepts the name of a \
                  policy that does not exist without an error. The role's tokens are then denied access, or \
                  get the permissions of any policy that is later created under that name.",
    help: "correct the name, or refer to the step: `\"{{ app_policy.name }}\"`",
    bad: r#"steps:
  init: { kind: vault.init }
  approle: { kind: vault.auth_method, type: approle }
  policy: { kind: vault.policy, name: app, rules: { "sys/health": [ read ] } }
  role:
    kind: vault.approle_role
    name: app
    token_ttl: 1h
    secret_id_ttl: 1h
    token_policies: [ default, app, appp ]   # here
"#,
    good: r#"steps:
  init: { kind: vault.init }
  approle: { kind: vault.auth_method, type: approle }
  policy: { kind: vault.policy, name: app, rules: { "sys/health": [ read ] } }
  role:
    kind: vault.approle_role
    name: app
    token_ttl: 1h
    secret_id_ttl: 1h
    token_policies: [ default, "{{ policy.name }}" ]
"#,
    check: |facts, findings| {
        if !facts.makes_vault() {
            return;
        }
        let declared: Vec<String> =
            facts.of_kind("vault.policy").map(|fact| fact.text("name").to_lowercase()).collect();
        for fact in facts.steps.iter().filter(|fact| fact.kind.starts_with("vault.")) {
            for field in ["token_policies", "policies", "allowed_policies"] {
                for name in
                    fact.list(field).into_iter().filter(|name| !crate::template::unknown::is_unknown(name))
                {
                    let known = BUILT_IN_POLICIES.contains(&name) || declared.contains(&name.to_lowercase());
                    if !known {
                        findings.within(
                            fact,
                            field,
                            name,
                            format!("the plan does not declare a policy `{name}`"),
                        );
                    }
                }
            }
        }
    },
};

fn paths_of(facts: &Facts<'_>, kind: &str) -> Vec<String> {
    facts.of_kind(kind).map(|fact| fact.text("path").to_owned()).collect()
}

/// Where an auth method is mounted below `auth/`.
fn method_path<'a>(fact: &'a Fact<'_>) -> &'a str {
    match fact.text("path") {
        "" => fact.text("type"),
        path => path,
    }
}

/// Whether a path begins with a wildcard or with something that is not known yet, so that it can match
/// any mount.
fn is_open(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    first.contains(['*', '+', '{']) || crate::template::unknown::is_unknown(first)
}

/// Where something is mounted.
struct Mounts {
    paths: HashSet<String>,
    /// Whether one of them is not known yet, so that it may be anywhere.
    is_open: bool,
}

impl Mounts {
    fn of(declared: Vec<String>, built_in: &[&str]) -> Self {
        let is_open = declared.iter().any(|path| crate::template::unknown::is_unknown(path));
        let all = declared.iter().map(String::as_str).chain(built_in.iter().copied());
        Self { paths: all.map(|path| path.trim_end_matches('/').to_owned()).collect(), is_open }
    }

    /// Whether a path is at or below one of them. `secret*` matches everything that begins with `secret`.
    fn cover(&self, path: &str) -> bool {
        let ends = path.match_indices(['/', '*']).map(|(end, _)| end).chain([path.len()]);
        self.is_open || ends.into_iter().any(|end| self.paths.contains(&path[..end]))
    }
}
