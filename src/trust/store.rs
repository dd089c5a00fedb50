//! Permissions that are remembered, one file for each plan, outside of the plan's folder.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Grant;
use crate::durable::make_folder;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::workspace::LocalFile;

/// Where the permissions of one plan are remembered.
#[derive(Clone, Debug)]
pub struct Store {
    file: PathBuf,
    plan: String,
    folder: PathBuf,
}

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    plan: String,
    folder: PathBuf,
    /// Each permission, with when it was given.
    grants: BTreeMap<Grant, Timestamp>,
}

impl Store {
    /// The place for the plan of this name in this folder: below `GROUNDWORK_CONFIG_DIR`, else
    /// `$XDG_CONFIG_HOME/groundwork`, else `~/.config/groundwork`. `None` when none of them is known.
    pub fn of_plan(environment: &Environment, folder: &Path, plan: &str) -> Option<Self> {
        Some(Self::within(&config_folder(environment)?, folder, plan))
    }

    /// The place for a plan below this configuration folder.
    pub fn within(config: &Path, folder: &Path, plan: &str) -> Self {
        let (id, folder) = plan_id(folder, plan);
        let file = config.join("trust").join(format!("{id}.json"));
        Self { file, plan: plan.to_owned(), folder }
    }

    /// The permissions with the time when each was given.
    ///
    /// # Errors
    /// `Local` when the file cannot be read or is not one of ours.
    pub fn load(&self) -> Result<BTreeMap<Grant, Timestamp>> {
        let text = match std::fs::read(&self.file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            read => read.map_err(|error| self.failed("read", &error.to_string()))?,
        };
        let content: Content =
            serde_json::from_slice(&text).map_err(|error| self.failed("read", &error.to_string()))?;
        Ok(content.grants)
    }

    /// Replaces all permissions of the plan.
    ///
    /// # Errors
    /// `Local` when the file cannot be written.
    pub fn save(&self, grants: BTreeMap<Grant, Timestamp>) -> Result<()> {
        let content = Content { plan: self.plan.clone(), folder: self.folder.clone(), grants };
        self.write(&content).map_err(|error| self.failed("write", &error.to_string()))
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.file
    }

    fn write(&self, content: &Content) -> std::io::Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        make_folder(folder)?;
        LocalFile::of_caller(&self.file).put(true, |file| {
            serde_json::to_writer_pretty(&mut *file, content)?;
            file.write_all(b"\n")
        })
    }

    fn failed(&self, verb: &str, why: &str) -> Error {
        Error::new(ErrorKind::Local, "trust", format!("cannot {verb} {}: {why}", self.file.display()))
            .advice("repair or remove the file, then run `groundwork trust PLAN` again")
    }
}

/// The id that distinguishes the plan of this name in this folder from all others, and the folder's real
/// path.
pub(crate) fn plan_id(folder: &Path, plan: &str) -> (String, PathBuf) {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let digest = Sha256::new()
        .chain_update(folder.as_os_str().as_encoded_bytes())
        .chain_update([0])
        .chain_update(plan)
        .finalize();
    (hex::encode(&digest[..16]), folder)
}

/// The environment variable with the caller's own folder for this program.
pub(crate) const CONFIG_DIR: &str = "GROUNDWORK_CONFIG_DIR";

/// The caller's own folder for this program.
pub(crate) fn config_folder(environment: &Environment) -> Option<PathBuf> {
    let folder = |name: &str| environment.path(name);
    folder(CONFIG_DIR)
        .or_else(|| folder("XDG_CONFIG_HOME").map(|folder| folder.join("groundwork")))
        .or_else(|| folder("HOME").map(|home| home.join(".config/groundwork")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_kept_per_plan_and_folder() {
        let (config, here, there) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = |folder: &Path, plan: &str| Store::within(config.path(), folder, plan);
        let grant: Grant = "env=APP_KEY".parse().expect("a grant");
        store(here.path(), "demo").save([(grant.clone(), Timestamp::UNIX_EPOCH)].into()).expect("saves");
        assert!(store(here.path(), "demo").load().expect("loads").contains_key(&grant));
        assert!(store(here.path(), "other").load().expect("loads").is_empty());
        assert!(store(there.path(), "demo").load().expect("loads").is_empty());
    }
}
