//! Moving a cluster to another seal: from key shares to a key that the servers reach by themselves, or back.
//! <https://openbao.org/docs/concepts/seal/#seal-migration>
//!
//! Each server is restarted with the configuration of the new seal and gets the present shares with the consent to move.
//! The standbys go first; then the leader steps down, and the one that leads next moves the data. The shares stay the
//! same: those of the unseal key become those of the recovery key, and the other way round.

mod consent;
mod phase;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

pub(super) use self::consent::{enter_share, require_migration_allowed};
pub(super) use self::phase::is_between_seals;
use self::phase::next;
pub use self::phase::{NodePhase, Phase, Step};
use super::Node;
use super::ceremony::foreign;
use super::proof::refusal;
use super::unsealing::{await_answer, await_its_own_unsealing, unseal};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Entry, OperationOutcome};
use crate::permit::Permit;
use crate::providers::vault::NodeClient;
use crate::providers::vault::custodian::Custodian;

/// The operation under which the journal knows a migration.
const MIGRATE: &str = "migrate the seal";
/// How often a server is asked.
const POLL: Duration = Duration::from_millis(300);
/// How long the cluster may take to move the data, or to notice that they were moved.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a server that has just come to lead may take to move the data, before it is taken for one that cannot.
const MOVES_WITHIN: Duration = Duration::from_secs(15);

impl Custodian {
    /// Lets this run move servers to the seal `target`, and records that. A run after one that was cut off goes by the
    /// same record.
    ///
    /// # Errors
    /// When a server does not answer, or the journal cannot be written.
    pub async fn begin_migration(&self, permit: &Permit, target: &str) -> Result<()> {
        self.vault.allow_migration();
        let cluster = self.vault.address().to_owned();
        let goal = format!("to {target}");
        if let Some(record) = self.journal.open_intent(MIGRATE, &cluster) {
            if matches!(&record.entry, Entry::Intent { detail, .. } if detail.first() == Some(&goal)) {
                return Ok(());
            }
            // A person has changed their mind, and goes back or elsewhere.
            let (operation, message) = (MIGRATE.to_owned(), format!("given up; now {goal}"));
            let (target, result) = (cluster.clone(), OperationOutcome::Failed);
            self.journal.append(permit, Entry::Outcome { operation, target, result, message }).await?;
        }
        let mut detail = vec![goal];
        detail.extend(self.seals_before(target).await.into_iter().map(|seal| format!("from {seal}")));
        let (step, operation) = ("restart".to_owned(), MIGRATE.to_owned());
        self.journal.append(permit, Entry::Intent { step, operation, target: cluster, detail }).await
    }

    /// Whether a migration to `target` was begun and has not ended.
    pub fn migrates_to(&self, target: &str) -> bool {
        let open = self.journal.open_intent(MIGRATE, self.vault.address());
        open.is_some_and(|record| {
            matches!(&record.entry, Entry::Intent { detail, .. } if detail.contains(&format!("to {target}")))
        })
    }

    /// The seals that servers have other than `target`. One that has been started with it already does not say.
    async fn seals_before(&self, target: &str) -> BTreeSet<String> {
        let mut seals = BTreeSet::new();
        for node in self.vault.nodes() {
            if let Ok(status) = node.seal_status().await
                && !status.migration
                && status.seal != target
            {
                seals.insert(status.seal);
            }
        }
        seals
    }

    /// How far each server is on its way to the seal `target`.
    ///
    /// # Errors
    /// When one answers with an error that has nothing to do with its seal.
    pub async fn phases(&self, target: &str) -> Result<Vec<NodePhase>> {
        let mut phases = Vec::new();
        for node in self.vault.nodes() {
            let phase = Phase::of(node.seal_status().await, target)?;
            // A sealed server does not know.
            let leads = node.leader().await.is_ok_and(|leader| leader.is_self);
            phases.push(NodePhase { address: node.address().to_owned(), phase, leads });
        }
        Ok(phases)
    }

    /// What is to be done next. Waits while the cluster is busy.
    ///
    /// # Errors
    /// `Unavailable` when it stays busy.
    pub async fn next_of_migration(&self, target: &str) -> Result<Step> {
        let started = Instant::now();
        loop {
            let phases = self.phases(target).await?;
            match next(&phases) {
                Step::Wait(_) if started.elapsed() > MOVES_WITHIN && idle_leader(&phases).is_some() => {
                    return Ok(idle_leader(&phases).map_or(Step::Done, Step::Restart));
                }
                Step::Wait(_) if started.elapsed() < PATIENCE => tokio::time::sleep(POLL).await,
                Step::Wait(address) => {
                    let message = format!("{address} still waits for the leader to move the data");
                    return Err(Error::new(ErrorKind::Unavailable, MIGRATE, message)
                        .advice("look at the logs of the servers, then run the same command again"));
                }
                step => return Ok(step),
            }
        }
    }

    /// Waits until a server that was restarted runs with the new seal, and returns how far it is then.
    ///
    /// # Errors
    /// `Rejected` when it has another one after this time: then its configuration is still the one that it had.
    pub async fn await_started(&self, address: &str, target: &str, patience: Duration) -> Result<Phase> {
        let (node, started) = (self.vault.node(address)?, Instant::now());
        loop {
            let phase = Phase::of(node.seal_status().await, target)?;
            if phase.is_started() {
                return Ok(phase);
            }
            if started.elapsed() > patience {
                let message = format!("{address} {phase}, {} s after its restart", patience.as_secs());
                return Err(Error::new(ErrorKind::Rejected, MIGRATE, message).advice(format!(
                    "bring the configuration with the seal {target} to this server (to go back to shamir: the seal that it \
                     had, with `disabled`), then run the same command again; no other server was touched"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Opens a server that was started with the new seal: with the present shares and the consent to move, unless the
    /// data have that seal already and it opens by itself.
    ///
    /// # Errors
    /// `Sealed` when custody has no shares, which their holders enter then.
    pub async fn open_migrating(&self, permit: &Permit, address: &str) -> Result<()> {
        let node = self.vault.node(address)?;
        let status = await_answer(&node).await?;
        if status.recovery_seal && !status.migration {
            return opens_by_itself(&node).await;
        }
        let which = self.answered(self.vault.cluster_id().await.as_deref()).await?;
        let which = which.ok_or_else(|| foreign(self.vault.address()))?;
        let one = Node { address: address.to_owned(), status: status.clone() };
        let newcomers = self.proof.newcomers(&self.vault, Some(&which), &[one]).await?;
        if let Some(why) = newcomers.get(address).and_then(|newcomer| newcomer.refused.as_deref()) {
            return Err(refusal(why));
        }
        let mut refused = None;
        for generation in which.generations(&self.custody).await? {
            let shares = generation.shares(&self.custody).await?;
            if shares.len() < status.threshold as usize {
                continue;
            }
            match unseal(permit, &node, self.vault.address(), &shares).await {
                Ok(()) => return self.proof.record(permit, &which, &[node]).await,
                // A generation of another time.
                Err(error) if error.kind == ErrorKind::Rejected => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| no_shares(address)))
    }

    /// Waits until the cluster can spare a server, or has taken one back. A server between two seals counts as well:
    /// it votes.
    ///
    /// # Errors
    /// `Unavailable` when the cluster does not settle.
    pub async fn await_spare(&self) -> Result<()> {
        self.vault.reset_readiness().await;
        self.await_settled().await
    }

    /// Has the server at `address` open by itself after a restart, which proves that it reaches the key of its seal.
    ///
    /// # Errors
    /// `Unavailable` when it stays sealed.
    pub async fn prove_seal(&self, address: &str) -> Result<()> {
        let node = self.vault.node(address)?;
        await_answer(&node).await?;
        opens_by_itself(&node).await?;
        self.await_spare().await
    }

    /// Records that every server has the seal `target`.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn end_migration(&self, permit: &Permit, target: &str) -> Result<()> {
        let (operation, cluster) = (MIGRATE.to_owned(), self.vault.address().to_owned());
        let open = self.journal.open_intent(MIGRATE, &cluster).map(|record| record.entry);
        let Some(Entry::Intent { mut detail, .. }) = open else { return Ok(()) };
        detail.extend([format!("every server has the seal {target}")]);
        self.journal.append(permit, Entry::Committed { operation, target: cluster, detail }).await
    }
}

/// The server that leads with another seal than the data have, and does not move them: it was not started for that. A
/// restored backup from before a migration makes such a leader.
fn idle_leader(phases: &[NodePhase]) -> Option<NodePhase> {
    phases.iter().find(|node| node.leads && node.phase == Phase::Agreed).cloned()
}

async fn opens_by_itself(node: &NodeClient) -> Result<()> {
    let status = await_its_own_unsealing(node, node.seal_status().await?).await?;
    if !status.sealed {
        return Ok(());
    }
    let message = format!("{} does not open by itself with the seal {}", node.address(), status.seal);
    Err(Error::new(ErrorKind::Unavailable, MIGRATE, message).advice(
        "look at its log: it must reach the key and may use it; then run the same command again. Until then the other \
         servers serve",
    ))
}

fn no_shares(address: &str) -> Error {
    let message =
        format!("{address} waits for key shares, and custody keeps too few: their holders have them");
    Error::new(ErrorKind::Sealed, MIGRATE, message).advice(
        "let enough holders enter theirs with `groundwork unseal PLAN --share --migrate-seal`, then run the same command \
         again",
    )
}
