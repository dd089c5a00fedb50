//! Unsealing the nodes, and waiting until the cluster serves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::Node;
use super::ceremony::foreign;
use super::members::{Members, settle};
use super::proof::{NodeProof, needs_shares, refusal};
use super::seal_migration::{enter_share, is_between_seals, require_migration_allowed};
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::providers::vault::custodian::{Custodian, Initialisation, Unlocked};
use crate::providers::vault::{Health, NodeClient, SealStatus, VaultClient};
use crate::secret::Secret;
use crate::trust::origin;

/// How often a cluster that is starting is asked.
const POLL: Duration = Duration::from_millis(200);
/// How long a node may take to join, unseal or lead.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a node that can unseal itself has to do so.
const UNSEAL_ALONE: Duration = Duration::from_secs(15);
/// How long nodes have to join by themselves before the run asks them to.
const JOIN_ALONE: Duration = Duration::from_secs(5);
/// How long a node has to lead, before the leader that it names is taken to be another one.
const FOLLOWS: Duration = Duration::from_secs(3);

impl Custodian {
    /// Unseals every node from custody, and finishes an initialisation that was cut off.
    ///
    /// # Errors
    /// `Unknown` when custody has no shares of this cluster.
    pub async fn unseal(&self, permit: &Permit) -> Result<()> {
        let nodes = ask_nodes(&self.vault).await?;
        if !nodes.iter().any(|node| node.status.initialized) {
            let message = format!("{} is not initialised", self.vault.address());
            return Err(Error::new(ErrorKind::Uninitialised, "unseal", message)
                .advice("`groundwork apply` initialises it, with a step of kind `vault.init`"));
        }
        let which = self.answered(reported_id(&nodes)).await?;
        let which = which.ok_or_else(|| foreign(self.vault.address()))?;
        self.open(permit, &which).await
    }

    /// Enters holders' shares into every node of `vault` that is sealed. It is not an error when there
    /// are too few shares, as others may follow. A node that refuses them does not keep the other
    /// nodes from getting them; the run warns of it.
    ///
    /// # Errors
    /// `Rejected` when every node says that a share is of another key, which resets its count.
    pub async fn enter_shares(
        vault: &VaultClient,
        proof: &NodeProof,
        permit: &Permit,
        shares: &[Secret],
    ) -> Result<Vec<(String, SealStatus)>> {
        let answered = ask_nodes(vault).await?;
        let known = answered.iter().find(|node| node.status.initialized);
        let leader = known.map_or(vault.address(), |node| &node.address);
        let newcomers = proof.newcomers(vault, None, &answered).await?;
        let (mut reached, mut failures) = (Vec::with_capacity(answered.len()), Vec::new());
        for answered in &answered {
            let node = &vault.node(&answered.address)?;
            let refused = newcomers.get(&answered.address).and_then(|newcomer| newcomer.refused.as_deref());
            let entered = match refused {
                Some(why) => Err(refusal(why)),
                None => enter(permit, node, leader, shares).await,
            };
            let status = match entered {
                Ok(status) => status,
                Err(error) => {
                    failures.push((node.address().to_owned(), error));
                    // How it is now, as far as it still answers.
                    node.seal_status().await.unwrap_or_else(|_| answered.status.clone())
                }
            };
            reached.push((node.address().to_owned(), status));
        }
        if failures.len() == reached.len()
            && let Some((_, error)) = failures.pop()
        {
            return Err(error);
        }
        for (address, error) in failures {
            vault
                .warnings()
                .insert(format!("the node {address} did not take the shares ({})", error.message));
        }
        Ok(reached)
    }

    /// Unseals every node that answers with what custody gives, and nothing else; then the run works
    /// with the root token, unless that was revoked. One readable store is enough for this.
    pub(super) async fn open(&self, permit: &Permit, which: &Initialisation) -> Result<()> {
        let unlocked = Unlocked::read(&self.custody, which).await?;
        let unlocked = unlocked.ok_or_else(|| foreign(self.vault.address()))?;
        let opened = self.open_with_any(permit, which).await?;
        // Unsealing does not wait for a journal that this machine cannot write.
        let can_append = self.journal.can_append();
        if can_append {
            self.proof.record(permit, which, &opened.proven).await?;
        }
        if can_append && !self.is_committed(which) {
            unlocked.root_token()?;
            self.commit(permit, which).await?;
        }
        opened.require_all()
    }

    /// Unseals every node that answers with these shares, and has empty ones join. Records who took them, if
    /// custody knows whose they are.
    ///
    /// # Errors
    /// As [`Custodian::unseal`]; when the cluster gets no leader.
    pub async fn open_with(&self, permit: &Permit, shares: &[Secret]) -> Result<()> {
        // The shares suffice; custody may not answer.
        let found = self.generation_of(shares).await.unwrap_or_default();
        let which = found.as_ref().map(|(which, _)| which);
        let opened = open_nodes((&self.vault, &self.proof), permit, which, shares).await?;
        if let Some((which, generation)) = found.filter(|_| self.journal.can_append()) {
            self.proof.record(permit, &which, &opened.proven).await?;
            if which.current(&self.custody).await? != generation {
                generation.make_current(&self.custody, permit).await?;
            }
        }
        opened.require_all()
    }

    /// Unseals one node of the cluster of `leader`, an address, and waits until it is open. An empty one joins first.
    ///
    /// # Errors
    /// When the node refuses the shares, or stays sealed.
    pub async fn open_node(
        permit: &Permit,
        node: &NodeClient,
        leader: &str,
        shares: &[Secret],
    ) -> Result<()> {
        unseal(permit, node, leader, shares).await
    }

    /// The servers that the cluster counts, where there are several and one can be asked.
    pub(super) async fn members(&self, reached: &[Node]) -> Option<Members> {
        let serves = |node: &Node| node.status.initialized && !node.status.sealed;
        let asked = reached.len() > 1 && reached.iter().any(serves);
        if asked { Members::ask(&self.vault).await.ok().flatten() } else { None }
    }
}

/// The nodes after they got shares.
pub(super) struct Opened {
    /// Those that are open and of the cluster.
    proven: Vec<NodeClient>,
    /// Those that are not, and why.
    pub(super) refusals: Vec<(String, Error)>,
}

impl Opened {
    fn require_all(self) -> Result<()> {
        if self.refusals.is_empty() { Ok(()) } else { Err(refused(self.refusals)) }
    }
}

/// Enters shares into every node that may get those of `which`, waits for a leader, and has empty nodes join it.
/// The run's token is forgotten, because it may be of another time.
pub(super) async fn open_nodes(
    (vault, proof): (&VaultClient, &NodeProof),
    permit: &Permit,
    which: Option<&Initialisation>,
    shares: &[Secret],
) -> Result<Opened> {
    let mut reached = ask_nodes(vault).await?;
    let newcomers = proof.newcomers(vault, which, &reached).await?;
    let strangers =
        newcomers.into_iter().filter_map(|(address, one)| Some((address, refusal(&one.refused?))));
    let strangers: BTreeMap<String, Error> = strangers.collect();
    reached.retain(|node| !strangers.contains_key(&node.address));
    // Those that know the cluster go first, so that there is a leader whom the others can join.
    let (known, empty): (Vec<_>, Vec<_>) = reached.iter().partition(|node| node.status.initialized);
    let clients =
        |nodes: &[&Node]| nodes.iter().map(|node| vault.node(&node.address)).collect::<Result<Vec<_>>>();
    let (known, empty) = (clients(&known)?, clients(&empty)?);
    let (opened, mut refusals) = unseal_each(permit, &known, vault.address(), shares).await;
    if opened.is_empty() && !(refusals.is_empty() && strangers.is_empty()) {
        refusals.extend(strangers);
        return Err(refused(refusals));
    }
    await_leader(&known).await?;
    let leader = opened.first().map_or(vault.address(), |node| node.address());
    let (joined, failed) = unseal_each(permit, &empty, leader, shares).await;
    refusals.extend(failed);
    vault.reset_readiness().await;
    vault.clear_token().await;
    if reached.len() > 1 {
        settle(vault, permit, reached.len() - refusals.len()).await?;
    }
    let mut proven = Vec::new();
    for node in opened.into_iter().chain(joined) {
        // One that was open before has taken no share, and says of itself that it is of the cluster.
        let took = reached.iter().any(|one| one.address == node.address() && needs_shares(one));
        let is_known = match which {
            Some(which) => took || proof.knows(vault, which, node).await,
            None => false,
        };
        if is_known {
            proven.push(vault.node(node.address())?);
        }
    }
    refusals.extend(strangers);
    Ok(Opened { proven, refusals })
}

/// Asks every node at once. Nodes that do not answer are left out, with a warning, as long as one says
/// that the cluster is initialised; otherwise they might be the ones that know.
pub(super) async fn ask_nodes(vault: &VaultClient) -> Result<Vec<Node>> {
    let nodes = vault.nodes();
    let answers = join_all(nodes.iter().map(NodeClient::seal_status)).await;
    let (mut answered, mut failures) = (Vec::new(), Vec::new());
    for (node, answer) in nodes.iter().zip(answers) {
        match answer {
            Ok(status) => answered.push(Node { address: node.address().to_owned(), status }),
            Err(error) => failures.push((node.address(), error)),
        }
    }
    if !answered.iter().any(|node| node.status.initialized) {
        return failures.pop().map_or(Ok(answered), |(_, error)| Err(error));
    }
    for (address, error) in failures {
        vault.warnings().insert(format!(
            "the node {address} does not answer ({}); start it, or put an empty server in its place, which the \
             next run joins to the cluster and unseals",
            error.message
        ));
    }
    Ok(answered)
}

/// The cluster's id, as the first node says that is not sealed.
pub(super) fn reported_id(nodes: &[Node]) -> Option<&str> {
    nodes.iter().find_map(|node| node.status.cluster_id.as_deref())
}

/// Enters every share into a sealed node that has joined the cluster.
async fn enter(permit: &Permit, node: &NodeClient, leader: &str, shares: &[Secret]) -> Result<SealStatus> {
    let mut status = await_joined(permit, node, leader).await?;
    require_migration_allowed(node, &status)?;
    for share in shares {
        if status.sealed {
            status = enter_share(permit, node, &status, share).await?;
        }
    }
    // A node that joins learns only after unsealing whether it was let in.
    let since = Instant::now();
    while status.sealed && status.progress == 0 {
        pause(since, node, "is still sealed").await?;
        status = node.seal_status().await?;
    }
    Ok(status)
}

/// Unseals all nodes side by side. One that refuses does not keep the others sealed; gives those that
/// are open, and those that are not with their errors.
async fn unseal_each<'a>(
    permit: &Permit,
    nodes: &'a [NodeClient],
    leader: &str,
    shares: &[Secret],
) -> (Vec<&'a NodeClient>, Vec<(String, Error)>) {
    let results = join_all(nodes.iter().map(|node| unseal(permit, node, leader, shares))).await;
    let (mut opened, mut refusals) = (Vec::new(), Vec::new());
    for (node, result) in nodes.iter().zip(results) {
        match result {
            Ok(()) => opened.push(node),
            Err(error) => refusals.push((node.address().to_owned(), error)),
        }
    }
    (opened, refusals)
}

/// The nodes that could not be unsealed, as one error.
fn refused(mut refusals: Vec<(String, Error)>) -> Error {
    if refusals.len() == 1
        && let Some((address, error)) = refusals.pop()
    {
        let Error { kind, operation, message, advice, .. } = error;
        let message = if message.contains(&address) { message } else { format!("{address}: {message}") };
        return Error::new(kind, operation, message).advice(advice.unwrap_or_else(refused_advice));
    }
    let kind = refusals.first().map_or(ErrorKind::Unavailable, |(_, error)| error.kind);
    let nodes: Vec<String> =
        refusals.iter().map(|(address, error)| format!("{address}: {}", error.message)).collect();
    Error::new(kind, "open the cluster", nodes.join("; ")).advice(refused_advice())
}

fn refused_advice() -> String {
    "every other node that answers was unsealed; look at the logs of these, and put an empty server in the \
     place of one that belongs to another cluster"
        .to_owned()
}

/// Unseals one node, waits until it is open, and until an empty one has joined the cluster of `leader`.
pub(super) async fn unseal(
    permit: &Permit,
    node: &NodeClient,
    leader: &str,
    shares: &[Secret],
) -> Result<()> {
    let mut status = await_joined(permit, node, leader).await?;
    require_migration_allowed(node, &status)?;
    if status.recovery_seal && !status.migration {
        status = await_its_own_unsealing(node, status).await?;
    }
    if status.sealed && shares.is_empty() {
        return Err(no_shares(node.address()));
    }
    if status.sealed && status.progress > 0 {
        // Shares that another caller entered may belong to another key.
        status = node.reset_unseal(permit).await?;
    }
    // A node that rejoins its cluster may still call itself sealed when it has enough of them, and
    // then refuses one more.
    for share in &shares[..shares.len().min(status.threshold as usize)] {
        if !status.sealed {
            break;
        }
        status = match enter_share(permit, node, &status, share).await {
            // While it moves its data to another seal it answers with an error.
            Err(error) if status.migration && error.is_retriable() => break,
            entered => entered?,
        };
    }
    // A node that joins learns only after unsealing whether it was let in.
    let patience = Instant::now();
    loop {
        match node.seal_status().await {
            Ok(status) if !status.sealed => return Ok(()),
            // It is open, and waits until the leader moves the data.
            Err(error) if node.may_migrate() && is_between_seals(&error) => return Ok(()),
            Err(error) if !(status.migration && error.is_retriable()) => return Err(error),
            Ok(_) | Err(_) => pause(patience, node, "is still sealed").await?,
        }
    }
}

/// Waits until a server that is being started answers.
pub(super) async fn await_answer(node: &NodeClient) -> Result<SealStatus> {
    let started = Instant::now();
    loop {
        match node.seal_status().await {
            Err(error) if error.is_retriable() => pause(started, node, "does not answer").await?,
            answer => return answer,
        }
    }
}

/// A server with a seal of its own unseals itself when it starts. OpenBao 2.6 and 2.7 stay sealed after
/// an operator has sealed them, until they are restarted or get the recovery keys.
pub(super) async fn await_its_own_unsealing(node: &NodeClient, mut status: SealStatus) -> Result<SealStatus> {
    let started = Instant::now();
    while status.sealed && started.elapsed() < UNSEAL_ALONE {
        tokio::time::sleep(POLL).await;
        status = node.seal_status().await?;
    }
    Ok(status)
}

/// Waits until the node knows the cluster. Asks a node to join that does not do so by itself.
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

pub(super) async fn await_leader(nodes: &[NodeClient]) -> Result<()> {
    let started = Instant::now();
    loop {
        let health = join_all(nodes.iter().map(NodeClient::health)).await;
        if health.iter().any(|health| matches!(health, Ok(Health::Active))) {
            return Ok(());
        }
        // The leader that a node has just read may be the one from before it was sealed.
        if started.elapsed() > FOLLOWS && is_led_elsewhere(nodes).await {
            return Ok(());
        }
        pause(started, &nodes[0], "has no leader").await?;
    }
}

/// Whether a node follows a leader that is none of these: a run may know of a standby only.
async fn is_led_elsewhere(nodes: &[NodeClient]) -> bool {
    let leaders = join_all(nodes.iter().map(NodeClient::leader)).await;
    let is_here = |leader: &str| nodes.iter().any(|node| origin(leader).as_deref() == Some(node.address()));
    leaders.into_iter().flatten().any(|one| !one.leader_address.is_empty() && !is_here(&one.leader_address))
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

fn no_shares(address: &str) -> Error {
    let message = format!("{address} is sealed, and custody keeps no shares: their holders have them");
    Error::new(ErrorKind::Sealed, "open the cluster", message).advice(
        "let enough holders fetch their shares with `groundwork custody export-share` and enter them with \
         `groundwork unseal PLAN --share`",
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::trace::Calls;

    /// A sealed node that one share opens, or that takes no share at all.
    fn node(takes_shares: bool) -> NodeClient {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let sealed = AtomicBool::new(true);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = vec![0; 65536];
                let read = stream.read(&mut request).unwrap_or_default();
                let unseals = String::from_utf8_lossy(&request[..read]).contains("/sys/unseal");
                let refuses = unseals && !takes_shares;
                if unseals && takes_shares {
                    sealed.store(false, Ordering::SeqCst);
                }
                let sealed = sealed.load(Ordering::SeqCst);
                let (status, body) = if refuses {
                    ("400 Bad Request", r#"{"errors":["unable to retrieve stored keys"]}"#.to_owned())
                } else {
                    (
                        "200 OK",
                        format!(r#"{{"type":"shamir","initialized":true,"sealed":{sealed},"t":1,"n":1}}"#),
                    )
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        let address = reqwest::Url::parse(&address).expect("a URL");
        NodeClient::new(reqwest::Client::new(), address, None, Arc::new(Calls::default()))
    }

    #[tokio::test]
    async fn refusing_node_does_not_block_unsealing_others() {
        let nodes = [node(false), node(true), node(true)];
        let shares = [Secret::from("aa".to_owned())];
        let (opened, refusals) = unseal_each(&Permit::mint(), &nodes, nodes[1].address(), &shares).await;
        let opened: Vec<&str> = opened.iter().map(|node| node.address()).collect();
        assert_eq!(opened, [nodes[1].address(), nodes[2].address()]);
        let error = refused(refusals);
        assert!(error.message.contains(nodes[0].address()), "{error}");
        assert!(error.message.contains("stored keys") && error.advice.is_some(), "{error}");
    }
}
