//! Proves that what stands works: each step is as declared, then each kind tries its thing.
//!
//! Nothing here is journaled. A proof makes only what ends by itself within minutes, and removes it; after a
//! crash there is nothing that a later run would have to find.

mod custody;
mod drift;
mod machine;
mod report;

pub use drift::AS_DECLARED;
pub use machine::Machine;
pub use report::{Report, StepReport, Totals};

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Semaphore, watch};

use crate::changeset::Changeset;
use crate::event::{Events, millis};
use crate::observe::{Observation, ObservedPlan};
use crate::permit::Permit;
use crate::proof::{Finding, Known, Load, Proof, Proofs, Prover};
use crate::run::Run;
use crate::secret::Secret;

/// How long proofs that are under way may go on after a signal.
const GRACE: Duration = Duration::from_secs(5);
/// How long the removal of what proofs have made may take.
const CLEANING: Duration = Duration::from_secs(30);

/// How to verify.
#[derive(Debug)]
pub struct Options {
    /// How many things are tried at the same time.
    pub parallelism: usize,
    /// Only these steps; all if there are none. The name of a repeated step means all of its instances.
    pub only: Vec<String>,
    /// Whether to measure how fast the systems are, after everything else.
    pub load: bool,
    /// Credentials that the caller gives, by step.
    pub credentials: BTreeMap<String, Secret>,
    /// Turns true when nothing further may be tried.
    pub stop: watch::Receiver<bool>,
}

impl Options {
    /// Whether a step is among those that are asked for.
    fn includes(&self, id: &str) -> bool {
        let is_it = |name: &String| {
            id.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        };
        self.only.is_empty() || self.only.iter().any(is_it)
    }
}

/// The names among `only` and the steps of `credentials` that the plan does not have.
pub fn unknown_steps<'o>(world: &ObservedPlan, options: &'o Options) -> Vec<&'o str> {
    let exists = |name: &&str| {
        world.resolved.steps.iter().any(|step| {
            step.id.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        })
    };
    let asked = options.only.iter().chain(options.credentials.keys()).map(String::as_str);
    asked.filter(|name| !exists(name)).collect()
}

/// Verifies an observed plan, of which `changeset` is the difference. The permission is needed because a login,
/// for example, writes: it makes a token.
pub async fn verify(
    world: &ObservedPlan,
    changeset: &Changeset,
    run: &Run,
    permit: Permit,
    options: Options,
    events: &Events,
) -> Report {
    let started = Instant::now();
    let asked: Vec<bool> = world.resolved.steps.iter().map(|step| options.includes(&step.id)).collect();
    let mut findings: Vec<Finding> = changeset
        .steps
        .iter()
        .filter(|step| options.includes(&step.id))
        .map(|step| drift::finding(step, world))
        .collect();
    let tried: Vec<usize> =
        (0..world.instances.len()).filter(|index| asked[*index] && can_try(world, *index)).collect();
    let mut credentials = options.credentials;
    credentials.extend(tokens(world, &tried, &credentials, run, events).await);
    let proofs = Proofs::new(permit, known(world), credentials);
    let is_whole = options.only.is_empty();
    let work =
        Work { world, run, proofs: &proofs, tried, is_whole, limit: Semaphore::new(options.parallelism) };
    let mut stop = options.stop;
    let mut stopped = work.carry_out(stop.clone(), events).await;
    let (mut load, mut machine) = (Vec::new(), None);
    if options.load && !stopped {
        events.progress("reading under load".to_owned());
        let before = machine::load();
        tokio::select! {
            measured = measure(run, &proofs) => load = measured,
            _ = stop.wait_for(|stop| *stop) => stopped = true,
        }
        machine = Machine::since(before);
    }
    findings.extend(proofs.take_findings());
    findings.extend(clean(&proofs).await);
    Report {
        plan: changeset.plan.clone(),
        steps: report::by_step(world, findings),
        load,
        machine,
        stopped,
        ms: millis(started.elapsed()),
        api_calls: run.calls.total(),
    }
}

/// Tokens of the workloads that prove these steps, from the systems that issue them, where the caller gives no
/// credential.
async fn tokens(
    world: &ObservedPlan,
    tried: &[usize],
    given: &BTreeMap<String, Secret>,
    run: &Run,
    events: &Events,
) -> BTreeMap<String, Secret> {
    let mut tokens = BTreeMap::new();
    for index in tried {
        let id = &world.resolved.steps[*index].id;
        let repeated = id.split('[').next().unwrap_or_default();
        let Some(workload) = world.instances[*index].workload() else { continue };
        if given.contains_key(id) || given.contains_key(repeated) {
            continue;
        }
        for connection in run.connections.iter() {
            match connection.workload_token(run, &workload).await {
                Some(Ok(token)) => drop(tokens.insert(id.clone(), token)),
                Some(Err(error)) => events.warn(format!(
                    "{id}: there is no token of the service account {}/{}: {error}",
                    workload.namespace, workload.account
                )),
                None => {}
            }
        }
    }
    tokens
}

/// The steps as proofs see them.
fn known(world: &ObservedPlan) -> Vec<Known> {
    let steps = world.resolved.steps.iter().zip(world.instances.iter());
    steps
        .map(|(step, instance)| Known {
            id: step.id.clone(),
            kind: step.kind.name(),
            place: instance.place().clone(),
            fields: instance.fields(),
            outputs: instance.outputs(),
        })
        .collect()
}

/// Whether a step's thing is there and its kind tries it.
fn can_try(world: &ObservedPlan, index: usize) -> bool {
    matches!(world.observations[index], Observation::Observed)
        && world.instances[index].exists()
        && matches!(world.resolved.steps[index].kind.proof(), Proof::Tried(_))
}

/// The trials of one run.
struct Work<'a> {
    world: &'a ObservedPlan,
    run: &'a Run,
    proofs: &'a Proofs,
    tried: Vec<usize>,
    is_whole: bool,
    limit: Semaphore,
}

impl Work<'_> {
    /// Tries everything, until a signal comes. Returns whether one came.
    async fn carry_out(&self, mut stop: watch::Receiver<bool>, events: &Events) -> bool {
        let mut running: FuturesUnordered<_> = FuturesUnordered::new();
        for index in &self.tried {
            running.push(self.one(self.prove_step(*index)));
        }
        let mut others: FuturesUnordered<_> = FuturesUnordered::new();
        if self.is_whole {
            others.extend(self.run.connections.iter().map(|connection| async move {
                connection.prove(&Prover::new(self.run, self.proofs, connection.provider())).await;
            }));
        }
        let total = running.len();
        let all = async {
            let custody = async {
                if self.is_whole {
                    custody::prove(self.world, self.run, self.proofs).await;
                }
            };
            let steps = async {
                while running.next().await.is_some() {
                    events.progress(format!("proving: {} of {total}", total - running.len()));
                }
            };
            let others = async { while others.next().await.is_some() {} };
            futures::join!(custody, steps, others);
        };
        futures::pin_mut!(all);
        tokio::select! {
            () = &mut all => return false,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        self.limit.close();
        // What is under way comes to its end if it can: it knows best what it has made.
        let _ = tokio::time::timeout(GRACE, all).await;
        true
    }

    /// Does one piece of work when it is its turn; after a signal none is left.
    async fn one(&self, work: impl Future<Output = ()>) {
        if let Ok(_turn) = self.limit.acquire().await {
            work.await;
        }
    }

    async fn prove_step(&self, index: usize) {
        let step = &self.world.resolved.steps[index];
        self.world.instances[index].verify(self.run, self.proofs, &step.id).await;
    }
}

/// Measures the systems one after the other, so that none disturbs another.
async fn measure(run: &Run, proofs: &Proofs) -> Vec<(&'static str, Load)> {
    let mut found = Vec::new();
    for connection in run.connections.iter() {
        let provider = connection.provider();
        if let Some(load) = connection.load(&Prover::new(run, proofs, provider)).await {
            found.push((provider, load));
        }
    }
    found
}

/// Removes what proofs have made. What is left is a finding.
async fn clean(proofs: &Proofs) -> Vec<Finding> {
    let cleanup = proofs.cleanup();
    let left = |step: &str, what: &str, seen: String| {
        let advice = "it ends by itself within minutes; nothing has to be done unless this is seen again";
        Finding::failed(step, "removes what the proof made", format!("{what} is removed"), seen, advice)
    };
    match tokio::time::timeout(CLEANING, cleanup.run()).await {
        Ok(open) => open.iter().map(|(step, what, error)| left(step, what, error.to_string())).collect(),
        Err(_) => {
            let open = cleanup.remaining();
            open.iter().map(|(step, what)| left(step, what, "no response in time".to_owned())).collect()
        }
    }
}
