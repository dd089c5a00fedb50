//! The scope of removal: this plan's things that no step declares any longer, and with `destroy`
//! all of its things. This module reads and decides; [`crate::apply`] removes.
//!
//! The journal records which things are this plan's; if a thing carries tags, they must agree. A
//! thing that the journal does not record is never removed: a lost journal leaves things behind, it
//! does not remove any.

mod attached;
mod decision;
mod last;
mod order;
mod reach;
mod replaced;

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::stream::{StreamExt, iter};

use crate::changeset::{Action, Elsewhere, RemovalScope, StepChange};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Leaving, Thing, realm_detail, target};
use crate::observe::{Observation, ObservedPlan};
use crate::place::Realm;
use crate::resource::erased::Kind;
use crate::resource::{Attachment, Recorded};
use crate::run::Run;

pub use attached::{Attached, attached};
pub use last::rests_on;
pub use replaced::replaced;

use reach::Reach;

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

impl Orphan {
    /// The name that the journal would give it today: its place may have another name than when it was
    /// recorded.
    pub fn target(&self) -> String {
        target(self.kind.name(), &self.recorded.id())
    }
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
/// once. Returns these things, and those in realms that this run does not go to.
pub async fn observe(world: &ObservedPlan, run: &Run, parallelism: usize) -> (Vec<Orphan>, Vec<Thing>) {
    let (mut orphans, elsewhere) = find(world, run).await;
    iter(&mut orphans)
        .for_each_concurrent(parallelism, |orphan| async move {
            if orphan.hidden.is_none() {
                orphan.hidden = look(orphan, run).await.err();
            }
        })
        .await;
    (orphans, elsewhere)
}

/// Reads the live thing. A server that is not initialised is empty.
async fn look(orphan: &mut Orphan, run: &Run) -> Result<()> {
    match orphan.recorded.observe(run).await {
        Err(error) if error.kind == ErrorKind::Uninitialised => Ok(()),
        seen => seen,
    }
}

/// The things that the journal records and no step declares; and those that are elsewhere: the same plan
/// may be applied to several accounts and clusters.
async fn find(world: &ObservedPlan, run: &Run) -> (Vec<Orphan>, Vec<Thing>) {
    let declared = Declared::of(world);
    let mut reach = Reach::of(run);
    let mut ids: HashSet<String> = world.resolved.steps.iter().map(|step| step.id.clone()).collect();
    let (mut orphans, mut elsewhere) = (Vec::new(), Vec::new());
    for thing in world.things.iter() {
        // A kind, or an address, of another version of this program: it cannot be handled.
        let Some(kind) = world.resolved.registry.find(thing.kind()) else { continue };
        let Some(mut recorded) = kind.recall(&thing.address) else { continue };
        let mut hidden = mismatch(thing, recorded.as_ref());
        if declared.has(thing, &recorded.same_name()) || is_somewhere(world, thing) {
            continue;
        }
        match reach.place(thing, kind).await {
            Ok(Some(place)) => recorded.look_in(place),
            Ok(None) => {
                elsewhere.push(thing.clone());
                continue;
            }
            Err(error) => hidden = hidden.or(Some(error)),
        }
        hidden = hidden.or_else(|| may_be_declared(world, thing));
        let id = names_of(thing).find(|id| ids.insert(id.clone())).unwrap_or_else(|| thing.target.clone());
        orphans.push(Orphan { id, thing: thing.clone(), kind, recorded, hidden });
    }
    (orphans, elsewhere)
}

/// What an orphan may be called: by its step, which may be another thing now, else with its name, else with
/// its realm.
fn names_of(thing: &Thing) -> impl Iterator<Item = String> {
    let (step, name) = (thing.step.clone(), format!("{}@{}", thing.step, thing.name()));
    let with_realm = format!("{name} ({})", thing.realm());
    [step, name, with_realm].into_iter()
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

/// The things of the steps with a known location: by kind and name, the realms that they are in as far as
/// these are known.
struct Declared<'a>(HashMap<(&'a str, String), Vec<Realm>>);

impl<'a> Declared<'a> {
    fn of(world: &'a ObservedPlan) -> Self {
        let mut all: HashMap<_, Vec<Realm>> = HashMap::new();
        for (index, step) in world.resolved.steps.iter().enumerate() {
            let key = (step.kind.name(), world.instances[index].same_name());
            all.entry(key).or_default().push(world.realm(index));
        }
        Self(all)
    }

    /// Whether a step declares this thing, or may do so: it has the same name, and no part of the realm
    /// says that it is another thing.
    fn has(&self, thing: &Thing, same_name: &str) -> bool {
        let realms = self.0.get(&(thing.kind(), same_name.to_owned()));
        realms.into_iter().flatten().any(|realm| !realm.conflicts(&thing.realm()))
    }
}

/// Whether the thing's own step is declared but its location is not known yet: it may be this
/// thing.
fn is_somewhere(world: &ObservedPlan, thing: &Thing) -> bool {
    let id = world.resolved.document.moved_to(&thing.step).unwrap_or_else(|| thing.step.clone());
    unlocated(world, thing).any(|step| world.resolved.steps[step].id == id)
}

/// Why a thing is not removed that another step may declare, whose location is not known yet.
fn may_be_declared(world: &ObservedPlan, thing: &Thing) -> Option<Error> {
    let step = unlocated(world, thing).next()?;
    let message = format!(
        "the step `{}` may declare it, whose location is known after apply",
        world.resolved.steps[step].id
    );
    Some(Error::new(ErrorKind::Rejected, &thing.step, message).advice("apply, then prune"))
}

/// The steps of the thing's kind whose location is not known yet.
fn unlocated<'a>(world: &'a ObservedPlan, thing: &'a Thing) -> impl Iterator<Item = usize> {
    let steps = world.resolved.steps.iter().enumerate().filter(|(_, step)| step.kind.name() == thing.kind());
    steps
        .map(|(index, _)| index)
        .filter(|index| matches!(world.observations[*index], Observation::AddressUnknown(_)))
}

/// The things of this plan that are where this run does not go, by realm.
pub fn elsewhere(world: &ObservedPlan) -> Vec<Elsewhere> {
    let mut realms: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for thing in &world.elsewhere {
        realms.entry(thing.realm().to_string()).or_default().push(thing.target.clone());
    }
    realms.into_iter().map(|(realm, things)| Elsewhere { realm, things }).collect()
}

/// The removals, the refused removals, and the reasons. `steps` are the changes of the declared
/// steps.
pub fn decide(world: &ObservedPlan, steps: &[StepChange]) -> Removals {
    let mut all = decision::orphans(world);
    if world.extent.removes_all() {
        all.splice(0..0, decision::declared(world));
    }
    attached::consider(world, steps, &mut all);
    if world.extent == RemovalScope::Teardown {
        last::put_last(world, &mut all);
    }
    let settled = order::settle(all);
    match world.extent {
        RemovalScope::Nothing => Removals { steps: Vec::new(), undeclared: settled },
        RemovalScope::Undeclared => {
            let (undeclared, steps) = settled.into_iter().partition(|step| step.action == Action::None);
            Removals { steps, undeclared }
        }
        RemovalScope::Everything | RemovalScope::Teardown => {
            Removals { steps: settled, undeclared: Vec::new() }
        }
    }
}

/// The attachments that each removal deletes, as known when it was planned: by the ids of the
/// steps, see [`Attachment::path`].
pub fn expected(world: &ObservedPlan) -> HashMap<String, HashSet<String>> {
    let all = match world.extent {
        RemovalScope::Everything | RemovalScope::Teardown => decision::declared(world),
        RemovalScope::Nothing | RemovalScope::Undeclared => replaced::candidates(world),
    };
    let all = all.into_iter().chain(decision::orphans(world));
    all.map(|candidate| {
        let found = world.attached.get(&candidate.target).and_then(|found| found.as_ref().ok());
        let found = found.into_iter().flatten().map(Attachment::path);
        (candidate.id, found.chain(candidate.own).collect())
    })
    .collect()
}

/// A thing to remove.
pub struct Target {
    /// The live thing.
    pub recorded: Box<dyn Recorded>,
    /// The journal's name for it.
    pub target: String,
    /// Its realm, as the journal's entries about the removal have it.
    pub detail: Vec<String>,
    /// Whether its creation was only announced.
    pub is_announced: bool,
}

/// The thing of a removal: of a declared step, else an orphan.
pub fn target_of(world: &ObservedPlan, id: &str) -> Option<Target> {
    let step = world.resolved.steps.iter().position(|step| step.id == id);
    let removes = |index: &usize| world.extent.removes_all() || world.selected.replaces(*index);
    let declared = step.filter(removes);
    if let Some(index) = declared {
        let record = world.record(index);
        return Some(Target {
            recorded: world.instances[index].recorded(),
            target: record.map_or_else(|| world.target(index), |thing| thing.target.clone()),
            detail: record.map(|thing| realm_detail(&thing.realm())).unwrap_or_default(),
            is_announced: record.is_some_and(|thing| world.things.is_announced(thing)),
        });
    }
    let orphan = world.orphans.iter().find(|orphan| orphan.id == id)?;
    let mut recorded = orphan.kind.recall(&orphan.thing.address)?;
    recorded.look_in(orphan.recorded.place().clone());
    Some(Target {
        recorded,
        target: orphan.thing.target.clone(),
        detail: realm_detail(&orphan.thing.realm()),
        is_announced: world.things.is_announced(&orphan.thing),
    })
}

/// Whether a thing whose removal was announced was observed when the run began, and did not exist.
pub fn is_gone(world: &ObservedPlan, leaving: &Leaving) -> bool {
    if let Some(orphan) = world.orphans.iter().find(|orphan| leaving.is_of(&orphan.thing)) {
        return orphan.hidden.is_none() && !orphan.recorded.exists();
    }
    let is_it = |index: &usize| world.record(*index).is_some_and(|thing| leaving.is_of(thing));
    let declared = (0..world.resolved.steps.len()).find(is_it);
    declared.is_some_and(|index| {
        matches!(world.observations[index], Observation::Observed) && !world.instances[index].exists()
    })
}

/// Whether a thing whose removal was announced is declared, and was observed to be there: the run that was to
/// remove it, perhaps to replace it, was cut off before.
pub fn is_back(world: &ObservedPlan, leaving: &Leaving) -> bool {
    let mut steps = 0..world.resolved.steps.len();
    !world.extent.removes_all()
        && steps.any(|index| {
            matches!(world.observations[index], Observation::Observed)
                && world.instances[index].exists()
                && world.record(index).is_some_and(|thing| leaving.is_of(thing))
        })
}

/// Orphans that stay: after a prune the plan no longer records them. Of those elsewhere, which nobody can
/// look at, the ones that the plan says it retains.
pub fn forgotten(world: &ObservedPlan) -> Vec<&Thing> {
    let staying: HashSet<String> = decision::orphans(world)
        .into_iter()
        .filter(|candidate| candidate.fate.action() == Action::None)
        .map(|candidate| candidate.id)
        .collect();
    let orphans = world.orphans.iter().filter(|orphan| staying.contains(&orphan.id));
    let retained = |thing: &&Thing| {
        let removed = world.resolved.document.removed(&thing.step);
        removed.is_some_and(|removed| removed.retain == Some(true))
    };
    orphans.map(|orphan| &orphan.thing).chain(world.elsewhere.iter().filter(retained)).collect()
}
