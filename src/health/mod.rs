//! How a system and its servers stand now, as far as each can be asked; and what is due to be replaced.

mod due;

pub use due::{Due, ROTATION, days_until};

use jiff::Timestamp;
use serde::Serialize;

/// A system of the plan, such as a cluster of servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct System {
    /// The provider's name.
    pub provider: &'static str,
    /// Its servers, each asked about itself, in the order of the plan.
    pub nodes: Vec<Node>,
    /// The storage that the servers share, if it reports about itself.
    pub storage: Option<Storage>,
    /// Why the storage could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_unseen: Option<String>,
    /// The keys that open it, if custody keeps them.
    pub keys: Option<Keys>,
    /// Why custody could not be asked for the keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_unseen: Option<String>,
    /// Entries in which servers differ although they should serve the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// Why the servers could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differences_unseen: Option<String>,
    /// Why it could not be asked at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
}

impl System {
    /// A system that could not be asked at all.
    pub fn unseen(provider: &'static str, why: String) -> Self {
        Self { provider, unseen: Some(why), ..Self::default() }
    }

    /// How many servers lead.
    pub fn leaders(&self) -> usize {
        self.nodes.iter().filter(|node| node.state == NodeState::Active).count()
    }

    /// How many servers serve, the one that leads and those that wait to.
    pub fn serving(&self) -> usize {
        let serves = |node: &&Node| matches!(node.state, NodeState::Active | NodeState::Standby);
        self.nodes.iter().filter(serves).count()
    }
}

/// The state of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It serves and leads.
    Active,
    /// It waits to take over.
    Standby,
    /// It needs its key.
    Sealed,
    /// It is empty.
    Uninitialised,
    /// It does not answer.
    #[default]
    Unreachable,
}

impl NodeState {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Standby, Self::Sealed, Self::Uninitialised, Self::Unreachable];

    /// One word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Sealed => "sealed",
            Self::Uninitialised => "uninitialised",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A server, by what it says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its address.
    pub address: String,
    /// Its state.
    pub state: NodeState,
    /// Why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The version that it runs.
    pub version: Option<String>,
    /// How its key is protected: `shamir`, or the service that opens it by itself.
    pub seal: Option<String>,
    /// How many shares have been entered, and how many open it; of a sealed server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entered: Option<(u32, u32)>,
    /// Since when it leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_since: Option<String>,
    /// How many entries of the log it has not applied yet that the leader has committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// When its certificate ends; nothing without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<Timestamp>,
}

/// The storage of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Whether it says that it is healthy.
    pub healthy: bool,
    /// How many servers it can lose and go on.
    pub failure_tolerance: u64,
    /// Its servers.
    pub servers: Vec<StorageServer>,
}

/// A server of a storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StorageServer {
    /// Its name.
    pub id: String,
    /// `leader`, `voter` or `non-voter`.
    pub status: String,
    /// Whether it says that it is healthy.
    pub healthy: bool,
}

impl Storage {
    /// How many servers vote.
    pub fn voters(&self) -> usize {
        self.servers.iter().filter(|server| matches!(server.status.as_str(), "leader" | "voter")).count()
    }
}

/// The keys of a system in custody, as far as they open today.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Keys {
    /// How many shares are needed; nothing when neither a server nor the plan says so.
    pub threshold: Option<u32>,
    /// How many different shares custody gives.
    pub shares: usize,
    /// How many holders have a message that only they can open.
    pub handed_out: usize,
    /// The reasons why custody does not suffice.
    pub problems: Vec<String>,
}
