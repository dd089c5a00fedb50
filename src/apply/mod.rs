//! Applies an approved changeset. Only this stage may write.

mod bring_about;
mod convergence;
mod deletion;
pub mod destinations;
mod lock;
mod queue;
mod record;
mod remove;
mod retry;
pub mod rotation;
mod schedule;
#[cfg(test)]
mod schedule_tests;
mod step;
mod teardown;

pub use lock::{ApprovedUnlock, force_unlock, lock};

use std::collections::HashSet;
use std::time::Instant;

use tokio::sync::watch;

use self::bring_about::BroughtAbout;
use crate::changeset::{Action, Changeset, RemovalScope};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Events, Summary, millis};
use crate::journal::Entry;
use crate::observe::ObservedPlan;
use crate::permit::Permit;
use crate::resolve::OutputTable;
use crate::run::Run;

/// How to apply a changeset.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many steps are written at the same time.
    pub parallelism: usize,
    /// Turns true when no further step may start and waiting steps must stop waiting.
    pub stop: watch::Receiver<bool>,
}

/// A person, or `--yes`, has approved this changeset.
#[derive(Debug)]
pub struct Approved<'a>(&'a Changeset);

impl<'a> Approved<'a> {
    /// Records the approval. Call it only where a person has seen the changeset and agreed.
    pub fn by_caller(changeset: &'a Changeset) -> Self {
        Self(changeset)
    }

    /// The approved changeset.
    pub fn changeset(&self) -> &'a Changeset {
        self.0
    }
}

/// The permission to write for a command that is its own approval: a person asked for exactly this
/// one action, such as unsealing.
pub fn by_command() -> Permit {
    Permit::mint()
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Steps that were written and agree with the plan.
    pub done: Vec<String>,
    /// Steps that failed, with their errors.
    pub failed: Vec<(String, Error)>,
    /// Steps that never started, with the reasons.
    pub skipped: Vec<(String, String)>,
    /// Whether the run was stopped before its end.
    pub stopped: bool,
    /// Whether nothing of the plan is left, not even its journal.
    pub is_torn_down: bool,
    /// Whether the lock that other machines see could not be given back.
    pub is_still_locked: bool,
    /// The counts that the last event reports.
    pub summary: Summary,
}

impl Report {
    /// The ids of the steps that failed or never started.
    fn undone(&self) -> impl Iterator<Item = &str> {
        let failed = self.failed.iter().map(|(id, _)| id.as_str());
        failed.chain(self.skipped.iter().map(|(id, _)| id.as_str()))
    }

    /// Whether a failed request may have taken effect.
    pub fn has_unknown(&self) -> bool {
        self.failed.iter().any(|(_, error)| error.kind == ErrorKind::Unknown)
    }
}

/// What every task of a run works with.
#[derive(Clone, Copy)]
struct Means<'a> {
    run: &'a Run,
    permit: &'a Permit,
    options: &'a Options,
    events: &'a Events,
}

impl Means<'_> {
    async fn confirm_lock(&self) -> Result<(), Error> {
        self.run.confirm_lock(self.permit).await
    }

    async fn note(&self, entry: Entry) -> Result<(), Error> {
        self.run.journal.append(self.permit, entry).await
    }

    /// Carries out a step's writes; an interrupted step remains among those under way.
    async fn write(
        &self,
        id: &str,
        action: Action,
        writes: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        self.events.emit(Event::StepStarted { id: id.to_owned(), action: action.name() });
        self.run.under_way.begin(id, action.name());
        let result = writes.await;
        self.run.under_way.end(id);
        result
    }
}

/// Applies the approved changeset. Each step runs after the steps it needs; a failed step stops
/// only its dependents. Reports each step, and the summary at the end, as events.
///
/// # Errors
/// When the journal cannot be written, or a secret input does not fit where it is inserted; then
/// nothing else is written either.
pub async fn apply(
    world: &mut ObservedPlan,
    approved: Approved<'_>,
    run: &Run,
    options: &Options,
    events: &Events,
) -> Result<Report, Error> {
    let started = Instant::now();
    let permit = Permit::mint();
    let journal = &run.journal;
    prove_sources(world, approved.0, &permit, events)?;
    let mut writes = approved.0.summary.writing() > 0 || world.extent == RemovalScope::Teardown;
    if writes {
        journal.append(&permit, Entry::RunStarted).await?;
    }
    let means = Means { run, permit: &permit, options, events };
    let _reporting = run.reports.to(events);
    let mut report = Report::default();
    if world.extent == RemovalScope::Teardown {
        teardown::tear_down(world, approved.0, means, &mut report).await?;
        report.stopped = *options.stop.borrow();
        return Ok(summed_up(report, approved.0, started, run, events));
    }
    remove::remove_replaced(world, approved.0, means, &mut report).await;
    let BroughtAbout { actions, outputs } =
        bring_about::bring_about(world, approved.0, means, &mut report).await;
    remove::remove_all(world, approved.0, means, &mut report).await;
    report.stopped = *options.stop.borrow();
    record::refresh(world, &actions, &report, run, &permit).await?;
    record::let_go(world, run, &permit).await?;
    rotation::settle(world, &report, run, &permit).await?;
    if approved.0.needs_approval() {
        destinations::record(world, run, &permit).await?;
    }
    let has_things = !report.done.is_empty() || journal.things().iter().next().is_some();
    if has_things && shares_key(world, run) {
        if !std::mem::replace(&mut writes, true) {
            journal.append(&permit, Entry::RunStarted).await?;
        }
        share_key(world, &outputs, run, &permit, events).await;
    }
    if writes && let Err(error) = journal.append(&permit, Entry::RunFinished).await {
        // All steps are done and recorded here; a later run copies the journal.
        events.warn(format!("the end of this run is not in every copy of the journal: {error}"));
    }
    Ok(summed_up(report, approved.0, started, run, events))
}

/// Reports the end of a run, with its counts.
fn summed_up(
    mut report: Report,
    changeset: &Changeset,
    started: Instant,
    run: &Run,
    events: &Events,
) -> Report {
    report.summary = Summary {
        done: report.done.len(),
        unchanged: changeset.summary.none,
        failed: report.failed.len(),
        skipped: report.skipped.len(),
        ms: millis(started.elapsed()),
        api_calls: run.calls.total(),
    };
    events.emit(Event::Summary(report.summary.clone()));
    report
}

/// Checks that the secret inputs fit the templates of the steps that will be written, before any write.
/// `plan` does not report a misfit, because that would reveal something about the values.
fn prove_sources(
    world: &ObservedPlan,
    changeset: &Changeset,
    permit: &Permit,
    events: &Events,
) -> Result<(), Error> {
    // A removal writes no values, and its sources are not loaded.
    let written = changeset.steps.iter().filter(|step| step.action.writes() && step.action != Action::Delete);
    let written: HashSet<&str> = written.map(|step| step.id.as_str()).collect();
    for (index, step) in world.resolved.steps.iter().enumerate() {
        if written.contains(step.id.as_str()) {
            for remark in world.instances[index].prove(permit)? {
                events.warn(format!("step `{}`: {remark}", step.id));
            }
        }
    }
    Ok(())
}

/// Whether the plan has custody, and its signing key is not known to be in all of it.
fn shares_key(world: &ObservedPlan, run: &Run) -> bool {
    let keeps = run.custody_settings.is_some() && !world.extent.removes_all();
    keeps && run.journal.authority().is_unshared()
}

/// Puts the plan's signing key into custody, so that other machines can go on with the plan. If the
/// things that custody needs do not exist yet, a later run does it.
async fn share_key(world: &ObservedPlan, outputs: &OutputTable, run: &Run, permit: &Permit, events: &Events) {
    let Some(settings) = world.resolved.custody(outputs).ok().flatten() else { return };
    let shared = async {
        let custody = run.custody().await?;
        custody.set_recipients(settings.recipients);
        custody.share_key(permit).await
    };
    if let Err(error) = Box::pin(shared).await {
        events.warn(format!("the plan's signing key is not in custody: {error}; a later run puts it there"));
    }
}
