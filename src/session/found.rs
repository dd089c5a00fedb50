//! Finding a backup, and the keys that may open it.

use std::fs::File;

use super::backups::{Backups, add_keys, fetch_from_s3};
use super::{Checked, Error, Reach, connect};
use crate::backup::{Keys, Read, ShareSet};
use crate::error;
use crate::run::Run;
use crate::secret::Secret;

/// Which backup is meant.
pub enum Source {
    /// The newest one in the plan's stores.
    Latest,
    /// The object at an address, `s3://BUCKET/KEY`.
    Object(String),
    /// A file that the caller has opened.
    File(Subject),
}

/// A backup, and the text of its manifest.
pub struct Subject {
    /// Its name, for people.
    pub name: String,
    /// The store that has it, in words.
    pub place: Option<String>,
    /// The snapshot.
    pub file: File,
    /// Its manifest as it is written.
    pub manifest: Option<Vec<u8>>,
    /// The plan's files and its journal, as an archive.
    pub companion: Option<Vec<u8>>,
    /// Stores that could not be used, and manifests that were passed over.
    pub remarks: Vec<String>,
}

impl Subject {
    /// Its name and its store, for people.
    pub fn title(&self) -> String {
        match &self.place {
            Some(place) => format!("{} in {place}", self.name),
            None => self.name.clone(),
        }
    }

    /// Its manifest, if there is one that can be read.
    pub fn read(&self, run: &Run) -> Option<Read> {
        Read::parse(self.manifest.as_deref()?, run.journal.authority())
    }
}

/// Finds a backup, with a run that reaches what the plan has to open it.
///
/// # Errors
/// When the plan does not say where its backups are; when none can be had.
pub async fn find(checked: &mut Checked, source: Source) -> Result<(Run, Subject), Error> {
    match source {
        Source::Latest => {
            let backups = Backups::connect(checked).await?;
            let found = backups.latest().await?;
            let companion = backups.companion(&found.read.manifest).await;
            let subject = Subject {
                name: found.read.manifest.snapshot.name,
                place: Some(found.place),
                file: found.file,
                manifest: Some(found.text),
                companion,
                remarks: found.remarks,
            };
            Ok((backups.run, subject))
        }
        Source::Object(address) => {
            let run = connect(checked, Reach::Custody).await?;
            let (file, manifest, companion) = fetch_from_s3(&run, &address).await?;
            let subject =
                Subject { name: address, place: None, file, manifest, companion, remarks: Vec::new() };
            Ok((run, subject))
        }
        Source::File(subject) => Ok((connect(checked, Reach::Custody).await?, subject)),
    }
}

/// The keys that may open a backup: shares that people give, or else those of the plan's custody.
///
/// # Errors
/// When custody cannot be listed.
pub async fn keys(run: &Run, given: Option<ShareSet>, seal_key: Option<Secret>) -> error::Result<Keys> {
    let mut keys = Keys { seal_key, ..Keys::default() };
    match given {
        Some(set) => {
            keys.sets.push(set);
            keys.service = run.any_key_service().await;
        }
        None => add_keys(run, &mut keys).await?,
    }
    Ok(keys)
}
