//! The caller's key that seals saved changesets.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::trust;

/// The environment variable that names the file with the key.
pub const SEAL_KEY: &str = "GROUNDWORK_SEAL_KEY";
/// The file in the caller's configuration folder.
const FILE: &str = "seal.key";
/// The shortest key, in bytes.
const SHORTEST: usize = 32;
/// The largest key file, in bytes.
const LARGEST: usize = 4096;

/// A key with which the caller seals a saved changeset, so that others cannot change it unnoticed
/// between `plan` and `apply`.
pub struct SealKey {
    key: hmac::Key,
    path: PathBuf,
}

impl SealKey {
    /// The caller's key: from the file that [`SEAL_KEY`] names, otherwise from `seal.key` in the
    /// configuration folder. `None` when neither exists.
    ///
    /// # Errors
    /// `Local` when the file cannot be read, others may read it, or it is too short for a key.
    pub fn of_caller(environment: &Environment) -> Result<Option<Self>> {
        if let Some(path) = environment.path(SEAL_KEY) {
            return Self::read(&path).map(Some);
        }
        let path = trust::config_folder(environment).map(|folder| folder.join(FILE));
        path.filter(|path| path.symlink_metadata().is_ok()).map(|path| Self::read(&path)).transpose()
    }

    /// The key in a file.
    ///
    /// # Errors
    /// As [`SealKey::of_caller`].
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |why: String| {
            Error::new(ErrorKind::Local, format!("read the key {}", path.display()), why).advice(format!(
                "let {SEAL_KEY} name a file with a key that only you can read: `umask 077; openssl rand -hex 32 \
                 > seal.key`"
            ))
        };
        let unreadable = |error: std::io::Error| failed(error.to_string());
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.permissions().mode() & 0o007 != 0 {
            return Err(failed("other users can read it".to_owned()));
        }
        let mut bytes = Vec::with_capacity(LARGEST);
        file.take(LARGEST as u64).read_to_end(&mut bytes).map_err(unreadable)?;
        let secret = Secret::new(bytes);
        let bytes = secret.expose_bytes().trim_ascii();
        if bytes.len() < SHORTEST {
            return Err(failed(format!("the key has less than {SHORTEST} bytes")));
        }
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, bytes), path: path.to_owned() })
    }

    /// The file that it came from, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The seal over a text.
    pub(super) fn seal(&self, text: &str) -> String {
        format!("hmac-sha256:{}", hex::encode(hmac::sign(&self.key, text.as_bytes())))
    }

    /// Whether this key made the seal over a text.
    pub(super) fn has_sealed(&self, text: &str, seal: &str) -> bool {
        let tag = seal.strip_prefix("hmac-sha256:").and_then(|tag| hex::decode(tag).ok());
        tag.is_some_and(|tag| hmac::verify(&self.key, text.as_bytes(), &tag).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str, mode: u32) -> Result<SealKey> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("seal.key");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
        SealKey::read(&path)
    }

    #[test]
    fn only_the_same_key_recognises_its_seal() {
        let (one, other) = ("1".repeat(32), "2".repeat(32));
        let seal = key(&one, 0o600).expect("a key").seal("text");
        assert!(key(&format!("{one}\n"), 0o600).expect("the same key").has_sealed("text", &seal));
        assert!(!key(&other, 0o600).expect("a key").has_sealed("text", &seal));
        assert!(!key(&one, 0o600).expect("a key").has_sealed("other", &seal));
    }

    #[test]
    fn key_that_is_short_or_public_is_refused() {
        for (text, mode) in [("1".repeat(31), 0o600), ("1".repeat(32), 0o604), (String::new(), 0o600)] {
            let error = key(&text, mode).err().expect("refused");
            assert!(error.advice.is_some_and(|advice| advice.contains(SEAL_KEY)), "{mode:o}");
        }
    }
}
