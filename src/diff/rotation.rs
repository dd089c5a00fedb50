//! What `rotate` makes of a step's change, and of the steps that follow it.

use crate::changeset::{Action, StepChange};
use crate::observe::{Observation, ObservedPlan};
use crate::resolve::OutputTable;
use crate::resource::Turn;
use crate::secret::{Fields, Loader};

/// Why a rotated step changes.
pub const ROTATED: &str = "rotated, as asked for";

/// Asks the things to rotate for it, and those that follow for the secrets that they take.
pub(super) fn ask(world: &mut ObservedPlan) {
    let rotated: Vec<(usize, Turn)> =
        world.selected.rotated().iter().map(|(at, turn)| (*at, *turn)).collect();
    let followers: Vec<usize> = world.selected.followers().collect();
    for (index, turn) in rotated {
        world.instances[index].rotate(turn);
    }
    for index in followers {
        if !world.instances[index].step_secrets().is_empty() {
            world.instances[index].resend();
        }
    }
}

/// The change of a step that is rotated.
pub(super) fn changed(world: &ObservedPlan, index: usize, turn: Turn, change: StepChange) -> StepChange {
    let (step, instance) = (&world.resolved.steps[index], &world.instances[index]);
    let blocked = |why: String| StepChange {
        action: Action::Blocked,
        reason: Some(format!("cannot be rotated: {why}")),
        changes: Vec::new(),
        ..change.clone()
    };
    let is_there = matches!(world.observations[index], Observation::Observed) && instance.exists();
    match (change.action, step.kind.rotation().refusal()) {
        (Action::Blocked | Action::Deferred, _) => change,
        (_, Some(why)) => blocked(why.to_owned()),
        _ if !is_there => blocked("it does not exist yet; `groundwork apply` makes it".to_owned()),
        _ if super::foreign(world, index).is_some() => {
            blocked(format!("it {}", super::foreign(world, index).unwrap_or_default()))
        }
        _ if !instance.is_renewing() => blocked(nothing_to_rotate(world, index, turn)),
        (Action::None, _) => {
            let waits = instance.pending().map(|pending| format!("{}: {}", pending.old, pending.waits));
            StepChange { reason: waits.or(change.reason), ..change }
        }
        _ => StepChange { reason: Some(ROTATED.to_owned()), ..change },
    }
}

fn nothing_to_rotate(world: &ObservedPlan, index: usize, turn: Turn) -> String {
    if turn == Turn::Back {
        return "there is no secret before this one to go back to".to_owned();
    }
    let step = &world.resolved.steps[index];
    let taken = world.instances[index].step_secrets();
    let source = taken.iter().find_map(|written| world.resolved.step_secret(step, written));
    match source {
        Some((other, _)) => format!(
            "its secret comes from the step `{0}`: rotate `{0}`, and it follows",
            world.resolved.steps[other].id
        ),
        None => "none of its values is generated".to_owned(),
    }
}

/// Makes known what a step has that is read and stays as it is: the rotated steps may refer to it. A mistake in
/// it is not this run's business.
pub(super) fn take_outputs(
    world: &mut ObservedPlan,
    index: usize,
    outputs: &mut OutputTable,
    loader: &Loader,
) {
    if !world.selected.reads(index) || !matches!(world.observations[index], Observation::Observed) {
        return;
    }
    if super::redeclare(world, index, outputs, loader, Fields::new()).is_ok() {
        super::add_outputs(world, index, outputs);
    }
}
