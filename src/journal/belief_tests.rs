//! Journals that a stranger has made, changed, cut or put in another's place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::durable::make_folder;
use crate::environment::Environment;
use crate::signing::testing::{authority, reader};
use crate::signing::{Authority, Signer, SigningKey};

/// A plan's folder, and the caller's own.
struct Place {
    folder: tempfile::TempDir,
    config: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            config: tempfile::tempdir().expect("a folder"),
        }
    }

    fn ours(&self) -> Arc<Authority> {
        authority(self.config.path(), "demo")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(".groundwork/journal/demo.jsonl")
    }

    fn journal(&self, authority: Arc<Authority>) -> Journal {
        Journal::of_plan(
            self.folder.path(),
            "demo",
            Who::here("sha256:0", &Environment::default()),
            authority,
        )
        .expect("opens")
    }

    /// As the next run finds it.
    fn belief(&self) -> Belief {
        self.journal(self.ours()).belief()
    }

    async fn append(&self, names: &[&str]) {
        let journal = self.journal(self.ours());
        append(&journal, Entry::RunStarted).await.expect("appends");
        for name in names {
            append(&journal, Entry::Owned(thing(name))).await.expect("appends");
        }
        append(&journal, Entry::RunFinished).await.expect("appends");
    }

    fn text(&self) -> Vec<u8> {
        std::fs::read(self.path()).expect("reads")
    }

    fn write(&self, text: &[u8]) {
        make_folder(self.path().parent().expect("a folder")).expect("made");
        std::fs::write(self.path(), text).expect("writes");
    }
}

async fn append(journal: &Journal, entry: Entry) -> Result<()> {
    journal.append(&Permit::mint(), entry).await
}

fn thing(name: &str) -> Thing {
    Thing::new(name, target("vault.policy", name), serde_json::json!(name))
}

fn record(seq: u64, entry: Entry) -> Record {
    Record { seq, time: Timestamp::UNIX_EPOCH, who: Who::here("sha256:0", &Environment::default()), entry }
}

/// A journal as a version of the program without signatures has it, or as a stranger makes it.
fn unsigned(names: &[&str]) -> Vec<u8> {
    let mut chain = Chain::default();
    let things = names.iter().zip(1..);
    things.flat_map(|(name, seq)| chain.extend_unsigned(record(seq, Entry::Owned(thing(name))))).collect()
}

fn signed(names: &[&str], plan: &str, key: &SigningKey) -> Vec<u8> {
    let mut chain = Chain::default();
    let things = names.iter().zip(1..);
    things.flat_map(|(name, seq)| chain.extend(record(seq, Entry::Owned(thing(name))), plan, key)).collect()
}

fn is_nothing(journal: &Journal) -> bool {
    journal.things().iter().next().is_none() && !journal.knows(CREATE, &thing("theirs").target)
}

fn cut(text: &[u8], lines: usize) -> Vec<u8> {
    text.split_inclusive(|byte| *byte == b'\n').take(lines).collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn unsigned_journal_is_ignored_until_adopted() {
    let (place, old) = (Place::new(), unsigned(&["theirs"]));
    place.write(&old);
    let journal = place.journal(place.ours());
    assert!(is_nothing(&journal) && journal.entries().len() == 1, "it can be looked at");
    assert_eq!(journal.belief(), Belief::Doubted(Doubt::Unsigned));
    let refused = append(&journal, Entry::RunStarted).await.expect_err("it is nobody's");
    assert!(refused.advice.is_some_and(|advice| advice.contains("groundwork journal PLAN --adopt")));
    assert_eq!(place.text(), old, "nothing was written");
    journal.adopt(&Permit::mint()).await.expect("a person has looked at it");
    assert_eq!(place.belief(), Belief::Ours);
    assert!(place.journal(place.ours()).things().has(&thing("theirs")));
    place.append(&["mine"]).await;
}

#[tokio::test]
async fn signature_of_unknown_signer_is_ignored_until_trusted() {
    let place = Place::new();
    let theirs = SigningKey::generate().expect("a key");
    place.write(&signed(&["theirs"], "demo", &theirs));
    let journal = place.journal(place.ours());
    assert!(is_nothing(&journal));
    let refused = append(&journal, Entry::RunStarted).await.expect_err("unknown");
    let flag = format!("--trust signer={}", theirs.signer());
    assert!(refused.advice.is_some_and(|advice| advice.contains(&flag)));
    let trusting = place.journal(reader(place.config.path(), "demo", &[theirs.signer()]));
    assert!(!is_nothing(&trusting));
    let refused = append(&trusting, Entry::RunStarted).await.expect_err("it has no key to go on with");
    assert!(refused.message.contains("signing key"), "{refused}");
}

#[tokio::test]
async fn signature_for_another_plan_does_not_count() {
    let place = Place::new();
    let key = place.ours().key().expect("a key");
    place.write(&signed(&["theirs"], "other", &key));
    assert_eq!(place.belief(), Belief::Doubted(Doubt::Forged));
}

#[tokio::test]
async fn signature_with_swapped_signer_is_forged() {
    let place = Place::new();
    let (theirs, ours) = (SigningKey::generate().expect("a key"), place.ours().key().expect("a key"));
    let text = String::from_utf8(signed(&["theirs"], "demo", &theirs)).expect("text");
    let text = text.replace(&theirs.signer().to_string(), &ours.signer().to_string());
    let (content, _) = text.split_once(",\"hash\":\"").expect("a hash");
    let hash = sha2::Digest::finalize(sha2::Digest::chain_update(
        sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), GENESIS),
        content,
    ));
    place.write(format!("{content},\"hash\":\"{}\"}}\n", hex::encode(hash)).as_bytes());
    assert_eq!(place.belief(), Belief::Doubted(Doubt::Forged));
    assert!(is_nothing(&place.journal(place.ours())));
}

#[tokio::test]
async fn unsigned_line_after_a_signed_one_is_refused() {
    let place = Place::new();
    place.append(&["mine"]).await;
    let mut chain = Chain::parse(&place.text()).expect("whole");
    let seq = chain.records.len() as u64 + 1;
    let line = chain.extend_unsigned(record(seq, Entry::Owned(thing("theirs"))));
    place.write(&[place.text(), line].concat());
    assert_eq!(place.belief(), Belief::Doubted(Doubt::Continued));
    let journal = place.journal(place.ours());
    assert!(is_nothing(&journal) && append(&journal, Entry::RunStarted).await.is_err());
}

#[tokio::test]
async fn rolled_back_or_replaced_journal_is_refused() {
    let place = Place::new();
    place.append(&["one"]).await;
    let old = place.text();
    place.append(&["two"]).await;
    let key = place.ours().key().expect("a key");
    for text in [old, cut(&place.text(), 5), signed(&["a", "b", "c", "d", "e", "f", "g"], "demo", &key)] {
        place.write(&text);
        assert_eq!(place.belief(), Belief::Doubted(Doubt::RolledBack { seen: 6 }));
        let journal = place.journal(place.ours());
        assert!(is_nothing(&journal) && append(&journal, Entry::RunStarted).await.is_err());
    }
    place.journal(place.ours()).adopt(&Permit::mint()).await.expect("a person says that it is right");
    assert_eq!(place.belief(), Belief::Ours);
}

#[tokio::test]
async fn missing_journal_is_reported_and_started_again() {
    let place = Place::new();
    place.append(&["one"]).await;
    let old = place.text();
    std::fs::remove_file(place.path()).expect("removed");
    assert_eq!(place.belief(), Belief::Lost(3));
    place.append(&["two"]).await;
    assert_eq!(place.belief(), Belief::Ours);
    place.write(&old);
    assert!(matches!(place.belief(), Belief::Doubted(Doubt::RolledBack { .. })), "the old one is old");
}

#[tokio::test]
async fn journal_never_contains_the_private_key() {
    let place = Place::new();
    place.append(&["one"]).await;
    let key = place.ours().key().expect("a key").to_secret();
    let digits = key.expose_str().and_then(|text| text.rsplit(' ').next()).expect("digits").to_owned();
    let text = String::from_utf8(place.text()).expect("text");
    assert!(!text.contains(&digits) && digits.len() == 64);
    assert!(!format!("{:?}", place.journal(place.ours())).contains(&digits));
}

#[test]
fn ten_thousand_lines_take_one_verification() {
    let key = SigningKey::generate().expect("a key");
    let mut chain = Chain::default();
    let text: Vec<u8> =
        (1..=10_000).flat_map(|seq| chain.extend(record(seq, Entry::RunStarted), "demo", &key)).collect();
    // Only the last signature counts; one before it may be whatever it is.
    let chain = Chain::parse(&text).expect("whole");
    assert!(chain.is_proven("demo") && chain.signer() == Some(key.signer()));
    let config = tempfile::tempdir().expect("a folder");
    let trusting = reader(config.path(), "demo", &[key.signer()]);
    assert_eq!(Belief::of(&chain, &trusting), Belief::Ours);
    let nobody: [Signer; 0] = [];
    let doubt = Belief::of(&chain, &reader(Path::new("/nowhere"), "demo", &nobody));
    assert_eq!(doubt, Belief::Doubted(Doubt::Stranger(key.signer())));
}
