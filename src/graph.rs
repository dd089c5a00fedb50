//! Steps and the edges between them.

mod selected;

use std::collections::{BTreeSet, HashMap};

use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::plan::{Diagnostic, Diagnostics, LockPlace};
use crate::resolve::{OutputTable, Resolved, Step};
use crate::resource::Requirement;
use crate::resource::erased::Instance;

pub use selected::Selected;

/// The dependency order of the steps. Steps are indices into [`Resolved::steps`].
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// An order in which every step comes after its needs; otherwise the declared order.
    pub order: Vec<usize>,
    /// The direct needs of each step, ascending.
    pub needs: Vec<Vec<usize>>,
}

impl Graph {
    /// Adds the edges: references, secrets of other steps, `needs`, custody's references, the places of journal and lock
    /// before every once-only step, and the requirements of the kinds.
    ///
    /// # Errors
    /// A cycle, naming its steps.
    pub fn build(resolved: &Resolved, instances: &[Box<dyn Instance>]) -> Result<Self, Diagnostics> {
        let mut needs = declared_edges(resolved);
        add_required(&mut needs, resolved, instances);
        add_places(&mut needs, resolved, instances);
        add_last(&mut needs, resolved, instances);
        let graph = petgraph_of(&needs);
        if toposort(&graph, None).is_err() {
            return Err(Diagnostics::new(resolved.document.sources.clone(), cycles(resolved, &graph)));
        }
        let needs: Vec<Vec<usize>> = needs.into_iter().map(|set| set.into_iter().collect()).collect();
        Ok(Self { order: stable_order(&needs), needs })
    }

    /// The steps that need `step` directly.
    pub fn dependents(&self, step: usize) -> impl Iterator<Item = usize> {
        self.needs.iter().enumerate().filter(move |(_, needs)| needs.contains(&step)).map(|(index, _)| index)
    }

    /// All steps that `step` needs, directly or indirectly.
    pub fn ancestors(&self, step: usize) -> BTreeSet<usize> {
        reachable(&self.needs, step)
    }
}

fn declared_edges(resolved: &Resolved) -> Vec<BTreeSet<usize>> {
    let edges = |step: &Step| {
        let explicit = resolved.document.steps[step.declared].needs.iter().map(|need| &need.name);
        let custody = resolved.custody_references.iter().filter(|_| step.kind.once_only());
        let used = step.references.iter().flat_map(|name| resolved.instances_of(name, Some(step)));
        let all = explicit.chain(custody).flat_map(|name| resolved.instances_of(name, None));
        all.chain(used).copied().collect()
    };
    resolved.steps.iter().map(edges).collect()
}

fn add_required(needs: &mut [BTreeSet<usize>], resolved: &Resolved, instances: &[Box<dyn Instance>]) {
    let things: HashMap<(&str, String), usize> = instances
        .iter()
        .enumerate()
        .map(|(index, instance)| ((resolved.steps[index].kind.name(), instance.id()), index))
        .collect();
    let mut kinds: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, step) in resolved.steps.iter().enumerate() {
        kinds.entry(step.kind.name()).or_default().push(index);
    }
    for (index, instance) in instances.iter().enumerate() {
        for requirement in instance.requires() {
            match requirement {
                Requirement::Thing { kind, id } => needs[index].extend(things.get(&(kind, id))),
                Requirement::Kind(kind) => needs[index].extend(kinds.get(kind).into_iter().flatten()),
                Requirement::Provider(_) => {}
            }
            needs[index].remove(&index);
        }
        let taken = instance.step_secrets();
        let taken = taken.iter().filter_map(|written| resolved.step_secret(&resolved.steps[index], written));
        needs[index].extend(taken.map(|(other, _)| other));
    }
}

/// Once-only steps run after the places of the journal's copy and the lock exist, except for steps
/// that these places need.
fn add_places(needs: &mut [BTreeSet<usize>], resolved: &Resolved, instances: &[Box<dyn Instance>]) {
    // Mistakes in these sections are reported elsewhere.
    let declared = resolved.places(&OutputTable::new(), false).unwrap_or_default();
    let declared: Vec<LockPlace> =
        declared.journal.map(LockPlace::Object).into_iter().chain(declared.lock).collect();
    let is_place = |at: &usize| {
        let name = &resolved.document.steps[resolved.steps[*at].declared].id.name;
        resolved.place_references.contains(name)
            || declared
                .iter()
                .any(|place| is_container(resolved.steps[*at].kind.name(), instances[*at].as_ref(), place))
    };
    let places: Vec<usize> = (0..instances.len()).filter(is_place).collect();
    for index in (0..instances.len()).filter(|at| resolved.steps[*at].kind.once_only()) {
        let all: Vec<Vec<usize>> = needs.iter().map(|set| set.iter().copied().collect()).collect();
        let free = |place: &&usize| **place != index && !reachable(&all, **place).contains(&index);
        needs[index].extend(places.iter().filter(free));
    }
}

/// Whether the thing is the table or bucket of a lock, or of a journal's copy.
fn is_container(kind: &str, instance: &dyn Instance, place: &LockPlace) -> bool {
    place.container() == (kind, &instance.id())
}

/// Whether a step of the plan makes the table or bucket of this place.
pub fn makes(resolved: &Resolved, instances: &[Box<dyn Instance>], place: &LockPlace) -> bool {
    let mut steps = resolved.steps.iter().zip(instances);
    steps.any(|(step, instance)| is_container(step.kind.name(), instance.as_ref(), place))
}

/// Makes steps that must come last come after all others of a provider, except their own dependents.
fn add_last(needs: &mut [BTreeSet<usize>], resolved: &Resolved, instances: &[Box<dyn Instance>]) {
    for (index, instance) in instances.iter().enumerate() {
        for requirement in instance.requires() {
            let Requirement::Provider(provider) = requirement else { continue };
            let all: Vec<Vec<usize>> = needs.iter().map(|set| set.iter().copied().collect()).collect();
            let before = (0..instances.len()).filter(|at| {
                *at != index
                    && resolved.steps[*at].kind.provider() == provider
                    && !reachable(&all, *at).contains(&index)
            });
            let before: Vec<usize> = before.collect();
            needs[index].extend(before);
        }
    }
}

fn reachable(needs: &[Vec<usize>], from: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = needs[from].clone();
    while let Some(step) = open.pop() {
        if found.insert(step) {
            open.extend(&needs[step]);
        }
    }
    found
}

fn petgraph_of(needs: &[BTreeSet<usize>]) -> DiGraph<usize, ()> {
    let mut graph = DiGraph::new();
    let nodes: Vec<NodeIndex> = (0..needs.len()).map(|index| graph.add_node(index)).collect();
    for (index, before) in needs.iter().enumerate() {
        for need in before {
            graph.add_edge(nodes[*need], nodes[index], ());
        }
    }
    graph
}

/// Repeatedly takes the first declared step whose needs have all been taken.
fn stable_order(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut dependents = vec![Vec::new(); needs.len()];
    for (index, before) in needs.iter().enumerate() {
        for need in before {
            dependents[*need].push(index);
        }
    }
    let mut ready: BTreeSet<usize> = (0..needs.len()).filter(|index| missing[*index] == 0).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(step) = ready.pop_first() {
        order.push(step);
        for dependent in &dependents[step] {
            missing[*dependent] -= 1;
            if missing[*dependent] == 0 {
                ready.insert(*dependent);
            }
        }
    }
    order
}

fn cycles(resolved: &Resolved, graph: &DiGraph<usize, ()>) -> Vec<Diagnostic> {
    tarjan_scc(graph)
        .into_iter()
        .filter(|component| component.len() > 1 || graph.contains_edge(component[0], component[0]))
        .map(|component| {
            let mut members: Vec<usize> = component.iter().map(|node| graph[*node]).collect();
            members.sort_unstable();
            let names: Vec<&str> = members.iter().map(|index| resolved.steps[*index].id.as_str()).collect();
            let span = resolved.document.steps[resolved.steps[members[0]].declared].id.span;
            let message = match names.as_slice() {
                [one] => format!("step `{one}` needs itself"),
                _ => format!("these steps need one another: {}", names.join(", ")),
            };
            Diagnostic::error(span, message).help("remove one of the references or `needs` between them")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::session;

    /// The ids of the steps that `step` needs directly.
    fn needs(plan: &str, step: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plan.yaml");
        std::fs::write(&path, format!("version: 1\nname: demo\naws: {{ region: us-east-1 }}\n{plan}"))
            .expect("written");
        let checked = session::check(&path, &crate::plan::Given::default(), &crate::trust::Trust::default())
            .unwrap_or_else(|mistakes| panic!("{:?}", mistakes.list));
        let at = |id: &str| checked.resolved.steps.iter().position(|step| step.id == id).expect("a step");
        checked.graph.needs[at(step)].iter().map(|index| checked.resolved.steps[*index].id.clone()).collect()
    }

    const STEPS: &str = "custody: { recipients: [ { kms: alias/x } ], stores: [ { file: kept } ] }
steps:
  cluster: { kind: vault.init, shares: 1, threshold: 1 }
  plain: { kind: aws.iam_user, name: plain }
  state: { kind: aws.s3_bucket, name: gw-state }
  locks: { kind: aws.dynamodb_table, name: gw-locks, preset: terraform_lock }
";

    #[test]
    fn once_only_step_waits_for_journal_and_lock() {
        let by_reference =
            "journal: { s3: \"s3://{{ state.name }}/gw\" }\nlock: { dynamodb: \"{{ locks.name }}\" }\n";
        let by_name = "journal: { s3: s3://gw-state/gw }\nlock: { dynamodb: gw-locks }\n";
        for places in [by_reference, by_name] {
            let plan = format!("{places}{STEPS}");
            assert_eq!(needs(&plan, "cluster"), ["state", "locks"], "{places}");
            assert!(needs(&plan, "plain").is_empty(), "others need not wait");
        }
        assert!(needs(STEPS, "cluster").is_empty());
        let beside = format!("journal: {{ s3: s3://gw-state/gw }}\nlock: {{ s3: true }}\n{STEPS}");
        assert_eq!(needs(&beside, "cluster"), ["state"]);
    }

    #[test]
    fn place_needing_once_only_step_comes_after_it() {
        let plan = format!("journal: {{ s3: s3://gw-state/gw }}\n{STEPS}")
            .replace("name: gw-state }", "name: gw-state, needs: [ cluster ] }");
        assert!(needs(&plan, "cluster").is_empty());
        assert_eq!(needs(&plan, "state"), ["cluster"]);
    }
}
