//! The durable record of intents and outcomes, one file per plan.
//!
//! It makes an interrupted run recoverable: an intent is on disk before a request with a once-only
//! response is sent, and the things that the run made are recorded as ours. It never holds a secret.
//! If the plan says so, the journal has a copy elsewhere that follows line by line; see [`mirror`].

mod belief;
#[cfg(test)]
mod belief_tests;
mod chain;
mod entry;
pub mod mirror;
#[cfg(test)]
mod tests;
mod thing;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

pub use belief::{Belief, Doubt};
pub use chain::{Chain, Damaged, GENESIS};
pub use entry::{Entry, OperationOutcome, Record, Who, open_intent};
pub use thing::{CREATE, DELETE, FORGET, Leaving, PHASED, Thing, Things, realm_detail, record_in, target};

use self::mirror::{Mirror, Place, diverged};
use crate::confined_path;
use crate::destination::Destinations;
use crate::durable;
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::signing::{Authority, Head, Signer};
use crate::workspace::{LocalFile, Workspace};

/// One plan's journal. Appends are durable when they return; safe to share between steps.
///
/// Only a journal that a key of the plan has signed is believed ([`Belief`]). Any other journal shows
/// its callers no intents and no things, and refuses appends.
#[derive(Debug)]
pub struct Journal {
    place: LocalFile,
    who: Who,
    authority: Arc<Authority>,
    state: Mutex<State>,
    mirror: Option<Mirror>,
    /// Whether the copy is removed, and no longer kept.
    detached: AtomicBool,
}

#[derive(Debug)]
struct State {
    chain: Chain,
    belief: Belief,
    /// Open from the first append on.
    file: Option<File>,
    /// The copy's text, when it has lines that the file does not have. The first append writes
    /// them to the file before its own line.
    ahead: Option<Vec<u8>>,
}

impl Journal {
    /// Opens the journal at this place and checks all of it. Does not create the file or its folder:
    /// only the first append does.
    ///
    /// # Errors
    /// `Local` when the file cannot be read or was damaged.
    pub fn open(place: LocalFile, who: Who, authority: Arc<Authority>) -> Result<Self> {
        let (_, chain) = load(&place)?;
        let state = Mutex::new(State::of(chain, &authority));
        Ok(Self { place, who, authority, state, mirror: None, detached: AtomicBool::new(false) })
    }

    /// A journal without a line, in place of one that cannot be read. It shows nothing, and appends to it are refused
    /// as long as the file stays as it is.
    pub fn unread(place: LocalFile, who: Who, authority: Arc<Authority>) -> Self {
        let state = Mutex::new(State::of(Chain::default(), &authority));
        Self { place, who, authority, state, mirror: None, detached: AtomicBool::new(false) }
    }

    /// The same journal, with a copy at `place` from now on. `is_made` says whether a step of the plan makes the
    /// bucket; otherwise it must exist.
    #[must_use]
    pub fn mirrored(mut self, place: Arc<dyn Place>, is_made: bool) -> Self {
        self.mirror = Some(Mirror::new(place, is_made));
        self
    }

    /// Reads the copy, and continues from it when another machine has written to it. Writes nothing.
    /// Returns whether there was something new.
    ///
    /// # Errors
    /// `Conflict` when each has lines that the other does not have; when the copy cannot be read.
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

    /// Goes on with a text from a backup, in the place of a file that is gone. The first append writes it. Whether it
    /// is believed is judged as of any other.
    ///
    /// # Errors
    /// `Local` when it was damaged; `Conflict` when there are lines here.
    pub fn go_on_with(&self, text: Vec<u8>) -> Result<()> {
        let chain = Chain::parse(&text).map_err(|damage| {
            Error::new(
                ErrorKind::Local,
                "journal",
                format!("the journal of the backup was damaged: {damage}"),
            )
        })?;
        if !load(&self.place)?.0.is_empty() {
            let message = "there is a journal, and another one does not take its place";
            return Err(Error::new(ErrorKind::Conflict, "journal", message));
        }
        *self.state() = State { ahead: Some(text), ..State::of(chain, &self.authority) };
        Ok(())
    }

    /// A description of the copy's place.
    pub fn mirror(&self) -> Option<String> {
        self.mirror.as_ref().map(Mirror::describe)
    }

    /// The journal of `plan` in the plan's folder: `.groundwork/journal/<plan>.jsonl`.
    ///
    /// # Errors
    /// As [`Journal::open`]; when the folder is not the caller's own.
    pub fn of_plan(folder: &Path, plan: &str, who: Who, authority: Arc<Authority>) -> Result<Self> {
        Self::open(file_of(folder, plan)?, who, authority)
    }

    /// As [`Journal::of_plan`], in place of one that is damaged.
    ///
    /// # Errors
    /// When the folder is not the caller's own.
    pub fn unread_of_plan(folder: &Path, plan: &str, who: Who, authority: Arc<Authority>) -> Result<Self> {
        Ok(Self::unread(file_of(folder, plan)?, who, authority))
    }

    /// The keys that may sign for the plan.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Whether the journal is believed.
    pub fn belief(&self) -> Belief {
        self.state().belief.clone()
    }

    /// The signer that its last line names; not verified.
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

    /// Who writes to it in this run, as `user@host`.
    pub fn writer(&self) -> &str {
        &self.who.who
    }

    /// Whether this machine can go on with it.
    pub fn can_append(&self) -> bool {
        self.require_believed().is_ok() && self.authority.key().is_some()
    }

    /// Vouches for all existing lines, regardless of their writer: a person has looked at them.
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

    /// Records one entry. It is on the disk when this returns, and in the copy if that can be written.
    ///
    /// A failed write to the copy is ignored for events that have already happened: the entry is on
    /// the disk, and the next entry that must be in the copy takes it along.
    ///
    /// # Errors
    /// When the entry is not on the disk, or must be in the copy and is not. The caller must then not
    /// carry out the operation that it wanted to record.
    pub async fn append(&self, permit: &Permit, entry: Entry) -> Result<()> {
        let (needed, is_milestone) = (entry.needs_copy(), entry.is_milestone());
        self.append_here(entry)?;
        if is_milestone {
            self.note_head()?;
        }
        let Some(mirror) = self.mirror.as_ref().filter(|_| !self.detached.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        match mirror.update(permit, || Ok(load(&self.place)?.0)).await {
            Err(error) if needed => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the copy for good. From now on the journal is only here.
    ///
    /// # Errors
    /// When the copy cannot be removed.
    pub async fn erase_copy(&self, permit: &Permit) -> Result<()> {
        self.detached.store(true, Ordering::Relaxed);
        match &self.mirror {
            Some(mirror) => mirror.erase(permit).await,
            None => Ok(()),
        }
    }

    /// Removes the journal of this machine, with the key that signs it.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn erase(&self) -> Result<()> {
        self.authority.forget_seen()?;
        self.place.remove().map_err(|source| self.failed("remove", &source))?;
        self.authority.forget_key()
    }

    /// Notes the last line, so that this machine from now on refuses a shorter or different journal.
    fn note_head(&self) -> Result<()> {
        let head = {
            let chain = &self.state().chain;
            Head { seq: chain.records.len() as u64, hash: hex::encode(chain.hash) }
        };
        self.authority.note(|seen| seen.journal = Some(head))
    }

    /// Records one entry in the file only.
    fn append_here(&self, entry: Entry) -> Result<()> {
        let mut state = self.state();
        let appended = self.append_to(&mut state, entry);
        if appended.is_err() {
            // The next append reads the file again and cuts off a torn line.
            state.file = None;
        }
        appended
    }

    /// All records so far, believed or not: for people to look at.
    pub fn entries(&self) -> Vec<Record> {
        self.state().chain.records.clone()
    }

    /// All records of a believed journal; none of any other.
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

    /// Whether the latest entry for `operation` on `target` is a committed one.
    pub fn committed(&self, operation: &str, target: &str) -> bool {
        self.is_latest(operation, target, |entry| matches!(entry, Entry::Committed { .. }))
    }

    /// Whether the latest entry for `operation` on `target` says that its outcome is unknown.
    pub fn is_unknown(&self, operation: &str, target: &str) -> bool {
        self.is_latest(operation, target, |entry| {
            matches!(entry, Entry::Outcome { result: OperationOutcome::Unknown, .. })
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

    /// The destinations of the last apply, and when they were recorded.
    pub fn destinations(&self) -> Option<(Timestamp, Destinations)> {
        let state = self.state();
        state.records().iter().rev().find_map(|record| match &record.entry {
            Entry::Destinations { destinations } => Some((record.time, destinations.clone())),
            _ => None,
        })
    }

    /// The things that the plan has made or taken over, and not removed.
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
        let written = state.file.as_mut().map_or(Ok(()), |file| durable::write(file, &line));
        written.map_err(|source| self.failed("write", &source))
    }

    /// Opens the file for the first append. Another run may have written since the journal was opened
    /// for reading, so it is judged again, unless a person has vouched for what was read.
    fn open_file(&self, state: &mut State, vouched: bool) -> Result<()> {
        let (here, chain) = load(&self.place)?;
        let copy = state.ahead.take();
        // `pull` has already judged the lines that only the copy has.
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
        durable::write(file, missing).map_err(|source| self.failed("write", &source))?;
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

    /// The believed records.
    fn records(&self) -> &[Record] {
        match self.belief {
            Belief::Doubted(_) => &[],
            Belief::Empty | Belief::Lost(_) | Belief::Ours => &self.chain.records,
        }
    }
}

fn file_of(folder: &Path, plan: &str) -> Result<LocalFile> {
    Ok(Workspace::of(folder)?.file(&format!("journal/{plan}.jsonl")))
}

/// The file's whole lines, checked.
fn load(place: &LocalFile) -> Result<(Vec<u8>, Chain)> {
    let read = place.read(confined_path::JOURNAL);
    let mut text = read.map_err(|source| local("read", &place.path(), &source))?.unwrap_or_default();
    let chain = Chain::parse(&text).map_err(|damage| {
        Error::new(ErrorKind::Local, "journal", format!("{place} was damaged or changed by hand: {damage}"))
            .advice("restore the file from a copy; Groundwork does not apply anything with a damaged journal")
    })?;
    text.truncate(usize::try_from(chain.length).unwrap_or(usize::MAX));
    Ok((text, chain))
}

pub(crate) fn local(verb: &str, path: &Path, source: &io::Error) -> Error {
    Error::new(ErrorKind::Local, "journal", format!("cannot {verb} {}: {source}", path.display()))
        .advice("check the folder's permissions and the free disk space, then run again")
}
