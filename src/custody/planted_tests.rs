//! Stores in which somebody else writes, hides and puts back.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::document::Document;
use super::envelope::SealingKey;
use super::examine::CopyState;
use super::*;
use crate::permit::Permit;
use crate::secret::Secret;
use crate::signing::SigningKey;
use crate::signing::testing::{authority, reader};

/// Custody in two folders.
struct Place {
    folder: tempfile::TempDir,
    identity: age::x25519::Identity,
    permit: Permit,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, identity: age::x25519::Identity::generate(), permit: Permit::mint() }
    }

    /// Custody for another run.
    fn custody(&self) -> Custody {
        testing::custody(self.folder.path(), self.identity.clone())
    }

    fn path(&self, store: &str, name: &str, version: u32) -> PathBuf {
        self.folder.path().join(store).join(format!("{name}.{version}.json"))
    }

    fn plant(&self, store: &str, name: &str, version: u32, bytes: &[u8]) {
        let path = self.path(store, name, version);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("planted");
    }

    /// What somebody who knows the recipients makes of a value of his own, signed or not.
    async fn forge(&self, name: &str, version: u32, key: Option<&SigningKey>) -> Vec<u8> {
        let (sealing, _) = SealingKey::wrap(name, &[testing::recipient(&self.identity)]).await;
        let sealed = Document::Envelope(sealing.seal(name, version, &secret("theirs")).expect("seals"));
        match key {
            Some(key) => sealed.sign(version, key).encode(),
            None => sealed.encode(),
        }
    }

    async fn put(&self, name: &str, value: &str) {
        self.custody().replace(&self.permit, name, &secret(value)).await.expect("keeps");
    }

    async fn get(&self, name: &str) -> Secret {
        self.custody().get(name).await.expect("reads").expect("there")
    }
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

const KEY: &str = "aws/ci/access-key/akiatheirs";

#[tokio::test]
async fn planted_access_key_is_refused_and_named() {
    let place = Place::new();
    let stranger = SigningKey::generate().expect("a key");
    for key in [None, Some(&stranger)] {
        place.plant("one", KEY, 1, &place.forge(KEY, 1, key).await);
        let custody = place.custody();
        let refused = custody.get(KEY).await.expect_err("nobody's");
        let told = format!("{} {}", refused.message, refused.advice.unwrap_or_default());
        assert!(
            told.contains("one") && (told.contains("--adopt") || told.contains("--trust signer=")),
            "{told}"
        );
        assert!(!custody.has(KEY).await.expect("looks"), "it is not there");
        assert_eq!(custody.gaps("aws/").await.expect("looks"), []);
        custody.complete(&place.permit, "aws/").await.expect("spreads nothing");
        assert!(!place.path("two", KEY, 1).exists());
        let object = custody.examine("", true).await.expect("looks").remove(0);
        assert!(matches!(object.copies[0].state, CopyState::Refused(_)) && object.is_foreign(), "{object:?}");
        assert_eq!(custody.reject(&place.permit, &object).await.expect("puts it aside").len(), 1);
        assert!(custody.examine("", true).await.expect("looks").is_empty());
        let aside = place.path("one", KEY, 1);
        let aside = aside.parent().expect("a folder").read_dir().expect("lists").count();
        assert!(aside > 0, "it is kept");
    }
}

#[tokio::test]
async fn foreign_higher_version_blocks_nothing() {
    let place = Place::new();
    place.put("vault/a", "ours").await;
    let newer = r#"{"header":{"format":"groundwork-custody/9"},"nonce":"","ciphertext":""}"#;
    let stranger = SigningKey::generate().expect("a key");
    let forged = place.forge("vault/a", 7, Some(&stranger)).await;
    for bytes in [
        b"garbage".to_vec(),
        newer.into(),
        forged,
        place.forge("vault/a", 7, None).await,
        vec![b' '; 5 << 20],
    ] {
        place.plant("two", "vault/a", 7, &bytes);
        let custody = place.custody();
        assert_eq!(custody.get("vault/a").await.expect("reads"), Some(secret("ours")));
        let warnings = custody.take_warnings().join("\n");
        assert!(warnings.contains("version 7 in folder") && warnings.contains("two"), "{warnings}");
        assert_eq!(custody.gaps("vault/").await.expect("looks"), [], "nothing lacks");
        let object = custody.examine("", true).await.expect("looks").remove(0);
        assert!(
            (object.version, object.aside.len()) == (1, 1) && object.is_obtainable() && !object.is_perfect()
        );
    }
    let custody = place.custody();
    custody.replace(&place.permit, "vault/a", &secret("next")).await.expect("keeps");
    assert_eq!(place.get("vault/a").await, secret("next"));
    let object = custody.examine("", true).await.expect("looks").remove(0);
    custody.repair(&place.permit, &object, None).await.expect("repairs");
    assert!(custody.examine("", true).await.expect("looks")[0].is_perfect());
    assert!(!place.path("two", "vault/a", 7).exists());
}

#[tokio::test]
async fn maximum_version_number_blocks_no_write() {
    let place = Place::new();
    place.plant("one", "vault/a", u32::MAX, b"garbage");
    place.put("vault/a", "ours").await;
    assert_eq!(place.get("vault/a").await, secret("ours"));
    assert_eq!(place.custody().version("vault/a").await.expect("looks"), Some(1));
}

#[tokio::test]
async fn unreadable_copy_does_not_block_the_other() {
    let place = Place::new();
    place.put("vault/a", "ours").await;
    let first = place.path("one", "vault/a", 1);
    let made = |kind: &str| {
        std::fs::remove_file(&first).expect("removed");
        match kind {
            "fifo" => rustix::fs::mknodat(
                rustix::fs::CWD,
                &first,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o600),
                0,
            )
            .expect("made"),
            "folder" => std::fs::create_dir(&first).expect("made"),
            "link" => std::os::unix::fs::symlink("/dev/zero", &first).expect("made"),
            _ => {
                std::fs::write(&first, "x").expect("written");
                std::fs::set_permissions(&first, PermissionsExt::from_mode(0o000)).expect("chmod");
            }
        }
    };
    for kind in ["fifo", "link", "closed"] {
        made(kind);
        assert_eq!(place.get("vault/a").await, secret("ours"), "{kind}");
        let custody = place.custody();
        let object = custody.examine("", true).await.expect("looks").remove(0);
        assert!(object.is_obtainable() && !object.is_perfect(), "{kind}: {object:?}");
    }
    let custody = place.custody();
    custody.complete(&place.permit, "vault/").await.expect("nothing is in its way");
}

#[tokio::test]
async fn unopenable_own_version_is_not_skipped() {
    let place = Place::new();
    place.put("vault/a", "old").await;
    let custody = place.custody();
    let other = age::x25519::Identity::generate().to_public().to_string();
    let ours = place.identity.to_public().to_string();
    let both = [ours, other.clone()].map(RecipientSettings::Age);
    custody.set_recipients(both.to_vec());
    let prepared = custody.prepare(&place.permit, "vault/a").await.expect("prepares");
    custody.keep(&place.permit, prepared, &secret("new")).await.expect("keeps");
    let Custody { stores, authority, .. } = place.custody();
    let nobody = Custody::new(place.folder.path(), Vec::new(), stores, Keyring::default(), authority);
    assert!(nobody.get("vault/a").await.is_err(), "the old one does not stand in for it");
}

#[tokio::test]
async fn own_write_replaces_planted_object() {
    let place = Place::new();
    let custody = place.custody();
    let prepared = custody.prepare_first(&place.permit, "vault/a").await.expect("prepares");
    place.plant("one", "vault/a", 1, &place.forge("vault/a", 1, None).await);
    place.plant("two", "vault/a", 1, b"garbage");
    custody.keep(&place.permit, prepared, &secret("ours")).await.expect("keeps");
    assert!(custody.examine("", true).await.expect("looks")[0].is_perfect());
    assert_eq!(place.get("vault/a").await, secret("ours"));
}

#[tokio::test]
async fn object_under_wrong_name_or_version_is_refused() {
    let place = Place::new();
    place.put("vault/a", "old").await;
    let old = std::fs::read(place.path("one", "vault/a", 1)).expect("reads");
    place.put("vault/a", "new").await;
    for store in ["one", "two"] {
        place.plant(store, "vault/a", 3, &old);
        place.plant(store, "vault/b", 1, &old);
    }
    assert_eq!(place.get("vault/a").await, secret("new"));
    assert!(place.custody().get("vault/b").await.is_err(), "another name");
}

#[tokio::test]
async fn unsigned_objects_count_once_a_person_vouches() {
    let place = Place::new();
    let old = place.forge("vault/a", 1, None).await;
    let lost = SigningKey::generate().expect("a key");
    place.plant("one", "vault/a", 1, &old);
    place.plant("two", "vault/a", 1, &old);
    place.plant("one", "vault/b", 1, &place.forge("vault/b", 1, Some(&lost)).await);
    let mut forged = String::from_utf8(place.forge("vault/c", 1, Some(&lost)).await).expect("text");
    forged = forged.replace("\"ciphertext\": \"", "\"ciphertext\": \"AAAA");
    place.plant("one", "vault/c", 1, forged.as_bytes());
    let custody = place.custody();
    let found = custody.unvouched().await;
    let told: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.signer)).collect();
    assert_eq!(told, [("vault/a", None), ("vault/b", Some(lost.signer())), ("vault/a", None)]);
    custody.vouch(&place.permit, &found).await.expect("signs");
    assert!(custody.unvouched().await.is_empty());
    for name in ["vault/a", "vault/b"] {
        assert_eq!(place.get(name).await, secret("theirs"));
    }
    assert!(place.custody().get("vault/c").await.is_err(), "it was changed");
}

#[tokio::test]
async fn trusting_machine_reads_signing_key_from_custody() {
    let place = Place::new();
    let custody = place.custody();
    custody.share_key(&place.permit).await.expect("keeps");
    let before = files(place.folder.path());
    custody.share_key(&place.permit).await.expect("is kept");
    assert_eq!(files(place.folder.path()), before, "once");
    let ours = authority(&place.folder.path().join("config"), "demo").key().expect("a key");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let as_read_by = |trusted: &[crate::signing::Signer]| {
        let Custody { stores, keyring, .. } = place.custody();
        let authority = reader(elsewhere.path(), "demo", trusted);
        Custody::new(place.folder.path(), Vec::new(), stores, keyring, authority)
    };
    let refused = as_read_by(&[]).signing_key().await.expect_err("unknown");
    assert!(refused.advice.is_some_and(|advice| advice.contains(&ours.signer().to_string())));
    let key = as_read_by(&[ours.signer()]).signing_key().await.expect("opens").expect("there");
    assert_eq!(key.signer(), ours.signer());
    let digits = ours.to_secret();
    let digits = digits.expose_str().and_then(|text| text.rsplit(' ').next()).expect("digits");
    for (path, bytes) in
        before.iter().filter(|(path, _)| !path.starts_with(place.folder.path().join("config")))
    {
        assert!(!String::from_utf8_lossy(bytes).contains(digits), "{}", path.display());
    }
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in folder.read_dir().expect("lists").flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push((path.clone(), std::fs::read(path).expect("reads"))),
        }
    }
    found.sort();
    found
}
