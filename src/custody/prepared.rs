//! Prepares the sealing of a secret before the secret exists, and keeps the sealed secret.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use super::document::{Document, Origin};
use super::envelope::{SealingKey, Wrapped};
use super::{Custody, Store, check_clock, check_name, encode, local, rejected, taken};
use crate::error::{Error, ErrorKind, Result};
use crate::net::timeout::scaled_delay;
use crate::permit::Permit;
use crate::secret::{Secret, random_bytes};
use crate::signing::SigningKey;

/// How often the program tries to write an object while no store has taken it.
const ATTEMPTS: u32 = 5;
/// The time between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// A place in custody that waits for one secret: its name and version are chosen and its key is
/// wrapped, so that sealing the secret needs no remote call.
pub struct Prepared {
    name: String,
    version: u32,
    key: SealingKey,
    /// Signs what is kept.
    signer: Arc<SigningKey>,
}

impl Prepared {
    /// The same for an object below the prepared folder, when only the response contains the object's
    /// name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }
}

impl Prepared {
    /// The version that is chosen.
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// The recipients that it will be sealed for.
    pub(super) fn recipients(&self) -> &[Wrapped] {
        self.key.recipients()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepared({} version {})", self.name, self.version)
    }
}

/// The result of proving custody: the recipients whose objects can be opened here, as [`Wrapped`]
/// names them.
#[derive(Debug)]
pub(super) struct Proven(BTreeSet<(String, String)>);

impl Proven {
    fn opens(&self, recipients: &[Wrapped]) -> bool {
        recipients.iter().any(|one| self.0.contains(&(one.kind.clone(), one.id.clone())))
    }
}

impl Custody {
    /// Proves, once per run, that custody can give back a secret: writes a canary to every store, reads
    /// it back, and decrypts it for every recipient whose key is at hand. One working store and one
    /// recipient that can be opened for are enough; the others cause warnings.
    ///
    /// # Errors
    /// When there is no store or recipient, or a declared one is a mistake; when no store works, or no
    /// key at hand can open the objects that this run seals; when the clock is wrong.
    pub async fn prove(&self, permit: &Permit) -> Result<()> {
        self.proof(permit).await.map(drop)
    }

    async fn proof(&self, permit: &Permit) -> Result<&Proven> {
        self.proven.get_or_try_init(|| self.prove_now(permit)).await
    }

    async fn prove_now(&self, permit: &Permit) -> Result<Proven> {
        const CANARY: &str = "canary";
        check_clock(Timestamp::now())?;
        if self.stores.is_empty() {
            return Err(
                rejected("the plan declares no custody store").advice("add one under `custody.stores`")
            );
        }
        let canary = Secret::new(random_bytes(32));
        let key = self.sealing_key(CANARY).await?;
        let envelope = key.seal(CANARY, 1, &canary)?;
        self.probe_stores(permit, &encode(&envelope)).await?;
        let (mut opens, mut failure) = (BTreeSet::new(), None);
        for (position, recipient) in envelope.header.recipients.iter().enumerate() {
            if !self.keyring.may_open(recipient) {
                continue;
            }
            match envelope.open_as(position, &self.keyring).await {
                Ok(found) if found == canary => {
                    opens.insert((recipient.kind.clone(), recipient.id.clone()));
                }
                Ok(_) => return Err(taken(CANARY)),
                Err(error) => {
                    self.note_unopened(recipient, &error);
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if opens.is_empty() => Err(error),
            // Says which keys would do.
            None if opens.is_empty() => {
                self.keyring.unwrap(&envelope.header.recipients, CANARY).await.map(|_| Proven(opens))
            }
            _ => Ok(Proven(opens)),
        }
    }

    /// Writes the canary to every store and reads it back. A mistake in the plan, such as a bucket that
    /// does not exist, is an error. Other failures are warnings as long as one store works.
    async fn probe_stores(&self, permit: &Permit, bytes: &[u8]) -> Result<()> {
        let probes = join_all(self.stores.iter().map(|store| store.probe(permit, bytes))).await;
        let mut failures = Vec::new();
        for (store, probe) in self.stores.iter().zip(probes) {
            match probe {
                Ok(read) if read == bytes => {}
                Ok(_) => failures.push((
                    store.describe(),
                    local("canary", format!("{} returns other bytes than were written", store.describe())),
                )),
                Err(error) if matches!(error.kind, ErrorKind::Rejected | ErrorKind::Eventual) => {
                    return Err(error);
                }
                Err(error) => failures.push((store.describe(), error)),
            }
        }
        if failures.len() == self.stores.len() {
            return failures.pop().map_or(Ok(()), |(_, error)| Err(error));
        }
        for (store, error) in failures {
            self.warnings.insert(format!(
                "custody: {store} cannot be used ({}); the run goes on with the other stores, and the next \
                 run copies the missing objects to it",
                error.message
            ));
        }
        Ok(())
    }

    fn note_unopened(&self, recipient: &Wrapped, error: &Error) {
        self.warnings.insert(format!(
            "custody: what is sealed for {} {} cannot be opened here now ({}); another recipient can",
            recipient.kind, recipient.id, error.message
        ));
    }

    /// Prepares custody for one secret, the next version of `name`: proves custody, chooses the version
    /// and wraps the key. Call it before the request that returns the secret.
    ///
    /// # Errors
    /// As [`Custody::prove`]; when no recipient whose key is at hand can be encrypted for.
    pub async fn prepare(&self, permit: &Permit, name: &str) -> Result<Prepared> {
        check_name(name)?;
        let version = self.next_version(name).await?;
        self.prepare_version(permit, name, version).await
    }

    /// As [`Custody::prepare`] for a name that is not in use yet, so that no store has to list versions.
    /// A name that ends with a slash is a folder: the secret then goes below it
    /// ([`Prepared::named`]).
    ///
    /// # Errors
    /// As [`Custody::prepare`].
    pub async fn prepare_first(&self, permit: &Permit, name: &str) -> Result<Prepared> {
        check_name(name.strip_suffix('/').unwrap_or(name))?;
        self.prepare_version(permit, name, 1).await
    }

    async fn prepare_version(&self, permit: &Permit, name: &str, version: u32) -> Result<Prepared> {
        let signer = self.authority.require_key()?;
        let proven = self.proof(permit).await?;
        let key = self.sealing_key(name).await?;
        if !proven.opens(key.recipients()) {
            // Says which keys would do.
            self.keyring.unwrap(key.recipients(), name).await?;
        }
        Ok(Prepared { name: name.to_owned(), version, key, signer })
    }

    /// A key wrapped for every recipient that works. A key that does not exist is a mistake in the
    /// plan, or was made a moment ago.
    async fn sealing_key(&self, name: &str) -> Result<SealingKey> {
        let (key, mut failures) = SealingKey::wrap(name, &self.recipients()?).await;
        let mistake = failures.iter().position(|(_, error)| error.kind == ErrorKind::Eventual);
        let last = failures.len().checked_sub(1).filter(|_| key.recipients().is_empty());
        if let Some(fatal) = mistake.or(last) {
            return Err(failures.swap_remove(fatal).1);
        }
        for (who, error) in failures {
            self.warn_unsealed(name, &who, &error);
        }
        Ok(key)
    }

    pub(super) fn warn_unsealed(&self, name: &str, who: &str, error: &Error) {
        self.note_failing(who);
        self.warnings.insert(format!(
            "custody: {name} is not sealed for {who} ({}); the next run completes it",
            error.message
        ));
    }

    /// Keeps `secret`: first beside the journal, then on all stores in parallel. The first copy needs no
    /// remote call, and any one store is enough.
    ///
    /// # Errors
    /// When no store has it. The copy beside the journal stays then, and the next run goes on from there.
    pub async fn keep(&self, permit: &Permit, prepared: Prepared, secret: &Secret) -> Result<()> {
        let Prepared { name, version, key, signer } = prepared;
        check_name(&name)?;
        let sealed = Document::Envelope(key.seal(&name, version, secret)?);
        let bytes = sealed.sign(version, &signer).encode();
        let rescued = self.rescue.write(permit, &name, version, &bytes).await;
        let failure = match self.spread(permit, &name, version, &bytes).await {
            Ok(()) => {
                // If this fails, `complete` removes the copy later.
                let _ = self.rescue.remove(permit, &name, version).await;
                return Ok(());
            }
            Err(failure) => failure,
        };
        Err(match rescued {
            Ok(()) => self.only_rescued(&name, &failure),
            Err(error) => Error::new(
                ErrorKind::Unknown,
                format!("custody: {name}"),
                format!(
                    "no store has taken it ({}), and it cannot be written beside the journal ({})",
                    failure.message, error.message
                ),
            )
            .advice("the server's response is lost; make a store work again before anything else"),
        })
    }

    fn only_rescued(&self, name: &str, failure: &Error) -> Error {
        let message = format!(
            "no store has taken it ({}); it lies encrypted in {}",
            failure.message,
            self.rescue.describe()
        );
        Error::new(failure.kind, format!("custody: {name}"), message)
            .advice("keep that folder, make a store work again, and run again: the run goes on from there")
    }

    /// Writes to all stores at once. Warns of those that fail.
    ///
    /// # Errors
    /// When no store has the object in the end.
    pub(super) async fn spread(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        let mut attempt = 1;
        loop {
            let writes =
                self.stores.iter().map(|store| self.write_on(store.as_ref(), permit, name, version, bytes));
            let results = join_all(writes).await;
            if results.iter().all(Result::is_err) && attempt < ATTEMPTS {
                attempt += 1;
                tokio::time::sleep(scaled_delay(PAUSE)).await;
                continue;
            }
            return self.weigh(name, results);
        }
    }

    fn weigh(&self, name: &str, results: Vec<Result<()>>) -> Result<()> {
        let count = results.len();
        let failures =
            self.stores.iter().zip(results).filter_map(|(store, result)| Some((store, result.err()?)));
        let mut failures: Vec<_> = failures.collect();
        if failures.len() == count {
            let last = failures.pop().map(|(_, error)| error);
            return Err(last.unwrap_or_else(|| rejected("the plan declares no custody store")));
        }
        for (store, error) in failures {
            self.warn_missing(name, store.as_ref(), &error);
        }
        Ok(())
    }

    pub(super) fn warn_missing(&self, name: &str, store: &dyn Store, error: &Error) {
        self.note_failing(&store.describe());
        self.warnings.insert(format!(
            "custody: {name} is not on {} ({}); the next run completes it",
            store.describe(),
            error.message
        ));
    }

    /// Keeps `secret` under `name`. Repeating it with the same value completes the stores and
    /// recipients that lack it.
    ///
    /// # Errors
    /// `Conflict` when another value is kept under the name; when no store takes it.
    pub async fn put(&self, permit: &Permit, name: &str, secret: &Secret) -> Result<()> {
        check_name(name)?;
        match self.search(name, true).await?.into_whole_if_any()? {
            // A foreign object under this name keeps its version number.
            None => self.replace(permit, name, secret).await,
            Some(whole) if whole.value.as_ref() == Some(secret) => self.complete(permit, name).await,
            Some(_) => Err(taken(name)),
        }
    }

    /// Keeps `secret` under `name` as a new version, which later reads return.
    ///
    /// # Errors
    /// As [`Custody::put`].
    pub async fn replace(&self, permit: &Permit, name: &str, secret: &Secret) -> Result<()> {
        let prepared = self.prepare(permit, name).await?;
        self.keep(permit, prepared, secret).await
    }

    /// Removes one version of `name` from every store, for good.
    ///
    /// # Errors
    /// The error of the first store that failed, after all stores were tried.
    pub async fn remove(&self, permit: &Permit, name: &str, version: u32) -> Result<()> {
        check_name(name)?;
        let removed = join_all(self.places().map(|place| place.remove(permit, name, version))).await;
        removed.into_iter().collect()
    }

    /// Writes one copy and reads it back. If the store already has the same bytes, that is a success. A
    /// copy that is not the plan's is replaced.
    pub(super) async fn write_on(
        &self,
        store: &dyn Store,
        permit: &Permit,
        name: &str,
        version: u32,
        bytes: &[u8],
    ) -> Result<()> {
        match store.write(permit, name, version, bytes).await {
            Err(error) if error.kind == ErrorKind::Conflict => {}
            written => written?,
        }
        let found = store.read(name, version).await;
        match &found {
            Ok(found) if found == bytes => return Ok(()),
            Ok(found) if self.is_ours(name, version, found) => return Err(taken(name)),
            Err(error) if error.kind != ErrorKind::Local => return found.map(drop),
            _ => {}
        }
        store.repair(permit, name, version, bytes).await?;
        if store.read(name, version).await? == bytes { Ok(()) } else { Err(taken(name)) }
    }

    pub(super) fn is_ours(&self, name: &str, version: u32, bytes: &[u8]) -> bool {
        Document::decode(name, version, bytes)
            .is_ok_and(|document| document.origin(version, &self.authority) == Origin::Ours)
    }
}
