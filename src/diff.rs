//! Compares desired and observed state, and decides the action for each step.

mod replacement;
mod rotation;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use crate::changeset::{Action, Changeset, Error, RemovalScope, StepChange};
use crate::error::ErrorKind;
use crate::journal::Thing;
use crate::observe::{Observation, ObservedPlan};
use crate::place::Realm;
use crate::plan::{Diagnostic, Diagnostics};
use crate::removal;
use crate::resolve::step_secrets::StepSecret;
use crate::resolve::{OutputTable, declare, diagnose};
use crate::resource::Diff;
use crate::resource::erased::View;
use crate::secret::{Fields, Loader, Secret};
use crate::template::unknown;

use replacement::{Anew, has_new_outputs};

pub use rotation::ROTATED;

/// Compares every step in graph order, so that each step sees the outputs of the steps before it.
/// Removals follow.
///
/// # Errors
/// Mistakes in the plan that become visible only with values from other steps.
pub fn compare(world: &mut ObservedPlan) -> Result<Changeset, Error> {
    let mut steps = match world.extent {
        RemovalScope::Everything | RemovalScope::Teardown => Vec::new(),
        RemovalScope::Nothing | RemovalScope::Undeclared => compare_steps(world)?,
    };
    let removals = removal::decide(world, &steps);
    steps.extend(removals.steps);
    let selection = world.selected.asked.clone();
    Ok(Changeset::new(&world.resolved.document, world.extent, selection, steps, removals.undeclared))
}

fn compare_steps(world: &mut ObservedPlan) -> Result<Vec<StepChange>, Diagnostics> {
    let loader = declare::loader(&world.resolved);
    let mut outputs = OutputTable::new();
    let mut steps = Vec::new();
    let anew = Anew::of(world);
    let mut mistakes = Vec::new();
    // Secrets that this run changes are not known before it.
    let mut changing: HashSet<(usize, String)> = HashSet::new();
    for index in world.graph.order.clone() {
        if !world.selected.has(index) {
            rotation::take_outputs(world, index, &mut outputs, &loader);
            continue;
        }
        let mut secrets = step_secrets(world, index);
        secrets.retain(|_, (secret, _)| !changing.contains(secret));
        match redeclare(world, index, &outputs, &loader, values(secrets)) {
            Ok(()) => {
                let change = anew.changed(world, index, decide(world, index));
                if has_new_outputs(world, index, change.action) {
                    let predicted = world.predicted_outputs(index);
                    outputs.insert(world.resolved.steps[index].id.clone(), predicted);
                } else {
                    add_outputs(world, index, &mut outputs);
                }
                let sensitive = change.changes.iter().filter(|change| change.sensitive);
                changing.extend(sensitive.map(|change| (index, change.path.clone())));
                steps.push(change);
            }
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() {
        Ok(steps)
    } else {
        Err(Diagnostics::new(world.resolved.document.sources.clone(), mistakes))
    }
}

/// The secrets that a step takes from others, as far as they were read, by the references of the step.
fn step_secrets(world: &ObservedPlan, index: usize) -> BTreeMap<String, (StepSecret, Secret)> {
    let step = &world.resolved.steps[index];
    let taken = world.instances[index].step_secrets().into_iter();
    let read = |written: String| {
        let secret = world.resolved.step_secret(step, &written)?;
        let value = world.instances[secret.0].secret(&secret.1)?;
        Some((written, (secret, value)))
    };
    taken.filter_map(read).collect()
}

fn values(secrets: BTreeMap<String, (StepSecret, Secret)>) -> Fields {
    secrets.into_iter().map(|(written, (_, value))| (written, value)).collect()
}

/// Evaluates a step's fields and secret inputs with the outputs known so far, and with the secrets of the steps
/// before it as they are now.
///
/// # Errors
/// As [`redeclare`].
pub fn redeclare_for_write(
    world: &mut ObservedPlan,
    index: usize,
    outputs: &OutputTable,
    loader: &Loader,
) -> Result<(), Vec<Diagnostic>> {
    let secrets = values(step_secrets(world, index));
    redeclare(world, index, outputs, loader, secrets)
}

/// Evaluates a step's fields and secret inputs with the outputs and secrets known so far.
///
/// # Errors
/// Mistakes in the fields and unreadable sources, with their places.
fn redeclare(
    world: &mut ObservedPlan,
    index: usize,
    outputs: &OutputTable,
    loader: &Loader,
    secrets: Fields,
) -> Result<(), Vec<Diagnostic>> {
    let step = &world.resolved.steps[index];
    let node = &world.resolved.document.steps[step.declared].fields;
    let fields = declare::fields(&world.resolved, step, outputs)?;
    let instance = &mut world.instances[index];
    instance.redeclare(Value::Object(fields)).map_err(|found| diagnose(node, found))?;
    let span = world.resolved.document.steps[step.declared].id.span;
    instance
        .load(&loader.seeing(world.resolved.context_of(step), secrets))
        .map_err(|error| vec![Diagnostic::error(span, format!("step `{}`: {error}", step.id))])
}

/// Adds a step's known outputs: the live ones, or those that are certain in advance.
pub fn add_outputs(world: &ObservedPlan, index: usize, outputs: &mut OutputTable) {
    let instance = &world.instances[index];
    let known = instance.outputs().unwrap_or_else(|| world.predicted_outputs(index));
    outputs.insert(world.resolved.steps[index].id.clone(), known);
}

/// The action for one step.
pub fn decide(world: &ObservedPlan, index: usize) -> StepChange {
    let instance = &world.instances[index];
    let (action, changes, reason) = match &world.observations[index] {
        Observation::AddressUnknown(references) => (
            Action::Deferred,
            Vec::new(),
            Some(format!("its location depends on {references}, known after apply")),
        ),
        Observation::Failed(error) if error.kind == ErrorKind::Unknown => {
            (Action::Blocked, Vec::new(), Some(hidden(world, index, error)))
        }
        Observation::Failed(error) => (Action::Deferred, Vec::new(), Some(hidden(world, index, error))),
        Observation::NotAsked => {
            (Action::Deferred, Vec::new(), Some("it is outside of what `--target` names".to_owned()))
        }
        Observation::BehindBootstrap(first) => {
            let reason = format!("after {} has initialised the server", world.resolved.steps[*first].id);
            (Action::Create, instance.preview().changes, Some(reason))
        }
        Observation::Observed if instance.is_unread() => unread(world, index),
        Observation::Observed => match instance.diff(view(world, index)) {
            None => (Action::Create, instance.preview().changes, None),
            Some(diff) => existing(world, index, diff),
        },
    };
    let step = &world.resolved.steps[index];
    let needs: BTreeSet<&usize> = world.graph.needs[index].iter().collect();
    let differs = matches!(action, Action::Update | Action::Adopt | Action::Blocked);
    let diff = if differs && !instance.is_unread() { instance.diff(view(world, index)) } else { None };
    StepChange {
        id: step.id.clone(),
        kind: step.kind.name(),
        name: unknown::describe(&instance.id()),
        action,
        changes: changes.into_iter().map(described).collect(),
        unchanged: diff.map(|diff| diff.unchanged).unwrap_or_default(),
        needs: needs.into_iter().map(|need| world.resolved.steps[*need].id.clone()).collect(),
        reason,
        unprotected: step.kind.protected() && step.says_unprotected(),
    }
}

type Decision = (Action, Vec<crate::resource::Change>, Option<String>);

/// Decides for a thing that exists: ours or not, the same or not, changeable or not.
fn existing(world: &ObservedPlan, index: usize, diff: Diff) -> Decision {
    let step = &world.resolved.steps[index];
    let declared = &world.resolved.document.steps[step.declared];
    let in_words = |blocked: &crate::resource::Blocked| match blocked.path.as_str() {
        "" => blocked.why.clone(),
        path => format!("{path}: {}", blocked.why),
    };
    let why = diff.blocked.iter().map(in_words).collect::<Vec<_>>();
    if !why.is_empty() {
        return (Action::Blocked, diff.changes, Some(why.join("; ")));
    }
    match foreign(world, index) {
        Some(_) if declared.adopt => {
            (Action::Adopt, diff.changes, Some("adopted because of `adopt: true`".to_owned()))
        }
        None if diff.is_empty() => (Action::None, Vec::new(), renamed(world, index)),
        None => (Action::Update, diff.changes, renamed(world, index)),
        // Nothing will be written, so the owner does not matter.
        Some(_) if diff.is_empty() => (Action::None, Vec::new(), None),
        Some(owner) => (
            Action::Blocked,
            diff.changes,
            Some(format!("it exists and {owner}; to adopt it, add `adopt: true` to the step")),
        ),
    }
}

/// The part of a step's secret values that may be compared before the plan is approved.
fn view(world: &ObservedPlan, index: usize) -> View<'_> {
    View::Recorded(world.record(index).and_then(|thing| thing.secrets.as_ref()))
}

/// A thing that holds values and that the journal does not know. The changeset shows only what the
/// plan declares for it, and nothing of its live values.
fn unread(world: &ObservedPlan, index: usize) -> Decision {
    let changes = world.instances[index].preview().changes;
    let declared = &world.resolved.document.steps[world.resolved.steps[index].declared];
    match foreign(world, index) {
        Some(_) if declared.adopt => {
            (Action::Adopt, changes, Some(format!("taken over, as `adopt: true` says; {UNREAD}")))
        }
        Some(owner) => (
            Action::Blocked,
            changes,
            Some(format!("it exists and {owner}; {UNREAD}; to take it over, add `adopt: true` to the step")),
        ),
        None => (
            Action::Update,
            changes,
            Some(format!("this plan's journal does not say that it made it; {UNREAD}, which `apply` does")),
        ),
    }
}

const UNREAD: &str = "what is in it was not compared";

/// The id that the step had when its thing was last written, if it was different.
fn renamed(world: &ObservedPlan, index: usize) -> Option<String> {
    let before = &world.record(index)?.step;
    (*before != world.resolved.steps[index].id).then(|| format!("was the step `{before}`"))
}

/// The owner of a thing that is not this plan's, according to its tags or else the journal.
/// Once-only things are recognised by custody's records.
pub fn foreign(world: &ObservedPlan, index: usize) -> Option<String> {
    let kind = world.resolved.steps[index].kind;
    let name = &world.resolved.document.name;
    match world.instances[index].tags() {
        Some(tags) => match tags.get(declare::PLAN_TAG) {
            Some(owner) if owner == name => None,
            Some(owner) => Some(format!("belongs to the plan `{owner}`")),
            // Created by a run that was interrupted before it set the tags.
            None if world.record(index).is_some_and(|thing| world.things.is_announced(thing)) => None,
            None => {
                Some(format!("does not have the tag `{}`, so this plan did not create it", declare::PLAN_TAG))
            }
        },
        None if kind.once_only() || world.record(index).is_some() => None,
        None => Some(match elsewhere(world, index) {
            Some(realm) => format!("is not this plan's, whose journal has one of this name in {realm}"),
            None => "is not in this plan's journal".to_owned(),
        }),
    }
}

/// The realm of a thing of this plan that has a step's name and is certainly another one.
fn elsewhere(world: &ObservedPlan, index: usize) -> Option<Realm> {
    let (kind, name) = (world.resolved.steps[index].kind.name(), world.instances[index].name());
    let mut others = world.things.iter().filter(|thing| thing.kind() == kind && thing.bare_name() == name);
    others.find(|thing| thing.realm().conflicts(&world.realm(index))).map(Thing::realm)
}

/// Why a live thing could not be read, and advice.
fn hidden(world: &ObservedPlan, index: usize, error: &crate::error::Error) -> String {
    let unsealer = world.bootstrap_of(index).filter(|_| error.kind == ErrorKind::Sealed);
    match (unsealer, &error.advice) {
        (Some(step), _) => format!("{}; after {} unseals it", error.message, world.resolved.steps[step].id),
        (None, Some(advice)) => format!("{error}; {advice}"),
        (None, None) => error.to_string(),
    }
}

/// Replaces markers with descriptions, for people and JSON alike.
pub fn described(mut change: crate::resource::Change) -> crate::resource::Change {
    change.path = unknown::describe(&change.path);
    describe_value(&mut change.before);
    describe_value(&mut change.after);
    change
}

fn describe_value(value: &mut Value) {
    match value {
        Value::String(text) if unknown::is_unknown(text) => *text = unknown::describe(text),
        Value::Array(items) => items.iter_mut().for_each(describe_value),
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(key, mut value)| {
                    describe_value(&mut value);
                    (unknown::describe(&key), value)
                })
                .collect();
        }
        _ => {}
    }
}
