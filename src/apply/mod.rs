//! Applies an approved changeset. Only this stage may write.

pub mod destinations;
mod lock;
mod queue;
mod record;
mod remove;
mod retry;
mod step;

pub use lock::{ApprovedUnlock, force_unlock, lock, unlock};
pub use remove::{ApprovedRemoval, remove};

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use self::queue::Queue;
use crate::changeset::{Action, Changeset, RemovalScope};
use crate::diff;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Events, Summary, millis};
use crate::journal::{Entry, Thing};
use crate::observe::{Observation, ObservedPlan};
use crate::permit::Permit;
use crate::plan::settings::RecipientSettings;
use crate::providers::{self, Providers};
use crate::resolve::{OutputTable, declare};
use crate::resource::erased::Instance;
use crate::secret::Loader;

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
    /// The counts that the last event reports.
    pub summary: Summary,
}

impl Report {
    /// Whether a failed request may have taken effect.
    pub fn has_unknown(&self) -> bool {
        self.failed.iter().any(|(_, error)| error.kind == ErrorKind::Unknown)
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
    providers: &Providers,
    options: &Options,
    events: &Events,
) -> Result<Report, Error> {
    let started = Instant::now();
    let permit = Permit::mint();
    let journal = providers.journal()?;
    prove_sources(world, approved.0, &permit, events)?;
    let mut writes = approved.0.summary.writing() > 0;
    if writes {
        journal.append(&permit, Entry::RunStarted).await?;
    }
    let mut run = Run::new(world, approved.0, options);
    run.all(providers, &permit, events).await;
    let Run { mut report, actions, outputs, .. } = run;
    remove::remove_all(world, approved.0, providers, &permit, options, events, &mut report).await;
    record::refresh(world, &actions, &report, providers, &permit).await?;
    record::let_go(world, providers, &permit).await?;
    if approved.0.needs_approval() {
        destinations::record(world, providers, &permit).await?;
    }
    report.stopped = *options.stop.borrow();
    let has_things = !report.done.is_empty() || journal.things().iter().next().is_some();
    if has_things && shares_key(world, providers)? {
        if !std::mem::replace(&mut writes, true) {
            journal.append(&permit, Entry::RunStarted).await?;
        }
        share_key(world, &outputs, providers, &permit, events).await;
    }
    if writes && let Err(error) = journal.append(&permit, Entry::RunFinished).await {
        // All steps are done and recorded here; a later run copies the journal.
        events.warn(format!("the end of this run is not in every copy of the journal: {error}"));
    }
    report.summary = Summary {
        done: report.done.len(),
        unchanged: approved.0.summary.none,
        failed: report.failed.len(),
        skipped: report.skipped.len(),
        ms: millis(started.elapsed()),
        api_calls: providers.calls.total(),
    };
    events.emit(Event::Summary(report.summary.clone()));
    Ok(report)
}

/// Checks that the secret inputs fit the templates of the steps that will be written, before any write.
/// `plan` does not report a misfit, because that would reveal something about the values.
fn prove_sources(
    world: &ObservedPlan,
    changeset: &Changeset,
    permit: &Permit,
    events: &Events,
) -> Result<(), Error> {
    let written: HashSet<&str> =
        changeset.steps.iter().filter(|step| step.action.writes()).map(|step| step.id.as_str()).collect();
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
fn shares_key(world: &ObservedPlan, providers: &Providers) -> Result<bool, Error> {
    let keeps = providers.custody_settings.is_some() && world.extent != RemovalScope::Everything;
    Ok(keeps && providers.journal()?.authority().is_unshared())
}

/// Puts the plan's signing key into custody, so that other machines can go on with the plan. If the
/// things that custody needs do not exist yet, a later run does it.
async fn share_key(
    world: &ObservedPlan,
    outputs: &OutputTable,
    providers: &Providers,
    permit: &Permit,
    events: &Events,
) {
    let Some(settings) = world.resolved.custody(outputs).ok().flatten() else { return };
    let shared = async {
        let custody = providers.custody().await?;
        custody.set_recipients(settings.recipients);
        custody.share_key(permit).await
    };
    if let Err(error) = Box::pin(shared).await {
        events.warn(format!("the plan's signing key is not in custody: {error}; a later run puts it there"));
    }
}

/// The scheduler's state.
struct Run<'w> {
    world: &'w mut ObservedPlan,
    actions: HashMap<usize, Action>,
    outputs: OutputTable,
    loader: Loader,
    queue: Queue,
    /// Steps whose dependents must not start.
    broken: HashSet<usize>,
    options: &'w Options,
    /// Why the run may not write anything further.
    halted: Option<String>,
    report: Report,
}

/// A step's instance, returned by its task, and the result.
struct Finished {
    index: usize,
    instance: Box<dyn Instance>,
    result: Result<(), Error>,
    ms: u64,
    /// This run no longer holds the lock: it must not write anything further.
    unlocked: bool,
}

/// A step with its final fields, and the conditions its task has to meet before it writes.
struct Ready {
    instance: Box<dyn Instance>,
    thing: Thing,
    /// Whether the thing is in the Vault cluster, whose id may become known only now.
    in_cluster: bool,
    /// Who can open custody; a recipient may be a key that this run has created.
    recipients: Option<Vec<RecipientSettings>>,
}

impl<'w> Run<'w> {
    fn new(world: &'w mut ObservedPlan, changeset: &Changeset, options: &'w Options) -> Self {
        let by_id: HashMap<&str, Action> =
            changeset.steps.iter().map(|step| (step.id.as_str(), step.action)).collect();
        let steps = world.resolved.steps.iter().enumerate();
        // Removals come after everything else, and not in graph order.
        let actions: HashMap<usize, Action> = steps
            .filter_map(|(index, step)| Some((index, *by_id.get(step.id.as_str())?)))
            .filter(|(_, action)| *action != Action::Delete)
            .collect();
        Self {
            outputs: world.outputs(),
            loader: declare::loader(&world.resolved),
            queue: Queue::new(&world.graph, &actions, |index| {
                providers::service(world.resolved.steps[index].kind.name())
            }),
            broken: HashSet::new(),
            actions,
            options,
            halted: None,
            report: Report::default(),
            world,
        }
    }

    async fn all(&mut self, providers: &Providers, permit: &Permit, events: &Events) {
        let mut running = FuturesUnordered::new();
        let mut busy: HashMap<&'static str, usize> = HashMap::new();
        loop {
            self.settle_without_writing(events);
            while running.len() < self.options.parallelism && !self.is_ending() {
                let has_room =
                    |service| busy.get(service).copied().unwrap_or_default() < providers::limit(service);
                let Some(index) = self.queue.next_ready(has_room) else { break };
                // Do not await anything here: running tasks must be polled all the time.
                match self.prepare(index) {
                    Ok(ready) => {
                        *busy.entry(providers::service(self.kind(index))).or_default() += 1;
                        running.push(self.task(index, ready, providers, permit, events));
                    }
                    Err(error) => self.fail(index, error, 0, events),
                }
                self.settle_without_writing(events);
            }
            let Some(finished) = running.next().await else { break };
            if let Some(count) = busy.get_mut(providers::service(self.kind(finished.index))) {
                *count -= 1;
            }
            self.take_back(finished, events);
        }
        self.skip_rest(events);
    }

    fn is_ending(&self) -> bool {
        self.halted.is_some() || *self.options.stop.borrow()
    }

    fn kind(&self, index: usize) -> &'static str {
        self.world.resolved.steps[index].kind.name()
    }

    fn id(&self, index: usize) -> String {
        self.world.resolved.steps[index].id.clone()
    }

    /// Marks steps with nothing to do as done once their needs are done. Skips steps that cannot be
    /// done, and their dependents.
    fn settle_without_writing(&mut self, events: &Events) {
        while let Some(index) = self.queue.next_idle() {
            match self.actions[&index] {
                // A failed need does not affect a step that is already as declared.
                Action::None => self.queue.settle(index),
                action => self.skip(index, action, events),
            }
        }
    }

    fn place(&self, index: usize) -> Option<String> {
        let document = &self.world.resolved.document;
        let span = document.steps[self.world.resolved.steps[index].declared].id.span;
        let (path, line, column) = document.sources.locate(span)?;
        Some(format!("{}:{line}:{column}", path.display()))
    }

    fn break_off(&mut self, index: usize) {
        self.broken.insert(index);
        self.queue.break_off(index);
    }

    fn skip(&mut self, index: usize, action: Action, events: &Events) {
        let broken = self.world.graph.needs[index].iter().find(|need| self.broken.contains(need));
        let reason = match (broken, action) {
            (Some(need), _) => format!("depends on {}, which was not applied", self.id(*need)),
            (None, action) => format!("it is {}", action.name()),
        };
        self.skip_because(index, reason, events);
    }

    fn skip_because(&mut self, index: usize, reason: String, events: &Events) {
        self.break_off(index);
        let id = self.id(index);
        events.emit(Event::StepSkipped { id: id.clone(), reason: reason.clone() });
        self.report.skipped.push((id, reason));
    }

    fn skip_rest(&mut self, events: &Events) {
        let why = self.halted.take().unwrap_or_else(|| "the run was stopped".to_owned());
        for index in self.queue.take_rest() {
            let (id, reason) = (self.id(index), why.clone());
            events.emit(Event::StepSkipped { id: id.clone(), reason: reason.clone() });
            self.report.skipped.push((id, reason));
        }
    }

    /// Gives the step its final fields and takes its instance out for a task.
    fn prepare(&mut self, index: usize) -> Result<Ready, Error> {
        let id = self.id(index);
        let wrong = |mistakes: Vec<crate::plan::Diagnostic>| {
            let text: Vec<String> = mistakes.into_iter().map(|mistake| mistake.message).collect();
            Error::new(ErrorKind::Rejected, format!("step {id}"), text.join("; "))
        };
        diff::redeclare(self.world, index, &self.outputs, &self.loader).map_err(&wrong)?;
        let kind = self.world.resolved.steps[index].kind;
        let custody = match kind.once_only() {
            true => self.world.resolved.custody(&self.outputs).map_err(&wrong)?,
            false => None,
        };
        Ok(Ready {
            thing: record::thing(self.world, index),
            in_cluster: kind.in_cluster(),
            recipients: custody.map(|settings| settings.recipients),
            instance: self.world.instances.take(index),
        })
    }

    fn task<'a>(
        &self,
        index: usize,
        ready: Ready,
        providers: &'a Providers,
        permit: &'a Permit,
        events: &Events,
    ) -> impl Future<Output = Finished> + use<'a> {
        let Ready { mut instance, thing, in_cluster, recipients } = ready;
        let mut task = step::Task {
            id: self.id(index),
            kind: self.world.resolved.steps[index].kind,
            thing,
            action: self.actions[&index],
            look_first: matches!(self.world.observations[index], Observation::BehindBootstrap(_)),
            providers,
            permit,
            events: events.clone(),
            stop: self.options.stop.clone(),
        };
        async move {
            let started = Instant::now();
            let confirmed = providers.confirm_lock(permit).await;
            let unlocked = confirmed.is_err();
            let result = match confirmed {
                Ok(()) => run_task(&mut task, instance.as_mut(), in_cluster, recipients).await,
                Err(error) => Err(error),
            };
            Finished { index, instance, result, ms: millis(started.elapsed()), unlocked }
        }
    }

    fn take_back(&mut self, finished: Finished, events: &Events) {
        let Finished { index, instance, result, ms, unlocked } = finished;
        self.world.instances.put(index, instance);
        match result {
            Err(_) if unlocked && self.halted.is_some() => {
                let reason = self.halted.clone().unwrap_or_default();
                self.skip_because(index, reason, events);
            }
            Err(error) if unlocked => {
                self.halted = Some(error.message.clone());
                self.fail(index, error, ms, events);
            }
            Ok(()) => {
                diff::add_outputs(self.world, index, &mut self.outputs);
                self.queue.settle(index);
                let (id, action) = (self.id(index), self.actions[&index].name());
                events.emit(Event::StepFinished { id: id.clone(), action, ms });
                self.report.done.push(id);
            }
            Err(error) => self.fail(index, error, ms, events),
        }
    }

    fn fail(&mut self, index: usize, error: Error, ms: u64, events: &Events) {
        let (id, action) = (self.id(index), self.actions[&index].name());
        self.break_off(index);
        events.emit(Event::StepFailed {
            id: id.clone(),
            action,
            ms,
            place: self.place(index),
            error: error.report(),
            advice: error.advice.clone(),
        });
        self.report.failed.push((id, error));
    }
}

/// Applies a step once it may be written.
async fn run_task(
    task: &mut step::Task<'_>,
    instance: &mut dyn Instance,
    in_cluster: bool,
    recipients: Option<Vec<RecipientSettings>>,
) -> Result<(), Error> {
    let providers = task.providers;
    if let Some(recipients) = recipients {
        // Boxed: connecting nests the SDK's futures too deeply for the compiler.
        Box::pin(providers.custody()).await?.set_recipients(recipients);
    }
    if in_cluster {
        task.thing.cluster = providers.cluster().await;
    }
    providers.under_way.begin(&task.id, task.action.name());
    let result = task.run(instance).await;
    providers.under_way.end(&task.id);
    result
}
