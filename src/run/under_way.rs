//! Tracks which steps are being written.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Steps whose writes have begun and not ended. An interrupted step remains here, because its
/// outcome is unknown.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<BTreeMap<String, &'static str>>);

impl UnderWay {
    /// Records that a step's writes begin.
    pub fn begin(&self, step: &str, action: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(step.to_owned(), action);
    }

    /// Records that a step's writes have ended, with any outcome.
    pub fn end(&self, step: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(step);
    }

    /// The steps by id, with the name of the action under way.
    pub fn steps(&self) -> Vec<(String, &'static str)> {
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.iter().map(|(step, action)| (step.clone(), *action)).collect()
    }
}
