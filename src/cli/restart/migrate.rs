//! Moving the servers to another seal: `groundwork restart PLAN --migrate-seal SEAL`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Restarts;
use crate::apply::by_command;
use crate::console;
use crate::error::Error;
use crate::providers::vault::{Custodian, MigrationStep, NodePhase, Phase};

/// The seal with key shares.
const SHARES: &str = "shamir";
/// How long a server that a command has restarted may take to run with its new configuration.
const BY_COMMAND: Duration = Duration::from_secs(30);
/// How long a person has to restart a server.
const BY_HAND: Duration = Duration::from_mins(30);

/// Shows how far each server is.
pub(super) fn show(phases: &[NodePhase]) {
    for NodePhase { address, phase, leads } in phases {
        let leads = if *leads { ", leads" } else { "" };
        console::out(format_args!("{address}: {phase}{leads}"));
    }
}

/// Whether every server has the seal, and no run was cut off before it had proven that.
pub(super) fn is_done(custodian: &Custodian, phases: &[NodePhase], target: &str) -> bool {
    !custodian.migrates_to(target) && phases.iter().all(|node| node.phase == Phase::Moved)
}

/// The servers on their way to another seal.
pub(super) struct Migration<'a> {
    pub(super) custodian: &'a Custodian,
    pub(super) restarts: &'a Restarts<'a>,
    pub(super) target: &'a str,
    /// The servers that have opened by themselves with the new seal in this run.
    pub(super) proven: BTreeSet<String>,
}

impl Migration<'_> {
    /// Goes on from wherever the servers are, until each of them has the seal and has proven it.
    pub(super) async fn all(&mut self) -> Result<(), Error> {
        let permit = by_command();
        self.custodian.begin_migration(&permit, self.target).await?;
        loop {
            self.restarts.hold.confirm().await?;
            match self.custodian.next_of_migration(self.target).await? {
                MigrationStep::Restart(node) => self.restart(&node).await?,
                MigrationStep::Open(address) => {
                    self.custodian.open_migrating(&permit, &address).await?;
                    console::out(format_args!("{address}: runs with the new configuration"));
                }
                MigrationStep::HandOver(address) => {
                    console::note(format_args!("{address} steps down, and another server moves the data"));
                    self.custodian.release(&permit, &address).await?;
                }
                MigrationStep::Wait(_) | MigrationStep::Done => break,
            }
        }
        self.custodian.await_spare().await?;
        self.prove().await?;
        self.custodian.end_migration(&permit, self.target).await?;
        self.tell();
        Ok(())
    }

    async fn restart(&mut self, node: &NodePhase) -> Result<(), Error> {
        let address = node.address.as_str();
        // One that does not serve is not missed.
        if matches!(node.phase, Phase::Before | Phase::Behind) {
            self.custodian.await_spare().await?;
        }
        self.restarts.restart(address, "with the configuration of the new seal").await?;
        let patience = if self.restarts.by_hand { BY_HAND } else { BY_COMMAND };
        let started = self.custodian.await_started(address, self.target, patience).await?;
        // The data had the seal already, so that nothing but the seal's own key opens it.
        if matches!(started, Phase::Closed | Phase::Moved) && self.target != SHARES {
            self.custodian.prove_seal(address).await?;
            self.proven.insert(address.to_owned());
        }
        Ok(())
    }

    /// Restarts the servers that have not opened by themselves yet: they may have the consent of people and not reach
    /// their key. The one that leads comes last.
    async fn prove(&mut self) -> Result<(), Error> {
        if self.target == SHARES || self.restarts.by_hand {
            return Ok(());
        }
        let permit = by_command();
        for node in self.custodian.restart_order().await? {
            if self.proven.contains(&node.address) {
                continue;
            }
            self.restarts.hold.confirm().await?;
            self.custodian.release(&permit, &node.address).await?;
            self.restarts.restart(&node.address, "to prove that it opens by itself").await?;
            self.custodian.prove_seal(&node.address).await?;
            console::out(format_args!("{}: opens by itself", node.address));
            self.proven.insert(node.address);
        }
        Ok(())
    }

    fn tell(&self) {
        let target = self.target;
        console::out(format_args!("every server has the seal {target}; the key shares are the same"));
        if target == SHARES {
            console::note("take the disabled seal out of the configuration, then run `groundwork restart`");
        } else if self.restarts.by_hand {
            console::note(
                "restart each server once more when it suits: whether it opens by itself is not proven yet",
            );
        }
    }
}
