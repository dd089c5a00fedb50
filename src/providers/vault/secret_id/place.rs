//! Where secret-ids are delivered to.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{ACCESSOR, SECRET_ID, SecretIdDelivery, WRAPPING_TOKEN};
use crate::beneath;
use crate::providers::Providers;
use crate::providers::vault::{KvSink, VaultClient};
use crate::resolve::unknown::is_unknown;
use crate::resource::{Error, ErrorKind, FieldError, Permit, Provided, Result};
use crate::secret::sink::{Fields, Sink};

/// A Vault together with the plan's folder.
#[derive(Debug)]
pub struct Depository {
    vault: Arc<VaultClient>,
    folder: PathBuf,
}

impl Provided for Depository {
    const IN_CLUSTER: bool = true;

    async fn provide(providers: &Providers) -> Result<Arc<Self>> {
        let vault = VaultClient::provide(providers).await?;
        Ok(Arc::new(Self { vault, folder: providers.folder.clone() }))
    }
}

/// Mistakes in a destination.
pub(super) fn check(place: &SecretIdDelivery) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if place.file.is_some() == place.vault_kv.is_some() {
        errors.push(FieldError::new("deliver", "exactly one of `file` and `vault_kv` is needed"));
    }
    let file = place.file.as_deref().filter(|file| !is_unknown(file));
    if let Some(why) = file.and_then(beneath::mistake) {
        errors.push(FieldError::new("deliver.file", "the file must lie inside the plan's folder").help(why));
    }
    errors
}

impl Depository {
    /// The Vault.
    pub(super) fn vault(&self) -> &VaultClient {
        &self.vault
    }

    /// The accessor that stands in a destination; `None` when it holds none.
    pub(super) async fn accessor(&self, place: &SecretIdDelivery) -> Result<Option<String>> {
        let held = match (&place.file, &place.vault_kv) {
            (Some(file), _) => self.read(file)?,
            (None, Some(kv)) => {
                let secret = self.vault.get(&format!("{}/data/{}", kv.mount, kv.path)).await?;
                secret.unwrap_or_default()["data"].take()
            }
            (None, None) => Value::Null,
        };
        Ok(held[ACCESSOR].as_str().map(str::to_owned))
    }

    /// A file that is no JSON holds no accessor.
    fn read(&self, file: &str) -> Result<Value> {
        let held = beneath::read(&self.folder, file)
            .map_err(|error| Error::new(ErrorKind::Local, format!("read {file}"), error.to_string()))?;
        Ok(held.and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// Writes `fields` into a destination.
    pub(super) async fn deliver(
        &self,
        permit: &Permit,
        place: &SecretIdDelivery,
        fields: &Fields,
    ) -> Result<()> {
        let text = |name: &str| fields.get(name).and_then(|value| value.expose_str());
        if let Some(file) = &place.file {
            let texts: Map<String, Value> =
                fields.keys().map(|name| (name.clone(), json!(text(name)))).collect();
            let bytes = zeroize::Zeroizing::new(format!("{:#}\n", Value::Object(texts)).into_bytes());
            return beneath::replace(&self.folder, file, &bytes, 0o600)
                .map_err(|error| Error::new(ErrorKind::Local, format!("write {file}"), error.to_string()));
        }
        let Some(kv) = &place.vault_kv else { return Ok(()) };
        let mut fields = fields.clone();
        // What stands there from before is of no use beside the new one.
        for stale in [SECRET_ID, WRAPPING_TOKEN] {
            fields.entry(stale.to_owned()).or_insert_with(|| String::new().into());
        }
        KvSink::new(Arc::clone(&self.vault), &kv.mount, &kv.path).deliver(permit, &fields).await
    }
}
