//! Limits on the evaluation of a whole plan. Each text with expressions has limits of its own; these ones
//! keep many of them from adding up.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The time that all evaluations of a plan may take together, by far the largest plans a few seconds.
const TIME: Duration = Duration::from_mins(1);
/// The size of all variables, in bytes. Every expression sees them all.
pub const VARIABLES_IN_ALL: usize = 4 << 20;
/// The size of the evaluated fields of all steps, in bytes.
pub const FIELDS_IN_ALL: usize = 64 << 20;
/// The size of everything that steps take from files and templates, in bytes.
pub const FILES_IN_ALL: usize = 128 << 20;

thread_local! {
    static CURRENT: RefCell<Option<Budget>> = const { RefCell::new(None) };
}

/// The time that is left for a plan's evaluations; clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    /// In microseconds.
    left: Arc<AtomicU64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(TIME)
    }
}

impl Budget {
    fn of(time: Duration) -> Self {
        Self { left: Arc::new(AtomicU64::new(micros(time))) }
    }

    /// Does `work`, whose evaluations take from this budget.
    pub fn spend<T>(&self, work: impl FnOnce() -> T) -> T {
        let outer = CURRENT.replace(Some(self.clone()));
        let done = work();
        CURRENT.set(outer);
        done
    }
}

/// How long an evaluation may take now, of `patience` at most.
///
/// # Errors
/// When the plan has used up its time.
pub fn patience(patience: Duration) -> Result<Duration, String> {
    let left =
        CURRENT.with_borrow(|current| current.as_ref().map(|budget| budget.left.load(Ordering::Relaxed)));
    match left {
        Some(0) => {
            Err("is not evaluated: the expressions of this plan take too long all together".to_owned())
        }
        Some(left) => Ok(patience.min(Duration::from_micros(left))),
        None => Ok(patience),
    }
}

/// Takes the time since `begun` from the current budget.
pub fn charge(begun: Instant) {
    CURRENT.with_borrow(|current| {
        if let Some(budget) = current {
            let spent = micros(begun.elapsed());
            let less = |left: u64| Some(left.saturating_sub(spent));
            let _ = budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    });
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// About as many bytes as a value takes.
pub fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| size(item) + 1).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + size(value) + 1).sum(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resolve::expression::evaluate;
    use crate::template::Context;

    #[test]
    fn expressions_share_one_time_budget() {
        let slow = "{% for i in range(2000) %}{% set x = i %}{% endfor %}x";
        let budget = Budget::of(Duration::from_millis(20));
        let ends = |budget: &Budget| {
            (0..100_000).find_map(|_| budget.spend(|| evaluate(slow, &Context::default()).err()))
        };
        let error = ends(&budget).expect("an end");
        assert!(error.contains("too long"), "{error}");
        let error = budget.spend(|| evaluate("{{ 1 + 1 }}", &Context::default())).expect_err("used up");
        assert!(error.contains("take too long all together"), "{error}");
        assert_eq!(evaluate("{{ 1 + 1 }}", &Context::default()), Ok(json!(2)), "others have their own");
    }

    #[test]
    fn budget_of_outer_plan_is_restored() {
        let (outer, used_up) = (Budget::default(), Budget::of(Duration::ZERO));
        outer.spend(|| {
            assert!(used_up.spend(|| patience(TIME)).is_err());
            assert!(patience(TIME).is_ok());
        });
    }
}
