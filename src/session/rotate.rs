//! The subject of a rotation: which secrets are to be rotated, which rotations are under way, and which steps follow.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::{Error, Session};
use crate::apply::rotation::{self, Begun};
use crate::changeset::{Action, Changeset};
use crate::graph::Selected;
use crate::health::Due;
use crate::observe::ObservedPlan;
use crate::plan::{Diagnostic, Diagnostics};
use crate::resolve::Resolved;
use crate::resource::erased::Instance;
use crate::resource::{Pending, Rotation, Turn};

/// The caller's choice of secrets to rotate.
#[derive(Clone, Debug)]
pub enum Rotated {
    /// Nothing: only see what could be.
    Nothing,
    /// These steps.
    Steps(Vec<String>),
    /// The steps whose date has come, and those whose rotation is under way.
    Due,
    /// Back to the secret before, for this step.
    Back(String),
}

/// A step that can be rotated, and how its secret stands.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The step.
    pub id: String,
    /// Its kind.
    pub kind: &'static str,
    /// When its secret has to be replaced, if it has a date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Due>,
    /// A rotation that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

impl Standing {
    /// Whether its date has come.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due.as_ref().and_then(|due| due.by).is_some_and(|by| by <= now)
    }
}

impl Session {
    /// The steps that can be rotated.
    pub fn standings(&self) -> Vec<Standing> {
        standings(&self.world).into_iter().map(|(_, standing)| standing).collect()
    }

    /// Limits this run to a rotation, and compares for it. Rotations that an earlier run has begun are completed
    /// first: a step that has its new secret already is not rotated once more.
    ///
    /// # Errors
    /// Steps that the plan does not have, and mistakes that only live values bring to light.
    pub async fn rotation(&mut self, wanted: &Rotated, now: Timestamp) -> Result<Changeset, Error> {
        let chosen = self.chosen(wanted, now)?;
        let (mut rotated, mut resumed, mut sources) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for (index, turn) in chosen {
            let begun = rotation::begun(&self.world, &self.run, index);
            let is_pending = self.world.instances[index].pending().is_some();
            if begun == Some(Begun::Rotated) {
                resumed.insert(index);
            }
            if is_pending || begun != Some(Begun::Rotated) {
                rotated.insert(index, turn);
            }
            let in_place = matches!(self.world.resolved.steps[index].kind.rotation(), Rotation::InPlace(_));
            // While an old secret is on its way out, the others have the new one already.
            if in_place {
                continue;
            }
            if !is_pending || begun.is_some() || turn == Turn::Back {
                sources.insert(index);
            }
        }
        let followers = followers(&self.world, &sources);
        let world = &mut self.world;
        world.selected = Selected::rotation(&world.resolved, &world.graph, rotated, &resumed, followers);
        (world.orphans, world.elsewhere) = (Vec::new(), Vec::new());
        self.compare().await
    }

    fn chosen(&self, wanted: &Rotated, now: Timestamp) -> Result<BTreeMap<usize, Turn>, Error> {
        let all = standings(&self.world);
        let forward = |index: usize| (index, Turn::Forward);
        Ok(match wanted {
            Rotated::Nothing => BTreeMap::new(),
            Rotated::Steps(ids) => self.named(ids)?.into_iter().map(forward).collect(),
            Rotated::Back(id) => {
                self.named(std::slice::from_ref(id))?.into_iter().map(|index| (index, Turn::Back)).collect()
            }
            Rotated::Due => {
                let is_begun = |index: usize| rotation::begun(&self.world, &self.run, index).is_some();
                let concerns = |(index, standing): &(usize, Standing)| {
                    standing.is_due(now) || standing.pending.is_some() || is_begun(*index)
                };
                all.iter().filter(|one| concerns(one)).map(|(index, _)| forward(*index)).collect()
            }
        })
    }

    fn named(&self, ids: &[String]) -> Result<BTreeSet<usize>, Error> {
        let resolved = &self.world.resolved;
        let mistakes = |found: Vec<Diagnostic>| Diagnostics::new(resolved.document.sources.clone(), found);
        let named = Selected::named(resolved, ids, "rotate").map_err(mistakes)?;
        Ok(named)
    }

    /// Whether this run rotates the step, or completes its rotation.
    pub fn rotates(&self, id: &str) -> bool {
        self.world.selected.begun().any(|index| self.world.resolved.steps[index].id == id)
    }

    /// Whether rotations of an earlier run are to be completed, even if nothing has to be written for it.
    pub fn completes_rotation(&self) -> bool {
        let rotated = self.world.selected.rotated();
        self.world.selected.begun().any(|index| !rotated.contains_key(&index))
    }
}

/// The rotations of this changeset that can do nothing now, because an old secret is still to be waited for.
pub fn waiting(changeset: &Changeset, standings: &[Standing]) -> Vec<Standing> {
    let waits = |standing: &&Standing| {
        let step = changeset.step(&standing.id).filter(|step| step.action == Action::None);
        step.is_some() && standing.pending.is_some()
    };
    standings.iter().filter(waits).cloned().collect()
}

fn standings(world: &ObservedPlan) -> Vec<(usize, Standing)> {
    let steps = world.resolved.steps.iter().enumerate();
    let can = steps.filter(|(_, step)| step.kind.rotation().refusal().is_none());
    can.map(|(index, step)| {
        let instance = &world.instances[index];
        let of = |due: Due| Due { of: step.id.clone(), ..due };
        let due = instance.due().into_iter().filter(|due| due.by.is_some()).min_by_key(|due| due.by).map(of);
        (index, Standing { id: step.id.clone(), kind: step.kind.name(), due, pending: instance.pending() })
    })
    .collect()
}

/// The steps that take a secret or an output of these, directly or not.
fn followers(world: &ObservedPlan, sources: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut found: BTreeSet<usize> = BTreeSet::new();
    for index in &world.graph.order {
        let from = taken(&world.resolved, &world.instances[*index], *index);
        if from.iter().any(|other| sources.contains(other) || found.contains(other)) {
            found.insert(*index);
        }
    }
    found
}

/// The steps of which this one takes a secret or an output.
pub(super) fn taken(resolved: &Resolved, instance: &dyn Instance, index: usize) -> Vec<usize> {
    let step = &resolved.steps[index];
    let secrets = instance.step_secrets();
    let secrets = secrets.iter().filter_map(|written| resolved.step_secret(step, written));
    let outputs = step.references.iter().flat_map(|name| resolved.instances_of(name, Some(step)));
    secrets.map(|(other, _)| other).chain(outputs.copied()).collect()
}
