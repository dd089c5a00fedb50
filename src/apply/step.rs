//! One step: intent, write, look again.

use std::time::Duration;

use tokio::sync::watch;

use super::retry;
use crate::changeset::Action;
use crate::event::{Event, Events};
use crate::journal::{Ending, Entry};
use crate::providers::Providers;
use crate::resource::erased::{Instance, Kind};
use crate::resource::{Diff, Error, ErrorKind, Permit, Result};

/// The journal's name for the creation of a thing whose tags will say whose it is.
pub const CREATE: &str = "create";

/// The journal's name for a thing.
pub fn target(kind: &str, id: &str) -> String {
    format!("{kind} {id}")
}

/// Everything that writing one step needs, beside the step's own state.
pub struct Task<'a> {
    pub id: String,
    pub kind: &'static dyn Kind,
    pub action: Action,
    /// Nobody could look when the plan was made, because the server was not initialised.
    pub look_first: bool,
    pub providers: &'a Providers,
    pub permit: &'a Permit,
    pub events: Events,
    /// Turns true when the run shall end.
    pub stop: watch::Receiver<bool>,
}

impl Task<'_> {
    /// Writes the step until the live thing agrees with the plan.
    pub async fn run(&self, instance: &mut dyn Instance) -> Result<()> {
        self.events.emit(Event::StepStarted { id: self.id.clone(), action: self.action.name() });
        if self.look_first && self.is_there(instance).await? {
            return Ok(());
        }
        let target = target(self.kind.name(), &instance.id());
        let announced = self.announce(&target).await?;
        let result = self.converge(instance).await;
        if announced {
            self.settle(&target, &result).await?;
        }
        result
    }

    /// Whether a server that has just come up has the thing already, from its configuration or a
    /// restored snapshot.
    async fn is_there(&self, instance: &mut dyn Instance) -> Result<bool> {
        self.observe(instance).await?;
        let Some(diff) = instance.diff() else { return Ok(false) };
        match diff.blocked.first() {
            Some(blocked) => {
                let message = format!("it is there already and differs in {}: {}", blocked.path, blocked.why);
                Err(Error::new(ErrorKind::Conflict, format!("step {}", self.id), message))
            }
            None => Ok(diff.is_empty()),
        }
    }

    /// A thing that carries tags exists for a moment before they are put; the journal tells a
    /// later run that it is ours.
    async fn announce(&self, target: &str) -> Result<bool> {
        let needed = self.action == Action::Create && self.kind.tagged();
        if needed {
            let entry = Entry::Intent {
                step: self.id.clone(),
                operation: CREATE.to_owned(),
                target: target.to_owned(),
                detail: Vec::new(),
            };
            self.providers.journal()?.append(self.permit, entry).await?;
        }
        Ok(needed)
    }

    async fn settle(&self, target: &str, result: &Result<()>) -> Result<()> {
        let (operation, target) = (CREATE.to_owned(), target.to_owned());
        let entry = match result {
            Ok(()) => Entry::Committed { operation, target, detail: Vec::new() },
            Err(error) => {
                let definite =
                    matches!(error.kind, ErrorKind::Rejected | ErrorKind::Denied | ErrorKind::Conflict);
                let result = if definite { Ending::Failed } else { Ending::Unknown };
                Entry::Outcome { operation, target, result, message: error.report() }
            }
        };
        self.providers.journal()?.append(self.permit, entry).await
    }

    /// Writes and looks again; errors that may pass are met by looking and writing anew, save for
    /// kinds whose creation must not be repeated.
    async fn converge(&self, instance: &mut dyn Instance) -> Result<()> {
        let mut delays = retry::write_delays();
        loop {
            let error = match instance.write(self.providers, self.permit, &self.id).await {
                Ok(()) => return self.require_in_sync(instance).await,
                Err(error) => error,
            };
            let may_pass = error.is_retriable() || error.kind == ErrorKind::Unknown;
            if self.kind.once_only() || !may_pass {
                return Err(error);
            }
            let Some(delay) = delays.next() else { return Err(error) };
            self.events.emit(Event::StepRetried { id: self.id.clone(), error: error.report() });
            if !self.wait(delay).await {
                return Err(error);
            }
            self.providers.confirm_lock(self.permit).await?;
            self.observe(instance).await?;
            if instance.diff().is_some_and(|diff| diff.is_empty()) {
                return Ok(());
            }
        }
    }

    /// Looks, and looks again while the server says that it cannot answer yet: a KV engine, for
    /// one, is not ready at the moment it is mounted.
    async fn observe(&self, instance: &mut dyn Instance) -> Result<()> {
        let mut delays = retry::read_delays();
        loop {
            match instance.observe(self.providers).await {
                Err(error) if error.is_retriable() => match delays.next() {
                    Some(delay) if self.wait(delay).await => {}
                    _ => return Err(error),
                },
                seen => return seen,
            }
        }
    }

    /// What was written must be what is read; a change may take a moment to be visible.
    async fn require_in_sync(&self, instance: &mut dyn Instance) -> Result<()> {
        let mut delays = retry::read_delays();
        loop {
            let seen = instance.observe(self.providers).await;
            let problem = match seen {
                Ok(()) => match instance.diff() {
                    Some(diff) if diff.is_empty() => return Ok(()),
                    Some(diff) => still_different(&self.id, &diff),
                    None => {
                        let message = "it was written but cannot be found";
                        Error::new(ErrorKind::Rejected, format!("step {}", self.id), message)
                    }
                },
                Err(error) if error.is_retriable() => error,
                Err(error) => return Err(error),
            };
            match delays.next() {
                Some(delay) if self.wait(delay).await => {}
                _ => return Err(problem),
            }
        }
    }

    /// Waits, unless the run is to end: then gives `false` at once. What comes only once is seen
    /// through to its end in any case.
    async fn wait(&self, delay: Duration) -> bool {
        if self.kind.once_only() {
            tokio::time::sleep(delay).await;
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = stopped(self.stop.clone()) => false,
        }
    }
}

/// Returns when the run is to end.
async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left who could stop it.
        std::future::pending::<()>().await;
    }
}

fn still_different(id: &str, diff: &Diff) -> Error {
    let paths: Vec<&str> = diff.changes.iter().map(|change| change.path.as_str()).collect();
    let message = format!("written, yet these fields still differ: {}", paths.join(", "));
    Error::new(ErrorKind::Rejected, format!("step {id}"), message)
        .advice("something else may be changing it; compare with `groundwork plan`")
}
