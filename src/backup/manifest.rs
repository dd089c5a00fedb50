//! The manifest beside a backup: its identity, the keys that open it, and its signer; never a secret.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Check, State};
use crate::signing::{Authority, Seal, SigningKey};
use crate::snapshot::Table;

/// The version of the form.
const FORMAT: &str = "groundwork-backup/1";
/// The purpose for which the plan's key signs a manifest.
const PURPOSE: &str = "backup manifest";

/// A file that belongs to a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    /// Its name in the place.
    pub name: String,
    /// Its digest, in hexadecimal.
    pub sha256: String,
}

impl Companion {
    /// Whether these bytes are its content.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        hex::encode(Sha256::digest(bytes)) == self.sha256
    }
}

/// The contents of a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountCount {
    /// Its path.
    pub path: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many entries its storage had.
    pub entries: u64,
}

/// The contents of a backup, as far as it was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Secrets engines.
    pub mounts: Vec<MountCount>,
    /// Auth methods.
    pub auth: Vec<MountCount>,
    /// Policies, by name.
    pub policies: Vec<String>,
    /// How many secrets KV engines had.
    pub secrets: usize,
    /// How many tokens were alive.
    pub tokens: u64,
    /// How many leases were alive.
    pub leases: u64,
}

/// The manifest of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    /// The program that wrote it.
    tool: String,
    /// The plan's name.
    pub plan: String,
    /// The digest of the plan.
    pub plan_digest: String,
    /// When the backup was taken.
    pub taken: Timestamp,
    /// The cluster.
    pub cluster_id: String,
    /// The snapshot.
    pub snapshot: Companion,
    /// Its length.
    pub bytes: u64,
    /// Its place in the log of the cluster.
    pub index: u64,
    /// The term of the leader.
    pub term: u64,
    /// How many entries it has.
    pub entries: u64,
    /// The newest version of a server that had run on the storage.
    pub version: Option<String>,
    /// How its key is protected.
    pub seal: String,
    /// The key of the seal, where it has a name.
    pub key_id: Option<String>,
    /// Into how many shares the key is divided.
    pub shares: usize,
    /// How many of them open it.
    pub threshold: usize,
    /// Which generation of shares opens it.
    pub generation: Option<String>,
    /// How much was proven before it was stored.
    pub proof: State,
    /// Its contents, if it was opened.
    pub holds: Option<Holds>,
    /// The objects that custody had, by name and version.
    pub custody: Vec<String>,
    /// How many lines the journal had.
    pub journal_lines: usize,
    /// The other needs of a rebuild: the plan's files and the journal.
    pub companions: Vec<Companion>,
    /// The manifest before this one.
    pub previous: Option<Companion>,
}

/// What is known beside the snapshot itself.
pub struct Surroundings {
    /// The plan's name.
    pub plan: String,
    /// The digest of the plan.
    pub plan_digest: String,
    /// The objects that custody has.
    pub custody: Vec<String>,
    /// How many lines the journal has.
    pub journal_lines: usize,
}

impl Manifest {
    /// The manifest of a snapshot that was checked; `None` if it is flawed.
    pub fn new(check: &Check, taken: Timestamp, cluster_id: &str, around: Surroundings) -> Option<Self> {
        let (frame, vitals) = check.frame.as_ref()?;
        let shares = vitals.share_config();
        let base = base_name(cluster_id, taken, frame.meta.index);
        Some(Self {
            format: FORMAT.to_owned(),
            tool: concat!("groundwork ", env!("CARGO_PKG_VERSION")).to_owned(),
            plan: around.plan,
            plan_digest: around.plan_digest,
            taken,
            cluster_id: cluster_id.to_owned(),
            snapshot: Companion { name: format!("{base}.snap"), sha256: frame.sha256.clone() },
            bytes: frame.bytes,
            index: frame.meta.index,
            term: frame.meta.term,
            entries: frame.entries,
            version: vitals.newest_version().map(str::to_owned),
            seal: vitals.seal.to_string(),
            key_id: Some(vitals.root.key_id.clone()).filter(|id| !id.is_empty()),
            shares: shares.shares,
            threshold: shares.threshold,
            generation: vitals.generation.clone(),
            proof: check.state,
            holds: holds(check),
            custody: around.custody,
            journal_lines: around.journal_lines,
            companions: Vec::new(),
            previous: None,
        })
    }

    /// The common part of the names of everything that belongs to it.
    pub fn base(&self) -> &str {
        self.snapshot.name.strip_suffix(".snap").unwrap_or(&self.snapshot.name)
    }

    /// Its name in a place.
    pub fn name(&self) -> String {
        format!("{}.json", self.base())
    }

    /// Reads the written form; `None` if it is not one, or its signature is not that of its content.
    pub fn read(bytes: &[u8], authority: &Authority) -> Option<Read> {
        Read::parse(bytes, authority)
    }

    /// The written form, signed with `key` if there is one.
    pub fn to_bytes(&self, key: Option<&SigningKey>) -> Vec<u8> {
        let manifest = serde_json::to_value(self).unwrap_or_default();
        let signature = key.map(|key| key.sign(PURPOSE, &[manifest.to_string().as_bytes()]));
        let written = serde_json::json!({ "manifest": manifest, "signature": signature });
        format!("{written:#}\n").into_bytes()
    }
}

/// The common part of the names of what belongs to one backup. Names sort by time.
fn base_name(cluster_id: &str, taken: Timestamp, index: u64) -> String {
    format!("{cluster_id}/{}-{index}", taken.strftime("%Y%m%dT%H%M%SZ"))
}

fn holds(check: &Check) -> Option<Holds> {
    let contents = &check.opened.as_ref()?.contents;
    let mounts = |table| {
        let counted = contents.mounts_of(table).map(|mount| MountCount {
            path: mount.path.clone(),
            kind: mount.kind.clone(),
            entries: mount.entries,
        });
        counted.collect()
    };
    Some(Holds {
        mounts: mounts(Table::Secrets),
        auth: mounts(Table::Auth),
        policies: contents.policies.keys().cloned().collect(),
        secrets: contents.secrets.len(),
        tokens: contents.counts.tokens,
        leases: contents.counts.leases,
    })
}

/// Who vouches for a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Vouching {
    /// The plan's key, which this machine trusts.
    Signed,
    /// A key that this machine does not know.
    UnknownSigner,
    /// No key.
    Unsigned,
}

impl Vouching {
    /// One word for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::UnknownSigner => "unknown_signer",
            Self::Unsigned => "unsigned",
        }
    }
}

#[derive(Deserialize)]
struct Written {
    manifest: Value,
    signature: Option<Seal>,
}

/// A manifest as it was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its content.
    pub manifest: Manifest,
    /// Who says so.
    pub vouching: Vouching,
    /// The digest of its file, in hexadecimal.
    pub sha256: String,
}

impl Read {
    /// Reads the written form; `None` if it is not one, or its signature is not that of its content.
    pub fn parse(bytes: &[u8], authority: &Authority) -> Option<Self> {
        let written: Written = serde_json::from_slice(bytes).ok()?;
        let vouching = match &written.signature {
            None => Vouching::Unsigned,
            Some(seal) if !seal.proves(PURPOSE, &[written.manifest.to_string().as_bytes()]) => return None,
            Some(seal) if authority.trusts(&seal.signer) => Vouching::Signed,
            Some(_) => Vouching::UnknownSigner,
        };
        let manifest: Manifest = serde_json::from_value(written.manifest).ok()?;
        (manifest.format == FORMAT).then(|| Self {
            manifest,
            vouching,
            sha256: hex::encode(Sha256::digest(bytes)),
        })
    }
}

/// The statement of the manifest beside a backup.
#[derive(Clone, Debug)]
pub enum ManifestCheck {
    /// There is none.
    Missing,
    /// It cannot be read, or is not what its signer has signed.
    Broken,
    /// It names another snapshot.
    Contradicts(Box<Read>),
    /// It names this one.
    Agrees(Box<Read>),
}

impl ManifestCheck {
    /// Compares a manifest with the backup beside it.
    pub fn of(bytes: Option<&[u8]>, check: &Check, authority: &Authority) -> Self {
        let Some(bytes) = bytes else { return Self::Missing };
        let Some(read) = Read::parse(bytes, authority) else { return Self::Broken };
        let is_it =
            check.frame.as_ref().is_some_and(|(frame, _)| frame.sha256 == read.manifest.snapshot.sha256);
        if is_it { Self::Agrees(Box::new(read)) } else { Self::Contradicts(Box::new(read)) }
    }

    /// Whether the backup is another one than its manifest says.
    pub fn is_contradicted(&self) -> bool {
        matches!(self, Self::Broken | Self::Contradicts(_))
    }

    /// One word for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Broken => "broken",
            Self::Contradicts(_) => "contradicts",
            Self::Agrees(_) => "agrees",
        }
    }

    /// The manifest, if it can be read.
    pub fn read(&self) -> Option<&Read> {
        match self {
            Self::Missing | Self::Broken => None,
            Self::Contradicts(read) | Self::Agrees(read) => Some(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::testing::authority;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT.to_owned(),
            tool: "groundwork".to_owned(),
            plan: "demo".to_owned(),
            plan_digest: "sha256:1".to_owned(),
            taken: "2026-11-28T03:04:05Z".parse().expect("a time"),
            cluster_id: "c1".to_owned(),
            snapshot: Companion { name: "c1/20261128T030405Z-7.snap".to_owned(), sha256: "ab".to_owned() },
            bytes: 1,
            index: 7,
            term: 2,
            entries: 3,
            version: None,
            seal: "shamir".to_owned(),
            key_id: None,
            shares: 5,
            threshold: 3,
            generation: None,
            proof: State::Proven,
            holds: None,
            custody: Vec::new(),
            journal_lines: 0,
            companions: Vec::new(),
            previous: None,
        }
    }

    #[test]
    fn signed_manifest_is_read_back_and_changed_one_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = authority(folder.path(), "demo");
        let bytes = manifest().to_bytes(authority.key().as_deref());
        let read = Read::parse(&bytes, &authority).expect("a manifest");
        assert_eq!((&read.manifest, read.vouching), (&manifest(), Vouching::Signed));
        assert_eq!(read.manifest.name(), "c1/20261128T030405Z-7.json");
        let changed = String::from_utf8(bytes).expect("text").replace("\"index\": 7", "\"index\": 8");
        assert!(Read::parse(changed.as_bytes(), &authority).is_none());
        let unsigned = Read::parse(&manifest().to_bytes(None), &authority).expect("a manifest");
        assert_eq!(unsigned.vouching, Vouching::Unsigned);
        let other = SigningKey::generate().expect("a key");
        let foreign = Read::parse(&manifest().to_bytes(Some(&other)), &authority).expect("a manifest");
        assert_eq!(foreign.vouching, Vouching::UnknownSigner);
    }
}
