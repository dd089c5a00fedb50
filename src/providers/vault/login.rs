//! A token for a command that a person runs.

use std::sync::Arc;

use super::custodian::{Admin, Custodian};
use crate::error::{Error, ErrorKind, Result};
use crate::place::Place;
use crate::resource::Provided;
use crate::run::Run;
use crate::secret::Secret;

/// The admin's token, made for one purpose and ended after it. It is never the root token, which
/// must not be handed out, and whose end is a step of its own.
pub struct Login {
    custodian: Arc<Custodian>,
    token: Secret,
}

impl Login {
    /// Logs in as the admin whose credential custody keeps.
    ///
    /// # Errors
    /// When custody has no admin for this cluster, or the server refuses it.
    pub async fn begin(run: &Run) -> Result<Self> {
        let custodian = Custodian::provide(run, &Place::OWN).await?;
        let Some(which) = custodian.initialisation_to_use().await? else { return Err(no_admin(&custodian)) };
        let admin = Admin::read(&custodian.custody, &which).await?;
        let Some(admin) = admin else { return Err(no_admin(&custodian)) };
        let token = admin.login(&custodian.vault).await?;
        Ok(Self { custodian, token })
    }

    /// The token.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// The cluster's address.
    pub fn address(&self) -> &str {
        self.custodian.vault.address()
    }

    /// Revokes the token.
    ///
    /// # Errors
    /// When the server does not confirm it; the token then ends with its time to live.
    pub async fn end(self) -> Result<()> {
        self.custodian.vault.log_out(&self.token).await
    }
}

fn no_admin(custodian: &Custodian) -> Error {
    let message = format!("custody has no admin for {}", custodian.vault.address());
    Error::new(ErrorKind::Unauthenticated, "log in to Vault", message)
        .advice("apply a plan with a `vault.root_token` step: it puts the admin's credential into custody")
}
