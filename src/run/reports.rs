//! Where the writes of a run say what they wait for.

use std::sync::{Mutex, PoisonError};

use crate::event::Events;

/// The way out for those reports; closed unless steps are written.
#[derive(Debug, Default)]
pub struct Reports(Mutex<Events>);

/// As long as it lives, reports become these events.
#[must_use]
pub struct Reporting<'a>(&'a Reports);

impl Reports {
    /// Opens the way out.
    pub fn to(&self, events: &Events) -> Reporting<'_> {
        self.set(events.clone());
        Reporting(self)
    }

    /// Says what a step waits for.
    pub fn progress(&self, message: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).progress(message);
    }

    fn set(&self, events: Events) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = events;
    }
}

impl Drop for Reporting<'_> {
    // A display ends only when all ways into it are closed.
    fn drop(&mut self) {
        self.0.set(Events::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    #[tokio::test]
    async fn reports_end_with_the_writes() {
        let (events, mut received) = Events::channel();
        let reports = Reports::default();
        let reporting = reports.to(&events);
        reports.progress("waits".to_owned());
        drop(reporting);
        drop(events);
        reports.progress("lost".to_owned());
        assert!(matches!(received.recv().await, Some(Event::Progress { message }) if message == "waits"));
        assert!(received.recv().await.is_none());
    }
}
