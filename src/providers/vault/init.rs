//! `vault.init`: the cluster's initialisation and its unsealing, once, without losing a share.

mod ceremony;
mod choosing;
mod distribute;
mod members;
mod next;
mod proof;
#[cfg(test)]
mod proof_tests;
mod rolling;
mod seal_migration;
mod throwaway;
mod unsealing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(super) use self::ceremony::make_key;
use self::ceremony::{foreign, lost};
pub(super) use self::members::Members;
use self::members::settle;
use self::next::{Next, next};
use self::proof::Newcomer;
pub use self::proof::{FIRST_SHARES, NodeProof, REFUSED_SHARES};
pub use self::rolling::NodeState;
pub use self::seal_migration::{NodePhase, Phase, Step};
use self::throwaway::unfinished;
pub use self::throwaway::{Ground, Shape};
use self::unsealing::{ask_nodes, reported_id};
use super::SealStatus;
use super::custodian::Custodian;
use super::prove;
use crate::access::Granting;
use crate::custody::recipient::parse_age;
use crate::custody::{Gap, Holder, HolderKey, name_part};
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::resource::risk::Category::{Destination, Destroy, ProtectionOff};
use crate::resource::risk::{Risks, added, fixed, gone, live_analysed, live_safe, off};
use crate::resource::{Diff, Look, Partial, Replacement, Resource, Writer};

/// The kind `vault.init`.
#[derive(Debug)]
pub struct VaultInit;

/// How the cluster's key is split.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "VaultInit")]
pub struct Desired {
    /// How many shares the key is split into: of the unseal key, or of the recovery key when the
    /// servers unseal themselves.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 255))]
    pub shares: u32,
    /// How many shares open it.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 255))]
    pub threshold: u32,
    /// The holders, each of whom gets one share that only they can decrypt; as many as there are
    /// shares. `groundwork custody export-share` fetches a share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
    /// Whether custody keeps the shares too once their holders have them. Without them a run
    /// cannot unseal: enough holders must come together for `groundwork unseal --share`.
    #[serde(default = "yes")]
    pub keep_shares: bool,
}

impl Desired {
    fn shape(&self) -> Shape {
        Shape { shares: self.shares, threshold: self.threshold }
    }
}

/// The declaration in the fields of a `vault.init` step.
pub fn declared_split(fields: serde_json::Value) -> Option<Desired> {
    serde_json::from_value(fields).ok()
}

const fn yes() -> bool {
    true
}

const fn five() -> u32 {
    5
}

const fn three() -> u32 {
    3
}

/// The plan's cluster, of which there is one per plan, and who holds its shares.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    holders: Vec<Holder>,
}

impl std::fmt::Display for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the cluster")
    }
}

/// The state of the nodes, and whether the initialisation is complete.
#[derive(Clone, Debug)]
pub struct Observed {
    address: String,
    nodes: Vec<Node>,
    cluster: SealStatus,
    /// How many nodes the plan has, with those that do not answer.
    declared: usize,
    /// The servers that the cluster counts, as far as it reports them.
    members: Members,
    /// Whether the shares in custody were proven and the journal says so.
    committed: bool,
    /// For each declared holder, what custody has for them.
    holders: BTreeMap<String, Handed>,
    /// Holders who have a share and are not declared.
    strangers: Vec<String>,
    /// Whether custody still has the shares themselves.
    shares_kept: bool,
    /// Copies and recipients that what is in custody lacks.
    gaps: Vec<Gap>,
    /// Nodes that would get shares for the first time.
    newcomers: BTreeMap<String, Newcomer>,
}

/// A holder's share in custody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handed {
    /// Nothing yet.
    Nothing,
    /// A share for this key.
    Share,
    /// A share for another key.
    OtherKey,
}

#[derive(Clone, Debug)]
struct Node {
    address: String,
    status: SealStatus,
}

/// The outputs that other steps may refer to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "VaultInitOutputs")]
pub struct Outputs {
    /// The cluster's address.
    pub address: String,
    /// The cluster's id, once unsealed.
    pub cluster_id: Option<String>,
    /// Whether the cluster is initialised.
    pub initialized: bool,
}

impl Observed {
    /// The servers that are dead and none of the plan's nodes, which all serve.
    fn replaced(&self) -> Vec<&str> {
        let serving = self.nodes.iter().filter(|node| !node.status.sealed).count();
        self.members.replaced(self.declared, serving)
    }
}

impl Resource for VaultInit {
    const KIND: &'static str = "vault.init";
    const GRANTS: Granting =
        Granting::Never("holders of enough key shares can do everything, in spite of all policies");
    const ABOUT: &'static str =
        "Initialises a Vault or OpenBao cluster and unseals its nodes; the key shares go into custody.";
    const EXAMPLE: &'static str = r"cluster:
  kind: vault.init
  shares: 3
  threshold: 2
  holders:
    - { name: alice, pgp: keys/alice.asc }
    - { name: bob, pgp: keys/bob.asc }
    - { name: carol, age: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p }
";
    const RISKS: Risks = &[&[
        live_safe("custody", "custody gets what it lacks, and the shares are proven"),
        fixed("shares threshold"),
        added("holders").high(Destination, "gets a key share"),
        off("keep_shares")
            .medium(ProtectionOff, "custody keeps no key shares: only enough holders together can unseal"),
        live_analysed("nodes", proof::of_first_shares),
        gone("servers").live().medium(Destroy, "a server is taken out of the cluster"),
    ]];
    const PROOF: Proof = Proof::Tried("each node is asked, all are compared, and the key shares are opened");
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement = Replacement::Never(
        "a cluster cannot be made uninitialised; to begin again, stop the servers, remove their storage, and apply",
    );
    const ONCE_ONLY: bool = true;
    const BOOTSTRAPS: bool = true;

    type Client = Custodian;
    type Id = Cluster;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> Cluster {
        Cluster { holders: desired.holders.clone() }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut mistakes = check_split(desired.shares, desired.threshold);
        mistakes.extend(check_holders(desired));
        mistakes
    }

    fn key_files(desired: &Desired) -> Vec<PathBuf> {
        desired.holders.iter().filter_map(|holder| holder.pgp.clone()).collect()
    }

    async fn observe(client: &Custodian, id: &Cluster, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let nodes = ask_nodes(&client.vault).await?;
        let cluster = status_of_cluster(client, &nodes).await;
        let keys = holder_keys(&id.holders, client.custody.folder())?;
        if cluster.is_some() && client.is_restore_open() {
            return Err(unfinished(client.vault.address()));
        }
        // For a cluster that is to be initialised, the content of custody does not matter.
        let which = if cluster.is_some() { client.answered(reported_id(&nodes)).await? } else { None };
        match (next(client.intent(which.as_ref()), cluster.is_some(), which.is_some()), cluster) {
            (Next::Lost, _) => Err(lost(client.vault.address())),
            (Next::Foreign, _) => Err(foreign(client.vault.address())),
            (next, Some(cluster)) => {
                let mut observed = Observed {
                    address: client.vault.address().to_owned(),
                    declared: client.vault.nodes().len(),
                    members: client.members(&nodes).await.unwrap_or_default(),
                    nodes,
                    cluster,
                    committed: next == Next::Keep,
                    holders: BTreeMap::new(),
                    strangers: Vec::new(),
                    shares_kept: true,
                    gaps: Vec::new(),
                    newcomers: BTreeMap::new(),
                };
                if let Some(which) = which {
                    let newcomers = client.proof.newcomers(&client.vault, Some(&which), &observed.nodes);
                    observed.newcomers = newcomers.await?;
                    observed.gaps = client.custody.gaps(which.prefix()).await?;
                    client.look_at_shares(&which, keys, &mut observed).await?;
                }
                Ok(Some(observed))
            }
            (_, None) => client.proof.require_known(&client.vault).map(|()| None),
        }
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        const REKEY: &str =
            "only a rekey splits the key again: `groundwork rotate PLAN --shares` does it as the plan says";
        let mut diff = Diff::none();
        diff.immutable("shares", &observed.cluster.shares, &desired.shares, REKEY);
        diff.immutable("threshold", &observed.cluster.threshold, &desired.threshold, REKEY);
        for Node { address, status } in &observed.nodes {
            diff.field(&format!("nodes[{address}].initialized"), &status.initialized, &true);
            diff.field(&format!("nodes[{address}].sealed"), &status.sealed, &false);
            if let Some(newcomer) = observed.newcomers.get(address) {
                newcomer.compare(address, &mut diff);
            }
            let missed = observed.members.dead();
            if status.sealed && !missed.is_empty() {
                let missed = missed.join(", ");
                diff.note(format!(
                    "the cluster misses {missed}; taken out if the node joins under another name"
                ));
            }
        }
        for name in observed.replaced() {
            diff.push(&format!("servers[{name}]"), json!("dead"), json!(null));
            diff.note("the cluster still counts it, and all nodes of the plan are others");
        }
        if !observed.committed {
            diff.push("custody.proven", json!(false), json!(true));
            diff.note("an earlier run was cut off before it had proven the shares");
        }
        for Gap { object, lacks } in &observed.gaps {
            diff.push(&format!("custody[{object}]"), json!(null), json!(lacks));
            diff.note("a copy is made of what the other stores have");
        }
        diff_holders(desired, observed, &mut diff);
        diff
    }

    async fn create(w: &Writer<'_, Custodian>, desired: &Desired) -> Result<()> {
        w.proof.require_known(&w.vault)?;
        let which = w.initialise(w.permit(), w.step(), desired).await?;
        w.proof.record(w.permit(), &which, w.vault.nodes().get(..1).unwrap_or_default()).await?;
        w.open(w.permit(), &which).await?;
        w.distribute(w.permit(), &which, desired).await
    }

    async fn update(w: &Writer<'_, Custodian>, desired: &Desired, observed: &Observed) -> Result<()> {
        let which = w.answered(reported_id(&observed.nodes)).await?;
        let which = which.ok_or_else(|| foreign(w.vault.address()))?;
        if !observed.committed || observed.nodes.iter().any(|node| node.status.sealed) {
            w.open(w.permit(), &which).await?;
        } else if !observed.replaced().is_empty() {
            settle(&w.vault, w.permit(), observed.declared).await?;
        }
        if !observed.gaps.is_empty() {
            w.custody.complete(w.permit(), which.prefix()).await?;
        }
        w.distribute(w.permit(), &which, desired).await
    }

    async fn prove(prover: &Prover<'_, Custodian>, desired: &Desired, _: &Observed) {
        prove::cluster::of_init(prover, desired.threshold).await;
    }

    async fn delete(w: &Writer<'_, Custodian>, _: &Cluster) -> Result<()> {
        let message = format!("{} cannot be made uninitialised", w.vault.address());
        Err(Error::new(ErrorKind::Rejected, "delete vault.init", message)
            .advice("stop the servers and remove their storage by hand; the shares stay in custody"))
    }

    fn permanent(_: &Cluster) -> Option<&'static str> {
        Some(
            "a cluster cannot be made uninitialised: stop the servers and remove their storage by hand; the shares stay in custody",
        )
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs {
            address: observed.address.clone(),
            cluster_id: observed.cluster.cluster_id.clone(),
            initialized: observed.cluster.initialized,
        }
    }

    fn predicted_outputs(_: &Desired, _: &Realm) -> Partial {
        Partial::default().with("initialized", true)
    }
}

/// The state of the first initialised node. After a rekey, standbys have the old numbers of shares in memory until they
/// are restarted: where nodes differ, the one that leads knows.
async fn status_of_cluster(client: &Custodian, nodes: &[Node]) -> Option<SealStatus> {
    let known = || nodes.iter().map(|node| &node.status).filter(|status| status.initialized);
    let first = known().next()?;
    let shape = |status: &SealStatus| (status.shares, status.threshold);
    if known().any(|status| shape(status) != shape(first))
        && let Ok(leader) = client.vault.leading_node().await
        && let Ok(status) = leader.seal_status().await
    {
        return Some(status);
    }
    Some(first.clone())
}

fn check_split(shares: u32, threshold: u32) -> Vec<FieldError> {
    match (shares, threshold) {
        (shares, threshold) if threshold > shares => {
            vec![FieldError::new("threshold", format!("{threshold} of {shares} shares can never be met"))]
        }
        (0 | 256.., _) => vec![FieldError::new("shares", "must be between 1 and 255")],
        (2.., 1) => vec![
            FieldError::new("threshold", "must be at least 2 when there are several shares")
                .help("Vault refuses several shares of which a single one opens it"),
        ],
        (_, 0) => vec![FieldError::new("threshold", "must be at least 1")],
        _ => Vec::new(),
    }
}

fn check_holders(desired: &Desired) -> Vec<FieldError> {
    let holders = &desired.holders;
    if holders.is_empty() {
        let alone = FieldError::new("keep_shares", "must be true without holders").help("name `holders`");
        return if desired.keep_shares { Vec::new() } else { vec![alone] };
    }
    let mut mistakes = Vec::new();
    if holders.len() != desired.shares as usize {
        let message = format!("{} holders for {} shares", holders.len(), desired.shares);
        mistakes.push(FieldError::new("holders", message).help("each holder gets exactly one share"));
    }
    for (position, holder) in holders.iter().enumerate() {
        let mistake =
            |field: &str, message: &str| FieldError::new(format!("holders[{position}].{field}"), message);
        if name_part(&holder.name) != holder.name || holder.name.is_empty() || holder.name.contains('.') {
            mistakes.push(mistake("name", "is made of lower-case letters, digits, `_` and `-`"));
        }
        if holders[..position].iter().any(|other| other.name == holder.name) {
            mistakes.push(mistake("name", "is declared twice"));
        }
        match (&holder.pgp, &holder.age) {
            (Some(_), None) => {}
            (None, Some(key)) => {
                mistakes.extend(parse_age(key).err().map(|error| mistake("age", &error.message)));
            }
            _ => mistakes.push(mistake("name", "has no single key").help("give either `pgp` or `age`")),
        }
    }
    mistakes
}

/// The holders' keys by name. A key that cannot be encrypted for is found here, before anything
/// that cannot be undone.
fn holder_keys(holders: &[Holder], folder: &Path) -> Result<Vec<(String, HolderKey)>> {
    holders.iter().map(|holder| Ok((holder.name.clone(), holder.key(folder)?))).collect()
}

fn diff_holders(desired: &Desired, observed: &Observed, diff: &mut Diff) {
    const GONE: &str = "custody no longer has the shares to hand out; `groundwork rotate PLAN --shares` makes new ones, \
                        with enough present holders";
    const SPLIT: &str =
        "the holder keeps this share until the key is split again: `groundwork rotate PLAN --shares`";
    const LOST: &str = "`groundwork custody holder replace PLAN NAME` seals the share for this key, once its owner has \
                        proven it";
    for (name, handed) in &observed.holders {
        let path = format!("holders[{name}]");
        let (is, shall, why) = match handed {
            Handed::Share => continue,
            Handed::Nothing if observed.shares_kept => {
                diff.push(&path, json!(null), json!("a share, encrypted for them"));
                continue;
            }
            Handed::Nothing => (json!(null), "a share", GONE),
            Handed::OtherKey if observed.shares_kept => {
                (json!("a share for another key"), "a share for this key", LOST)
            }
            Handed::OtherKey => (json!("a share for another key"), "a share for this key", SPLIT),
        };
        diff.immutable(&path, &is, &json!(shall), why);
    }
    for name in &observed.strangers {
        diff.immutable(&format!("holders[{name}]"), &json!("a share"), &json!(null), SPLIT);
    }
    if desired.keep_shares && !observed.shares_kept {
        diff.immutable("keep_shares", &false, &true, GONE);
    } else {
        diff.field("keep_shares", &observed.shares_kept, &desired.keep_shares);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(initialized: bool, sealed: bool) -> SealStatus {
        serde_json::from_value(json!({
            "type": "shamir", "initialized": initialized, "sealed": sealed, "t": 3, "n": 5,
        }))
        .expect("a status")
    }

    fn split(shares: u32, threshold: u32) -> Desired {
        Desired { shares, threshold, holders: Vec::new(), keep_shares: true }
    }

    fn holder(name: &str) -> Holder {
        let age = age::x25519::Identity::generate().to_public().to_string();
        Holder { name: name.to_owned(), pgp: None, age: Some(age) }
    }

    #[test]
    fn each_share_requires_one_holder_with_one_key() {
        let wrong = |names: &[&str], keep_shares| {
            let holders = names.iter().map(|name| holder(name)).collect();
            VaultInit::check(&Desired { holders, keep_shares, ..split(2, 2) }).len()
        };
        assert_eq!((wrong(&["alice", "bob"], false), wrong(&[], true)), (0, 0));
        assert_eq!((wrong(&["alice"], true), wrong(&[], false)), (1, 1));
        assert_eq!((wrong(&["alice", "alice"], true), wrong(&["alice", "Bob"], true)), (1, 1));
        let mut both = holder("bob");
        both.pgp = Some("keys/bob.asc".into());
        let desired = Desired { holders: vec![holder("alice"), both], ..split(2, 2) };
        assert_eq!(VaultInit::check(&desired).len(), 1);
    }

    #[test]
    fn holder_receives_missing_share_while_shares_are_kept() {
        let mut observed = Observed {
            address: String::new(),
            nodes: Vec::new(),
            cluster: SealStatus { threshold: 2, shares: 2, ..status(true, false) },
            committed: true,
            declared: 2,
            members: Members::default(),
            holders: [("alice".to_owned(), Handed::Share), ("bob".to_owned(), Handed::Nothing)].into(),
            strangers: Vec::new(),
            shares_kept: true,
            gaps: Vec::new(),
            newcomers: BTreeMap::new(),
        };
        let desired = Desired { holders: vec![holder("alice"), holder("bob")], ..split(2, 2) };
        let diff = VaultInit::diff(&desired, &observed);
        assert!(diff.touches("holders[bob]") && diff.changes.len() == 1 && diff.blocked.is_empty());
        observed.shares_kept = false;
        let diff = VaultInit::diff(&Desired { keep_shares: false, ..desired.clone() }, &observed);
        assert_eq!((diff.changes.len(), diff.blocked.len()), (1, 1));
        observed.holders.insert("bob".to_owned(), Handed::Share);
        observed.strangers.push("eve".to_owned());
        assert_eq!(VaultInit::diff(&desired, &observed).blocked.len(), 2, "eve, and keep_shares");
    }

    #[test]
    fn sealed_nodes_are_changes_and_resharing_is_blocked() {
        let node = |address: &str, sealed| Node { address: address.into(), status: status(true, sealed) };
        let observed = Observed {
            address: "http://a:1".into(),
            nodes: vec![node("http://a:1", false), node("http://b:1", true)],
            cluster: status(true, false),
            committed: true,
            declared: 2,
            members: Members::default(),
            holders: BTreeMap::new(),
            strangers: Vec::new(),
            shares_kept: true,
            gaps: Vec::new(),
            newcomers: BTreeMap::new(),
        };
        let diff = VaultInit::diff(&split(5, 3), &observed);
        let paths: Vec<_> = diff.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!((paths, diff.blocked.len()), (vec!["nodes[http://b:1].sealed"], 0));
        let diff = VaultInit::diff(&split(7, 3), &observed);
        assert!(diff.touches("shares") && diff.blocked.len() == 1);
    }

    #[test]
    fn missing_member_is_noted_or_removed_when_replaced() {
        let member = |status, healthy| json!({ "status": status, "healthy": healthy });
        let members = |names: &[&str]| {
            let servers: Vec<_> = names.iter().map(|name| json!({ "node_id": name })).collect();
            let state = json!({ "servers": { "a": member("leader", true), "b": member("voter", false), "c": member("voter", true) } });
            Members::of(&json!({ "config": { "servers": servers } }), &state)
        };
        let observed = |sealed, members| Observed {
            address: String::new(),
            nodes: [false, sealed]
                .map(|sealed| Node { address: "x".into(), status: status(true, sealed) })
                .into(),
            cluster: status(true, false),
            committed: true,
            declared: 2,
            members,
            holders: BTreeMap::new(),
            strangers: Vec::new(),
            shares_kept: true,
            gaps: Vec::new(),
            newcomers: BTreeMap::new(),
        };
        let coming_back = observed(true, members(&["a", "b"]));
        let diff = VaultInit::diff(&split(5, 3), &coming_back);
        assert!(diff.changes[0].note.as_ref().is_some_and(|note| note.contains("misses b;")));
        assert_eq!(diff.changes.len(), 1);
        let lagging = observed(false, members(&["a", "b"]));
        assert!(VaultInit::diff(&split(5, 3), &lagging).changes.is_empty(), "it is one of the two");
        let replaced = VaultInit::diff(&split(5, 3), &observed(false, members(&["a", "b", "c"])));
        assert!(replaced.touches("servers[b]") && replaced.changes.len() == 1);
        let coming_back = VaultInit::diff(&split(5, 3), &observed(true, members(&["a", "b", "c"])));
        assert!(!coming_back.touches("servers[b]"), "it may be the one that comes back");
    }

    #[test]
    fn impossible_thresholds_are_found_offline() {
        let wrong = |shares, threshold| !VaultInit::check(&split(shares, threshold)).is_empty();
        assert!(wrong(3, 4) && wrong(3, 1) && wrong(0, 0) && wrong(256, 3) && wrong(1, 0));
        assert!(!wrong(1, 1) && !wrong(5, 3));
    }
}
