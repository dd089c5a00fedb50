//! Reading the live systems, everything at once, nothing written.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::event::Events;
use crate::graph::Graph;
use crate::journal::{Things, target};
use crate::providers::Providers;
use crate::removal::{self, Attached, Extent, Leftover};
use crate::resolve::{OutputTable, Resolved, declare, unknown};
use crate::resource::erased::Instance;
use crate::resource::{Error, ErrorKind, Scope};

/// What is known of one step's live counterpart.
#[derive(Debug)]
pub enum Sight {
    /// It was looked for; [`Instance::exists`] tells whether it is there.
    Seen,
    /// It cannot exist before the step with this index is done.
    After(usize),
    /// Where to look depends on outputs that are not known; their references.
    Nowhere(String),
    /// Looking failed.
    Hidden(Error),
}

/// All steps with their declarations and what was seen.
pub struct World {
    /// The plan.
    pub resolved: Resolved,
    /// The edges.
    pub graph: Graph,
    /// Declared and live state, one for each step.
    pub instances: Instances,
    /// What was seen of each.
    pub sights: Vec<Sight>,
    /// Account, region and plan.
    pub scope: Scope,
    /// The id of the Vault cluster, where the plan has to do with one that tells it.
    pub cluster: Option<String>,
    /// What the journal knows as this plan's.
    pub things: Things,
    /// Those things among them that no step declares any more.
    pub leftovers: Vec<Leftover>,
    /// What hangs on the things that may be removed.
    pub attached: Attached,
    /// What is to be removed.
    pub extent: Extent,
}

/// One instance for each step; one that is being worked on is out for that time.
pub struct Instances(Vec<Option<Box<dyn Instance>>>);

impl Instances {
    fn new(instances: Vec<Box<dyn Instance>>) -> Self {
        Self(instances.into_iter().map(Some).collect())
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no step.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a step's instance out.
    ///
    /// # Panics
    /// When it is out already.
    pub fn take(&mut self, index: usize) -> Box<dyn Instance> {
        self.0[index].take().expect("a step is worked on by one task at a time")
    }

    /// Puts a step's instance back.
    pub fn put(&mut self, index: usize, instance: Box<dyn Instance>) {
        self.0[index] = Some(instance);
    }

    /// All instances that are in.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Instance> {
        self.0.iter().flatten().map(AsRef::as_ref)
    }

    /// All instances that are in, with their steps' indices.
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
/// Identities that hold outputs of other steps are observed in a later round, when those are
/// known. Errors are kept as [`Sight::Hidden`]; what they mean is decided later.
pub async fn observe(
    resolved: Resolved,
    graph: Graph,
    instances: Vec<Box<dyn Instance>>,
    providers: &Providers,
    scope: Scope,
    parallelism: usize,
    events: &Events,
) -> World {
    let sights = instances.iter().map(|_| Sight::Nowhere(String::new())).collect();
    let mut world = World {
        resolved,
        graph,
        instances: Instances::new(instances),
        sights,
        scope,
        cluster: None,
        things: Things::default(),
        leftovers: Vec::new(),
        attached: Attached::default(),
        extent: Extent::default(),
    };
    observe_all(&mut world, providers, parallelism, events).await;
    world
}

/// Observes every step anew.
pub async fn observe_again(world: &mut World, providers: &Providers, parallelism: usize) {
    providers.forget().await;
    observe_all(world, providers, parallelism, &Events::default()).await;
    world.attached = removal::attached(world, providers, parallelism).await;
}

async fn observe_all(world: &mut World, providers: &Providers, parallelism: usize, events: &Events) {
    let mut pending: Vec<usize> = (0..world.instances.len()).collect();
    loop {
        let (ready, waiting): (Vec<usize>, Vec<usize>) =
            pending.into_iter().partition(|index| !unknown::is_unknown(&world.instances[*index].id()));
        if ready.is_empty() {
            for index in waiting {
                let id = world.instances[index].id();
                let references: Vec<&str> = unknown::references(&id).collect();
                world.sights[index] = Sight::Nowhere(references.join(", "));
            }
            break;
        }
        observe_round(world, &ready, providers, parallelism, events).await;
        world.explain_absences(&ready);
        redeclare(world, &waiting);
        pending = waiting;
    }
    world.cluster = providers.cluster().await;
    world.things = providers.journal.as_ref().map(|journal| journal.things()).unwrap_or_default();
    world.leftovers = removal::observe(world, providers, parallelism).await;
}

async fn observe_round(
    world: &mut World,
    ready: &[usize],
    providers: &Providers,
    parallelism: usize,
    events: &Events,
) {
    let total = world.instances.len();
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
                (index, instance.observe(providers).await)
            }
        })
        .collect();
    let mut results = Vec::new();
    events.progress(format!("reading {total} things"));
    while let Some(result) = running.next().await {
        results.push(result);
        events.progress(format!("reading: {} of {total}", before + results.len()));
    }
    drop(running);
    for (index, result) in results {
        world.sights[index] = match result {
            Ok(()) => Sight::Seen,
            Err(error) => Sight::Hidden(error),
        };
    }
}

/// Evaluates the identities of waiting steps again, with the outputs that are known by now.
fn redeclare(world: &mut World, waiting: &[usize]) {
    let outputs = world.known_outputs();
    for index in waiting {
        let fields = declare::fields(&world.resolved, &world.resolved.steps[*index], &outputs);
        if let Ok(fields) = fields {
            // A mistake here is found again, and told, when the differences are computed.
            let _ = world.instances[*index].redeclare(Value::Object(fields));
        }
    }
}

impl World {
    /// The live outputs of all things that exist.
    pub fn outputs(&self) -> OutputTable {
        let steps = self.resolved.steps.iter().zip(self.instances.iter());
        steps.filter_map(|(step, instance)| Some((step.id.clone(), instance.outputs()?))).collect()
    }

    /// The step that brings up the server which this step depends on, if the plan has it.
    pub fn bootstrap_of(&self, index: usize) -> Option<usize> {
        let bootstraps = |ancestor: &usize| self.resolved.steps[*ancestor].kind.bootstraps();
        self.graph.ancestors(index).into_iter().find(bootstraps)
    }

    /// The journal's name for a step's thing.
    pub fn target(&self, index: usize) -> String {
        target(self.resolved.steps[index].kind.name(), &self.instances[index].id())
    }

    /// Whether an outcome of an earlier run is unknown and needs a person.
    pub fn has_unknown(&self) -> bool {
        self.sights
            .iter()
            .any(|sight| matches!(sight, Sight::Hidden(error) if error.kind == ErrorKind::Unknown))
    }

    /// The live outputs, and those that are certain of things that do not exist yet.
    pub fn known_outputs(&self) -> OutputTable {
        let steps = self.resolved.steps.iter().zip(self.instances.iter());
        let known = |instance: &dyn Instance| {
            instance.outputs().unwrap_or_else(|| instance.predicted_outputs(&self.scope))
        };
        steps.map(|(step, instance)| (step.id.clone(), known(instance))).collect()
    }

    /// A server that is not initialised holds nothing: if the plan initialises it, what was
    /// hidden behind that is simply not there yet.
    fn explain_absences(&mut self, indices: &[usize]) {
        for index in indices {
            let uninitialised = matches!(&self.sights[*index], Sight::Hidden(error) if error.kind == ErrorKind::Uninitialised);
            if !uninitialised {
                continue;
            }
            if let Some(initialiser) = self.bootstrap_of(*index)
                && matches!(self.sights[initialiser], Sight::Seen)
                && !self.instances[initialiser].exists()
            {
                self.instances[*index].assume_absent();
                self.sights[*index] = Sight::After(initialiser);
            }
        }
    }
}
