//! Removes things, dependents first. Each thing is observed again before it is removed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use super::step::{ended, stopped};
use super::{Options, Report, retry};
use crate::changeset::{Action, Changeset, StepChange};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Events, millis};
use crate::journal::{DELETE, Entry};
use crate::observe::ObservedPlan;
use crate::permit::Permit;
use crate::plan::ownership::PLAN_TAG;
use crate::providers::{self, Providers};
use crate::removal;
use crate::resource::{Attachment, Recorded};

/// A person has agreed to remove the thing of this step.
#[derive(Debug)]
pub struct ApprovedRemoval<'a>(&'a str);

impl<'a> ApprovedRemoval<'a> {
    /// Records the approval. Call it only where a person has seen what will be removed and agreed.
    pub fn by_caller(step: &'a str) -> Self {
        Self(step)
    }
}

/// Removes the thing of the approved step; a protected thing is refused.
///
/// # Errors
/// `Rejected` for a protected or unknown step; otherwise the error of the live system.
pub async fn remove(
    world: &ObservedPlan,
    approved: ApprovedRemoval<'_>,
    providers: &Providers,
) -> Result<()> {
    let id = approved.0;
    let operation = || format!("remove {id}");
    let Some(index) = world.resolved.steps.iter().position(|step| step.id == id) else {
        return Err(Error::new(ErrorKind::Rejected, operation(), "the plan does not have this step"));
    };
    let step = &world.resolved.steps[index];
    let declared = &world.resolved.document.steps[step.declared];
    if declared.protect.unwrap_or_else(|| step.kind.protected()) {
        return Err(Error::new(ErrorKind::Rejected, operation(), "it is protected")
            .advice("set `protect: false` in the step to allow its removal"));
    }
    let mut recorded = world.instances[index].recorded();
    recorded.observe(providers).await?;
    if let Some(part) = recorded.part_of() {
        return Err(Error::new(ErrorKind::Rejected, operation(), part.why));
    }
    if let Some(blocking) = blocking(&recorded.attachments(providers).await?) {
        return Err(refused(id, blocking));
    }
    recorded.delete(providers, &Permit::mint(), id).await
}

/// Carries out the removals of a changeset after everything else. Things that a failed step may
/// still need remain.
pub(super) async fn remove_all(
    world: &ObservedPlan,
    changeset: &Changeset,
    providers: &Providers,
    permit: &Permit,
    options: &Options,
    events: &Events,
    report: &mut Report,
) {
    let steps: Vec<&StepChange> =
        changeset.steps.iter().filter(|step| step.action == Action::Delete).collect();
    let mut removing = Removing::new(world, steps, report);
    removing.all(providers, permit, options, events).await;
}

/// The scheduler's state.
struct Removing<'a> {
    world: &'a ObservedPlan,
    steps: Vec<&'a StepChange>,
    waiting: BTreeSet<usize>,
    done: HashSet<&'a str>,
    /// The attachments known when the removals were approved.
    attached: HashMap<String, HashSet<String>>,
    report: &'a mut Report,
}

impl<'a> Removing<'a> {
    fn new(world: &'a ObservedPlan, steps: Vec<&'a StepChange>, report: &'a mut Report) -> Self {
        let attached = if steps.is_empty() { HashMap::new() } else { removal::expected(world) };
        Self { world, waiting: (0..steps.len()).collect(), steps, done: HashSet::new(), attached, report }
    }

    async fn all(&mut self, providers: &Providers, permit: &Permit, options: &Options, events: &Events) {
        let mut running = FuturesUnordered::new();
        let mut busy: HashMap<&'static str, usize> = HashMap::new();
        let mut halted: Option<String> = None;
        loop {
            self.skip_needed(events);
            while running.len() < options.parallelism && !*options.stop.borrow() && halted.is_none() {
                let Some(index) = self.next(&busy) else { break };
                self.waiting.remove(&index);
                match self.task(index, providers, permit, options, events) {
                    Some(task) => {
                        *busy.entry(providers::service(self.steps[index].kind)).or_default() += 1;
                        // Confirms here, so that running removals are polled in the meantime.
                        running.push(async move {
                            match providers.confirm_lock(permit).await {
                                Ok(()) => (index, task.run_timed().await, false),
                                Err(error) => (index, (Err(error), 0), true),
                            }
                        });
                    }
                    None => self.fail(index, vanished(&self.steps[index].id), 0, events),
                }
            }
            let Some((index, (result, ms), unlocked)) = running.next().await else { break };
            if let Some(count) = busy.get_mut(providers::service(self.steps[index].kind)) {
                *count -= 1;
            }
            match result {
                Ok(()) => self.finish(index, ms, events),
                Err(_) if unlocked && halted.is_some() => {
                    self.waiting.insert(index);
                }
                Err(error) => {
                    if unlocked {
                        halted = Some(error.message.clone());
                    }
                    self.fail(index, error, ms, events);
                }
            }
        }
        let why = halted.unwrap_or_else(|| "the run was stopped".to_owned());
        for index in std::mem::take(&mut self.waiting) {
            self.skip(index, why.clone(), events);
        }
    }

    /// The first removal whose dependents are removed and whose service has room. Its other needs
    /// were written before, or have caused it to be skipped.
    fn next(&self, busy: &HashMap<&'static str, usize>) -> Option<usize> {
        self.waiting.iter().copied().find(|index| {
            let step = self.steps[*index];
            let service = providers::service(step.kind);
            step.needs.iter().all(|need| self.done.contains(need.as_str()) || !self.is_removal(need))
                && busy.get(service).copied().unwrap_or_default() < providers::limit(service)
        })
    }

    /// Skips the removal of things that a failed step, or a thing that was not removed, still
    /// needs.
    fn skip_needed(&mut self, events: &Events) {
        loop {
            let undone: HashSet<&str> = self
                .report
                .failed
                .iter()
                .map(|(id, _)| id.as_str())
                .chain(self.report.skipped.iter().map(|(id, _)| id.as_str()))
                .collect();
            let found = self.waiting.iter().find_map(|index| {
                let step = self.steps[*index];
                let other = step.needs.iter().find(|need| undone.contains(need.as_str())).cloned();
                Some((*index, other.or_else(|| self.needed_by_undone(step, &undone))?))
            });
            let Some((index, other)) = found else { return };
            self.waiting.remove(&index);
            let is_successor = self.steps[index].needs.contains(&other) && !self.is_removal(&other);
            let why = if is_successor { "replaces it" } else { "may need it" };
            self.skip(index, format!("{other}, which was not applied, {why}"), events);
        }
    }

    fn is_removal(&self, id: &str) -> bool {
        self.steps.iter().any(|step| step.id == id)
    }

    fn needed_by_undone(&self, step: &StepChange, undone: &HashSet<&str>) -> Option<String> {
        let target = crate::journal::target(step.kind, &step.name);
        let mut things = self.world.things.iter();
        things
            .find(|thing| undone.contains(thing.step.as_str()) && thing.needs.contains(&target))
            .map(|thing| thing.step.clone())
    }

    fn task<'t>(
        &self,
        index: usize,
        providers: &'t Providers,
        permit: &'t Permit,
        options: &Options,
        events: &Events,
    ) -> Option<Task<'t>> {
        let step = self.steps[index];
        Some(Task {
            id: step.id.clone(),
            target: crate::journal::target(step.kind, &step.name),
            plan: self.world.resolved.document.name.clone(),
            untagged: self.world.things.is_announced(&crate::journal::target(step.kind, &step.name)),
            recorded: removal::recorded(self.world, &step.id)?,
            attached: self.attached.get(&step.id).cloned().unwrap_or_default(),
            providers,
            permit,
            events: events.clone(),
            stop: options.stop.clone(),
        })
    }

    fn finish(&mut self, index: usize, ms: u64, events: &Events) {
        let id = &self.steps[index].id;
        self.done.insert(id);
        events.emit(Event::StepFinished { id: id.clone(), action: Action::Delete.name(), ms });
        self.report.done.push(id.clone());
    }

    fn fail(&mut self, index: usize, error: Error, ms: u64, events: &Events) {
        let id = self.steps[index].id.clone();
        events.emit(Event::StepFailed {
            id: id.clone(),
            action: Action::Delete.name(),
            ms,
            // The step may no longer be in the plan; the failure is named by its id.
            place: None,
            error: error.report(),
            advice: error.advice.clone(),
        });
        self.report.failed.push((id, error));
    }

    fn skip(&mut self, index: usize, reason: String, events: &Events) {
        let id = self.steps[index].id.clone();
        events.emit(Event::StepSkipped { id: id.clone(), reason: reason.clone() });
        self.report.skipped.push((id, reason));
    }
}

/// Why the server would refuse to remove a thing with these attachments.
fn blocking(found: &[Attachment]) -> Option<&str> {
    found.iter().find_map(|attachment| attachment.blocks.as_deref())
}

/// The first attachment that did not exist when the removal was approved.
fn unexpected<'a>(found: &'a [Attachment], approved: &HashSet<String>) -> Option<&'a Attachment> {
    found.iter().find(|attachment| !approved.contains(&attachment.path()))
}

fn refused(id: &str, clause: &str) -> Error {
    let message = format!("cannot be deleted while {clause}; nothing was removed");
    Error::new(ErrorKind::Rejected, format!("remove {id}"), message)
        .advice("remove that first, then run again")
}

fn vanished(id: &str) -> Error {
    Error::new(ErrorKind::Local, format!("remove {id}"), "its location is no longer known")
}

/// The removal of one thing.
struct Task<'a> {
    id: String,
    target: String,
    plan: String,
    /// It may lack its tags, because the run that created it was interrupted.
    untagged: bool,
    recorded: Box<dyn Recorded>,
    /// The attachments known when the removal was approved.
    attached: HashSet<String>,
    providers: &'a Providers,
    permit: &'a Permit,
    events: Events,
    stop: watch::Receiver<bool>,
}

impl Task<'_> {
    async fn run_timed(mut self) -> (Result<()>, u64) {
        let started = Instant::now();
        self.events.emit(Event::StepStarted { id: self.id.clone(), action: Action::Delete.name() });
        self.providers.under_way.begin(&self.id, Action::Delete.name());
        let result = self.run().await;
        self.providers.under_way.end(&self.id);
        (result, millis(started.elapsed()))
    }

    /// Observes again, records the intent, removes, and confirms that the thing no longer exists.
    async fn run(&mut self) -> Result<()> {
        self.look().await?;
        if !self.recorded.exists() {
            return self.note(self.gone()).await;
        }
        self.require_ours()?;
        if let Some(part) = self.recorded.part_of() {
            // The thing that contains it was removed before.
            self.require_gone().await.map_err(|error| error.advice(part.why))?;
            return self.note(self.gone()).await;
        }
        self.require_unattached().await?;
        if !self.recorded.exists() {
            return self.note(self.gone()).await;
        }
        let intent = Entry::Intent {
            step: self.id.clone(),
            operation: DELETE.to_owned(),
            target: self.target.clone(),
            detail: Vec::new(),
        };
        self.note(intent).await?;
        let result = self.converge().await;
        let entry = match &result {
            Ok(()) => self.gone(),
            Err(error) => ended(DELETE, &self.target, error),
        };
        self.note(entry).await?;
        result
    }

    fn gone(&self) -> Entry {
        Entry::Committed { operation: DELETE.to_owned(), target: self.target.clone(), detail: Vec::new() }
    }

    async fn note(&self, entry: Entry) -> Result<()> {
        self.providers.journal()?.append(self.permit, entry).await
    }

    /// Another process may have created a thing of the same name since the approval.
    fn require_ours(&self) -> Result<()> {
        let Some(tags) = self.recorded.tags() else { return Ok(()) };
        match tags.get(PLAN_TAG) {
            Some(owner) if *owner == self.plan => Ok(()),
            None if self.untagged => Ok(()),
            _ => {
                let message = "it no longer carries this plan's tag; nothing was removed";
                Err(Error::new(ErrorKind::Conflict, format!("remove {}", self.id), message))
            }
        }
    }

    /// Refuses the removal when an attachment blocks it or did not exist when it was approved. A
    /// recently removed attachment may remain visible for a while.
    async fn require_unattached(&mut self) -> Result<()> {
        let mut delays = retry::read_delays();
        loop {
            let problem = match self.recorded.attachments(self.providers).await {
                Ok(found) => match blocking(&found) {
                    None => return self.require_expected(&found),
                    Some(clause) => refused(&self.id, clause),
                },
                Err(error) if error.is_retriable() => error,
                Err(error) => return Err(error),
            };
            match delays.next() {
                Some(delay) if self.wait(delay).await => self.look().await?,
                _ => return Err(problem),
            }
        }
    }

    fn require_expected(&self, found: &[Attachment]) -> Result<()> {
        let Some(new) = unexpected(found, &self.attached) else { return Ok(()) };
        let message = format!("`{}` in {} did not exist when the removal was approved", new.name, new.field);
        Err(Error::new(ErrorKind::Conflict, format!("remove {}", self.id), message + "; nothing was removed")
            .advice("run again and review what the removal also deletes"))
    }

    /// A removal can be repeated: a thing that no longer exists counts as success.
    async fn converge(&mut self) -> Result<()> {
        let mut delays = retry::write_delays();
        loop {
            let error = match self.recorded.delete(self.providers, self.permit, &self.id).await {
                Ok(()) => return self.require_gone().await,
                Err(error) => error,
            };
            let may_pass = error.is_retriable() || error.kind == ErrorKind::Unknown;
            let delay = delays.next().filter(|_| may_pass);
            let Some(delay) = delay else { return Err(error) };
            self.events.emit(Event::StepRetried { id: self.id.clone(), error: error.report() });
            if !self.wait(delay).await {
                return Err(error);
            }
            self.providers.confirm_lock(self.permit).await?;
        }
    }

    /// A removal may take a moment to become visible.
    async fn require_gone(&mut self) -> Result<()> {
        let mut delays = retry::read_delays();
        loop {
            self.look().await?;
            if !self.recorded.exists() {
                return Ok(());
            }
            match delays.next() {
                Some(delay) if self.wait(delay).await => {}
                _ => {
                    let message = "it still exists after being deleted";
                    return Err(Error::new(ErrorKind::Rejected, format!("remove {}", self.id), message)
                        .advice("another process may be recreating it; check with `groundwork plan`"));
                }
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        let mut delays = retry::read_delays();
        loop {
            match self.recorded.observe(self.providers).await {
                Err(error) if error.is_retriable() => match delays.next() {
                    Some(delay) if self.wait(delay).await => {}
                    _ => return Err(error),
                },
                seen => return seen,
            }
        }
    }

    async fn wait(&self, delay: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = stopped(self.stop.clone()) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachment_added_after_approval_is_unexpected() {
        let found = [Attachment::ends("policies", "a"), Attachment::ends("policies", "b")];
        let approved = |names: &[&str]| names.iter().map(|name| format!("policies.{name}")).collect();
        assert_eq!(unexpected(&found, &approved(&["a", "b", "gone"])), None);
        assert_eq!(unexpected(&found, &approved(&["a"])).map(|one| one.name.as_str()), Some("b"));
    }

    #[test]
    fn blocking_attachment_gives_its_clause() {
        let found = [Attachment::ends("policies", "a"), Attachment::blocks("keys", "k", "it has a key")];
        assert_eq!((blocking(&found), blocking(&found[..1])), (Some("it has a key"), None));
    }
}
