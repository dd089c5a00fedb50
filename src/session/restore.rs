//! Restoring a whole backup into the plan's cluster.

use std::fs::File;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::backups::{add_keys, take_and_check};
use crate::apply::by_command;
use crate::backup::{Check, Comparison, Keys, State};
use crate::error::{Error, ErrorKind, Result};
use crate::place::Place;
use crate::providers::vault::{NodeClient, VaultClient};
use crate::resource::Provided;
use crate::run::Run;
use crate::secret::Secret;
use crate::snapshot::{Contents, Seal};

const POLICIES: &str = "sys/policies/acl";
/// How often a server that restores is asked.
const POLL: Duration = Duration::from_millis(300);
/// How long a restore may take.
const PATIENCE: Duration = Duration::from_mins(15);
/// How long a node has to open after it got its shares.
const OPENS_WITHIN: Duration = Duration::from_mins(1);

/// A proven backup, and the run in which it is restored.
pub struct Restore {
    /// The run.
    pub run: Run,
    pub(super) file: File,
    pub(super) check: Check,
    keys: Keys,
}

/// The effects of a restore, shown before it happens.
pub struct Preview {
    /// The node that gets the backup.
    pub address: String,
    /// The changes.
    pub comparison: Comparison,
    /// Notes for a person.
    pub remarks: Vec<String>,
    active_since: Option<String>,
    anyway: bool,
}

/// The observations after a restore.
#[derive(Debug, Default)]
pub struct Restored {
    /// Nodes that were sealed and opened again, so that they have the restored tables.
    pub reloaded: Vec<String>,
    /// The steps that are left to a person.
    pub open: Vec<String>,
}

pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Rejected, "restore", message)
}

impl Restore {
    /// Proves a backup with the keys of the plan.
    ///
    /// # Errors
    /// `Rejected` when it is not proven: nothing else is restored.
    pub async fn prove(run: Run, file: File, mut keys: Keys) -> Result<Self> {
        if keys.sets.is_empty() {
            add_keys(&run, &mut keys).await?;
        }
        let check = crate::backup::check(&file, &keys).await?;
        if check.state == State::Proven {
            return Ok(Self { run, file, check, keys });
        }
        let why = check.flaw.as_ref().map_or("no key was at hand to open it".to_owned(), ToString::to_string);
        Err(refused(format!("the backup is not proven, and nothing was changed: {why}"))
            .advice("`groundwork backup check` shows more; give key shares with `--share`"))
    }

    /// The proof of the backup.
    pub fn check(&self) -> &Check {
        &self.check
    }

    /// The contents of the backup.
    pub fn contents(&self) -> &Contents {
        static NOTHING: std::sync::LazyLock<Contents> = std::sync::LazyLock::new(Contents::default);
        self.check.opened.as_ref().map_or(&NOTHING, |opened| &opened.contents)
    }

    /// Looks at the live cluster, and compares it with the backup by a snapshot of the present.
    ///
    /// # Errors
    /// `Rejected` when the backup must not be restored here: it is of another cluster, of a newer server, or opens
    /// with other shares, unless `anyway`; and when a declared audit device would keep the server from starting.
    pub async fn preview(&self, anyway: bool) -> Result<Preview> {
        let vault = VaultClient::provide(&self.run, &Place::OWN).await?;
        let node = vault.leading_node().await?;
        let (_, live) = take_and_check(&vault, &node, &self.keys).await?;
        let mut remarks = Vec::new();
        let status = node.seal_status().await?;
        self.require_not_newer(&status.version)?;
        let (Some((_, ours)), Some((_, theirs))) = (&self.check.frame, &live.frame) else {
            return Err(refused("the live cluster gave no whole snapshot of itself"));
        };
        let is_other_cluster = self.contents().cluster_id != status.cluster_id;
        if is_other_cluster && !anyway {
            return Err(refused("the backup is of another cluster").advice(
                "check the plan and the address; `--other-cluster` restores it all the same, and everything that \
                 the live cluster has is lost",
            ));
        }
        if ours.generation != theirs.generation && !anyway {
            return Err(refused("other key shares open the backup than the live cluster").advice(
                "the shares were replaced since; `--other-cluster` restores it all the same, and from the next \
                 restart on only the shares of the backup's time open the cluster",
            ));
        }
        let Some(opened) = &live.opened else {
            let why = live.flaw.as_ref().map(ToString::to_string).unwrap_or_default();
            return Err(refused(format!("the live cluster cannot be compared with the backup: {why}"))
                .advice("give the shares of today as well, with `--share`"));
        };
        self.require_startable(&vault, &opened.contents, &mut remarks).await?;
        let active_since = node.leader().await?.active_time;
        let comparison = Comparison::new(&opened.contents, self.contents());
        Ok(Preview { address: node.address().to_owned(), comparison, remarks, active_since, anyway })
    }

    /// An older server takes a newer snapshot, and never becomes active again.
    fn require_not_newer(&self, server: &str) -> Result<()> {
        let Some((_, vitals)) = &self.check.frame else { return Ok(()) };
        let Some(newest) = vitals.newest_version() else { return Ok(()) };
        let numbers = |version: &str| -> Vec<u64> {
            version.split(['.', '-', '+']).map_while(|n| n.parse().ok()).collect()
        };
        if numbers(newest) <= numbers(server) {
            return Ok(());
        }
        Err(refused(format!(
            "the backup was written by version {newest}, and the server is version {server}: it would take it and \
             never become active again"
        ))
        .advice(format!("start servers of version {newest} or newer first")))
    }

    /// A device that the server's configuration declares with other options than the backup has keeps the server
    /// from becoming active.
    async fn require_startable(
        &self,
        vault: &VaultClient,
        live: &Contents,
        remarks: &mut Vec<String>,
    ) -> Result<()> {
        let declared = match vault.get("sys/config/state/sanitized").await {
            Ok(Some(config)) => paths_of(&config["audits"]),
            Ok(None) => Vec::new(),
            Err(error) => {
                remarks.push(format!("which audit devices the server declares is not known: {error}"));
                Vec::new()
            }
        };
        for device in &self.contents().audit {
            let now = live.audit.iter().find(|one| one.path == device.path);
            let path = device.path.trim_end_matches('/');
            if now.is_some_and(|now| now.options != device.options) && declared.iter().any(|one| one == path)
            {
                return Err(refused(format!(
                    "the server's configuration declares the audit device {path} with other options than the backup \
                     has; restored, it would unseal and never become active"
                ))
                .advice(
                    "take the `audit` stanza out of the configuration and reload it (SIGHUP), restore, then put the \
                     stanza back",
                ));
            }
        }
        Ok(())
    }

    /// Restores, waits for the proof, and has every other node read its tables again.
    ///
    /// # Errors
    /// When the server refuses, or does not serve again in time; run it again, and it begins from the start.
    pub async fn carry_out(&mut self, preview: &Preview, told: &dyn Fn(&str)) -> Result<Restored> {
        let permit = by_command();
        let vault = VaultClient::provide(&self.run, &Place::OWN).await?;
        let node = vault.leading_node().await?;
        if node.address() != preview.address {
            return Err(refused(format!("{} leads now; nothing was changed", node.address()))
                .advice("run it again, and look at the preview"));
        }
        told(&format!("restoring into {}", node.address()));
        vault.restore_snapshot(&permit, &node, &self.file, preview.anyway).await?;
        let leader = self.await_restored(&vault, preview, told).await?;
        vault.reset_readiness().await;
        vault.clear_token().await;
        let mut restored = Restored::default();
        self.prove_restored(&vault, &leader).await?;
        told("restored, and compared with the backup");
        for other in vault.nodes() {
            if other.address() != leader.address() {
                self.reload(&vault, &leader, &other, &mut restored, told).await;
            }
        }
        Ok(restored)
    }

    /// The server has answered and restores now. It is done when the leader leads since another moment; a node
    /// that seals itself gets the shares that open the backup.
    async fn await_restored(
        &self,
        vault: &VaultClient,
        preview: &Preview,
        told: &dyn Fn(&str),
    ) -> Result<NodeClient> {
        let (started, mut nodes) = (Instant::now(), vault.nodes());
        if !nodes.iter().any(|node| node.address() == preview.address) {
            nodes.push(vault.node(&preview.address)?);
        }
        loop {
            for node in &nodes {
                let leads = node.leader().await.ok().filter(|leader| leader.is_self);
                if leads.is_some_and(|leader| leader.active_time != preview.active_since) {
                    return vault.node(node.address());
                }
                if node.address() == preview.address
                    && node.seal_status().await.is_ok_and(|status| status.initialized && status.sealed)
                {
                    told(&format!("{} has sealed itself; entering shares", node.address()));
                    self.enter_shares(node).await?;
                }
            }
            if started.elapsed() > PATIENCE {
                let message = format!("no node leads {} minutes after the restore", PATIENCE.as_secs() / 60);
                return Err(Error::new(ErrorKind::Unknown, "restore", message)
                    .advice("look at the log of the server; run it again once a node leads"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn enter_shares(&self, node: &NodeClient) -> Result<()> {
        let permit = by_command();
        let mut status = node.reset_unseal(&permit).await?;
        for share in self.good_shares() {
            if status.sealed {
                status = node.unseal(&permit, share).await?;
            }
        }
        Ok(())
    }

    /// The shares that open the backup.
    fn good_shares(&self) -> Vec<&Secret> {
        let all = self.keys.sets.iter().flat_map(|set| {
            set.shares.iter().enumerate().map(move |(index, share)| (set.from.as_str(), index + 1, share))
        });
        let is_good = |from: &str, number: usize| {
            use crate::snapshot::Verdict::Good;
            self.check
                .shares
                .iter()
                .any(|one| one.from == from && one.number == number && one.verdict == Good)
        };
        all.filter(|(from, number, _)| is_good(from, *number)).map(|(_, _, share)| share).collect()
    }

    /// A new snapshot must hold what the backup holds.
    async fn prove_restored(&self, vault: &VaultClient, leader: &NodeClient) -> Result<()> {
        let (_, now) = take_and_check(vault, leader, &self.keys).await?;
        let Some(opened) = &now.opened else {
            return Err(Error::new(ErrorKind::Unknown, "restore", "what was restored cannot be read back")
                .advice("run `groundwork backup check --latest PLAN`, and look at the log of the server"));
        };
        let comparison = Comparison::new(&opened.contents, self.contents());
        match comparison.changes.first() {
            None => Ok(()),
            Some(first) => {
                let count = comparison.changes.len();
                let message = format!(
                    "the server has not restored the backup: {count} things differ, such as the {} {}",
                    first.kind, first.name
                );
                Err(Error::new(ErrorKind::Unknown, "restore", message)
                    .advice("look at the log of the server, and run it again"))
            }
        }
    }

    /// Other nodes keep the tables of before in memory, and with them what was taken away by going back.
    async fn reload(
        &self,
        vault: &VaultClient,
        leader: &NodeClient,
        node: &NodeClient,
        restored: &mut Restored,
        told: &dyn Fn(&str),
    ) {
        let address = node.address().to_owned();
        let is_shamir = self.check.frame.as_ref().is_some_and(|(_, vitals)| vitals.seal == Seal::Shamir);
        if !is_shamir {
            restored.open.push(format!(
                "restart the server {address}: it has the mounts and policies of before in memory, and its seal does \
                 not let it open again by itself"
            ));
            return;
        }
        told(&format!("reloading {address}"));
        let reloaded = async {
            if !node.seal_status().await?.sealed {
                vault.seal_node(&by_command(), node).await?;
            }
            self.enter_shares(node).await?;
            await_open(node).await?;
            compare_tables(vault, leader, node).await
        };
        match reloaded.await {
            Ok(()) => restored.reloaded.push(address),
            Err(error) => restored.open.push(format!(
                "restart and unseal the server {address}, which may still have the mounts and policies of before: {error}"
            )),
        }
    }
}

/// The paths of a list of devices.
fn paths_of(devices: &Value) -> Vec<String> {
    let paths = devices.as_array().into_iter().flatten().filter_map(|one| one["path"].as_str());
    paths.map(|path| path.trim_end_matches('/').to_owned()).collect()
}

async fn await_open(node: &NodeClient) -> Result<()> {
    let started = Instant::now();
    // A standby that has just opened asks the leader for everything first.
    while node.seal_status().await?.sealed
        || node.leader().await.is_ok_and(|one| one.leader_address.is_empty())
    {
        if started.elapsed() > OPENS_WITHIN {
            let message = format!("{} does not open", node.address());
            return Err(Error::new(ErrorKind::Unavailable, "reload a node", message));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Requires that a node has the tables of the leader: the same mounts, and each policy with the same text.
async fn compare_tables(vault: &VaultClient, leader: &NodeClient, node: &NodeClient) -> Result<()> {
    let names = vault.list_from(leader, POLICIES).await?;
    let names = names["keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let policies = names.filter(|name| *name != "root").map(|name| format!("{POLICIES}/{name}"));
    for path in ["sys/mounts", "sys/auth"].map(str::to_owned).into_iter().chain(policies) {
        let started = Instant::now();
        let expected = vault.read_from(leader, &path).await?;
        loop {
            let seen = vault.read_from(node, &path).await;
            if seen.as_ref().is_ok_and(|seen| *seen == expected) {
                break;
            }
            if started.elapsed() > OPENS_WITHIN {
                let why =
                    seen.err().map_or("it differs from the leader's".to_owned(), |error| error.to_string());
                return Err(Error::new(ErrorKind::Unavailable, format!("compare {path}"), why));
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}
