//! Every store and every recipient fails, before, while and after a secret is kept.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::examine::CopyState;
use super::testing::keyring;
use super::*;
use crate::permit::Permit;
use crate::secret::Secret;
use crate::signing::testing::authority;

/// A store or key service that works only while it is switched on.
#[derive(Clone, Debug, Default)]
struct Switch(Arc<AtomicBool>);

impl Switch {
    fn set(&self, works: bool) {
        self.0.store(works, Ordering::SeqCst);
    }

    fn require(&self) -> Result<()> {
        match self.0.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Unavailable, "test", "switched off (503)")),
        }
    }
}

struct Switched {
    name: &'static str,
    inner: FileStore,
    switch: Switch,
}

#[async_trait]
impl Store for Switched {
    fn describe(&self) -> String {
        format!("store {}", self.name)
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>> {
        self.switch.require()?;
        self.inner.versions(name).await
    }

    async fn read(&self, name: &str, version: u32) -> Result<Vec<u8>> {
        self.switch.require()?;
        self.inner.read(name, version).await
    }

    async fn write(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        self.switch.require()?;
        self.inner.write(permit, name, version, bytes).await
    }

    async fn objects(&self, prefix: &str) -> Result<Vec<(String, u32)>> {
        self.switch.require()?;
        self.inner.objects(prefix).await
    }

    async fn remove(&self, permit: &Permit, name: &str, version: u32) -> Result<()> {
        self.switch.require()?;
        self.inner.remove(permit, name, version).await
    }

    async fn set_aside(&self, permit: &Permit, name: &str, version: u32) -> Result<()> {
        self.switch.require()?;
        self.inner.set_aside(permit, name, version).await
    }

    async fn repair(&self, permit: &Permit, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        self.switch.require()?;
        self.inner.repair(permit, name, version, bytes).await
    }

    async fn probe(&self, permit: &Permit, bytes: &[u8]) -> Result<Vec<u8>> {
        self.switch.require()?;
        self.inner.probe(permit, bytes).await
    }
}

/// Encrypts by adding one to each byte, while it works.
struct Kms(Switch);

#[async_trait]
impl KeyService for Kms {
    async fn encrypt(&self, _: &str, plaintext: &Secret, _: &Context) -> Result<Vec<u8>> {
        self.0.require()?;
        Ok(plaintext.expose_bytes().iter().map(|byte| byte.wrapping_add(1)).collect())
    }

    async fn decrypt(&self, ciphertext: &[u8], _: &Context) -> Result<Secret> {
        self.0.require()?;
        Ok(Secret::new(ciphertext.iter().map(|byte| byte.wrapping_sub(1)).collect()))
    }
}

/// Two stores and two recipients, each with a switch; runs come and go.
struct Machine {
    folder: tempfile::TempDir,
    identity: age::x25519::Identity,
    stores: [Switch; 2],
    kms: Switch,
    permit: Permit,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            folder: tempfile::tempdir().expect("a folder"),
            identity: age::x25519::Identity::generate(),
            stores: Default::default(),
            kms: Switch::default(),
            permit: Permit::mint(),
        };
        machine.stores.iter().chain([&machine.kms]).for_each(|switch| switch.set(true));
        machine
    }

    /// Custody of a new run, with the age identity at hand or without.
    fn run_with(&self, identities: Vec<age::x25519::Identity>) -> Custody {
        let recipients = vec![
            RecipientSettings::Age(self.identity.to_public().to_string()),
            RecipientSettings::Kms("alias/custody".to_owned()),
        ];
        let store = |name, switch: &Switch| {
            let (inner, switch) = (FileStore::new(self.folder.path().join(name)), switch.clone());
            Box::new(Switched { name, inner, switch }) as Box<dyn Store>
        };
        let stores = vec![store("one", &self.stores[0]), store("two", &self.stores[1])];
        let keyring = Keyring { service: Some(Arc::new(Kms(self.kms.clone()))), ..keyring(identities) };
        let authority = authority(&self.folder.path().join("config"), "demo");
        Custody::new(self.folder.path(), recipients, stores, keyring, authority).of_plan("demo")
    }

    fn run(&self) -> Custody {
        self.run_with(vec![self.identity.clone()])
    }

    fn file(&self, store: &str) -> PathBuf {
        self.folder.path().join(store).join("vault/a.1.json")
    }

    fn rescued(&self) -> PathBuf {
        self.file(".groundwork/journal/demo.rescued")
    }

    /// The next run finds what is missing, completes it, and then finds nothing.
    async fn heals(&self) {
        self.stores.iter().chain([&self.kms]).for_each(|switch| switch.set(true));
        let custody = self.run();
        assert!(!custody.gaps("vault/").await.expect("looks").is_empty(), "the plan shows what is missing");
        custody.complete(&self.permit, "vault/").await.expect("completes");
        assert_eq!(custody.gaps("vault/").await.expect("looks"), []);
        assert_eq!(custody.take_warnings(), Vec::<String>::new());
        assert!(self.file("one").exists() && self.file("two").exists() && !self.rescued().exists());
        assert_eq!(bytes(&self.file("one")), bytes(&self.file("two")));
        for identities in [vec![self.identity.clone()], Vec::new()] {
            let read = self.run_with(identities).get("vault/a").await.expect("opens for each recipient");
            assert_eq!(read, Some(secret()));
        }
    }
}

fn secret() -> Secret {
    Secret::from("the answer of sys/init".to_owned())
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("there")
}

#[tokio::test]
async fn store_failure_before_or_after_response_loses_nothing() {
    for store in [0, 1] {
        for before in [true, false] {
            let machine = Machine::new();
            let custody = machine.run();
            machine.stores[store].set(!before);
            let prepared = custody.prepare_first(&machine.permit, "vault/a").await.expect("one store works");
            machine.stores[store].set(false);
            custody.keep(&machine.permit, prepared, &secret()).await.expect("one store is enough");
            let warnings = custody.take_warnings().join("\n");
            let named = format!("vault/a is not on store {}", ["one", "two"][store]);
            assert!(warnings.contains(&named), "{warnings}");
            assert_eq!(custody.get("vault/a").await.expect("reads"), Some(secret()));
            assert_eq!(custody.gaps("vault/").await.expect("looks"), [], "warned of in this run");
            machine.heals().await;
        }
    }
}

#[tokio::test]
async fn recipient_failure_at_any_point_loses_nothing() {
    // The key service fails before: the object is sealed for the age identity only.
    let machine = Machine::new();
    machine.kms.set(false);
    let custody = machine.run();
    let prepared = custody.prepare_first(&machine.permit, "vault/a").await.expect("age is enough");
    custody.keep(&machine.permit, prepared, &secret()).await.expect("keeps");
    let warnings = custody.take_warnings().join("\n");
    assert!(warnings.contains("vault/a is not sealed for kms alias/custody"), "{warnings}");
    machine.heals().await;
    // It fails once everything is prepared: nobody is asked any more.
    let machine = Machine::new();
    let custody = machine.run_with(Vec::new());
    let prepared = custody.prepare_first(&machine.permit, "vault/a").await.expect("KMS is enough");
    machine.kms.set(false);
    custody.keep(&machine.permit, prepared, &secret()).await.expect("sealing asks nobody");
    assert_eq!(custody.take_warnings(), Vec::<String>::new());
    assert_eq!(machine.run().get("vault/a").await.expect("opens"), Some(secret()));
}

#[tokio::test]
async fn prepare_requires_usable_recipient_and_store() {
    let machine = Machine::new();
    machine.kms.set(false);
    let custody = machine.run_with(Vec::new());
    let error = custody.prepare_first(&machine.permit, "vault/a").await.expect_err("nobody can open it");
    assert!(error.message.contains("at hand"), "{error}");
    machine.kms.set(true);
    machine.stores.iter().for_each(|switch| switch.set(false));
    let error = machine.run().prepare_first(&machine.permit, "vault/a").await.expect_err("no store");
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn rescued_secret_is_stored_by_the_next_run() {
    let machine = Machine::new();
    let custody = machine.run();
    let prepared = custody.prepare_first(&machine.permit, "vault/a").await.expect("all works");
    machine.stores.iter().for_each(|switch| switch.set(false));
    let error = custody.keep(&machine.permit, prepared, &secret()).await.expect_err("no store");
    assert!(error.message.contains("demo.rescued") && error.advice.is_some(), "{error}");
    let text = String::from_utf8(bytes(&machine.rescued())).expect("JSON");
    assert!(!text.contains(secret().expose_str().expect("text")), "encrypted");
    let mode = machine.rescued().metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    machine.stores[1].set(true);
    let custody = machine.run();
    assert_eq!(custody.get("vault/a").await.expect("reads"), Some(secret()));
    assert_eq!(custody.list("vault/").await.expect("lists"), ["vault/a"]);
    custody.complete(&machine.permit, "vault/").await.expect("one store is enough");
    assert!(!machine.rescued().exists() && machine.file("two").exists());
    machine.heals().await;
}

#[tokio::test]
async fn conflicting_copies_need_a_person_to_choose() {
    let machine = Machine::new();
    machine.run().put(&machine.permit, "vault/a", &secret()).await.expect("keeps");
    std::fs::remove_dir_all(machine.folder.path().join("two")).expect("loses");
    machine.stores[0].set(false);
    let other = Secret::from("another".to_owned());
    let custody = machine.run();
    let prepared = custody.prepare_first(&machine.permit, "vault/a").await.expect("prepares");
    custody.keep(&machine.permit, prepared, &other).await.expect("keeps on the second only");
    machine.stores[0].set(true);
    let custody = machine.run();
    let object = custody.examine("", true).await.expect("looks").remove(0);
    assert!(object.copies.iter().all(|copy| copy.state == CopyState::Differs), "{object:?}");
    assert!(object.differs() && object.is_obtainable() && !object.is_perfect());
    assert!(custody.repair(&machine.permit, &object, None).await.expect("leaves it").is_empty());
    let mended = custody.repair(&machine.permit, &object, Some("store one")).await.expect("repairs");
    assert_eq!(mended, ["store two"]);
    assert!(custody.examine("", true).await.expect("looks")[0].is_perfect());
    let aside = std::fs::read_dir(machine.folder.path().join("two/vault")).expect("lists");
    assert_eq!(aside.count(), 2, "the replaced copy is kept aside");
}

#[tokio::test]
async fn older_version_under_newer_number_is_damaged() {
    let machine = Machine::new();
    let custody = machine.run();
    custody.put(&machine.permit, "vault/a", &secret()).await.expect("keeps");
    custody.replace(&machine.permit, "vault/a", &Secret::from("new".to_owned())).await.expect("keeps");
    std::fs::copy(machine.file("one"), machine.folder.path().join("one/vault/a.2.json"))
        .expect("rolled forward");
    let read = custody.get("vault/a").await.expect("the other store has it");
    assert_eq!(read, Some(Secret::from("new".to_owned())));
    let object = custody.examine("", true).await.expect("looks").remove(0);
    assert!(
        matches!(&object.copies[0].state, CopyState::Damaged(why) if why.contains("version 1")),
        "{object:?}"
    );
    custody.repair(&machine.permit, &object, None).await.expect("repairs");
    assert!(custody.examine("", true).await.expect("looks")[0].is_perfect());
}

#[tokio::test]
async fn next_run_completes_signing_key_copies() {
    let machine = Machine::new();
    machine.stores[0].set(false);
    let custody = machine.run();
    custody.share_key(&machine.permit).await.expect("one store is enough");
    assert_eq!(custody.authority.seen().in_custody, None, "the next run goes on with it");
    machine.stores[0].set(true);
    let custody = machine.run();
    custody.share_key(&machine.permit).await.expect("completes");
    assert_eq!(custody.gaps("signing-key/").await.expect("looks"), []);
    assert!(custody.authority.seen().in_custody.is_some());
}
