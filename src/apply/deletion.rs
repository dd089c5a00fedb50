//! The removal of one thing: look again, record the intent, delete, confirm that it is gone.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::retry::{Waits, passing};
use super::step::ended;
use super::{Means, retry};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::journal::{DELETE, Entry};
use crate::plan::ownership::PLAN_TAG;
use crate::resource::{Attachment, Recorded};

/// What the removal of one thing takes, besides the thing.
pub struct Deletion<'a> {
    /// The id of its step.
    pub id: String,
    /// The journal's name for the thing.
    pub target: String,
    /// Its realm, as the journal's entries about the removal have it.
    pub detail: Vec<String>,
    /// The plan's name.
    pub plan: String,
    /// It may lack its tags, because the run that created it was interrupted.
    pub untagged: bool,
    /// The attachments known when the removal was approved.
    pub attached: HashSet<String>,
    pub means: Means<'a>,
}

impl Deletion<'_> {
    /// Observes again, records the intent, removes, and confirms that the thing no longer exists.
    pub async fn run(&self, recorded: &mut dyn Recorded) -> Result<()> {
        self.look(recorded).await?;
        if !recorded.exists() {
            return self.means.note(self.gone()).await;
        }
        self.require_ours(recorded)?;
        if let Some(part) = recorded.part_of() {
            // The thing that contains it was removed before.
            self.require_gone(recorded).await.map_err(|error| error.advice(part.why))?;
            return self.means.note(self.gone()).await;
        }
        self.require_unattached(recorded).await?;
        if !recorded.exists() {
            return self.means.note(self.gone()).await;
        }
        let intent = Entry::Intent {
            step: self.id.clone(),
            operation: DELETE.to_owned(),
            target: self.target.clone(),
            detail: self.detail.clone(),
        };
        self.means.note(intent).await?;
        let result = self.converge(recorded).await;
        let entry = match &result {
            Ok(()) => self.gone(),
            Err(error) => ended(DELETE, &self.target, error),
        };
        self.means.note(entry).await?;
        result
    }

    fn gone(&self) -> Entry {
        let (target, detail) = (self.target.clone(), self.detail.clone());
        Entry::Committed { operation: DELETE.to_owned(), target, detail }
    }

    fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, format!("remove {}", self.id), message)
    }

    /// Another process may have created a thing of the same name since the approval.
    fn require_ours(&self, recorded: &dyn Recorded) -> Result<()> {
        let Some(tags) = recorded.tags() else { return Ok(()) };
        match tags.get(PLAN_TAG) {
            Some(owner) if *owner == self.plan => Ok(()),
            None if self.untagged => Ok(()),
            _ => {
                let message = "it no longer carries this plan's tag; nothing was removed";
                Err(self.error(ErrorKind::Conflict, message))
            }
        }
    }

    /// Refuses the removal when an attachment blocks it or did not exist when it was approved. A
    /// recently removed attachment may remain visible for a while.
    async fn require_unattached(&self, recorded: &mut dyn Recorded) -> Result<()> {
        let mut first = true;
        let attempt = async || {
            if !std::mem::take(&mut first)
                && let Err(error) = self.look(recorded).await
            {
                return ControlFlow::Break(Err(error));
            }
            match recorded.attachments(self.means.run).await {
                Ok(found) => match blocking(&found) {
                    None => ControlFlow::Break(self.require_expected(&found)),
                    Some(clause) => ControlFlow::Continue(self.refused(clause)),
                },
                Err(error) => passing(Err(error)),
            }
        };
        self.waits().read_until(attempt).await
    }

    fn refused(&self, clause: &str) -> Error {
        let message = format!("cannot be deleted while {clause}; nothing was removed");
        self.error(ErrorKind::Rejected, message).advice("remove that first, then run again")
    }

    fn require_expected(&self, found: &[Attachment]) -> Result<()> {
        let Some(new) = unexpected(found, &self.attached) else { return Ok(()) };
        let message = format!(
            "`{}` in {} did not exist when the removal was approved; nothing was removed",
            new.name, new.field
        );
        Err(self
            .error(ErrorKind::Conflict, message)
            .advice("run again and review what the removal also deletes"))
    }

    /// A removal can be repeated: a thing that no longer exists counts as success.
    async fn converge(&self, recorded: &mut dyn Recorded) -> Result<()> {
        let Means { run, permit, events, .. } = self.means;
        let mut delays = retry::write_delays();
        loop {
            let error = match recorded.delete(run, permit, &self.id).await {
                Ok(()) => return self.require_gone(recorded).await,
                Err(error) => error,
            };
            let may_pass = error.is_retriable() || error.kind == ErrorKind::Unknown;
            let delay = delays.next().filter(|_| may_pass);
            let Some(delay) = delay else { return Err(error) };
            events.emit(Event::StepRetried { id: self.id.clone(), error: error.report() });
            if !self.waits().wait(delay).await {
                return Err(error);
            }
            self.means.confirm_lock().await?;
        }
    }

    /// A removal may take a moment to become visible.
    async fn require_gone(&self, recorded: &mut dyn Recorded) -> Result<()> {
        let attempt = async || match self.look(recorded).await {
            Ok(()) if recorded.exists() => {
                let error = self.error(ErrorKind::Rejected, "it still exists after being deleted");
                let advice = "another process may be recreating it; check with `groundwork plan`";
                ControlFlow::Continue(error.advice(advice))
            }
            decided => ControlFlow::Break(decided),
        };
        self.waits().read_until(attempt).await
    }

    async fn look(&self, recorded: &mut dyn Recorded) -> Result<()> {
        self.waits().read(async || recorded.observe(self.means.run).await).await
    }

    fn waits(&self) -> Waits {
        Waits::until(&self.means.options.stop)
    }
}

/// Why the server would refuse to remove a thing with these attachments.
fn blocking(found: &[Attachment]) -> Option<&str> {
    found.iter().find_map(|attachment| attachment.blocks.as_deref())
}

/// The first attachment that did not exist when the removal was approved.
fn unexpected<'a>(found: &'a [Attachment], approved: &HashSet<String>) -> Option<&'a Attachment> {
    found.iter().find(|attachment| !approved.contains(&attachment.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachment_added_after_approval_is_unexpected() {
        let found = [Attachment::ends("policies", "a"), Attachment::ends("policies", "b")];
        let approved = |names: &[&str]| names.iter().map(|name| format!("policies.{name}")).collect();
        assert_eq!(unexpected(&found, &approved(&["a", "b", "gone"])), None);
        assert_eq!(unexpected(&found, &approved(&["a"])).map(|one| one.name.as_str()), Some("b"));
    }

    #[test]
    fn blocking_attachment_reports_its_reason() {
        let found = [Attachment::ends("policies", "a"), Attachment::blocks("keys", "k", "it has a key")];
        assert_eq!((blocking(&found), blocking(&found[..1])), (Some("it has a key"), None));
    }
}
