//! The entries of the journal.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::thing::{CREATE, Thing};
use crate::destination::Destinations;
use crate::environment::Environment;

/// One event that happened or is about to happen.
///
/// All fields are plain strings made by the caller for this purpose: names, identifiers, messages.
/// **Never a secret**: the journal is kept in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// A run begins to write.
    RunStarted,
    /// A request with a once-only response is about to be sent.
    Intent {
        /// The step that sends it.
        step: String,
        /// The request, e.g. `iam:CreateAccessKey`.
        operation: String,
        /// The target of the request, e.g. the user's name. Together with `operation` it identifies
        /// the intent, because a step can be renamed between two runs.
        target: String,
        /// Data for the recovery, e.g. the ids that existed before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        detail: Vec<String>,
    },
    /// The response is in custody, unread.
    Escrowed {
        /// The request.
        operation: String,
        /// The target of the request.
        target: String,
        /// The name of the object in custody.
        object: String,
    },
    /// The secret in custody was proven to work.
    Verified {
        /// The request.
        operation: String,
        /// The target of the request.
        target: String,
    },
    /// The intent is fulfilled and needs no recovery.
    Committed {
        /// The request.
        operation: String,
        /// The target of the request.
        target: String,
        /// The result, e.g. the new key's id.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        detail: Vec<String>,
    },
    /// How the request ended, when it was not committed.
    Outcome {
        /// The request.
        operation: String,
        /// The target of the request.
        target: String,
        /// How it ended.
        result: OperationOutcome,
        /// The server's message.
        message: String,
    },
    /// A thing is about to be made or taken over. It is ours even if the run ends before it is
    /// recorded as [`Entry::Owned`].
    Making(Thing),
    /// A thing is ours: made, taken over, or found to be ours. The latest of these entries has the
    /// current declaration.
    Owned(Thing),
    /// The destinations of a run, including the recipients of its secrets.
    Destinations {
        /// By the field of the plan that sets them.
        destinations: Destinations,
    },
    /// A node of Vault made key shares or took them: it belongs to the cluster.
    Node {
        /// Its address.
        origin: String,
        /// The identity that its TLS certificate proves: `ca sha256:…`, a certificate authority of its own,
        /// or `key sha256:…`, its public key; absent without TLS.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<String>,
        /// Its public key, where `tls` is its authority.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The initialisation that the shares belong to, as custody names it.
        initialisation: String,
        /// The cluster's id, which finds the initialisation under other addresses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cluster: Option<String>,
    },
    /// A run has ended by itself.
    RunFinished,
    /// A person has looked at all lines before this one and vouches for them: they were not signed,
    /// or signed with a key that was not trusted.
    Adopted {
        /// The number of these lines.
        lines: u64,
    },
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationOutcome {
    /// It took effect.
    Ok,
    /// It was refused and had no effect.
    Failed,
    /// It may or may not have taken effect.
    Unknown,
}

impl Entry {
    /// The request and its target, for the entries about a request.
    pub fn subject(&self) -> Option<(&str, &str)> {
        match self {
            Self::Intent { operation, target, .. }
            | Self::Escrowed { operation, target, .. }
            | Self::Verified { operation, target }
            | Self::Committed { operation, target, .. }
            | Self::Outcome { operation, target, .. } => Some((operation, target)),
            Self::Making(thing) | Self::Owned(thing) => Some((CREATE, &thing.target)),
            Self::RunStarted
            | Self::RunFinished
            | Self::Adopted { .. }
            | Self::Destinations { .. }
            | Self::Node { .. } => None,
        }
    }

    /// Whether the entry must be in the copy too. A run must not do what it announces before another
    /// machine could know of it, and must not report success while the copy is incomplete.
    pub fn needs_copy(&self) -> bool {
        matches!(
            self,
            Self::RunStarted
                | Self::Intent { .. }
                | Self::Making(_)
                | Self::RunFinished
                | Self::Adopted { .. }
        )
    }

    /// Whether this machine notes, at this entry, how far it has seen the journal.
    pub(super) fn is_milestone(&self) -> bool {
        matches!(self, Self::RunStarted | Self::RunFinished | Self::Adopted { .. })
    }

    /// Whether the intent before it no longer needs recovery.
    fn settles(&self) -> bool {
        matches!(
            self,
            Self::Committed { .. }
                | Self::Owned(_)
                | Self::Outcome { result: OperationOutcome::Ok | OperationOutcome::Failed, .. }
        )
    }
}

/// An entry together with its place in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts from 1, without gaps.
    pub seq: u64,
    /// When it was recorded (RFC 3339).
    pub time: Timestamp,
    /// The run that recorded it.
    #[serde(flatten)]
    pub who: Who,
    /// The event itself.
    #[serde(flatten)]
    pub entry: Entry,
}

/// The writer of an entry: a person on a machine, in one run of one plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The run's random id.
    pub run: String,
    /// `user@host`.
    pub who: String,
    /// The process id.
    pub pid: u32,
    /// The plan's digest, `sha256:…`.
    pub plan: String,
}

impl Who {
    /// This process, in a new run of the plan with digest `plan`.
    pub fn here(plan: impl Into<String>, environment: &Environment) -> Self {
        let text = |name: &str| environment.value(name)?.to_str().map(str::to_owned);
        let user = text("USER").or_else(|| text("LOGNAME"));
        let user = user.unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            run: uuid::Uuid::new_v4().to_string(),
            who: format!("{user}@{host}"),
            pid: std::process::id(),
            plan: plan.into(),
        }
    }
}

/// The latest intent for `operation` on `target`, unless a later entry settled it.
pub fn open_intent<'a>(records: &'a [Record], operation: &str, target: &str) -> Option<&'a Record> {
    let latest = records.iter().rev().filter(|record| record.entry.subject() == Some((operation, target)));
    for record in latest {
        match &record.entry {
            Entry::Intent { .. } | Entry::Making(_) => return Some(record),
            entry if entry.settles() => return None,
            _ => {}
        }
    }
    None
}

/// All intents for `operation` on `target` since the last that was fulfilled, without those that were
/// refused.
pub(super) fn unsettled(records: &[Record], operation: &str, target: &str) -> Vec<Record> {
    let mut open: Vec<Record> = Vec::new();
    for record in records.iter().filter(|record| record.entry.subject() == Some((operation, target))) {
        match &record.entry {
            Entry::Intent { .. } => open.push(record.clone()),
            Entry::Outcome { result: OperationOutcome::Failed, .. } => {
                open.pop();
            }
            entry if entry.settles() => open.clear(),
            _ => {}
        }
    }
    open
}
