//! One run over one plan: from the file to a changeset and its application.

mod access;
mod adopt;
pub mod backups;
mod checked;
mod connect;
pub mod drill;
pub mod found;
mod hold;
mod permissions;
mod preflight;
mod rebuild;
mod recorded;
pub mod restore;
mod restore_fresh;
mod restore_live;
mod restore_record;
mod restore_secret;
mod rewrap;
pub mod rotate;
pub mod stages;
mod want;
mod wanted;
mod whole;

pub use access::declared as declared_access;
pub use adopt::Adoption;
pub use backups::{BackedUp, Backups};
pub use checked::{Checked, Purpose, check, check_with};
pub use connect::{Reach, bare, connect, journal, journal_here, unlock};
pub use hold::Hold;
pub use permissions::least_policies;
pub use rebuild::LostJournal;
pub use recorded::recorded;
pub use restore::{Preview, Restore, Restored};
pub use restore_record::connect_to_record;
pub use restore_secret::SecretRestore;
pub use rewrap::{Rewrapping, with_recipients};
pub use want::Wanted;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::apply;
use crate::apply::destinations;
use crate::changeset::{Action, Changeset, RemovalScope};
use crate::diff;
use crate::error::ErrorKind;
use crate::event::Events;
use crate::journal::{Belief, Thing, Things};
use crate::lock::{LocalLock, Wait};
use crate::observe::{self, ObservedPlan};
use crate::place::Place;
use crate::plan::Diagnostics;
use crate::provider::Registry;
use crate::removal;
use crate::run::Run;
use crate::saved::{Content, Difference, Identities, Origin};
use crate::workspace::Workspace;

/// Things that are read at the same time, and steps that are written at the same time, unless
/// the caller says otherwise.
pub const PARALLELISM: usize = 16;

/// A plan, the live systems as they were observed, and the way to them.
pub struct Session {
    /// The clients.
    pub run: Run,
    /// The observed plan.
    pub world: ObservedPlan,
    /// Sources beside the steps' things that could not be read, and why.
    pub gaps: Vec<(String, String)>,
    local: Option<LocalLock>,
    /// How long to wait for a lock.
    lock_timeout: Duration,
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
    Live(#[from] crate::error::Error),
    /// The state on which a saved changeset rests has changed since its review.
    #[error("the saved changeset is out of date")]
    Outdated(Vec<Difference>),
    /// Steps and sources that cannot be planned or read yet, and why, although all of them must be.
    #[error("not every step could be planned")]
    Incomplete(Vec<(String, String)>),
}

impl From<crate::changeset::Error> for Error {
    fn from(error: crate::changeset::Error) -> Self {
        match error {
            crate::changeset::Error::Plan(mistakes) => Self::Plan(mistakes),
        }
    }
}

/// Checks that this build has every kind of which the journal records a thing: a removal would pass over
/// the others without a word.
fn require_kinds(registry: &Registry, things: &Things) -> Result<(), crate::error::Error> {
    let left_out = |thing: &Thing| Some(registry.left_out(thing.kind())?.error(&thing.target));
    things.iter().find_map(left_out).map_or(Ok(()), Err)
}

impl Session {
    /// Connects and observes every step. Writes nothing, anywhere. A source that cannot be read is a gap.
    ///
    /// # Errors
    /// When the plan lacks the caller's permission, the account is not the plan's, credentials are missing,
    /// or the journal is damaged or not believed.
    pub async fn observe(mut checked: Checked, parallelism: usize, events: &Events) -> Result<Self, Error> {
        checked.require_allowed(Purpose::Everything)?;
        let run = connect(&mut checked, Reach::Everything).await?;
        let mut gaps = Vec::new();
        let journal = &run.journal;
        if let Err(error) = journal.pull().await {
            if !is_hidden(&error) {
                return Err(error.into());
            }
            let message = format!("{error}; the changes of other machines are not known");
            events.warn(format!("the journal's copy cannot be read: {message}"));
            gaps.push(("journal".to_owned(), message));
        }
        if let Belief::Lost(lines) = journal.belief() {
            events.warn(format!(
                "the plan's journal is gone: this machine has seen {lines} lines of it, and no longer knows which \
                 things are the plan's; restore the file if there is a copy of it"
            ));
        }
        // Without the journal everything that exists looks like another party's.
        journal.require_believed()?;
        let Checked { resolved, instances, graph, extent, selected, .. } = checked;
        if extent != RemovalScope::Nothing {
            require_kinds(resolved.registry, &journal.things())?;
        }
        let mut world =
            observe::observe(resolved, graph, instances, selected, &run, parallelism, events).await;
        world.extent = extent;
        world.attached = removal::attached(&world, &run, parallelism).await;
        tell_warnings(&run, &|warning| events.warn(warning));
        Ok(Self { run, world, gaps, local: None, lock_timeout: Duration::ZERO, parallelism })
    }

    /// As [`Session::observe`], as the only run of this plan on this machine: no other run changes the
    /// observed things before this one has ended. Waits up to `lock_timeout` for a lock.
    ///
    /// # Errors
    /// As [`Session::observe`]; `Conflict` when another run has the lock.
    pub async fn observe_alone(
        checked: Checked,
        parallelism: usize,
        lock_timeout: Duration,
        events: &Events,
    ) -> Result<Self, Error> {
        let local = checked.lock(&Wait::up_to(lock_timeout, &|waiting| events.warn(waiting))).await?;
        let session = Self::observe(checked, parallelism, events).await?;
        if let Some((_, why)) = session.gaps.first() {
            return Err(crate::error::Error::new(ErrorKind::Denied, "journal", why.clone())
                .advice("a run that writes has to read the journal's copy first")
                .into());
        }
        Ok(Self { local: Some(local), lock_timeout, ..session })
    }

    /// The difference between the plan and what was observed. Where a system can say what a write would do, it is
    /// asked.
    ///
    /// # Errors
    /// Mistakes in the plan that only live values bring to light.
    pub async fn compare(&mut self) -> Result<Changeset, Error> {
        let mut changeset = diff::compare(&mut self.world)?;
        let steps = self.world.resolved.steps.iter().enumerate();
        let is_written = |id: &str| changeset.step(id).is_some_and(|step| step.action.writes());
        let written = steps.filter(|(_, step)| is_written(&step.id)).map(|(index, _)| index).collect();
        if observe::rehearse(&mut self.world, &written, &self.run, self.parallelism).await {
            changeset = diff::compare(&mut self.world)?;
        }
        changeset.elsewhere = removal::elsewhere(&self.world);
        changeset.where_this_goes = Some(destinations::of_world(&self.world, &self.run));
        Ok(changeset)
    }

    /// Checks that everything could be read and every step of the changeset could be planned.
    ///
    /// # Errors
    /// `Incomplete`, with what is left for later.
    pub fn require_complete(&self, changeset: &Changeset) -> Result<(), Error> {
        let deferred = changeset.steps.iter().filter(|step| step.action == Action::Deferred);
        let deferred =
            deferred.map(|step| (format!("step {}", step.id), step.reason.clone().unwrap_or_default()));
        let left: Vec<(String, String)> = self.gaps.iter().cloned().chain(deferred).collect();
        if left.is_empty() { Ok(()) } else { Err(Error::Incomplete(left)) }
    }

    /// The content to save of a changeset of this session, so that it can be applied later.
    pub fn record(&self, changeset: &Changeset, origin: &Origin) -> Content {
        Content::new(origin, &self.world, self.identities(), changeset)
    }

    /// The identities of the systems that this session has observed, by connection.
    fn identities(&self) -> Identities {
        let world = &self.world;
        let steps = (0..world.resolved.steps.len()).map(|index| world.place(index));
        let used: BTreeSet<(&str, Option<String>)> =
            steps.map(|(provider, place)| (provider, place.alias)).collect();
        let realm = |(provider, alias): (&str, Option<String>)| {
            let place = Place::of_alias(alias.as_deref());
            let realm = world.realms.of(provider, &place);
            (!realm.is_unknown()).then(|| (place.connection(provider), realm.clone()))
        };
        Identities::new(used.into_iter().filter_map(realm).collect())
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
        let mut result = self.apply_locked(approved, options, events).await;
        tell_warnings(&self.run, &|warning| events.warn(warning));
        let is_free = self.release(events).await;
        if let Ok(report) = &mut result {
            report.is_still_locked = !is_free;
        }
        if result.as_ref().is_ok_and(|report| report.is_torn_down) {
            let document = &self.world.resolved.document;
            let cleared = Workspace::of(&document.folder)?.clear(&document.name);
            cleared
                .map_err(|error| crate::error::Error::new(ErrorKind::Local, "teardown", error.to_string()))?;
        }
        result
    }

    /// Gives the lock back that other machines see, and reports whether this run holds it no more. To be called
    /// when [`Session::apply`] was cut off; otherwise it has been done.
    pub async fn release(&self, events: &Events) -> bool {
        Hold::of(&self.run).let_go(|stays| events.warn(stays)).await
    }

    async fn apply_locked(
        &mut self,
        approved: apply::Approved<'_>,
        options: &apply::Options,
        events: &Events,
    ) -> Result<apply::Report, Error> {
        self.run.ready_to_sign().await?;
        let tell = |waiting| events.warn(waiting);
        let wait = Wait::up_to(self.lock_timeout, &tell).unless(&options.stop);
        if let Some(lock) = &self.run.lock
            && (approved.changeset().summary.writing() > 0 || self.world.extent == RemovalScope::Teardown)
            && wait.take(async || apply::lock(lock, &approved).await).await?
        {
            self.require_unchanged(approved.changeset()).await?;
        }
        Ok(apply::apply(&mut self.world, approved, &self.run, options, events).await?)
    }

    /// Checks that nothing has changed between the observation and the lock.
    async fn require_unchanged(&mut self, approved: &Changeset) -> Result<(), Error> {
        let moved = self.run.journal.pull().await?;
        observe::observe_again(&mut self.world, &self.run, self.parallelism).await;
        let now = self.compare().await?;
        let changed = approved.beyond(&now);
        match (moved, changed.is_empty()) {
            (false, true) => Ok(()),
            (true, true) => Err(outdated("another run has written to the journal".to_owned()).into()),
            (_, false) => Err(outdated(format!("these steps have changed: {}", changed.join(", "))).into()),
        }
    }
}

/// Whether an error means that something is there and cannot be seen from here.
fn is_hidden(error: &crate::error::Error) -> bool {
    matches!(error.kind, ErrorKind::Denied | ErrorKind::Unavailable | ErrorKind::Throttled)
}

/// Reports copies in custody that could not be used, and nodes of Vault that are not healthy.
pub fn tell_warnings(run: &Run, tell: &dyn Fn(String)) {
    run.take_warnings().into_iter().for_each(tell);
}

/// The error when the approved changes differ from those that would be applied now.
fn outdated(what: String) -> crate::error::Error {
    let message = format!("{what}, since the changes were approved; nothing was written");
    crate::error::Error::new(ErrorKind::Conflict, "apply", message)
        .advice("apply again, and look at the changes once more")
}
