//! Events that the stages report while they work; `ui` turns them into text or JSON.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::trace::CallCount;

/// A report of progress, a result or a warning.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A long operation says what it is doing now.
    Progress {
        /// A short sentence in the present tense.
        message: String,
    },
    /// A step's writes begin.
    StepStarted {
        /// The step's id.
        id: String,
        /// The action that begins.
        action: &'static str,
    },
    /// A step's writes have ended and the live system agrees with the plan.
    StepFinished {
        /// The step's id.
        id: String,
        /// The action that has ended.
        action: &'static str,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// A step failed; its dependents will not start.
    StepFailed {
        /// The step's id.
        id: String,
        /// The action that was tried.
        action: &'static str,
        /// How long it took, in milliseconds.
        ms: u64,
        /// Where the step is declared: file, line and column.
        #[serde(skip_serializing_if = "Option::is_none")]
        place: Option<String>,
        /// The error, with the server's message.
        error: String,
        /// What to do next.
        advice: Option<String>,
    },
    /// A step is repeated after an error that may pass.
    StepRetried {
        /// The step's id.
        id: String,
        /// The error that may pass.
        error: String,
    },
    /// A step was never started.
    StepSkipped {
        /// The step's id.
        id: String,
        /// Why.
        reason: String,
    },
    /// Something that a person should know.
    Warning {
        /// One sentence.
        message: String,
    },
    /// The end of a run.
    Summary(Summary),
}

/// A client's warnings for a person; each sentence is kept once.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<BTreeSet<String>>);

impl Warnings {
    /// Adds a warning.
    pub fn insert(&self, warning: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(warning);
    }

    /// Takes the warnings since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }
}

/// The results of a run, in numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Steps brought to the declared state, per action.
    pub done: usize,
    /// Steps that were in the declared state already.
    pub unchanged: usize,
    /// Steps that failed.
    pub failed: usize,
    /// Steps that never started.
    pub skipped: usize,
    /// Wall time in milliseconds.
    pub ms: u64,
    /// Requests sent to the live systems.
    pub api_calls: CallCount,
}

/// The way out for events; cloned freely, never blocks. Without a receiver events are dropped.
#[derive(Clone, Debug, Default)]
pub struct Events(Option<tokio::sync::mpsc::UnboundedSender<Event>>);

impl Events {
    /// A channel of events.
    pub fn channel() -> (Self, tokio::sync::mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        (Self(Some(sender)), receiver)
    }

    /// Reports one event.
    pub fn emit(&self, event: Event) {
        if let Some(sender) = &self.0 {
            // A receiver that is gone (a closed terminal) must not stop the work.
            let _ = sender.send(event);
        }
    }

    /// Reports what a long operation is doing.
    pub fn progress(&self, message: impl Into<String>) {
        self.emit(Event::Progress { message: message.into() });
    }

    /// Reports something that a person should know.
    pub fn warn(&self, message: impl Into<String>) {
        self.emit(Event::Warning { message: message.into() });
    }
}

/// Whole milliseconds of a duration.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
