//! One secret in one version, out of a snapshot.

use std::io::Read;

use super::contents::below_engine;
use super::vitals::is_plain;
use super::{Contents, Flaw, KvSecret, Mount, Unlocked, kv, scan};
use crate::secret::Secret;

/// A secret of a snapshot, and where its entries are.
#[derive(Clone, Copy, Debug)]
pub struct Located<'a> {
    /// The secret.
    pub secret: &'a KvSecret,
    /// Its mount.
    pub mount: &'a Mount,
}

impl Contents {
    /// The secret at `wanted`, which is mount and path; `None` when the snapshot has no such secret.
    pub fn locate(&self, wanted: &str) -> Option<Located<'_>> {
        let is_it = |secret: &&KvSecret| wanted.strip_prefix(&secret.mount) == Some(&secret.path);
        let secret = self.secrets.iter().find(is_it)?;
        let mount = self.mounts.iter().find(|mount| mount.path == secret.mount)?;
        Some(Located { secret, mount })
    }
}

impl Located<'_> {
    /// The data of this version, a JSON object; `None` when the snapshot does not have it, because it was
    /// destroyed or never existed. The version has no meaning where the engine keeps none.
    ///
    /// # Errors
    /// As [`scan`]; `Forged` when one of the entries was not written by the server.
    pub fn data(
        &self,
        file: impl Read,
        unlocked: &mut Unlocked,
        version: u64,
    ) -> Result<Option<Secret>, Flaw> {
        let (path, is_versioned) = (self.secret.path.as_str(), self.mount.is_versioned());
        let (mut name_of_version, mut data) = (None, None);
        scan(file, &mut |key, value| {
            let Some(inside) = key.strip_prefix(&self.mount.folder) else { return Ok(()) };
            if is_plain(key) {
                return Ok(());
            }
            let name = below_engine(inside).unwrap_or_default();
            if !is_versioned && inside == path {
                data = Some(Secret::new(unlocked.open(key, value)?.to_vec()));
            } else if is_versioned && name == "salt" {
                // It comes before the versions, whose names it is part of.
                name_of_version = Some(kv::version_key(unlocked.open(key, value)?, path, version));
            } else if is_versioned && name_of_version.as_deref() == Some(name) {
                data = kv::data(unlocked.open(key, value)?);
            }
            Ok(())
        })?;
        Ok(data)
    }
}
