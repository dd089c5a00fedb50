//! The holders of key shares: who has which, and a share for a holder whose key is lost.

use serde::Serialize;

use super::custodian::Custodian;
use crate::custody::{Handout, HolderKey};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Entry;
use crate::permit::Permit;

/// The journal's word for sealing a share again.
const RESEAL: &str = "seal a share again";

/// A share that was handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldShare {
    /// The holder's name.
    pub holder: String,
    /// Which share it is, counted from 1.
    pub share: usize,
    /// `age` or `pgp`, and the key that opens it.
    pub key: String,
    /// The key without its kind.
    #[serde(skip)]
    pub key_id: String,
    /// When it was sealed.
    pub sealed: jiff::Timestamp,
}

impl Custodian {
    /// The shares of the cluster that were handed out; none when custody has nothing of the cluster.
    ///
    /// # Errors
    /// When no store answers.
    pub async fn held_shares(&self) -> Result<Vec<HeldShare>> {
        let which = match self.kept_of_servers().await {
            Ok(which) => which,
            Err(error) if error.kind == ErrorKind::Rejected => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut held = Vec::new();
        let generation = which.current(&self.custody).await?;
        for holder in generation.holders(&self.custody).await? {
            let Some(handout) = self.custody.handout(&generation.holder(&holder)).await? else { continue };
            held.push(HeldShare {
                holder,
                share: handout.share,
                key: format!("{} {}", handout.kind, handout.holder_key),
                key_id: handout.holder_key,
                sealed: handout.created,
            });
        }
        Ok(held)
    }

    /// Seals the share of `holder` for another key of theirs. Returns the number of the share. The message for the
    /// key before stays on the stores as an older version.
    ///
    /// # Errors
    /// `Rejected` when the holder has no share, or custody does not keep the shares.
    pub async fn reseal_share(&self, permit: &Permit, holder: &str, key: &HolderKey) -> Result<usize> {
        let refused = |message: String, advice: &str| {
            Error::new(ErrorKind::Rejected, format!("holder {holder}"), message).advice(advice.to_owned())
        };
        let which = self.kept_of_servers().await?;
        let generation = which.current(&self.custody).await?;
        let before = self.custody.handout(&generation.holder(holder)).await?.ok_or_else(|| {
            refused(
                "holds no share".to_owned(),
                "declare the holder, and `groundwork apply PLAN` hands a share out",
            )
        })?;
        let shares = generation.shares(&self.custody).await?;
        let share = before.share.checked_sub(1).and_then(|index| shares.get(index)).ok_or_else(|| {
            refused(
                "custody no longer has the share itself: only the holder has".to_owned(),
                "the lost share cannot be sealed again: split the key again while enough holders have theirs, with \
                 `groundwork rotate PLAN --shares`",
            )
        })?;
        let handout = Handout::seal(&generation.holder(holder), before.share, share, key)?;
        let (operation, target) = (RESEAL.to_owned(), generation.holder(holder));
        let detail = vec![key.id()];
        let intent = Entry::Intent {
            step: "custody".to_owned(),
            operation: operation.clone(),
            target: target.clone(),
            detail,
        };
        self.journal.append(permit, intent).await?;
        self.custody.hand_out_again(permit, handout).await?;
        self.journal.append(permit, Entry::Committed { operation, target, detail: Vec::new() }).await?;
        Ok(before.share)
    }
}
