//! One step: intent, write, look again.

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
}

impl Task<'_> {
    /// Writes the step until the live thing agrees with the plan.
    pub async fn run(&self, instance: &mut dyn Instance) -> Result<()> {
        self.events.emit(Event::StepStarted { id: self.id.clone(), action: self.action.name() });
        if self.look_first && self.is_there(instance).await? {
            return Ok(());
        }
        let target = target(self.kind.name(), &instance.id());
        let announced = self.announce(&target)?;
        let result = self.converge(instance).await;
        if announced {
            self.settle(&target, &result)?;
        }
        result
    }

    /// Whether a server that has just come up has the thing already, from its configuration or a
    /// restored snapshot.
    async fn is_there(&self, instance: &mut dyn Instance) -> Result<bool> {
        self.look(instance).await?;
        let Some(diff) = instance.diff() else { return Ok(false) };
        match diff.blocked.first() {
            Some(blocked) => {
                let message = format!("it is there already and differs in {}: {}", blocked.path, blocked.why);
                Err(Error::new(ErrorKind::Conflict, format!("step {}", self.id), message))
            }
            None => Ok(diff.is_empty()),
        }
    }

    /// Reads the live thing; a server that has just come up may need a moment to answer.
    async fn look(&self, instance: &mut dyn Instance) -> Result<()> {
        let mut delays = retry::read_delays();
        loop {
            let Err(error) = instance.observe(self.providers).await else { return Ok(()) };
            let delay = delays.next().filter(|_| error.is_retriable());
            tokio::time::sleep(delay.ok_or(error)?).await;
        }
    }

    /// A thing that carries tags exists for a moment before they are put; the journal tells a
    /// later run that it is ours.
    fn announce(&self, target: &str) -> Result<bool> {
        let needed = self.action == Action::Create && self.kind.tagged();
        if needed {
            let entry = Entry::Intent {
                step: self.id.clone(),
                operation: CREATE.to_owned(),
                target: target.to_owned(),
                detail: Vec::new(),
            };
            self.providers.journal()?.append(self.permit, entry)?;
        }
        Ok(needed)
    }

    fn settle(&self, target: &str, result: &Result<()>) -> Result<()> {
        let (operation, target) = (CREATE.to_owned(), target.to_owned());
        let entry = match result {
            Ok(()) => Entry::Committed { operation, target, detail: Vec::new() },
            Err(error) => {
                let definite =
                    matches!(error.kind, ErrorKind::Rejected | ErrorKind::Denied | ErrorKind::Conflict);
                let result = if definite { Ending::Failed } else { Ending::Unknown };
                Entry::Outcome { operation, target, result, message: error.to_string() }
            }
        };
        self.providers.journal()?.append(self.permit, entry)
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
            self.events.emit(Event::StepRetried { id: self.id.clone(), error: error.to_string() });
            tokio::time::sleep(delay).await;
            self.look(instance).await?;
            if instance.diff().is_some_and(|diff| diff.is_empty()) {
                return Ok(());
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
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(problem),
            }
        }
    }
}

fn still_different(id: &str, diff: &Diff) -> Error {
    let paths: Vec<&str> = diff.changes.iter().map(|change| change.path.as_str()).collect();
    let message = format!("written, yet these fields still differ: {}", paths.join(", "));
    Error::new(ErrorKind::Rejected, format!("step {id}"), message)
        .advice("something else may be changing it; compare with `groundwork plan`")
}
