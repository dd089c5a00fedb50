//! What becomes of each thing: it goes, it stays, or it must not go.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value};

use super::{Extent, Leftover};
use crate::changeset::Action;
use crate::diff;
use crate::journal::target;
use crate::observe::{Sight, World};
use crate::plan::settings::VaultAuth;
use crate::resolve::declare::PLAN_TAG;
use crate::resource::{Attachment, ErrorKind, Part, Requirement};

/// A thing that exists, or may, and what is to become of it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The step's id, or the leftover's.
    pub id: String,
    /// The kind's name.
    pub kind: &'static str,
    /// How the live system addresses it.
    pub name: String,
    /// The journal's name for it.
    pub target: String,
    /// Targets of the things that it needs.
    pub needs: Vec<String>,
    /// What other steps may refer to.
    pub outputs: Map<String, Value>,
    /// What hangs on it.
    pub attachments: Vec<Attachment>,
    /// The attachments that the plan itself has made.
    pub own: Vec<String>,
    /// Why it cannot be removed by itself, and what it ends with.
    pub part: Option<Part>,
    /// The declared step that has taken its place.
    pub successor: Option<String>,
    /// What is to become of it.
    pub fate: Fate,
}

/// What is to become of a thing, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is removed.
    Goes(Option<String>),
    /// It stays, and so does what it needs.
    Stays(String),
    /// It stays, as long as what it is part of does.
    Lasts(String),
    /// It is not removed, though it should be.
    Held(String),
    /// Nobody could look.
    Unclear(String),
}

impl Fate {
    /// As a reviewer sees it.
    pub fn action(&self) -> Action {
        match self {
            Self::Goes(_) => Action::Delete,
            Self::Stays(_) | Self::Lasts(_) => Action::None,
            Self::Held(_) => Action::Blocked,
            Self::Unclear(_) => Action::Deferred,
        }
    }

    /// Whether what the thing needs must stay because of it.
    pub fn holds(&self) -> bool {
        !matches!(self, Self::Goes(_) | Self::Lasts(_))
    }

    /// Why.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Goes(reason) => reason.as_deref(),
            Self::Stays(reason) | Self::Lasts(reason) | Self::Held(reason) | Self::Unclear(reason) => {
                Some(reason)
            }
        }
    }
}

/// Two clusters can have things of the same name.
const NO_CLUSTER: &str = "the journal does not say in which Vault cluster the plan has made it; declare the step \
                          and apply once more, and it does";

/// What decides over a thing that exists.
struct Facts<'a> {
    permanent: Option<&'a str>,
    foreign: Option<String>,
    retain: bool,
    forbidden: Option<String>,
    removal: Option<&'a str>,
}

fn judge(facts: Facts<'_>) -> Fate {
    match facts {
        Facts { permanent: Some(why), .. } => Fate::Lasts(format!("stays: {why}")),
        Facts { foreign: Some(owner), .. } => Fate::Stays(format!("stays: it {owner}")),
        Facts { retain: true, .. } => Fate::Stays("stays, as `retain: true` says".to_owned()),
        Facts { forbidden: Some(why), .. } => Fate::Held(why),
        Facts { removal, .. } => Fate::Goes(removal.map(str::to_owned)),
    }
}

/// Things that no step declares any more.
pub fn leftovers(world: &World) -> Vec<Candidate> {
    let required = required(world);
    let fate = |leftover: &Leftover| match &leftover.hidden {
        Some(error) => Some(Fate::Unclear(format!("cannot be looked for: {error}"))),
        None if !leftover.remains.exists() => None,
        None => Some(match judge(facts_of_leftover(world, leftover, &required)) {
            Fate::Goes(what) if world.extent == Extent::Undeclared => Fate::Goes(Some(undeclared(what))),
            fate => fate,
        }),
    };
    let all = world.leftovers.iter();
    all.filter_map(|leftover| {
        Some(Candidate {
            id: leftover.id.clone(),
            kind: leftover.kind.name(),
            name: leftover.remains.id(),
            target: leftover.thing.target.clone(),
            needs: leftover.thing.needs.clone(),
            outputs: leftover.remains.outputs().unwrap_or_default(),
            attachments: Vec::new(),
            own: leftover.thing.attaches.clone().unwrap_or_default(),
            part: leftover.remains.part_of(),
            successor: successor(world, leftover),
            fate: fate(leftover)?,
        })
    })
    .collect()
}

/// The step of the same id, which declares another thing now. `destroy` removes that one, too.
fn successor(world: &World, leftover: &Leftover) -> Option<String> {
    let mut steps = world.resolved.steps.iter().filter(|_| world.extent != Extent::Everything);
    steps.find(|step| step.id == leftover.thing.step).map(|step| step.id.clone())
}

fn facts_of_leftover<'a>(
    world: &World,
    leftover: &'a Leftover,
    required: &BTreeSet<(String, String)>,
) -> Facts<'a> {
    let document = &world.resolved.document;
    let said = document.removed(&leftover.id);
    let protect = said.and_then(|step| step.protect).unwrap_or(leftover.thing.protect);
    let moved = document.moved_to(&leftover.thing.step);
    let needed = required.iter().find(|(_, target)| *target == leftover.thing.target);
    let is_lost = leftover.kind.in_cluster() && leftover.thing.cluster.is_none();
    let forbidden = match (moved, needed, protect) {
        _ if is_lost => Some(NO_CLUSTER.to_owned()),
        (Some(new), _, _) => Some(format!(
            "`moved` says that it is of the step `{new}` now, which declares another thing; give that \
             step's thing the old name, or take the line out of `moved`"
        )),
        (None, Some((step, _)), _) if world.extent != Extent::Everything => {
            Some(format!("the step `{step}` still needs it"))
        }
        (None, _, true) => Some(format!(
            "protected; to let it go, write `removed: {{ {}: {{ protect: false }} }}` in the plan",
            quoted(&leftover.id)
        )),
        _ => None,
    };
    Facts {
        permanent: leftover.remains.permanent(),
        foreign: foreign_leftover(world, leftover),
        retain: said.and_then(|step| step.retain).unwrap_or(leftover.thing.retain),
        forbidden,
        removal: leftover.kind.removal(),
    }
}

/// Why a thing goes, and what that means.
fn undeclared(what: Option<String>) -> String {
    let why = "no longer declared";
    what.map_or(why.to_owned(), |what| format!("{why}; {what}"))
}

/// An id as it is written in a plan: that of an instance needs quotes.
fn quoted(id: &str) -> String {
    let plain = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { id.to_owned() } else { format!("\"{id}\"") }
}

/// Whose a tagged thing is now, when it is not this plan's any more.
fn foreign_leftover(world: &World, leftover: &Leftover) -> Option<String> {
    match leftover.remains.tags()?.get(PLAN_TAG) {
        Some(owner) if *owner == world.resolved.document.name => None,
        Some(owner) => Some(format!("belongs to the plan `{owner}`")),
        None if world.things.is_announced(&leftover.thing.target) => None,
        None => Some(format!("carries no tag `{PLAN_TAG}` any more")),
    }
}

/// What the declared steps need of other kinds, whether declared or not: with the step's id.
fn required(world: &World) -> BTreeSet<(String, String)> {
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
pub fn declared(world: &World) -> Vec<Candidate> {
    let login = login(world);
    let targets: Vec<String> = (0..world.resolved.steps.len()).map(|index| world.target(index)).collect();
    let candidate = |index: usize| {
        let instance = &world.instances[index];
        let fate = match &world.sights[index] {
            Sight::Hidden(error) if error.kind == ErrorKind::Uninitialised => return None,
            Sight::Hidden(error) => Fate::Unclear(format!("cannot be looked for: {error}")),
            Sight::Seen if instance.exists() => judge(facts_of_declared(world, index, &login)),
            Sight::Seen | Sight::After(_) | Sight::Nowhere(_) => return None,
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
    (0..targets.len()).filter_map(candidate).collect()
}

/// What a declared step attaches to its thing now, and what it attached when it was applied.
fn own(world: &World, index: usize) -> Vec<String> {
    let recorded = world.things.get(&world.target(index)).and_then(|thing| thing.attaches.clone());
    let declared = world.instances[index].attaches();
    declared.into_iter().chain(recorded).flatten().collect()
}

fn facts_of_declared<'a>(world: &World, index: usize, login: &HashSet<usize>) -> Facts<'a> {
    let step = &world.resolved.steps[index];
    let declared = &world.resolved.document.steps[step.declared];
    let name = &declared.id.name;
    let thing = world.things.get(&world.target(index)).filter(|_| step.kind.in_cluster());
    let elsewhere =
        thing.and_then(|thing| thing.cluster.as_ref()).filter(|there| Some(*there) != world.cluster.as_ref());
    let elsewhere = elsewhere
        .map(|there| format!("is the plan's in another Vault cluster, {there}, as its journal says"));
    let forbidden = if thing.is_some_and(|thing| thing.cluster.is_none()) {
        Some(NO_CLUSTER.to_owned())
    } else if declared.protect.unwrap_or_else(|| step.kind.protected()) {
        Some("protected; to let it go, say `protect: false` in the step".to_owned())
    } else if world.resolved.custody_references.contains(name) {
        let why = "custody lies in it or is opened with it, and custody is never removed; to let it go, \
                   take it out of `custody:` first";
        Some(why.to_owned())
    } else if world.resolved.place_references.contains(name) {
        let why = "the journal's copy or the lock is in it; to let it go, take that section out of the plan";
        Some(why.to_owned())
    } else if login.contains(&index) {
        let why = "this run itself logs in to Vault through it; to let it go, give another \
                   administrator's token in VAULT_TOKEN";
        Some(why.to_owned())
    } else {
        None
    };
    Facts {
        permanent: world.instances[index].remains().permanent(),
        foreign: elsewhere.or_else(|| diff::foreign(world, index)),
        retain: declared.retain,
        forbidden,
        removal: step.kind.removal(),
    }
}

/// The role through which this run logs in to Vault, and what that rests on: with any of it gone,
/// nothing more could be removed there.
fn login(world: &World) -> HashSet<usize> {
    let steps = &world.resolved.steps;
    let of_kind = |kind: &'static str| {
        (0..steps.len())
            .filter(move |index| steps[*index].kind.name() == kind && world.instances[*index].exists())
    };
    let root_is_gone =
        of_kind("vault.root_token").next().is_some() || !steps.iter().any(|step| step.kind.bootstraps());
    if std::env::var_os("VAULT_TOKEN").is_some() || !root_is_gone {
        return HashSet::new();
    }
    let admins = of_kind("vault.root_token").filter_map(|index| {
        let outputs = world.instances[index].outputs()?;
        Some(format!("/{}", outputs.get("admin_role")?.as_str()?))
    });
    let declared = world
        .resolved
        .vault
        .auth
        .iter()
        .map(|VaultAuth::Approle(approle)| format!("{}/{}", approle.mount, approle.role));
    let names: Vec<String> = admins.chain(declared).collect();
    let roles = of_kind("vault.approle_role").filter(|index| {
        let id = world.instances[*index].id();
        names.iter().any(|name| id == *name || (name.starts_with('/') && id.ends_with(name)))
    });
    roles
        .flat_map(|role| {
            let below = world.graph.ancestors(role).into_iter();
            below.filter(|index| steps[*index].kind.provider() == "vault").chain([role])
        })
        .collect()
}
