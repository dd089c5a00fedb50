//! Brings a plan's steps about: creates, updates and adopts their things.

use std::collections::{HashMap, HashSet};

use super::queue::{Course, Item, Queue};
use super::schedule::{self, Work};
use super::step::Task;
use super::{Means, Report, record};
use crate::changeset::{Action, Changeset};
use crate::diff;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::{Observation, ObservedPlan};
use crate::plan::Diagnostic;
use crate::plan::settings::RecipientSettings;
use crate::resolve::{OutputTable, declare};
use crate::resource::erased::Instance;
use crate::secret::Loader;

/// What the steps have come to.
pub struct BroughtAbout {
    /// The actions of the steps, by their indices.
    pub actions: HashMap<usize, Action>,
    /// The outputs, including those of this run.
    pub outputs: OutputTable,
}

/// Brings about what the changeset declares. Removals come after everything else, and are not part of it.
pub async fn bring_about(
    world: &mut ObservedPlan,
    changeset: &Changeset,
    means: Means<'_>,
    report: &mut Report,
) -> BroughtAbout {
    let mut steps = Steps::new(world, changeset, means, report);
    let queue = steps.queue();
    schedule::run(&mut steps, queue, means.options, means.events, report).await;
    BroughtAbout { actions: steps.actions, outputs: steps.outputs }
}

struct Steps<'a> {
    world: &'a mut ObservedPlan,
    /// The index of each item's step, in graph order.
    order: Vec<usize>,
    actions: HashMap<usize, Action>,
    outputs: OutputTable,
    loader: Loader,
    /// Steps whose things were to be deleted first, and are still there.
    undone: HashSet<String>,
    means: Means<'a>,
}

/// A step with its final fields, taken out of the plan while it is written.
struct Job<'a> {
    task: Task<'a>,
    instance: Box<dyn Instance>,
    /// Who can open custody; a recipient may be a key that this run has created.
    recipients: Option<Vec<RecipientSettings>>,
}

impl<'a> Steps<'a> {
    fn new(world: &'a mut ObservedPlan, changeset: &Changeset, means: Means<'a>, report: &Report) -> Self {
        let by_id: HashMap<&str, Action> =
            changeset.steps.iter().map(|step| (step.id.as_str(), step.action)).collect();
        let steps = world.resolved.steps.iter().enumerate();
        let actions: HashMap<usize, Action> = steps
            .filter_map(|(index, step)| Some((index, *by_id.get(step.id.as_str())?)))
            .filter(|(_, action)| *action != Action::Delete)
            .collect();
        Self {
            order: world.graph.order.iter().copied().filter(|index| actions.contains_key(index)).collect(),
            outputs: world.outputs(),
            loader: declare::loader(&world.resolved),
            undone: report.undone().map(str::to_owned).collect(),
            actions,
            means,
            world,
        }
    }

    /// A need that is not part of the run counts as settled.
    fn queue(&self) -> Queue {
        let positions: HashMap<usize, usize> =
            self.order.iter().enumerate().map(|(item, index)| (*index, item)).collect();
        let items = self.order.iter().map(|index| Item {
            service: self.world.resolved.service(self.world.resolved.steps[*index].kind.name()),
            course: if self.undone.contains(&self.world.resolved.steps[*index].id) {
                Course::Skip
            } else {
                course(self.actions[index])
            },
            needs: self.world.graph.needs[*index]
                .iter()
                .filter_map(|need| positions.get(need))
                .copied()
                .collect(),
            broken_by: Vec::new(),
        });
        Queue::new(items.collect())
    }

    /// Whether the thing may have existed where the plan could not see it: behind a server that was not
    /// initialised, or in something that this run changes, such as an engine that is upgraded.
    fn was_hidden(&self, index: usize) -> bool {
        let is_changed =
            |need: &usize| matches!(self.actions.get(need), Some(Action::Update | Action::Adopt));
        matches!(self.world.observations[index], Observation::BehindBootstrap(_))
            || self.actions[&index] == Action::Create && self.world.graph.needs[index].iter().any(is_changed)
    }

    /// The action that is left: a replaced thing was deleted before.
    fn carried_out(&self, item: usize) -> Action {
        match self.actions[&self.order[item]] {
            Action::Replace => Action::Create,
            action => action,
        }
    }

    /// Gives a step its final fields. Returns who can open custody, for a once-only step.
    fn declare(&mut self, index: usize) -> Result<Option<Vec<RecipientSettings>>, Vec<Diagnostic>> {
        diff::redeclare_for_write(self.world, index, &self.outputs, &self.loader)?;
        if !self.world.resolved.steps[index].kind.once_only() {
            return Ok(None);
        }
        let custody = self.world.resolved.custody(&self.outputs)?;
        Ok(custody.map(|settings| settings.recipients))
    }
}

fn course(action: Action) -> Course {
    match action {
        Action::Blocked | Action::Deferred => Course::Skip,
        action if action.writes() => Course::Write,
        _ => Course::Unchanged,
    }
}

impl<'a> Work for Steps<'a> {
    type Job = Job<'a>;

    fn id(&self, item: usize) -> String {
        self.world.resolved.steps[self.order[item]].id.clone()
    }

    fn action(&self, item: usize) -> Action {
        self.actions[&self.order[item]]
    }

    fn place(&self, item: usize) -> Option<String> {
        let document = &self.world.resolved.document;
        let span = document.steps[self.world.resolved.steps[self.order[item]].declared].id.span;
        let (path, line, column) = document.sources.locate(span)?;
        Some(format!("{}:{line}:{column}", path.display()))
    }

    /// A failed need does not affect a step that is already as declared.
    fn why_skipped(&self, item: usize, broken: Option<usize>) -> Option<String> {
        match (broken, self.action(item)) {
            (_, Action::None) => None,
            (Some(need), _) => Some(format!("depends on {}, which was not applied", self.id(need))),
            (None, Action::Replace) => Some("the old thing is still there".to_owned()),
            (None, action) => Some(format!("it is {}", action.name())),
        }
    }

    fn prepare(&mut self, item: usize) -> Result<Job<'a>> {
        let index = self.order[item];
        let recipients = self.declare(index).map_err(|mistakes| {
            let text: Vec<String> = mistakes.into_iter().map(|mistake| mistake.message).collect();
            Error::new(ErrorKind::Rejected, format!("step {}", self.id(item)), text.join("; "))
        })?;
        let declared = self.world.resolved.steps[index].declared;
        let task = Task {
            id: self.id(item),
            kind: self.world.resolved.steps[index].kind,
            thing: record::thing(self.world, index),
            action: self.carried_out(item),
            look_again: self.world.selected.is_after_replacement(index),
            rotates: self.world.selected.rotated().contains_key(&index),
            look_first: self.was_hidden(index),
            adopts: self.world.resolved.document.steps[declared].adopt,
            is_built_in: self.world.instances[index].recorded().permanent().is_some(),
            means: self.means,
        };
        Ok(Job { task, instance: self.world.instances.take(index), recipients })
    }

    async fn confirm(job: &Job<'a>) -> Result<()> {
        job.task.means.confirm_lock().await
    }

    async fn carry_out(job: &mut Job<'a>) -> Result<()> {
        let Job { task, instance, recipients } = job;
        let run = task.means.run;
        if let Some(recipients) = recipients.take() {
            // Boxed: connecting nests the SDK's futures too deeply for the compiler.
            Box::pin(run.custody()).await?.set_recipients(recipients);
        }
        record::complete_realm(&mut task.thing, run, task.kind, instance.place()).await;
        task.means.write(&task.id, task.action, task.run(instance.as_mut())).await
    }

    fn take_back(&mut self, item: usize, job: Job<'a>) {
        self.world.instances.put(self.order[item], job.instance);
    }

    fn settle(&mut self, item: usize) {
        diff::add_outputs(self.world, self.order[item], &mut self.outputs);
    }
}
