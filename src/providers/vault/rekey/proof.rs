//! Proving that shares are those of the key.

use super::{Rekey, ShareSource, State, body, refused};
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::providers::vault::generation::Generation;
use crate::providers::vault::{Custodian, DeclaredSplit, Health, NodeClient};
use crate::secret::Secret;
use crate::snapshot::belong_together;

/// Whether each share fits to the others: any `threshold` of them give the same key. The server tries only as many as
/// it takes.
pub(super) fn agree(shares: &[Secret], threshold: usize) -> bool {
    belong_together(shares, threshold)
}

impl Rekey {
    /// Proves that the new shares open the key: first in a trial at the active node, then, where there are several, by
    /// sealing a standby and opening it with nothing else.
    ///
    /// A standby has the shape of the split in memory, and learns of another one only when it is restarted. Sealed before
    /// that it would take too few or too many shares.
    pub(super) async fn prove(
        &self,
        permit: &Permit,
        generation: &Generation,
        source: &dyn ShareSource,
    ) -> Result<()> {
        if !self.opens(permit, generation).await? {
            return Err(Error::new(
                ErrorKind::Unknown,
                "prove the new shares",
                "the server has taken the new shares, and refuses them now; custody has both generations",
            )
            .advice("do not restart or seal a server before a person has looked at it"));
        }
        if self.is_recovery {
            return Ok(());
        }
        let nodes = self.vault.nodes();
        let Some(standby) = standby(&nodes).await else { return Ok(()) };
        let leader = self.vault.leading_node().await?;
        let (ours, theirs) = (leader.seal_status().await?, standby.seal_status().await?);
        if (ours.threshold, ours.shares) != (theirs.threshold, theirs.shares) {
            source.tell(
                "the standbys learn of the new numbers of shares when they are restarted: do that soon, with `groundwork \
                 restart PLAN -- CMD`; until then they open only by a restart",
            );
            return Ok(());
        }
        let shares = generation.shares(&self.custodian.custody).await?;
        self.vault.seal_node(permit, standby).await?;
        Custodian::open_node(permit, standby, leader.address(), &shares).await.map_err(|error| {
            let Error { kind, message, .. } = error;
            let message = format!("{} was sealed and does not open with the new shares: {message}", standby.address());
            Error::new(kind, "prove the new shares", message).advice(
                "restart that server and run `groundwork unseal PLAN`, then the same command again: it goes on",
            )
        })?;
        source.tell(&format!("{} was sealed, and opened with the new shares only", standby.address()));
        self.custodian.await_settled().await
    }

    /// Whether the shares of a generation open the key now. They are entered into a rekey that is never verified, which
    /// the server decides without a change: too few or wrong ones it refuses, right ones it answers with shares that are
    /// not in force, encrypted for the generation's own key.
    pub(super) async fn opens(&self, permit: &Permit, generation: &Generation) -> Result<bool> {
        let custody = &self.custodian.custody;
        let shares = generation.shares(custody).await?;
        let public = generation.pair(custody).await?.public()?;
        let trial = DeclaredSplit { shares: 2, threshold: 2, holders: Vec::new(), keep_shares: true };
        let mut request = body(&trial, &public);
        // The backup of the rekey itself stays until its shares are proven.
        request["backup"] = false.into();
        self.vault.post(permit, self.paths.init, &request).await?;
        let state = self.state().await?;
        let tried = self.try_shares(permit, &state, &shares).await;
        self.vault.delete(permit, self.paths.init).await?;
        tried
    }

    /// Whether the shares that custody has of the present generation open the key; `None` when it has too few.
    ///
    /// # Errors
    /// When the server does not take part, or another person splits the key just now.
    pub async fn current_shares_open(&self, permit: &Permit) -> Result<Option<bool>> {
        let current = self.which.current(&self.custodian.custody).await?;
        let has_enough = current.shares(&self.custodian.custody).await?.len() >= self.now.threshold as usize;
        if !has_enough {
            return Ok(None);
        }
        if self.state().await?.started {
            return Err(self.foreign());
        }
        self.opens(permit, &current).await.map(Some)
    }

    async fn try_shares(&self, permit: &Permit, state: &State, shares: &[Secret]) -> Result<bool> {
        if shares.len() < state.required as usize {
            return Ok(false);
        }
        match self.enter_kept(permit, state, shares).await {
            Ok(answer) if answer["verification_required"] == true => Ok(true),
            Ok(_) => Err(refused(
                "the server made new shares in a trial; look at the cluster before anything else",
            )),
            Err(error) if error.kind == ErrorKind::Rejected => Ok(false),
            Err(error) => Err(error),
        }
    }
}

async fn standby(nodes: &[NodeClient]) -> Option<&NodeClient> {
    for node in nodes {
        if nodes.len() > 1 && matches!(node.health().await, Ok(Health::Standby)) {
            return Some(node);
        }
    }
    None
}
