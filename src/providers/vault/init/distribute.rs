//! The holders' shares: who has theirs, and giving each what is missing.

use std::collections::BTreeSet;

use super::{Desired, Handed, Observed};
use crate::custody::{Handout, Holder, HolderKey};
use crate::error::Result;
use crate::permit::Permit;
use crate::providers::vault::custodian::{Custodian, Initialisation};
use crate::providers::vault::generation::Generation;
use crate::secret::Secret;

impl Custodian {
    /// Looks up the shares in custody: those in the answer, and those of single holders.
    pub(super) async fn look_at_shares(
        &self,
        which: &Initialisation,
        keys: Vec<(String, HolderKey)>,
        observed: &mut Observed,
    ) -> Result<()> {
        let names = which.objects(&self.custody).await?;
        let generation = which.current_among(&self.custody, &names).await?;
        // The first version is the answer as it came; a later one is without the shares.
        observed.shares_kept = self.custody.versions(&generation.answer()).await?.contains(&1);
        let handed = generation.holders_among(&names);
        let is_stranger = |name: &&String| !keys.iter().any(|(known, _)| known == *name);
        observed.strangers = handed.iter().filter(is_stranger).cloned().collect();
        for (name, key) in keys {
            let found = match handed.contains(&name) {
                true => self.custody.handout(&generation.holder(&name)).await?,
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
    pub(in crate::providers::vault) async fn distribute(
        &self,
        permit: &Permit,
        which: &Initialisation,
        desired: &Desired,
    ) -> Result<()> {
        if desired.holders.is_empty() {
            return Ok(());
        }
        let generation = which.current(&self.custody).await?;
        let shares = generation.shares(&self.custody).await?;
        if !shares.is_empty() {
            self.hand_out(permit, &generation, desired, &shares).await?;
            if !desired.keep_shares {
                generation.keep_digests(&self.custody, permit, &shares).await?;
            }
        }
        match desired.keep_shares {
            true => Ok(()),
            false => generation.forget(&self.custody, permit).await,
        }
    }

    /// Every store has every holder's message when this returns.
    async fn hand_out(
        &self,
        permit: &Permit,
        generation: &Generation,
        desired: &Desired,
        shares: &[Secret],
    ) -> Result<()> {
        let (mut free, mut without): (BTreeSet<usize>, Vec<&Holder>) =
            ((1..=shares.len()).collect(), Vec::new());
        for holder in &desired.holders {
            match self.custody.handout(&generation.holder(&holder.name)).await? {
                Some(kept) => {
                    free.remove(&kept.share);
                    self.custody.hand_out(permit, &kept).await?;
                }
                None => without.push(holder),
            }
        }
        for (holder, share) in without.into_iter().zip(free) {
            let (name, key) = (generation.holder(&holder.name), holder.key(self.custody.folder())?);
            let handout = Handout::seal(&name, share, &shares[share - 1], &key)?;
            self.custody.hand_out(permit, &handout).await?;
        }
        Ok(())
    }
}
