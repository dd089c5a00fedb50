//! A cluster is proven node by node: all answer, are open, run the same version, and serve the same engines, methods
//! and policies; the servers of its storage vote and are healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Map, Value};

use super::super::VaultClient;
use super::super::custodian::Custodian;
use super::super::init::Members;
use super::super::node::{Health, NodeClient, SealStatus};
use super::super::server::POLICIES;
use super::Vault;
use crate::error::{ErrorKind, Result};
use crate::proof::{Prover, days_in};
use crate::visible::first_few;

/// How long a standby has to catch up with a recent change.
const CATCH_UP: Duration = Duration::from_secs(2);

/// How many days a node's certificate must still be good for.
const RENEW_WITHIN: i64 = 14;

/// How many differences a finding names.
const SHOWN: usize = 6;

/// The tables that each node is asked for, each with the name of an entry.
const TABLES: [(&str, &str, &str); 3] =
    [("engine", "GET", "sys/mounts"), ("auth method", "GET", "sys/auth"), ("policy", "LIST", POLICIES)];

/// Tries every node, the storage, and whether enough key shares can be obtained.
pub(in crate::providers::vault) async fn of_init(prover: &Prover<'_, Custodian>, threshold: u32) {
    let vault = prover.with(&*prover.client().vault);
    let shares = async {
        let tried = "enough key shares open";
        let standing = prover.standing(Some(threshold)).await;
        let Some(standing) = prover.ask(tried, "custody can be read", standing) else { return };
        let needed = standing.threshold.unwrap_or(threshold);
        match standing.problems.is_empty() {
            true if standing.shares == 0 => {
                let needs = format!(
                    "{needed} of the {} holders, since only they can open their shares",
                    standing.handed_out
                );
                prover.untried(tried, needs);
            }
            true => prover.proven(format!("{} key shares open, {needed} are needed", standing.shares)),
            false => prover.failed(
                tried,
                format!("{needed} shares can be obtained"),
                standing.problems.join("; "),
                "run `groundwork custody check PLAN`, then with `--repair`",
            ),
        }
    };
    futures::join!(of_nodes(&vault), shares);
}

/// Tries every node and the storage.
pub(in crate::providers::vault) async fn of_nodes(prover: &Vault<'_>) {
    let nodes = prover.nodes();
    let serving = alive(prover, &nodes).await;
    let certificates = certificates(prover, &serving);
    futures::join!(storage(prover, nodes.len()), same_everywhere(prover, &serving), certificates);
}

/// Whether each node answers, is open and runs the same version, and exactly one leads. Returns those that serve.
async fn alive<'n>(prover: &Vault<'_>, nodes: &'n [NodeClient]) -> Vec<&'n NodeClient> {
    let answers =
        join_all(nodes.iter().map(|node| async move { (node.seal_status().await, node.health().await) }));
    let answers: Vec<(Result<SealStatus>, Result<Health>)> = answers.await;
    let (mut serving, mut versions) = (Vec::new(), BTreeMap::<String, Vec<&str>>::new());
    let mut leaders = 0;
    for (node, (status, health)) in nodes.iter().zip(answers) {
        let tried = format!("the node {} serves", node.address());
        let Some(status) = prover.ask(&tried, "it answers", status) else { continue };
        versions.entry(status.version.clone()).or_default().push(node.address());
        if !status.initialized || status.sealed {
            let seen = if status.initialized { "it is sealed" } else { "it is not initialised" };
            let advice = "run `groundwork unseal PLAN`; an empty server joins by `groundwork apply`";
            prover.failed(tried, "it is unsealed", seen, advice);
            continue;
        }
        let Some(health) = prover.ask(&tried, "it says how it is", health) else { continue };
        leaders += usize::from(health == Health::Active);
        serving.push(node);
    }
    if serving.len() == nodes.len() {
        prover.proven(match nodes.len() {
            1 => "its node serves".to_owned(),
            count => format!("its {count} nodes serve"),
        });
    }
    if leaders != 1 {
        let advice = "wait for an election, then look at the servers' logs";
        prover.failed("one node leads", "1 active node", format!("{leaders} active nodes"), advice);
    }
    match versions.keys().collect::<Vec<_>>().as_slice() {
        [] => {}
        [version] => prover.proven(format!("version {version}")),
        _ => {
            let seen = versions.iter().map(|(version, nodes)| format!("{version} on {}", nodes.join(", ")));
            let advice = "bring the servers to one version, one after the other (`groundwork restart PLAN -- COMMAND`)";
            prover.failed(
                "one version on every node",
                "the same version",
                seen.collect::<Vec<_>>().join("; "),
                advice,
            );
        }
    }
    serving
}

/// Whether the nodes' certificates are good for a while; nothing is said of nodes without TLS.
async fn certificates(prover: &Vault<'_>, nodes: &[&NodeClient]) {
    let now = jiff::Timestamp::now().as_second();
    let mut shortest: Option<i64> = None;
    for node in nodes {
        let tried = format!("the certificate of {}", node.address());
        let expiry = prover.ask(&tried, "a certificate", node.certificate_expiry().await).flatten();
        let Some(expiry) = expiry else { continue };
        let days = judge_certificate(prover, &tried, expiry - now);
        shortest = Some(shortest.map_or(days, |shortest| shortest.min(days)));
    }
    if let Some(days) = shortest.filter(|days| *days >= RENEW_WITHIN) {
        prover.proven(format!("the nodes' certificates are good for {days} days"));
    }
}

/// Says so when a certificate that ends in so many seconds ends soon. Returns its days.
fn judge_certificate<C>(prover: &Prover<'_, C>, tried: &str, seconds: i64) -> i64 {
    let days = days_in(seconds);
    if days < RENEW_WITHIN {
        let advice =
            "give the server another certificate and restart it (`groundwork restart PLAN -- COMMAND`)";
        prover.failed(tried, format!("good for {RENEW_WITHIN} days"), format!("{days} days"), advice);
    }
    days
}

/// Whether the servers of the storage vote and are healthy.
async fn storage(prover: &Vault<'_>, nodes: usize) {
    let tried = "the servers of its storage are healthy and vote";
    let state = match prover.get("sys/storage/raft/autopilot/state").await {
        // The storage is not Raft, or has no such report.
        Ok(None) => return,
        Err(error) if error.kind == ErrorKind::Rejected => return,
        state => prover.ask(tried, "an answer", state).flatten(),
    };
    let Some(state) = state else { return };
    let members = Members::reported(&state);
    let (count, mut faults) = (members.count(), members.faults());
    if count < nodes {
        faults.push(format!("{count} of {nodes} servers are part of it"));
    }
    if state["healthy"] != true && faults.is_empty() {
        faults.push("the cluster says that it is not healthy".to_owned());
    }
    match faults.is_empty() {
        true => prover.proven(match count {
            1 => "its storage is healthy".to_owned(),
            count => format!("{count} servers of its storage are healthy and vote"),
        }),
        false => {
            let advice = "look at `sys/storage/raft/autopilot/state` and the servers' logs; an empty server in the \
                          place of a lost one joins by `groundwork apply`";
            prover.failed(tried, format!("{nodes} healthy servers that vote"), faults.join("; "), advice);
        }
    }
}

/// Whether every node serves the same. After a restore a standby keeps what it had in memory, without limit: a
/// policy that was taken back is still granted there.
async fn same_everywhere(prover: &Vault<'_>, nodes: &[&NodeClient]) {
    if nodes.len() < 2 {
        return;
    }
    let tried = "the same engines, methods and policies on every node";
    let found = lasting_differences(prover.client(), nodes).await;
    let Some(found) = prover.ask(tried, "an answer of each node", found) else { return };
    match found.is_empty() {
        true => prover.proven(tried),
        false => {
            let seen = first_few(found, SHOWN, "; ");
            let advice = "have the standbys read their storage again: seal each one and unseal it (`groundwork \
                          unseal PLAN`), or restart it";
            prover.failed(tried, "no difference", seen, advice);
        }
    }
}

/// In which entries nodes differ from the first one, and go on to after a while.
pub(in crate::providers::vault) async fn lasting_differences(
    client: &VaultClient,
    nodes: &[&NodeClient],
) -> Result<Vec<String>> {
    let found = differences(client, nodes).await?;
    if found.is_empty() {
        return Ok(found);
    }
    tokio::time::sleep(CATCH_UP).await;
    differences(client, nodes).await
}

/// In which entries nodes differ from the first one.
async fn differences(client: &VaultClient, nodes: &[&NodeClient]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (noun, method, path) in TABLES {
        let tables = join_all(nodes.iter().map(|node| client.get_from(node.address(), method, path))).await;
        let tables = tables.into_iter().map(known).collect::<Result<Vec<_>>>()?;
        // A server that has no such table has none on any node.
        let mut tables = nodes.iter().zip(tables).filter_map(|(node, table)| Some((node, table?)));
        let Some((_, first)) = tables.next() else { continue };
        for (node, table) in tables {
            let names: BTreeSet<&String> = first.keys().chain(table.keys()).collect();
            let differing = names.into_iter().filter(|name| first.get(*name) != table.get(*name));
            found.extend(differing.map(|name| {
                let how = match (first.get(name), table.get(name)) {
                    (Some(_), Some(_)) => "is another one",
                    (Some(_), None) => "is missing",
                    _ => "is there, and is not on the others",
                };
                format!("{noun} {name} {how} on {}", node.address())
            }));
        }
    }
    Ok(found)
}

/// The entries of a node's table; `None` when it does not have one.
fn known(table: Result<Option<Value>>) -> Result<Option<Map<String, Value>>> {
    match table {
        Err(error) if error.kind == ErrorKind::Rejected => Ok(None),
        table => Ok(table?.map(entries)),
    }
}

/// The entries of a table, without what a node counts for itself. A server without a list of texts has only names.
fn entries(mut table: Value) -> Map<String, Value> {
    let named = table.get_mut("key_info").map(Value::take);
    match named.unwrap_or(table) {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::permit::Permit;
    use crate::proof::{Outcome, Proofs};

    const DAY: i64 = 86_400;

    #[test]
    fn certificate_that_ends_soon_is_told_with_its_days() {
        let proofs = Proofs::new(Permit::mint(), Vec::new(), BTreeMap::new());
        let prover = Prover::new(&(), &proofs, "cluster");
        assert_eq!(judge_certificate(&prover, "the certificate of a", RENEW_WITHIN * DAY), RENEW_WITHIN);
        assert!(proofs.take_findings().is_empty());
        for (seconds, days) in [(RENEW_WITHIN * DAY - 1, "13 days"), (-1, "-1 days")] {
            judge_certificate(&prover, "the certificate of a", seconds);
            let found = proofs.take_findings().remove(0);
            let Outcome::Failed { seen, .. } = found.outcome else { panic!("{found:?}") };
            assert_eq!((found.tried.as_str(), seen.as_str()), ("the certificate of a", days));
        }
    }

    #[test]
    fn read_replica_is_no_missing_voter() {
        let server = |status: &str, kind: &str, healthy: bool| json!({ "status": status, "node_type": kind, "healthy": healthy });
        let state = json!({ "servers": {
            "a": server("leader", "voter", true), "b": server("non-voter", "read-replica", true),
        } });
        let members = Members::reported(&state);
        assert_eq!((members.count(), members.faults()), (2, Vec::new()));
        let state = json!({ "servers": {
            "a": server("non-voter", "voter", true), "b": server("voter", "voter", false),
        } });
        assert_eq!(Members::reported(&state).faults(), ["a does not vote", "b is not healthy"]);
    }
}
