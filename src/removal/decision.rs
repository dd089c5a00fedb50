//! Decides for each thing: it is removed, it stays, or its removal is refused.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use super::Orphan;
use crate::changeset::{Action, RemovalScope};
use crate::diff;
use crate::error::ErrorKind;
use crate::journal::{Thing, target};
use crate::observe::{Observation, ObservedPlan};
use crate::plan::ownership::PLAN_TAG;
use crate::resource::erased::Kind;
use crate::resource::{Attachment, Part, Requirement};
use crate::run::Existing;

/// A thing that exists, or may exist, with its decision.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The step's id, or the orphan's.
    pub id: String,
    /// The kind's name.
    pub kind: &'static str,
    /// The live system's identification.
    pub name: String,
    /// The journal's name for it.
    pub target: String,
    /// Targets of the things that it needs.
    pub needs: Vec<String>,
    /// The outputs for other steps.
    pub outputs: Map<String, Value>,
    /// Its attachments.
    pub attachments: Vec<Attachment>,
    /// The attachments that the plan itself has created.
    pub own: Vec<String>,
    /// Why it cannot be removed by itself, and with what it is deleted.
    pub part: Option<Part>,
    /// The declared step that has replaced it.
    pub successor: Option<String>,
    /// The decision.
    pub fate: RemovalDecision,
}

/// The decision for a thing, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemovalDecision {
    /// It is removed.
    Goes(Option<String>),
    /// It stays, and so do the things that it needs.
    Stays(String),
    /// It stays as long as its container does.
    Lasts(String),
    /// It should be removed, but must not be.
    Held(String),
    /// It could not be observed.
    Unclear(String),
}

impl RemovalDecision {
    /// The decision as a changeset's action.
    pub fn action(&self) -> Action {
        match self {
            Self::Goes(_) => Action::Delete,
            Self::Stays(_) | Self::Lasts(_) => Action::None,
            Self::Held(_) => Action::Blocked,
            Self::Unclear(_) => Action::Deferred,
        }
    }

    /// Whether the things that it needs must stay because of it.
    pub fn holds(&self) -> bool {
        !matches!(self, Self::Goes(_) | Self::Lasts(_))
    }

    /// The reason.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Goes(reason) => reason.as_deref(),
            Self::Stays(reason) | Self::Lasts(reason) | Self::Held(reason) | Self::Unclear(reason) => {
                Some(reason)
            }
        }
    }
}

/// Whether the journal does not record completely where a thing is: two realms can have things of the
/// same name.
fn is_lost(kind: &dyn Kind, thing: &Thing) -> bool {
    !thing.realm().knows(kind.realm())
}

fn lost(kind: &dyn Kind, thing: &Thing) -> String {
    let known = thing.realm();
    let parts = kind.realm().iter().filter(|part| known.get(part).is_none()).copied();
    format!(
        "the journal does not record in which {} the plan has created it; declare the step and apply again \
         to record it",
        parts.collect::<Vec<_>>().join(" and ")
    )
}

const LOGS_IN: &str = "this run logs in to Vault with it; to allow its removal, set another administrator's token in \
                       VAULT_TOKEN";
const CLUSTER_IS_THERE: &str = "the cluster is still there, and custody has its only keys: stop its servers, remove \
                                their storage, start them again empty, and run this again; custody, the journal \
                                and what they are in go then";

/// The facts that decide for an existing thing.
struct Facts<'a> {
    permanent: Option<&'a str>,
    foreign: Option<String>,
    retain: bool,
    forbidden: Option<String>,
    removal: Option<&'a str>,
}

fn judge(facts: Facts<'_>) -> RemovalDecision {
    match facts {
        Facts { permanent: Some(why), .. } => RemovalDecision::Lasts(format!("stays: {why}")),
        Facts { foreign: Some(owner), .. } => RemovalDecision::Stays(format!("stays: it {owner}")),
        Facts { retain: true, .. } => RemovalDecision::Stays("stays because of `retain: true`".to_owned()),
        Facts { forbidden: Some(why), .. } => RemovalDecision::Held(why),
        Facts { removal, .. } => RemovalDecision::Goes(removal.map(str::to_owned)),
    }
}

/// Orphans: things that no step declares any longer.
pub fn orphans(world: &ObservedPlan) -> Vec<Candidate> {
    let required = required(world);
    let fate = |orphan: &Orphan| match &orphan.hidden {
        Some(error) => Some(RemovalDecision::Unclear(format!("cannot be looked for: {error}"))),
        None if !orphan.recorded.exists() => None,
        None => Some(match judge(facts_of_leftover(world, orphan, &required)) {
            RemovalDecision::Goes(what) if world.extent == RemovalScope::Undeclared => {
                RemovalDecision::Goes(Some(undeclared(what)))
            }
            fate => fate,
        }),
    };
    let targets: HashMap<&String, String> =
        world.orphans.iter().map(|orphan| (&orphan.thing.target, orphan.target())).collect();
    let now = |need: &String| targets.get(need).unwrap_or(need).clone();
    let all = world.orphans.iter();
    all.filter_map(|orphan| {
        Some(Candidate {
            id: orphan.id.clone(),
            kind: orphan.kind.name(),
            name: orphan.recorded.id(),
            target: orphan.target(),
            needs: orphan.thing.needs.iter().map(now).collect(),
            outputs: orphan.recorded.outputs().unwrap_or_default(),
            attachments: Vec::new(),
            own: orphan.thing.attaches.clone().unwrap_or_default(),
            part: orphan.recorded.part_of(),
            successor: successor(world, orphan),
            fate: fate(orphan)?,
        })
    })
    .collect()
}

/// The step of the same id, which now declares another thing. `destroy` also removes that one.
fn successor(world: &ObservedPlan, orphan: &Orphan) -> Option<String> {
    let mut steps = world.resolved.steps.iter().filter(|_| !world.extent.removes_all());
    steps.find(|step| step.id == orphan.thing.step).map(|step| step.id.clone())
}

fn facts_of_leftover<'a>(
    world: &ObservedPlan,
    orphan: &'a Orphan,
    required: &BTreeSet<(String, String)>,
) -> Facts<'a> {
    let document = &world.resolved.document;
    let said = document.removed(&orphan.id);
    let protect = said.and_then(|step| step.protect).unwrap_or(orphan.thing.protect)
        && world.extent != RemovalScope::Teardown;
    let moved = document.moved_to(&orphan.thing.step);
    let here = orphan.target();
    let needed = required.iter().find(|(_, target)| *target == here);
    let forbidden = match (moved, needed, protect) {
        _ if is_lost(orphan.kind, &orphan.thing) && orphan.recorded.tags().is_none() => {
            Some(lost(orphan.kind, &orphan.thing))
        }
        (Some(new), _, _) => Some(format!(
            "`moved` assigns it to the step `{new}`, which declares another thing; give that \
             step's thing the old name, or remove the line from `moved`"
        )),
        (None, Some((step, _)), _) if !world.extent.removes_all() => {
            Some(format!("the step `{step}` still needs it"))
        }
        (None, _, true) => Some(format!(
            "protected; to allow its removal, write `removed: {{ {}: {{ protect: false }} }}` in the plan",
            quoted(&orphan.id)
        )),
        _ => None,
    };
    Facts {
        permanent: orphan.recorded.permanent(),
        foreign: foreign_leftover(world, orphan),
        retain: said.and_then(|step| step.retain).unwrap_or(orphan.thing.retain),
        forbidden,
        removal: orphan.kind.removal(),
    }
}

/// Why an orphan is removed, and the consequences.
fn undeclared(what: Option<String>) -> String {
    let why = "no longer declared";
    what.map_or(why.to_owned(), |what| format!("{why}; {what}"))
}

/// An id as it is written in a plan: the id of an instance needs quotes.
fn quoted(id: &str) -> String {
    let plain = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { id.to_owned() } else { format!("\"{id}\"") }
}

/// The owner of a tagged thing that no longer belongs to this plan.
fn foreign_leftover(world: &ObservedPlan, orphan: &Orphan) -> Option<String> {
    match orphan.recorded.tags()?.get(PLAN_TAG) {
        Some(owner) if *owner == world.resolved.document.name => None,
        Some(owner) => Some(format!("belongs to the plan `{owner}`")),
        None if world.things.is_announced(&orphan.thing) => None,
        None => Some(format!("no longer carries the tag `{PLAN_TAG}`")),
    }
}

/// The requirements of the declared steps in other kinds, whether declared or not, with the step's
/// id.
fn required(world: &ObservedPlan) -> BTreeSet<(String, String)> {
    let steps = world.resolved.steps.iter().zip(world.instances.iter());
    let all = steps.flat_map(|(step, instance)| {
        instance.requires().into_iter().filter_map(|requirement| match requirement {
            Requirement::Thing { kind, id } => Some((step.id.clone(), target(kind, &id))),
            Requirement::Kind(_) | Requirement::Provider(_) => None,
        })
    });
    all.collect()
}

/// The things of the declared steps, for `destroy`.
pub fn declared(world: &ObservedPlan) -> Vec<Candidate> {
    of_steps(world, 0..world.resolved.steps.len())
}

/// The things of these steps.
pub fn of_steps(world: &ObservedPlan, steps: impl Iterator<Item = usize>) -> Vec<Candidate> {
    let access = own_access(world);
    let targets: Vec<String> = (0..world.resolved.steps.len()).map(|index| world.target(index)).collect();
    let candidate = |index: usize| {
        let instance = &world.instances[index];
        let fate = match &world.observations[index] {
            Observation::Failed(error) if error.kind == ErrorKind::Uninitialised => return None,
            Observation::Failed(error) => RemovalDecision::Unclear(format!("cannot be looked for: {error}")),
            Observation::Observed if instance.exists() && !instance.is_deleted() => {
                judge(facts_of_declared(world, index, &access))
            }
            Observation::Observed
            | Observation::BehindBootstrap(_)
            | Observation::AddressUnknown(_)
            | Observation::NotAsked => return None,
        };
        Some(Candidate {
            id: world.resolved.steps[index].id.clone(),
            kind: world.resolved.steps[index].kind.name(),
            name: instance.id(),
            target: targets[index].clone(),
            needs: world.graph.needs[index].iter().map(|need| targets[*need].clone()).collect(),
            outputs: instance.outputs().unwrap_or_default(),
            attachments: Vec::new(),
            own: own(world, index),
            part: instance.part_of(),
            successor: None,
            fate,
        })
    };
    steps.filter_map(candidate).collect()
}

/// The attachments that a declared step makes now, and those that it made when it was applied.
fn own(world: &ObservedPlan, index: usize) -> Vec<String> {
    let recorded = world.record(index).and_then(|thing| thing.attaches.clone());
    let declared = world.instances[index].attaches();
    declared.into_iter().chain(recorded).flatten().collect()
}

fn facts_of_declared<'a>(world: &ObservedPlan, index: usize, access: &HashSet<usize>) -> Facts<'a> {
    let step = &world.resolved.steps[index];
    let declared = &world.resolved.document.steps[step.declared];
    let name = &declared.id.name;
    let is_tagged = world.instances[index].tags().is_some();
    let lost = world.record(index).filter(|thing| !is_tagged && is_lost(step.kind, thing));
    let is_teardown = world.extent == RemovalScope::Teardown;
    let forbidden = if let Some(thing) = lost {
        Some(self::lost(step.kind, thing))
    } else if is_teardown {
        let is_needed = access.contains(&index) || step.kind.bootstraps();
        is_needed.then(|| if step.kind.bootstraps() { CLUSTER_IS_THERE } else { LOGS_IN }.to_owned())
    } else if step.protect.unwrap_or_else(|| step.kind.protected()) {
        Some("protected; to allow its removal, set `protect: false` in the step or its stage".to_owned())
    } else if world.resolved.custody_references.contains(name) {
        let why = "custody is stored in it or decrypted with it, and custody is never removed; to allow its removal, \
                   remove it from `custody:` first";
        Some(why.to_owned())
    } else if world.resolved.place_references.contains(name) {
        let why = "it contains the journal's copy or the lock; to allow its removal, remove that section from the plan";
        Some(why.to_owned())
    } else if access.contains(&index) {
        Some(LOGS_IN.to_owned())
    } else {
        None
    };
    let permanent = world.instances[index].recorded().permanent();
    let ends_with_cluster = is_teardown && access.contains(&index) && bootstraps(world, step.kind.provider());
    Facts {
        permanent: match permanent {
            Some(_) if is_teardown && step.kind.bootstraps() => None,
            None if ends_with_cluster => Some("this run logs in with it; it ends with the cluster"),
            permanent => permanent,
        },
        foreign: diff::foreign(world, index),
        retain: step.retain,
        forbidden,
        removal: step.kind.removal(),
    }
}

/// Whether a step of the plan starts the provider's server.
fn bootstraps(world: &ObservedPlan, provider: &str) -> bool {
    world.resolved.steps.iter().any(|step| step.kind.provider() == provider && step.kind.bootstraps())
}

/// The things that the run itself needs to reach a system, and what these depend on: without any of
/// them, nothing else could be removed there.
fn own_access(world: &ObservedPlan) -> HashSet<usize> {
    let steps = &world.resolved.steps;
    let existing = |index: usize| {
        let instance = &world.instances[index];
        instance.exists().then(|| Existing {
            step: index,
            kind: steps[index].kind.name(),
            id: instance.id(),
            outputs: instance.outputs().unwrap_or_default(),
        })
    };
    let things: Vec<Existing> = (0..steps.len()).filter_map(existing).collect();
    let mut found = HashSet::new();
    for provider in world.resolved.providers.iter() {
        let name = provider.provider();
        for step in provider.own_access(&things, bootstraps(world, name), world.resolved.trust.environment())
        {
            let below = world.graph.ancestors(step).into_iter();
            found.extend(below.filter(|index| steps[*index].kind.provider() == name).chain([step]));
        }
    }
    found
}
