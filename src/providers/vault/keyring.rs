//! The keys below the shares: the keyring that encrypts the storage, and the root key that encrypts the keyring.
//! <https://openbao.org/api-docs/system/rotate/>

use serde_json::json;

use super::{Rekey, VaultClient};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Entry;
use crate::permit::Permit;
use crate::place::Place;
use crate::resource::Provided;
use crate::run::Run;

/// The operation under which the journal knows a new key in the keyring.
const KEYRING: &str = "sys/rotate";
/// The operation under which the journal knows a new root key.
const ROOT_KEY: &str = "sys/rotate/root";

/// Adds a key to the keyring, with which the server encrypts from then on. Gives the number of the key before and of the
/// new one. A run that was cut off after the server had done it does not do it again.
///
/// # Errors
/// When the server refuses, or does not use a new key afterwards.
pub async fn rotate_keyring(run: &Run, permit: &Permit) -> Result<(u64, u64)> {
    let vault = VaultClient::provide(run, &Place::OWN).await?;
    let (operation, target) = (KEYRING.to_owned(), vault.address().to_owned());
    let now = term(&vault).await?;
    let begun = run.journal.open_intent(KEYRING, &target).and_then(|record| match record.entry {
        Entry::Intent { detail, .. } => detail.first()?.parse().ok(),
        _ => None,
    });
    let before = match begun {
        Some(before) if before < now => before,
        _ => {
            let detail = vec![now.to_string()];
            let (operation, target) = (operation.clone(), target.clone());
            run.journal
                .append(permit, Entry::Intent { step: "rotate".to_owned(), operation, target, detail })
                .await?;
            vault.post(permit, KEYRING, &json!({})).await?;
            now
        }
    };
    let after = term(&vault).await?;
    if after <= before {
        let message = format!("the server still encrypts with key {after}");
        return Err(Error::new(ErrorKind::Unknown, "rotate the keyring", message)
            .advice("look at `sys/key-status`, then run again"));
    }
    let detail = vec![format!("key {before} to {after}")];
    run.journal.append(permit, Entry::Committed { operation, target, detail }).await?;
    Ok((before, after))
}

/// The number of the key that the server encrypts with.
async fn term(vault: &VaultClient) -> Result<u64> {
    let status = vault.get("sys/key-status").await?.unwrap_or_default();
    status["term"].as_u64().ok_or_else(|| {
        Error::new(ErrorKind::Unavailable, "look at the keyring", "the server does not say which key it uses")
            .advice("check that the address is Vault's and no proxy's")
    })
}

/// Replaces the root key under the same shares. Gives whether shares in custody were proven to open it afterwards.
///
/// # Errors
/// `Rejected` when the server cannot; `Unknown` when the shares in custody do not open the key afterwards.
pub async fn rotate_root_key(run: &Run, permit: &Permit) -> Result<bool> {
    let rekey = Rekey::of(run).await?;
    let vault = VaultClient::provide(run, &Place::OWN).await?;
    let (operation, target) = (ROOT_KEY.to_owned(), vault.address().to_owned());
    let intent = Entry::Intent {
        step: "rotate".to_owned(),
        operation: operation.clone(),
        target: target.clone(),
        detail: Vec::new(),
    };
    run.journal.append(permit, intent).await?;
    vault.post(permit, ROOT_KEY, &json!({})).await.map_err(|error| match error.kind {
        ErrorKind::Rejected => error.advice(
            "HashiCorp Vault replaces the root key only together with the shares: `groundwork rotate PLAN --shares`",
        ),
        ErrorKind::Denied => error.advice("the admin's policy needs `\"sys/rotate/root\": [ update, sudo ]`"),
        _ => error,
    })?;
    let proven = rekey.current_shares_open(permit).await?;
    if proven == Some(false) {
        let message = "the shares in custody no longer open the key";
        return Err(Error::new(ErrorKind::Unknown, "rotate the root key", message)
            .advice("do not restart or seal a server before a person has looked at it"));
    }
    run.journal.append(permit, Entry::Committed { operation, target, detail: Vec::new() }).await?;
    Ok(proven.is_some())
}
