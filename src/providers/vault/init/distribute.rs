//! The holders' shares: who has theirs, and giving each what is missing.

use std::collections::BTreeSet;

use super::ceremony::foreign;
use super::{Desired, Handed, Observed};
use crate::custody::{Handout, Holder, HolderKey};
use crate::error::Result;
use crate::permit::Permit;
use crate::providers::vault::custodian::{Custodian, Initialisation, Unlocked, without_shares};
use crate::secret::Secret;

impl Custodian {
    /// Looks up the shares in custody: those in the answer, and those of single holders.
    pub(super) async fn look_at_shares(
        &self,
        which: &Initialisation,
        keys: Vec<(String, HolderKey)>,
        observed: &mut Observed,
    ) -> Result<()> {
        // The first version is the answer as it came; a later one is without the shares.
        observed.shares_kept = self.custody.versions(&which.answer()).await?.contains(&1);
        let handed = which.holders(&self.custody).await?;
        let is_stranger = |name: &&String| !keys.iter().any(|(known, _)| known == *name);
        observed.strangers = handed.iter().filter(is_stranger).cloned().collect();
        for (name, key) in keys {
            let found = match handed.contains(&name) {
                true => self.custody.handout(&which.holder(&name)).await?,
                false => None,
            };
            let handed = match found {
                None => Handed::Nothing,
                Some(handout) if handout.holder_key == key.id() => Handed::Share,
                Some(_) => Handed::OtherKey,
            };
            observed.holders.insert(name, handed);
        }
        Ok(())
    }

    /// Gives each holder their share; then, if the plan says so, custody forgets the shares.
    ///
    /// Vault could encrypt for the holders itself. It gets the run's own key nevertheless. The run
    /// can then prove the answer, by unsealing with it, before any holder depends on it; a key that
    /// its owner cannot use is found while the shares still exist elsewhere; and a run that is
    /// interrupted at any moment leaves at least one copy from which the next run continues.
    pub(super) async fn distribute(
        &self,
        permit: &Permit,
        which: &Initialisation,
        desired: &Desired,
    ) -> Result<()> {
        if desired.holders.is_empty() {
            return Ok(());
        }
        let unlocked = Unlocked::read(&self.custody, which).await?;
        let shares = unlocked.ok_or_else(|| foreign(self.vault.address()))?.shares()?;
        if !shares.is_empty() {
            self.hand_out(permit, which, desired, &shares).await?;
        }
        match desired.keep_shares {
            true => Ok(()),
            false => self.forget_shares(permit, which).await,
        }
    }

    /// Every store has every holder's message when this returns.
    async fn hand_out(
        &self,
        permit: &Permit,
        which: &Initialisation,
        desired: &Desired,
        shares: &[Secret],
    ) -> Result<()> {
        let (mut free, mut without): (BTreeSet<usize>, Vec<&Holder>) =
            ((1..=shares.len()).collect(), Vec::new());
        for holder in &desired.holders {
            match self.custody.handout(&which.holder(&holder.name)).await? {
                Some(kept) => {
                    free.remove(&kept.share);
                    self.custody.hand_out(permit, &kept).await?;
                }
                None => without.push(holder),
            }
        }
        for (holder, share) in without.into_iter().zip(free) {
            let (name, key) = (which.holder(&holder.name), holder.key(self.custody.folder())?);
            let handout = Handout::seal(&name, share, &shares[share - 1], &key)?;
            self.custody.hand_out(permit, &handout).await?;
        }
        Ok(())
    }

    /// Leaves the root token, which the run may still need. The version without the shares is on
    /// every store before the first version is removed from any.
    async fn forget_shares(&self, permit: &Permit, which: &Initialisation) -> Result<()> {
        let kept = self.custody.get(&which.answer()).await?;
        let rest = kept.as_ref().and_then(without_shares).ok_or_else(|| foreign(self.vault.address()))?;
        match self.custody.version(&which.answer()).await? {
            Some(1) => self.custody.replace(permit, &which.answer(), &rest).await?,
            _ => self.custody.put(permit, &which.answer(), &rest).await?,
        }
        self.custody.remove(permit, &which.answer(), 1).await
    }
}
