//! The request that is answered once: custody proven, intent, request, escrow, commit.

use std::time::Duration;

use serde_json::json;

use super::next::Intent;
use super::{Desired, Shape, holder_keys};
use crate::custody::{Custody, pgp};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Entry, OperationOutcome};
use crate::permit::Permit;
use crate::providers::vault::custodian::{Custodian, INIT, Initialisation, Unlocked};
use crate::providers::vault::node::init_timeout;
use crate::providers::vault::{NodeClient, SealStatus};
use crate::trust::{Grant, Subject};

/// How long the stores may take with an answer before a run that is to end at once waits for them no
/// longer.
pub(super) const KEEPING: Duration = Duration::from_mins(2);

impl Custodian {
    /// What the journal says of the initialisation that custody has the answer to; without one, of that at the
    /// cluster's address.
    pub(super) fn intent(&self, which: Option<&Initialisation>) -> Intent {
        let address = self.vault.address();
        let (is_open, is_committed) = match which {
            Some(which) => (self.is_open(which), self.is_committed(which)),
            None => {
                (self.journal.open_intent(INIT, address).is_some(), self.journal.committed(INIT, address))
            }
        };
        match (is_open, is_committed) {
            (true, _) => Intent::Open,
            (false, true) => Intent::Committed,
            (false, false) => Intent::None,
        }
    }

    fn is_open(&self, which: &Initialisation) -> bool {
        let open = self.journal.open_intents();
        open.iter().any(|record| {
            record.entry.subject().is_some_and(|(operation, _)| operation == INIT)
                && Initialisation::of_intent(record).as_ref() == Some(which)
        })
    }

    /// Whether the journal says that it is done, at whatever address.
    pub(super) fn is_committed(&self, which: &Initialisation) -> bool {
        let address = self.vault.address();
        let names = |entry: &Entry| {
            matches!(entry, Entry::Committed { operation, detail, .. }
                if operation == INIT && detail.first().is_some_and(|prefix| prefix == which.prefix()))
        };
        self.journal.believed().iter().any(|record| names(&record.entry))
            || (which.is_of(address) && self.journal.committed(INIT, address))
    }

    /// The address at which it was begun, under which the journal knows it.
    fn target(&self, which: &Initialisation) -> String {
        let records = self.journal.believed();
        let begun = records.iter().rev().find_map(|record| match &record.entry {
            Entry::Intent { operation, target, .. } if operation == INIT => {
                (Initialisation::of_intent(record).as_ref() == Some(which)).then(|| target.clone())
            }
            _ => None,
        });
        begun.unwrap_or_else(|| self.vault.address().to_owned())
    }

    /// The initialisation whose answer is in custody: the one that is under way, else that of the servers, of
    /// which one reports this id of the cluster.
    pub(in crate::providers::vault) async fn answered(
        &self,
        cluster: Option<&str>,
    ) -> Result<Option<Initialisation>> {
        let open = self.journal.open_intent(INIT, self.vault.address());
        match open.as_ref().and_then(Initialisation::of_intent) {
            Some(which) if !which.is_of(self.vault.address()) => {
                Err(strange_intent(&which, self.vault.address()))
            }
            Some(which) => Ok(self.custody.exists(&which.answer()).await?.then_some(which)),
            None => Ok(self.found(cluster).await?.map(|found| found.which)),
        }
    }

    /// Prepares custody, then initialises exactly once; the answer is in custody when this returns.
    pub(in crate::providers::vault) async fn initialise(
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
        self.give_up_restore(permit).await?;
        let which = Initialisation::begin(self.vault.address());
        let prepared = self.custody.prepare_first(permit, &which.answer()).await?;
        let public = make_key(&self.custody, permit, &which.key()).await?;
        self.note(permit, |operation, target| Entry::Intent {
            step: step.to_owned(),
            operation,
            target,
            detail: vec![which.prefix().to_owned()],
        })
        .await?;
        let waiting = self.awaited.begin(format!("{INIT} of {}", node.address()), init_timeout() + KEEPING);
        let answer = match node.init(permit, &request(desired.shape(), &status, &public)).await {
            Ok(answer) => answer,
            Err(error) => return Err(explain_race(node, self.not_initialised(permit, error).await).await),
        };
        if let Err(error) = self.custody.keep(permit, prepared, &answer).await {
            return Err(if error.kind == ErrorKind::Unknown {
                self.record(permit, error).await
            } else {
                error
            });
        }
        drop(waiting);
        self.note(permit, |operation, target| Entry::Escrowed { operation, target, object: which.answer() })
            .await?;
        match Unlocked::read(&self.custody, &which).await {
            // The answer is not complete: "it is in custody" must not be the journal's last word on it.
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
        let result = if error.kind == ErrorKind::Unknown {
            OperationOutcome::Unknown
        } else {
            OperationOutcome::Failed
        };
        let message = error.to_string();
        let noted = self
            .note(permit, |operation, target| Entry::Outcome { operation, target, result, message })
            .await;
        noted.err().unwrap_or(error)
    }

    /// Says in the journal that the initialisation is done, once a store has what belongs to it. Stores
    /// that lack something are completed, or warned of and completed by a later run.
    pub(super) async fn commit(&self, permit: &Permit, which: &Initialisation) -> Result<()> {
        self.custody.complete(permit, which.prefix()).await?;
        for object in [which.key(), which.answer()] {
            self.custody.get(&object).await?.ok_or_else(|| foreign(self.vault.address()))?;
        }
        let (operation, target) = (INIT.to_owned(), self.target(which));
        let verified = Entry::Verified { operation: operation.clone(), target: target.clone() };
        self.journal.append(permit, verified).await?;
        let detail = vec![which.prefix().to_owned()];
        self.journal.append(permit, Entry::Committed { operation, target, detail }).await
    }

    async fn note(&self, permit: &Permit, entry: impl FnOnce(String, String) -> Entry) -> Result<()> {
        let entry = entry(INIT.to_owned(), self.vault.address().to_owned());
        self.journal.append(permit, entry).await
    }
}

/// Makes a key pair, puts its private half into custody under `name`, and gives the public half of what
/// custody returns.
pub(in crate::providers::vault) async fn make_key(
    custody: &Custody,
    permit: &Permit,
    name: &str,
) -> Result<String> {
    let prepared = custody.prepare_first(permit, name).await?;
    custody.keep(permit, prepared, &pgp::KeyPair::generate()?.to_secret()?).await?;
    let kept = custody.get(name).await?.ok_or_else(|| {
        Error::new(ErrorKind::Local, format!("custody: {name}"), "was written and is not there")
    })?;
    let pair = pgp::KeyPair::from_secret(&kept)?;
    pair.public_key()?;
    pair.public()
}

/// The request's body; servers that unseal themselves have a recovery key instead.
pub(super) fn request(shape: Shape, status: &SealStatus, public: &str) -> serde_json::Value {
    let Shape { shares, threshold } = shape;
    let keys = vec![public; shares as usize];
    if status.recovery_seal || !matches!(status.seal.as_str(), "" | "shamir") {
        return json!({
            "recovery_shares": shares, "recovery_threshold": threshold,
            "recovery_pgp_keys": keys, "root_token_pgp_key": public,
        });
    }
    json!({
        "secret_shares": shares, "secret_threshold": threshold,
        "pgp_keys": keys, "root_token_pgp_key": public,
    })
}

/// A server refuses a second initialisation; it was not initialised when this run looked.
async fn explain_race(node: &NodeClient, error: Error) -> Error {
    let refused = error.kind == ErrorKind::Rejected;
    match node.seal_status().await {
        Ok(status) if refused && status.initialized => too_late(node.address()),
        _ => error,
    }
}

pub(super) fn too_late(address: &str) -> Error {
    let message = format!("another client initialised {address} at the same moment and has the shares");
    Error::new(ErrorKind::Conflict, INIT, message).advice(
        "find out who runs the same plan, or another one, for this cluster; go on with their custody stores \
         and journal, or remove the `vault.init` step",
    )
}

pub(super) fn lost(address: &str) -> Error {
    let message = format!(
        "{address} is initialised, and custody has no answer to the request that a run of this plan sent: \
         it got lost on the way, so the key shares and the root token are gone for good, or another client \
         initialised it at that time and has them"
    );
    Error::new(ErrorKind::Unknown, INIT, message).advice(
        "ask first who else was at work; if no client has the shares, nothing was seeded in it yet: stop the \
         servers, remove their storage by hand, start them and run again; if one has them, remove the \
         `vault.init` step and set VAULT_TOKEN, or use the custody stores of that run",
    )
}

/// An intent in the journal that would open one server with the shares of another.
fn strange_intent(which: &Initialisation, address: &str) -> Error {
    let message =
        format!("the journal says that {address} has the shares of {}, another cluster", which.prefix());
    Error::new(ErrorKind::Rejected, INIT, message)
        .advice("no run writes this; find out who changed the journal, and bring back a copy that is whole")
}

pub(super) fn foreign(address: &str) -> Error {
    let message = format!("{address} is initialised, but custody has no shares of it");
    Error::new(ErrorKind::Unknown, INIT, message).advice(format!(
        "when this plan initialised it, bring back the custody stores it wrote to; if that was under another \
         address, use that one, or allow this one with `--trust {}`; otherwise remove the `vault.init` step and \
         set VAULT_TOKEN; it is never initialised again",
        Grant::new(Subject::Node, address)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_unseal_server_gets_recovery_keys() {
        let status = json!({ "type": "shamir", "initialized": false, "sealed": true, "t": 0, "n": 0 });
        let mut status: SealStatus = serde_json::from_value(status).expect("a status");
        let shape = Shape { shares: 2, threshold: 2 };
        assert_eq!(request(shape, &status, "k")["pgp_keys"], json!(["k", "k"]));
        "static".clone_into(&mut status.seal);
        let body = request(shape, &status, "k");
        assert_eq!(body["recovery_pgp_keys"], json!(["k", "k"]));
        assert!(body.get("secret_shares").is_none());
    }
}
