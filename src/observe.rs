//! Reads the live systems, all things at once, without writing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::changeset::RemovalScope;
use crate::error::{Error, ErrorKind};
use crate::event::Events;
use crate::graph::{Graph, Selected};
use crate::journal::{Thing, Things, record_in, target};
use crate::place::{Place, Realm, Realms};
use crate::removal;
use crate::removal::{Attached, Orphan};
use crate::resolve::{OutputTable, Resolved, declare};
use crate::resource::erased::Instance;
use crate::run::Run;
use crate::template::unknown;

/// The observation of one step's live thing.
#[derive(Debug)]
pub enum Observation {
    /// It was read; [`Instance::exists`] returns whether it exists.
    Observed,
    /// It cannot exist before the step with this index is done.
    BehindBootstrap(usize),
    /// Its location depends on these outputs, which are not known yet.
    AddressUnknown(String),
    /// Reading failed.
    Failed(Error),
    /// It is outside of the part of the plan that the run is limited to.
    NotAsked,
}

/// All steps with their declarations and observations.
pub struct ObservedPlan {
    /// The plan.
    pub resolved: Resolved,
    /// The edges.
    pub graph: Graph,
    /// Declared and live state, one for each step.
    pub instances: Instances,
    /// The observation of each step.
    pub observations: Vec<Observation>,
    /// The realms of the places that steps use, as far as the live systems have reported them.
    pub realms: Realms,
    /// Where the plan works, for the head of a review: the realms that were asked for first.
    pub whereabouts: Option<String>,
    /// The things that the journal records as this plan's.
    pub things: Things,
    /// The same by kind and the name that the live system compares.
    recorded: HashMap<(String, String), Vec<Thing>>,
    /// Of these, the ones that no step declares any longer.
    pub orphans: Vec<Orphan>,
    /// Things of this plan in realms that this run does not go to.
    pub elsewhere: Vec<Thing>,
    /// The attachments of the things that may be removed.
    pub attached: Attached,
    /// The things to remove.
    pub extent: RemovalScope,
    /// The steps that the run deals with.
    pub selected: Selected,
}

/// One instance for each step; an instance is taken out while a task works on it.
pub struct Instances(Vec<Option<Box<dyn Instance>>>);

impl Instances {
    fn new(instances: Vec<Box<dyn Instance>>) -> Self {
        Self(instances.into_iter().map(Some).collect())
    }

    /// The number of steps.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the plan does not have any steps.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a step's instance out.
    ///
    /// # Panics
    /// When a task already has it.
    pub fn take(&mut self, index: usize) -> Box<dyn Instance> {
        self.0[index].take().expect("a step is worked on by one task at a time")
    }

    /// Puts a step's instance back.
    pub fn put(&mut self, index: usize, instance: Box<dyn Instance>) {
        self.0[index] = Some(instance);
    }

    /// All instances that no task has taken out.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Instance> {
        self.0.iter().flatten().map(AsRef::as_ref)
    }

    /// All instances that no task has taken out, with their steps' indices.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Box<dyn Instance>)> {
        self.0.iter_mut().enumerate().filter_map(|(index, slot)| Some((index, slot.as_mut()?)))
    }
}

impl Index<usize> for Instances {
    type Output = dyn Instance;

    fn index(&self, index: usize) -> &Self::Output {
        self.0[index].as_deref().expect("nothing asks for a step that is being worked on")
    }
}

impl IndexMut<usize> for Instances {
    fn index_mut(&mut self, index: usize) -> &mut Self::Output {
        self.0[index].as_deref_mut().expect("nothing asks for a step that is being worked on")
    }
}

/// Observes every step, at most `parallelism` at once.
///
/// Identities that contain outputs of other steps are observed in a later round, when these outputs
/// are known. Errors are kept as [`Observation::Failed`]; a later stage decides what they mean.
pub async fn observe(
    resolved: Resolved,
    graph: Graph,
    instances: Vec<Box<dyn Instance>>,
    selected: Selected,
    run: &Run,
    parallelism: usize,
    events: &Events,
) -> ObservedPlan {
    let observations = instances.iter().map(|_| Observation::NotAsked).collect();
    let (whereabouts, realms) = (whereabouts(run, &resolved.realms), resolved.realms.clone());
    let mut world = ObservedPlan {
        resolved,
        graph,
        instances: Instances::new(instances),
        observations,
        whereabouts,
        realms,
        things: Things::default(),
        recorded: HashMap::new(),
        orphans: Vec::new(),
        elsewhere: Vec::new(),
        attached: Attached::default(),
        extent: RemovalScope::default(),
        selected,
    };
    observe_all(&mut world, run, parallelism, events).await;
    world
}

/// The plan's own places that were asked for first, in words.
fn whereabouts(run: &Run, realms: &Realms) -> Option<String> {
    let first = run.connections.iter().filter(|connection| connection.asks_first());
    let known: Vec<String> = first
        .map(|connection| realms.of(connection.provider(), &Place::OWN))
        .filter(|realm| !realm.is_unknown())
        .map(|realm| realm.to_string())
        .collect();
    (!known.is_empty()).then(|| known.join("; "))
}

/// Observes every step again.
pub async fn observe_again(world: &mut ObservedPlan, run: &Run, parallelism: usize) {
    run.forget().await;
    observe_all(world, run, parallelism, &Events::default()).await;
    world.attached = removal::attached(world, run, parallelism).await;
}

/// Asks the systems what the writes of these steps would do, at most `parallelism` at once. Returns whether any
/// was asked.
pub async fn rehearse(
    world: &mut ObservedPlan,
    steps: &BTreeSet<usize>,
    run: &Run,
    parallelism: usize,
) -> bool {
    let steps: BTreeSet<usize> = steps
        .iter()
        .copied()
        .filter(|index| world.resolved.steps[*index].kind.rehearsed())
        .filter(|index| matches!(world.observations[*index], Observation::Observed))
        .collect();
    let limit = Arc::new(Semaphore::new(parallelism));
    let asked =
        world.instances.iter_mut().filter(|(index, _)| steps.contains(index)).map(|(index, instance)| {
            let limit = Arc::clone(&limit);
            async move {
                let _turn = limit.acquire_owned().await;
                (index, instance.rehearse(run).await)
            }
        });
    for (index, result) in join_all(asked).await {
        if let Err(error) = result {
            world.observations[index] = Observation::Failed(error);
        }
    }
    !steps.is_empty()
}

async fn observe_all(world: &mut ObservedPlan, run: &Run, parallelism: usize, events: &Events) {
    world.record_things(run.journal.things());
    let mut pending: Vec<usize> =
        (0..world.instances.len()).filter(|index| world.selected.reads(*index)).collect();
    let total = pending.len();
    loop {
        let (ready, waiting): (Vec<usize>, Vec<usize>) =
            pending.into_iter().partition(|index| !unknown::is_unknown(&world.instances[*index].id()));
        if ready.is_empty() {
            for index in waiting {
                let id = world.instances[index].id();
                let references: Vec<&str> = unknown::references(&id).collect();
                world.observations[index] = Observation::AddressUnknown(references.join(", "));
            }
            break;
        }
        ask_realms(world, &ready, run).await;
        for index in &ready {
            let known = world.record(*index).is_some();
            world.instances[*index].recognise(known);
            load_first(world, *index);
        }
        observe_round(world, &ready, total, run, parallelism, events).await;
        world.explain_absences(&ready);
        redeclare(world, &waiting);
        pending = waiting;
    }
    if !world.selected.is_partial() {
        (world.orphans, world.elsewhere) = removal::observe(world, run, parallelism).await;
    }
}

/// Loads the files of a step whose kind reads by them. A mistake is found again, and reported, when the
/// differences are computed.
fn load_first(world: &mut ObservedPlan, index: usize) {
    let step = &world.resolved.steps[index];
    if step.kind.files_first() {
        let loader =
            declare::loader(&world.resolved).seeing(world.resolved.context_of(step), BTreeMap::new());
        let _ = world.instances[index].load(&loader);
    }
}

/// Asks for the realms of the places of these steps. A system that cannot be asked has an unknown realm;
/// observing its steps says why.
async fn ask_realms(world: &mut ObservedPlan, steps: &[usize], run: &Run) {
    let is_in_realm = |index: &&usize| !world.resolved.steps[**index].kind.realm().is_empty();
    let places: BTreeSet<(&'static str, Place)> =
        steps.iter().filter(is_in_realm).map(|index| world.place(*index)).collect();
    let asked = places.into_iter().map(|(provider, place)| async move {
        let realm = run.realm(provider, &place).await;
        realm.map(|realm| (provider, realm, place))
    });
    for (provider, realm, place) in join_all(asked).await.into_iter().flatten() {
        world.realms.set(provider, place, realm);
    }
}

async fn observe_round(
    world: &mut ObservedPlan,
    ready: &[usize],
    total: usize,
    run: &Run,
    parallelism: usize,
    events: &Events,
) {
    let before = total - ready.len();
    let limit = Arc::new(Semaphore::new(parallelism));
    let chosen: std::collections::HashSet<usize> = ready.iter().copied().collect();
    let mut running: FuturesUnordered<_> = world
        .instances
        .iter_mut()
        .filter(|(index, _)| chosen.contains(index))
        .map(|(index, instance)| {
            let limit = Arc::clone(&limit);
            async move {
                let _turn = limit.acquire_owned().await;
                (index, instance.observe(run).await)
            }
        })
        .collect();
    let mut results = Vec::new();
    events.progress(format!("reading {total} resources"));
    while let Some(result) = running.next().await {
        results.push(result);
        events.progress(format!("reading: {} of {total}", before + results.len()));
    }
    drop(running);
    for (index, result) in results {
        world.observations[index] = match result {
            Ok(()) => Observation::Observed,
            Err(error) => Observation::Failed(error),
        };
    }
}

/// Evaluates the identities of waiting steps again, with the outputs known so far.
fn redeclare(world: &mut ObservedPlan, waiting: &[usize]) {
    let outputs = world.known_outputs();
    for index in waiting {
        let fields = declare::fields(&world.resolved, &world.resolved.steps[*index], &outputs);
        if let Ok(fields) = fields {
            // A mistake here is found again, and reported, when the differences are computed.
            let _ = world.instances[*index].redeclare(Value::Object(fields));
        }
    }
}

impl ObservedPlan {
    /// The live outputs of all things that exist.
    pub fn outputs(&self) -> OutputTable {
        let steps = self.resolved.steps.iter().zip(self.instances.iter());
        steps.filter_map(|(step, instance)| Some((step.id.clone(), instance.outputs()?))).collect()
    }

    /// The step that brings up the server on which this step depends, if the plan has it.
    pub fn bootstrap_of(&self, index: usize) -> Option<usize> {
        let bootstraps = |ancestor: &usize| self.resolved.steps[*ancestor].kind.bootstraps();
        self.graph.ancestors(index).into_iter().find(bootstraps)
    }

    /// The provider and place of a step's thing.
    pub fn place(&self, index: usize) -> (&'static str, Place) {
        (self.resolved.steps[index].kind.provider(), self.instances[index].place().clone())
    }

    /// The realm of a step's thing, as far as its kind's names depend on it.
    pub fn realm(&self, index: usize) -> Realm {
        let (provider, place) = self.place(index);
        self.realms.of(provider, &place).only(self.resolved.steps[index].kind.realm())
    }

    /// The journal's record of a step's live thing, if it is this plan's or may have become so.
    pub fn record(&self, index: usize) -> Option<&Thing> {
        let (kind, instance) = (self.resolved.steps[index].kind, &self.instances[index]);
        let records = self.recorded.get(&(kind.name().to_owned(), instance.same_name()))?;
        record_in(records, &self.realm(index), instance.place())
    }

    /// Takes over what the journal records now.
    fn record_things(&mut self, things: Things) {
        self.recorded.clear();
        for thing in things.iter() {
            let kind = self.resolved.registry.find(thing.kind());
            let recorded = kind.and_then(|kind| kind.recall(&thing.address));
            let name = recorded.map_or_else(|| thing.bare_name().to_owned(), |recorded| recorded.same_name());
            self.recorded.entry((thing.kind().to_owned(), name)).or_default().push(thing.clone());
        }
        self.things = things;
    }

    /// The outputs of a step's thing that are certain in advance.
    pub fn predicted_outputs(&self, index: usize) -> Map<String, Value> {
        let (provider, place) = self.place(index);
        self.instances[index].predicted_outputs(&self.realms.of(provider, &place))
    }

    /// The journal's name for a step's thing.
    pub fn target(&self, index: usize) -> String {
        target(self.resolved.steps[index].kind.name(), &self.instances[index].id())
    }

    /// Whether the outcome of an earlier run is unknown and requires a person's decision.
    pub fn has_unknown(&self) -> bool {
        self.observations
            .iter()
            .any(|observation| matches!(observation, Observation::Failed(error) if error.kind == ErrorKind::Unknown))
    }

    /// The live outputs, and the certain outputs of things that do not exist yet.
    pub fn known_outputs(&self) -> OutputTable {
        let known = |index: usize| {
            let outputs = self.instances[index].outputs();
            outputs.unwrap_or_else(|| self.predicted_outputs(index))
        };
        let steps = self.resolved.steps.iter().enumerate();
        steps.map(|(index, step)| (step.id.clone(), known(index))).collect()
    }

    /// A server that is not initialised is empty: if the plan initialises it, a thing that could
    /// not be read does not exist yet.
    fn explain_absences(&mut self, indices: &[usize]) {
        for index in indices {
            let uninitialised = matches!(&self.observations[*index], Observation::Failed(error) if error.kind == ErrorKind::Uninitialised);
            if !uninitialised {
                continue;
            }
            if let Some(initialiser) = self.bootstrap_of(*index)
                && matches!(self.observations[initialiser], Observation::Observed)
                && !self.instances[initialiser].exists()
            {
                self.instances[*index].assume_absent();
                self.observations[*index] = Observation::BehindBootstrap(initialiser);
            }
        }
    }
}
