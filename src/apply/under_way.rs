//! Which steps are being written.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::changeset::Action;

/// Steps whose writes have begun and not ended. A step that was cut off stays in here: what
/// became of it is not known.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<BTreeMap<String, Action>>);

impl UnderWay {
    /// Notes that a step's writes begin.
    pub fn begin(&self, step: &str, action: Action) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(step.to_owned(), action);
    }

    /// Notes that a step's writes have ended, in whatever way.
    pub fn end(&self, step: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(step);
    }

    /// The steps by id, with what is being done to them.
    pub fn steps(&self) -> Vec<(String, Action)> {
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.iter().map(|(step, action)| (step.clone(), *action)).collect()
    }
}
