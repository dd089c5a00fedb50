//! Which nodes may get key shares.
//!
//! A plan may be a stranger's, and so may the server at an address. A node gets shares only when it
//! was proven to be of the cluster: it made them or took them before, with the same TLS identity; the
//! cluster itself lists it; or the caller names it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::json;

use super::Node;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Entry, Journal};
use crate::permit::Permit;
use crate::providers::vault::Vault;
use crate::providers::vault::custodian::{INIT, Initialisation};
use crate::providers::vault::{NodeClient, VaultClient};
use crate::resource::Change;
use crate::resource::Diff;
use crate::resource::risk::{Category, FieldChanges, Finding, Severity};
use crate::run::Run;
use crate::trust::{Grant, Subject, Trust, origin};

/// The field of a node that gets key shares for the first time.
pub const FIRST_SHARES: &str = "first_shares";
/// The field of a node that would, and may not until the caller allows it.
pub const REFUSED_SHARES: &str = "shares";
/// The field of a node that is not the server that it was.
const OTHER_IDENTITY: &str = "tls_identity";

/// The evidence that a node belongs to the cluster.
#[derive(Debug)]
pub struct NodeProof {
    journal: Arc<Journal>,
    trust: Trust,
    /// Addresses from the caller's environment.
    named: HashSet<String>,
}

/// A node that has never had shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Newcomer {
    /// The identity that its TLS certificate proves; `None` without TLS.
    pub(super) identity: Option<String>,
    /// Why it may not get shares.
    pub(super) refused: Option<String>,
    /// Whether a server with another TLS identity has got shares at its address.
    pub(super) changed: bool,
}

impl Newcomer {
    /// Adds what is to be said of it to the differences of its cluster.
    pub(super) fn compare(&self, address: &str, diff: &mut Diff) {
        let at = |field: &str| format!("nodes[{address}].{field}");
        match &self.refused {
            Some(why) => {
                let field = at(if self.changed { OTHER_IDENTITY } else { REFUSED_SHARES });
                diff.immutable(&field, &json!(null), &json!("key shares"), why);
            }
            None => {
                let identity = self.identity.as_deref().unwrap_or("no TLS");
                diff.push(&at(FIRST_SHARES), json!(null), json!(identity));
            }
        }
    }
}

/// Nodes that get key shares for the first time.
pub(super) fn of_first_shares(changes: &FieldChanges<'_>) -> Vec<Finding> {
    let end = format!("].{FIRST_SHARES}");
    let of_change = |change: &&Change| {
        let node = change.path.strip_prefix("nodes[")?.strip_suffix(end.as_str())?;
        let identity = change.after.as_str().unwrap_or("no TLS");
        let message = format!("{node} ({identity}) gets key shares for the first time");
        Some(Finding::new(Severity::High, Category::Destination, message))
    };
    changes.changes.iter().filter_map(of_change).collect()
}

impl NodeProof {
    /// The evidence of a run: its journal, its caller's grants and the addresses that the caller names.
    ///
    /// # Errors
    /// `Local` when the run has no journal.
    pub fn of_run(run: &Run) -> Result<Self> {
        let connection: &Vault = run.connection()?;
        let named = VaultClient::named_by_caller(&connection.settings, run.environment());
        let named = named.iter().filter_map(|address| origin(address)).collect();
        Ok(Self { journal: Arc::clone(&run.journal), trust: run.trust.clone(), named })
    }

    /// The nodes among these that would get shares for the first time. `which` is the initialisation that
    /// the shares are of, where that is known.
    pub(super) async fn newcomers(
        &self,
        vault: &VaultClient,
        which: Option<&Initialisation>,
        nodes: &[Node],
    ) -> Result<BTreeMap<String, Newcomer>> {
        let mut found = BTreeMap::new();
        for node in nodes.iter().filter(|node| needs_shares(node)) {
            let client = vault.node(&node.address)?;
            if let Some(newcomer) = self.newcomer(vault, which, &client).await {
                found.insert(node.address.clone(), newcomer);
            }
        }
        if found.values().any(|newcomer| newcomer.refused.is_some()) {
            let listed = self.listed(vault, which, nodes).await;
            for (_, newcomer) in found.iter_mut().filter(|(address, _)| listed.contains(*address)) {
                newcomer.refused = None;
            }
        }
        Ok(found)
    }

    /// What is to be said of a node before it gets shares; `None` when it is a known one.
    async fn newcomer(
        &self,
        vault: &VaultClient,
        which: Option<&Initialisation>,
        node: &NodeClient,
    ) -> Option<Newcomer> {
        let address = node.address();
        let allowed = self.is_allowed(address, vault.address());
        let identity = match node.identity().await {
            Ok(identity) => identity,
            Err(error) => {
                let refused = (!allowed).then(|| format!("its TLS identity cannot be seen: {error}"));
                return Some(Newcomer { identity: None, refused, changed: false });
            }
        };
        let before = match self.recorded(address, which) {
            Some(before) if before == identity => return None,
            Some(before) => Some(before),
            None if address == vault.address() && self.initialised_here(address, which) => return None,
            None => None,
        };
        // Only the caller's word on this very node outweighs what is on record of it.
        let changed = before.is_some();
        let allowed = if changed { self.has_grant(Subject::Node, address) } else { allowed };
        let shown = |identity: &Option<String>| identity.clone().unwrap_or_else(|| "no TLS".to_owned());
        let why = match before {
            None => format!(
                "{address} ({}) is new to this plan's record and would get key shares",
                shown(&identity)
            ),
            Some(before) => format!(
                "{address} is not the server that got key shares before: it has {} now, and had {}",
                shown(&identity),
                shown(&before)
            ),
        };
        let grant = Grant::new(Subject::Node, address);
        let advice = format!("if it is a node of your cluster, allow it with `--trust {grant}`");
        Some(Newcomer { identity, refused: (!allowed).then(|| format!("{why}; {advice}")), changed })
    }

    /// Whether the caller names the node: in the environment, or by a permission. A server that may
    /// get the cluster's credentials at its address may get its shares there.
    fn is_allowed(&self, address: &str, cluster: &str) -> bool {
        self.named.contains(address)
            || self.has_grant(Subject::Node, address)
            || (address == cluster && self.has_grant(Subject::Vault, address))
    }

    fn has_grant(&self, subject: Subject, address: &str) -> bool {
        self.trust.allows(&Grant::new(subject, address))
    }

    /// The TLS identity with which a node last got shares.
    fn recorded(&self, address: &str, which: Option<&Initialisation>) -> Option<Option<String>> {
        self.journal.believed().into_iter().rev().find_map(|record| match record.entry {
            Entry::Node { origin, tls, initialisation, .. }
                if origin == address && which.is_none_or(|which| which.prefix() == initialisation) =>
            {
                Some(tls)
            }
            _ => None,
        })
    }

    /// Whether the cluster at this address is the one that the shares are of. Journals from before nodes
    /// were recorded say so, and so do the authenticated names of what is in custody.
    fn initialised_here(&self, address: &str, which: Option<&Initialisation>) -> bool {
        match which {
            Some(which) => which.is_of(address),
            None => self.journal.committed(INIT, address),
        }
    }

    /// The nodes that the cluster lists, if all of those that serve are known ones.
    async fn listed(
        &self,
        vault: &VaultClient,
        which: Option<&Initialisation>,
        nodes: &[Node],
    ) -> HashSet<String> {
        let serving: Vec<&Node> = nodes.iter().filter(|node| !needs_shares(node)).collect();
        for node in &serving {
            let known = match vault.node(&node.address) {
                Ok(client) => {
                    self.newcomer(vault, which, &client).await.is_none_or(|one| one.refused.is_none())
                }
                Err(_) => false,
            };
            if !known {
                return HashSet::new();
            }
        }
        if serving.is_empty() {
            return HashSet::new();
        }
        let status = vault.get("sys/ha-status").await.ok().flatten().unwrap_or_default();
        let nodes = status["nodes"].as_array().into_iter().flatten();
        nodes.filter_map(|node| origin(node["api_address"].as_str()?)).collect()
    }

    /// Records that these nodes have taken shares of `which`, unless that is known.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(super) async fn record(
        &self,
        permit: &Permit,
        vault: &VaultClient,
        which: &Initialisation,
        nodes: &[&NodeClient],
    ) -> Result<()> {
        for node in nodes {
            let tls = node.identity().await?;
            if self.recorded(node.address(), Some(which)).as_ref() == Some(&tls) {
                continue;
            }
            let cluster = vault.cluster_id().await;
            let (origin, initialisation) = (node.address().to_owned(), which.prefix().to_owned());
            self.journal.append(permit, Entry::Node { origin, tls, initialisation, cluster }).await?;
        }
        Ok(())
    }

    /// Checks that every further node of a cluster that is about to be made is known. The first one is
    /// initialised, which proves it.
    pub(super) fn require_known(&self, vault: &VaultClient) -> Result<()> {
        let nodes = vault.nodes();
        let known = |address: &str| {
            self.is_allowed(address, vault.address()) || self.recorded(address, None).is_some()
        };
        let unknown = nodes.iter().skip(1).map(NodeClient::address).filter(|address| !known(address));
        let unknown: Vec<String> = unknown.map(str::to_owned).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let flags: Vec<String> =
            unknown.iter().map(|node| format!("--trust {}", Grant::new(Subject::Node, node))).collect();
        let flags = flags.join(" ");
        let message = format!(
            "{} would get key shares and {} new to this plan's record; if they are nodes of your cluster, allow \
             them with `{flags}`",
            unknown.join(", "),
            if unknown.len() == 1 { "is" } else { "are" }
        );
        Err(Error::new(ErrorKind::Denied, INIT, message)
            .advice(format!("use `{flags}` for this run, or `groundwork trust PLAN` to remember it")))
    }
}

fn needs_shares(node: &Node) -> bool {
    node.status.sealed || !node.status.initialized
}

/// The refusal of one node.
pub(super) fn refusal(why: &str) -> Error {
    Error::new(ErrorKind::Denied, "unseal", why.to_owned())
}
