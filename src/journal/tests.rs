//! The file and its copy.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::environment::Environment;
use crate::place::Realm;
use crate::signing::SigningKey;
use crate::signing::testing::authority;

const OPERATION: &str = "iam:CreateAccessKey";

fn intent(target: &str) -> Entry {
    Entry::Intent {
        step: "key".into(),
        operation: OPERATION.into(),
        target: target.into(),
        detail: vec!["AKIA1".into()],
    }
}

fn committed(target: &str) -> Entry {
    Entry::Committed { operation: OPERATION.into(), target: target.into(), detail: vec![] }
}

/// The journal in this folder, with a key that is kept beside it.
fn journal(folder: &Path) -> Journal {
    let authority = authority(&folder.join("config"), "demo");
    Journal::of_plan(folder, "demo", Who::here("sha256:0", &Environment::default()), authority)
        .expect("opens")
}

fn text_of_three(folder: &Path) -> Vec<u8> {
    let journal = journal(folder);
    for entry in [Entry::RunStarted, intent("ci"), committed("ci")] {
        journal.append_here(entry).expect("appends");
    }
    std::fs::read(journal.place.path()).expect("reads")
}

#[test]
fn reading_creates_no_file_and_appending_is_private() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = journal(folder.path());
    assert!(journal.entries().is_empty() && !folder.path().join(".groundwork").exists());
    journal.append_here(Entry::RunStarted).expect("appends");
    let mode = |path: &Path| path.metadata().expect("exists").permissions().mode() & 0o777;
    assert_eq!(mode(&journal.place.path()), 0o600);
    assert_eq!(mode(&folder.path().join(".groundwork/journal")), 0o700);
    assert_eq!(mode(&folder.path().join(".groundwork")), 0o700);
}

#[test]
fn appended_entries_are_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = journal(folder.path());
    first.append_here(intent("ci")).expect("appends");
    let address = serde_json::json!({ "name": "ci", "nested": { "path": "/" } });
    let thing = Thing {
        realm: Realm::default().with("account", "123456789012"),
        retain: true,
        attaches: Some(vec!["groups.admins".into()]),
        ..Thing::new("user", target("aws.iam_user", "ci"), address)
    };
    first.append_here(Entry::Owned(thing.clone())).expect("appends");
    let second = journal(folder.path());
    assert_eq!(second.entries(), first.entries());
    assert!(second.things().has(&thing) && second.things().iter().count() == 1);
    assert_eq!(second.entries()[1].seq, 2);
}

#[test]
fn intent_is_open_until_settled() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = journal(folder.path());
    let open = || journal.open_intent(OPERATION, "ci").is_some();
    let append = |entry| journal.append_here(entry).expect("appends");
    let outcome = |result| Entry::Outcome {
        operation: OPERATION.into(),
        target: "ci".into(),
        result,
        message: "timed out".into(),
    };
    assert!(!open());
    append(intent("ci"));
    append(committed("other"));
    assert!(open());
    append(outcome(OperationOutcome::Unknown));
    assert!(open() && !journal.committed(OPERATION, "ci") && journal.is_unknown(OPERATION, "ci"));
    append(committed("ci"));
    assert!(!open() && journal.committed(OPERATION, "ci"));
    append(intent("ci"));
    append(outcome(OperationOutcome::Failed));
    assert!(!open());
}

#[test]
fn torn_tail_is_cut_and_journal_continues() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = text_of_three(folder.path());
    let second_line = whole.iter().position(|byte| *byte == b'\n').expect("lines") + 1;
    for length in 0..whole.len() {
        let path = folder.path().join("torn.jsonl");
        std::fs::write(&path, &whole[..length]).expect("writes");
        let open = || {
            Journal::open(
                LocalFile::of_caller(&path),
                Who::here("sha256:0", &Environment::default()),
                authority(folder.path(), "demo"),
            )
        };
        let journal = open().expect("a torn tail is no damage");
        let lines = whole[..length].split(|byte| *byte == b'\n').count() - 1;
        assert_eq!(journal.entries().len(), lines, "{length} of {second_line}");
        journal.append_here(Entry::RunFinished).expect("appends");
        let again = open().expect("valid");
        assert_eq!(again.entries(), journal.entries());
    }
}

#[test]
fn journal_with_any_bit_flipped_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = text_of_three(folder.path());
    for position in 0..whole.len() {
        for bit in 0..8 {
            let mut text = whole.clone();
            text[position] ^= 1 << bit;
            assert!(Chain::parse(&text).is_err(), "bit {bit} of byte {position}");
        }
    }
}

#[test]
fn lines_removed_or_swapped_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = text_of_three(folder.path());
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    assert!(Chain::parse(&[lines[0], lines[2]].concat()).is_err());
    assert!(Chain::parse(&[lines[1], lines[0], lines[2]].concat()).is_err());
    assert!(Chain::parse(&lines[..2].concat()).is_ok(), "a shorter journal is valid");
}

/// A copy in memory. `lossy` answers of stores are lost after they have taken effect.
#[derive(Debug, Default)]
struct Memory {
    exists: AtomicBool,
    lossy: AtomicUsize,
    stores: AtomicUsize,
    kept: Mutex<Option<mirror::Copy>>,
}

#[async_trait::async_trait]
impl Place for Memory {
    async fn fetch(&self) -> Result<Option<mirror::Copy>> {
        Ok(self.kept.lock().expect("unpoisoned").clone())
    }

    async fn store(&self, _: &Permit, text: &[u8], version: Option<&str>) -> Result<mirror::Stored> {
        // A request takes a while, in which others append.
        tokio::task::yield_now().await;
        if !self.exists.load(Relaxed) {
            return Ok(mirror::Stored::Nowhere);
        }
        let mut kept = self.kept.lock().expect("unpoisoned");
        if kept.as_ref().map(|copy| copy.version.as_str()) != version {
            return Ok(mirror::Stored::Moved);
        }
        let version = self.stores.fetch_add(1, Relaxed).to_string();
        *kept = Some(mirror::Copy { text: text.to_vec(), version: version.clone() });
        match self.lossy.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Err(Error::new(ErrorKind::Unavailable, "store", "no answer")),
            Err(_) => Ok(mirror::Stored::As(version)),
        }
    }

    async fn erase(&self, _: &Permit) -> Result<()> {
        *self.kept.lock().expect("unpoisoned") = None;
        Ok(())
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

impl Memory {
    fn text(&self) -> Vec<u8> {
        self.kept.lock().expect("unpoisoned").as_ref().expect("a copy").text.clone()
    }

    /// Puts another text in the copy's place, as someone who can write to the bucket does.
    fn put(&self, text: Vec<u8>) {
        let version = self.stores.fetch_add(1, Relaxed).to_string();
        *self.kept.lock().expect("unpoisoned") = Some(mirror::Copy { text, version });
    }
}

fn bucket() -> Arc<Memory> {
    Arc::new(Memory { exists: true.into(), ..Memory::default() })
}

fn with_copy(folder: &Path, place: &Arc<Memory>) -> Journal {
    journal(folder).mirrored(place.clone(), true)
}

async fn append(journal: &Journal, entry: Entry) -> Result<()> {
    journal.append(&Permit::mint(), entry).await
}

#[tokio::test]
async fn another_machine_continues_from_the_copy() {
    let (here, there, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), bucket());
    let first = with_copy(here.path(), &place);
    append(&first, intent("ci")).await.expect("appends");
    let second = with_copy(there.path(), &place);
    assert!(second.pull().await.expect("fetched") && second.open_intent(OPERATION, "ci").is_some());
    assert!(!there.path().join(".groundwork").exists(), "looking writes nothing");
    append(&second, committed("ci")).await.expect("appends");
    let again = with_copy(here.path(), &place);
    assert!(again.pull().await.expect("fetched") && again.committed(OPERATION, "ci"));
    append(&again, Entry::RunFinished).await.expect("appends");
    assert_eq!(journal(here.path()).entries().len(), 3, "the missing line is in the file");
}

#[tokio::test]
async fn copy_includes_entries_from_before_it_existed() {
    let (folder, place) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let journal = with_copy(folder.path(), &place);
    append(&journal, Entry::RunStarted).await.expect("the file is enough for now");
    assert!(place.fetch().await.unwrap().is_none());
    place.exists.store(true, Relaxed);
    append(&journal, intent("ci")).await.expect("appends");
    assert_eq!(place.fetch().await.unwrap().unwrap().text, std::fs::read(journal.place.path()).unwrap());
}

#[tokio::test]
async fn intent_requires_its_copy_but_outcome_does_not() {
    let (folder, place) = (tempfile::tempdir().unwrap(), bucket());
    let journal = with_copy(folder.path(), &place);
    place.lossy.store(1, Relaxed);
    assert!(append(&journal, intent("ci")).await.is_err(), "nobody may act on it");
    place.lossy.store(1, Relaxed);
    append(&journal, committed("ci")).await.expect("it has happened, and is on the disk");
    append(&journal, Entry::RunFinished).await.expect("one's own lost write is recognised");
    assert_eq!(place.fetch().await.unwrap().unwrap().text, std::fs::read(journal.place.path()).unwrap());
}

#[tokio::test]
async fn diverged_journals_are_refused() {
    let (here, there, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), bucket());
    let (first, second) = (with_copy(here.path(), &place), with_copy(there.path(), &place));
    append(&first, Entry::RunStarted).await.expect("appends");
    let refused = append(&second, Entry::RunStarted).await.expect_err("it has not seen the other's");
    assert_eq!(refused.kind, ErrorKind::Conflict);
    assert_eq!(second.pull().await.expect_err("both have lines of their own").kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn concurrent_appends_share_a_request() {
    let (folder, place) = (tempfile::tempdir().unwrap(), bucket());
    let journal = with_copy(folder.path(), &place);
    let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let all = names.iter().map(|name| append(&journal, intent(name)));
    futures::future::join_all(all).await.into_iter().for_each(|done| done.expect("appends"));
    assert_eq!(place.fetch().await.unwrap().unwrap().text, std::fs::read(journal.place.path()).unwrap());
    assert!(place.stores.load(Relaxed) < 20, "{place:?}");
    assert_eq!(journal.open_intents().len(), 20);
}

#[tokio::test]
async fn copy_with_lines_of_a_stranger_is_refused() {
    let (folder, place) = (tempfile::tempdir().unwrap(), bucket());
    append(&with_copy(folder.path(), &place), Entry::RunStarted).await.expect("appends");
    let text = place.text();
    let record = |seq| Record {
        seq,
        time: Timestamp::now(),
        who: Who::here("sha256:0", &Environment::default()),
        entry: committed("ci"),
    };
    let mut unsigned = Chain::parse(&text).expect("whole");
    let unsigned = unsigned.extend_unsigned(record(2));
    let theirs = SigningKey::generate().expect("a key");
    let mut signed = Chain::parse(&text).expect("whole");
    let signed = signed.extend(record(2), "demo", &theirs);
    for (lines, doubt) in [(unsigned, Doubt::Continued), (signed, Doubt::Stranger(theirs.signer()))] {
        place.put([text.clone(), lines].concat());
        let journal = with_copy(folder.path(), &place);
        journal.pull().await.expect("it can be looked at");
        assert_eq!(journal.belief(), Belief::Doubted(doubt));
        assert!(!journal.committed(OPERATION, "ci"), "what it says does not count");
        let refused =
            append(&journal, Entry::RunStarted).await.expect_err("a stranger has written to the copy");
        assert!(refused.message.contains("memory"), "it names the copy: {refused}");
        assert_eq!(std::fs::read(journal.place.path()).unwrap(), text, "the file stays as it was");
    }
}

#[tokio::test]
async fn copy_older_than_last_seen_is_refused() {
    let (folder, place) = (tempfile::tempdir().unwrap(), bucket());
    let first = with_copy(folder.path(), &place);
    append(&first, Entry::RunStarted).await.expect("appends");
    append(&first, Entry::RunFinished).await.expect("appends");
    let old = place.text();
    append(&first, committed("ci")).await.expect("appends");
    append(&first, Entry::RunFinished).await.expect("appends");
    // A new checkout on the same machine has the copy only.
    std::fs::remove_file(first.place.path()).expect("removed");
    place.put(old);
    let journal = with_copy(folder.path(), &place);
    journal.pull().await.expect("it can be looked at");
    assert_eq!(journal.belief(), Belief::Doubted(Doubt::RolledBack { seen: 4 }));
    append(&journal, Entry::RunStarted).await.expect_err("the copy lacks lines");
}
