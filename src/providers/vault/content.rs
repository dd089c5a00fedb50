//! The content of a secrets engine, an auth method or a namespace, which is deleted with it.

use serde_json::Value;

use super::VaultClient;
use crate::error::{ErrorKind, Result};
use crate::resource::Attachment;

/// The lists of an engine's content, below its path.
fn lists_of_engine(engine: &str, version: Option<u8>) -> &'static [&'static str] {
    match (engine, version) {
        ("kv", Some(2)) => &["metadata"],
        ("kv", _) => &[""],
        ("transit" | "totp", _) => &["keys"],
        ("pki", _) => &["issuers", "roles"],
        ("ssh" | "aws", _) => &["roles"],
        ("database", _) => &["config", "roles", "static-roles"],
        _ => &[],
    }
}

/// The lists of an auth method's content, below its path.
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

/// The content of a secrets engine.
pub(super) async fn of_engine(
    client: &VaultClient,
    path: &str,
    engine: &str,
    version: Option<u8>,
) -> Result<Vec<Attachment>> {
    let mut found = Vec::new();
    for list in lists_of_engine(engine, version) {
        // Ids of secrets and issuers do not contain the list's name.
        let is_plain = engine == "kv" || *list == "issuers";
        let base = if is_plain { path.to_owned() } else { format!("{path}/{list}") };
        found.extend(listed(client, format!("{path}/{list}").trim_end_matches('/'), &base).await?);
    }
    Ok(found)
}

/// The attachments of an auth method.
pub(super) async fn of_method(client: &VaultClient, path: &str, method: &str) -> Result<Vec<Attachment>> {
    let mut found = Vec::new();
    for list in lists_of_method(method) {
        let list = format!("auth/{path}/{list}");
        found.extend(listed(client, &list, &list).await?);
    }
    Ok(found)
}

/// A list that the token may not read is reported as unreadable, because its content is deleted
/// too.
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

/// The secret-ids of a role, by their accessors.
pub(super) async fn secret_ids(client: &VaultClient, mount: &str, role: &str) -> Result<Vec<Attachment>> {
    let list = format!("auth/{mount}/role/{role}/secret-id");
    let accessors = match keys(client, &list).await {
        Err(error) if error.kind == ErrorKind::Denied => {
            return Ok(vec![Attachment::ends("secret_ids", "(not readable)")]);
        }
        accessors => accessors?,
    };
    let attachment = |accessor: String| {
        Attachment::ends("secret_ids", &accessor)
            .held_by("vault.approle_secret_id", format!("{mount}/{role}/"))
            .with_output("accessor", accessor)
    };
    Ok(accessors.into_iter().map(attachment).collect())
}

async fn keys(client: &VaultClient, list: &str) -> Result<Vec<String>> {
    let told = client.list(list).await?.unwrap_or_default();
    let keys = told["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    // Issuers are listed by id and identified by name.
    let name = |key: &str| {
        let name = told["key_info"][key]["issuer_name"].as_str().filter(|name| !name.is_empty());
        name.unwrap_or(key).to_owned()
    };
    Ok(keys.iter().filter_map(Value::as_str).map(name).collect())
}

/// The other issuers of a mount that use an issuer's key.
pub(super) async fn sharing_key(client: &VaultClient, mount: &str, issuer: &str) -> Result<Vec<Attachment>> {
    let told = client.list(&format!("{mount}/issuers")).await?.unwrap_or_default();
    let entries: Vec<(&String, &Value)> = told["key_info"].as_object().into_iter().flatten().collect();
    let own = entries.iter().find(|(_, entry)| entry["issuer_name"] == issuer);
    let key = own.and_then(|(_, entry)| entry["key_id"].as_str()).filter(|key| !key.is_empty());
    let Some(key) = key else { return Ok(Vec::new()) };
    let others = entries.iter().filter(|(_, entry)| entry["key_id"] == key && entry["issuer_name"] != issuer);
    let attachment = |(id, entry): &(&String, &Value)| {
        let name = entry["issuer_name"].as_str().filter(|name| !name.is_empty()).unwrap_or(id);
        let clause = format!("the issuer `{name}` uses its key");
        Attachment::blocks("issuers", name, clause).unless_within("vault.mount", mount)
    };
    Ok(others.map(attachment).collect())
}

/// Namespaces in a namespace block its deletion; engines end with it.
pub(super) async fn of_namespace(client: &VaultClient, name: &str) -> Result<Vec<Attachment>> {
    let children = keys(client, &format!("{name}/sys/namespaces")).await?.into_iter().map(|child| {
        let child = child.trim_end_matches('/').to_owned();
        let clause = format!("it contains the namespace `{child}`");
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

/// The aliases by which auth methods know an entity or a group.
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
