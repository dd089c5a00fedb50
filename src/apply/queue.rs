//! Chooses the next item. An item is examined only when one of its needs has ended, so the work for
//! a whole run grows with the number of edges, not with the square of the number of items.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::run::Service;

/// A part of a run: a step to bring about, or a thing to remove. Items refer to each other by their
/// positions in the queue.
pub struct Item {
    /// The service that it writes to.
    pub service: Service,
    /// What the queue does with it.
    pub course: Course,
    /// The items that must be settled before it. A broken one breaks this one too.
    pub needs: Vec<usize>,
    /// Further items that break this one when they break before it begins.
    pub broken_by: Vec<usize>,
}

/// What a queue does with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It begins when its needs are settled.
    Write,
    /// It ends without a write when its needs have ended.
    Unchanged,
    /// It ends without a write at once.
    Skip,
}

/// The items of a run that have not begun, in the order in which they begin when nothing else decides.
pub struct Queue {
    items: Vec<Item>,
    /// The items that need each item.
    dependents: Vec<Vec<usize>>,
    /// The same, and the items that it breaks without being one of their needs.
    affected: Vec<Vec<usize>>,
    /// How many of an item's needs are not settled.
    missing: Vec<usize>,
    waiting: BTreeSet<usize>,
    /// Items that end without a write.
    idle: BTreeSet<usize>,
    /// The items that may begin, by service.
    ready: BTreeMap<Service, BTreeSet<usize>>,
    /// How many items of each service have begun and not ended.
    busy: HashMap<Service, usize>,
    broken: BTreeSet<usize>,
}

impl Queue {
    /// Queues the items.
    pub fn new(items: Vec<Item>) -> Self {
        let mut dependents = vec![Vec::new(); items.len()];
        let mut affected = vec![Vec::new(); items.len()];
        for (index, item) in items.iter().enumerate() {
            item.needs.iter().for_each(|need| dependents[*need].push(index));
            item.needs.iter().chain(&item.broken_by).for_each(|other| affected[*other].push(index));
        }
        let mut queue = Self {
            dependents,
            affected,
            missing: items.iter().map(|item| item.needs.len()).collect(),
            waiting: (0..items.len()).collect(),
            idle: BTreeSet::new(),
            ready: BTreeMap::new(),
            busy: HashMap::new(),
            broken: BTreeSet::new(),
            items,
        };
        for index in 0..queue.items.len() {
            if queue.missing[index] == 0 || queue.items[index].course == Course::Skip {
                queue.release(index);
            }
        }
        queue
    }

    /// Takes the first item that ends without a write: it has nothing to do, it is skipped, or one of
    /// its needs broke.
    pub fn next_idle(&mut self) -> Option<usize> {
        let index = self.idle.pop_first()?;
        self.waiting.remove(&index);
        Some(index)
    }

    /// Takes the first item that may begin and whose service has room. [`Queue::leave`] frees the room.
    pub fn next_ready(&mut self) -> Option<usize> {
        let has_room =
            |service: &Service| self.busy.get(service).copied().unwrap_or_default() < service.at_once;
        let open = self.ready.iter().filter(|(service, _)| has_room(service));
        let (index, service) = open.filter_map(|(service, items)| Some((*items.first()?, *service))).min()?;
        self.ready.get_mut(&service)?.remove(&index);
        self.waiting.remove(&index);
        *self.busy.entry(service).or_default() += 1;
        Some(index)
    }

    /// Frees the room of an item that has begun.
    pub fn leave(&mut self, index: usize) {
        if let Some(count) = self.busy.get_mut(&self.items[index].service) {
            *count -= 1;
        }
    }

    /// Marks an item as settled: its dependents may begin.
    pub fn settle(&mut self, index: usize) {
        for dependent in std::mem::take(&mut self.dependents[index]) {
            self.missing[dependent] -= 1;
            if self.missing[dependent] == 0 {
                self.release(dependent);
            }
        }
    }

    /// Marks an item as broken: what it affects ends without a write.
    pub fn break_off(&mut self, index: usize) {
        self.broken.insert(index);
        for affected in std::mem::take(&mut self.affected[index]) {
            if self.waiting.contains(&affected) {
                if let Some(ready) = self.ready.get_mut(&self.items[affected].service) {
                    ready.remove(&affected);
                }
                self.idle.insert(affected);
            }
        }
    }

    /// The first broken item that affects this one.
    pub fn breaker(&self, index: usize) -> Option<usize> {
        let Item { needs, broken_by, .. } = &self.items[index];
        needs.iter().chain(broken_by).find(|other| self.broken.contains(other)).copied()
    }

    /// Takes all items that have not begun.
    pub fn take_rest(&mut self) -> BTreeSet<usize> {
        self.idle.clear();
        self.ready.clear();
        std::mem::take(&mut self.waiting)
    }

    fn release(&mut self, index: usize) {
        if !self.waiting.contains(&index) || self.idle.contains(&index) {
            return;
        }
        match self.items[index].course {
            Course::Write => self.ready.entry(self.items[index].service).or_default().insert(index),
            Course::Unchanged | Course::Skip => self.idle.insert(index),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(index: usize, course: Course, needs: &[usize]) -> Item {
        let (name, at_once) = if index.is_multiple_of(2) { ("even", 1) } else { ("odd", usize::MAX) };
        let service = Service { name, at_once };
        Item { service, course, needs: needs.to_vec(), broken_by: Vec::new() }
    }

    /// Items that are all written, each with its needs.
    fn queue(needs: &[&[usize]]) -> Queue {
        let items = needs.iter().enumerate().map(|(index, needs)| item(index, Course::Write, needs));
        Queue::new(items.collect())
    }

    #[test]
    fn item_comes_after_all_its_needs() {
        let mut queue = queue(&[&[], &[], &[0, 1], &[2]]);
        assert_eq!([queue.next_ready(), queue.next_ready(), queue.next_ready()], [Some(0), Some(1), None]);
        queue.leave(0);
        queue.settle(1);
        assert_eq!(queue.next_ready(), None);
        queue.settle(0);
        assert_eq!(queue.next_ready(), Some(2));
        assert_eq!(queue.take_rest(), BTreeSet::from([3]));
    }

    #[test]
    fn full_service_does_not_block_other_services() {
        let mut queue = queue(&[&[], &[], &[], &[]]);
        assert_eq!([queue.next_ready(), queue.next_ready(), queue.next_ready()], [Some(0), Some(1), Some(3)]);
        assert_eq!(queue.next_ready(), None, "no room for the second even item");
        queue.leave(0);
        assert_eq!(queue.next_ready(), Some(2));
    }

    #[test]
    fn broken_item_ends_only_its_dependents() {
        let (write, unchanged) = (Course::Write, Course::Unchanged);
        let items = [
            (Course::Skip, vec![]),
            (write, vec![0]),
            (unchanged, vec![1]),
            (unchanged, vec![]),
            (write, vec![3]),
        ];
        let items = items.into_iter().enumerate().map(|(index, (course, needs))| item(index, course, &needs));
        let mut queue = Queue::new(items.collect());
        assert_eq!((queue.next_idle(), queue.breaker(0)), (Some(0), None));
        queue.break_off(0);
        assert_eq!((queue.next_idle(), queue.breaker(1)), (Some(1), Some(0)));
        queue.break_off(1);
        assert_eq!([queue.next_idle(), queue.next_idle(), queue.next_idle()], [Some(2), Some(3), None]);
        queue.settle(3);
        assert_eq!((queue.next_ready(), queue.breaker(4)), (Some(4), None));
        assert!(queue.take_rest().is_empty());
    }

    #[test]
    fn skipped_item_does_not_wait_for_its_needs() {
        let mut queue = Queue::new(vec![item(0, Course::Write, &[]), item(1, Course::Skip, &[0])]);
        assert_eq!((queue.next_idle(), queue.next_ready()), (Some(1), Some(0)));
        queue.settle(0);
        assert_eq!(queue.next_idle(), None, "it ends only once");
    }

    #[test]
    fn item_can_be_broken_without_a_need() {
        let beside = || Item { broken_by: vec![1], ..item(0, Course::Write, &[]) };
        let mut queue = Queue::new(vec![beside(), item(1, Course::Write, &[])]);
        queue.break_off(1);
        assert_eq!((queue.next_idle(), queue.next_ready()), (Some(0), Some(1)), "it is no longer ready");
        let mut queue = Queue::new(vec![beside(), item(1, Course::Write, &[])]);
        assert_eq!(queue.next_ready(), Some(0), "it does not wait");
        queue.break_off(1);
        assert_eq!(queue.next_idle(), None, "it has begun");
    }
}
