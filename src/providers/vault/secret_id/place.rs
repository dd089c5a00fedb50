//! Where secret-ids are delivered to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::manifest::Manifest;
use super::{ACCESSOR, KvPlace, SECRET_ID, SecretIdDelivery, SecretIdId, WRAPPING_TOKEN};
use crate::confined_path;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::journal::Journal;
use crate::permit::Permit;
use crate::place::Place;
use crate::providers::sink::Sink;
use crate::providers::vault::{KvSink, VaultClient};
use crate::resource::{Provided, Requirement};
use crate::run::Run;
use crate::run::{Awaited, Awaiting};
use crate::secret::Fields;

/// How long a secret-id may take from the request to its destination.
const DELIVERY: Duration = Duration::from_mins(2);

/// A Vault together with the plan's folder.
#[derive(Debug)]
pub struct Depository {
    vault: Arc<VaultClient>,
    folder: PathBuf,
    awaited: Arc<Awaited>,
    pub(super) journal: Arc<Journal>,
}

impl Provided for Depository {
    const PROVIDER: &'static str = VaultClient::PROVIDER;
    const REALM: &'static [&'static str] = VaultClient::REALM;
    const NAMESPACED: bool = VaultClient::NAMESPACED;

    async fn provide(run: &Run, place: &Place) -> Result<Arc<Self>> {
        let vault = VaultClient::provide(run, place).await?;
        let (folder, awaited) = (run.folder.clone(), Arc::clone(&run.awaited));
        let journal = Arc::clone(&run.journal);
        Ok(Arc::new(Self { vault, folder, awaited, journal }))
    }

    fn namespace_maker(name: &str) -> Option<Requirement> {
        VaultClient::namespace_maker(name)
    }
}

impl SecretIdDelivery {
    /// Whether it is a file of the machine that runs.
    pub(super) fn is_here(&self) -> bool {
        self.vault_kv.is_none()
    }

    /// The file that it is delivered to, in the plan's folder.
    fn local_file(&self) -> Option<&str> {
        let manifest = self.kubernetes_manifest.as_ref().map(|manifest| &manifest.file);
        self.file.as_ref().or(manifest).map(String::as_str)
    }
}

/// Mistakes in a destination.
pub(super) fn check(place: &SecretIdDelivery) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let given = [place.file.is_some(), place.vault_kv.is_some(), place.kubernetes_manifest.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        let message = "exactly one of `file`, `vault_kv` and `kubernetes_manifest` is needed";
        errors.push(FieldError::new("deliver", message));
    }
    let manifest = place.kubernetes_manifest.as_ref();
    let file = place.file.as_ref().map(|file| ("deliver.file", file));
    let in_manifest = manifest.map(|manifest| ("deliver.kubernetes_manifest.file", &manifest.file));
    for (path, file) in file.into_iter().chain(in_manifest) {
        if let Some(why) = confined_path::mistake_in_writing(file) {
            errors.push(FieldError::new(path, "a plan cannot write this file").help(why));
        }
    }
    errors.extend(manifest.into_iter().flat_map(Manifest::check));
    errors
}

impl Depository {
    /// The Vault.
    pub(super) fn vault(&self) -> &VaultClient {
        &self.vault
    }

    /// The machine and folder that files are delivered to, as a digest: what is delivered in one checkout of a plan
    /// is missing in another.
    pub(super) fn site(&self) -> String {
        let system = rustix::system::uname();
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        let both = [system.nodename().to_bytes(), folder.as_os_str().as_encoded_bytes()].join(&0);
        hex::encode(&Sha256::digest(both)[..8])
    }

    /// Notes that a secret-id is asked for, which is lost unless it is delivered.
    pub(super) fn awaiting(&self, id: &SecretIdId) -> Awaiting {
        self.awaited.begin(format!("the secret-id {id}"), DELIVERY)
    }

    /// Checks that a destination can take a delivery.
    pub(super) async fn prove(&self, place: &SecretIdDelivery) -> Result<()> {
        if let Some(file) = place.local_file() {
            return confined_path::prove(&self.folder, file).map_err(|error| {
                Error::new(ErrorKind::Local, format!("prove {file}"), error.to_string())
                    .advice("make the file writable, or name another; no secret-id was made")
            });
        }
        match &place.vault_kv {
            Some(kv) => self.sink(kv).prove().await,
            None => Ok(()),
        }
    }

    fn sink(&self, kv: &KvPlace) -> KvSink {
        KvSink::new(Arc::clone(&self.vault), &kv.mount, &kv.path)
    }

    /// The accessor in a destination; `None` when there is none.
    pub(super) async fn accessor(&self, place: &SecretIdDelivery) -> Result<Option<String>> {
        if let Some(manifest) = &place.kubernetes_manifest {
            return Ok(self.read(&manifest.file)?.and_then(|bytes| manifest.field(&bytes, ACCESSOR)));
        }
        let held = match (&place.file, &place.vault_kv) {
            // A file that is not JSON holds no accessor.
            (Some(file), _) => {
                let bytes = self.read(file)?;
                bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()).unwrap_or_default()
            }
            (None, Some(kv)) => {
                let secret = self.vault.get(&format!("{}/data/{}", kv.mount, kv.path)).await?;
                secret.unwrap_or_default()["data"].take()
            }
            (None, None) => Value::Null,
        };
        Ok(held[ACCESSOR].as_str().map(str::to_owned))
    }

    fn read(&self, file: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let held = confined_path::read_output(&self.folder, file)
            .map_err(|error| Error::new(ErrorKind::Local, format!("read {file}"), error.to_string()))?;
        Ok(held.map(|(bytes, _)| Zeroizing::new(bytes)))
    }

    /// Writes a file that only its owner can read.
    fn replace(&self, file: &str, bytes: &[u8]) -> Result<()> {
        confined_path::replace(&self.folder, file, bytes, 0o600)
            .map_err(|error| Error::new(ErrorKind::Local, format!("write {file}"), error.to_string()))
    }

    /// Removes the file that one of these accessors was delivered to. The secret-id in it is about to end, and it has
    /// no other use. A file with anything else in it stays.
    pub(super) async fn withdraw(
        &self,
        _: &Permit,
        place: &SecretIdDelivery,
        accessors: impl Iterator<Item = &str> + Send,
    ) -> Result<()> {
        let Some(file) = place.local_file() else { return Ok(()) };
        let held = self.accessor(place).await?;
        if !accessors.into_iter().any(|accessor| Some(accessor) == held.as_deref()) {
            return Ok(());
        }
        confined_path::remove(&self.folder, file)
            .map_err(|error| Error::new(ErrorKind::Local, format!("remove {file}"), error.to_string()))
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
            let bytes = Zeroizing::new(format!("{:#}\n", Value::Object(texts)).into_bytes());
            return self.replace(file, &bytes);
        }
        if let Some(manifest) = &place.kubernetes_manifest {
            return self.replace(&manifest.file, &manifest.render(fields));
        }
        let Some(kv) = &place.vault_kv else { return Ok(()) };
        let mut fields = fields.clone();
        // A secret-id or token from an earlier delivery is of no use beside the new one.
        for stale in [SECRET_ID, WRAPPING_TOKEN] {
            fields.entry(stale.to_owned()).or_insert_with(|| String::new().into());
        }
        self.sink(kv).deliver(permit, &fields).await
    }
}
