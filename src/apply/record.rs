//! What the journal is to know of the plan's things, so that they can be removed when their steps
//! are gone.

use std::collections::{HashMap, HashSet};

use super::Report;
use crate::changeset::Action;
use crate::diff;
use crate::journal::{DELETE, Entry, FORGET, Thing};
use crate::observe::World;
use crate::providers::Providers;
use crate::removal::{self, Extent};
use crate::resource::{Permit, Result};

/// A step's thing as the journal should know it, save for the cluster that it is in: its id is known
/// only once the cluster is up.
pub fn thing(world: &World, index: usize) -> Thing {
    let step = &world.resolved.steps[index];
    let declared = &world.resolved.document.steps[step.declared];
    let instance = &world.instances[index];
    let lasts = instance.remains().permanent().is_some();
    // What is never removed by itself waits for nothing, and may need the whole plan.
    let needs = world.graph.needs[index].iter().filter(|_| !lasts);
    let is_aws = step.kind.provider() == "aws";
    Thing {
        step: step.id.clone(),
        target: world.target(index),
        address: instance.address(),
        account: world.scope.of(step.alias.as_deref()).account_id.clone().filter(|_| is_aws),
        cluster: None,
        needs: needs.map(|need| world.target(*need)).collect(),
        protect: declared.protect.unwrap_or_else(|| step.kind.protected()),
        retain: declared.retain,
        attaches: instance.attaches(),
    }
}

/// Brings the journal up to date with what is declared of things that were this plan's already:
/// another id, other needs, `protect` and `retain`. Nothing is recorded that is known.
///
/// # Errors
/// When the journal cannot be written.
pub async fn refresh(
    world: &World,
    actions: &HashMap<usize, Action>,
    report: &Report,
    providers: &Providers,
    permit: &Permit,
) -> Result<()> {
    let journal = providers.journal()?;
    let done: HashSet<&str> = report.done.iter().map(String::as_str).collect();
    let is_old = |index: &usize| match actions.get(index) {
        Some(Action::None) => true,
        Some(Action::Update) => done.contains(world.resolved.steps[*index].id.as_str()),
        _ => false,
    };
    for index in (0..world.resolved.steps.len()).filter(is_old) {
        if !world.instances[index].exists() || diff::foreign(world, index).is_some() {
            continue;
        }
        let mut thing = thing(world, index);
        if world.resolved.steps[index].kind.in_cluster() {
            thing.cluster = providers.cluster().await;
        }
        if !world.things.has(&thing) {
            journal.append(permit, Entry::Owned(thing)).await?;
        }
    }
    Ok(())
}

/// Settles what the journal says of things that are gone, or that stay and belong to the plan no
/// more.
///
/// # Errors
/// When the journal cannot be written.
pub async fn let_go(world: &World, providers: &Providers, permit: &Permit) -> Result<()> {
    let journal = providers.journal()?;
    let end = |operation: &str, target: &str| Entry::Committed {
        operation: operation.to_owned(),
        target: target.to_owned(),
        detail: Vec::new(),
    };
    for target in world.things.leaving().filter(|target| removal::is_gone(world, target)) {
        journal.append(permit, end(DELETE, target)).await?;
    }
    if world.extent == Extent::Undeclared {
        for target in removal::forgotten(world) {
            journal.append(permit, end(FORGET, &target)).await?;
        }
    }
    Ok(())
}
