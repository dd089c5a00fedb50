//! Splitting the cluster's key again: other shares, another shape, other holders.
//! <https://openbao.org/api-docs/system/rotate/>
//!
//! The new shares are encrypted for a key of this run, whose private half is in custody before the server makes them. The
//! server keeps a backup of them and wants them verified, so that nothing that gets lost on the way matters: until the
//! verification ends the present shares are in force. Afterwards the new ones are proven on the servers before custody
//! takes them for the present ones, and before a holder gets one. The old ones stay: they open the backups of their time.
//!
//! A rekey lives in the memory of the node that leads, and each node has its own. So the one under way is known by the
//! key that it encrypts for, not by what a node says of itself.

mod proof;
mod state;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use self::state::{Known, Next, State, next};
use super::custodian::{Custodian, Initialisation};
use super::generation::Generation;
use super::init::make_key;
use super::server::Rekeying;
use super::{DeclaredSplit, Shape, VaultClient};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Entry, OperationOutcome};
use crate::permit::Permit;
use crate::place::Place;
use crate::resource::Provided;
use crate::run::Run;
use crate::secret::Secret;

/// The operation under which the journal knows a rekey; its target is the initialisation.
const REKEY: &str = "sys/rekey";

/// Where the present shares come from, when custody does not have them.
#[async_trait]
pub trait ShareSource: Send + Sync {
    /// The next share; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn next(&self, entered: u32, required: u32) -> Result<Option<Secret>>;

    /// Reports to the person what goes on.
    fn tell(&self, text: &str);
}

/// A cluster whose key is to be split again.
pub struct Rekey {
    vault: Arc<VaultClient>,
    custodian: Arc<Custodian>,
    which: Initialisation,
    paths: Rekeying,
    is_recovery: bool,
    /// How the key is split now.
    now: Shape,
}

/// The facts that a person agrees to.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// The address of the cluster.
    pub address: String,
    /// Whether it is the recovery key, because the servers unseal themselves.
    pub is_recovery: bool,
    /// How the key is split now.
    pub now: Shape,
    /// How many shares custody has of it.
    pub in_custody: usize,
    /// Who has a share now.
    pub holders: Vec<String>,
    /// An earlier run that has not ended: when it was begun, and by whom.
    pub unfinished: Option<String>,
}

impl Rekey {
    /// The plan's cluster.
    ///
    /// # Errors
    /// `Denied` when nothing proves that the server is of the plan's cluster; when it is sealed, or custody has nothing
    /// of it.
    pub async fn of(run: &Run) -> Result<Self> {
        let custodian = Custodian::provide(run, &Place::OWN).await?;
        let vault = Arc::clone(&custodian.vault);
        vault.ready().await?;
        let which = custodian.initialisation_to_use().await?.ok_or_else(|| {
            let message = format!("custody has nothing of the cluster at {}", vault.address());
            refused(&message)
                .advice("split the key of a cluster that a plan with a `vault.init` step has initialised")
        })?;
        let status = vault.leading_node().await?.seal_status().await?;
        let now = Shape { shares: status.shares, threshold: status.threshold };
        let paths = Rekeying::of(&vault, status.recovery_seal).await?;
        Ok(Self { vault, custodian, which, paths, is_recovery: status.recovery_seal, now })
    }

    /// How it stands before anything is done. Writes nothing.
    ///
    /// # Errors
    /// `Conflict` when another person is at it; when custody cannot be read.
    pub async fn look(&self) -> Result<Outlook> {
        let current = self.which.current(&self.custodian.custody).await?;
        let open = self.custodian.journal.open_intent(REKEY, self.which.prefix());
        if open.is_none() && self.state().await?.started {
            return Err(self.foreign());
        }
        Ok(Outlook {
            address: self.vault.address().to_owned(),
            is_recovery: self.is_recovery,
            now: self.now,
            in_custody: current.shares(&self.custodian.custody).await?.len(),
            holders: current.holders(&self.custodian.custody).await?,
            unfinished: open.map(|record| format!("{}, begun by {}", record.time, record.who.who)),
        })
    }

    /// Splits the key as `wanted` says, or goes on where an earlier run was cut off.
    ///
    /// # Errors
    /// When a server does not take part, custody does not keep what it is given, or there are too few shares. Unless the
    /// error says otherwise, the present shares are still in force.
    pub async fn carry_out(
        &self,
        permit: &Permit,
        wanted: &DeclaredSplit,
        source: &dyn ShareSource,
    ) -> Result<()> {
        self.custodian.await_settled().await?;
        self.custodian.custody.prove(permit).await?;
        let generation = match self.under_way(permit, wanted, source).await? {
            UnderWay::InForce(generation) => generation,
            UnderWay::ToVerify(generation) => {
                self.verify(permit, &generation).await?;
                generation
            }
            UnderWay::Nothing => {
                let generation = self.split(permit, wanted, source).await?;
                self.verify(permit, &generation).await?;
                generation
            }
        };
        source.tell("the new shares are in force; proving them");
        self.prove(permit, &generation, source).await?;
        generation.make_current(&self.custodian.custody, permit).await?;
        let (operation, target) = self.subject();
        self.note(permit, Entry::Verified { operation, target }).await?;
        self.custodian.distribute(permit, &self.which, wanted).await?;
        self.drop_backup(permit).await?;
        // A run that was cut off may have left an object on one store only.
        self.custodian.custody.complete(permit, self.which.prefix()).await?;
        let (operation, target) = self.subject();
        self.note(permit, Entry::Committed { operation, target, detail: vec![generation.id().to_owned()] })
            .await
    }

    async fn state(&self) -> Result<State> {
        State::read(self.vault.get(self.paths.init).await?.unwrap_or_default())
    }

    fn subject(&self) -> (String, String) {
        (REKEY.to_owned(), self.which.prefix().to_owned())
    }

    async fn note(&self, permit: &Permit, entry: Entry) -> Result<()> {
        self.custodian.journal.append(permit, entry).await
    }
}

/// The remains of an earlier run.
enum UnderWay {
    /// Nothing that a run could go on with.
    Nothing,
    /// New shares that are in custody and not in force yet.
    ToVerify(Generation),
    /// New shares that are in force, and not recorded.
    InForce(Generation),
}

impl Rekey {
    /// Goes by the open intent of an earlier run, and cancels what cannot be gone on with.
    async fn under_way(
        &self,
        permit: &Permit,
        wanted: &DeclaredSplit,
        source: &dyn ShareSource,
    ) -> Result<UnderWay> {
        let custody = &self.custodian.custody;
        let (state, open) =
            (self.state().await?, self.custodian.journal.open_intent(REKEY, self.which.prefix()));
        let Some(Entry::Intent { detail, .. }) = open.map(|record| record.entry) else {
            return if state.started { Err(self.foreign()) } else { Ok(UnderWay::Nothing) };
        };
        let generation = Generation::of(&self.which, detail.first().map_or("", String::as_str));
        let pair = match custody.exists(&generation.key()).await? {
            true => Some(generation.pair(custody).await?),
            false => None,
        };
        let answer = generation.read(custody).await?;
        let is_empty = answer.is_none();
        let has_shape = state.n == wanted.shares && state.t == wanted.threshold;
        let known = Known {
            started: state.started,
            is_ours: pair.is_some_and(|pair| state.is_for(&pair.fingerprint())),
            awaits_verification: !state.verification_nonce.is_empty(),
            escrowed: answer.is_some(),
            is_same: has_shape && answer.is_some_and(|answer| answer.nonce == state.nonce),
        };
        let step = next(known);
        match step {
            Next::Foreign => return Err(self.foreign()),
            Next::Verify => {
                source.tell("going on with the rekey that was cut off: its shares are in custody");
                return Ok(UnderWay::ToVerify(generation));
            }
            Next::Cancel | Next::CancelAndTry => self.vault.delete(permit, self.paths.init).await?,
            Next::Try | Next::Begin => {}
        }
        if matches!(step, Next::Try | Next::CancelAndTry) && self.opens(permit, &generation).await? {
            source.tell("the rekey that was cut off has taken effect: its shares open the key");
            return Ok(UnderWay::InForce(generation));
        }
        source.tell("the rekey that was cut off has not taken effect: the shares before it are in force");
        // It holds shares that open nothing.
        self.drop_backup(permit).await?;
        if is_empty {
            // The key was made for an answer that never came.
            custody.discard(permit, &format!("{}/", generation.describe())).await?;
        }
        self.fail(permit, "cut off, and given up: the shares before it are in force").await?;
        Ok(UnderWay::Nothing)
    }

    async fn fail(&self, permit: &Permit, why: &str) -> Result<()> {
        let (operation, target) = self.subject();
        let (result, message) = (OperationOutcome::Failed, why.to_owned());
        self.note(permit, Entry::Outcome { operation, target, result, message }).await
    }

    /// Has the server make new shares. They are in custody when this returns, and not in force.
    async fn split(
        &self,
        permit: &Permit,
        wanted: &DeclaredSplit,
        source: &dyn ShareSource,
    ) -> Result<Generation> {
        let custody = &self.custodian.custody;
        let generation = Generation::begin(&self.which);
        let prepared = custody.prepare_first(permit, &generation.answer()).await?;
        let public = make_key(custody, permit, &generation.key()).await?;
        let fingerprint = generation.pair(custody).await?.fingerprint();
        let (operation, target) = self.subject();
        let detail = vec![generation.id().to_owned(), format!("{} of {}", wanted.threshold, wanted.shares)];
        self.note(permit, Entry::Intent { step: "rotate".to_owned(), operation, target, detail }).await?;
        let answer = match self.ask_for_shares(permit, wanted, (&public, &fingerprint), source).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.give_up(permit, error).await),
        };
        let text =
            serde_json::to_vec(&answer).map(Secret::new).map_err(|_| refused("the answer is not JSON"))?;
        custody.keep(permit, prepared, &text).await?;
        let (operation, target) = self.subject();
        self.note(permit, Entry::Escrowed { operation, target, object: generation.answer() }).await?;
        let shares = generation.shares(custody).await?;
        if shares.len() != wanted.shares as usize || !proof::agree(&shares, wanted.threshold as usize) {
            let error = refused("the new shares do not belong together; the present ones stay in force");
            return Err(self.give_up(permit, error).await);
        }
        Ok(generation)
    }

    /// Cancels a rekey that nothing depends on yet. Gives the error, with how that went.
    async fn give_up(&self, permit: &Permit, error: Error) -> Error {
        let cancelled = async {
            if self.state().await?.started {
                self.vault.delete(permit, self.paths.init).await?;
            }
            self.drop_backup(permit).await?;
            self.fail(permit, &error.message).await
        };
        match cancelled.await {
            Ok(()) => error,
            Err(_) => {
                let Error { kind, operation, message, .. } = error;
                Error::new(kind, operation, message).advice(
                    "the present shares are in force; run again: it goes on, or cancels what it began",
                )
            }
        }
    }

    /// Begins, and enters present shares until there are enough. Gives the answer with the new ones.
    async fn ask_for_shares(
        &self,
        permit: &Permit,
        wanted: &DeclaredSplit,
        (public, fingerprint): (&str, &str),
        source: &dyn ShareSource,
    ) -> Result<Value> {
        let begun = self.vault.post(permit, self.paths.init, &body(wanted, public)).await?;
        // Servers without a recovery key make one at once.
        if begun["complete"] == true {
            return Ok(begun);
        }
        let state = self.state().await?;
        let is_same =
            begun["nonce"] == state.nonce.as_str() && (state.n, state.t) == (wanted.shares, wanted.threshold);
        if !(is_same && state.is_for(fingerprint)) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "split the key",
                "the server would encrypt the new shares for another key than this run's; no share was entered",
            )
            .advice("find out who else splits the key of this cluster just now"));
        }
        // A restored backup has the shares of its time, so all that custody has are tried.
        let (custody, mut refusal) = (&self.custodian.custody, None);
        for kept in self.which.generations(custody).await? {
            let shares = kept.shares(custody).await?;
            if shares.len() < state.required as usize {
                continue;
            }
            match self.enter_kept(permit, &state, &shares).await {
                Err(error) if error.kind == ErrorKind::Rejected => refusal = Some(error),
                answer => return answer,
            }
        }
        match refusal {
            Some(error) => Err(error),
            None => self.enter_given(permit, &state, source).await,
        }
    }

    async fn enter(&self, permit: &Permit, nonce: &str, share: &Secret) -> Result<Value> {
        let share = share.expose_str().ok_or_else(|| refused("a share is not text"))?;
        self.vault.post(permit, self.paths.update, &json!({ "key": share.trim(), "nonce": nonce })).await
    }

    async fn enter_kept(&self, permit: &Permit, state: &State, shares: &[Secret]) -> Result<Value> {
        for share in shares.iter().take(state.required as usize) {
            let answer = self.enter(permit, &state.nonce, share).await?;
            if answer["complete"] == true {
                return Ok(answer);
            }
        }
        Err(refused("the server did not take the shares that custody has"))
    }

    async fn enter_given(&self, permit: &Permit, state: &State, source: &dyn ShareSource) -> Result<Value> {
        let mut entered = 0;
        loop {
            let Some(share) = source.next(entered, state.required).await? else {
                let message =
                    format!("there were fewer than the {} present shares that it takes", state.required);
                return Err(Error::new(ErrorKind::Local, "split the key", message)
                    .advice("gather the holders; nothing was changed"));
            };
            match self.enter(permit, &state.nonce, &share).await {
                Ok(answer) if answer["complete"] == true => return Ok(answer),
                Ok(answer) => {
                    entered = answer["progress"]
                        .as_u64()
                        .and_then(|now| u32::try_from(now).ok())
                        .unwrap_or(entered + 1);
                    source.tell(&format!("{entered} of {} shares", state.required));
                }
                Err(error) if error.kind == ErrorKind::Rejected => {
                    source.tell(&format!("the server did not take it: {}", error.message));
                    entered = self.state().await?.progress;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Enters the new shares, after which they are in force. Begins from nothing: an earlier run may have entered some,
    /// and one that is entered twice resets the count.
    async fn verify(&self, permit: &Permit, generation: &Generation) -> Result<()> {
        let shares = generation.shares(&self.custodian.custody).await?;
        self.vault.delete(permit, self.paths.verify).await?;
        let nonce = self.vault.get(self.paths.verify).await?.unwrap_or_default()["nonce"].take();
        for share in &shares {
            let share = share.expose_str().ok_or_else(|| refused("a share is not text"))?;
            let body = json!({ "key": share, "nonce": nonce });
            let answer = self.vault.post(permit, self.paths.verify, &body).await?;
            if answer["complete"] == true {
                return Ok(());
            }
        }
        Err(refused("the server did not take the new shares; the present ones stay in force"))
    }

    /// Removes the server's backup of new shares. It must not outlive what it is of.
    async fn drop_backup(&self, permit: &Permit) -> Result<()> {
        self.vault.delete(permit, self.paths.backup).await
    }

    fn foreign(&self) -> Error {
        Error::new(
            ErrorKind::Conflict,
            "split the key",
            format!("another person splits the key of {} just now", self.vault.address()),
        )
        .advice(format!(
            "ask who it is; `bao delete {}` cancels it, and the present shares stay",
            self.paths.init
        ))
    }
}

fn body(wanted: &DeclaredSplit, public: &str) -> Value {
    json!({
        "secret_shares": wanted.shares, "secret_threshold": wanted.threshold,
        "pgp_keys": vec![public; wanted.shares as usize],
        "backup": true, "require_verification": true,
    })
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::Rejected, "split the key", message.to_owned())
}
