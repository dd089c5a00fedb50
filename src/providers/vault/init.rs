//! `vault.init`: the cluster's initialisation and its unsealing, once, without losing a share.

use std::time::{Duration, Instant};

use futures::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::custodian::{Custodian, INIT, Initialisation, Unlocked};
use super::{Health, NodeClient, SealStatus};
use crate::custody::{Custody, pgp};
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
}

const fn five() -> u32 {
    5
}

const fn three() -> u32 {
    3
}

/// The plan's cluster; there is one per plan.
#[derive(Clone, Copy, Debug)]
pub struct Cluster;

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
    const EXAMPLE: &'static str = "vault:\n  kind: vault.init\n  shares: 5\n  threshold: 3\n";
    const PROTECTED: bool = true;
    const ONCE_ONLY: bool = true;

    type Client = Custodian;
    type Id = Cluster;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(_: &Desired) -> Cluster {
        Cluster
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        match (desired.shares, desired.threshold) {
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

    async fn observe(client: &Custodian, _: &Cluster) -> Result<Option<Observed>> {
        let nodes = ask_nodes(&client.vault.nodes()).await?;
        let cluster = nodes.iter().find(|node| node.status.initialized).map(|node| node.status.clone());
        let intent = client.intent();
        let escrowed = client.answered().await?.is_some();
        match (next(intent, cluster.is_some(), escrowed), cluster) {
            (Next::Lost, _) => Err(lost(client.vault.address())),
            (Next::Foreign, _) => Err(foreign(client.vault.address())),
            (next, Some(cluster)) => {
                let address = client.vault.address().to_owned();
                Ok(Some(Observed { address, nodes, cluster, committed: next == Next::Keep }))
            }
            (_, None) => Ok(None),
        }
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        const REKEY: &str = "the key is split anew with `groundwork rotate`, which needs the present shares";
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
        diff
    }

    async fn create(w: &Writer<'_, Custodian>, desired: &Desired) -> Result<()> {
        let which = w.initialise(w.permit(), w.step(), desired).await?;
        w.open(w.permit(), &which).await
    }

    async fn update(w: &Writer<'_, Custodian>, _: &Desired, _: &Observed) -> Result<()> {
        w.unseal(w.permit()).await
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
    async fn answered(&self) -> Result<Option<Initialisation>> {
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
            return Err(Error::new(ErrorKind::Conflict, INIT, "somebody initialised it in this moment")
                .advice("plan again"));
        }
        self.custody.prove(permit).await?;
        let which = Initialisation::begin(self.vault.address());
        let public = make_key(&self.custody, permit, &which).await?;
        self.note(permit, |operation, target| Entry::Intent {
            step: step.to_owned(),
            operation,
            target,
            detail: vec![which.prefix().to_owned()],
        })?;
        let answer = match node.init(permit, &request(desired, &status, &public)).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.not_initialised(permit, error)),
        };
        escrow(&self.custody, permit, &which, &answer).await?;
        self.note(permit, |operation, target| Entry::Escrowed { operation, target, object: which.answer() })?;
        match Unlocked::read(&self.custody, &which).await {
            // What arrived is no whole answer: the journal must not leave it at "it is in custody".
            Err(error) if error.kind == ErrorKind::Unknown => Err(self.record(permit, error)),
            _ => Ok(which),
        }
    }

    /// Records how the request failed, and says what can be done.
    fn not_initialised(&self, permit: &Permit, error: Error) -> Error {
        match self.record(permit, error) {
            error if error.kind == ErrorKind::Unknown => error.advice(
                "run again: when the server was not reached, the run goes on by itself; when it was \
                 initialised, its shares are lost and the run explains what can be done",
            ),
            error => error,
        }
    }

    /// Records an outcome that is not success. Gives the error, or the journal's when that fails.
    fn record(&self, permit: &Permit, error: Error) -> Error {
        let result = if error.kind == ErrorKind::Unknown { Ending::Unknown } else { Ending::Failed };
        let message = error.to_string();
        let noted =
            self.note(permit, |operation, target| Entry::Outcome { operation, target, result, message });
        noted.err().unwrap_or(error)
    }

    /// Unseals every node from custody, and finishes an initialisation that was cut off.
    ///
    /// # Errors
    /// `Unknown` when custody has no shares of this cluster.
    pub async fn unseal(&self, permit: &Permit) -> Result<()> {
        let which = self.answered().await?.ok_or_else(|| foreign(self.vault.address()))?;
        self.open(permit, &which).await
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
        self.note(permit, |operation, target| Entry::Verified { operation, target })?;
        let detail = vec![which.prefix().to_owned()];
        self.note(permit, |operation, target| Entry::Committed { operation, target, detail })
    }

    fn note(&self, permit: &Permit, entry: impl FnOnce(String, String) -> Entry) -> Result<()> {
        self.journal.append(permit, entry(INIT.to_owned(), self.vault.address().to_owned()))
    }
}

/// Makes the key pair, puts its private half into custody, and gives the public half of what
/// custody returns.
async fn make_key(custody: &Custody, permit: &Permit, which: &Initialisation) -> Result<String> {
    custody.put(permit, &which.key(), &pgp::KeyPair::generate()?.to_secret()?).await?;
    let kept = custody.get(&which.key()).await?.ok_or_else(|| {
        Error::new(ErrorKind::Local, format!("custody: {}", which.key()), "was written and is not there")
    })?;
    let public = pgp::KeyPair::from_secret(&kept)?.public()?;
    pgp::check_public(&public)?;
    Ok(public)
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

fn lost(address: &str) -> Error {
    let message = format!(
        "{address} was initialised by a run of this plan whose answer never arrived, so its key shares \
         and root token are gone for good"
    );
    Error::new(ErrorKind::Unknown, INIT, message).advice(
        "nothing was seeded in it yet: stop the servers, remove their storage by hand, start them and run \
         again; or, when somebody else initialised it, remove the `vault.init` step",
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
        };
        let diff = VaultInit::diff(&Desired { shares: 5, threshold: 3 }, &observed);
        let paths: Vec<_> = diff.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!((paths, diff.blocked.len()), (vec!["nodes[http://b:1].sealed"], 0));
        let diff = VaultInit::diff(&Desired { shares: 7, threshold: 3 }, &observed);
        assert!(diff.touches("shares") && diff.blocked.len() == 1);
    }

    #[test]
    fn servers_that_unseal_themselves_get_recovery_keys() {
        let mut status = status(false, true);
        let desired = Desired { shares: 2, threshold: 2 };
        assert_eq!(request(&desired, &status, "k")["pgp_keys"], json!(["k", "k"]));
        "static".clone_into(&mut status.seal);
        let body = request(&desired, &status, "k");
        assert_eq!(body["recovery_pgp_keys"], json!(["k", "k"]));
        assert!(body.get("secret_shares").is_none());
    }

    #[test]
    fn impossible_thresholds_are_found_before_the_network() {
        let wrong = |shares, threshold| !VaultInit::check(&Desired { shares, threshold }).is_empty();
        assert!(wrong(3, 4) && wrong(3, 1) && wrong(0, 0) && wrong(256, 3) && wrong(1, 0));
        assert!(!wrong(1, 1) && !wrong(5, 3));
    }
}
