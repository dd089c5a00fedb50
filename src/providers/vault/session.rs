//! Where the token of a run comes from.

use std::path::PathBuf;

use async_trait::async_trait;

use super::VaultClient;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// A place that may have a token. Asked once per run, at the first request that needs one.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// The token, or `None` when this place has none. It may log in through `client`, but must
    /// not send requests that need a token themselves.
    async fn token(&self, client: &VaultClient) -> Result<Option<Secret>>;

    /// The place in words, for the advice when no place has a token: `VAULT_TOKEN`.
    fn describe(&self) -> String;
}

/// The environment variable `VAULT_TOKEN`.
#[derive(Debug)]
pub struct EnvToken;

#[async_trait]
impl TokenSource for EnvToken {
    async fn token(&self, client: &VaultClient) -> Result<Option<Secret>> {
        Ok(client.environment().text("VAULT_TOKEN").map(|token| Secret::from(token.to_owned())))
    }

    fn describe(&self) -> String {
        "VAULT_TOKEN".to_owned()
    }
}

/// The file `~/.vault-token`, which `vault login` and `bao login` write.
#[derive(Debug)]
pub struct HomeToken;

#[async_trait]
impl TokenSource for HomeToken {
    async fn token(&self, client: &VaultClient) -> Result<Option<Secret>> {
        let Some(home) = client.environment().value("HOME") else { return Ok(None) };
        let path = PathBuf::from(home).join(".vault-token");
        match tokio::fs::read(&path).await {
            Ok(bytes) => Ok(Some(Secret::new(bytes.trim_ascii().to_vec())).filter(|token| !token.is_empty())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::new(ErrorKind::Local, "read ~/.vault-token", error.to_string())
                .advice("make it readable for yourself, remove it, or set VAULT_TOKEN")),
        }
    }

    fn describe(&self) -> String {
        "~/.vault-token".to_owned()
    }
}
