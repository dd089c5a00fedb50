//! How a cluster stands: each node asked about itself, without a token; its storage and keys as far as they can be
//! asked. Nothing that fails keeps another answer back.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::timeout;

use super::node::{Health, Leader, NodeClient};
use super::prove::cluster::lasting_differences;
use super::{Custodian, VaultClient, VaultInit, declared_split};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{Keys, Node, NodeState, Storage, StorageServer, System};
use crate::net::timeout::at_most;
use crate::place::Place;
use crate::proof::Known;
use crate::resource::{Provided, Resource};
use crate::run::Run;

/// How long a node has to answer about itself.
const NODE: Duration = Duration::from_secs(5);

/// Asks the cluster of a run. `limit` bounds what needs a token, and what is in custody.
pub(super) async fn of_cluster(run: &Run, declared: &[Known], limit: Duration) -> System {
    let client = match VaultClient::provide(run, &Place::OWN).await {
        Ok(client) => client,
        Err(error) => return System::unseen("vault", in_words(&error)),
    };
    let servers = client.nodes();
    let (nodes, keys) = futures::join!(
        join_all(servers.iter().map(node)),
        within(limit, keys(run, declared_shares(declared)))
    );
    let mut system = System { provider: "vault", nodes: lagging(nodes), ..System::default() };
    match keys {
        Ok(keys) => system.keys = keys,
        Err(why) => system.keys_unseen = Some(why),
    }
    if system.leaders() > 0 {
        let serving = serving(&servers, &system.nodes);
        let (storage, differences) = futures::join!(
            within(limit, storage(&client)),
            within(limit, lasting_differences(&client, &serving))
        );
        match storage {
            Ok(storage) => system.storage = storage,
            Err(why) => system.storage_unseen = Some(why),
        }
        match differences {
            Ok(differences) => system.differences = differences,
            Err(why) => system.differences_unseen = Some(why),
        }
    }
    system
}

/// The nodes that serve.
fn serving<'n>(servers: &'n [NodeClient], nodes: &[Node]) -> Vec<&'n NodeClient> {
    let serves = |node: &Node| matches!(node.state, NodeState::Active | NodeState::Standby);
    servers.iter().zip(nodes).filter(|(_, node)| serves(node)).map(|(server, _)| server).collect()
}

/// An answer, or why there is none in time.
async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T>>) -> Result<T, String> {
    match timeout(at_most(limit), answer).await {
        Ok(answer) => answer.map_err(|error| in_words(&error)),
        Err(_) => Err(format!("no answer within {} s", at_most(limit).as_secs_f32())),
    }
}

fn in_words(error: &Error) -> String {
    match &error.advice {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

/// A node, and its place in the log: that of the leader's commits, or of its own applied entries.
type Asked = (Node, Option<u64>);

async fn node(node: &NodeClient) -> Asked {
    let (status, health, leader, ends) = futures::join!(
        within(NODE, node.seal_status()),
        within(NODE, node.health()),
        within(NODE, node.leader()),
        within(NODE, node.certificate_expiry()),
    );
    let mut found = Node { address: node.address().to_owned(), ..Node::default() };
    let status = match status {
        Ok(status) => status,
        Err(why) => return (Node { why: Some(why), ..found }, None),
    };
    let leader: Option<Leader> = leader.ok();
    let leads = leader.as_ref().is_some_and(|leader| leader.is_self);
    found.state = match health {
        _ if !status.initialized => NodeState::Uninitialised,
        _ if status.sealed => NodeState::Sealed,
        Ok(Health::Active) => NodeState::Active,
        Err(_) if leads => NodeState::Active,
        _ => NodeState::Standby,
    };
    found.entered = (found.state == NodeState::Sealed).then_some((status.progress, status.threshold));
    found.version = Some(status.version).filter(|version| !version.is_empty());
    found.seal = Some(status.seal).filter(|seal| !seal.is_empty());
    found.certificate_ends = ends.ok().flatten().and_then(|end| Timestamp::from_second(end).ok());
    found.active_since = leader.as_ref().filter(|_| leads).and_then(|leader| leader.active_time.clone());
    let place =
        leader.map(|leader| if leads { leader.raft_committed_index } else { leader.raft_applied_index });
    let place = place.filter(|place| *place > 0);
    (found, place)
}

/// The nodes, each standby with how far it is behind the leader.
fn lagging(asked: Vec<Asked>) -> Vec<Node> {
    let leads = |node: &Node| node.state == NodeState::Active;
    let committed = asked.iter().find(|(node, _)| leads(node)).and_then(|(_, place)| *place);
    let behind = |(node, place): Asked| {
        let is_standby = node.state == NodeState::Standby;
        let lag = committed.zip(place).filter(|_| is_standby).map(|(now, there)| now.saturating_sub(there));
        Node { lag, ..node }
    };
    asked.into_iter().map(behind).collect()
}

/// The storage by the report of its autopilot; nothing where it has none.
async fn storage(client: &VaultClient) -> Result<Option<Storage>> {
    match client.get("sys/storage/raft/autopilot/state").await {
        Ok(state) => Ok(state.map(|state| storage_of(&state))),
        Err(error) if error.kind == ErrorKind::Rejected => Ok(None),
        Err(error) => Err(error),
    }
}

fn storage_of(state: &Value) -> Storage {
    let server = |(id, server): (&String, &Value)| StorageServer {
        id: id.clone(),
        status: server["status"].as_str().unwrap_or("unknown").to_owned(),
        healthy: server["healthy"] == true,
    };
    Storage {
        healthy: state["healthy"] == true,
        failure_tolerance: state["failure_tolerance"].as_u64().unwrap_or_default(),
        servers: state["servers"].as_object().into_iter().flatten().map(server).collect(),
    }
}

/// The threshold that the plan declares, where it initialises the cluster.
fn declared_shares(declared: &[Known]) -> Option<u32> {
    let init = declared.iter().find(|step| step.kind == VaultInit::KIND && step.place == Place::OWN);
    init.and_then(|step| declared_split(step.fields.clone()).map(|split| split.threshold))
}

/// The shares that custody gives today; nothing without custody.
async fn keys(run: &Run, threshold: Option<u32>) -> Result<Option<Keys>> {
    if run.custody_settings.is_none() {
        return Ok(None);
    }
    let standing = Custodian::provide(run, &Place::OWN).await?.standing(threshold).await?;
    Ok(Some(Keys {
        threshold: standing.threshold,
        shares: standing.shares,
        handed_out: standing.handed_out,
        problems: standing.problems,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn standby_lags_behind_what_the_leader_has_committed() {
        let node = |state| Node { state, ..Node::default() };
        let asked = vec![
            (node(NodeState::Standby), Some(40)),
            (node(NodeState::Active), Some(47)),
            (node(NodeState::Sealed), None),
        ];
        let lags: Vec<Option<u64>> = lagging(asked).into_iter().map(|node| node.lag).collect();
        assert_eq!(lags, [Some(7), None, None]);
    }

    #[test]
    fn storage_counts_its_voters() {
        let server = |status: &str, healthy: bool| json!({ "status": status, "healthy": healthy });
        let state = json!({ "healthy": false, "failure_tolerance": 1, "servers": {
            "a": server("leader", true), "b": server("voter", false), "c": server("non-voter", true) } });
        let storage = storage_of(&state);
        assert_eq!((storage.voters(), storage.failure_tolerance, storage.healthy), (2, 1, false));
        assert_eq!(storage.servers.iter().filter(|server| !server.healthy).count(), 1);
    }
}
