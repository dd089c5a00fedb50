//! The journal's record of the plan's things, so that they can be removed after their steps have
//! left the plan.

use std::collections::{HashMap, HashSet};

use super::Report;
use crate::changeset::{Action, RemovalScope};
use crate::diff;
use crate::error::Result;
use crate::journal::{DELETE, Entry, FORGET, OperationOutcome, Thing, realm_detail};
use crate::observe::ObservedPlan;
use crate::permit::Permit;
use crate::place::Place;
use crate::removal;
use crate::resource::erased::Kind;
use crate::run::Run;

/// A step's thing as the journal should record it, in its realm as far as that was observed.
pub fn thing(world: &ObservedPlan, index: usize) -> Thing {
    let step = &world.resolved.steps[index];
    let instance = &world.instances[index];
    let lasts = instance.recorded().permanent().is_some();
    // A thing that is never removed by itself does not wait for others, and may need the whole
    // plan.
    let needs = world.graph.needs[index].iter().filter(|_| !lasts);
    let mut thing = Thing::new(&step.id, world.target(index), instance.address());
    thing.realm = world.realm(index);
    thing.needs = needs.map(|need| world.target(*need)).collect();
    thing.protect = step.protect.unwrap_or_else(|| step.kind.protected());
    thing.retain = step.retain;
    thing.attaches = instance.attaches();
    thing.secrets = instance.declarations();
    thing
}

/// Asks for what is not known of a thing's realm: a cluster has an id once it is up.
pub async fn complete_realm(thing: &mut Thing, run: &Run, kind: &dyn Kind, place: &Place) {
    if !thing.realm.knows(kind.realm())
        && let Ok(realm) = run.realm(kind.provider(), place).await
    {
        thing.realm = realm.only(kind.realm());
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
    run: &Run,
    permit: &Permit,
) -> Result<()> {
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
        let kind = world.resolved.steps[index].kind;
        complete_realm(&mut thing, run, kind, world.instances[index].place()).await;
        if !world.things.has(&thing) {
            run.journal.append(permit, Entry::Owned(thing)).await?;
        }
    }
    Ok(())
}

/// Updates the journal for things that no longer exist, or that remain but no longer belong to the
/// plan.
///
/// # Errors
/// When the journal cannot be written.
pub async fn let_go(world: &ObservedPlan, run: &Run, permit: &Permit) -> Result<()> {
    let end = |operation: &str, target: &str, detail: Vec<String>| Entry::Committed {
        operation: operation.to_owned(),
        target: target.to_owned(),
        detail,
    };
    for leaving in world.things.leaving().filter(|leaving| removal::is_gone(world, leaving)) {
        run.journal.append(permit, end(DELETE, &leaving.target, leaving.realm.clone())).await?;
    }
    for leaving in world.things.leaving().filter(|leaving| removal::is_back(world, leaving)) {
        let entry = Entry::Outcome {
            operation: DELETE.to_owned(),
            target: leaving.target.clone(),
            result: OperationOutcome::Failed,
            message: "the run was cut off before; it is declared, and still there".to_owned(),
        };
        run.journal.append(permit, entry).await?;
    }
    if world.extent == RemovalScope::Undeclared {
        for thing in removal::forgotten(world) {
            let forgotten = end(FORGET, &thing.target, realm_detail(&thing.realm()));
            run.journal.append(permit, forgotten).await?;
        }
    }
    Ok(())
}
