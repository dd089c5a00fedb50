//! Writes a KV secret: never over a concurrent write, and only what differs from the declaration.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::VaultClient;
use super::compare::{kept, touches_metadata, undeclared};
use super::{KvId, KvSecret, KvSecretSpec, Latest, LiveKvSecret, custom_metadata, overlap};
use crate::error::{Error, ErrorKind, Result};
use crate::resource::{Diff, Look, Resource, Writer};
use crate::secret::{RenderError, Secret, render};

/// The first version, and its metadata.
pub(super) async fn create(w: &Writer<'_, VaultClient>, desired: &KvSecretSpec) -> Result<()> {
    let id = KvSecret::id(desired);
    require_version_2(w, &id).await?;
    let data = desired.json(&desired.made(&BTreeMap::new())?)?;
    if desired.has_metadata() {
        set_first_metadata(w, desired, &id).await?;
    }
    write_all(w, &id, Value::Object(data), 0).await
}

/// Metadata and limits are written before the first version, whose end they decide. A path without any
/// version may already have metadata from other writers.
async fn set_first_metadata(w: &Writer<'_, VaultClient>, desired: &KvSecretSpec, id: &KvId) -> Result<()> {
    let told = w.get(&id.metadata()).await?.unwrap_or_default();
    if told["current_version"].as_u64().is_some_and(|version| version > 0) {
        let message = "another process has just created it; nothing was written";
        return Err(Error::new(ErrorKind::Conflict, format!("POST {}", id.metadata()), message)
            .advice("plan again, and look at what is there"));
    }
    let body = desired.metadata_body(&custom_metadata(&told));
    w.post(w.permit(), &id.metadata(), &body).await.map(drop)
}

/// Writes the differences in `diff`.
pub(super) async fn update(
    w: &Writer<'_, VaultClient>,
    desired: &KvSecretSpec,
    observed: &LiveKvSecret,
    diff: &Diff,
) -> Result<()> {
    if matches!(observed.latest, Latest::Deleted(_)) {
        let restored = undelete(w, desired, observed).await?;
        let diff = KvSecret::diff(desired, &restored);
        return write_differences(w, desired, &restored, &diff).await;
    }
    write_differences(w, desired, observed, diff).await
}

/// Metadata and limits before the version to which they apply.
async fn write_differences(
    w: &Writer<'_, VaultClient>,
    desired: &KvSecretSpec,
    observed: &LiveKvSecret,
    diff: &Diff,
) -> Result<()> {
    let id = KvSecret::id(desired);
    if touches_metadata(diff) {
        w.post(w.permit(), &id.metadata(), &desired.metadata_body(&observed.metadata)).await?;
    }
    if diff.touches("data") {
        let mut values = desired.made(&kept(desired, observed))?;
        values.retain(|name, value| observed.data.get(name) != Some(value));
        let mut changes = desired.json(&values)?;
        changes.extend(desired.json(&overlap::kept(desired, observed))?);
        changes.extend(undeclared(desired, observed).map(|name| (name.clone(), Value::Null)));
        match observed.latest {
            Latest::Readable => write_some(w, &id, changes, observed.version).await?,
            Latest::Deleted(_) | Latest::Destroyed => {
                write_all(w, &id, Value::Object(changes), observed.version).await?;
            }
        }
    }
    Ok(())
}

/// Undeletes the latest version. Its values may be in use, and a generated value cannot be had again.
async fn undelete(
    w: &Writer<'_, VaultClient>,
    desired: &KvSecretSpec,
    observed: &LiveKvSecret,
) -> Result<LiveKvSecret> {
    let id = KvSecret::id(desired);
    let path = format!("{}/undelete/{}", id.mount, id.path);
    w.post(w.permit(), &path, &json!({ "versions": [observed.version] })).await?;
    let restored = KvSecret::observe(w, &id, Look::whole(desired)).await?;
    restored.filter(|now| now.latest == Latest::Readable && now.version == observed.version).ok_or_else(
        || {
            let message = format!("version {} cannot be read although it was undeleted", observed.version);
            Error::new(ErrorKind::Conflict, format!("POST {path}"), message)
                .advice("plan again, and look at what is there")
        },
    )
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
            RenderError::LineBreak { .. } => "or take the line break out of the value",
            RenderError::TooLarge(_) => "divide it into several secrets",
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

    pub(super) fn has_metadata(&self) -> bool {
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
        Some(mount) if mount["type"] != "kv" => wrong("is not a kv engine", "name a kv engine in `mount`"),
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

/// Writes the fields in `changes` (`null` removes one) and keeps the others.
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
            let merged = merge(&id.data(), w.get(&id.data()).await?.unwrap_or_default(), changes)?;
            write_all(w, id, merged, version).await
        }
        outcome => outcome.map(drop),
    }
}

/// The secret's fields after a patch: `null` removes a field, and all others stay as they are.
///
/// # Errors
/// When a field that stays holds a number that would not be written as it was read.
pub(super) fn merge(path: &str, mut told: Value, changes: Map<String, Value>) -> Result<Value> {
    let mut data = match told["data"].take() {
        Value::Object(data) => data,
        _ => Map::new(),
    };
    data.retain(|name, _| !changes.contains_key(name));
    if let Some((name, _)) = data.iter().find(|(_, value)| !is_exact(value)) {
        let message =
            format!("`{name}`, which is not declared, holds a number that a whole write may change");
        return Err(Error::new(ErrorKind::Denied, format!("POST {path}"), message)
            .advice(format!("give the token the capability `patch` on `{path}`")));
    }
    data.extend(changes.into_iter().filter(|(_, value)| !value.is_null()));
    Ok(Value::Object(data))
}

/// Whether every number in a value is certain to be written as it was read: whole numbers, and fractions
/// of up to 15 digits, which a double holds.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) if number.is_f64() => {
            let text = number.to_string();
            text.len() <= 16 && !text.contains('e')
        }
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(entries) => entries.values().all(is_exact),
        _ => true,
    }
}
