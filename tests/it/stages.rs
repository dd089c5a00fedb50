//! Work that mostly waits for servers, done on several stages side by side.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Does `act` with every item, on up to `count` stages at a time, each of which `prepare` makes for itself;
/// the outcomes in the order of the items. A stage takes the next item that no other has taken.
pub fn side_by_side<S, T: Send, U: Send>(
    items: Vec<T>,
    count: usize,
    prepare: impl Fn() -> S + Sync,
    act: impl Fn(&mut S, T) -> U + Sync,
) -> Vec<U> {
    let stages = count.min(items.len());
    let waiting: Mutex<VecDeque<(usize, T)>> = Mutex::new(items.into_iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..stages {
            scope.spawn(|| {
                let mut stage = prepare();
                while let Some((index, item)) = next() {
                    let outcome = act(&mut stage, item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

#[test]
fn stages_share_the_work_and_keep_its_order() {
    let stages = Mutex::new(0);
    let prepare = || *stages.lock().expect("unharmed") += 1;
    let doubled = side_by_side((0..100).collect(), 4, prepare, |(), number: u32| number * 2);
    assert_eq!(doubled, (0..100).map(|number| number * 2).collect::<Vec<_>>());
    assert_eq!(*stages.lock().expect("unharmed"), 4);
    assert_eq!(side_by_side(vec![1], 4, || (), |(), number: u32| number), [1]);
}
