//! What lies in a secrets engine, an auth method or a namespace, and ends with it.

use serde_json::Value;

use super::VaultClient;
use crate::resource::{Attachment, ErrorKind, Result};

/// The lists of an engine's things, below its path.
fn lists_of_engine(engine: &str, version: Option<u8>) -> &'static [&'static str] {
    match (engine, version) {
        ("kv", Some(2)) => &["metadata"],
        ("kv", _) => &[""],
        ("transit" | "totp", _) => &["keys"],
        ("pki" | "ssh" | "aws", _) => &["roles"],
        ("database", _) => &["config", "roles", "static-roles"],
        _ => &[],
    }
}

/// The lists of an auth method's things, below its path.
fn lists_of_method(method: &str) -> &'static [&'static str] {
    match method {
        "approle" | "kubernetes" | "jwt" | "oidc" | "azure" | "gcp" => &["role"],
        "userpass" => &["users"],
        "cert" => &["certs"],
        "aws" => &["roles"],
        "ldap" => &["groups", "users"],
        "github" => &["map/teams", "map/users"],
        _ => &[],
    }
}

/// What lies in a secrets engine.
pub(super) async fn of_engine(
    client: &VaultClient,
    path: &str,
    engine: &str,
    version: Option<u8>,
) -> Result<Vec<Attachment>> {
    let mut found = Vec::new();
    for list in lists_of_engine(engine, version) {
        // A secret's id has no `metadata` in it.
        let base = if engine == "kv" { path.to_owned() } else { format!("{path}/{list}") };
        found.extend(listed(client, format!("{path}/{list}").trim_end_matches('/'), &base).await?);
    }
    Ok(found)
}

/// What hangs on an auth method.
pub(super) async fn of_method(client: &VaultClient, path: &str, method: &str) -> Result<Vec<Attachment>> {
    let mut found = Vec::new();
    for list in lists_of_method(method) {
        let list = format!("auth/{path}/{list}");
        found.extend(listed(client, &list, &list).await?);
    }
    Ok(found)
}

/// A list that the token may not read is shown as such: what is in it ends all the same.
async fn listed(client: &VaultClient, list: &str, base: &str) -> Result<Vec<Attachment>> {
    let keys = match keys(client, list).await {
        Err(error) if error.kind == ErrorKind::Denied => {
            return Ok(vec![Attachment::ends("content", format!("{list} (not readable)"))]);
        }
        keys => keys?,
    };
    let attachment = |key: String| {
        let id = format!("{base}/{key}");
        Attachment::ends("content", &id).held_by("", id)
    };
    Ok(keys.into_iter().map(attachment).collect())
}

async fn keys(client: &VaultClient, list: &str) -> Result<Vec<String>> {
    let told = client.list(list).await?.unwrap_or_default();
    let keys = told["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(keys.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Namespaces in a namespace block its deletion; engines end with it.
pub(super) async fn of_namespace(client: &VaultClient, name: &str) -> Result<Vec<Attachment>> {
    let children = keys(client, &format!("{name}/sys/namespaces")).await?.into_iter().map(|child| {
        let child = child.trim_end_matches('/').to_owned();
        let clause = format!("the namespace `{child}` is in it");
        Attachment::blocks("namespaces", &child, clause)
            .held_by("vault.namespace", format!("sys/namespaces/{child}"))
            .in_namespace(name)
    });
    let told = client.get(&format!("{name}/sys/mounts")).await?.unwrap_or_default();
    let mounts = told.as_object().into_iter().flatten().filter(|(path, told)| {
        let own = ["cubbyhole", "identity", "system", "ns_cubbyhole", "ns_identity", "ns_system"];
        path.ends_with('/') && !told["type"].as_str().is_some_and(|engine| own.contains(&engine))
    });
    let mounts = mounts.map(|(path, _)| {
        let path = path.trim_end_matches('/');
        Attachment::ends("mounts", path).held_by("vault.mount", path).in_namespace(name)
    });
    Ok(children.chain(mounts).collect())
}

/// The aliases under which an entity or a group is known at logins.
pub(super) fn aliases(kind: &'static str, told: &Value) -> Vec<Attachment> {
    let one = |alias: &Value| {
        let name = alias["name"].as_str()?;
        let accessor = alias["mount_accessor"].as_str()?;
        let id = format!("{name} at {accessor}");
        Some(Attachment::ends("aliases", &id).held_by(kind, id))
    };
    match told {
        Value::Array(all) => all.iter().filter_map(one).collect(),
        single => one(single).into_iter().collect(),
    }
}
