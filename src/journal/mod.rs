//! The durable record of intents and outcomes, one file per plan.
//!
//! It is what makes a run that was cut off recoverable: an intent is on disk before a request is
//! sent whose answer comes only once, and what was made is known as ours. It never holds a secret.

mod chain;
pub(crate) mod disk;
mod entry;
pub mod lock;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

pub use chain::{Chain, Damaged, GENESIS};
pub use entry::{Ending, Entry, Record, Who, open_intent};

use crate::resource::{Error, ErrorKind, Permit, Result};

/// One plan's journal. Appends are durable when they return; safe to share between steps.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    who: Who,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chain: Chain,
    /// Open from the first append on.
    file: Option<File>,
}

impl Journal {
    /// Opens the journal at `path` and checks all of it. Makes no file and no folder: only the
    /// first append does.
    ///
    /// # Errors
    /// `Local` when the file cannot be read or was damaged.
    pub fn open(path: impl Into<PathBuf>, who: Who) -> Result<Self> {
        let path = path.into();
        let chain = load(&path)?;
        Ok(Self { path, who, state: Mutex::new(State { chain, file: None }) })
    }

    /// The journal of `plan` in the plan's folder: `.groundwork/journal/<plan>.jsonl`.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn of_plan(folder: &Path, plan: &str, who: Who) -> Result<Self> {
        Self::open(folder.join(".groundwork/journal").join(format!("{plan}.jsonl")), who)
    }

    /// Records one entry; it is on the disk when this returns.
    ///
    /// # Errors
    /// `Local`; the caller must then not do what it wanted to record.
    pub fn append(&self, _permit: &Permit, entry: Entry) -> Result<()> {
        let mut state = self.state();
        let appended = self.append_to(&mut state, entry);
        if appended.is_err() {
            // Whatever reached the disk is read again, and a torn line cut, by the next append.
            state.file = None;
        }
        appended
    }

    /// All records so far.
    pub fn entries(&self) -> Vec<Record> {
        self.state().chain.records.clone()
    }

    /// The latest intent for `operation` on `target` that was neither committed nor settled.
    pub fn open_intent(&self, operation: &str, target: &str) -> Option<Record> {
        open_intent(&self.state().chain.records, operation, target).cloned()
    }

    /// Whether a committed entry for `operation` on `target` is the latest word on it.
    pub fn committed(&self, operation: &str, target: &str) -> bool {
        let state = self.state();
        let mut records = state.chain.records.iter().rev();
        records
            .find(|record| record.entry.subject() == Some((operation, target)))
            .is_some_and(|record| matches!(record.entry, Entry::Committed { .. }))
    }

    /// Whether there is any entry for `operation` on `target`.
    pub fn knows(&self, operation: &str, target: &str) -> bool {
        let state = self.state();
        state.chain.records.iter().any(|record| record.entry.subject() == Some((operation, target)))
    }

    /// Whether a run of this plan made the thing of `kind` with identity `id`.
    pub fn created(&self, kind: &str, id: &str) -> bool {
        let ours = |entry: &Entry| matches!(entry, Entry::Created { kind: k, id: i } if k == kind && i == id);
        self.state().chain.records.iter().any(|record| ours(&record.entry))
    }

    fn append_to(&self, state: &mut State, entry: Entry) -> Result<()> {
        if state.file.is_none() {
            // Another run may have written since the journal was opened for reading.
            state.chain = load(&self.path)?;
            let file = open_for_append(&self.path, state.chain.length);
            state.file = Some(file.map_err(|source| local("open", &self.path, &source))?);
        }
        let seq = state.chain.records.len() as u64 + 1;
        let record = Record { seq, time: Timestamp::now(), who: self.who.clone(), entry };
        let line = state.chain.extend(record);
        let written = state.file.as_mut().map_or(Ok(()), |file| disk::write(file, &line));
        written.map_err(|source| local("write", &self.path, &source))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every statement, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(path: &Path) -> Result<Chain> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Chain::default()),
        read => read.map_err(|source| local("read", path, &source))?,
    };
    Chain::parse(&text).map_err(|damage| {
        Error::new(
            ErrorKind::Local,
            "journal",
            format!("{} was damaged or changed by hand: {damage}", path.display()),
        )
        .advice("restore the file from a copy; nothing is applied on the word of a damaged journal")
    })
}

/// Opens the file at its end, makes it when there is none, and cuts what lies beyond `length`.
fn open_for_append(path: &Path, length: u64) -> io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let mut file = private_file().write(true).create(true).truncate(false).open(path)?;
    file.set_len(length)?;
    file.seek(SeekFrom::End(0))?;
    file.sync_all()?;
    sync_folder(folder)?;
    Ok(file)
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

fn local(verb: &str, path: &Path, source: &io::Error) -> Error {
    Error::new(ErrorKind::Local, "journal", format!("cannot {verb} {}: {source}", path.display()))
        .advice("check the folder's permissions and the free disk space, then run again")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::lock::LocalLock;
    use super::*;

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

    fn journal(folder: &Path) -> Journal {
        Journal::of_plan(folder, "demo", Who::here("sha256:0")).expect("opens")
    }

    fn text_of_three(folder: &Path) -> Vec<u8> {
        let journal = journal(folder);
        for entry in [Entry::RunStarted, intent("ci"), committed("ci")] {
            journal.append(&Permit::mint(), entry).expect("appends");
        }
        std::fs::read(&journal.path).expect("reads")
    }

    #[test]
    fn reading_leaves_no_trace_and_appending_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = journal(folder.path());
        assert!(journal.entries().is_empty() && !folder.path().join(".groundwork").exists());
        journal.append(&Permit::mint(), Entry::RunStarted).expect("appends");
        let mode = |path: &Path| path.metadata().expect("exists").permissions().mode() & 0o777;
        assert_eq!(mode(&journal.path), 0o600);
        assert_eq!(mode(&folder.path().join(".groundwork/journal")), 0o700);
        assert_eq!(mode(&folder.path().join(".groundwork")), 0o700);
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = journal(folder.path());
        first.append(&Permit::mint(), intent("ci")).expect("appends");
        first
            .append(&Permit::mint(), Entry::Created { kind: "aws.iam_user".into(), id: "ci".into() })
            .expect("appends");
        let second = journal(folder.path());
        assert_eq!(second.entries(), first.entries());
        assert!(second.created("aws.iam_user", "ci") && !second.created("aws.iam_user", "other"));
        assert_eq!(second.entries()[1].seq, 2);
    }

    #[test]
    fn an_intent_is_open_until_it_is_settled() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = journal(folder.path());
        let open = || journal.open_intent(OPERATION, "ci").is_some();
        let append = |entry| journal.append(&Permit::mint(), entry).expect("appends");
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
        assert!(open() && !journal.committed(OPERATION, "ci"));
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
            let journal = Journal::open(&path, Who::here("sha256:0")).expect("a torn tail is no damage");
            let lines = whole[..length].split(|byte| *byte == b'\n').count() - 1;
            assert_eq!(journal.entries().len(), lines, "{length} of {second_line}");
            journal.append(&Permit::mint(), Entry::RunFinished).expect("appends");
            let again = Journal::open(&path, Who::here("sha256:0")).expect("valid");
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

    #[test]
    fn a_second_run_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let who = Who::here("sha256:0");
        let held = LocalLock::acquire(folder.path(), "demo", &who).expect("free");
        let refused = LocalLock::acquire(folder.path(), "demo", &Who::here("sha256:0")).expect_err("taken");
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert!(refused.message.contains(&who.who) && refused.message.contains(&who.pid.to_string()));
        LocalLock::acquire(folder.path(), "other", &who).expect("another plan is free");
        drop(held);
        LocalLock::acquire(folder.path(), "demo", &who).expect("free again");
    }
}
