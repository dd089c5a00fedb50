//! Versions of secrets, as the storage of KV has them.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::Serialize;

use super::wire::{Value, bytes, fields, integer};
use crate::secret::Secret;

/// One version of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KvVersion {
    /// Its number.
    pub version: u64,
    /// When it was written.
    pub created: Option<Timestamp>,
    /// When it was, or will be, deleted.
    pub deleted: Option<Timestamp>,
    /// Whether its value is gone for good.
    pub destroyed: bool,
}

/// A secret without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KvSecret {
    /// The mount with its namespace, ending with a slash.
    pub mount: String,
    /// The path below the mount.
    pub path: String,
    /// The newest version; 0 where the engine keeps none.
    pub current: u64,
    /// The versions, ascending; none where the engine keeps none.
    pub versions: Vec<KvVersion>,
}

impl KvSecret {
    /// One of an engine that keeps no versions. The mount's path is not known yet.
    pub(super) fn unversioned(path: &str) -> Self {
        Self { mount: String::new(), path: path.to_owned(), current: 0, versions: Vec::new() }
    }

    /// The newest version.
    pub fn newest(&self) -> Option<&KvVersion> {
        self.versions.iter().find(|one| one.version == self.current)
    }
}

/// Reads `KeyMetadata` of the engine of KV 2: the path, the current version, and all versions. The mount's
/// path is not known yet.
pub(super) fn metadata(message: &[u8]) -> Option<KvSecret> {
    let found = fields(message)?;
    let mut versions = Vec::new();
    for (number, value) in &found {
        if let (2, Value::Bytes(entry)) = (number, value) {
            let entry = fields(entry)?;
            versions.push(version(integer(&entry, 1), bytes(&entry, 2).unwrap_or_default())?);
        }
    }
    versions.sort_unstable_by_key(|one: &KvVersion| one.version);
    Some(KvSecret {
        mount: String::new(),
        path: String::from_utf8(bytes(&found, 1)?.to_vec()).ok()?,
        current: integer(&found, 3),
        versions,
    })
}

fn version(version: u64, message: &[u8]) -> Option<KvVersion> {
    let found = fields(message)?;
    Some(KvVersion {
        version,
        created: bytes(&found, 1).and_then(time),
        deleted: bytes(&found, 2).and_then(time),
        destroyed: integer(&found, 3) != 0,
    })
}

/// A protobuf `Timestamp`; `None` for Go's zero.
fn time(message: &[u8]) -> Option<Timestamp> {
    let found = fields(message)?;
    let seconds = integer(&found, 1).cast_signed();
    let nanoseconds = i32::try_from(integer(&found, 2)).ok()?;
    Timestamp::new(seconds, nanoseconds).ok().filter(|time| *time > Timestamp::UNIX_EPOCH)
}

/// Reads `Version` of the engine: the data as JSON.
pub(super) fn data(message: &[u8]) -> Option<Secret> {
    bytes(&fields(message)?, 1).map(|json| Secret::new(json.to_vec()))
}

/// Where the engine keeps the value of a version, below its own folder.
pub(super) fn version_key(salt: &[u8], path: &str, version: u64) -> String {
    let salted = [salt, path.as_bytes(), b"|", version.to_string().as_bytes()].concat();
    let name = hex::encode(digest(&SHA256, &salted));
    let (folder, rest) = name.split_at(3);
    format!("versions/{folder}/{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_lists_versions_in_order() {
        let time = |seconds: u8| vec![0x0a, 2, 0x08, seconds];
        let entry = |number: u8, state: &[u8]| {
            let body = [&[0x08, number, 0x12, u8::try_from(state.len()).expect("short")], state].concat();
            [&[0x12, u8::try_from(body.len()).expect("short")], body.as_slice()].concat()
        };
        let message = [&[0x0a, 1, b'a'][..], &entry(2, &time(9)), &entry(1, &[0x18, 1]), &[0x18, 2]].concat();
        let secret = metadata(&message).expect("metadata");
        assert_eq!((secret.path.as_str(), secret.current, secret.versions.len()), ("a", 2, 2));
        assert!(secret.versions[0].destroyed && secret.versions[0].created.is_none());
        assert_eq!(secret.newest().and_then(|one| one.created).expect("a time").as_second(), 9);
        assert!(metadata(&message[..5]).is_none());
    }
}
