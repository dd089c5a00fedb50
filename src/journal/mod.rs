//! The durable record of intents and outcomes, one file per plan.
//!
//! It is what makes a run that was cut off recoverable: an intent is on disk before a request is
//! sent whose answer comes only once, and what was made is known as ours. It never holds a secret.
//! Where the plan says so, a copy elsewhere follows line by line; see [`mirror`].

mod belief;
#[cfg(test)]
mod belief_tests;
mod chain;
pub(crate) mod disk;
mod entry;
pub mod mirror;
mod thing;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

pub use belief::{Belief, Doubt};
pub use chain::{Chain, Damaged, GENESIS};
pub use entry::{Ending, Entry, Record, Who, open_intent};
pub use thing::{CREATE, DELETE, FORGET, Thing, Things, target};

use self::mirror::{Mirror, Place, diverged};
use crate::confined_path;
use crate::destination::Destinations;
use crate::resource::{Error, ErrorKind, Permit, Result};
use crate::signing::{Authority, Head, Signer};
use crate::workspace::{LocalFile, Workspace};

/// One plan's journal. Appends are durable when they return; safe to share between steps.
///
/// Only a journal that a key of the plan has signed is believed ([`Belief`]). Of any other, nothing
/// is known to whoever asks for intents and things, and nothing is appended to it.
#[derive(Debug)]
pub struct Journal {
    place: LocalFile,
    who: Who,
    authority: Arc<Authority>,
    state: Mutex<State>,
    mirror: Option<Mirror>,
}

#[derive(Debug)]
struct State {
    chain: Chain,
    belief: Belief,
    /// Open from the first append on.
    file: Option<File>,
    /// The copy's text, when it has lines that the file has not; they are written to the file
    /// before the first append.
    ahead: Option<Vec<u8>>,
}

impl Journal {
    /// Opens the journal at this place and checks all of it. Makes no file and no folder: only the
    /// first append does.
    ///
    /// # Errors
    /// `Local` when the file cannot be read or was damaged.
    pub fn open(place: LocalFile, who: Who, authority: Arc<Authority>) -> Result<Self> {
        let (_, chain) = load(&place)?;
        let state = Mutex::new(State::of(chain, &authority));
        Ok(Self { place, who, authority, state, mirror: None })
    }

    /// The same journal, with a copy at `place` from now on.
    #[must_use]
    pub fn mirrored(mut self, place: Arc<dyn Place>) -> Self {
        self.mirror = Some(Mirror::new(place));
        self
    }

    /// Looks at the copy, and goes on from there when another machine has written to it. Writes
    /// nothing. Gives whether there was something new.
    ///
    /// # Errors
    /// `Conflict` when both have lines that the other has not; when the copy cannot be read.
    pub async fn pull(&self) -> Result<bool> {
        let Some(mirror) = &self.mirror else { return Ok(false) };
        let (copy, chain) = mirror.fetch().await?;
        let (here, _) = load(&self.place)?;
        if here.starts_with(&copy) {
            return Ok(false);
        }
        if !copy.starts_with(&here) {
            return Err(diverged(&mirror.describe()));
        }
        let mut state = self.state();
        let is_news = chain.hash != state.chain.hash;
        *state = State { ahead: Some(copy), ..State::of(chain, &self.authority) };
        Ok(is_news)
    }

    /// Where the copy is.
    pub fn mirror(&self) -> Option<String> {
        self.mirror.as_ref().map(Mirror::describe)
    }

    /// The journal of `plan` in the plan's folder: `.groundwork/journal/<plan>.jsonl`.
    ///
    /// # Errors
    /// As [`Journal::open`]; when the folder is not the caller's own.
    pub fn of_plan(folder: &Path, plan: &str, who: Who, authority: Arc<Authority>) -> Result<Self> {
        Self::open(Workspace::of(folder)?.file(&format!("journal/{plan}.jsonl")), who, authority)
    }

    /// Who may sign for the plan.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Whether it is to be believed.
    pub fn belief(&self) -> Belief {
        self.state().belief.clone()
    }

    /// Who has signed it last, by its own word.
    pub fn signer(&self) -> Option<Signer> {
        self.state().chain.signer()
    }

    /// Whether it has no line.
    pub fn is_empty(&self) -> bool {
        self.state().chain.records.is_empty()
    }

    /// Refuses to act on a journal that is not believed.
    ///
    /// # Errors
    /// `Denied`, with what to do.
    pub fn require_believed(&self) -> Result<()> {
        self.require_belief(&self.state())
    }

    fn require_belief(&self, state: &State) -> Result<()> {
        match &state.belief {
            Belief::Doubted(doubt) => {
                let place = match (&state.ahead, &self.mirror) {
                    (Some(_), Some(mirror)) => mirror.describe(),
                    _ => self.place.path().display().to_string(),
                };
                Err(doubt.refusal(&place, state.chain.records.len(), &self.authority))
            }
            Belief::Empty | Belief::Lost(_) | Belief::Ours => Ok(()),
        }
    }

    /// Whether this machine can go on with it.
    pub fn can_append(&self) -> bool {
        self.require_believed().is_ok() && self.authority.key().is_some()
    }

    /// Vouches for all lines that there are, whoever has written them: a person has looked at them.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn adopt(&self, permit: &Permit) -> Result<()> {
        let lines = {
            let mut state = self.state();
            state.belief = Belief::Ours;
            state.chain.records.len() as u64
        };
        self.authority.note(|seen| seen.journal = None)?;
        self.append(permit, Entry::Adopted { lines }).await
    }

    /// Records one entry; it is on the disk when this returns, and in the copy if there can be one.
    ///
    /// What has happened already is not undone by a copy that cannot be written: the entry is on
    /// the disk, and the next one that cannot do without the copy carries it along.
    ///
    /// # Errors
    /// When the entry is not on the disk, or must be in the copy and is not; the
    /// caller must then not do what it wanted to record.
    pub async fn append(&self, permit: &Permit, entry: Entry) -> Result<()> {
        let (needed, is_milestone) = (entry.needs_copy(), entry.is_milestone());
        self.append_here(entry)?;
        if is_milestone {
            self.note_head()?;
        }
        let Some(mirror) = &self.mirror else { return Ok(()) };
        match mirror.update(permit, || Ok(load(&self.place)?.0)).await {
            Err(error) if needed => Err(error),
            _ => Ok(()),
        }
    }

    /// A shorter journal, or another, is refused from now on.
    fn note_head(&self) -> Result<()> {
        let head = {
            let chain = &self.state().chain;
            Head { seq: chain.records.len() as u64, hash: hex::encode(chain.hash) }
        };
        self.authority.note(|seen| seen.journal = Some(head))
    }

    /// Records one entry in the file alone.
    fn append_here(&self, entry: Entry) -> Result<()> {
        let mut state = self.state();
        let appended = self.append_to(&mut state, entry);
        if appended.is_err() {
            // Whatever reached the disk is read again, and a torn line cut, by the next append.
            state.file = None;
        }
        appended
    }

    /// All records so far, believed or not: for people to look at.
    pub fn entries(&self) -> Vec<Record> {
        self.state().chain.records.clone()
    }

    /// All records that count: none of a journal that is not believed.
    pub fn believed(&self) -> Vec<Record> {
        self.state().records().to_vec()
    }

    /// The latest intent for `operation` on `target` that was neither committed nor settled.
    pub fn open_intent(&self, operation: &str, target: &str) -> Option<Record> {
        open_intent(self.state().records(), operation, target).cloned()
    }

    /// All intents for `operation` on `target` since the last that was fulfilled, without those that
    /// were refused. A request may take effect although another one was sent after it.
    pub fn unsettled_intents(&self, operation: &str, target: &str) -> Vec<Record> {
        entry::unsettled(self.state().records(), operation, target)
    }

    /// Every intent that was neither committed nor settled, in the order of their recording.
    pub fn open_intents(&self) -> Vec<Record> {
        let records = self.believed();
        let is_open = |record: &&Record| match record.entry.subject() {
            Some((operation, target)) => open_intent(&records, operation, target) == Some(record),
            None => false,
        };
        records.iter().filter(is_open).cloned().collect()
    }

    /// Whether a committed entry for `operation` on `target` is the latest word on it.
    pub fn committed(&self, operation: &str, target: &str) -> bool {
        self.is_latest(operation, target, |entry| matches!(entry, Entry::Committed { .. }))
    }

    /// Whether the latest word on `operation` on `target` is that its outcome is unknown.
    pub fn is_unknown(&self, operation: &str, target: &str) -> bool {
        self.is_latest(operation, target, |entry| {
            matches!(entry, Entry::Outcome { result: Ending::Unknown, .. })
        })
    }

    fn is_latest(&self, operation: &str, target: &str, is: impl Fn(&Entry) -> bool) -> bool {
        let state = self.state();
        let mut records = state.records().iter().rev();
        let latest = records.find(|record| record.entry.subject() == Some((operation, target)));
        latest.is_some_and(|record| is(&record.entry))
    }

    /// Whether there is any entry for `operation` on `target`.
    pub fn knows(&self, operation: &str, target: &str) -> bool {
        let state = self.state();
        state.records().iter().any(|record| record.entry.subject() == Some((operation, target)))
    }

    /// Where the last apply went, and when that was recorded.
    pub fn destinations(&self) -> Option<(Timestamp, Destinations)> {
        let state = self.state();
        state.records().iter().rev().find_map(|record| match &record.entry {
            Entry::Destinations { destinations } => Some((record.time, destinations.clone())),
            _ => None,
        })
    }

    /// What the plan has made or taken over, and not removed.
    pub fn things(&self) -> Things {
        Things::of(self.state().records())
    }

    fn append_to(&self, state: &mut State, entry: Entry) -> Result<()> {
        self.require_belief(state)?;
        let key = self.authority.require_key()?;
        if state.file.is_none() {
            self.open_file(state, matches!(entry, Entry::Adopted { .. }))?;
        }
        let seq = state.chain.records.len() as u64 + 1;
        let record = Record { seq, time: Timestamp::now(), who: self.who.clone(), entry };
        let line = state.chain.extend(record, self.authority.plan(), &key);
        state.belief = Belief::Ours;
        let written = state.file.as_mut().map_or(Ok(()), |file| disk::write(file, &line));
        written.map_err(|source| self.failed("write", &source))
    }

    /// Opens the file for the first append. Another run may have written since the journal was opened
    /// for reading, so it is judged again, unless a person has vouched for what was read.
    fn open_file(&self, state: &mut State, vouched: bool) -> Result<()> {
        let (here, chain) = load(&self.place)?;
        let copy = state.ahead.take();
        // What the copy has beyond the file was judged when it was fetched.
        let is_judged = copy.is_some() || (vouched && chain.hash == state.chain.hash);
        let mut now = State::of(chain, &self.authority);
        if !is_judged {
            self.require_belief(&now)?;
        }
        let opened = self.place.open_at_end(now.chain.length);
        let mut file = opened.map_err(|source| self.failed("open", &source))?;
        if let Some(copy) = copy {
            now.chain = self.catch_up(&mut file, &here, &copy)?;
        }
        *state = State { file: Some(file), ..now };
        Ok(())
    }

    /// Writes the lines that only the copy has.
    fn catch_up(&self, file: &mut File, here: &[u8], copy: &[u8]) -> Result<Chain> {
        let place = self.mirror().unwrap_or_default();
        let missing = copy.strip_prefix(here).ok_or_else(|| diverged(&place))?;
        disk::write(file, missing).map_err(|source| self.failed("write", &source))?;
        Ok(load(&self.place)?.1)
    }

    fn failed(&self, verb: &str, source: &io::Error) -> Error {
        local(verb, &self.place.path(), source)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every statement, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(chain: Chain, authority: &Authority) -> Self {
        let belief = Belief::of(&chain, authority);
        Self { chain, belief, file: None, ahead: None }
    }

    /// What is believed.
    fn records(&self) -> &[Record] {
        match self.belief {
            Belief::Doubted(_) => &[],
            Belief::Empty | Belief::Lost(_) | Belief::Ours => &self.chain.records,
        }
    }
}

/// The file's whole lines, checked.
fn load(place: &LocalFile) -> Result<(Vec<u8>, Chain)> {
    let read = place.read(confined_path::JOURNAL);
    let mut text = read.map_err(|source| local("read", &place.path(), &source))?.unwrap_or_default();
    let chain = Chain::parse(&text).map_err(|damage| {
        Error::new(ErrorKind::Local, "journal", format!("{place} was damaged or changed by hand: {damage}"))
            .advice("restore the file from a copy; nothing is applied on the word of a damaged journal")
    })?;
    text.truncate(usize::try_from(chain.length).unwrap_or(usize::MAX));
    Ok((text, chain))
}

/// Options for a file that only its owner may read.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Makes `folder` and those above it, for the owner alone, durably.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(parent.unwrap_or(Path::new(".")))
}

/// Makes the names in `folder` durable: a new file is not there after a power cut without it.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(crate) fn local(verb: &str, path: &Path, source: &io::Error) -> Error {
    Error::new(ErrorKind::Local, "journal", format!("cannot {verb} {}: {source}", path.display()))
        .advice("check the folder's permissions and the free disk space, then run again")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

    use super::*;
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
        Journal::of_plan(folder, "demo", Who::here("sha256:0"), authority).expect("opens")
    }

    fn text_of_three(folder: &Path) -> Vec<u8> {
        let journal = journal(folder);
        for entry in [Entry::RunStarted, intent("ci"), committed("ci")] {
            journal.append_here(entry).expect("appends");
        }
        std::fs::read(journal.place.path()).expect("reads")
    }

    #[test]
    fn reading_leaves_no_trace_and_appending_is_private() {
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
    fn what_was_appended_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = journal(folder.path());
        first.append_here(intent("ci")).expect("appends");
        let address = serde_json::json!({ "name": "ci", "nested": { "path": "/" } });
        let thing = Thing {
            step: "user".into(),
            target: target("aws.iam_user", "ci"),
            address,
            account: Some("123456789012".into()),
            cluster: None,
            needs: vec![],
            protect: false,
            retain: true,
            attaches: Some(vec!["groups.admins".into()]),
            secrets: None,
        };
        first.append_here(Entry::Owned(thing.clone())).expect("appends");
        let second = journal(folder.path());
        assert_eq!(second.entries(), first.entries());
        assert!(second.things().has(&thing) && second.things().get("aws.iam_user other").is_none());
        assert_eq!(second.entries()[1].seq, 2);
    }

    #[test]
    fn an_intent_is_open_until_it_is_settled() {
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
        append(outcome(Ending::Unknown));
        assert!(open() && !journal.committed(OPERATION, "ci") && journal.is_unknown(OPERATION, "ci"));
        append(committed("ci"));
        assert!(!open() && journal.committed(OPERATION, "ci"));
        append(intent("ci"));
        append(outcome(Ending::Failed));
        assert!(!open());
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_and_the_journal_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let whole = text_of_three(folder.path());
        let second_line = whole.iter().position(|byte| *byte == b'\n').expect("lines") + 1;
        for length in 0..whole.len() {
            let path = folder.path().join("torn.jsonl");
            std::fs::write(&path, &whole[..length]).expect("writes");
            let open = || {
                Journal::open(
                    LocalFile::of_caller(&path),
                    Who::here("sha256:0"),
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
    fn a_bit_flipped_anywhere_is_refused() {
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

        fn describe(&self) -> String {
            "memory".to_owned()
        }
    }

    fn bucket() -> Arc<Memory> {
        Arc::new(Memory { exists: true.into(), ..Memory::default() })
    }

    fn with_copy(folder: &Path, place: &Arc<Memory>) -> Journal {
        journal(folder).mirrored(place.clone())
    }

    async fn append(journal: &Journal, entry: Entry) -> Result<()> {
        journal.append(&Permit::mint(), entry).await
    }

    #[tokio::test]
    async fn another_machine_goes_on_from_the_copy() {
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
    async fn what_was_written_before_the_copy_could_be_made_is_carried_along() {
        let (folder, place) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
        let journal = with_copy(folder.path(), &place);
        append(&journal, Entry::RunStarted).await.expect("the file is enough for now");
        assert!(place.fetch().await.unwrap().is_none());
        place.exists.store(true, Relaxed);
        append(&journal, intent("ci")).await.expect("appends");
        assert_eq!(place.fetch().await.unwrap().unwrap().text, std::fs::read(journal.place.path()).unwrap());
    }

    #[tokio::test]
    async fn an_intent_needs_its_copy_and_a_result_does_not() {
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
    async fn separate_ways_are_refused() {
        let (here, there, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), bucket());
        let (first, second) = (with_copy(here.path(), &place), with_copy(there.path(), &place));
        append(&first, Entry::RunStarted).await.expect("appends");
        let refused = append(&second, Entry::RunStarted).await.expect_err("it has not seen the other's");
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert_eq!(second.pull().await.expect_err("both have lines of their own").kind, ErrorKind::Conflict);
    }

    #[tokio::test]
    async fn steps_that_append_at_once_share_a_request() {
        let (folder, place) = (tempfile::tempdir().unwrap(), bucket());
        let journal = with_copy(folder.path(), &place);
        let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let all = names.iter().map(|name| append(&journal, intent(name)));
        futures::future::join_all(all).await.into_iter().for_each(|done| done.expect("appends"));
        assert_eq!(place.fetch().await.unwrap().unwrap().text, std::fs::read(journal.place.path()).unwrap());
        assert!(place.stores.load(Relaxed) < 20, "{place:?}");
        assert_eq!(journal.open_intents().len(), 20);
    }
}
