//! Things that are deleted because the same run creates them again.

use std::collections::HashMap;

use super::attached::is_at;
use super::decision::{self, Candidate, RemovalDecision};
use super::order;
use crate::changeset::{Action, StepChange};
use crate::journal::target;
use crate::observe::{Observation, ObservedPlan};
use crate::resource::{Attachment, Replacement};

/// The deletions of the replaced things, dependents first, and the refused ones with their reasons.
pub fn replaced(world: &ObservedPlan) -> Vec<StepChange> {
    let mut all = candidates(world);
    for candidate in &mut all {
        if let RemovalDecision::Stays(why) | RemovalDecision::Lasts(why) = &candidate.fate {
            candidate.fate = RemovalDecision::Held(why.clone());
        }
        let is_container = world.resolved.registry.find(candidate.kind).is_some_and(|kind| kind.protected());
        match world.attached.get(&candidate.target) {
            Some(Ok(found)) => candidate.attachments = found.clone(),
            Some(Err(error)) => candidate.fate = RemovalDecision::Unclear(error.to_string()),
            None => {}
        }
        if is_container {
            candidate.attachments = candidate.attachments.drain(..).map(as_loss).collect();
        }
    }
    let steps: HashMap<String, &str> = world
        .resolved
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| (world.target(index), step.id.as_str()))
        .collect();
    let holders: HashMap<String, Vec<&str>> = all
        .iter()
        .map(|candidate| {
            let held = candidate.attachments.iter().filter(|one| one.blocks.is_some());
            (candidate.id.clone(), held.filter_map(|one| holder(&steps, one)).collect())
        })
        .collect();
    let mut settled = order::settle(all);
    for step in settled.iter_mut().filter(|step| step.action == Action::Blocked) {
        let why = step.reason.take().unwrap_or_default();
        let flags: Vec<String> =
            holders.get(&step.id).into_iter().flatten().map(|id| format!("`--replace {id}`")).collect();
        let advice = match flags.as_slice() {
            [] => String::new(),
            flags => format!("; replace these with it: {}", flags.join(", ")),
        };
        step.reason = Some(format!("cannot be replaced: {why}{advice}"));
    }
    settled
}

/// The things that are replaced by deleting them, and exist.
pub(super) fn candidates(world: &ObservedPlan) -> Vec<Candidate> {
    let is_deleted = |index: &usize| {
        let kind = world.resolved.steps[*index].kind;
        kind.replacement() == Replacement::Recreated
            && matches!(world.observations[*index], Observation::Observed)
    };
    decision::of_steps(world, world.selected.replaced().filter(is_deleted))
}

/// An attachment that ends with a thing that holds data is data, which would be lost.
fn as_loss(attachment: Attachment) -> Attachment {
    let Attachment { field, name, .. } = &attachment;
    let clause = format!("`{name}` in {field} would be lost with it");
    Attachment { blocks: Some(attachment.blocks.clone().unwrap_or(clause)), ..attachment }
}

/// The step whose thing holds on to another one.
fn holder<'a>(steps: &HashMap<String, &'a str>, attachment: &Attachment) -> Option<&'a str> {
    let holder = attachment.holder.as_ref()?;
    let name = target(holder.kind, &holder.id);
    steps.iter().find(|(target, _)| is_at(target, &name)).map(|(_, id)| *id)
}
