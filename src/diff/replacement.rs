//! What `--replace` makes of a step's change, and of the steps that come after it.

use std::collections::HashMap;

use super::rotation;
use crate::changeset::{Action, StepChange};
use crate::observe::{Observation, ObservedPlan};
use crate::removal;
use crate::resource::Replacement;
use crate::template::unknown;

/// The deletions of the replaced things, by the ids of their steps.
pub(super) struct Anew(HashMap<String, StepChange>);

impl Anew {
    /// Decides over everything that is asked for, and asks the things that stay for new values.
    pub(super) fn of(world: &mut ObservedPlan) -> Self {
        for index in world.selected.replaced().collect::<Vec<_>>() {
            if world.resolved.steps[index].kind.replacement() == Replacement::Renewed {
                world.instances[index].renew();
            }
        }
        rotation::ask(world);
        Self(removal::replaced(world).into_iter().map(|step| (step.id.clone(), step)).collect())
    }

    /// The change of a step, which `--replace` may have turned into another one.
    pub(super) fn changed(&self, world: &ObservedPlan, index: usize, change: StepChange) -> StepChange {
        let is_there =
            matches!(world.observations[index], Observation::Observed) && world.instances[index].exists();
        if let Some(turn) = world.selected.rotated().get(&index) {
            return rotation::changed(world, index, *turn, change);
        }
        let is_steady = !matches!(change.action, Action::Blocked | Action::Deferred);
        if world.selected.replaces(index) && is_there && is_steady {
            return self.replaced(world, index, change);
        }
        if world.selected.is_after_replacement(index) && is_there {
            return after(world, index, change);
        }
        change
    }

    fn replaced(&self, world: &ObservedPlan, index: usize, change: StepChange) -> StepChange {
        let (step, instance) = (&world.resolved.steps[index], &world.instances[index]);
        let blocked =
            |why: String| StepChange { action: Action::Blocked, reason: Some(why), ..change.clone() };
        if let Some(owner) = super::foreign(world, index) {
            return blocked(format!("cannot be replaced: it {owner}"));
        }
        match step.kind.replacement() {
            Replacement::Never(why) => blocked(format!("cannot be replaced: {why}")),
            Replacement::Renewed if step.protect == Some(true) => {
                blocked("cannot be replaced: protected; set `protect: false` in the step first".to_owned())
            }
            Replacement::Renewed if !instance.is_renewing() => {
                blocked("cannot be replaced: none of its values is generated".to_owned())
            }
            Replacement::Renewed => {
                let why = "replaced, as `--replace` says; every user of the old value needs the new one";
                StepChange { reason: Some(why.to_owned()), ..change }
            }
            Replacement::Recreated => match self.0.get(&step.id) {
                Some(removal) if removal.action == Action::Delete => {
                    let new = instance.preview().changes.into_iter().map(super::described);
                    let changes = removal.changes.iter().cloned().chain(new).collect();
                    let what = step.kind.removal().map(|what| format!(" ({what})")).unwrap_or_default();
                    let reason = Some(format!("deleted{what} and created again, as `--replace` says"));
                    StepChange { action: Action::Replace, changes, unchanged: Vec::new(), reason, ..change }
                }
                Some(removal) => StepChange {
                    action: removal.action,
                    changes: removal.changes.clone(),
                    reason: removal.reason.clone(),
                    ..change
                },
                None => change,
            },
        }
    }
}

/// Whether the outputs of the step's thing are others after a replacement.
pub(super) fn has_new_outputs(world: &ObservedPlan, index: usize, action: Action) -> bool {
    let is_other = world.selected.replaces(index) || world.selected.rotated().contains_key(&index);
    is_other && matches!(action, Action::Replace | Action::Update)
}

/// A step that comes after a replaced thing. That may have taken along what it needs, or the name that it
/// refers to may mean another thing now; so it is looked at once more, and brought back if it differs.
fn after(world: &ObservedPlan, index: usize, change: StepChange) -> StepChange {
    if unknown::is_unknown(&world.instances[index].id()) {
        let references: Vec<String> =
            unknown::references(&world.instances[index].id()).map(str::to_owned).collect();
        let reason = format!("its location depends on {}, known after apply", references.join(", "));
        return StepChange { action: Action::Deferred, changes: Vec::new(), reason: Some(reason), ..change };
    }
    let kind = world.resolved.steps[index].kind;
    let is_steady = world.instances[index].recorded().permanent().is_some() || kind.bootstraps();
    if change.action != Action::None || is_steady || super::foreign(world, index).is_some() {
        return change;
    }
    let reason = Some("looked at again after the replacement of what it depends on".to_owned());
    StepChange { action: Action::Update, reason, ..change }
}
