//! The plan's own login to a server that has gone back in time.
//!
//! A restore brings back what was revoked since the backup, the root token for instance, and forgets what was made
//! since, such as the admin's newest secret-id.

use serde_json::Value;

use super::VaultClient;
use super::custodian::{Admin, Custodian, Initialisation, Unlocked};
use super::root_token::Approle;
use crate::custody::Custody;
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::secret::Secret;

/// A token by what custody had before: earlier credentials of the admin, then the root token if it lives.
pub(super) async fn token_of_before(
    custody: &Custody,
    which: &Initialisation,
    vault: &VaultClient,
) -> Result<Option<Secret>> {
    let name = which.admin();
    for version in custody.versions(&name).await?.into_iter().rev() {
        let Some(kept) = custody.get_version(&name, version).await.ok().flatten() else { continue };
        if let Ok(admin) = Admin::of_secret(&name, &kept)
            && let Ok(token) = admin.login(vault).await
        {
            return Ok(Some(token));
        }
    }
    let Some(unlocked) = Unlocked::read(custody, which).await? else { return Ok(None) };
    let root = unlocked.root_token()?;
    Ok(lives(vault, &root).await?.then_some(root))
}

/// Whether the server knows the token.
async fn lives(vault: &VaultClient, token: &Secret) -> Result<bool> {
    match vault.bearing(token.clone(), Value::Null).ask("auth/token/lookup-self", None).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == ErrorKind::Denied => Ok(false),
        Err(error) => Err(error),
    }
}

impl Custodian {
    /// Puts the plan's login in order after a restore: the admin in custody can log in, and a root token that had
    /// been revoked, and came back, is revoked again. Returns what was done, in words.
    ///
    /// # Errors
    /// When the server refuses, or custody does not take a new credential.
    pub async fn regain(&self, permit: &Permit) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let Some(which) = self.initialisation_to_use().await? else { return Ok(done) };
        let Some(admin) = Admin::read(&self.custody, &which).await? else { return Ok(done) };
        if !which.has(&self.custody, &which.revoked()).await? {
            return Ok(done);
        }
        let approle = Approle { mount: admin.mount.clone(), role: admin.role.clone() };
        let works = admin.login(&self.vault).await;
        let root = Unlocked::read(&self.custody, &which).await?;
        let root = root.map(|unlocked| unlocked.root_token()).transpose()?;
        let root = match root {
            Some(root) if lives(&self.vault, &root).await? => Some(root),
            _ => None,
        };
        if let Err(error) = &works {
            if !is_refused(error) {
                return works.map(|_| done);
            }
            let token = token_of_before(&self.custody, &which, &self.vault).await?;
            let Some(token) = token else {
                return works.map(|_| done);
            };
            self.vault.set_token(token).await;
            self.appoint(permit, &which, &approle).await?;
            done.push(format!(
                "the admin's login in custody was younger than the backup; {} has a new one",
                approle.role
            ));
        }
        if let Some(root) = root {
            let token = Admin::read(&self.custody, &which).await?.unwrap_or(admin).login(&self.vault).await?;
            self.end(permit, "restore", &which, &approle, &token, root).await?;
            done.push("the root token had come back, and is revoked again".to_owned());
        }
        self.vault.clear_token().await;
        Ok(done)
    }
}

/// Whether the server does not know a credential.
pub(super) fn is_refused(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Denied | ErrorKind::Rejected)
}
