//! `vault.init`: the cluster's initialisation and its unsealing, once, without losing a share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::custodian::{Custodian, INIT, Initialisation, Unlocked, without_shares};
use super::{Health, NodeClient, SealStatus, VaultClient};
use crate::custody::recipient::parse_age;
use crate::custody::{Custody, Handout, Holder, HolderKey, name_part, pgp};
use crate::journal::{Ending, Entry};
use crate::resource::{Diff, Error, ErrorKind, FieldError, Partial, Permit, Resource, Result, Scope, Writer};
use crate::secret::Secret;

/// How often a cluster that is starting is asked.
const POLL: Duration = Duration::from_millis(200);
/// How long a node may take to join, unseal or lead.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long nodes are given to join by themselves before they are told to.
const JOIN_ALONE: Duration = Duration::from_secs(5);
/// How often an answer that is in nobody else's hands is offered to custody.
const ESCROW_ATTEMPTS: u32 = 5;

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
    /// Who gets one share each, encrypted for them alone; as many as there are shares. Fetched
    /// with `groundwork custody export-share`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
    /// Whether custody keeps the shares too once their holders have them. Without them a run
    /// cannot unseal: enough holders must come together for `groundwork unseal --share`.
    #[serde(default = "yes")]
    pub keep_shares: bool,
}

/// The threshold in the fields of a `vault.init` step.
pub fn declared_threshold(fields: serde_json::Value) -> Option<u32> {
    serde_json::from_value::<Desired>(fields).ok().map(|desired| desired.threshold)
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
#[derive(Clone, Debug)]
pub struct Cluster {
    holders: Vec<Holder>,
}

impl std::fmt::Display for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the cluster")
    }
}

/// What the nodes say, and whether the initialisation was brought to its end.
#[derive(Clone, Debug)]
pub struct Observed {
    address: String,
    nodes: Vec<Node>,
    cluster: SealStatus,
    /// Whether the shares in custody were proven and the journal says so.
    committed: bool,
    /// For each declared holder, what custody has for them.
    holders: BTreeMap<String, Handed>,
    /// Those who have a share and are not declared.
    strangers: Vec<String>,
    /// Whether custody still has the shares themselves.
    shares_kept: bool,
}

/// What custody has for a holder.
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

/// What other steps may refer to.
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

impl Resource for VaultInit {
    const KIND: &'static str = "vault.init";
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
    const PROTECTED: bool = true;
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

    async fn observe(client: &Custodian, id: &Cluster) -> Result<Option<Observed>> {
        let nodes = ask_nodes(&client.vault.nodes()).await?;
        let cluster = nodes.iter().find(|node| node.status.initialized).map(|node| node.status.clone());
        let keys = holder_keys(&id.holders, client.custody.folder())?;
        let which = client.answered().await?;
        match (next(client.intent(), cluster.is_some(), which.is_some()), cluster) {
            (Next::Lost, _) => Err(lost(client.vault.address())),
            (Next::Foreign, _) => Err(foreign(client.vault.address())),
            (next, Some(cluster)) => {
                let mut observed = Observed {
                    address: client.vault.address().to_owned(),
                    nodes,
                    cluster,
                    committed: next == Next::Keep,
                    holders: BTreeMap::new(),
                    strangers: Vec::new(),
                    shares_kept: true,
                };
                if let Some(which) = which {
                    client.look_at_shares(&which, keys, &mut observed).await?;
                }
                Ok(Some(observed))
            }
            (_, None) => Ok(None),
        }
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        const REKEY: &str = "the key can only be split anew (rekey), with the present shares; put the present numbers back into the plan";
        let mut diff = Diff::none();
        diff.immutable("shares", &observed.cluster.shares, &desired.shares, REKEY);
        diff.immutable("threshold", &observed.cluster.threshold, &desired.threshold, REKEY);
        for Node { address, status } in &observed.nodes {
            diff.field(&format!("nodes[{address}].initialized"), &status.initialized, &true);
            diff.field(&format!("nodes[{address}].sealed"), &status.sealed, &false);
        }
        if !observed.committed {
            diff.push("custody.proven", json!(false), json!(true));
            diff.note("an earlier run was cut off before it had proven the shares");
        }
        diff_holders(desired, observed, &mut diff);
        diff
    }

    async fn create(w: &Writer<'_, Custodian>, desired: &Desired) -> Result<()> {
        let which = w.initialise(w.permit(), w.step(), desired).await?;
        w.open(w.permit(), &which).await?;
        w.distribute(w.permit(), &which, desired).await
    }

    async fn update(w: &Writer<'_, Custodian>, desired: &Desired, observed: &Observed) -> Result<()> {
        let which = w.answered().await?.ok_or_else(|| foreign(w.vault.address()))?;
        if !observed.committed || observed.nodes.iter().any(|node| node.status.sealed) {
            w.open(w.permit(), &which).await?;
        }
        w.distribute(w.permit(), &which, desired).await
    }

    async fn delete(w: &Writer<'_, Custodian>, _: &Cluster) -> Result<()> {
        let message = format!("{} cannot be made uninitialised", w.vault.address());
        Err(Error::new(ErrorKind::Rejected, "delete vault.init", message)
            .advice("stop the servers and remove their storage by hand; the shares stay in custody"))
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs {
            address: observed.address.clone(),
            cluster_id: observed.cluster.cluster_id.clone(),
            initialized: observed.cluster.initialized,
        }
    }

    fn predicted_outputs(_: &Desired, _: &Scope) -> Partial {
        Partial::default().with("initialized", true)
    }
}

fn check_split(shares: u32, threshold: u32) -> Vec<FieldError> {
    match (shares, threshold) {
        (shares, threshold) if threshold > shares => {
            vec![FieldError::new("threshold", format!("{threshold} of {shares} shares can never be met"))]
        }
        (0 | 256.., _) => vec![FieldError::new("shares", "must be between 1 and 255")],
        (2.., 1) => vec![
            FieldError::new("threshold", "must be at least 2 when there are several shares")
                .help("Vault refuses several shares of which one alone opens it"),
        ],
        (_, 0) => vec![FieldError::new("threshold", "must be at least 1")],
        _ => Vec::new(),
    }
}

fn check_holders(desired: &Desired) -> Vec<FieldError> {
    let holders = &desired.holders;
    if holders.is_empty() {
        let alone = FieldError::new("keep_shares", "somebody must have the shares").help("name `holders`");
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
    const GONE: &str = "custody no longer has the shares to hand out; with enough holders together the key \
                        is split anew with `groundwork rotate`";
    const SPLIT: &str = "whoever has a share keeps it until the key is split anew with `groundwork rotate`";
    for (name, handed) in &observed.holders {
        let path = format!("holders[{name}]");
        let (is, shall, why) = match handed {
            Handed::Share => continue,
            Handed::Nothing if observed.shares_kept => {
                diff.push(&path, json!(null), json!("a share, encrypted for them"));
                continue;
            }
            Handed::Nothing => (json!(null), "a share", GONE),
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

/// What the journal says about the initialisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    /// It knows of none.
    None,
    /// One was begun and neither ended nor refused.
    Open,
    /// One was brought to its end.
    Committed,
}

/// What is to be done about the initialisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Initialise; nothing that exists can be harmed by it.
    Initialise,
    /// Prove what custody has, unseal with it, and say so in the journal.
    Finish,
    /// It is done; nodes may still have to be unsealed.
    Keep,
    /// Our request took effect and its answer is nowhere.
    Lost,
    /// It was initialised by somebody else, or what we had about it is gone.
    Foreign,
}

/// The next step of the ceremony. `escrowed` tells whether custody has the answer to the intent,
/// or, without an open one, to any initialisation of this cluster.
fn next(intent: Intent, initialised: bool, escrowed: bool) -> Next {
    match (initialised, escrowed, intent) {
        // The request never arrived, or the storage was wiped since. What custody has stays there
        // under its own name.
        (false, _, _) => Next::Initialise,
        (true, true, Intent::Committed) => Next::Keep,
        (true, true, Intent::Open | Intent::None) => Next::Finish,
        (true, false, Intent::Open) => Next::Lost,
        (true, false, Intent::None | Intent::Committed) => Next::Foreign,
    }
}

impl Custodian {
    fn intent(&self) -> Intent {
        let address = self.vault.address();
        match (self.journal.open_intent(INIT, address), self.journal.committed(INIT, address)) {
            (Some(_), _) => Intent::Open,
            (None, true) => Intent::Committed,
            (None, false) => Intent::None,
        }
    }

    /// The initialisation whose answer is in custody: the one that is under way, else the latest.
    pub(super) async fn answered(&self) -> Result<Option<Initialisation>> {
        let open = self.journal.open_intent(INIT, self.vault.address());
        match open.as_ref().and_then(Initialisation::of_intent) {
            Some(which) => Ok(self.custody.exists(&which.answer()).await?.then_some(which)),
            None => Initialisation::latest(&self.custody, self.vault.address()).await,
        }
    }

    /// Proves custody, then initialises exactly once; the answer is in custody when this returns.
    pub(super) async fn initialise(
        &self,
        permit: &Permit,
        step: &str,
        desired: &Desired,
    ) -> Result<Initialisation> {
        let nodes = self.vault.nodes();
        let node = nodes.first().ok_or_else(|| foreign(self.vault.address()))?;
        let status = node.seal_status().await?;
        if status.initialized {
            return Err(too_late(node.address()));
        }
        holder_keys(&desired.holders, self.custody.folder())?;
        self.custody.prove(permit).await?;
        let which = Initialisation::begin(self.vault.address());
        let public = make_key(&self.custody, permit, &which).await?;
        self.note(permit, |operation, target| Entry::Intent {
            step: step.to_owned(),
            operation,
            target,
            detail: vec![which.prefix().to_owned()],
        })
        .await?;
        let answer = match node.init(permit, &request(desired, &status, &public)).await {
            Ok(answer) => answer,
            Err(error) => return Err(explain_race(node, self.not_initialised(permit, error).await).await),
        };
        escrow(&self.custody, permit, &which, &answer).await?;
        self.note(permit, |operation, target| Entry::Escrowed { operation, target, object: which.answer() })
            .await?;
        match Unlocked::read(&self.custody, &which).await {
            // What arrived is no whole answer: the journal must not leave it at "it is in custody".
            Err(error) if error.kind == ErrorKind::Unknown => Err(self.record(permit, error).await),
            _ => Ok(which),
        }
    }

    /// Records how the request failed, and says what can be done.
    async fn not_initialised(&self, permit: &Permit, error: Error) -> Error {
        match self.record(permit, error).await {
            error if error.kind == ErrorKind::Unknown => error.advice(
                "run again: when the server was not reached, the run goes on by itself; when it was \
                 initialised, its shares are lost and the run explains what can be done",
            ),
            error => error,
        }
    }

    /// Records an outcome that is not success. Gives the error, or the journal's when that fails.
    async fn record(&self, permit: &Permit, error: Error) -> Error {
        let result = if error.kind == ErrorKind::Unknown { Ending::Unknown } else { Ending::Failed };
        let message = error.to_string();
        let noted = self
            .note(permit, |operation, target| Entry::Outcome { operation, target, result, message })
            .await;
        noted.err().unwrap_or(error)
    }

    /// What custody has of the shares, in one and in many.
    async fn look_at_shares(
        &self,
        which: &Initialisation,
        keys: Vec<(String, HolderKey)>,
        observed: &mut Observed,
    ) -> Result<()> {
        // The first version is the answer as it came; a later one is without the shares.
        observed.shares_kept = self.custody.versions(&which.answer()).await?.contains(&1);
        let handed = which.holders(&self.custody).await?;
        let is_stranger = |name: &&String| !keys.iter().any(|(known, _)| known == *name);
        observed.strangers = handed.iter().filter(is_stranger).cloned().collect();
        for (name, key) in keys {
            let found = match handed.contains(&name) {
                true => self.custody.handout(&which.holder(&name)).await?,
                false => None,
            };
            let handed = match found {
                None => Handed::Nothing,
                Some(handout) if handout.holder_key == key.id() => Handed::Share,
                Some(_) => Handed::OtherKey,
            };
            observed.holders.insert(name, handed);
        }
        Ok(())
    }

    /// Gives each holder their share; then, if the plan says so, custody forgets the shares.
    ///
    /// Vault could encrypt for the holders itself. It is given the run's own key nevertheless: what
    /// it answers is then proven, by unsealing with it, before anybody depends on it; a key that
    /// its owner cannot use is found while the shares still exist elsewhere; and a run that is cut
    /// off at any moment has left at least one copy that the next run goes on from.
    async fn distribute(&self, permit: &Permit, which: &Initialisation, desired: &Desired) -> Result<()> {
        if desired.holders.is_empty() {
            return Ok(());
        }
        let unlocked = Unlocked::read(&self.custody, which).await?;
        let shares = unlocked.ok_or_else(|| foreign(self.vault.address()))?.any_shares()?;
        if !shares.is_empty() {
            self.hand_out(permit, which, desired, &shares).await?;
        }
        match desired.keep_shares {
            true => Ok(()),
            false => self.forget_shares(permit, which).await,
        }
    }

    /// Every store has every holder's message when this returns.
    async fn hand_out(
        &self,
        permit: &Permit,
        which: &Initialisation,
        desired: &Desired,
        shares: &[Secret],
    ) -> Result<()> {
        let (mut free, mut without): (BTreeSet<usize>, Vec<&Holder>) =
            ((1..=shares.len()).collect(), Vec::new());
        for holder in &desired.holders {
            match self.custody.handout(&which.holder(&holder.name)).await? {
                Some(kept) => {
                    free.remove(&kept.share);
                    self.custody.hand_out(permit, &kept).await?;
                }
                None => without.push(holder),
            }
        }
        for (holder, share) in without.into_iter().zip(free) {
            let (name, key) = (which.holder(&holder.name), holder.key(self.custody.folder())?);
            let handout = Handout::seal(&name, share, &shares[share - 1], &key)?;
            self.custody.hand_out(permit, &handout).await?;
        }
        Ok(())
    }

    /// Leaves the root token, which the run may still need. The version without the shares is on
    /// every store before the first version is removed from any.
    async fn forget_shares(&self, permit: &Permit, which: &Initialisation) -> Result<()> {
        let kept = self.custody.get(&which.answer()).await?;
        let rest = kept.as_ref().and_then(without_shares).ok_or_else(|| foreign(self.vault.address()))?;
        match self.custody.versions(&which.answer()).await?.last() {
            Some(1) => self.custody.replace(permit, &which.answer(), &rest).await?,
            _ => self.custody.put(permit, &which.answer(), &rest).await?,
        }
        self.custody.remove(permit, &which.answer(), 1).await
    }

    /// Unseals every node from custody, and finishes an initialisation that was cut off.
    ///
    /// # Errors
    /// `Unknown` when custody has no shares of this cluster.
    pub async fn unseal(&self, permit: &Permit) -> Result<()> {
        let nodes = ask_nodes(&self.vault.nodes()).await?;
        if !nodes.iter().any(|node| node.status.initialized) {
            let message = format!("{} is not initialised", self.vault.address());
            return Err(Error::new(ErrorKind::Uninitialised, "unseal", message)
                .advice("`groundwork apply` initialises it, with a step of kind `vault.init`"));
        }
        let which = self.answered().await?.ok_or_else(|| foreign(self.vault.address()))?;
        self.open(permit, &which).await
    }

    /// What holders' shares do to every node of `vault`: those that are sealed get every share. It
    /// is no error when they are too few, as others may follow.
    ///
    /// # Errors
    /// `Rejected` when a share is of another key, which starts the node's count anew.
    pub async fn enter_shares(
        vault: &VaultClient,
        permit: &Permit,
        shares: &[Secret],
    ) -> Result<Vec<SealStatus>> {
        let nodes = vault.nodes();
        let mut reached = Vec::with_capacity(nodes.len());
        for node in &nodes {
            let mut status = await_joined(permit, node, nodes[0].address()).await?;
            for share in shares {
                if status.sealed {
                    status = node.unseal(permit, share).await?;
                }
            }
            // A node that joins learns only after unsealing whether it was let in.
            let since = Instant::now();
            while status.sealed && status.progress == 0 {
                pause(since, node, "is still sealed").await?;
                status = node.seal_status().await?;
            }
            reached.push(status);
        }
        Ok(reached)
    }

    /// Unseals every node with what custody gives, and nothing else; then the run works with the
    /// root token, unless that was revoked. One readable store is enough for this.
    async fn open(&self, permit: &Permit, which: &Initialisation) -> Result<()> {
        let unlocked = Unlocked::read(&self.custody, which).await?;
        let unlocked = unlocked.ok_or_else(|| foreign(self.vault.address()))?;
        let shares = unlocked.shares()?;
        let nodes = self.vault.nodes();
        for node in &nodes {
            unseal(permit, node, nodes[0].address(), &shares).await?;
        }
        self.vault.reset_readiness().await;
        await_leader(&nodes).await?;
        self.vault.clear_token().await;
        if self.journal.committed(INIT, self.vault.address()) {
            return Ok(());
        }
        unlocked.root_token()?;
        self.commit(permit, which).await
    }

    /// Says in the journal that the initialisation is done, once every store has what belongs to it.
    async fn commit(&self, permit: &Permit, which: &Initialisation) -> Result<()> {
        for object in [which.key(), which.answer()] {
            let kept = self.custody.get(&object).await?.ok_or_else(|| foreign(self.vault.address()))?;
            self.custody.put(permit, &object, &kept).await?;
        }
        self.note(permit, |operation, target| Entry::Verified { operation, target }).await?;
        let detail = vec![which.prefix().to_owned()];
        self.note(permit, |operation, target| Entry::Committed { operation, target, detail }).await
    }

    async fn note(&self, permit: &Permit, entry: impl FnOnce(String, String) -> Entry) -> Result<()> {
        let entry = entry(INIT.to_owned(), self.vault.address().to_owned());
        self.journal.append(permit, entry).await
    }
}

/// Makes the key pair, puts its private half into custody, and gives the public half of what
/// custody returns.
async fn make_key(custody: &Custody, permit: &Permit, which: &Initialisation) -> Result<String> {
    custody.put(permit, &which.key(), &pgp::KeyPair::generate()?.to_secret()?).await?;
    let kept = custody.get(&which.key()).await?.ok_or_else(|| {
        Error::new(ErrorKind::Local, format!("custody: {}", which.key()), "was written and is not there")
    })?;
    let pair = pgp::KeyPair::from_secret(&kept)?;
    pair.public_key()?;
    pair.public()
}

/// The request's body; servers that unseal themselves have a recovery key instead.
fn request(desired: &Desired, status: &SealStatus, public: &str) -> serde_json::Value {
    let keys = vec![public; desired.shares as usize];
    if status.recovery_seal || !matches!(status.seal.as_str(), "" | "shamir") {
        return json!({
            "recovery_shares": desired.shares, "recovery_threshold": desired.threshold,
            "recovery_pgp_keys": keys, "root_token_pgp_key": public,
        });
    }
    json!({
        "secret_shares": desired.shares, "secret_threshold": desired.threshold,
        "pgp_keys": keys, "root_token_pgp_key": public,
    })
}

/// Nobody else has this answer, so a store that hiccups is tried again before giving up.
async fn escrow(custody: &Custody, permit: &Permit, which: &Initialisation, answer: &Secret) -> Result<()> {
    let mut attempt = 1;
    loop {
        match custody.put(permit, &which.answer(), answer).await {
            Err(_) if attempt < ESCROW_ATTEMPTS => attempt += 1,
            done => return done,
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Asks every node at once. Nodes that do not answer are left out as long as one says that the
/// cluster is initialised; otherwise they might be the ones that know.
async fn ask_nodes(nodes: &[NodeClient]) -> Result<Vec<Node>> {
    let answers = join_all(nodes.iter().map(NodeClient::seal_status)).await;
    let (mut answered, mut failure) = (Vec::new(), None);
    for (node, answer) in nodes.iter().zip(answers) {
        match answer {
            Ok(status) => answered.push(Node { address: node.address().to_owned(), status }),
            Err(error) => failure = Some(error),
        }
    }
    let initialised = answered.iter().any(|node| node.status.initialized);
    failure.filter(|_| !initialised).map_or(Ok(answered), Err)
}

async fn unseal(permit: &Permit, node: &NodeClient, leader: &str, shares: &[Secret]) -> Result<()> {
    let mut status = await_joined(permit, node, leader).await?;
    if status.sealed && !status.recovery_seal && shares.is_empty() {
        return Err(no_shares(node.address()));
    }
    if status.progress > 0 {
        // Shares that somebody else entered may belong to another key.
        status = node.reset_unseal(permit).await?;
    }
    // A node that rejoins its cluster may still call itself sealed when it has enough of them, and
    // then refuses one more.
    for share in &shares[..shares.len().min(status.threshold as usize)] {
        if !status.sealed || status.recovery_seal {
            break;
        }
        status = node.unseal(permit, share).await?;
    }
    // A node that joins learns only after unsealing whether it was let in.
    let patience = Instant::now();
    while node.seal_status().await?.sealed {
        pause(patience, node, "is still sealed").await?;
    }
    Ok(())
}

/// Waits until the node knows the cluster; one that does not join by itself is told to.
async fn await_joined(permit: &Permit, node: &NodeClient, leader: &str) -> Result<SealStatus> {
    let (started, mut told) = (Instant::now(), false);
    loop {
        let status = node.seal_status().await?;
        if status.initialized {
            return Ok(status);
        }
        if !told && node.address() != leader && started.elapsed() > JOIN_ALONE {
            node.join(permit, leader).await?;
            told = true;
        }
        pause(started, node, "has not joined the cluster").await?;
    }
}

async fn await_leader(nodes: &[NodeClient]) -> Result<()> {
    let started = Instant::now();
    loop {
        let health = join_all(nodes.iter().map(NodeClient::health)).await;
        if health.iter().any(|health| matches!(health, Ok(Health::Active))) {
            return Ok(());
        }
        pause(started, &nodes[0], "has no leader").await?;
    }
}

async fn pause(since: Instant, node: &NodeClient, problem: &str) -> Result<()> {
    if since.elapsed() > PATIENCE {
        let message = format!("{} {problem} after {} s", node.address(), PATIENCE.as_secs());
        return Err(Error::new(ErrorKind::Unavailable, "open the cluster", message)
            .advice("look at the server's log, then run again; the shares are safe in custody"));
    }
    tokio::time::sleep(POLL).await;
    Ok(())
}

/// A server refuses a second initialisation; it was not initialised when this run looked.
async fn explain_race(node: &NodeClient, error: Error) -> Error {
    let refused = error.kind == ErrorKind::Rejected;
    match node.seal_status().await {
        Ok(status) if refused && status.initialized => too_late(node.address()),
        _ => error,
    }
}

fn too_late(address: &str) -> Error {
    let message = format!("somebody else initialised {address} in this moment; their run has the shares");
    Error::new(ErrorKind::Conflict, INIT, message).advice(
        "find out who runs the same plan, or another one, for this cluster; go on with their custody stores \
         and journal, or remove the `vault.init` step",
    )
}

fn lost(address: &str) -> Error {
    let message = format!(
        "{address} is initialised, and custody has no answer to the request that a run of this plan sent: \
         it got lost on the way, so the key shares and the root token are gone for good, or somebody else \
         initialised it at that time and has them"
    );
    Error::new(ErrorKind::Unknown, INIT, message).advice(
        "ask first who else was at work; if nobody has the shares, nothing was seeded in it yet: stop the \
         servers, remove their storage by hand, start them and run again; if somebody has, remove the \
         `vault.init` step and set VAULT_TOKEN, or use the custody stores of that run",
    )
}

fn no_shares(address: &str) -> Error {
    let message = format!("{address} is sealed, and custody keeps no shares: their holders have them");
    Error::new(ErrorKind::Sealed, "open the cluster", message).advice(
        "let enough holders fetch their shares with `groundwork custody export-share` and enter them with \
         `groundwork unseal PLAN --share`",
    )
}

fn foreign(address: &str) -> Error {
    let message = format!("{address} is initialised, but custody has no shares of it");
    Error::new(ErrorKind::Unknown, INIT, message).advice(
        "when somebody else initialised it, remove the `vault.init` step and set VAULT_TOKEN; when this \
         plan did, bring back the custody stores it wrote to; it is never initialised again",
    )
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
    fn holders_are_as_many_as_shares_and_each_has_one_key() {
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
    fn a_holder_without_a_share_gets_one_only_while_there_are_shares() {
        let mut observed = Observed {
            address: String::new(),
            nodes: Vec::new(),
            cluster: SealStatus { threshold: 2, shares: 2, ..status(true, false) },
            committed: true,
            holders: [("alice".to_owned(), Handed::Share), ("bob".to_owned(), Handed::Nothing)].into(),
            strangers: Vec::new(),
            shares_kept: true,
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
    fn every_state_has_one_next_step() {
        use Intent::{Committed, None, Open};
        let rows = [
            (None, false, false, Next::Initialise),
            (None, false, true, Next::Initialise),
            (Open, false, false, Next::Initialise),
            (Open, false, true, Next::Initialise),
            (Committed, false, false, Next::Initialise),
            (Committed, false, true, Next::Initialise),
            (None, true, false, Next::Foreign),
            (None, true, true, Next::Finish),
            (Open, true, false, Next::Lost),
            (Open, true, true, Next::Finish),
            (Committed, true, false, Next::Foreign),
            (Committed, true, true, Next::Keep),
        ];
        for (intent, initialised, escrowed, expected) in rows {
            assert_eq!(next(intent, initialised, escrowed), expected, "{intent:?} {initialised} {escrowed}");
        }
    }

    #[test]
    fn sealed_nodes_are_a_change_and_other_shares_are_blocked() {
        let node = |address: &str, sealed| Node { address: address.into(), status: status(true, sealed) };
        let observed = Observed {
            address: "http://a:1".into(),
            nodes: vec![node("http://a:1", false), node("http://b:1", true)],
            cluster: status(true, false),
            committed: true,
            holders: BTreeMap::new(),
            strangers: Vec::new(),
            shares_kept: true,
        };
        let diff = VaultInit::diff(&split(5, 3), &observed);
        let paths: Vec<_> = diff.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!((paths, diff.blocked.len()), (vec!["nodes[http://b:1].sealed"], 0));
        let diff = VaultInit::diff(&split(7, 3), &observed);
        assert!(diff.touches("shares") && diff.blocked.len() == 1);
    }

    #[test]
    fn servers_that_unseal_themselves_get_recovery_keys() {
        let mut status = status(false, true);
        let desired = split(2, 2);
        assert_eq!(request(&desired, &status, "k")["pgp_keys"], json!(["k", "k"]));
        "static".clone_into(&mut status.seal);
        let body = request(&desired, &status, "k");
        assert_eq!(body["recovery_pgp_keys"], json!(["k", "k"]));
        assert!(body.get("secret_shares").is_none());
    }

    #[test]
    fn impossible_thresholds_are_found_before_the_network() {
        let wrong = |shares, threshold| !VaultInit::check(&split(shares, threshold)).is_empty();
        assert!(wrong(3, 4) && wrong(3, 1) && wrong(0, 0) && wrong(256, 3) && wrong(1, 0));
        assert!(!wrong(1, 1) && !wrong(5, 3));
    }
}
