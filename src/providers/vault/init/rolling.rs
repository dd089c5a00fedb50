//! Starting the servers of a cluster again, one after the other, while it serves.
//!
//! Standbys come first and the active server last, once it has handed over: each change of leadership
//! costs clients a moment, and this way there is one. A server is only let go while all others are well,
//! so that the cluster never lacks more than one vote.
//! <https://openbao.org/api-docs/system/step-down/>

use std::time::{Duration, Instant};

use serde_json::json;

use super::members::Members;
use super::seal_migration::is_between_seals;
use super::unsealing::{await_answer, await_its_own_unsealing};
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::providers::vault::custodian::Custodian;
use crate::providers::vault::{Health, NodeClient};

/// How often the cluster is asked.
const POLL: Duration = Duration::from_millis(500);
/// How long the cluster may take to choose another leader, or to count a server in that has come back.
const PATIENCE: Duration = Duration::from_mins(2);

/// A server and what it does in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// The server's address.
    pub address: String,
    /// Whether it is the one that serves.
    pub active: bool,
    /// Its version, e.g. `2.7.2`.
    pub version: String,
}

impl Custodian {
    /// The plan's servers in the order in which they can be started again: standbys, then the active one.
    ///
    /// # Errors
    /// `Unavailable` when one does not answer, and `Sealed` when one is sealed: the cluster could not
    /// spare another.
    pub async fn restart_order(&self) -> Result<Vec<NodeState>> {
        let mut servers = Vec::new();
        for node in self.vault.nodes() {
            let (status, health) = (node.seal_status().await?, node.health().await?);
            if !matches!(health, Health::Active | Health::Standby) {
                let message = format!("{} does not serve: it is {health}", node.address());
                return Err(Error::new(ErrorKind::Sealed, "look at the cluster", message)
                    .advice("`groundwork unseal PLAN` brings it back; restart the others after it"));
            }
            let active = health == Health::Active;
            servers.push(NodeState { address: node.address().to_owned(), active, version: status.version });
        }
        servers.sort_by_key(|server| server.active);
        Ok(servers)
    }

    /// How many servers the plan has.
    pub fn servers(&self) -> usize {
        self.vault.nodes().len()
    }

    /// Prepares a server for its end: waits until the cluster can spare it, and makes it step down if
    /// it is the active one of several.
    ///
    /// # Errors
    /// `Unavailable` when the cluster does not settle, or no other server takes over; `Denied` when the
    /// admin may not ask for it.
    pub async fn release(&self, permit: &Permit, address: &str) -> Result<()> {
        self.await_settled().await?;
        let node = self.vault.node(address)?;
        if self.vault.nodes().len() == 1 || node.health().await? != Health::Active {
            return Ok(());
        }
        self.vault.reset_readiness().await;
        let asked = self.vault.post(permit, "sys/step-down", &json!({})).await;
        asked.map_err(|error| match error.kind {
            ErrorKind::Denied => {
                error.advice("the admin's policy needs `\"sys/step-down\": [ update, sudo ]`")
            }
            _ => error,
        })?;
        let started = Instant::now();
        while !self.another_leads(address).await {
            pause(started, || format!("no other server took over from {address}")).await?;
        }
        self.vault.reset_readiness().await;
        Ok(())
    }

    /// Takes a server back that was started again: unseals it, from custody unless it does so itself,
    /// and waits until the cluster counts on it.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer or the cluster does not settle; `Sealed` when custody has
    /// no shares, which their holders enter then.
    pub async fn readmit(&self, permit: &Permit, address: &str) -> Result<()> {
        let node = self.vault.node(address)?;
        let mut status = await_answer(&node).await?;
        if status.recovery_seal && !status.migration {
            status = await_its_own_unsealing(&node, status).await?;
        }
        if status.sealed {
            self.unseal(permit).await?;
        }
        self.vault.reset_readiness().await;
        self.await_settled().await
    }

    async fn another_leads(&self, address: &str) -> bool {
        for node in self.vault.nodes() {
            if node.address() != address && matches!(node.health().await, Ok(Health::Active)) {
                return true;
            }
        }
        false
    }

    /// Waits until every server serves and, with Raft, is in touch with the leader and may vote.
    ///
    /// # Errors
    /// `Unavailable` when that takes too long.
    pub async fn await_settled(&self) -> Result<()> {
        let started = Instant::now();
        let nodes = self.vault.nodes();
        loop {
            let problem = match unwell(&nodes).await {
                Some(problem) => problem,
                None if nodes.len() == 1 => return Ok(()),
                None => match Members::ask(&self.vault).await {
                    Ok(Some(members)) if !members.settled(nodes.len()) => {
                        format!("not every server is well: {}", members.unsettled().join(", "))
                    }
                    Ok(_) => return Ok(()),
                    Err(error) if error.is_retriable() => error.message,
                    Err(error) => return Err(error),
                },
            };
            pause(started, || problem).await?;
            // The active node may have changed since.
            self.vault.reset_readiness().await;
        }
    }
}

/// What is wrong with the first server that does not serve.
async fn unwell(nodes: &[NodeClient]) -> Option<String> {
    for node in nodes {
        match node.health().await {
            Ok(Health::Active | Health::Standby) => {}
            Ok(health) => return Some(format!("{} is {health}", node.address())),
            Err(_) if node.may_migrate() && is_between(node).await => {}
            Err(error) => return Some(error.message),
        }
    }
    None
}

/// Whether a server votes and serves, and answers with an error only because it is on its way to another seal.
async fn is_between(node: &NodeClient) -> bool {
    node.seal_status().await.is_err_and(|error| is_between_seals(&error))
}

/// Waits before the cluster is asked again, unless it has been asked for long enough.
async fn pause(started: Instant, problem: impl FnOnce() -> String) -> Result<()> {
    if started.elapsed() < PATIENCE {
        tokio::time::sleep(POLL).await;
        return Ok(());
    }
    let message = format!("{} after {} s", problem(), PATIENCE.as_secs());
    Err(Error::new(ErrorKind::Unavailable, "wait for the cluster", message)
        .advice("look at the servers' logs; no other server is restarted before all of them are well"))
}
