//! Restoring into servers that are not initialised.
//!
//! No server takes a backup before it is initialised. So the first one is, in the share shape of the backup; it gets
//! the backup, opens with the backup's shares, and the others join it after that, which leaves none with tables of
//! another time in memory.

use std::time::{Duration, Instant};

use super::restore::{PATIENCE, POLL, Preview, Restore, Restored, compare_tables, refused};
use super::restore_live::contradicted;
use crate::apply::by_command;
use crate::backup::Comparison;
use crate::error::{Error, ErrorKind, Result};
use crate::place::Place;
use crate::providers::vault::{Custodian, Ground, NodeClient, Shape, VaultClient};
use crate::resource::Provided;
use crate::snapshot::{Contents, Seal};

/// How long a node that has just opened may take to follow its leader.
const FOLLOWS_WITHIN: Duration = Duration::from_mins(1);

/// Everything of the backup comes to servers that have nothing.
///
/// # Errors
/// `Rejected` when the servers have another seal, or are older than the backup.
pub(super) async fn preview(restore: &Restore, ground: Ground) -> Result<Preview> {
    let vault = VaultClient::provide(&restore.run, &Place::OWN).await?;
    let node = first(&vault)?;
    let status = node.seal_status().await?;
    restore.require_not_newer(&status.version)?;
    let seal = &restore.vitals()?.seal;
    let live = if status.seal.is_empty() { Seal::Shamir.to_string() } else { status.seal };
    if seal.to_string() != live {
        return Err(refused(format!(
            "the backup is of a cluster with the seal {seal}, and {} has the seal {live}: restored, it would never \
             open",
            node.address()
        ))
        .advice("give the servers the seal of the backup in their configuration"));
    }
    let comparison = Comparison::new(&Contents::default(), restore.contents());
    let remarks = match ground {
        Ground::Begun => vec!["an earlier restore was cut off; this one goes on from there".to_owned()],
        _ => vec![format!(
            "no server is initialised: {} is, and the others join it afterwards",
            node.address()
        )],
    };
    let address = node.address().to_owned();
    Ok(Preview { address, comparison, remarks, ground, active_since: None, anyway: true })
}

/// Initialises, restores, opens, joins the others, and proves it.
///
/// # Errors
/// As [`Restore::carry_out`].
pub(super) async fn carry_out(restore: &Restore, preview: &Preview, told: &dyn Fn(&str)) -> Result<Restored> {
    let permit = by_command();
    let custodian = Custodian::provide(&restore.run, &Place::OWN).await?;
    let vault = VaultClient::provide(&restore.run, &Place::OWN).await?;
    if preview.ground == Ground::Empty {
        told(&format!("initialising {} to take the backup", preview.address));
        custodian.initialise_for_restore(&permit, shape(restore)?).await?;
    }
    let node = first(&vault)?;
    if custodian.enter_for_restore(&permit).await? {
        require_startable(restore, &vault).await?;
        let before = node.leader().await?.active_time;
        told(&format!("restoring into {}", node.address()));
        // Its own seal proves the backup; shares are proven already, and are not those of the server yet.
        vault.restore_snapshot(&permit, &node, &restore.file, restore.is_shamir()).await?;
        await_landed(restore, &node, before).await?;
    }
    told("opening the servers with the backup's own shares");
    custodian.open_with(&permit, &restore.good_shares()).await?;
    let mut restored = Restored::default();
    restore.regain(&mut restored).await;
    let leader = vault.leading_node().await?;
    restore.prove_restored(&vault, &leader, &mut restored).await?;
    told("restored, and compared with the backup");
    for other in vault.nodes().into_iter().filter(|other| other.address() != leader.address()) {
        let address = other.address().to_owned();
        let followed = async {
            await_leader_known(&other).await?;
            compare_tables((&vault, &leader), (&vault, &other)).await
        };
        match followed.await {
            Ok(()) => restored.joined.push(address),
            Err(error) => restored.open.push(format!("look at the server {address}: {error}")),
        }
    }
    if let Err(error) = custodian.end_restore(&permit).await {
        restored.open.push(format!("a copy of the throw-away initialisation is left in custody: {error}"));
    }
    Ok(restored)
}

fn first(vault: &VaultClient) -> Result<NodeClient> {
    let node = vault.nodes().into_iter().next();
    node.ok_or_else(|| refused("the plan names no server").advice("name one in `vault.address`"))
}

/// The shape of the initialisation: shares of another shape would not fit the restored server before it is restarted.
fn shape(restore: &Restore) -> Result<Shape> {
    if !restore.is_shamir() {
        return Ok(Shape { shares: 1, threshold: 1 });
    }
    let config = restore.vitals()?.share_config();
    let number = |number: usize| {
        u32::try_from(number).map_err(|_| refused("the backup names an impossible number of shares"))
    };
    Ok(Shape { shares: number(config.shares)?, threshold: number(config.threshold)? })
}

/// An audit device of an empty server is one that its configuration declares.
async fn require_startable(restore: &Restore, vault: &VaultClient) -> Result<()> {
    let declared = vault.get("sys/audit").await?.unwrap_or_default();
    for device in &restore.contents().audit {
        let Some(live) = declared.get(&device.path).filter(|live| live.is_object()) else { continue };
        let options = live["options"].as_object().into_iter().flatten();
        let mut options = options.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
        let is_same = |(name, value): (&str, &str)| device.options.get(name).is_some_and(|one| one == value);
        let count = live["options"].as_object().map_or(0, serde_json::Map::len);
        if count != device.options.len()
            || !options.all(is_same)
            || live["type"].as_str() != Some(&device.kind)
        {
            return Err(contradicted(device.path.trim_end_matches('/')));
        }
    }
    Ok(())
}

/// The server has answered and restores now. One that is opened by shares seals itself at the end; one with a seal of
/// its own leads since another moment.
async fn await_landed(restore: &Restore, node: &NodeClient, before: Option<String>) -> Result<()> {
    let (started, is_shamir) = (Instant::now(), restore.is_shamir());
    loop {
        let landed = match is_shamir {
            true => node.seal_status().await.is_ok_and(|status| status.initialized && status.sealed),
            false => node.leader().await.is_ok_and(|leader| leader.is_self && leader.active_time != before),
        };
        if landed {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            let minutes = PATIENCE.as_secs() / 60;
            let message = format!("{} has not restored within {minutes} minutes", node.address());
            return Err(Error::new(ErrorKind::Unknown, "restore", message)
                .advice("look at the log of the server, and run it again: it goes on from there"));
        }
        tokio::time::sleep(POLL).await;
    }
}

pub(super) async fn await_leader_known(node: &NodeClient) -> Result<()> {
    let started = Instant::now();
    // A standby that has just opened asks the leader for everything first.
    while !node.leader().await.is_ok_and(|one| !one.leader_address.is_empty()) {
        if started.elapsed() > FOLLOWS_WITHIN {
            let message = format!("{} follows no leader", node.address());
            return Err(Error::new(ErrorKind::Unavailable, "join the cluster", message));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
