//! A cluster that is initialised only to have a backup restored into it.
//!
//! A server takes a backup only once it is initialised. The shares and the root token of that initialisation are
//! worth nothing after the restore, and the only way into the server before it: custody has them until the
//! restore is proven, under a name under which no cluster is looked for.

use std::time::{Duration, Instant};

use super::ceremony::{KEEPING, make_key, request, too_late};
use super::unsealing::{ask_nodes, await_leader, reported_id, unseal};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Entry, OperationOutcome};
use crate::permit::Permit;
use crate::providers::vault::NodeClient;
use crate::providers::vault::custodian::{Custodian, Initialisation, Unlocked};
use crate::providers::vault::node::init_timeout;

/// The operation under which the journal knows it, until the restore is proven.
const THROWAWAY: &str = "sys/init for a restore";
/// How often a server that may be restoring is asked.
const POLL: Duration = Duration::from_millis(300);
/// How long a server may take to say whether it knows the throw-away root token.
const PATIENCE: Duration = Duration::from_mins(2);

/// Into how many shares the key is split, and how many of them open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The number of shares.
    pub shares: u32,
    /// How many of them are needed.
    pub threshold: u32,
}

/// The state of the servers into which a backup is to be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// One is initialised, and may have data.
    Inhabited,
    /// None is initialised.
    Empty,
    /// An earlier restore has initialised one, and has not ended.
    Begun,
}

impl Custodian {
    /// The state of the plan's servers.
    ///
    /// # Errors
    /// When a server does not answer and no other says that it is initialised; `Unknown` when an earlier restore
    /// has initialised one and the answer got lost.
    pub async fn ground(&self) -> Result<Ground> {
        let nodes = ask_nodes(&self.vault).await?;
        if !nodes.iter().any(|node| node.status.initialized) {
            return Ok(Ground::Empty);
        }
        match self.throwaway().await {
            Ok(Some(_)) => return Ok(Ground::Begun),
            // People with shares in their hands do not wait for custody.
            Err(error) if self.is_restore_open() => return Err(error),
            Ok(None) | Err(_) => {}
        }
        let id = reported_id(&nodes);
        if self.is_restore_open() && (id.is_none() || self.found_here(id).await?.is_none()) {
            return Err(lost(self.vault.address()));
        }
        Ok(Ground::Inhabited)
    }

    /// Whether a restore into empty servers was begun and is not proven.
    pub(super) fn is_restore_open(&self) -> bool {
        self.journal.open_intent(THROWAWAY, self.vault.address()).is_some()
    }

    /// Notes that the servers of such a restore were emptied.
    pub(super) async fn give_up_restore(&self, permit: &Permit) -> Result<()> {
        if !self.is_restore_open() {
            return Ok(());
        }
        let (operation, target) = (THROWAWAY.to_owned(), self.vault.address().to_owned());
        let message = "the servers were emptied again".to_owned();
        let result = OperationOutcome::Failed;
        self.journal.append(permit, Entry::Outcome { operation, target, result, message }).await
    }

    /// The initialisation that an unfinished restore has made.
    async fn throwaway(&self) -> Result<Option<Initialisation>> {
        let folder = Initialisation::throwaway_folder(self.vault.address());
        // The whole list, because a store that does not answer counts only where the others have nothing at all.
        let names = self.custody.list("").await?;
        let all = names.iter().filter(|name| name.starts_with(&folder));
        let mut answers: Vec<_> = all.filter_map(|name| Initialisation::of_throwaway(name)).collect();
        answers.sort_by(|one, other| other.when().cmp(one.when()));
        for which in answers {
            if self.custody.has(&which.answer()).await? {
                return Ok(Some(which));
            }
        }
        Ok(None)
    }

    /// Initialises the first of the plan's servers, all of which are empty, in the share shape of a backup. Its
    /// answer is in custody when this returns.
    ///
    /// # Errors
    /// When custody does not work, or a server may not get shares: then nothing was written. `Unknown` when the
    /// answer is lost.
    pub async fn initialise_for_restore(&self, permit: &Permit, shape: Shape) -> Result<()> {
        self.proof.require_known(&self.vault)?;
        let node = self.first_node()?;
        let status = node.seal_status().await?;
        if status.initialized {
            return Err(too_late(node.address()));
        }
        let which = Initialisation::begin_throwaway(self.vault.address());
        let prepared = self.custody.prepare_first(permit, &which.answer()).await?;
        let public = make_key(&self.custody, permit, &which.key()).await?;
        self.note_throwaway(permit, |operation, target| Entry::Intent {
            step: "restore".to_owned(),
            operation,
            target,
            detail: vec![which.prefix().to_owned()],
        })
        .await?;
        let waiting = self.awaited.begin(format!("sys/init of {}", node.address()), init_timeout() + KEEPING);
        let answer = match node.init(permit, &request(shape, &status, &public)).await {
            Ok(answer) => answer,
            Err(error) if error.kind == ErrorKind::Unknown => {
                let Error { operation, message, .. } = error;
                return Err(
                    Error::new(ErrorKind::Unknown, operation, message).advice(empty_it(node.address()))
                );
            }
            Err(error) => return Err(error),
        };
        self.custody.keep(permit, prepared, &answer).await?;
        drop(waiting);
        Ok(())
    }

    /// Opens the initialised server with what custody has of the throw-away initialisation, whose root token the run
    /// uses from then on. Returns whether it is still to be restored: `false` when it has the backup already, and is
    /// opened by the shares of that.
    ///
    /// # Errors
    /// When custody has nothing of it, or the server does not come up.
    pub async fn enter_for_restore(&self, permit: &Permit) -> Result<bool> {
        let which = self.throwaway().await?.ok_or_else(|| lost(self.vault.address()))?;
        // A person must not initialise a cluster again whose answer did not arrive whole; this one is worth nothing.
        let cut = |error: Error| match error.kind {
            ErrorKind::Unknown | ErrorKind::Local => error.advice(empty_it(self.vault.address())),
            _ => error,
        };
        let unlocked = Unlocked::read(&self.custody, &which).await.map_err(cut)?;
        let unlocked = unlocked.ok_or_else(|| lost(self.vault.address()))?;
        let (shares, root_token) = (unlocked.shares().map_err(cut)?, unlocked.root_token().map_err(cut)?);
        let node = self.first_node()?;
        if node.seal_status().await?.sealed {
            match unseal(permit, &node, node.address(), &shares).await {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::Rejected => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let (nodes, started) = ([node], Instant::now());
        await_leader(&nodes).await?;
        self.vault.reset_readiness().await;
        self.vault.set_token(root_token).await;
        loop {
            match self.vault.lookup_self().await {
                Ok(_) => return Ok(true),
                Err(error) if error.kind == ErrorKind::Denied => {
                    self.vault.clear_token().await;
                    return Ok(false);
                }
                // It seals itself when a restore that was under way ends.
                Err(_) if nodes[0].seal_status().await.is_ok_and(|status| status.sealed) => return Ok(false),
                Err(error) if started.elapsed() > PATIENCE => return Err(error),
                Err(_) => {
                    tokio::time::sleep(POLL).await;
                    self.vault.reset_readiness().await;
                }
            }
        }
    }

    /// Removes the throw-away initialisation from custody: the restore is proven.
    ///
    /// # Errors
    /// When a store does not answer; it is removed by the next restore then.
    pub async fn end_restore(&self, permit: &Permit) -> Result<()> {
        if self.is_restore_open() {
            self.note_throwaway(permit, |operation, target| Entry::Committed {
                operation,
                target,
                detail: Vec::new(),
            })
            .await?;
        }
        self.custody.discard(permit, &Initialisation::throwaway_folder(self.vault.address())).await.map(drop)
    }

    /// Restoring does not wait for a journal that this machine cannot write.
    async fn note_throwaway(
        &self,
        permit: &Permit,
        entry: impl FnOnce(String, String) -> Entry,
    ) -> Result<()> {
        if !self.journal.can_append() {
            return Ok(());
        }
        self.journal.append(permit, entry(THROWAWAY.to_owned(), self.vault.address().to_owned())).await
    }

    fn first_node(&self) -> Result<NodeClient> {
        self.vault.nodes().into_iter().next().ok_or_else(|| lost(self.vault.address()))
    }
}

/// A restore that was begun and is to be finished before anything else is done with the cluster.
pub(super) fn unfinished(address: &str) -> Error {
    let message = format!("a backup is being restored into {address}, and that was cut off");
    Error::new(ErrorKind::Unavailable, "look at the cluster", message)
        .advice("run the same `groundwork restore` or `groundwork rebuild` again: it goes on from there")
}

fn lost(address: &str) -> Error {
    let message = format!(
        "a restore has initialised {address}, and custody has no answer to that: nothing opens the server now"
    );
    Error::new(ErrorKind::Unknown, "restore", message).advice(empty_it(address))
}

fn empty_it(address: &str) -> String {
    format!(
        "nothing but this backup can be in it: stop the server {address}, remove its storage, start it, and run again"
    )
}
