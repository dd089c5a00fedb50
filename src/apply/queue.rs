//! Chooses the next step. A step is examined only when one of its needs has ended, so the work for
//! a whole run grows with the number of edges, not with the square of the number of steps.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::changeset::Action;
use crate::graph::Graph;

/// The steps of a run that have not begun, as indices. A need that is not part of the run counts as
/// settled.
pub struct Queue {
    actions: HashMap<usize, Action>,
    services: HashMap<usize, &'static str>,
    /// Each step's position in graph order, and the steps by position.
    places: HashMap<usize, usize>,
    order: Vec<usize>,
    dependents: HashMap<usize, Vec<usize>>,
    /// How many of a step's needs are not settled.
    missing: HashMap<usize, usize>,
    waiting: BTreeSet<usize>,
    /// Steps that end without a write.
    idle: BTreeSet<usize>,
    /// The positions of the steps that may be written, by service.
    ready: BTreeMap<&'static str, BTreeSet<usize>>,
}

impl Queue {
    /// Queues all steps with an action; `service` returns the service that a step writes to.
    pub fn new(
        graph: &Graph,
        actions: &HashMap<usize, Action>,
        service: impl Fn(usize) -> &'static str,
    ) -> Self {
        let order: Vec<usize> =
            graph.order.iter().copied().filter(|index| actions.contains_key(index)).collect();
        let mut queue = Self {
            actions: actions.clone(),
            services: order.iter().map(|index| (*index, service(*index))).collect(),
            places: order.iter().enumerate().map(|(place, index)| (*index, place)).collect(),
            dependents: HashMap::new(),
            missing: HashMap::new(),
            waiting: order.iter().copied().collect(),
            idle: BTreeSet::new(),
            ready: BTreeMap::new(),
            order,
        };
        for index in queue.order.clone() {
            let needs = graph.needs[index].iter().filter(|need| actions.contains_key(need));
            let mut count = 0;
            for need in needs {
                queue.dependents.entry(*need).or_default().push(index);
                count += 1;
            }
            queue.missing.insert(index, count);
            if count == 0 || matches!(queue.actions[&index], Action::Blocked | Action::Deferred) {
                queue.release(index);
            }
        }
        queue
    }

    /// Takes the first step that ends without a write: it has nothing to do, it cannot be done, or
    /// one of its needs failed.
    pub fn next_idle(&mut self) -> Option<usize> {
        let index = self.idle.pop_first()?;
        self.waiting.remove(&index);
        Some(index)
    }

    /// Takes the first step, in graph order, that may be written and whose service has room.
    pub fn next_ready(&mut self, has_room: impl Fn(&'static str) -> bool) -> Option<usize> {
        let open = self.ready.iter().filter(|(service, _)| has_room(service));
        let (place, service) =
            open.filter_map(|(service, places)| Some((*places.first()?, *service))).min()?;
        self.ready.get_mut(service)?.remove(&place);
        let index = self.order[place];
        self.waiting.remove(&index);
        Some(index)
    }

    /// Marks a step as settled: it agrees with its declaration.
    pub fn settle(&mut self, index: usize) {
        for dependent in self.dependents.remove(&index).unwrap_or_default() {
            let missing = self.missing.entry(dependent).or_default();
            *missing = missing.saturating_sub(1);
            if *missing == 0 {
                self.release(dependent);
            }
        }
    }

    /// Marks a step as not done: its dependents are skipped.
    pub fn break_off(&mut self, index: usize) {
        let dependents = self.dependents.remove(&index).unwrap_or_default();
        self.idle.extend(dependents.into_iter().filter(|dependent| self.waiting.contains(dependent)));
    }

    /// Takes all steps that have not begun.
    pub fn take_rest(&mut self) -> BTreeSet<usize> {
        self.idle.clear();
        self.ready.clear();
        std::mem::take(&mut self.waiting)
    }

    fn release(&mut self, index: usize) {
        if !self.waiting.contains(&index) {
            return;
        }
        if self.actions[&index].writes() {
            self.ready.entry(self.services[&index]).or_default().insert(self.places[&index]);
        } else {
            self.idle.insert(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph in which each step needs the listed steps.
    fn graph(needs: &[&[usize]]) -> Graph {
        Graph { order: (0..needs.len()).collect(), needs: needs.iter().map(|list| list.to_vec()).collect() }
    }

    fn queue(graph: &Graph, actions: &[Action]) -> Queue {
        let actions = actions.iter().copied().enumerate().collect();
        Queue::new(graph, &actions, |index| if index % 2 == 0 { "even" } else { "odd" })
    }

    #[test]
    fn step_comes_after_all_its_needs() {
        let graph = graph(&[&[], &[], &[0, 1], &[2]]);
        let mut queue = queue(&graph, &[Action::Create; 4]);
        let any = |_: &str| true;
        assert_eq!(
            [queue.next_ready(any), queue.next_ready(any), queue.next_ready(any)],
            [Some(0), Some(1), None]
        );
        queue.settle(1);
        assert_eq!(queue.next_ready(any), None);
        queue.settle(0);
        assert_eq!(queue.next_ready(any), Some(2));
        assert_eq!(queue.take_rest(), BTreeSet::from([3]));
    }

    #[test]
    fn full_service_does_not_block_other_services() {
        let graph = graph(&[&[], &[], &[]]);
        let mut queue = queue(&graph, &[Action::Create; 3]);
        assert_eq!(queue.next_ready(|service| service != "even"), Some(1));
        assert_eq!(queue.next_ready(|service| service != "even"), None);
        assert_eq!(queue.next_ready(|_| true), Some(0));
    }

    #[test]
    fn failed_step_stops_only_its_dependents() {
        let graph = graph(&[&[], &[0], &[1], &[]]);
        let mut queue = queue(&graph, &[Action::Blocked, Action::Create, Action::None, Action::None]);
        assert_eq!(queue.next_idle(), Some(0));
        queue.break_off(0);
        assert_eq!(queue.next_idle(), Some(1));
        queue.break_off(1);
        // Both end without a write; the caller reports the reason.
        assert_eq!([queue.next_idle(), queue.next_idle(), queue.next_idle()], [Some(2), Some(3), None]);
        assert!(queue.take_rest().is_empty());
    }

    #[test]
    fn need_outside_the_run_is_settled() {
        let graph = graph(&[&[], &[0]]);
        let mut queue = Queue::new(&graph, &HashMap::from([(1, Action::Update)]), |_| "one");
        assert_eq!(queue.next_ready(|_| true), Some(1));
    }
}
