//! The contents of a snapshot: mounts, policies, audit devices and paths of secrets, and not one value.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::read::GzDecoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::vitals::is_plain;
use super::{Flaw, Frame, KvSecret, Unlocked, kv, scan};

/// Entries that the server compresses begin with this byte.
const COMPRESSED: u8 = b'G';

/// The use of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// A secrets engine.
    Secrets,
    /// An auth method.
    Auth,
}

/// A secrets engine or an auth method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Its path with its namespace, ending with a slash.
    pub path: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version of its storage, where the type has several.
    pub version: Option<String>,
    /// Its use.
    #[serde(skip)]
    pub table: Table,
    /// How many entries it has in the storage.
    pub entries: u64,
    /// The path of its namespace, ending with a slash; empty for the root.
    #[serde(skip)]
    pub namespace: String,
    /// The folder of its entries.
    #[serde(skip)]
    pub(super) folder: String,
}

impl Mount {
    /// Whether it keeps versions of secrets.
    pub(super) fn is_versioned(&self) -> bool {
        self.is_kv() && self.version.as_deref() == Some("2")
    }

    /// A mount of the root namespace without an entry.
    #[cfg(test)]
    pub(crate) fn test(path: &str, kind: &str, table: Table) -> Self {
        let (path, kind) = (path.to_owned(), kind.to_owned());
        Self { path, kind, version: None, table, entries: 0, namespace: String::new(), folder: String::new() }
    }

    /// Whether it keeps secrets by path.
    fn is_kv(&self) -> bool {
        self.table == Table::Secrets && (self.kind == "kv" || self.kind == "generic")
    }
}

/// An audit device with its options, which a server's configuration must not contradict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditDevice {
    /// Its path.
    pub path: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// How many entries there are of what has no list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All entries.
    pub entries: u64,
    /// Those that the barrier's keys have authenticated.
    pub authenticated: u64,
    /// Tokens that were alive.
    pub tokens: u64,
    /// Leases that were alive.
    pub leases: u64,
}

/// The contents of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The id of the cluster.
    pub cluster_id: Option<String>,
    /// Secrets engines and auth methods, by path.
    pub mounts: Vec<Mount>,
    /// Audit devices.
    pub audit: Vec<AuditDevice>,
    /// The text of each policy, by name with its namespace.
    pub policies: BTreeMap<String, String>,
    /// Secrets of KV engines, without a value.
    pub secrets: Vec<KvSecret>,
    /// Tokens that were alive, by a digest that is the same in other snapshots of the cluster.
    pub tokens: BTreeSet<u64>,
    /// Secret-ids of AppRoles that were alive, by such a digest.
    pub secret_ids: BTreeSet<u64>,
    /// How many entries there are of what has no list.
    pub counts: Counts,
}

impl Contents {
    /// The mounts of one table.
    pub fn mounts_of(&self, table: Table) -> impl Iterator<Item = &Mount> {
        self.mounts.iter().filter(move |mount| mount.table == table)
    }
}

/// Reads a snapshot, authenticates every entry, and lists what it holds.
///
/// # Errors
/// As [`scan`]; `Forged` when an entry was not written by the server.
pub fn read(file: impl Read, unlocked: &mut Unlocked) -> Result<(Frame, Contents), Flaw> {
    let mut reading = Reading::default();
    let frame = scan(file, &mut |key, value| match is_plain(key) {
        true => Ok(()),
        false => reading.visit(key, unlocked.open(key, value)?),
    })?;
    let mut contents = reading.finish();
    contents.counts.entries = frame.entries;
    Ok((frame, contents))
}

#[derive(Deserialize)]
struct Stored {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    uuid: String,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

/// OpenBao has an entry for each mount, Vault one table.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many { entries: Option<Vec<T>> },
}

#[derive(Deserialize)]
struct Cluster {
    id: String,
}

#[derive(Deserialize)]
struct Namespace {
    path: String,
}

#[derive(Deserialize)]
struct Policy {
    #[serde(rename = "Raw", default)]
    raw: String,
}

/// The entries that were read so far. The path of a namespace may come after what is in it.
#[derive(Default)]
struct Reading {
    contents: Contents,
    /// Paths of namespaces, by the id that entries have.
    namespaces: BTreeMap<String, String>,
    /// Policies: the id of the namespace, the name and the text.
    policies: Vec<(String, String, String)>,
    /// The index of each mount, by its folder.
    folders: BTreeMap<String, usize>,
    /// Secrets with the index of their mount.
    secrets: Vec<(usize, KvSecret)>,
    /// Entries by the folder of a mount: those of auth methods come before the methods themselves.
    counts: BTreeMap<String, u64>,
}

impl Reading {
    /// Takes note of one entry, in the clear.
    fn visit(&mut self, key: &str, value: &[u8]) -> Result<(), Flaw> {
        self.contents.counts.authenticated += 1;
        let below = key.strip_prefix("namespaces/").and_then(|rest| rest.split_once('/'));
        let (namespace, rest) = below.unwrap_or(("", key));
        let (place, name) = rest.split_once('/').unwrap_or((rest, ""));
        match place {
            "core" => self.core(namespace, key, name, value),
            "sys" => self.sys(namespace, key, name, value),
            "logical" | "auth" => self.entry(key, rest, value),
            _ => Ok(()),
        }
    }

    fn core(&mut self, namespace: &str, key: &str, name: &str, value: &[u8]) -> Result<(), Flaw> {
        match name.split('/').next().unwrap_or_default() {
            "mounts" | "local-mounts" => self.mount(Table::Secrets, namespace, key, value)?,
            "auth" | "local-auth" => self.mount(Table::Auth, namespace, key, value)?,
            "audit" | "local-audit" => self.contents.audit.extend(list::<AuditDevice>(key, value)?),
            "namespaces" => {
                let uuid = name.rsplit('/').next().unwrap_or_default().to_owned();
                self.namespaces.insert(uuid, parse::<Namespace>(key, value)?.path);
            }
            "cluster" if name == "cluster/local/info" => {
                self.contents.cluster_id = Some(parse::<Cluster>(key, value)?.id);
            }
            _ => {}
        }
        Ok(())
    }

    fn mount(&mut self, table: Table, namespace: &str, key: &str, value: &[u8]) -> Result<(), Flaw> {
        let base = key.split_once("core/").map(|(base, _)| base).unwrap_or_default();
        let place = match table {
            Table::Secrets => "logical",
            Table::Auth => "auth",
        };
        for one in list::<Stored>(key, value)? {
            let folder = format!("{base}{place}/{}/", one.uuid);
            self.folders.insert(folder.clone(), self.contents.mounts.len());
            self.contents.mounts.push(Mount {
                path: one.path,
                kind: one.kind,
                version: one.options.and_then(|mut options| options.remove("version")),
                table,
                entries: 0,
                namespace: namespace.to_owned(),
                folder,
            });
        }
        Ok(())
    }

    fn sys(&mut self, namespace: &str, key: &str, name: &str, value: &[u8]) -> Result<(), Flaw> {
        let counts = &mut self.contents.counts;
        match name.split_once('/').unwrap_or_default() {
            ("policy", policy) => {
                let text = parse::<Policy>(key, value)?.raw;
                self.policies.push((namespace.to_owned(), policy.to_owned(), text));
            }
            ("token", token) if token.starts_with("id/") => {
                self.contents.tokens.insert(short(token));
            }
            ("expire", lease) if lease.starts_with("id/") => counts.leases += 1,
            _ => {}
        }
        Ok(())
    }

    /// An entry of a mount; `rest` is its key without the namespace.
    fn entry(&mut self, key: &str, rest: &str, value: &[u8]) -> Result<(), Flaw> {
        let Some((below, _)) = rest.match_indices('/').nth(1) else { return Ok(()) };
        let (folder, inside) = key.split_at(key.len() - rest.len() + below + 1);
        match self.counts.get_mut(folder) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(folder.to_owned(), 1)),
        }
        if inside.starts_with("secret_id/") {
            self.contents.secret_ids.insert(short(inside));
        }
        let Some(index) = self.folders.get(folder) else { return Ok(()) };
        let mount = &self.contents.mounts[*index];
        let is_metadata = below_engine(inside).is_some_and(|name| name.starts_with("metadata/"));
        if mount.is_versioned() && is_metadata {
            let secret = kv::metadata(value).ok_or_else(|| unreadable(key))?;
            self.secrets.push((*index, secret));
        } else if mount.is_kv() && !mount.is_versioned() {
            self.secrets.push((*index, KvSecret::unversioned(inside)));
        }
        Ok(())
    }

    fn finish(self) -> Contents {
        let Self { mut contents, namespaces, .. } = self;
        contents.counts.tokens = contents.tokens.len() as u64;
        let within = |namespace: &str, name: &str| {
            format!("{}{name}", namespaces.get(namespace).map_or("", String::as_str))
        };
        for mount in &mut contents.mounts {
            mount.path = within(&mount.namespace, &mount.path);
            mount.namespace = within(&mount.namespace, "");
            mount.entries = self.counts.get(&mount.folder).copied().unwrap_or_default();
        }
        for (index, secret) in self.secrets {
            contents.secrets.push(KvSecret { mount: contents.mounts[index].path.clone(), ..secret });
        }
        let policies = self.policies.into_iter();
        contents.policies =
            policies.map(|(namespace, name, text)| (within(&namespace, &name), text)).collect();
        contents.mounts.sort_by(|one, other| one.path.cmp(&other.path));
        contents.secrets.sort_by(|one, other| (&one.mount, &one.path).cmp(&(&other.mount, &other.path)));
        contents
    }
}

/// The name below the folder that the engine of KV 2 has in that of its mount.
pub(super) fn below_engine(inside: &str) -> Option<&str> {
    inside.split_once('/').map(|(_, name)| name)
}

/// A digest that distinguishes entries, in little memory.
fn short(name: &str) -> u64 {
    let long = digest(&SHA256, name.as_bytes());
    long.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn list<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<Vec<T>, Flaw> {
    Ok(match parse::<OneOrMany<T>>(key, value)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many { entries } => entries.unwrap_or_default(),
    })
}

fn parse<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, Flaw> {
    let mut plain = Zeroizing::new(Vec::new());
    let json = match value.split_first() {
        Some((&COMPRESSED, rest)) => {
            GzDecoder::new(rest).read_to_end(&mut plain).map_err(|_| unreadable(key))?;
            &plain
        }
        _ => value,
    };
    serde_json::from_slice(json).map_err(|_| unreadable(key))
}

fn unreadable(key: &str) -> Flaw {
    Flaw::Damaged(format!("the entry {key} is authentic and cannot be understood"))
}
