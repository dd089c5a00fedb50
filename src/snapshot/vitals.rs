//! The facts that a snapshot shows without a key.

use std::collections::BTreeMap;
use std::io::Read;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{Blob, Flaw, Frame, scan};

const SEAL_CONFIG: &str = "core/seal-config";
const RECOVERY_CONFIG: &str = "core/recovery-config";
pub(super) const KEYRING: &str = "core/keyring";
const ROOT_KEY: &str = "core/hsm/barrier-unseal-keys";
const RECOVERY_KEY: &str = "core/recovery-key";
const SHAMIR_KEY: &str = "core/shamir-kek";
const VERSIONS: &str = "core/versions/";
/// The entries that the server stores without its barrier: locks, and shares that OpenPGP keys encrypt.
const PLAIN: [&str; 10] = [
    SEAL_CONFIG,
    RECOVERY_CONFIG,
    KEYRING,
    ROOT_KEY,
    RECOVERY_KEY,
    "core/lock",
    "core/initialize-lock",
    "core/migration",
    "core/unseal-keys-backup",
    "core/recovery-keys-backup",
];

/// How the key of a snapshot is protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seal {
    /// Key shares of people or of custody.
    Shamir,
    /// A key in the server's configuration.
    Static,
    /// A key in AWS KMS.
    AwsKms,
    /// Another system, by the name that the server has for it.
    Other(String),
}

impl Seal {
    fn of_name(name: &str) -> Self {
        match name {
            "shamir" => Self::Shamir,
            "static" => Self::Static,
            "awskms" => Self::AwsKms,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl std::fmt::Display for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Shamir => "shamir",
            Self::Static => "static",
            Self::AwsKms => "awskms",
            Self::Other(name) => name,
        })
    }
}

/// Into how many shares the key is divided.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SealConfig {
    #[serde(rename = "type")]
    kind: String,
    /// How many shares there are.
    #[serde(rename = "secret_shares")]
    pub shares: usize,
    /// How many of them open it.
    #[serde(rename = "secret_threshold")]
    pub threshold: usize,
}

/// Collects the entries for [`Vitals`] while a snapshot is scanned.
#[derive(Debug, Default)]
struct VitalsReader {
    kept: BTreeMap<&'static str, Vec<u8>>,
    versions: Vec<String>,
}

impl VitalsReader {
    /// Takes note of one entry.
    pub fn visit(&mut self, key: &str, value: &[u8]) {
        let wanted = PLAIN[..5].iter().chain([&SHAMIR_KEY]).find(|wanted| **wanted == key);
        if let Some(wanted) = wanted {
            self.kept.insert(wanted, value.to_vec());
        }
        self.versions.extend(key.strip_prefix(VERSIONS).map(str::to_owned));
    }

    /// The findings.
    ///
    /// # Errors
    /// `NotASnapshot` when an entry is missing without which nothing can be opened; `Damaged` when one of them
    /// cannot be understood.
    pub fn finish(mut self) -> Result<Vitals, Flaw> {
        let mut missing = None;
        let mut take = |name| {
            let found = self.kept.remove(name);
            if found.is_none() {
                missing = missing.or(Some(name));
            }
            found.unwrap_or_default()
        };
        let (seal, root, keyring) = (take(SEAL_CONFIG), take(ROOT_KEY), take(KEYRING));
        if let Some(name) = missing {
            return Err(Flaw::NotASnapshot(format!("it has no {name}")));
        }
        let config = config(SEAL_CONFIG, &seal)?;
        let recovery_key = self.kept.remove(RECOVERY_KEY);
        let marker = self.kept.remove(SHAMIR_KEY).or_else(|| recovery_key.clone());
        Ok(Vitals {
            seal: Seal::of_name(&config.kind),
            recovery: match self.kept.remove(RECOVERY_CONFIG) {
                Some(bytes) => Some(self::config(RECOVERY_CONFIG, &bytes)?),
                None => None,
            },
            config,
            root: Blob::parse(&root).ok_or_else(|| broken(ROOT_KEY))?,
            keyring,
            recovery_key: match recovery_key {
                Some(bytes) => Some(Blob::parse(&bytes).ok_or_else(|| broken(RECOVERY_KEY))?),
                None => None,
            },
            generation: marker.map(|bytes| format!("sha256:{}", hex::encode(digest(&SHA256, &bytes)))),
            versions: self.versions,
        })
    }
}

/// The facts that a snapshot shows without a key.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// How its key is protected.
    pub seal: Seal,
    /// Into how many shares the unseal key is divided.
    pub config: SealConfig,
    /// Into how many shares the recovery key is divided, where the seal is not of shares.
    pub recovery: Option<SealConfig>,
    /// The root key, as the seal has encrypted it.
    pub root: Blob,
    pub(super) keyring: Vec<u8>,
    pub(super) recovery_key: Option<Blob>,
    /// The digest that stays the same as long as the same shares open the snapshots of a cluster.
    pub generation: Option<String>,
    /// The versions of servers that have run on this storage.
    pub versions: Vec<String>,
}

impl Vitals {
    /// The shares that open the snapshot, or prove the recovery key.
    pub fn share_config(&self) -> &SealConfig {
        self.recovery.as_ref().unwrap_or(&self.config)
    }

    /// The newest version that has run on this storage; an older server never becomes active on it.
    pub fn newest_version(&self) -> Option<&str> {
        self.versions.iter().max_by_key(|version| numbers(version)).map(String::as_str)
    }

    /// The newest version that has run on this storage, if a server of version `server` is older.
    pub fn newer_than(&self, server: &str) -> Option<&str> {
        self.newest_version().filter(|newest| numbers(newest) > numbers(server))
    }
}

/// The numbers of a version, which compare as it does.
fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

/// Whether the server stores this entry without its barrier.
pub(super) fn is_plain(key: &str) -> bool {
    PLAIN.contains(&key)
}

fn config(name: &str, bytes: &[u8]) -> Result<SealConfig, Flaw> {
    serde_json::from_slice(bytes).map_err(|_| broken(name))
}

fn broken(name: &str) -> Flaw {
    Flaw::Damaged(format!("{name} cannot be understood"))
}

/// Reads a snapshot to its end; the outline needs no key.
///
/// # Errors
/// The first thing that is wrong with the file.
pub fn outline(file: &mut impl Read) -> Result<(Frame, Vitals), Flaw> {
    let mut reader = VitalsReader::default();
    let frame = scan(file, &mut |key, value| {
        reader.visit(key, value);
        Ok(())
    })?;
    Ok((frame, reader.finish()?))
}
