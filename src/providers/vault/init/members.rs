//! The servers that a Raft cluster counts: waiting until each of them may vote, and letting go of dead
//! ones whose place in the plan others have taken.
//! <https://openbao.org/api-docs/system/storage/raftautopilot/>.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::permit::Permit;
use crate::providers::vault::VaultClient;

/// How often the cluster is asked.
const POLL: Duration = Duration::from_millis(500);
/// How long servers may take to become voters: the time in which the cluster finds a server stable,
/// by default 10 s, and the time until it looks.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long the cluster may take to notice that a server is dead; its default is 10 s.
const NOTICE: Duration = Duration::from_secs(20);

/// The servers of a Raft cluster, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::providers::vault) struct Members(BTreeMap<String, Member>);

/// One of the cluster's servers, as the cluster reports it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Member {
    /// Whether it is in touch with the leader and not behind.
    #[serde(default)]
    healthy: bool,
    /// `leader`, `voter` or `non-voter`.
    #[serde(default)]
    status: String,
    /// Its intended role; a read replica never becomes a voter.
    #[serde(default = "voter")]
    node_type: String,
}

fn voter() -> String {
    "voter".to_owned()
}

impl Member {
    /// One of which nothing is known yet.
    fn new() -> Self {
        Self { healthy: false, status: String::new(), node_type: voter() }
    }

    /// Whether it is to vote and may not yet, as for some time after it has joined.
    fn is_waiting_to_vote(&self) -> bool {
        self.node_type == "voter" && !matches!(self.status.as_str(), "leader" | "voter")
    }
}

impl Members {
    /// Asks the cluster; `None` when its storage is not Raft, or when it does not report health.
    ///
    /// # Errors
    /// When there is no leader, or the token may not ask.
    pub(super) async fn ask(vault: &VaultClient) -> Result<Option<Self>> {
        let configuration = vault.get("sys/storage/raft/configuration").await?;
        let state = vault.get("sys/storage/raft/autopilot/state").await?;
        Ok(configuration.zip(state).map(|(configuration, state)| Self::of(&configuration, &state)))
    }

    /// A server that joined a moment ago is in the configuration before anything is known of it.
    pub(super) fn of(configuration: &Value, state: &Value) -> Self {
        let servers = configuration["config"]["servers"].as_array().into_iter().flatten();
        let names = servers.filter_map(|server| server["node_id"].as_str());
        let known =
            |name: &str| Member::deserialize(&state["servers"][name]).unwrap_or_else(|_| Member::new());
        Self(names.map(|name| (name.to_owned(), known(name))).collect())
    }

    /// The servers that the cluster's own report names.
    pub(in crate::providers::vault) fn reported(state: &Value) -> Self {
        let servers = state["servers"].as_object().into_iter().flatten();
        let known = |server: &Value| Member::deserialize(server).unwrap_or_else(|_| Member::new());
        Self(servers.map(|(name, server)| (name.clone(), known(server))).collect())
    }

    /// How many there are.
    pub(in crate::providers::vault) fn count(&self) -> usize {
        self.0.len()
    }

    /// Which of them are not as they should be, and why. A read replica is not to vote.
    pub(in crate::providers::vault) fn faults(&self) -> Vec<String> {
        let fault = |(name, member): (&String, &Member)| match member.healthy {
            false => Some(format!("{name} is not healthy")),
            true => member.is_waiting_to_vote().then(|| format!("{name} does not vote")),
        };
        self.0.iter().filter_map(fault).collect()
    }

    fn healthy(&self) -> usize {
        self.0.values().filter(|member| member.healthy).count()
    }

    /// Servers that the cluster counts and that are not in touch with it.
    pub(super) fn dead(&self) -> Vec<&str> {
        self.0.iter().filter(|(_, member)| !member.healthy).map(|(name, _)| name.as_str()).collect()
    }

    /// Servers that are not in touch with the cluster, or may not vote yet.
    pub(super) fn unsettled(&self) -> Vec<&str> {
        let unsettled = |member: &Member| !member.healthy || member.is_waiting_to_vote();
        self.0.iter().filter(|(_, member)| unsettled(member)).map(|(name, _)| name.as_str()).collect()
    }

    /// Whether `nodes` servers are healthy and none of them is still to become a voter.
    pub(super) fn settled(&self, nodes: usize) -> bool {
        self.healthy() >= nodes && !self.0.values().any(Member::is_waiting_to_vote)
    }

    /// Whether there are more servers than the plan's `nodes`, all of them well as far as the cluster
    /// knows. It takes its time to notice that one is dead.
    fn may_hide_the_dead(&self, nodes: usize) -> bool {
        self.healthy() > nodes
    }

    /// The dead servers that are none of the plan's `nodes`, because all of these were `reached` and as many are well.
    /// One of the plan's own that has come back a moment ago may be among them, see [`settle`].
    pub(super) fn replaced(&self, nodes: usize, reached: usize) -> Vec<&str> {
        if reached == nodes && self.healthy() == nodes { self.dead() } else { Vec::new() }
    }
}

/// Waits until the nodes of the plan that were `reached` are healthy and may vote. Then removes from the
/// cluster the dead servers that others have replaced: it would still count on their votes.
///
/// The cluster knows its servers by names and the plan by addresses, and either may change without the other. So a
/// server counts as replaced only when it stays dead for as long as the cluster takes to notice that one is back. By
/// then a node of the plan is well, and there are more healthy servers than the plan has.
///
/// A cluster that takes its time or does not report its state is not an error: it already serves.
pub(super) async fn settle(vault: &VaultClient, permit: &Permit, reached: usize) -> Result<()> {
    let (started, nodes) = (Instant::now(), vault.nodes().len());
    let hidden = |members: &Members| started.elapsed() < NOTICE && members.may_hide_the_dead(nodes);
    let mut dead_since = None;
    let members = loop {
        match Members::ask(vault).await {
            Ok(Some(members)) if members.settled(reached) && !hidden(&members) => {
                if members.replaced(nodes, reached).is_empty() {
                    return Ok(());
                }
                if dead_since.get_or_insert_with(Instant::now).elapsed() > NOTICE {
                    break members;
                }
                tokio::time::sleep(POLL).await;
            }
            Ok(None) => return Ok(()),
            Err(error) if !error.is_retriable() => {
                warn_unseen(vault, &error);
                return Ok(());
            }
            Ok(Some(_)) | Err(_) if started.elapsed() > PATIENCE => {
                warn_unsettled(vault);
                return Ok(());
            }
            Ok(Some(_)) | Err(_) => tokio::time::sleep(POLL).await,
        }
    };
    for name in members.replaced(nodes, reached) {
        vault.post(permit, "sys/storage/raft/remove-peer", &json!({ "server_id": name })).await?;
    }
    Ok(())
}

fn warn_unsettled(vault: &VaultClient) {
    vault.warnings().insert(format!(
        "not every node of {} has become a voter within {} s; `bao operator raft autopilot state` shows which",
        vault.address(),
        PATIENCE.as_secs()
    ));
}

fn warn_unseen(vault: &VaultClient, error: &Error) {
    vault
        .warnings()
        .insert(format!("whether every node of {} may vote cannot be seen: {error}", vault.address()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(servers: &[(&str, &str, bool)]) -> Members {
        let list: Vec<Value> = servers.iter().map(|(name, ..)| json!({ "node_id": name })).collect();
        let state: serde_json::Map<String, Value> = servers
            .iter()
            .filter(|(_, status, _)| !status.is_empty())
            .map(|&(name, status, healthy)| {
                (name.to_owned(), json!({ "status": status, "healthy": healthy, "node_type": "voter" }))
            })
            .collect();
        Members::of(&json!({ "config": { "servers": list } }), &json!({ "servers": state }))
    }

    #[test]
    fn cluster_is_settled_when_all_voters_are_healthy() {
        let two = [("a", "leader", true), ("b", "voter", true)];
        let with = |third| members(&[two[0], two[1], third]);
        assert!(with(("c", "voter", true)).settled(3));
        assert!(!with(("c", "non-voter", true)).settled(3), "not a voter yet");
        assert!(!with(("c", "voter", false)).settled(3), "not back yet");
        assert!(!with(("c", "", true)).settled(3), "joined a moment ago");
        assert!(with(("c", "voter", false)).settled(2), "a node that is not the plan's");
    }

    #[test]
    fn read_replica_does_not_delay_settling() {
        let state = json!({ "servers": { "a": { "status": "non-voter", "healthy": true, "node_type": "non-voter" } } });
        let configuration = json!({ "config": { "servers": [{ "node_id": "a" }] } });
        assert!(Members::of(&configuration, &state).settled(1));
    }

    #[test]
    fn only_certainly_replaced_member_is_removed() {
        let with = |last: &[(&str, &str, bool)]| {
            let mut all = vec![("a", "leader", true), ("b", "voter", true)];
            all.extend(last);
            members(&all)
        };
        let successor = with(&[("c", "voter", false), ("d", "voter", true)]);
        assert_eq!(successor.replaced(3, 3), ["c"]);
        assert!(
            successor.replaced(4, 4).is_empty(),
            "one of the plan's nodes is missing, which may be this one"
        );
        assert!(
            successor.replaced(3, 2).is_empty(),
            "a stranger is well, and one of the plan's nodes is not"
        );
        assert!(successor.replaced(2, 2).is_empty(), "there are servers that the plan does not know");
        let unnoticed = with(&[("c", "voter", true), ("d", "voter", true)]);
        assert!(unnoticed.may_hide_the_dead(3) && !successor.may_hide_the_dead(3));
        assert!(unnoticed.replaced(3, 3).is_empty());
    }
}
