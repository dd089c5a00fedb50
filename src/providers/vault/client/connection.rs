//! Where a cluster is, and how it is spoken to: addresses, TLS, time limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, Url, redirect};

use super::super::error::explain;
use crate::confined_path;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::net::timeout::at_most;
use crate::net::{endpoint, http};
use crate::providers::vault::settings::VaultSettings;
use crate::trace::public;
use crate::trust::{self, Grant, Subject, Trust};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer, Vault's own default.
pub(in crate::providers::vault) const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// The cluster's address: the plan's, `VAULT_ADDR`, or that of the first node.
///
/// # Errors
/// When none of them is known.
pub(super) fn cluster_address(settings: &VaultSettings, environment: &Environment) -> Result<String> {
    let declared = settings.address.clone().or_else(|| environment.text("VAULT_ADDR").map(str::to_owned));
    declared.or_else(|| settings.nodes.first().cloned()).ok_or_else(|| {
        Error::new(ErrorKind::Local, "connect to Vault", "no address is known")
            .advice("declare `vault.address` in the plan or set VAULT_ADDR")
    })
}

/// The nodes that the plan names, else those of `GROUNDWORK_VAULT_NODES`, separated by commas.
pub(super) fn node_addresses(settings: &VaultSettings, environment: &Environment) -> Vec<String> {
    if settings.nodes.is_empty() { callers_nodes(environment) } else { settings.nodes.clone() }
}

fn callers_nodes(environment: &Environment) -> Vec<String> {
    let nodes = environment.text("GROUNDWORK_VAULT_NODES").unwrap_or_default();
    nodes.split(',').map(str::trim).filter(|node| !node.is_empty()).map(str::to_owned).collect()
}

/// The addresses of nodes that come from the caller's environment. A plan may list nodes itself, and the
/// caller's word on one of them counts all the same.
pub(super) fn named_by_caller(settings: &VaultSettings, environment: &Environment) -> Vec<String> {
    let address = environment.text("VAULT_ADDR").filter(|_| settings.address.is_none());
    address.map(str::to_owned).into_iter().chain(callers_nodes(environment)).collect()
}

/// # Errors
/// When it is not the address of a server, or is one that must not be used.
pub(super) fn parse_address(address: &str, environment: &Environment) -> Result<Url> {
    let wrong = |why: String| {
        let shown = public(address);
        Error::new(ErrorKind::Local, "connect to Vault", format!("the address `{shown}` {why}"))
            .advice("write it as https://HOST:PORT")
    };
    let url = Url::parse(address).map_err(|error| wrong(format!("is not a URL: {error}")))?;
    match url.scheme() {
        "http" | "https" if url.path() == "/" && url.query().is_none() => {
            endpoint::require_vault(address, environment).map(|()| url)
        }
        "http" | "https" => Err(wrong("has a path; Vault's address is only a host and a port".to_owned())),
        _ => Err(wrong("is neither http nor https".to_owned())),
    }
}

/// The certificates by which servers may prove who they are. It keeps the bytes that were read, so that
/// the certificates that the caller allowed are the ones that are used.
#[derive(Debug)]
pub struct Authority {
    path: PathBuf,
    pem: Vec<u8>,
}

impl Authority {
    fn of(path: &Path, read: std::io::Result<Vec<u8>>) -> Result<Self> {
        match read {
            Ok(pem) => Ok(Self { path: path.to_owned(), pem }),
            Err(error) => Err(unusable(path, error.to_string())),
        }
    }

    /// The permission that it takes when a plan names it.
    pub fn grant(&self) -> Grant {
        Grant::new(Subject::Ca, trust::digest(&self.pem))
    }

    /// The SHA-256 of the file, `sha256:…`.
    pub(super) fn fingerprint(&self) -> String {
        format!("sha256:{}", trust::digest(&self.pem))
    }

    /// The file's text, for nodes that this run asks to join.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.pem).ok()
    }

    fn certificates(&self) -> Result<Vec<Certificate>> {
        let found = Certificate::from_pem_bundle(&self.pem);
        let found = found.map_err(|error| unusable(&self.path, explain(&error)))?;
        match found.is_empty() {
            true => Err(unusable(&self.path, "there is no certificate in it".to_owned())),
            false => Ok(found),
        }
    }
}

fn unusable(path: &Path, why: String) -> Error {
    Error::new(ErrorKind::Local, format!("read {}", path.display()), why)
        .advice("`vault.ca_cert` or VAULT_CACERT must name a PEM file with the authority's certificate")
}

/// The authority that the plan names, a file below its folder; `None` when it names none.
pub fn declared_authority(settings: &VaultSettings, folder: &Path) -> Option<Result<Authority>> {
    let path = settings.ca_cert.as_ref()?;
    Some(Authority::of(path, confined_path::read_existing(folder, path, confined_path::KEY)))
}

/// The plan's authority, if the caller allows it; else that of the variable, relative to the working
/// directory.
///
/// # Errors
/// When it cannot be read; `Denied` when the caller has not allowed the plan's.
pub(super) fn authority(settings: &VaultSettings, folder: &Path, trust: &Trust) -> Result<Option<Authority>> {
    if let Some(declared) = declared_authority(settings, folder).transpose()? {
        let why = format!("{} is the plan's, and would say who the servers are", declared.path.display());
        trust.require(&declared.grant(), "connect to Vault", &why)?;
        return Ok(Some(declared));
    }
    callers_authority(trust.environment()).transpose()
}

fn callers_authority(environment: &Environment) -> Option<Result<Authority>> {
    let path = PathBuf::from(environment.text("VAULT_CACERT")?);
    Some(Authority::of(&path, confined_path::read_caller_file(&path, confined_path::KEY)))
}

/// Requires that this server may be sent a token, or what a login takes.
///
/// # Errors
/// `Denied` when the caller has not allowed it.
pub(super) fn admit(server: &Url, trust: &Trust) -> Result<()> {
    let wanted = Grant::new(Subject::Vault, server.as_str());
    let why = format!("{} is not a server that you have allowed to get Vault credentials", wanted.value);
    trust.require(&wanted, "connect to Vault", &why)
}

/// A client that follows no redirect and repeats nothing.
///
/// # Errors
/// When the authority's certificate cannot be used.
pub(super) fn http_client(
    address: &Url,
    authority: Option<&Authority>,
    environment: &Environment,
) -> Result<reqwest::Client> {
    let certificates = authority.map(Authority::certificates).transpose()?;
    built(builder(address, certificates, environment)?)
}

/// The same, which proves its own identity by this certificate and key, in PEM. `ca` are the certificates of the
/// cluster's own authority.
///
/// # Errors
/// `Local` when these are not a certificate and its key.
pub(super) fn client_with_identity(
    address: &Url,
    ca: Option<&str>,
    environment: &Environment,
    pem: &[u8],
) -> Result<reqwest::Client> {
    let unusable = |error: reqwest::Error| {
        Error::new(ErrorKind::Local, "use the certificate that was given", explain(&error))
            .advice("give a file with a certificate and its key, both in PEM")
    };
    let identity = reqwest::Identity::from_pem(pem).map_err(unusable)?;
    let ca = ca.map(|ca| Certificate::from_pem_bundle(ca.as_bytes())).transpose().map_err(unusable)?;
    built(builder(address, ca, environment)?.identity(identity))
}

/// A client of a server that listens on a socket, whatever the address of a request.
///
/// # Errors
/// When it cannot be made.
pub(super) fn socket_client(socket: &Path, address: &Url) -> Result<reqwest::Client> {
    built(builder(address, None, &Environment::default())?.unix_socket(socket))
}

fn builder(
    address: &Url,
    certificates: Option<Vec<Certificate>>,
    environment: &Environment,
) -> Result<reqwest::ClientBuilder> {
    let builder = http::client(environment)?
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(endpoint::GuardedResolver))
        .retry(reqwest::retry::never())
        .tls_info(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(at_most(REQUEST_TIMEOUT))
        .user_agent(concat!("groundwork/", env!("CARGO_PKG_VERSION")));
    Ok(match certificates {
        Some(certificates) => builder.tls_certs_only(certificates),
        // Reading the system's authorities takes milliseconds and needs them to exist.
        None if address.scheme() == "http" => builder.tls_certs_only([]),
        None => builder,
    })
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder.build().map_err(|error| Error::new(ErrorKind::Local, "connect to Vault", explain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_address(address: &str) -> Result<Url> {
        super::parse_address(address, &Environment::default())
    }

    #[test]
    fn addresses_are_checked_before_use() {
        assert!(parse_address("https://vault.example:8200").is_ok());
        for wrong in ["vault:8200", "ftp://vault", "https://vault/ui", ""] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
        for wrong in ["root:hunter2@vault:8200", "ftp://root:hunter2@vault", "https://root:hunter2@vault/ui"]
        {
            let error = parse_address(wrong).expect_err(wrong).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
