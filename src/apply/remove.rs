//! Removes things, dependents first.

use std::collections::{HashMap, HashSet};

use super::deletion::Deletion;
use super::queue::{Course, Item, Queue};
use super::schedule::{self, Work};
use super::{Means, Report};
use crate::changeset::{Action, Changeset, StepChange};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::target;
use crate::observe::ObservedPlan;
use crate::removal::{self, Target};
use crate::resource::Recorded;

/// Carries out the removals of a changeset after everything else. Things that a failed step may
/// still need remain.
pub async fn remove_all(world: &ObservedPlan, changeset: &Changeset, means: Means<'_>, report: &mut Report) {
    let steps: Vec<&StepChange> =
        changeset.steps.iter().filter(|step| step.action == Action::Delete).collect();
    remove(world, steps, means, report).await;
}

/// Removes what the changeset replaces, before anything is created in its place. What is gone is absent
/// from then on.
pub async fn remove_replaced(
    world: &mut ObservedPlan,
    changeset: &Changeset,
    means: Means<'_>,
    report: &mut Report,
) {
    let is_replaced =
        |step: &&StepChange| changeset.step(&step.id).is_some_and(|step| step.action == Action::Replace);
    let steps = removal::replaced(world);
    remove(world, steps.iter().filter(is_replaced).collect(), means, report).await;
    // Done is what is there again.
    for id in std::mem::take(&mut report.done) {
        if let Some(index) = world.resolved.steps.iter().position(|step| step.id == id) {
            world.instances[index].assume_absent();
        }
    }
}

/// Removes the things of these steps, dependents first.
pub async fn remove(world: &ObservedPlan, steps: Vec<&StepChange>, means: Means<'_>, report: &mut Report) {
    if steps.is_empty() {
        return;
    }
    let mut removals =
        Removals { world, undone: HashMap::new(), attached: removal::expected(world), steps, means };
    let queue = removals.queue(report);
    schedule::run(&mut removals, queue, means.options, means.events, report).await;
}

struct Removals<'a> {
    world: &'a ObservedPlan,
    steps: Vec<&'a StepChange>,
    /// What was not done before the removals began and keeps an item from being removed, with the
    /// reason.
    undone: HashMap<usize, String>,
    /// The attachments known when the removals were approved.
    attached: HashMap<String, HashSet<String>>,
    means: Means<'a>,
}

/// A thing and its removal.
struct Job<'a> {
    deletion: Deletion<'a>,
    recorded: Box<dyn Recorded>,
}

impl Removals<'_> {
    /// Its dependents come before each removal. Its other needs were written before, or keep it.
    fn queue(&mut self, report: &Report) -> Queue {
        let undone: HashSet<&str> = report.undone().collect();
        let positions: HashMap<&str, usize> =
            self.steps.iter().enumerate().map(|(item, step)| (step.id.as_str(), item)).collect();
        let needing = needing(self.world);
        let mut items = Vec::new();
        for (item, step) in self.steps.iter().enumerate() {
            let holders = needing.get(&target(step.kind, &step.name)).map_or(&[][..], Vec::as_slice);
            let successor = step.needs.iter().map(String::as_str).find(|need| undone.contains(need));
            let holder = holders.iter().find(|holder| undone.contains(*holder));
            let reason = successor.map(|id| not_applied(id, "replaces it"));
            let reason = reason.or_else(|| holder.map(|id| not_applied(id, "may need it")));
            items.push(Item {
                service: self.world.resolved.service(step.kind),
                course: if reason.is_some() { Course::Skip } else { Course::Write },
                needs: step.needs.iter().filter_map(|need| positions.get(need.as_str())).copied().collect(),
                broken_by: holders.iter().filter_map(|holder| positions.get(holder)).copied().collect(),
            });
            self.undone.extend(reason.map(|reason| (item, reason)));
        }
        Queue::new(items)
    }
}

/// The steps whose things need a thing, according to the journal, by its target.
fn needing(world: &ObservedPlan) -> HashMap<String, Vec<&str>> {
    let mut needing: HashMap<String, Vec<&str>> = HashMap::new();
    for thing in world.things.iter() {
        for need in &thing.needs {
            needing.entry(need.clone()).or_default().push(&thing.step);
        }
    }
    needing
}

fn not_applied(id: &str, why: &str) -> String {
    format!("{id}, which was not applied, {why}")
}

impl<'a> Work for Removals<'a> {
    type Job = Job<'a>;

    fn id(&self, item: usize) -> String {
        self.steps[item].id.clone()
    }

    fn action(&self, _: usize) -> Action {
        Action::Delete
    }

    /// The step may no longer be in the plan; a failure is named by its id.
    fn place(&self, _: usize) -> Option<String> {
        None
    }

    fn why_skipped(&self, item: usize, broken: Option<usize>) -> Option<String> {
        let undone = self.undone.get(&item).cloned();
        undone.or_else(|| broken.map(|dependent| not_applied(&self.steps[dependent].id, "may need it")))
    }

    fn prepare(&mut self, item: usize) -> Result<Job<'a>> {
        let step = self.steps[item];
        let found = removal::target_of(self.world, &step.id).ok_or_else(|| {
            Error::new(ErrorKind::Local, format!("remove {}", step.id), "its location is no longer known")
        })?;
        let Target { recorded, target, detail, is_announced } = found;
        let deletion = Deletion {
            id: step.id.clone(),
            plan: self.world.resolved.document.name.clone(),
            untagged: is_announced,
            attached: self.attached.get(&step.id).cloned().unwrap_or_default(),
            means: self.means,
            target,
            detail,
        };
        Ok(Job { deletion, recorded })
    }

    async fn confirm(job: &Job<'a>) -> Result<()> {
        job.deletion.means.confirm_lock().await
    }

    async fn carry_out(job: &mut Job<'a>) -> Result<()> {
        let Job { deletion, recorded } = job;
        deletion.means.write(&deletion.id, Action::Delete, deletion.run(recorded.as_mut())).await
    }

    fn take_back(&mut self, _: usize, _: Job<'a>) {}

    fn settle(&mut self, _: usize) {}
}
