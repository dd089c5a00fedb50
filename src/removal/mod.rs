//! The scope of removal: this plan's things that no step declares any longer, and with `destroy`
//! all of its things. This module reads and decides; [`crate::apply`] removes.
//!
//! The journal records which things are this plan's; if a thing carries tags, they must agree. A
//! thing that the journal does not record is never removed: a lost journal leaves things behind, it
//! does not remove any.

mod attached;
mod decision;
mod order;

use std::collections::{HashMap, HashSet};

use futures::stream::{StreamExt, iter};

use crate::changeset::{Action, RemovalScope, StepChange};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Thing, target};
use crate::observe::{Observation, ObservedPlan};
use crate::providers::aws::AwsClient;
use crate::providers::vault::VaultClient;
use crate::providers::{Providers, registry};
use crate::resource::erased::Kind;
use crate::resource::{Attachment, Provided, Recorded};

pub use attached::{Attached, attached};

/// An orphan: a thing of this plan that no step declares any longer.
pub struct Orphan {
    /// The id of its step; with the thing's name if that id now means something else.
    pub id: String,
    /// The journal's record.
    pub thing: Thing,
    /// Its kind.
    pub kind: &'static dyn Kind,
    /// The live thing.
    pub recorded: Box<dyn Recorded>,
    /// Why it could not be observed.
    pub hidden: Option<Error>,
}

/// The removals of a run, and the possible ones.
#[derive(Debug, Default)]
pub struct Removals {
    /// Removals, dependents first, and refused removals.
    pub steps: Vec<StepChange>,
    /// Orphans that stay, or that a prune would remove.
    pub undeclared: Vec<StepChange>,
}

/// Observes everything that the journal records and no step declares, at most `parallelism` at
/// once.
pub async fn observe(world: &ObservedPlan, providers: &Providers, parallelism: usize) -> Vec<Orphan> {
    let mut orphans = find(world);
    iter(&mut orphans)
        .for_each_concurrent(parallelism, |orphan| async move {
            if orphan.hidden.is_none() {
                orphan.hidden = look(orphan, world, providers).await.err();
            }
        })
        .await;
    orphans
}

/// Reads the live thing. A server that is not initialised is empty.
async fn look(orphan: &mut Orphan, world: &ObservedPlan, providers: &Providers) -> Result<()> {
    let elsewhere = |message: String| Err(Error::new(ErrorKind::Rejected, &orphan.id, message));
    let alias = orphan.thing.alias();
    if let (Some(account), None) = (&orphan.thing.account, account(world, &orphan.thing)) {
        let here = AwsClient::of_account(providers, alias).await?;
        let here = here.account_id().await?;
        if here != account {
            return elsewhere(format!(
                "it is in the account {account}, but these credentials belong to {here}"
            ));
        }
    }
    if let (Some(cluster), None) = (&orphan.thing.cluster, &world.cluster) {
        // The plan itself no longer uses Vault.
        let here = VaultClient::provide(providers).await?.cluster_id().await;
        if let Some(here) = here.filter(|here| here != cluster) {
            return elsewhere(format!("it is in the Vault cluster {cluster}, but this one is {here}"));
        }
    }
    match orphan.recorded.observe(providers).await {
        Err(error) if error.kind == ErrorKind::Uninitialised => Ok(()),
        seen => seen,
    }
}

/// The things that the journal records and no step declares. Things in other accounts and Vault
/// clusters are separate: the same plan may be applied to several.
fn find(world: &ObservedPlan) -> Vec<Orphan> {
    let declared = declared(world);
    let is_same = |there: Option<&String>, here: Option<&String>| match (there, here) {
        (Some(there), Some(here)) => there == here,
        _ => true,
    };
    let here = |thing: &Thing| {
        is_same(thing.account.as_ref(), account(world, thing))
            && is_same(thing.cluster.as_ref(), world.cluster.as_ref())
    };
    let mut ids: HashSet<String> = world.resolved.steps.iter().map(|step| step.id.clone()).collect();
    let mut orphans = Vec::new();
    for thing in world.things.iter() {
        if declared.contains(&thing.target) || !here(thing) || is_somewhere(world, thing) {
            continue;
        }
        // A kind, or an address, of another version of this program: it cannot be handled.
        let Some(kind) = registry::find(thing.kind()) else { continue };
        let Some(recorded) = kind.recall(&thing.address) else { continue };
        let taken = !ids.insert(thing.step.clone());
        let id = if taken { format!("{}@{}", thing.step, thing.name()) } else { thing.step.clone() };
        let hidden = mismatch(thing, recorded.as_ref());
        orphans.push(Orphan { id, thing: thing.clone(), kind, recorded, hidden });
    }
    orphans
}

/// Why a record is not acted upon whose address leads to another thing than it names.
fn mismatch(thing: &Thing, recorded: &dyn Recorded) -> Option<Error> {
    let found = target(thing.kind(), &recorded.id());
    if found == thing.target {
        return None;
    }
    let message = format!("the journal's record of {} has the address of {found}", thing.target);
    Some(
        Error::new(ErrorKind::Rejected, &thing.step, message).advice(
            "nothing is removed on the word of such a record; look at it with `groundwork journal PLAN`",
        ),
    )
}

/// The account, if it is known, in which the thing would be observed.
fn account<'a>(world: &'a ObservedPlan, thing: &Thing) -> Option<&'a String> {
    world.scope.account(thing.alias())?.account_id.as_ref()
}

/// The targets of all declared things with a known location.
fn declared(world: &ObservedPlan) -> HashSet<String> {
    let steps = world.resolved.steps.iter().zip(world.instances.iter());
    steps.map(|(step, instance)| target(step.kind.name(), &instance.id())).collect()
}

/// Whether the thing's own step is declared but its location is not known yet: it may be this
/// thing.
fn is_somewhere(world: &ObservedPlan, thing: &Thing) -> bool {
    let id = world.resolved.document.moved_to(&thing.step).unwrap_or_else(|| thing.step.clone());
    let step = world.resolved.steps.iter().position(|step| step.id == id && step.kind.name() == thing.kind());
    step.is_some_and(|index| matches!(world.observations[index], Observation::AddressUnknown(_)))
}

/// The removals, the refused removals, and the reasons. `steps` are the changes of the declared
/// steps.
pub fn decide(world: &ObservedPlan, steps: &[StepChange]) -> Removals {
    let mut all = decision::orphans(world);
    if world.extent == RemovalScope::Everything {
        all.splice(0..0, decision::declared(world));
    }
    attached::consider(world, steps, &mut all);
    let settled = order::settle(all);
    match world.extent {
        RemovalScope::Nothing => Removals { steps: Vec::new(), undeclared: settled },
        RemovalScope::Undeclared => {
            let (undeclared, steps) = settled.into_iter().partition(|step| step.action == Action::None);
            Removals { steps, undeclared }
        }
        RemovalScope::Everything => Removals { steps: settled, undeclared: Vec::new() },
    }
}

/// The attachments that each removal deletes, as known when it was planned: by the ids of the
/// steps, see [`Attachment::path`].
pub fn expected(world: &ObservedPlan) -> HashMap<String, HashSet<String>> {
    let all = match world.extent {
        RemovalScope::Everything => decision::declared(world),
        RemovalScope::Nothing | RemovalScope::Undeclared => Vec::new(),
    };
    let all = all.into_iter().chain(decision::orphans(world));
    all.map(|candidate| {
        let found = world.attached.get(&candidate.target).and_then(|found| found.as_ref().ok());
        let found = found.into_iter().flatten().map(Attachment::path);
        (candidate.id, found.chain(candidate.own).collect())
    })
    .collect()
}

/// The thing of a removal: of a declared step, else an orphan.
pub fn recorded(world: &ObservedPlan, id: &str) -> Option<Box<dyn Recorded>> {
    let step = world.resolved.steps.iter().position(|step| step.id == id);
    let declared = step.filter(|_| world.extent == RemovalScope::Everything);
    let orphan = || world.orphans.iter().find(|orphan| orphan.id == id);
    match declared {
        Some(index) => Some(world.instances[index].recorded()),
        None => orphan().and_then(|orphan| orphan.kind.recall(&orphan.thing.address)),
    }
}

/// Whether a thing was observed when the run began, and did not exist.
pub fn is_gone(world: &ObservedPlan, name: &str) -> bool {
    let orphan = world.orphans.iter().find(|orphan| orphan.thing.target == name);
    let declared = (0..world.resolved.steps.len()).find(|index| world.target(*index) == name);
    match (orphan, declared) {
        (Some(orphan), _) => orphan.hidden.is_none() && !orphan.recorded.exists(),
        (None, Some(index)) => {
            matches!(world.observations[index], Observation::Observed) && !world.instances[index].exists()
        }
        (None, None) => false,
    }
}

/// Orphans that stay: after a prune the plan no longer records them.
pub fn forgotten(world: &ObservedPlan) -> Vec<String> {
    let stay =
        decision::orphans(world).into_iter().filter(|candidate| candidate.fate.action() == Action::None);
    stay.map(|candidate| candidate.target).collect()
}
