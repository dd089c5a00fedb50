//! Moving a server to another seal: from key shares to a key that it reaches by itself, or back.
//! <https://openbao.org/docs/concepts/seal/#seal-migration>
//!
//! The server is restarted with the configuration of the new seal, gets the present shares with the consent to move, and
//! moves the data. The shares stay the same: those of the unseal key become those of the recovery key, and the other way
//! round.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind, Result};
use crate::journal::Entry;
use crate::permit::Permit;
use crate::providers::vault::SealStatus;
use crate::providers::vault::custodian::Custodian;

/// The operation under which the journal knows a migration.
const MIGRATE: &str = "migrate the seal";

impl Custodian {
    /// Lets this run move servers to another seal, and records from which one it does. A run after one that was cut off
    /// goes by its record.
    ///
    /// # Errors
    /// When there are several servers, none answers, or the journal cannot be written.
    pub async fn begin_migration(&self, permit: &Permit) -> Result<()> {
        self.vault.allow_migration()?;
        let (operation, target) = (MIGRATE.to_owned(), self.vault.address().to_owned());
        if self.journal.open_intent(MIGRATE, &target).is_some() {
            return Ok(());
        }
        // One that has been started with the other seal already does not say what it had.
        let mut statuses = self.seal_statuses().await?;
        statuses.retain(|(_, status)| !status.migration);
        let detail: Vec<String> = seals(&statuses).into_iter().collect();
        self.journal
            .append(permit, Entry::Intent { step: "restart".to_owned(), operation, target, detail })
            .await
    }

    /// Requires that every server is open with one seal, which is another one than before, and records that. Returns it.
    ///
    /// # Errors
    /// `Unavailable` when a server is not there yet: then the same command is run again.
    pub async fn end_migration(&self, permit: &Permit) -> Result<String> {
        let (operation, target) = (MIGRATE.to_owned(), self.vault.address().to_owned());
        let before = match self.journal.open_intent(MIGRATE, &target).map(|record| record.entry) {
            Some(Entry::Intent { detail, .. }) => detail,
            _ => Vec::new(),
        };
        let statuses = self.seal_statuses().await?;
        let seal = arrived(&statuses, &before).map_err(|message| {
            Error::new(ErrorKind::Unavailable, MIGRATE, message).advice(
                "check the configuration that the servers were started with, then run the same command again",
            )
        })?;
        let detail = vec![format!("{} to {seal}", before.join(", "))];
        self.journal.append(permit, Entry::Committed { operation, target, detail }).await?;
        Ok(seal)
    }

    async fn seal_statuses(&self) -> Result<Vec<(String, SealStatus)>> {
        let mut statuses = Vec::new();
        for node in self.vault.nodes() {
            statuses.push((node.address().to_owned(), node.seal_status().await?));
        }
        Ok(statuses)
    }
}

fn seals(statuses: &[(String, SealStatus)]) -> BTreeSet<String> {
    statuses.iter().map(|(_, status)| status.seal.clone()).collect()
}

/// The seal at which every server has arrived, which none of them had before; otherwise the reason.
fn arrived(statuses: &[(String, SealStatus)], before: &[String]) -> std::result::Result<String, String> {
    if let Some((address, _)) = statuses.iter().find(|(_, status)| status.sealed) {
        return Err(format!("{address} is sealed"));
    }
    if let Some((address, _)) = statuses.iter().find(|(_, status)| status.migration) {
        return Err(format!("{address} has not moved yet"));
    }
    let seals: Vec<String> = seals(statuses).into_iter().collect();
    match seals.as_slice() {
        [one] if before.contains(one) => Err(format!("every server still has the seal {one}")),
        [one] => Ok(one.clone()),
        several => Err(format!("the servers have different seals: {}", several.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn migration_ends_when_all_servers_have_the_other_seal() {
        let node = |address: &str, seal: &str, sealed: bool, migration: bool| {
            let status =
                json!({ "type": seal, "initialized": true, "sealed": sealed, "migration": migration });
            (address.to_owned(), serde_json::from_value::<SealStatus>(status).expect("a status"))
        };
        let before = ["shamir".to_owned()];
        let at = |nodes: &[(String, SealStatus)]| arrived(nodes, &before);
        let done = node("a", "static", false, false);
        assert_eq!(at(&[done.clone(), node("b", "static", false, false)]).as_deref(), Ok("static"));
        assert!(at(&[done.clone(), node("b", "static", true, false)]).is_err_and(|why| why == "b is sealed"));
        assert!(
            at(&[done.clone(), node("b", "shamir", false, true)]).is_err_and(|why| why.contains("b has not"))
        );
        assert!(
            at(&[done, node("b", "shamir", false, false)]).is_err_and(|why| why.contains("shamir, static"))
        );
        assert!(at(&[node("a", "shamir", false, false)]).is_err_and(|why| why.contains("still has")));
    }
}
