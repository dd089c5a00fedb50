//! Which of the shares in custody open the servers.

use super::ceremony::foreign;
use super::unsealing::{Opened, ask_nodes, open_nodes};
use crate::error::{ErrorKind, Result};
use crate::permit::Permit;
use crate::providers::vault::custodian::{Custodian, Initialisation};
use crate::providers::vault::generation::Generation;
use crate::secret::Secret;

impl Custodian {
    /// Unseals with the shares that custody takes for the present ones. Servers that refuse these have those of another
    /// generation: a rekey was cut off before it was recorded, or a backup of another time was restored.
    pub(super) async fn open_with_any(&self, permit: &Permit, which: &Initialisation) -> Result<Opened> {
        let known = (&*self.vault, &self.proof);
        let mut all = self.shares_to_try(which).await?.into_iter();
        let (_, shares) = all.next().ok_or_else(|| foreign(self.vault.address()))?;
        let mut opened = open_nodes(known, permit, Some(which), &shares).await;
        for (other, shares) in all {
            if !is_refused(&opened) {
                break;
            }
            let tried = open_nodes(known, permit, Some(which), &shares).await;
            if tried.is_ok() && !is_refused(&tried) {
                self.take_for_current(permit, &other).await?;
                opened = tried;
            }
        }
        opened
    }

    /// The shares of each generation, those that custody takes for the present ones first, unless there are too few of
    /// them for a sealed server.
    async fn shares_to_try(&self, which: &Initialisation) -> Result<Vec<(Generation, Vec<Secret>)>> {
        let (mut all, generations) = (Vec::new(), which.generations(&self.custody).await?);
        for generation in generations {
            let shares = generation.shares(&self.custody).await?;
            if all.is_empty() || !shares.is_empty() {
                all.push((generation, shares));
            }
        }
        if all.len() > 1 {
            let nodes = ask_nodes(&self.vault).await?;
            let sealed = nodes.iter().filter(|node| node.status.sealed && !node.status.recovery_seal);
            let needed = sealed.map(|node| node.status.threshold).max().unwrap_or_default() as usize;
            all.sort_by_key(|(_, shares)| shares.len() < needed);
        }
        Ok(all)
    }

    async fn take_for_current(&self, permit: &Permit, generation: &Generation) -> Result<()> {
        self.vault.warnings().insert(format!(
            "other key shares open {} than custody took for the present ones: those in {}",
            self.vault.address(),
            generation.describe()
        ));
        match self.journal.can_append() {
            true => generation.make_current(&self.custody, permit).await,
            false => Ok(()),
        }
    }
}

/// Whether a node says that the shares are of another key.
fn is_refused(opened: &Result<Opened>) -> bool {
    match opened {
        Ok(opened) => opened.refusals.iter().any(|(_, error)| error.kind == ErrorKind::Rejected),
        Err(error) => error.kind == ErrorKind::Rejected,
    }
}
