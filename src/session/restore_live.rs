//! Restoring into a cluster that is initialised.

use std::time::Instant;

use serde_json::Value;

use super::backups::take_and_check;
use super::restore::{PATIENCE, POLL, Preview, Restore, Restored, compare_tables, refused};
use crate::apply::by_command;
use crate::backup::Comparison;
use crate::error::{Error, ErrorKind, Result};
use crate::place::Place;
use crate::providers::vault::{Custodian, Ground, NodeClient, NodeProof, VaultClient};
use crate::resource::Provided;
use crate::snapshot::Contents;

/// Compares the live cluster with the backup, by a snapshot of the present.
///
/// # Errors
/// As [`Restore::preview`].
pub(super) async fn preview(restore: &Restore, anyway: bool) -> Result<Preview> {
    let vault = VaultClient::provide(&restore.run, &Place::OWN).await?;
    let node = vault.leading_node().await?;
    let (_, live) = take_and_check(&vault, &node, &restore.keys).await?;
    let mut remarks = Vec::new();
    let status = node.seal_status().await?;
    restore.require_not_newer(&status.version)?;
    let Some((_, theirs)) = &live.frame else {
        return Err(refused("the live cluster gave no whole snapshot of itself"));
    };
    let ours = restore.vitals()?;
    if restore.contents().cluster_id != status.cluster_id && !anyway {
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
    if ours.seal != theirs.seal {
        return Err(refused(format!(
            "the backup is of a cluster with the seal {}, and this one has the seal {}: restored, it would never open",
            ours.seal, theirs.seal
        ))
        .advice("give the servers the seal of the backup in their configuration, and begin with empty ones"));
    }
    let (mine, others) = (ours.share_config(), theirs.share_config());
    if restore.is_shamir() && (mine.shares, mine.threshold) != (others.shares, others.threshold) {
        remarks.push(format!(
            "the backup's key has {} shares, of which {} open it, and the cluster's has {} and {}: the servers have to \
             be restarted before they take the backup's shares",
            mine.shares, mine.threshold, others.shares, others.threshold
        ));
    }
    let comparison = match &live.opened {
        Some(opened) => {
            require_startable(restore, &vault, &opened.contents, &mut remarks).await?;
            Comparison::new(&opened.contents, restore.contents())
        }
        None if anyway => {
            remarks.push(
                "no key at hand opens the live cluster, so what is lost of it cannot be listed: everything"
                    .to_owned(),
            );
            Comparison::new(&Contents::default(), restore.contents())
        }
        None => {
            let why = live.flaw.as_ref().map(ToString::to_string).unwrap_or_default();
            return Err(refused(format!("the live cluster cannot be compared with the backup: {why}"))
                .advice("give the shares of today as well, with `--share`"));
        }
    };
    let active_since = node.leader().await?.active_time;
    let address = node.address().to_owned();
    Ok(Preview { address, comparison, remarks, ground: Ground::Inhabited, active_since, anyway })
}

/// A device that the server's configuration declares with other options than the backup has keeps the server
/// from becoming active.
async fn require_startable(
    restore: &Restore,
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
    for device in &restore.contents().audit {
        let now = live.audit.iter().find(|one| one.path == device.path);
        let path = device.path.trim_end_matches('/');
        if now.is_some_and(|now| now.options != device.options) && declared.iter().any(|one| one == path) {
            return Err(contradicted(path));
        }
    }
    Ok(())
}

/// The refusal of a server that would never become active.
pub(super) fn contradicted(device: &str) -> Error {
    refused(format!(
        "the server's configuration declares the audit device {device} with other options than the backup has; \
         restored, it would unseal and never become active"
    ))
    .advice(
        "take the `audit` stanza out of the configuration and reload it (SIGHUP), restore, then put the stanza back",
    )
}

/// Restores, waits for the proof, and has every other node read its tables again.
///
/// # Errors
/// As [`Restore::carry_out`].
pub(super) async fn carry_out(restore: &Restore, preview: &Preview, told: &dyn Fn(&str)) -> Result<Restored> {
    let vault = VaultClient::provide(&restore.run, &Place::OWN).await?;
    let node = vault.leading_node().await?;
    if node.address() != preview.address {
        return Err(refused(format!("{} leads now; nothing was changed", node.address()))
            .advice("run it again, and look at the preview"));
    }
    told(&format!("restoring into {}", node.address()));
    vault.restore_snapshot(&by_command(), &node, &restore.file, preview.anyway).await?;
    let leader = await_restored(restore, &vault, preview, told).await?;
    vault.reset_readiness().await;
    vault.clear_token().await;
    let mut restored = Restored::default();
    restore.regain(&mut restored).await;
    restore.prove_restored(&vault, &leader, &mut restored).await?;
    told("restored, and compared with the backup");
    let others: Vec<_> =
        vault.nodes().into_iter().filter(|other| other.address() != leader.address()).collect();
    for other in &others {
        reload(restore, &vault, &leader, other, &mut restored, told).await;
    }
    // A cluster that lacks a node does not settle before a person has seen to it.
    let is_whole = restored.reloaded.len() == others.len();
    if is_whole && !others.is_empty() && restore.run.custody_settings.is_some() {
        // The cluster takes its time to count on the nodes again, and is looked at next.
        let settled = Custodian::provide(&restore.run, &Place::OWN).await?.await_settled().await;
        restored.open.extend(settled.err().map(|error| format!("look at the cluster: {error}")));
    }
    Ok(restored)
}

/// The server has answered and restores now. It is done when a node leads since another moment; nodes that seal
/// themselves get the shares that open the backup.
async fn await_restored(
    restore: &Restore,
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
            if node.seal_status().await.is_ok_and(|status| status.initialized && status.sealed) {
                told(&format!("{} has sealed itself; entering shares", node.address()));
                open_all(restore, vault).await?;
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

/// Opens every node with the shares of the backup.
async fn open_all(restore: &Restore, vault: &VaultClient) -> Result<()> {
    let (permit, shares) = (by_command(), restore.good_shares());
    let opened = match restore.run.custody_settings.is_some() {
        true => {
            let custodian = Custodian::provide(&restore.run, &Place::OWN).await?;
            custodian.open_with(&permit, &shares).await
        }
        false => {
            let proof = NodeProof::of_run(&restore.run)?;
            Custodian::enter_shares(vault, &proof, &permit, &shares).await.map(drop)
        }
    };
    opened.map_err(|error| match error.kind {
        ErrorKind::Rejected => {
            let Error { message, .. } = error;
            Error::new(ErrorKind::Unknown, "open the restored cluster", message).advice(
                "the backup is restored. Restart the processes of the servers, which makes them take its share shape, \
                 then open them with its shares: `groundwork unseal PLAN --share`",
            )
        }
        _ => error,
    })
}

/// Other nodes keep the tables of before in memory, and with them what was taken away by going back.
async fn reload(
    restore: &Restore,
    vault: &VaultClient,
    leader: &NodeClient,
    node: &NodeClient,
    restored: &mut Restored,
    told: &dyn Fn(&str),
) {
    let address = node.address().to_owned();
    let shares = restore.good_shares();
    if !restore.is_shamir() && shares.is_empty() {
        restored.open.push(format!(
            "restart the server {address}: it has the mounts and policies of before in memory, and its seal does \
             not let it open again by itself"
        ));
        return;
    }
    let status = match node.seal_status().await {
        Ok(status) => status,
        Err(error) => {
            restored.open.push(format!(
                "start the server {address} and unseal it, or put an empty one in its place, which `groundwork apply` \
                 joins to the cluster: {error}"
            ));
            return;
        }
    };
    told(&format!("reloading {address}"));
    let reloaded = async {
        let permit = by_command();
        if !status.sealed {
            vault.seal_node(&permit, node).await?;
        }
        Custodian::open_node(&permit, node, leader.address(), &shares).await?;
        compare_tables((vault, leader), (vault, node)).await
    };
    match reloaded.await {
        Ok(()) => restored.reloaded.push(address),
        Err(error) => restored.open.push(format!(
            "restart and unseal the server {address}, which may still have the mounts and policies of before: {error}"
        )),
    }
}

/// The paths of a list of devices.
fn paths_of(devices: &Value) -> Vec<String> {
    let paths = devices.as_array().into_iter().flatten().filter_map(|one| one["path"].as_str());
    paths.map(|path| path.trim_end_matches('/').to_owned()).collect()
}
