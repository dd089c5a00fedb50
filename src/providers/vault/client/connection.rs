//! Where a cluster is, and how it is spoken to: addresses, TLS, time limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, Url, redirect};
use sha2::{Digest, Sha256};

use super::super::error::explain;
use crate::plan::settings::VaultSettings;
use crate::providers::timeout::at_most;
use crate::providers::{endpoint, http};
use crate::resource::{Error, ErrorKind, Result};
use crate::trace::public;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer, Vault's own default.
pub(in crate::providers::vault) const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// The largest authority's file whose fingerprint is shown, in bytes.
const MAX_CA: u64 = 1024 * 1024;

/// What the environment says, unless it is empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The cluster's address: the plan's, `VAULT_ADDR`, or that of the first node.
///
/// # Errors
/// When none of them is known.
pub(super) fn cluster_address(settings: &VaultSettings) -> Result<String> {
    let declared = settings.address.clone().or_else(|| variable("VAULT_ADDR"));
    declared.or_else(|| settings.nodes.first().cloned()).ok_or_else(|| {
        Error::new(ErrorKind::Local, "connect to Vault", "no address is known")
            .advice("declare `vault.address` in the plan or set VAULT_ADDR")
    })
}

/// The nodes that the plan names, else those of `GROUNDWORK_VAULT_NODES`, separated by commas.
pub(super) fn node_addresses(settings: &VaultSettings) -> Vec<String> {
    if settings.nodes.is_empty() {
        let nodes = variable("GROUNDWORK_VAULT_NODES").unwrap_or_default();
        return nodes.split(',').filter(|node| !node.is_empty()).map(str::to_owned).collect();
    }
    settings.nodes.clone()
}

/// # Errors
/// When it is no address of a server, or one that must not be used.
pub(super) fn parse_address(address: &str) -> Result<Url> {
    let wrong = |why: String| {
        let shown = public(address);
        Error::new(ErrorKind::Local, "connect to Vault", format!("the address `{shown}` {why}"))
            .advice("write it as https://HOST:PORT")
    };
    let url = Url::parse(address).map_err(|error| wrong(format!("is no URL: {error}")))?;
    match url.scheme() {
        "http" | "https" if url.path() == "/" && url.query().is_none() => {
            endpoint::require_vault(address).map(|()| url)
        }
        "http" | "https" => Err(wrong("has a path; Vault is addressed by host and port alone".to_owned())),
        _ => Err(wrong("is neither http nor https".to_owned())),
    }
}

/// The plan's CA is relative to its folder; the variable's to the working directory.
pub(super) fn ca_cert(settings: &VaultSettings, folder: &Path) -> Option<PathBuf> {
    let declared = settings.ca_cert.as_ref().map(|path| folder.join(path));
    declared.or_else(|| variable("VAULT_CACERT").map(PathBuf::from))
}

/// The SHA-256 of the authority's file, `sha256:…`. `None` when the system's authorities decide, or it
/// cannot be read.
pub fn ca_fingerprint(settings: &VaultSettings, folder: &Path) -> Option<String> {
    let path = ca_cert(settings, folder)?;
    let small = path.metadata().is_ok_and(|file| file.is_file() && file.len() <= MAX_CA);
    let bytes = small.then(|| std::fs::read(path))?.ok()?;
    Some(format!("sha256:{}", hex::encode(Sha256::digest(bytes))))
}

/// A client that follows no redirect and repeats nothing.
///
/// # Errors
/// When the authority's certificate is no good.
pub(super) fn http_client(address: &Url, ca_cert: Option<&Path>) -> Result<reqwest::Client> {
    let mut builder = http::client()?
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(endpoint::GuardedResolver))
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(at_most(REQUEST_TIMEOUT))
        .user_agent(concat!("groundwork/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_cert {
        builder = builder.tls_certs_only(certificates(path)?);
    } else if address.scheme() == "http" {
        // Reading the system's authorities takes milliseconds and needs them to exist.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| Error::new(ErrorKind::Local, "connect to Vault", explain(&error)))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>> {
    let failed = |why: String| {
        Error::new(ErrorKind::Local, format!("read {}", path.display()), why)
            .advice("`vault.ca_cert` or VAULT_CACERT must name a PEM file with the authority's certificate")
    };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| failed(explain(&error)))?;
    if found.is_empty() { Err(failed("there is no certificate in it".to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
