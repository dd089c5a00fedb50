//! Keeps secrets that a server returns only once: key shares, root tokens, access keys.
//!
//! Every object is encrypted for each recipient and kept on each store. Objects are written once:
//! another value under the same name is another version, and versions are never removed.
//!
//! [`Custody::prepare`] wraps the keys before the request is sent, so that no remote call comes
//! between the server's response and the first durable copy ([`Custody::keep`]). Any one store and
//! any one recipient may fail: the others are enough to go on, and [`Custody::complete`] adds the
//! missing copies and keys later.

mod complete;
mod document;
pub mod envelope;
mod erase;
pub mod examine;
pub mod handout;
mod impatient;
mod newest;
pub mod paths;
pub mod people;
pub mod pgp;
mod prepared;
pub mod recipient;
mod rewrap;
mod signing_key;
pub mod store;
pub mod unreachable;
mod vouch;

#[cfg(test)]
mod failure_tests;
#[cfg(test)]
mod planted_tests;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::future::join_all;
use jiff::Timestamp;
use tokio::sync::OnceCell;

pub use complete::Gap;
pub use envelope::{Envelope, Header, Wrapped};
pub use handout::{Handout, Holder, HolderKey};
pub use impatient::Impatient;
pub use prepared::Prepared;
pub use recipient::{AGE_IDENTITY, Context, KeyService, Keyring, PGP_KEY, Recipient};
pub use rewrap::Misdirected;
pub use store::{FileStore, Store};
pub use unreachable::Unreachable;
pub use vouch::Unvouched;

use self::prepared::Proven;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Warnings;
use crate::plan::settings::RecipientSettings;
use crate::signing::Authority;

/// The stores and recipients of one plan.
pub struct Custody {
    folder: PathBuf,
    /// The keys whose signature makes an object the plan's.
    authority: Arc<Authority>,
    recipients: RwLock<Vec<RecipientSettings>>,
    keyring: Keyring,
    stores: Vec<Box<dyn Store>>,
    /// Beside the journal: where an object lies until a store has it.
    rescue: FileStore,
    proven: OnceCell<Proven>,
    /// Descriptions of the stores and recipients that failed in this run. A warning names each of
    /// them, and the next run tries them again.
    failing: Mutex<BTreeSet<String>>,
    warnings: Warnings,
}

impl Custody {
    /// Custody for these recipients, whose files are relative to `folder`, on these stores. `authority`
    /// decides which objects are the plan's. Touches nothing.
    ///
    /// Recipients may hold references that are not known yet: reading works without them, and
    /// [`Custody::set_recipients`] puts the known ones in their place before anything is written.
    pub fn new(
        folder: &Path,
        recipients: Vec<RecipientSettings>,
        stores: Vec<Box<dyn Store>>,
        keyring: Keyring,
        authority: Arc<Authority>,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            authority,
            recipients: RwLock::new(recipients),
            keyring,
            stores,
            rescue: FileStore::below(folder, ".groundwork/journal/rescued"),
            proven: OnceCell::new(),
            failing: Mutex::default(),
            warnings: Warnings::default(),
        }
    }

    /// The same custody for the plan of this name, beside whose journal objects lie that no store
    /// has taken yet.
    #[must_use]
    pub fn of_plan(mut self, plan: &str) -> Self {
        self.rescue = FileStore::below(&self.folder, &format!(".groundwork/journal/{plan}.rescued"));
        self
    }

    /// The plan's folder, where files with public keys are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns, and clears, the warnings about copies since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// Replaces the recipients by those whose references have been resolved.
    pub fn set_recipients(&self, recipients: Vec<RecipientSettings>) {
        *self.recipients.write().unwrap_or_else(PoisonError::into_inner) = recipients;
    }

    /// The places that may have this version: every store, and the folder beside the journal if it
    /// has a copy.
    async fn places_of(&self, name: &str, version: u32) -> Result<Vec<&dyn Store>> {
        let rescued = self.rescue.versions(name).await?.contains(&version);
        let rescue = rescued.then_some(&self.rescue as &dyn Store);
        Ok(self.stores.iter().map(AsRef::as_ref).chain(rescue).collect())
    }

    /// Every place that may have objects.
    fn places(&self) -> impl Iterator<Item = &dyn Store> {
        self.stores.iter().map(AsRef::as_ref).chain([&self.rescue as &dyn Store])
    }

    /// Whether it is the folder beside the journal.
    fn is_rescue(&self, place: &dyn Store) -> bool {
        std::ptr::addr_eq(std::ptr::from_ref(place), std::ptr::from_ref(&self.rescue))
    }

    /// The versions of `name` on any store, ascending.
    ///
    /// # Errors
    /// When no store has the object and one cannot be read.
    pub async fn versions(&self, name: &str) -> Result<Vec<u32>> {
        one_is_enough(join_all(self.places().map(|place| place.versions(name))).await)
    }

    /// The names that begin with `prefix` on any store, sorted, including those of foreign objects
    /// ([`Custody::has`] shows whether an object is the plan's). Skips a store that fails, as long as
    /// another one has something.
    ///
    /// # Errors
    /// When a store cannot be read and no other has anything.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let objects = one_is_enough(join_all(self.places().map(|place| place.objects(prefix))).await)?;
        let mut names: Vec<String> = objects.into_iter().map(|(name, _)| name).collect();
        names.dedup();
        Ok(names)
    }

    /// The declared recipients.
    ///
    /// # Errors
    /// `Rejected` when there are none, or one of them is not a key.
    fn recipients(&self) -> Result<Vec<Recipient>> {
        let settings = self.recipients.read().unwrap_or_else(PoisonError::into_inner).clone();
        if settings.is_empty() {
            return Err(rejected("the plan declares no custody recipient")
                .advice("add a recipient under `custody.recipients`"));
        }
        settings.iter().map(|one| Recipient::from_settings(one, &self.folder, &self.keyring)).collect()
    }

    fn note_failing(&self, who: &str) {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).insert(who.to_owned());
    }

    /// Whether any store or recipient has failed in this run.
    fn has_failures(&self) -> bool {
        !self.failing.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn is_failing(&self, who: &str) -> bool {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).contains(who)
    }
}

/// Everything that was found, sorted. Failures count only when nothing was found, because "there is
/// none" would be a guess then.
fn one_is_enough<T: Ord>(answers: Vec<Result<Vec<T>>>) -> Result<Vec<T>> {
    let (mut found, mut failure) = (BTreeSet::new(), None);
    for answer in answers {
        match answer {
            Ok(some) => found.extend(some),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found.into_iter().collect()),
    }
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stores: Vec<String> = self.stores.iter().map(|store| store.describe()).collect();
        f.debug_struct("Custody").field("stores", &stores).finish_non_exhaustive()
    }
}

/// Turns any text, such as an address, into one part of a name in custody.
pub fn name_part(text: &str) -> String {
    let allowed = |c: char| if is_name_char(c) { c } else { '_' };
    text.to_lowercase().chars().map(allowed).collect::<String>().trim_matches('.').to_owned()
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-')
}

fn check_name(name: &str) -> Result<()> {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_name_char);
    if name.split('/').all(part) {
        return Ok(());
    }
    Err(rejected(&format!("`{name}` is not a name for an object in custody")))
}

/// A clock that is far off would make receipts worthless and certificates invalid.
fn check_clock(now: Timestamp) -> Result<()> {
    let year = now.to_zoned(jiff::tz::TimeZone::UTC).year();
    if (2025..2125).contains(&year) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Local, "clock", format!("this machine's clock says {now}"))
        .advice("set the clock, then run again"))
}

fn encode(document: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(document).expect("envelopes and handouts are plain data")
}

fn decode(name: &str, bytes: &[u8]) -> Result<Envelope> {
    serde_json::from_slice(bytes).map_err(|error| local(name, format!("is not a whole envelope: {error}")))
}

fn local(name: &str, message: String) -> Error {
    Error::new(ErrorKind::Local, format!("custody: {name}"), message)
}

fn taken(name: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("custody: {name}"), "another value is kept under this name")
        .advice(
            "nothing was overwritten; `groundwork custody check PLAN` shows which stores differ, and with \
         `--repair --prefer STORE` the value of that store replaces the others, which keep theirs aside",
        )
}

fn rejected(message: &str) -> Error {
    Error::new(ErrorKind::Rejected, "custody", message)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::signing::testing::authority;

    /// The public half of an identity.
    pub fn recipient(identity: &age::x25519::Identity) -> Recipient {
        Recipient::Age(identity.to_public())
    }

    /// A keyring with only these identities.
    pub fn keyring(identities: impl IntoIterator<Item = age::x25519::Identity>) -> Keyring {
        Keyring { identities: identities.into_iter().collect(), ..Keyring::default() }
    }

    /// Custody in two folders below `folder`, opened with `identity`, signed with the test's key.
    pub fn custody(folder: &Path, identity: age::x25519::Identity) -> Custody {
        let recipients = vec![RecipientSettings::Age(identity.to_public().to_string())];
        let store = |name: &str| Box::new(FileStore::new(folder.join(name))) as Box<dyn Store>;
        let authority = authority(&folder.join("config"), "demo");
        Custody::new(folder, recipients, vec![store("one"), store("two")], keyring([identity]), authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permit::Permit;
    use crate::secret::Secret;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    fn fresh() -> (tempfile::TempDir, Custody) {
        let folder = tempfile::tempdir().expect("a folder");
        let custody = testing::custody(folder.path(), age::x25519::Identity::generate());
        (folder, custody)
    }

    /// The same custody for another run.
    fn custody_again(folder: &Path, custody: &Custody) -> Custody {
        testing::custody(folder, custody.keyring.identities[0].clone())
    }

    #[tokio::test]
    async fn secret_on_every_store_survives_losing_one() {
        let (folder, custody) = fresh();
        let permit = Permit::mint();
        custody.prove(&permit).await.expect("proves");
        custody.put(&permit, "vault/a", &secret("x")).await.expect("puts");
        for store in ["one", "two"] {
            assert!(folder.path().join(store).join("vault/a.1.json").exists());
        }
        std::fs::write(folder.path().join("one/vault/a.1.json"), "garbage").expect("spoils");
        assert_eq!(custody.get("vault/a").await.expect("reads"), Some(secret("x")));
        let warnings = custody.take_warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("one") && warnings[0].contains("--repair"));
        std::fs::remove_dir_all(folder.path().join("one")).expect("loses");
        assert_eq!(custody.get("vault/a").await.expect("reads"), Some(secret("x")));
        custody.put(&permit, "vault/a", &secret("x")).await.expect("completes the other store");
        assert!(folder.path().join("one/vault/a.1.json").exists());
    }

    #[tokio::test]
    async fn put_refuses_overwrite_and_replace_adds_version() {
        let (_folder, custody) = fresh();
        let permit = Permit::mint();
        custody.put(&permit, "a", &secret("x")).await.expect("puts");
        let refused = custody.put(&permit, "a", &secret("y")).await.expect_err("kept");
        assert_eq!(refused.kind, ErrorKind::Conflict);
        custody.replace(&permit, "a", &secret("y")).await.expect("a new version");
        assert_eq!(custody.get("a").await.expect("reads"), Some(secret("y")));
        assert_eq!(custody.list("").await.expect("lists"), ["a"]);
    }

    #[tokio::test]
    async fn reading_custody_creates_no_files() {
        let (folder, custody) = fresh();
        assert_eq!(custody.get("a").await.expect("reads"), None);
        assert!(!custody.exists("a").await.expect("reads"));
        let left = folder.path().read_dir().expect("lists").flatten();
        assert!(left.map(|entry| entry.file_name()).all(|name| name == "config"), "only the test's key");
    }

    #[tokio::test]
    async fn custody_without_opening_key_is_not_proven() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, theirs) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
        let custody = testing::custody(folder.path(), ours);
        custody.set_recipients(vec![RecipientSettings::Age(theirs.to_public().to_string())]);
        let error = custody.prove(&Permit::mint()).await.expect_err("no key at hand");
        assert!(error.message.contains(&theirs.to_public().to_string()));
        custody.set_recipients(Vec::new());
        assert_eq!(custody.prove(&Permit::mint()).await.expect_err("nobody").kind, ErrorKind::Rejected);
    }

    #[tokio::test]
    async fn unreachable_store_gives_a_warning() {
        let (folder, custody) = fresh();
        custody.put(&Permit::mint(), "a", &secret("x")).await.expect("puts");
        let Custody { recipients, keyring, mut stores, authority, .. } = custody;
        let why = Error::new(ErrorKind::Unauthenticated, "connect to AWS", "no credentials");
        stores[0] = Box::new(Unreachable::new("s3://lost", why));
        let recipients = recipients.into_inner().expect("unpoisoned");
        let custody = Custody::new(folder.path(), recipients, stores, keyring, authority);
        assert_eq!(custody.get("a").await.expect("reads"), Some(secret("x")));
        assert!(custody.take_warnings()[0].contains("s3://lost"));
        custody.prove(&Permit::mint()).await.expect("the other store is enough");
        assert!(custody.take_warnings()[0].contains("s3://lost"));
    }

    #[tokio::test]
    async fn custody_without_a_writable_store_is_not_proven() {
        let (folder, custody) = fresh();
        std::fs::write(folder.path().join("two"), "a file, not a folder").expect("writes");
        custody.prove(&Permit::mint()).await.expect("the first one is enough");
        let custody = custody_again(folder.path(), &custody);
        std::fs::remove_dir_all(folder.path().join("one")).expect("removes");
        std::fs::write(folder.path().join("one"), "a file, not a folder").expect("writes");
        assert_eq!(custody.prove(&Permit::mint()).await.expect_err("no store").kind, ErrorKind::Local);
    }

    #[test]
    fn names_stay_inside_the_store() {
        for good in ["canary", "aws/ci/access-key/akia1", "vault/https___a_8200/init"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "A", "a b", ".hidden", "a/.writing"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name(&name_part("https://Vault.example:8200")).is_ok());
    }

    #[test]
    fn clock_at_the_epoch_is_refused() {
        assert!(check_clock(Timestamp::UNIX_EPOCH).is_err() && check_clock(Timestamp::now()).is_ok());
    }
}
