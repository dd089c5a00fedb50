//! One secret out of a backup, written over the one that is live.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::restore::{Restore, refused};
use crate::apply::by_command;
use crate::backup::FromStart;
use crate::error::{Error, ErrorKind, Result};
use crate::place::Place;
use crate::providers::vault::VaultClient;
use crate::resource::Provided;
use crate::run::Run;

/// One secret out of a backup, and what is live in its place.
pub struct SecretRestore {
    /// Mount and path.
    pub path: String,
    /// The version in the backup; 0 where the engine keeps none.
    pub version: u64,
    /// The live version, which is replaced.
    pub live_version: Option<u64>,
    /// The names of the fields that differ.
    pub fields: Vec<String>,
    namespace: Option<String>,
    mount: String,
    inside: String,
    data: Map<String, Value>,
}

impl Restore {
    /// Finds a secret, `PATH` or `PATH@VERSION`, and what is live in its place.
    ///
    /// # Errors
    /// `Rejected` when the backup does not have it, or its engine keeps no versions.
    pub async fn secret(&mut self, wanted: &str) -> Result<SecretRestore> {
        let (path, version) = match wanted.rsplit_once('@').map(|(path, version)| (path, version.parse())) {
            Some((path, Ok(version))) => (path, Some(version)),
            _ => (wanted, None),
        };
        let opened = self.check.opened.as_mut().ok_or_else(|| refused("the backup is not open"))?;
        let located = opened.contents.locate(path).ok_or_else(|| {
            refused(format!("the backup has no secret {path}")).advice(
                "`groundwork backup check` lists its secrets; write mount and path, such as secret/app/db",
            )
        })?;
        let version = version.unwrap_or(located.secret.current);
        if located.secret.versions.is_empty() {
            return Err(refused(format!("the engine of {path} keeps no versions"))
                .advice("a write there cannot be checked against others; only KV 2 is restored one by one"));
        }
        let file = FromStart::of(&self.file)?;
        let data = located.data(file, &mut opened.unlocked, version);
        let data = data.map_err(|flaw| refused(flaw.to_string()))?.ok_or_else(|| {
            let versions: Vec<String> =
                located.secret.versions.iter().map(|one| one.version.to_string()).collect();
            refused(format!("the backup does not have version {version} of {path}")).advice(format!(
                "it knows the versions {}; destroyed ones have no value",
                versions.join(", ")
            ))
        })?;
        let data: Map<String, Value> = serde_json::from_slice(data.expose_bytes())
            .map_err(|_| refused(format!("version {version} of {path} is not a map of fields")))?;
        let namespace = located.mount.namespace.trim_end_matches('/').to_owned();
        let mount = located.mount.path[located.mount.namespace.len()..].trim_end_matches('/').to_owned();
        let inside = located.secret.path.clone();
        let mut secret = SecretRestore {
            path: path.to_owned(),
            version,
            live_version: None,
            fields: Vec::new(),
            namespace: Some(namespace).filter(|namespace| !namespace.is_empty()),
            mount,
            inside,
            data,
        };
        secret.look(&self.run).await?;
        Ok(secret)
    }
}

impl SecretRestore {
    async fn client(&self, run: &Run) -> Result<Arc<VaultClient>> {
        let place = Place { alias: None, namespace: self.namespace.clone() };
        VaultClient::provide(run, &place).await
    }

    /// Compares with what is live.
    async fn look(&mut self, run: &Run) -> Result<()> {
        let vault = self.client(run).await?;
        let path = format!("{}/data/{}", self.mount, self.inside);
        let live = vault.get_or_version(&path).await?;
        self.live_version = live.as_ref().and_then(|live| live["metadata"]["version"].as_u64());
        let live = live.unwrap_or_default();
        let nothing = Map::new();
        let live = live["data"].as_object().unwrap_or(&nothing);
        let names = self.data.keys().chain(live.keys());
        let mut fields: Vec<String> =
            names.filter(|name| self.data.get(*name) != live.get(*name)).cloned().collect();
        fields.sort_unstable();
        fields.dedup();
        self.fields = fields;
        Ok(())
    }

    /// Whether the live secret is already the same.
    pub fn is_same(&self) -> bool {
        self.fields.is_empty() && self.live_version.is_some()
    }

    /// Writes it as a new version, only over the version that was looked at. Returns the new version.
    ///
    /// # Errors
    /// `Conflict` after another write in the meantime.
    pub async fn write(&self, run: &Run) -> Result<u64> {
        let vault = self.client(run).await?;
        let path = format!("{}/data/{}", self.mount, self.inside);
        let cas = self.live_version.unwrap_or(0);
        let body = json!({ "options": { "cas": cas }, "data": self.data });
        let written = vault.post(&by_command(), &path, &body).await.map_err(|error| {
            match error.message.contains("check-and-set") {
                true => Error::new(
                    ErrorKind::Conflict,
                    error.operation,
                    "another client has written it in the meantime",
                )
                .advice("nothing was changed; run it again, and look at what is there"),
                false => error,
            }
        })?;
        match written["version"].as_u64() {
            Some(version) if version == cas + 1 => Ok(version),
            _ => Err(Error::new(
                ErrorKind::Unknown,
                format!("POST {path}"),
                "the server does not confirm the version",
            )),
        }
    }
}
