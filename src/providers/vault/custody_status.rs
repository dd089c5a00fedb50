//! Whether the cluster's objects in custody suffice today.

use serde::Serialize;

use super::custodian::{Admin, Custodian, Initialisation};
use super::generation::Generation;
use super::lookup::answers;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// Whether custody suffices for the cluster, proven by decrypting.
#[derive(Clone, Debug, Serialize)]
pub struct CustodyStatus {
    /// Where the cluster's objects are in custody; nothing when there are none.
    pub prefix: Option<String>,
    /// How many shares open it: as the server says, or the plan when no server answers.
    pub threshold: Option<u32>,
    /// How many different shares custody gives.
    pub shares: usize,
    /// How many holders have their message.
    pub handed_out: usize,
    /// Whether the root token was revoked.
    pub root_revoked: bool,
    /// Whether the admin's credential is there.
    pub admin: bool,
    /// The reasons why custody does not suffice.
    pub problems: Vec<String>,
}

impl Custodian {
    /// Decrypts everything that an emergency would need. `declared` is the plan's threshold.
    ///
    /// # Errors
    /// When no store can be listed.
    pub async fn standing(&self, declared: Option<u32>) -> Result<CustodyStatus> {
        let live = futures::future::join_all(self.vault.nodes().iter().map(|node| node.seal_status())).await;
        let live: Vec<_> = live.into_iter().flatten().filter(|status| status.initialized).collect();
        let cluster = live.iter().find_map(|status| status.cluster_id.as_deref());
        let which = match live.is_empty() {
            true => self.kept(None).await?,
            false => self.answered(cluster).await?,
        };
        let mut standing = CustodyStatus {
            prefix: which.as_ref().map(|which| which.prefix().to_owned()),
            threshold: live.first().map(|status| status.threshold).or(declared),
            shares: 0,
            handed_out: 0,
            root_revoked: false,
            admin: false,
            problems: Vec::new(),
        };
        match which {
            Some(which) => self.weigh(&which, &mut standing).await,
            None if live.is_empty() => {}
            None => standing
                .problems
                .push(format!("{} is initialised, and custody has no shares of it", self.vault.address())),
        }
        Ok(standing)
    }

    async fn weigh(&self, which: &Initialisation, standing: &mut CustodyStatus) {
        let mut problems = Vec::new();
        let mut note = |problem: Option<String>| problems.extend(problem);
        match self.shares_of(which).await {
            Ok(shares) => standing.shares = shares.len(),
            Err(error) => note(Some(error.to_string())),
        }
        let holders = async { which.current(&self.custody).await?.holders(&self.custody).await };
        match holders.await {
            Ok(holders) => standing.handed_out = holders.len(),
            Err(error) => note(Some(error.to_string())),
        }
        match which.has(&self.custody, &which.revoked()).await {
            Ok(revoked) => standing.root_revoked = revoked,
            Err(error) => note(Some(error.to_string())),
        }
        match Admin::read(&self.custody, which).await {
            Ok(admin) => standing.admin = admin.is_some(),
            Err(error) => note(Some(error.to_string())),
        }
        let within_reach = standing.shares.max(standing.handed_out);
        note(standing.threshold.filter(|threshold| within_reach < *threshold as usize).map(|threshold| {
            format!("only {within_reach} of the {threshold} shares that are needed can be obtained")
        }));
        let locked_out = standing.root_revoked && !standing.admin;
        note(
            locked_out
                .then(|| "the root token is revoked and the admin's credential is not there".to_owned()),
        );
        standing.problems.extend(problems);
    }

    /// The different shares that custody gives, of the generation that opens the servers.
    async fn shares_of(&self, which: &Initialisation) -> Result<Vec<Secret>> {
        let shares = which.current(&self.custody).await?.shares(&self.custody).await?;
        let mut different: Vec<Secret> = Vec::with_capacity(shares.len());
        for share in shares {
            if !different.contains(&share) {
                different.push(share);
            }
        }
        Ok(different)
    }

    /// The shares of every cluster that custody has, each generation with the place where it is, the present one of each
    /// cluster first. A backup opens with those of its time. Asks no server.
    ///
    /// # Errors
    /// When no store can be listed.
    pub async fn kept_shares(&self) -> Result<Vec<(String, Vec<Secret>)>> {
        let mut kept = Vec::new();
        for which in answers(&self.custody).await? {
            if !self.custody.has(&which.answer()).await? {
                continue;
            }
            for generation in which.generations(&self.custody).await? {
                match generation.shares(&self.custody).await {
                    Ok(shares) => kept.push((format!("custody {}", generation.describe()), shares)),
                    Err(error) => self.vault.warnings().insert(error.to_string()),
                }
            }
        }
        Ok(kept)
    }

    /// The initialisation in custody, and its generation, that one of these shares is of.
    pub(super) async fn generation_of(
        &self,
        shares: &[Secret],
    ) -> Result<Option<(Initialisation, Generation)>> {
        for which in answers(&self.custody).await? {
            for generation in which.generations(&self.custody).await? {
                if let Ok(kept) = generation.shares(&self.custody).await
                    && kept.iter().any(|share| shares.contains(share))
                {
                    return Ok(Some((which, generation)));
                }
            }
        }
        Ok(None)
    }

    /// What custody has of the cluster, for what stays on this machine.
    async fn kept(&self, cluster: Option<&str>) -> Result<Option<Initialisation>> {
        match self.answered(cluster).await? {
            Some(which) => Ok(Some(which)),
            None => Ok(self.found_here(cluster).await?.map(|found| found.which)),
        }
    }

    /// The same, found by what the servers say.
    pub(super) async fn kept_of_servers(&self) -> Result<Initialisation> {
        let live = futures::future::join_all(self.vault.nodes().iter().map(|node| node.seal_status())).await;
        let cluster = live.into_iter().flatten().find_map(|status| status.cluster_id);
        self.kept(cluster.as_deref()).await?.ok_or_else(nothing)
    }

    /// The message for a holder, to be opened with the holder's own tool.
    ///
    /// # Errors
    /// `Rejected` when there is none.
    pub async fn share_for(&self, holder: &str) -> Result<Secret> {
        let which = self.kept_of_servers().await?;
        let generation = which.current(&self.custody).await?;
        let known = generation.holders(&self.custody).await?;
        if !known.iter().any(|name| name == holder) {
            let message = match known.as_slice() {
                [] => format!("{holder} holds no share: none were handed out"),
                known => format!("{holder} holds no share; these do: {}", known.join(", ")),
            };
            return Err(Error::new(ErrorKind::Rejected, "custody", message)
                .advice("declare `holders` in the `vault.init` step and apply, or export with `--index`"));
        }
        let handout = self.custody.handout(&generation.holder(holder)).await?.ok_or_else(nothing)?;
        Ok(Secret::from(handout.message().to_owned()))
    }

    /// The share with this number, counted from 1, in the clear.
    ///
    /// # Errors
    /// `Rejected` when custody has no such share.
    pub async fn share_at(&self, number: usize) -> Result<Secret> {
        let which = self.kept_of_servers().await?;
        let shares = which.current(&self.custody).await?.shares(&self.custody).await?;
        let count = shares.len();
        number.checked_sub(1).and_then(|index| shares.into_iter().nth(index)).ok_or_else(|| {
            let message = format!("there is no share {number}; custody has {count}");
            Error::new(ErrorKind::Rejected, "custody", message)
                .advice("shares are counted from 1; those that only their holders have go by `--holder`")
        })
    }
}

fn nothing() -> Error {
    Error::new(ErrorKind::Rejected, "custody", "nothing is kept about this cluster")
        .advice("apply a plan with a `vault.init` step first, or check `vault.address` and the stores")
}
