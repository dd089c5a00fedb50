//! One run over one plan: from the file to a changeset and its application.

mod checked;
mod connect;

pub use checked::{Checked, check};
pub use connect::{Reach, connect, journal, unlock};

use crate::apply;
use crate::changeset::Changeset;
use crate::diff;
use crate::event::Events;
use crate::lock::LocalLock;
use crate::observe::{self, World};
use crate::plan::Diagnostics;
use crate::providers::Providers;
use crate::resource::ErrorKind;

/// Things that are read at the same time, and steps that are written at the same time, unless
/// the caller says otherwise.
pub const PARALLELISM: usize = 16;

/// A plan, the live systems as they were observed, and the way to them.
pub struct Session {
    /// The clients.
    pub providers: Providers,
    /// What was seen.
    pub world: World,
    local: Option<LocalLock>,
    parallelism: usize,
}

/// Why there is no changeset.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan is wrong.
    #[error(transparent)]
    Plan(#[from] Diagnostics),
    /// A live system, or this machine, does not let the run begin.
    #[error(transparent)]
    Live(#[from] crate::resource::Error),
}

impl From<crate::changeset::Error> for Error {
    fn from(error: crate::changeset::Error) -> Self {
        match error {
            crate::changeset::Error::Plan(mistakes) => Self::Plan(mistakes),
        }
    }
}

impl Session {
    /// Connects and observes every step. Writes nothing, anywhere.
    ///
    /// # Errors
    /// When the account is not the plan's, credentials are missing, or the journal is damaged.
    pub async fn observe(mut checked: Checked, parallelism: usize, events: &Events) -> Result<Self, Error> {
        let (providers, scope) = connect::connect_in_scope(&mut checked, Reach::Everything).await?;
        providers.journal()?.pull().await?;
        let Checked { resolved, instances, graph, .. } = checked;
        let world =
            observe::observe(resolved, graph, instances, &providers, scope, parallelism, events).await;
        tell_warnings(&providers, &|warning| events.warn(warning));
        Ok(Self { providers, world, local: None, parallelism })
    }

    /// As [`Session::observe`], as the only run of this plan on this machine: what is observed is
    /// changed by no other run before this one has ended.
    ///
    /// # Errors
    /// As [`Session::observe`]; `Conflict` when another run has the lock.
    pub async fn observe_alone(checked: Checked, parallelism: usize, events: &Events) -> Result<Self, Error> {
        let local = checked.lock()?;
        let session = Self::observe(checked, parallelism, events).await?;
        Ok(Self { local: Some(local), ..session })
    }

    /// The difference between the plan and what was observed.
    ///
    /// # Errors
    /// Mistakes in the plan that only live values bring to light.
    pub fn compare(&mut self) -> Result<Changeset, Error> {
        let journal = self.providers.journal()?;
        let created = move |kind: &str, id: &str| {
            let target = apply::target(kind, id);
            journal.created(kind, id) || journal.open_intent(apply::CREATE, &target).is_some()
        };
        Ok(diff::compare(&mut self.world, &created)?)
    }

    /// Carries out an approved changeset of this session, under the plan's lock. Where that is a
    /// lock which other machines see, it is taken only now, because taking it is a write; so
    /// everything is observed once more, and what was approved must still be right.
    ///
    /// # Errors
    /// When another run holds the lock, naming it; when something has changed since the approval;
    /// or the journal cannot be written.
    pub async fn apply(
        &mut self,
        approved: apply::Approved<'_>,
        options: &apply::Options,
        events: &Events,
    ) -> Result<apply::Report, Error> {
        if self.local.is_none() {
            self.local = Some(checked::local_lock(&self.world.resolved)?);
        }
        let result = self.apply_locked(approved, options, events).await;
        tell_warnings(&self.providers, &|warning| events.warn(warning));
        self.release(events).await;
        result
    }

    /// Gives the lock back that other machines see. To be called when [`Session::apply`] was cut
    /// off; otherwise it has been done.
    pub async fn release(&self, events: &Events) {
        let Some(lock) = &self.providers.lock else { return };
        if let Err(error) = apply::unlock(lock).await {
            let advice = error.advice.as_deref().unwrap_or("run `groundwork unlock`");
            events.warn(format!("{error}; {advice}"));
        }
    }

    async fn apply_locked(
        &mut self,
        approved: apply::Approved<'_>,
        options: &apply::Options,
        events: &Events,
    ) -> Result<apply::Report, Error> {
        if let Some(lock) = &self.providers.lock
            && approved.changeset().summary.writing() > 0
            && apply::lock(lock, &approved).await?
        {
            self.require_unchanged(approved.changeset()).await?;
        }
        Ok(apply::apply(&mut self.world, approved, &self.providers, options, events).await?)
    }

    /// Somebody may have changed something between the observation and the lock.
    async fn require_unchanged(&mut self, approved: &Changeset) -> Result<(), Error> {
        let moved = self.providers.journal()?.pull().await?;
        observe::observe_again(&mut self.world, &self.providers, self.parallelism).await;
        let now = self.compare()?;
        let changed = approved.differences(&now);
        match (moved, changed.is_empty()) {
            (false, true) => Ok(()),
            (true, true) => Err(outdated("another run has written to the journal".to_owned()).into()),
            (_, false) => Err(outdated(format!("these steps have changed: {}", changed.join(", "))).into()),
        }
    }

    /// Removes the thing of one step, as approved.
    ///
    /// # Errors
    /// When the step is protected, or the live system refuses.
    pub async fn remove(&self, approved: apply::ApprovedRemoval<'_>) -> Result<(), Error> {
        Ok(apply::remove(&self.world, approved, &self.providers).await?)
    }
}

/// Tells of copies in custody that could not be used.
pub fn tell_warnings(providers: &Providers, tell: &dyn Fn(String)) {
    for warning in providers.custody.get().map(|custody| custody.take_warnings()).unwrap_or_default() {
        tell(warning);
    }
}

/// What was approved is not what would be done now.
fn outdated(what: String) -> crate::resource::Error {
    let message = format!("{what}, since the changes were approved; nothing was written");
    crate::resource::Error::new(ErrorKind::Conflict, "apply", message)
        .advice("apply again, and look at the changes once more")
}
