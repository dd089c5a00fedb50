//! How a server lets a new root token be made.

use serde_json::Value;

use super::super::VaultClient;
use crate::error::{Error, ErrorKind, Result};

/// How a new root token is made from key shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootGeneration {
    /// By every caller with enough shares: HashiCorp Vault, older OpenBao, and a newer OpenBao with
    /// `disable_unauthed_generate_root_endpoints=false`.
    Anybody,
    /// By a token that may, together with the shares: OpenBao, which answers 405 to the other path.
    WithToken,
}

impl RootGeneration {
    /// Asks the server. Both kinds of servers have several versions and settings that matter, so
    /// what is asked is whether the path works, not what the server calls itself.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn of(vault: &VaultClient) -> Result<Self> {
        Self::from_answer(vault.get(Self::Anybody.attempt()).await)
    }

    fn from_answer(answer: Result<Option<Value>>) -> Result<Self> {
        let refused = [ErrorKind::Rejected, ErrorKind::Denied];
        match answer {
            Ok(Some(_)) => Ok(Self::Anybody),
            Ok(None) => Ok(Self::WithToken),
            Err(error) if refused.contains(&error.kind) => Ok(Self::WithToken),
            Err(error) => Err::<_, Error>(error),
        }
    }

    /// Where an attempt is begun, looked at and cancelled.
    pub fn attempt(self) -> &'static str {
        match self {
            Self::Anybody => "sys/generate-root/attempt",
            Self::WithToken => "sys/generate-root-token/attempt",
        }
    }

    /// Where shares are entered.
    pub fn update(self) -> &'static str {
        match self {
            Self::Anybody => "sys/generate-root/update",
            Self::WithToken => "sys/generate-root-token/update",
        }
    }

    /// Whether a token is needed besides the shares.
    pub fn needs_token(self) -> bool {
        self == Self::WithToken
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn response_determines_the_root_generation_method() {
        let failed = |kind| RootGeneration::from_answer(Err(Error::new(kind, "GET", "no")));
        let hashicorp = RootGeneration::from_answer(Ok(Some(json!({ "started": false }))));
        assert_eq!(hashicorp.expect("known"), RootGeneration::Anybody);
        assert_eq!(failed(ErrorKind::Rejected).expect("405"), RootGeneration::WithToken);
        assert!(failed(ErrorKind::Unavailable).is_err(), "a server that is away is no answer");
    }
}
