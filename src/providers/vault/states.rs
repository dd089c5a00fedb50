//! The statements of Vault's kinds about access.

use super::role::IssuesTokens;
use crate::access::{Grant, Operation, Principal, Target};

/// Capabilities that change something at a path.
pub(super) const WRITE: &[&str] = &["update", "create", "patch"];

/// A role of an auth method: those that log in with it, and the role itself, which others may change.
pub(super) fn login_role(mount: &str, name: &str, path: &str, role: &impl IssuesTokens) -> Vec<Grant> {
    login(mount, name, path, role.policies().iter(), role.lacks_default_policy())
}

/// The same of a role with these policies.
pub(super) fn login<'a>(
    mount: &str,
    name: &str,
    path: &str,
    policies: impl Iterator<Item = &'a str>,
    is_bare: bool,
) -> Vec<Grant> {
    let principal = Principal {
        sort: "Vault role",
        name: format!("{mount}/{name}"),
        policies: policies.map(ToOwned::to_owned).collect(),
        is_bare,
        ..Principal::default()
    };
    vec![Grant::Principal(principal), target("Vault login", format!("{mount}/{name}"), manage(path))]
}

/// A thing that is kept at a path, which is written and deleted there.
pub(super) fn manage(path: &str) -> Vec<Operation> {
    vec![Operation::new("change", WRITE, path), Operation::new("delete", &["delete"], path)]
}

/// A thing with what can be done with it.
pub(super) fn target(sort: &'static str, name: impl Into<String>, operations: Vec<Operation>) -> Grant {
    Grant::Target(Target { sort, name: name.into(), operations, ..Target::default() })
}

/// The things of an engine, by kind: the sort of the thing, and the rights that it gives, with their folders below the
/// mount.
type Engines = &'static [(
    &'static str,
    &'static str,
    &'static [(&'static str, &'static [&'static str], &'static str)],
)];

const ENGINES: Engines = &[
    ("vault.aws_role", "AWS role", &[("get credentials", &["read", "create", "update"], "creds")]),
    ("vault.database_role", "database role", &[("get a login", &["read"], "creds")]),
    (
        "vault.database_static_role",
        "database role",
        &[("get the login", &["read"], "static-creds"), ("rotate", WRITE, "rotate-role")],
    ),
    (
        "vault.pki_role",
        "PKI role",
        &[("issue certificates", WRITE, "issue"), ("sign requests", WRITE, "sign")],
    ),
    (
        "vault.ssh_role",
        "SSH role",
        &[("sign keys", WRITE, "sign"), ("issue keys", WRITE, "issue"), ("get a password", WRITE, "creds")],
    ),
    ("vault.totp_key", "TOTP key", &[("read codes", &["read"], "code"), ("check codes", WRITE, "code")]),
    (
        "vault.transit_key",
        "transit key",
        &[
            ("encrypt", WRITE, "encrypt"),
            ("decrypt", WRITE, "decrypt"),
            ("sign", WRITE, "sign"),
            ("rewrap", WRITE, "rewrap"),
            ("make data keys", WRITE, "datakey/plaintext"),
            ("export", &["read"], "export/encryption-key"),
        ],
    ),
];

/// A thing of an engine: what it gives at paths below the mount, and that it can be changed. Nothing for another kind.
pub(super) fn engine_thing(kind: &str, (mount, name): (&str, &str), path: &str) -> Vec<Grant> {
    let Some((_, sort, gives)) = ENGINES.iter().find(|(of, ..)| *of == kind) else { return Vec::new() };
    let given = gives
        .iter()
        .map(|(right, any_of, folder)| Operation::new(right, any_of, format!("{mount}/{folder}/{name}")));
    let operations = given.chain(manage(path)).collect();
    vec![target(sort, format!("{mount}/{name}"), operations)]
}

/// A secret of a KV engine of version 2.
pub(super) fn kv_secret(mount: &str, path: &str) -> Vec<Grant> {
    let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("/{folder}"));
    let at = |kind: &str| format!("{mount}/{kind}/{path}");
    let operations = vec![
        Operation::new("read", &["read"], at("data")),
        Operation::new("write", WRITE, at("data")),
        Operation::new("delete", &["delete"], at("data")),
        Operation::new("delete versions", &["create", "update"], at("delete")),
        Operation::new("undelete", &["create", "update"], at("undelete")),
        Operation::new("destroy", &["create", "update"], at("destroy")),
        Operation::new("delete all", &["delete"], at("metadata")),
        Operation::new("read metadata", &["read"], at("metadata")),
        Operation::new("write metadata", WRITE, at("metadata")),
        Operation::new("list", &["list"], format!("{mount}/metadata{folder}")),
    ];
    vec![target("secret", format!("{mount}/{path}"), operations)]
}
