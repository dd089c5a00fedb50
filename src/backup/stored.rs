//! The backups that places have.

use std::fs::File;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::manifest::{Read, Vouching};
use super::place::BackupPlace;
use crate::error::{Error, ErrorKind, Result};
use crate::signing::Authority;

/// How many manifests of a place are read at the same time.
const AT_ONCE: usize = 16;

/// The newest backup.
pub struct Latest {
    /// Its manifest.
    pub read: Read,
    /// The manifest as it is written.
    pub text: Vec<u8>,
    /// The place that has it, in words.
    pub place: String,
    /// The snapshot, in a file that is gone when it is closed.
    pub file: File,
    /// Places that could not be used, and manifests that were passed over.
    pub remarks: Vec<String>,
}

/// A manifest in a place, as it is written and as it reads.
pub(super) struct Found {
    pub(super) read: Read,
    text: Vec<u8>,
}

/// The manifests in one place of this plan's backups.
///
/// # Errors
/// When the place cannot be listed, or one of them cannot be read.
pub(super) async fn manifests(place: &dyn BackupPlace, authority: &Authority) -> Result<Vec<Found>> {
    let names = place.list().await?.into_iter().filter(|name| name.strip_suffix(".json").is_some());
    let texts = stream::iter(names).map(|name| async {
        let text = place.text(&name).await?;
        Ok::<_, Error>((name, text))
    });
    let texts: Vec<_> = texts.buffer_unordered(AT_ONCE).try_collect().await?;
    let found = texts.into_iter().filter_map(|(name, text)| {
        let text = text?;
        let read = Read::parse(&text, authority)?;
        // A manifest under another's name would speak for another's file.
        let is_ours = read.manifest.name() == name && read.manifest.plan == authority.plan();
        is_ours.then_some(Found { read, text })
    });
    Ok(found.collect())
}

/// The same as they read, for a listing.
///
/// # Errors
/// When the place cannot be listed, or one of them cannot be read.
pub async fn manifests_in(place: &dyn BackupPlace, authority: &Authority) -> Result<Vec<Read>> {
    Ok(manifests(place, authority).await?.into_iter().map(|found| found.read).collect())
}

/// The newest backup of the plan's Vault that some place has, with its snapshot. Only what the plan's key has
/// signed counts, unless nothing is signed.
///
/// # Errors
/// `Rejected` when there is none; when the snapshot that the newest manifest names cannot be had anywhere.
pub async fn latest(places: &[Box<dyn BackupPlace>], authority: &Authority) -> Result<Latest> {
    let (mut found, mut remarks) = (Vec::new(), Vec::new());
    for (index, place) in places.iter().enumerate() {
        match manifests(place.as_ref(), authority).await {
            Ok(of_place) => found.extend(of_place.into_iter().map(|one| (index, one))),
            Err(error) => remarks.push(format!("{}: {error}", place.describe())),
        }
    }
    let has_signed = found.iter().any(|(_, one)| one.read.vouching == Vouching::Signed);
    found.retain(|(_, one)| !has_signed || one.read.vouching == Vouching::Signed);
    found.sort_by_key(|(_, one)| std::cmp::Reverse(one.read.manifest.taken));
    let newest = found.first().map(|(_, one)| one.read.manifest.taken);
    for (index, Found { read, text }) in found {
        if Some(read.manifest.taken) != newest {
            break;
        }
        let place = places[index].as_ref();
        match fetch(place, &read.manifest.snapshot.name).await {
            Ok(file) => {
                return Ok(Latest { read, text, place: place.describe(), file, remarks });
            }
            Err(error) => remarks.push(format!("{}: {error}", place.describe())),
        }
    }
    let message = match remarks.as_slice() {
        [] => "no store has a backup of this plan".to_owned(),
        remarks => remarks.join("; "),
    };
    Err(Error::new(ErrorKind::Rejected, "find the latest backup", message)
        .advice("take one with `groundwork backup PLAN`, or name a file"))
}

/// Copies an object into a file without a name, which is gone when it is closed.
pub async fn fetch(place: &dyn BackupPlace, name: &str) -> Result<File> {
    let mut file = spool()?;
    place.fetch(name, &mut file).await?;
    Ok(file)
}

/// A file without a name in the temporary folder, which only this process can read.
pub fn spool() -> Result<File> {
    tempfile::tempfile().map_err(|error| {
        Error::new(ErrorKind::Local, "make a temporary file", error.to_string())
            .advice("set TMPDIR to a folder with room for the backup")
    })
}
