//! The options of a sandbox.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;

/// The most Vault nodes in one sandbox; Raft gains nothing from more.
pub const MAX_NODES: u8 = 7;

/// Everything `up` needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for state, configuration, data, certificates and logs.
    pub dir: PathBuf,
    /// The properties of the servers, which must be the same for every `up` of one folder.
    pub settings: Settings,
    /// The servers die with the process that started them, however it ends.
    pub tied: bool,
    /// The paths to use on this machine.
    pub host: Host,
}

impl Options {
    /// One plain node in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), settings: Settings::default(), tied: false, host: Host::from_env() }
    }
}

/// The properties of the servers that stay the same over a sandbox's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The number of Vault nodes, 1 to [`MAX_NODES`].
    pub nodes: u8,
    /// Vault speaks TLS with a certificate made for this sandbox.
    pub tls: bool,
    /// Which server plays Vault.
    pub vault: VaultServer,
    /// How Vault is unsealed.
    pub seal: Seal,
    /// The servers' data outlives `down`.
    pub persist: bool,
    /// OpenBao takes audit devices over its API too, as HashiCorp Vault does.
    #[serde(default)]
    pub api_audit: bool,
    /// The servers beside AWS and Vault.
    #[serde(default)]
    pub with: BTreeSet<Extra>,
}

/// A server that a sandbox has on request, beside AWS and Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extra {
    /// A PostgreSQL server.
    Postgres,
    /// A Kubernetes API server with its etcd.
    Kubernetes,
}

impl Default for Settings {
    fn default() -> Self {
        let vault = VaultServer::Pinned(OpenBao::Current);
        let seal = Seal::Shamir;
        Self { nodes: 1, tls: false, vault, seal, persist: false, api_audit: false, with: BTreeSet::new() }
    }
}

impl Settings {
    /// Refuses settings that cannot work, before anything is installed or started.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_NODES).contains(&self.nodes) {
            return Err(Error::Nodes { asked: self.nodes });
        }
        let plugin_only = self.vault == VaultServer::Pinned(OpenBao::Current);
        if plugin_only && matches!(self.seal, Seal::AwsKms { .. }) {
            return Err(Error::NoKmsSeal);
        }
        Ok(())
    }
}

/// Which server plays Vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VaultServer {
    /// An OpenBao installed into the cache folder.
    Pinned(OpenBao),
    /// This binary, OpenBao or HashiCorp Vault.
    Path(PathBuf),
    /// `bao`, else `vault`, from the search path.
    OnPath,
}

/// The OpenBao versions whose hashes are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenBao {
    /// The sandbox's default version.
    #[serde(rename = "2.7.2")]
    Current,
    /// The last line with the `awskms` seal in its binary; later ones need a plugin for it.
    #[serde(rename = "2.6.2")]
    WithKmsSeal,
}

impl OpenBao {
    /// The version as the project writes it.
    pub fn version(self) -> &'static str {
        match self {
            Self::Current => "2.7.2",
            Self::WithKmsSeal => "2.6.2",
        }
    }
}

/// How Vault is unsealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seal {
    /// By key shares.
    Shamir,
    /// By itself, with a key in its configuration.
    Static,
    /// By itself, with a key in the sandbox's AWS; a missing alias is created.
    AwsKms {
        /// A key id, or a name that starts with `alias/`.
        key: String,
    },
}

/// The paths that the sandbox uses on this machine, as a value, so that a test can change them.
#[derive(Clone, Debug)]
pub struct Host {
    /// The folder in which the servers' programs are installed, once for all sandboxes; `None` when the
    /// environment names none.
    pub cache: Option<PathBuf>,
    /// The search path for `python3`, `bao`, `vault` and `go`.
    pub path: OsString,
}

impl Host {
    /// `GROUNDWORK_CACHE`, `XDG_CACHE_HOME` or `~/.cache`, and `PATH`.
    pub fn from_env() -> Self {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = folder("GROUNDWORK_CACHE")
            .or_else(|| folder("XDG_CACHE_HOME").map(|base| base.join("groundwork")))
            .or_else(|| folder("HOME").map(|home| home.join(".cache/groundwork")));
        Self { cache, path: std::env::var_os("PATH").unwrap_or_default() }
    }

    /// The first executable called `name` on the search path.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|file| is_executable(file))
    }
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_counts_out_of_range_are_refused() {
        for (nodes, ok) in [(0, false), (1, true), (7, true), (8, false)] {
            assert_eq!(Settings { nodes, ..Settings::default() }.check().is_ok(), ok, "{nodes}");
        }
    }

    #[test]
    fn kms_seal_requires_a_supporting_server() {
        let seal = Seal::AwsKms { key: "alias/unseal".to_owned() };
        let mut settings = Settings { seal, ..Settings::default() };
        assert!(settings.check().is_err_and(|error| error.to_string().contains("2.6.2")));
        settings.vault = VaultServer::Pinned(OpenBao::WithKmsSeal);
        assert!(settings.check().is_ok());
    }

    #[test]
    fn empty_search_path_finds_nothing() {
        let host = Host { cache: None, path: OsString::new() };
        assert_eq!(host.find("sh"), None);
        assert!(Host { path: "/bin".into(), ..host }.find("sh").is_some());
    }
}
