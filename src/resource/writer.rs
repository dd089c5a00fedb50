//! A client that may write.

use std::ops::Deref;
use std::time::Duration;

use jiff::Timestamp;

use crate::permit::Permit;
use crate::run::Reports;

/// A client together with the permission to write through it.
#[derive(Debug)]
pub struct Writer<'a, C> {
    client: &'a C,
    permit: &'a Permit,
    step: &'a str,
    begun: Option<Timestamp>,
    reports: Option<&'a Reports>,
}

impl<'a, C> Writer<'a, C> {
    /// Combines a client with the permission, on behalf of the step with id `step`.
    pub fn new(client: &'a C, permit: &'a Permit, step: &'a str) -> Self {
        Self { client, permit, step, begun: None, reports: None }
    }

    /// The same, after an earlier run began this creation at `begun`, and how that ended is not known.
    #[must_use]
    pub fn after(mut self, begun: Option<Timestamp>) -> Self {
        self.begun = begun;
        self
    }

    /// The same, which can say what it waits for.
    #[must_use]
    pub fn reporting(mut self, reports: &'a Reports) -> Self {
        self.reports = Some(reports);
        self
    }

    /// Says what the step waits for, while it does.
    pub fn progress(&self, message: &str) {
        if let Some(reports) = self.reports {
            reports.progress(format!("{}: {message}", self.step));
        }
    }

    /// The permission, to pass to the client's writing methods.
    pub fn permit(&self) -> &'a Permit {
        self.permit
    }

    /// The id of the step on whose behalf the client writes, for the journal.
    pub fn step(&self) -> &'a str {
        self.step
    }

    /// How long ago an earlier run began this creation, if how that ended is not known. Zero if another
    /// machine's clock was ahead.
    pub fn in_doubt_for(&self) -> Option<Duration> {
        self.begun.map(|begun| Timestamp::now().duration_since(begun).try_into().unwrap_or_default())
    }
}

impl<C> Deref for Writer<'_, C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.client
    }
}
