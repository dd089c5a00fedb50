//! The journal's record of the plan's things, so that they can be removed after their steps have
//! left the plan.

use std::collections::{HashMap, HashSet};

use super::Report;
use crate::changeset::{Action, RemovalScope};
use crate::diff;
use crate::error::Result;
use crate::journal::{DELETE, Entry, FORGET, Thing};
use crate::observe::ObservedPlan;
use crate::permit::Permit;
use crate::providers::Providers;
use crate::removal;

/// A step's thing as the journal should record it, except for its cluster: the cluster's id is
/// known only once the cluster is up.
pub fn thing(world: &ObservedPlan, index: usize) -> Thing {
    let step = &world.resolved.steps[index];
    let declared = &world.resolved.document.steps[step.declared];
    let instance = &world.instances[index];
    let lasts = instance.recorded().permanent().is_some();
    // A thing that is never removed by itself does not wait for others, and may need the whole
    // plan.
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
        secrets: instance.declarations(),
    }
}

/// Updates the journal's record of things that this plan already owns: another id, other needs,
/// `protect` and `retain`. Writes only changes.
///
/// # Errors
/// When the journal cannot be written.
pub async fn refresh(
    world: &ObservedPlan,
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

/// Updates the journal for things that no longer exist, or that remain but no longer belong to the
/// plan.
///
/// # Errors
/// When the journal cannot be written.
pub async fn let_go(world: &ObservedPlan, providers: &Providers, permit: &Permit) -> Result<()> {
    let journal = providers.journal()?;
    let end = |operation: &str, target: &str| Entry::Committed {
        operation: operation.to_owned(),
        target: target.to_owned(),
        detail: Vec::new(),
    };
    for target in world.things.leaving().filter(|target| removal::is_gone(world, target)) {
        journal.append(permit, end(DELETE, target)).await?;
    }
    if world.extent == RemovalScope::Undeclared {
        for target in removal::forgotten(world) {
            journal.append(permit, end(FORGET, &target)).await?;
        }
    }
    Ok(())
}
