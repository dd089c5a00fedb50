//! This machine's own files for a plan, outside of the plan's folder: the signing key, and a note of
//! how far the machine has seen the journal.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::{Signer, SigningKey};
use crate::confined_path::{self, KEY};
use crate::durable;
use crate::durable::{make_folder, sync_folder};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::trust::{config_folder, plan_id};

/// The place for one plan.
#[derive(Clone, Debug)]
pub struct Home {
    keys: PathBuf,
    id: String,
    plan: String,
    folder: PathBuf,
}

/// The format of a key's file.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    plan: String,
    folder: PathBuf,
    /// For people; the program computes it from the key.
    signer: Signer,
    key: String,
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

/// A place in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of lines.
    pub seq: u64,
    /// The hash of the last line, in hexadecimal.
    pub hash: String,
}

/// This machine's notes about the journal and custody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The end of the journal when this machine last saw it.
    #[serde(default)]
    pub journal: Option<Head>,
    /// The signing key that this machine has put into custody, or found there.
    #[serde(default)]
    pub in_custody: Option<Signer>,
}

impl Home {
    /// The place for the plan of this name in this folder; `None` when the caller has no
    /// configuration folder.
    pub fn of_plan(environment: &Environment, folder: &Path, plan: &str) -> Option<Self> {
        Some(Self::within(&config_folder(environment)?, folder, plan))
    }

    /// The place for a plan below this configuration folder.
    pub fn within(config: &Path, folder: &Path, plan: &str) -> Self {
        let (id, folder) = plan_id(folder, plan);
        Self { keys: config.join("keys"), id, plan: plan.to_owned(), folder }
    }

    /// The plan's key, if this machine has it.
    ///
    /// # Errors
    /// `Local` when the file exists but cannot be used, or others can read it.
    pub fn key(&self) -> Result<Option<SigningKey>> {
        let path = self.path("json");
        let read = read_private(&path).and_then(|text| text.map(|text| parse(&text)).transpose());
        let found = read.map_err(|error| failed("read", &path, &error))?;
        found.map(|file| key_of(&file)).transpose()
    }

    /// The keys that this machine has for plans of this name in other folders: clones and worktrees.
    /// Skips files that cannot be read.
    pub fn keys_of_namesakes(&self) -> Vec<SigningKey> {
        let Ok(entries) = self.keys.read_dir() else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        let files = paths.filter(|path| is_key_file(path) && *path != self.path("json"));
        let read = files.filter_map(|path| parse(&read_private(&path).ok()??).ok());
        read.filter(|file| file.plan == self.plan).filter_map(|file| key_of(&file).ok()).collect()
    }

    /// Writes the plan's key durably, and never replaces another key.
    ///
    /// # Errors
    /// `Local` when it cannot be written, or there is one.
    pub fn keep(&self, key: &SigningKey) -> Result<()> {
        let text = key.to_secret();
        let file = KeyFile {
            plan: self.plan.clone(),
            folder: self.folder.clone(),
            signer: key.signer(),
            key: text.expose_str().unwrap_or_default().to_owned(),
        };
        let path = self.path("json");
        self.put(&path, &file, false).map_err(|error| failed("write", &path, &error))
    }

    /// This machine's notes; empty if the file is missing or damaged.
    pub fn seen(&self) -> Seen {
        let text = confined_path::read_caller_file(&self.path("seen"), KEY).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes this machine's notes.
    ///
    /// # Errors
    /// `Local` when it cannot be written.
    pub fn note(&self, seen: &Seen) -> Result<()> {
        let path = self.path("seen");
        self.put(&path, seen, true).map_err(|error| failed("write", &path, &error))
    }

    /// Removes one of the plan's files; one that is not there is success.
    ///
    /// # Errors
    /// `Local` when it cannot be removed.
    pub fn remove(&self, extension: &str) -> Result<()> {
        let path = self.path(extension);
        durable::remove(&path).map_err(|error| failed("remove", &path, &error))
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.keys.join(&self.id).with_extension(extension)
    }

    fn put(&self, path: &Path, content: &impl Serialize, replace: bool) -> io::Result<()> {
        make_folder(&self.keys)?;
        // A temporary file is readable by its owner only.
        let mut file = tempfile::Builder::new().prefix(".writing.").tempfile_in(&self.keys)?;
        let mut text = Zeroizing::new(Vec::with_capacity(4096));
        serde_json::to_writer_pretty(&mut *text, content)?;
        text.write_all(b"\n")?;
        durable::write(file.as_file_mut(), &text)?;
        let put = if replace { file.persist(path) } else { file.persist_noclobber(path) };
        put.map_err(|refused| refused.error)?;
        sync_folder(&self.keys)
    }
}

fn failed(verb: &str, path: &Path, why: &io::Error) -> Error {
    Error::new(ErrorKind::Local, "signing key", format!("cannot {verb} {}: {why}", path.display()))
        .advice("make yourself the only user of the file and its folder (`chmod 600`, `chmod 700`)")
}

/// The environment variable with the path of a key's file, for machines on which no file outlives a
/// run.
pub const VARIABLE: &str = "GROUNDWORK_SIGNING_KEY";

/// The key of the file that the caller names in the environment.
///
/// # Errors
/// `Local` when there is no such file, others can read it, or it does not contain a key.
pub fn key_of_environment(environment: &Environment) -> Result<Option<SigningKey>> {
    let Some(path) = environment.path(VARIABLE) else { return Ok(None) };
    let read = read_private(&path).and_then(|text| text.ok_or_else(|| io::ErrorKind::NotFound.into()));
    let file = read.and_then(|text| parse(&text)).map_err(|error| {
        Error::new(ErrorKind::Local, VARIABLE, format!("cannot use {}: {error}", path.display()))
            .advice("name a copy of the plan's file from `~/.config/groundwork/keys/`, with mode 0600")
    })?;
    key_of(&file).map(Some)
}

fn is_key_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

/// Reads a file, if only this user can read and write it.
fn read_private(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let text = match confined_path::read_caller_file(path, KEY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => Zeroizing::new(read?),
    };
    let about = path.metadata()?;
    if about.mode() & 0o077 != 0 || about.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("others can read it, or it is another user's"));
    }
    Ok(Some(text))
}

fn parse(text: &[u8]) -> io::Result<KeyFile> {
    // Leaves out the parser's error, because it could quote the key.
    serde_json::from_slice(text).map_err(|_| io::Error::other("is not a signing key's file"))
}

fn key_of(file: &KeyFile) -> Result<SigningKey> {
    SigningKey::from_secret(&Secret::from(file.key.clone()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn home(config: &Path, folder: &Path, plan: &str) -> Home {
        Home::within(config, folder, plan)
    }

    #[test]
    fn key_is_kept_private_and_never_replaced() {
        let (config, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let home = home(config.path(), folder.path(), "demo");
        assert!(home.key().expect("nothing there").is_none());
        assert!(!config.path().join("keys").exists(), "reading leaves no trace");
        let key = SigningKey::generate().expect("a key");
        home.keep(&key).expect("kept");
        assert_eq!(home.key().expect("reads").expect("there").signer(), key.signer());
        assert!(home.keep(&SigningKey::generate().expect("a key")).is_err(), "there is one");
        let mode = |path: &Path| path.metadata().expect("exists").permissions().mode() & 0o777;
        assert_eq!((mode(&home.path("json")), mode(&home.keys)), (0o600, 0o700));
        std::fs::set_permissions(home.path("json"), PermissionsExt::from_mode(0o644)).expect("chmod");
        assert!(home.key().expect_err("others can read it").message.contains("others"));
    }

    #[test]
    fn keys_of_namesakes_in_other_folders_are_found() {
        let config = tempfile::tempdir().unwrap();
        let [here, there] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let key = SigningKey::generate().expect("a key");
        home(config.path(), there.path(), "demo").keep(&key).expect("kept");
        let signers = |plan: &str| {
            let keys = home(config.path(), here.path(), plan).keys_of_namesakes();
            keys.iter().map(SigningKey::signer).collect::<Vec<_>>()
        };
        assert_eq!((signers("demo"), signers("other")), (vec![key.signer()], vec![]));
        assert!(home(config.path(), there.path(), "demo").keys_of_namesakes().is_empty(), "it is its own");
    }

    #[test]
    fn last_seen_journal_head_is_kept() {
        let (config, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let home = home(config.path(), folder.path(), "demo");
        assert_eq!(home.seen(), Seen::default());
        for seq in [1, 2] {
            let seen = Seen { journal: Some(Head { seq, hash: "07".repeat(32) }), in_custody: None };
            home.note(&seen).expect("noted");
            assert_eq!(home.seen(), seen);
        }
        std::fs::write(home.path("seen"), "torn").expect("written");
        assert_eq!(home.seen(), Seen::default());
    }
}
