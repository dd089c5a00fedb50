//! Writing a KV secret: never over what somebody else wrote in between, and nothing that is as declared.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::VaultClient;
use super::compare::{touches_metadata, undeclared};
use super::{KvId, KvSecret, KvSecretSpec, LiveKvSecret};
use crate::resource::{Diff, Error, ErrorKind, Resource, Result, Writer};
use crate::secret::{RenderError, Secret, render};

/// The first version, and its metadata.
pub(super) async fn create(w: &Writer<'_, VaultClient>, desired: &KvSecretSpec) -> Result<()> {
    let id = KvSecret::id(desired);
    require_version_2(w, &id).await?;
    let data = desired.json(&desired.made(&BTreeMap::new())?)?;
    write_all(w, &id, Value::Object(data), 0).await?;
    if desired.has_metadata() {
        w.post(w.permit(), &id.metadata(), &desired.metadata_body(&BTreeMap::new())).await?;
    }
    Ok(())
}

/// What differs, by `diff`.
pub(super) async fn update(
    w: &Writer<'_, VaultClient>,
    desired: &KvSecretSpec,
    observed: &LiveKvSecret,
    diff: &Diff,
) -> Result<()> {
    let id = KvSecret::id(desired);
    if diff.touches("data") {
        let mut values = desired.made(&observed.data)?;
        values.retain(|name, value| observed.data.get(name) != Some(value));
        let mut changes = desired.json(&values)?;
        changes.extend(undeclared(desired, observed).map(|name| (name.clone(), Value::Null)));
        match observed.deleted {
            true => write_all(w, &id, Value::Object(changes), observed.version).await?,
            false => write_some(w, &id, changes, observed.version).await?,
        }
    }
    if touches_metadata(diff) {
        w.post(w.permit(), &id.metadata(), &desired.metadata_body(&observed.metadata)).await?;
    }
    Ok(())
}

impl KvSecretSpec {
    /// The final values, made where they are not live yet.
    pub(super) fn made(&self, live: &BTreeMap<String, Secret>) -> Result<BTreeMap<String, Secret>> {
        let rendered = render(&self.data, live, true).map_err(|error| self.explain(&error))?;
        let value = |(name, value): (String, Option<Secret>)| match value {
            Some(value) => Ok((name, value)),
            None => Err(self.explain(&RenderError::NotLoaded(name))),
        };
        rendered.into_iter().map(value).collect()
    }

    fn explain(&self, error: &RenderError) -> Error {
        let place = format!("write {}/{}", self.mount, self.path);
        let advice = match error {
            RenderError::NotText(_) => {
                "KV holds text; keep the file in base64 (`base64 FILE > FILE.b64`) and declare that"
            }
            RenderError::Cycle(_) => "break the circle of templates",
            RenderError::Template { .. } => {
                "fields are named `{{ data.NAME }}`, variables of the plan `{{ NAME }}`"
            }
            RenderError::NotLoaded(_) => "this is a mistake in the program; report it",
        };
        Error::new(ErrorKind::Local, place, error.to_string()).advice(advice)
    }

    /// A request's `data`.
    pub(super) fn json(&self, values: &BTreeMap<String, Secret>) -> Result<Map<String, Value>> {
        let field = |(name, value): (&String, &Secret)| match value.expose_str() {
            Some(text) => Ok((name.clone(), Value::from(text))),
            None => Err(self.explain(&RenderError::NotText(name.clone()))),
        };
        values.iter().map(field).collect()
    }

    /// The body that brings metadata and limits to the declared state, all of it or nothing: the
    /// server replaces the custom metadata as a whole and keeps limits that are left out.
    pub(super) fn metadata_body(&self, live: &BTreeMap<String, String>) -> Value {
        let mut custom = if self.exact { BTreeMap::new() } else { live.clone() };
        custom.extend(self.metadata_texts());
        let mut body = json!({ "custom_metadata": custom });
        if let Some(versions) = self.max_versions {
            body["max_versions"] = json!(versions);
        }
        if let Some(after) = &self.delete_version_after {
            body["delete_version_after"] = json!(after);
        }
        if let Some(required) = self.cas_required {
            body["cas_required"] = json!(required);
        }
        body
    }

    fn has_metadata(&self) -> bool {
        !self.metadata.is_empty() || self.has_limits()
    }
}

/// Only an engine of version 2 knows `data/`; one of version 1 would take it for a part of the path.
async fn require_version_2(w: &Writer<'_, VaultClient>, id: &KvId) -> Result<()> {
    let mounts = match w.mounts().await {
        Ok(mounts) => mounts,
        Err(error) if error.kind == ErrorKind::Denied => return Ok(()),
        Err(error) => return Err(error),
    };
    let wrong = |message: &str, advice: &str| {
        Err(Error::new(ErrorKind::Rejected, format!("write {id}"), format!("`{}` {message}", id.mount))
            .advice(advice))
    };
    match mounts.get(&format!("{}/", id.mount)) {
        None => wrong("is not mounted", "declare a step of kind `vault.mount`, or correct `mount`"),
        Some(mount) if mount["type"] != "kv" => wrong("is no kv engine", "name a kv engine in `mount`"),
        Some(mount) if mount["options"]["version"] != "2" => {
            wrong("is a kv engine of version 1", "raise it with `version: 2` in its `vault.mount` step")
        }
        Some(_) => Ok(()),
    }
}

/// Writes every field, on condition that `version` is still the latest.
async fn write_all(w: &Writer<'_, VaultClient>, id: &KvId, data: Value, version: u64) -> Result<()> {
    let body = json!({ "data": data, "options": { "cas": version } });
    w.post(w.permit(), &id.data(), &body).await.map(drop)
}

/// Writes the fields in `changes` (`null` removes one), leaving the others alone.
async fn write_some(
    w: &Writer<'_, VaultClient>,
    id: &KvId,
    changes: Map<String, Value>,
    version: u64,
) -> Result<()> {
    let body = json!({ "data": changes, "options": { "cas": version } });
    match w.patch(w.permit(), &id.data(), &body).await {
        // Policies from before Vault 1.9 do not know `patch`, nor do some proxies.
        Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Rejected) => {
            let merged = merge(w.get(&id.data()).await?.unwrap_or_default(), changes);
            write_all(w, id, merged, version).await
        }
        outcome => outcome.map(drop),
    }
}

pub(super) fn merge(mut told: Value, changes: Map<String, Value>) -> Value {
    let mut data = match told["data"].take() {
        Value::Object(data) => data,
        _ => Map::new(),
    };
    data.extend(changes);
    data.retain(|_, value| !value.is_null());
    Value::Object(data)
}
