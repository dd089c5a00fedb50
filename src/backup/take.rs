//! Storing a backup on every place, each on its own, and removing those that have had their time.

use std::fs::File;

use futures::future::join_all;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::keep::{Kept, to_remove};
use super::manifest::{Companion, Manifest};
use super::place::{BackupPlace, Payload};
use super::stored::{Found, manifests};
use super::{Bundle, State};
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::plan::settings::KeepSettings;
use crate::signing::{Authority, SigningKey};

/// The outcome of a backup in one place.
#[derive(Clone, Debug, Serialize)]
pub struct Stored {
    /// The place in words.
    pub place: String,
    /// Why it does not have the backup.
    pub error: Option<String>,
    /// The backups that were removed, having had their time.
    pub removed: Vec<String>,
    /// The files that could not be removed, and why.
    pub left: Vec<String>,
}

/// A backup that was stored.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The files beside it.
    pub manifest: Manifest,
    /// Whether the manifest is signed.
    pub is_signed: bool,
    /// The outcome in each place.
    pub stored: Vec<Stored>,
}

impl Taken {
    /// How many places have it.
    pub fn copies(&self) -> usize {
        self.stored.iter().filter(|one| one.error.is_none()).count()
    }
}

/// A snapshot, what belongs to it, and where it goes.
pub struct Parcel<'a> {
    /// The snapshot.
    pub file: &'a File,
    /// The other needs of a rebuild.
    pub bundle: &'a Bundle,
    /// The key that signs the manifest.
    pub key: Option<&'a SigningKey>,
    /// Whose manifests count.
    pub authority: &'a Authority,
    /// Which backups stay.
    pub keep: KeepSettings,
}

/// Stores a checked backup on every place. A place that fails does not keep it from the others.
///
/// # Errors
/// When what goes along cannot be packed.
pub async fn store(
    permit: &Permit,
    places: &[Box<dyn BackupPlace>],
    mut manifest: Manifest,
    parcel: &Parcel<'_>,
) -> Result<Taken> {
    let archive = parcel.bundle.to_archive();
    let archive =
        archive.map_err(|error| Error::new(ErrorKind::Local, "pack the plan's files", error.to_string()))?;
    let name = format!("{}.plan.tar", manifest.base());
    manifest.companions = vec![Companion { name, sha256: hex::encode(Sha256::digest(&archive)) }];
    let known = join_all(places.iter().map(|place| manifests(place.as_ref(), parcel.authority))).await;
    let newest = known.iter().flatten().flatten().map(|one| &one.read);
    let newest = newest.max_by_key(|read| read.manifest.taken);
    manifest.previous =
        newest.map(|read| Companion { name: read.manifest.name(), sha256: read.sha256.clone() });
    let text = manifest.to_bytes(parcel.key);
    let goods = Goods { manifest: &manifest, archive: &archive, text: &text };
    let each = places.iter().zip(known);
    let each = each.map(|(place, known)| goods.deliver(permit, place.as_ref(), parcel, known));
    let stored = join_all(each).await;
    Ok(Taken { is_signed: parcel.key.is_some(), manifest, stored })
}

/// The files for a place.
struct Goods<'a> {
    manifest: &'a Manifest,
    archive: &'a [u8],
    text: &'a [u8],
}

impl Goods<'_> {
    async fn deliver(
        &self,
        permit: &Permit,
        place: &dyn BackupPlace,
        parcel: &Parcel<'_>,
        known: Result<Vec<Found>>,
    ) -> Stored {
        let mut stored =
            Stored { place: place.describe(), error: None, removed: Vec::new(), left: Vec::new() };
        if let Err(error) = self.put(permit, place, parcel).await {
            stored.error = Some(error.to_string());
            return stored;
        }
        match known {
            Ok(known) => self.thin_out(permit, place, parcel.keep, known, &mut stored).await,
            Err(error) => stored.left.push(format!("older backups cannot be listed: {error}")),
        }
        stored
    }

    /// The manifest comes last: where it is, everything is.
    async fn put(&self, permit: &Permit, place: &dyn BackupPlace, parcel: &Parcel<'_>) -> Result<()> {
        let Manifest { snapshot, bytes, companions, .. } = self.manifest;
        let payload = Payload::File { file: parcel.file, bytes: *bytes };
        place.put(permit, &snapshot.name, payload).await?;
        for companion in companions {
            place.put(permit, &companion.name, Payload::Text(self.archive)).await?;
        }
        place.put(permit, &self.manifest.name(), Payload::Text(self.text)).await
    }

    /// The snapshot goes last, and with it what a person would look for.
    async fn thin_out(
        &self,
        permit: &Permit,
        place: &dyn BackupPlace,
        keep: KeepSettings,
        known: Vec<Found>,
        stored: &mut Stored,
    ) {
        let of_cluster = known.iter().map(|one| &one.read.manifest);
        let of_cluster = of_cluster.filter(|one| one.cluster_id == self.manifest.cluster_id);
        let all = of_cluster.chain([self.manifest]).map(kept).collect();
        for gone in to_remove(all, keep) {
            let mut result = Ok(());
            for end in ["json", "plan.tar", "snap"] {
                result = match result {
                    Ok(()) => place.remove(permit, &format!("{}.{end}", gone.base)).await,
                    failed => failed,
                };
            }
            match result {
                Ok(()) => stored.removed.push(gone.base),
                Err(error) => stored.left.push(format!("{} could not be removed: {error}", gone.base)),
            }
        }
    }
}

fn kept(manifest: &Manifest) -> Kept {
    Kept {
        base: manifest.base().to_owned(),
        taken: manifest.taken,
        is_proven: manifest.proof == State::Proven,
        generation: manifest.generation.clone(),
    }
}
