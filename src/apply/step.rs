//! One step: record the intent, write, observe again.

use std::ops::ControlFlow;

use jiff::Timestamp;

use super::convergence::{Convergence, Differs};
use super::retry::{Waits, passing};
use super::{Means, record, retry, rotation};
use crate::changeset::Action;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::journal::{CREATE, Entry, OperationOutcome, Thing};
use crate::resource::erased::{Instance, Kind, View};
use crate::resource::{Blocked, Diff};

/// Everything needed to write one step, besides the step's own state.
pub struct Task<'a> {
    pub id: String,
    pub kind: &'static dyn Kind,
    /// The journal's record of the thing.
    pub thing: Thing,
    pub action: Action,
    /// The plan may not have seen the thing, which may exist.
    pub look_first: bool,
    /// Something that it depends on is replaced by this run.
    pub look_again: bool,
    /// The thing is rotated.
    pub rotates: bool,
    /// The plan adopts the thing if it exists.
    pub adopts: bool,
    /// Every server has the thing from its beginning.
    pub is_built_in: bool,
    pub means: Means<'a>,
}

impl Task<'_> {
    /// Writes the step until the live thing agrees with the plan.
    pub async fn run(&self, instance: &mut dyn Instance) -> Result<()> {
        let unread = instance.is_unread();
        instance.recognise(true);
        if self.look_first && self.is_there(instance).await? {
            return Ok(());
        }
        if unread || self.look_again {
            self.observe(instance).await?;
        }
        self.require_unblocked(instance)?;
        let begun = self.begun();
        self.announce().await?;
        if self.rotates {
            self.means.note(rotation::intent(&self.id, &self.thing.target, instance)).await?;
        }
        let result = self.bring_about(instance, begun).await;
        self.settle(instance, &result).await?;
        result
    }

    /// A thing that is adopted without changes does not need a request, nor does one whose values, which
    /// the plan did not compare, turn out to be the same.
    async fn bring_about(&self, instance: &mut dyn Instance, begun: Option<Timestamp>) -> Result<()> {
        match self.diff(instance).is_some_and(|diff| diff.is_empty()) {
            true => Ok(()),
            false => self.converge(instance, begun).await,
        }
    }

    fn diff(&self, instance: &dyn Instance) -> Option<Diff> {
        instance.diff(View::Approved(self.means.permit))
    }

    /// Values that the plan did not compare may forbid what was approved.
    fn require_unblocked(&self, instance: &dyn Instance) -> Result<()> {
        match self.diff(instance).as_ref().and_then(|diff| diff.blocked.first()) {
            Some(blocked) => Err(self.conflict(blocked)),
            None => Ok(()),
        }
    }

    fn conflict(&self, blocked: &Blocked) -> Error {
        let message = format!("it already exists and differs in {}: {}", blocked.path, blocked.why);
        Error::new(ErrorKind::Conflict, format!("step {}", self.id), message)
    }

    /// Whether the thing exists already as declared: a newly started server has it from its
    /// configuration or a restored snapshot.
    async fn is_there(&self, instance: &mut dyn Instance) -> Result<bool> {
        self.observe(instance).await?;
        let Some(diff) = self.diff(instance) else { return Ok(false) };
        match diff.blocked.first() {
            Some(blocked) => Err(self.conflict(blocked)),
            None if diff.is_empty() => Ok(true),
            None if self.is_ours() => Ok(false),
            None => Err(self.taken(&diff)),
        }
    }

    /// Whether the thing may be changed if it exists although it was to be created: the plan says so, the
    /// journal records it as this plan's, or every server of the kind has it.
    fn is_ours(&self) -> bool {
        let things = self.means.run.journal.things();
        self.adopts || self.is_built_in || things.knows(&self.thing)
    }

    fn taken(&self, diff: &Diff) -> Error {
        let paths: Vec<&str> = diff.changes.iter().map(|change| change.path.as_str()).collect();
        let message = format!("it exists already and differs in {}; nothing was written", paths.join(", "));
        Error::new(ErrorKind::Conflict, format!("step {}", self.id), message)
            .advice("plan again; to take it over, add `adopt: true` to the step")
    }

    /// Whether this step makes the thing part of this plan.
    fn is_new(&self) -> bool {
        matches!(self.action, Action::Create | Action::Adopt)
    }

    /// When an earlier run announced this creation, if how that ended is not known: what it made may be
    /// visible only later.
    fn begun(&self) -> Option<Timestamp> {
        if self.action != Action::Create {
            return None;
        }
        let announced = self.means.run.journal.open_intent(CREATE, &self.thing.target);
        announced.map(|record| record.time)
    }

    /// Records in the journal that the thing is ours, for a later run, in case this run is
    /// interrupted before it sets the tags. A once-only step records its own intent.
    async fn announce(&self) -> Result<()> {
        if !self.is_new() || self.kind.once_only() {
            return Ok(());
        }
        self.means.note(Entry::Making(self.thing.clone())).await
    }

    /// The thing as it is recorded once it is ours.
    async fn owned(&self, instance: &dyn Instance) -> Thing {
        let mut thing = self.thing.clone();
        record::complete_realm(&mut thing, self.means.run, self.kind, instance.place()).await;
        thing
    }

    async fn settle(&self, instance: &mut dyn Instance, result: &Result<()>) -> Result<()> {
        let entry = match result {
            _ if !self.is_new() => return Ok(()),
            Ok(()) => Entry::Owned(self.owned(instance).await),
            Err(_) if self.kind.once_only() => return Ok(()),
            // Not after a conflict: then another process created the existing thing.
            Err(error) if is_refusal(error) && self.has_begun(instance).await => {
                outcome(CREATE, &self.thing.target, OperationOutcome::Unknown, error)
            }
            Err(error) => ended(CREATE, &self.thing.target, error),
        };
        self.means.note(entry).await
    }

    /// Whether a failed creation left something behind, or may have: a creation can take several
    /// requests, and a later one can be refused. This plan must finish what remains.
    async fn has_begun(&self, instance: &mut dyn Instance) -> bool {
        self.action == Action::Create
            && match instance.observe(self.means.run).await {
                Ok(()) => instance.exists(),
                Err(_) => true,
            }
    }

    /// Writes and observes; on errors that may pass, it observes and writes again, except for kinds
    /// whose creation must not be repeated.
    async fn converge(&self, instance: &mut dyn Instance, begun: Option<Timestamp>) -> Result<()> {
        let Means { run, permit, events, .. } = self.means;
        let before = self.diff(instance);
        let mut delays = retry::write_delays();
        loop {
            let error = match instance.write(run, permit, &self.id, begun).await {
                Ok(()) => {
                    instance.renewed();
                    return self.require_in_sync(instance, before).await;
                }
                Err(error) => error,
            };
            if self.kind.once_only() || !error.may_repeat_write() {
                return Err(error);
            }
            let Some(delay) = delays.next() else { return Err(error) };
            events.emit(Event::StepRetried { id: self.id.clone(), error: error.report() });
            if !self.waits().wait(delay).await {
                return Err(error);
            }
            self.means.confirm_lock().await?;
            self.observe(instance).await?;
            if self.diff(instance).is_some_and(|diff| diff.is_empty()) {
                return Ok(());
            }
        }
    }

    async fn observe(&self, instance: &mut dyn Instance) -> Result<()> {
        self.waits().read(async || self.read(instance).await).await
    }

    /// What the system keeps in another form than declared is as declared if it says so itself.
    async fn read(&self, instance: &mut dyn Instance) -> Result<()> {
        instance.observe(self.means.run).await?;
        match instance.exists() {
            true => instance.rehearse(self.means.run).await,
            false => Ok(()),
        }
    }

    /// The live thing must equal what was written; a change may take a moment to become visible.
    async fn require_in_sync(&self, instance: &mut dyn Instance, before: Option<Diff>) -> Result<()> {
        let mut reads = Convergence::new(&self.id, before);
        let attempt = async || match self.read(instance).await {
            Ok(()) => self.judge(instance, &mut reads),
            Err(error) => passing(Err(error)),
        };
        self.waits().read_until(attempt).await
    }

    /// Whether the live thing equals what was written.
    fn judge(&self, instance: &dyn Instance, reads: &mut Convergence<'_>) -> ControlFlow<Result<()>, Error> {
        let Some(diff) = self.diff(instance) else {
            let message = "it was written but cannot be found";
            return ControlFlow::Continue(Error::new(
                ErrorKind::Rejected,
                format!("step {}", self.id),
                message,
            ));
        };
        match diff.only_awaits() {
            _ if diff.is_empty() => {}
            None => {
                return match reads.judge(diff) {
                    Differs::Yet(error) => ControlFlow::Continue(error),
                    Differs::Forever(error) => ControlFlow::Break(Err(error)),
                };
            }
            Some(waits) => {
                self.means.events.warn(format!("{}: {}: {}", self.id, waits.path, waits.why));
            }
        }
        ControlFlow::Break(Ok(()))
    }

    /// A once-only step always runs to its end.
    fn waits(&self) -> Waits {
        if self.kind.once_only() { Waits::to_the_end() } else { Waits::until(&self.means.options.stop) }
    }
}

/// The journal entry for a failed request: a refusal had no effect, every other failure may have
/// had one.
pub fn ended(operation: &str, target: &str, error: &Error) -> Entry {
    let definite = is_refusal(error) || error.kind == ErrorKind::Conflict;
    outcome(
        operation,
        target,
        if definite { OperationOutcome::Failed } else { OperationOutcome::Unknown },
        error,
    )
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Rejected | ErrorKind::Denied)
}

fn outcome(operation: &str, target: &str, result: OperationOutcome, error: &Error) -> Entry {
    let (operation, target) = (operation.to_owned(), target.to_owned());
    Entry::Outcome { operation, target, result, message: error.report() }
}
