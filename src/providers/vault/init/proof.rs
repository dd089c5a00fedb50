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
use crate::providers::vault::lookup::Found;
use crate::providers::vault::{NodeClient, VaultClient};
use crate::resource::risk::{Category, FieldChanges, Finding, Severity};
use crate::resource::{Change, Diff};
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
    /// `Local` when the run was made without Vault.
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

    /// Whether a node could get shares of `which`.
    pub(super) async fn knows(&self, vault: &VaultClient, which: &Initialisation, node: &NodeClient) -> bool {
        self.newcomer(vault, Some(which), node).await.is_none_or(|one| one.refused.is_none())
    }

    /// What is to be said of a node before it gets shares; `None` when it is a known one.
    async fn newcomer(
        &self,
        vault: &VaultClient,
        which: Option<&Initialisation>,
        node: &NodeClient,
    ) -> Option<Newcomer> {
        let address = node.address();
        let is_here = which.is_none_or(|which| which.is_of(address));
        let identity = match node.identity().await {
            Ok(identity) => identity,
            Err(error) => {
                let allowed = self.is_allowed(address, vault.address(), is_here);
                let refused = (!allowed).then(|| format!("its TLS identity cannot be seen: {error}"));
                return Some(Newcomer { identity: None, refused, changed: false });
            }
        };
        let is_tied = is_here || which.is_some_and(|which| self.has_identity(identity.as_deref(), which));
        let allowed = self.is_allowed(address, vault.address(), is_tied);
        let before = match self.recorded(address, which) {
            Some(before) if before == identity => return None,
            Some(before) => Some(before),
            None if address == vault.address() && self.initialised_here(address, which) => return None,
            None => None,
        };
        // Only the caller's word on this very node outweighs what is on record of it.
        let changed = before.is_some();
        let allowed = if changed { self.is_granted(address) } else { allowed };
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
    /// get the cluster's credentials at its address may get its shares there, unless nothing but its own
    /// word ties it to the cluster.
    fn is_allowed(&self, address: &str, cluster: &str, is_tied: bool) -> bool {
        self.named.contains(address)
            || self.is_granted(address)
            || (is_tied && address == cluster && self.has_grant(Subject::Vault, address))
    }

    /// Whether the caller has said of this very server that it may get key shares.
    pub(in crate::providers::vault) fn is_granted(&self, address: &str) -> bool {
        self.has_grant(Subject::Node, address)
    }

    /// Whether a node of the cluster has proven this identity before, at any address.
    fn has_identity(&self, identity: Option<&str>, which: &Initialisation) -> bool {
        identity.is_some()
            && self.journal.believed().iter().any(|record| {
                matches!(&record.entry, Entry::Node { tls, initialisation, .. }
                    if tls.as_deref() == identity && initialisation == which.prefix())
            })
    }

    /// Requires that the server which serves may get the credentials in custody of an initialisation. Where
    /// its address is not the one in the initialisation's name, it takes evidence: a server may report any
    /// cluster's id.
    ///
    /// # Errors
    /// `Denied` when there is none, with the flag that allows it.
    pub(in crate::providers::vault) async fn require_recipient(
        &self,
        vault: &VaultClient,
        found: &Found,
    ) -> Result<()> {
        let which = &found.which;
        if which.is_of(vault.address()) {
            return Ok(());
        }
        let node = vault.active_node().await?;
        let address = node.address();
        if which.is_of(address) || self.is_allowed(address, vault.address(), false) {
            return Ok(());
        }
        let identity = node.identity().await?;
        if self.recorded(address, Some(which)).as_ref() == Some(&identity)
            || self.has_identity(identity.as_deref(), which)
        {
            return Ok(());
        }
        let grant = Grant::new(Subject::Node, address);
        let shown = identity.as_deref().unwrap_or("no TLS");
        let message = format!(
            "{address} ({shown}) says that it is of the cluster that custody has credentials of, and nothing \
             on record proves it"
        );
        Err(Error::new(ErrorKind::Denied, "log in to Vault", message).advice(format!(
            "use the address at which the cluster was initialised; if this is a node of your cluster, allow it \
             with `--trust {grant}`"
        )))
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

    /// The last that is on record of a node of this initialisation.
    fn latest(&self, address: &str, which: &Initialisation) -> Option<Entry> {
        let of_node = |entry: &Entry| {
            matches!(entry, Entry::Node { origin, initialisation, .. }
                if origin == address && initialisation == which.prefix())
        };
        self.journal.believed().into_iter().rev().map(|record| record.entry).find(of_node)
    }

    /// Records that these nodes have taken shares of `which`, with the cluster's id and what identifies them,
    /// unless all of it is known.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(super) async fn record(
        &self,
        permit: &Permit,
        which: &Initialisation,
        nodes: &[NodeClient],
    ) -> Result<()> {
        for node in nodes {
            let tls = node.identity().await?;
            let key = node.public_key().await.ok().flatten().filter(|key| tls.as_ref() != Some(key));
            // A sealed node does not report it, and neither does one whose cluster has no leader yet.
            let cluster = node.seal_status().await.ok().and_then(|status| status.cluster_id);
            let (origin, initialisation) = (node.address().to_owned(), which.prefix().to_owned());
            let mut entry = Entry::Node { origin, tls, key, initialisation, cluster };
            if let Some(before) = self.latest(node.address(), which) {
                keep_known(&mut entry, &before);
                if entry == before {
                    continue;
                }
            }
            self.journal.append(permit, entry).await?;
        }
        Ok(())
    }

    /// Checks that every further node of a cluster that is about to be made is known. The first one is
    /// initialised, which proves it.
    pub(super) fn require_known(&self, vault: &VaultClient) -> Result<()> {
        let nodes = vault.nodes();
        let known = |address: &str| {
            self.is_allowed(address, vault.address(), true) || self.recorded(address, None).is_some()
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

/// Keeps what was known of a node and cannot be seen now.
fn keep_known(entry: &mut Entry, before: &Entry) {
    if let (
        Entry::Node { tls, key, cluster, .. },
        Entry::Node { tls: old, key: old_key, cluster: old_id, .. },
    ) = (entry, before)
    {
        if tls == old && key.is_none() {
            key.clone_from(old_key);
        }
        if cluster.is_none() {
            cluster.clone_from(old_id);
        }
    }
}

pub(super) fn needs_shares(node: &Node) -> bool {
    node.status.sealed || !node.status.initialized
}

/// The refusal of one node.
pub(super) fn refusal(why: &str) -> Error {
    Error::new(ErrorKind::Denied, "unseal", why.to_owned())
}
