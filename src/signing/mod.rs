//! Signatures of a plan's journal and custody: a key of the plan signs both.
//!
//! The private half is on the machine that made it, outside of the plan's folder, and in the plan's
//! custody, from which another machine gets it. The caller decides which signers to trust
//! (`signer=FINGERPRINT`); keys that this machine has itself are always trusted.

mod home;
mod key;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

pub use home::{Head, Home, Seen};
pub use key::{InvalidSigner, Seal, Signer, SigningKey};

use crate::error::{Error, ErrorKind, Result};
use crate::trust::{Grant, Subject, Trust};

/// The signers that one plan trusts, and the key with which this machine signs.
#[derive(Debug)]
pub struct Authority {
    plan: String,
    /// The signers that the caller trusts.
    trusted: BTreeSet<Signer>,
    /// `None` when the caller has no configuration folder.
    home: Option<Home>,
    /// The key that this machine signs with.
    own: RwLock<Option<Arc<SigningKey>>>,
    /// The keys of plans of the same name in other folders, read when the own key does not decide.
    namesakes: OnceLock<Vec<Arc<SigningKey>>>,
}

impl Authority {
    /// The authority for the plan of this name in this folder, with the caller's grants. Writes
    /// nothing.
    ///
    /// # Errors
    /// `Rejected` when a grant does not name a key; `Local` when this machine's key cannot be read.
    pub fn of_plan(folder: &Path, plan: &str, trust: &Trust) -> Result<Self> {
        let authority = Self::at(Home::of_plan(trust.environment(), folder, plan), plan, trust)?;
        if let Some(key) = home::key_of_environment(trust.environment())? {
            authority.hold(Arc::new(key));
        }
        Ok(authority)
    }

    /// As [`Authority::of_plan`], with this place for the machine's files.
    ///
    /// # Errors
    /// As [`Authority::of_plan`].
    pub fn at(home: Option<Home>, plan: &str, trust: &Trust) -> Result<Self> {
        let trusted = trust.values(Subject::Signer).map(str::parse).collect::<Result<_, InvalidSigner>>();
        let trusted =
            trusted.map_err(|error| Error::new(ErrorKind::Rejected, "signer", error.to_string()))?;
        let own = RwLock::new(home.as_ref().map_or(Ok(None), Home::key)?.map(Arc::new));
        Ok(Self { plan: plan.to_owned(), trusted, home, own, namesakes: OnceLock::new() })
    }

    /// The plan's name, which is part of every signed message.
    pub fn plan(&self) -> &str {
        &self.plan
    }

    /// Whether a signature of this signer counts as the plan's.
    pub fn trusts(&self, signer: &Signer) -> bool {
        self.trusted.contains(signer) || self.has_key_of(signer)
    }

    /// Whether this machine has the key of this signer, for this folder or another clone.
    pub fn has_key_of(&self, signer: &Signer) -> bool {
        let is_theirs = |key: &Arc<SigningKey>| key.signer() == *signer;
        self.key().as_ref().is_some_and(is_theirs) || self.namesakes().iter().any(is_theirs)
    }

    /// The key with which this machine signs.
    pub fn key(&self) -> Option<Arc<SigningKey>> {
        self.own.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key with which this machine signs.
    ///
    /// # Errors
    /// `Denied` when it has none.
    pub fn require_key(&self) -> Result<Arc<SigningKey>> {
        self.key().ok_or_else(no_key)
    }

    /// Makes the plan's key. It is on the disk when this returns.
    ///
    /// # Errors
    /// `Local` when there is no place for it.
    pub fn make(&self) -> Result<Arc<SigningKey>> {
        self.adopt(SigningKey::generate()?)
    }

    /// Stores this key, which comes from custody, and signs with it from now on.
    ///
    /// # Errors
    /// As [`Authority::make`].
    pub fn adopt(&self, key: SigningKey) -> Result<Arc<SigningKey>> {
        self.home.as_ref().ok_or_else(no_home)?.keep(&key)?;
        let key = Arc::new(key);
        self.hold(Arc::clone(&key));
        Ok(key)
    }

    fn hold(&self, key: Arc<SigningKey>) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// Signs with the key of this signer, if this machine has it for a plan of the same name in
    /// another folder and none for this one.
    pub fn sign_as(&self, signer: &Signer) {
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        if own.is_none() {
            *own = self.namesakes().iter().find(|key| key.signer() == *signer).cloned();
        }
    }

    /// Whether this machine has a key that may be missing on a part of custody.
    pub fn is_unshared(&self) -> bool {
        self.key().is_some_and(|key| self.seen().in_custody != Some(key.signer()))
    }

    /// Removes this machine's notes about the plan.
    ///
    /// # Errors
    /// `Local` when they cannot be removed.
    pub fn forget_seen(&self) -> Result<()> {
        self.home.as_ref().map_or(Ok(()), |home| home.remove("seen"))
    }

    /// Removes the plan's key from this machine. A key that the environment names is the caller's.
    ///
    /// # Errors
    /// `Local` when it cannot be removed.
    pub fn forget_key(&self) -> Result<()> {
        self.home.as_ref().map_or(Ok(()), |home| home.remove("json"))
    }

    /// This machine's notes from earlier runs.
    pub fn seen(&self) -> Seen {
        self.home.as_ref().map(Home::seen).unwrap_or_default()
    }

    /// Changes this machine's notes, if it has a place for them.
    ///
    /// # Errors
    /// `Local` when it cannot be written.
    pub fn note(&self, change: impl FnOnce(&mut Seen)) -> Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
        let before = home.seen();
        let mut seen = before.clone();
        change(&mut seen);
        if seen == before { Ok(()) } else { home.note(&seen) }
    }

    /// The error for `what`, whose signer the caller does not trust.
    pub fn unknown(&self, what: &str, signer: &Signer) -> Error {
        let grant = Grant::new(Subject::Signer, signer.to_string());
        let message = format!("{what} is signed with the key {signer}, which this machine does not know");
        Error::new(ErrorKind::Denied, "signature", message).advice(format!(
            "compare it with what `groundwork journal PLAN` shows on a machine that has applied the plan; if it \
             is the same, use `--trust {grant}` for this run, or `groundwork trust PLAN --trust {grant}` to remember it"
        ))
    }

    fn namesakes(&self) -> &[Arc<SigningKey>] {
        let read = || self.home.iter().flat_map(Home::keys_of_namesakes).map(Arc::new).collect();
        self.namesakes.get_or_init(read)
    }
}

fn no_key() -> Error {
    let message = "this machine does not have the plan's signing key, and custody did not give it";
    Error::new(ErrorKind::Denied, "signature", message).advice(
        "make a recipient's key available that opens custody, or have a person run `groundwork journal PLAN \
         --adopt`, which makes a key for this machine",
    )
}

fn no_home() -> Error {
    Error::new(ErrorKind::Local, "signing key", "there is no folder for the plan's signing key")
        .advice("set GROUNDWORK_CONFIG_DIR to a folder that only you can use and that outlives the run")
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::LazyLock;

    use super::*;
    use crate::secret::Secret;

    /// The key of all authorities of a test, so that one goes on where another has stopped.
    static KEY: LazyLock<Secret> = LazyLock::new(|| SigningKey::generate().expect("a key").to_secret());

    /// An authority that signs with the test's key; what it has seen is kept below `config`.
    pub fn authority(config: &Path, plan: &str) -> Arc<Authority> {
        let home = Home::within(config, Path::new("/plans"), plan);
        let authority = Authority::at(Some(home), plan, &Trust::default()).expect("an authority");
        if authority.key().is_none() {
            authority.adopt(SigningKey::from_secret(&KEY).expect("a key")).expect("kept");
        }
        Arc::new(authority)
    }

    /// One that trusts these signers and has no key.
    pub fn reader(config: &Path, plan: &str, signers: &[Signer]) -> Arc<Authority> {
        let home = Home::within(config, Path::new("/elsewhere"), plan);
        let grants = signers.iter().map(|signer| Grant::new(Subject::Signer, signer.to_string()));
        Arc::new(Authority::at(Some(home), plan, &Trust::new(grants)).expect("an authority"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signer_is_trusted_by_grant_or_own_key() {
        let config = tempfile::tempdir().unwrap();
        let [one, two] = std::array::from_fn(|_| SigningKey::generate().expect("a key").signer());
        let authority = testing::reader(config.path(), "demo", &[one]);
        assert!(authority.trusts(&one) && !authority.trusts(&two) && authority.key().is_none());
        let refusal = authority.unknown("the journal", &two);
        assert!(refusal.advice.expect("advice").contains(&format!("--trust signer={two}")));
        let made = authority.make().expect("a key").signer();
        assert!(authority.trusts(&made) && authority.make().is_err(), "one key, once");
        let wrong = Trust::new(["signer=abc".parse().expect("a grant")]);
        assert_eq!(Authority::at(None, "demo", &wrong).expect_err("no key").kind, ErrorKind::Rejected);
    }

    #[test]
    fn namesakes_key_signs_only_where_used_before() {
        let config = tempfile::tempdir().unwrap();
        let theirs = testing::authority(config.path(), "demo").key().expect("a key").signer();
        let clone = testing::reader(config.path(), "demo", &[]);
        assert!(clone.trusts(&theirs) && clone.key().is_none());
        clone.sign_as(&theirs);
        assert_eq!(clone.key().map(|key| key.signer()), Some(theirs));
        assert!(!testing::reader(config.path(), "other", &[]).trusts(&theirs));
    }
}
