//! Seals custody again, for the recipients that the plan names now.

use super::checked::Checked;
use super::connect::{Reach, connect};
use super::{Error, PARALLELISM, recorded};
use crate::apply::by_command;
use crate::changeset::Selection;
use crate::custody::Misdirected;
use crate::error::Result as LiveResult;
use crate::event::Events;
use crate::journal::Entry;
use crate::lock::{LocalLock, Wait};
use crate::observe;
use crate::run::Run;

/// The journal's word for it.
const REWRAP: &str = "rewrap custody";

/// The objects that a person is asked to have sealed again. No other run of the plan goes on meanwhile.
pub struct Rewrapping {
    run: Run,
    /// The objects that are sealed for others.
    pub objects: Vec<Misdirected>,
    /// Shares that only their holders open.
    pub handed_out: Vec<String>,
    _lock: LocalLock,
}

impl Rewrapping {
    /// Looks at everything in custody. Writes nothing.
    ///
    /// # Errors
    /// When another run has the lock, the journal is not believed, a recipient is not known, or a store does
    /// not answer.
    pub async fn look(checked: Checked, wait: &Wait<'_>) -> Result<Self, Error> {
        let lock = checked.lock(wait).await?;
        let run = with_recipients(checked).await?;
        let (objects, handed_out) = run.custody().await?.misdirected().await?;
        Ok(Self { run, objects, handed_out, _lock: lock })
    }

    /// Seals each object again, and reports each. After an interruption the next run does the rest.
    ///
    /// # Errors
    /// When another run has the lock; when an object cannot be sealed, kept or proven.
    pub async fn carry_out(&self, wait: &Wait<'_>, tell: &(dyn Fn(String) + Sync)) -> LiveResult<()> {
        recorded(&self.run, wait, async |_| self.seal(tell).await).await
    }

    async fn seal(&self, tell: &(dyn Fn(String) + Sync)) -> LiveResult<()> {
        let (permit, journal, custody) = (by_command(), &self.run.journal, self.run.custody().await?);
        let (operation, target) = (REWRAP.to_owned(), "custody".to_owned());
        let detail = self.objects.iter().map(|one| one.object.clone()).collect();
        let step = "custody".to_owned();
        journal
            .append(
                &permit,
                Entry::Intent { step, operation: operation.clone(), target: target.clone(), detail },
            )
            .await?;
        for one in &self.objects {
            let version = custody.rewrap(&permit, &one.object).await?;
            tell(format!("sealed again: {}, version {version}", one.object));
        }
        journal.append(&permit, Entry::Committed { operation, target, detail: Vec::new() }).await
    }

    /// Copies to each store what it lacks.
    ///
    /// # Errors
    /// When an object is still on no store afterwards.
    pub async fn complete(&self) -> LiveResult<()> {
        self.run.custody().await?.complete(&by_command(), "").await
    }

    /// The run, whose custody knows the plan's recipients.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Problems of custody that do not end it.
    pub fn take_warnings(&self) -> Vec<String> {
        self.run.take_warnings()
    }
}

/// A run whose custody knows the plan's recipients. A recipient may be a key that a step makes; then that step
/// is read.
///
/// # Errors
/// As [`connect`]; when the journal is not believed.
pub async fn with_recipients(checked: Checked) -> Result<Run, Error> {
    let named: Vec<String> = checked.resolved.custody_references.clone();
    let is_made = |name: &String| {
        let resolved = &checked.resolved;
        resolved.steps.iter().any(|step| resolved.document.steps[step.declared].id.name == *name)
    };
    let targets: Vec<String> = named.into_iter().filter(is_made).collect();
    let mut checked = checked;
    if !targets.is_empty() {
        checked = checked.select(Selection { targets, ..Selection::default() })?;
    }
    let run = connect(&mut checked, Reach::Everything).await?;
    run.journal.pull().await?;
    run.journal.require_believed()?;
    if checked.selected.is_partial() {
        let Checked { resolved, instances, graph, selected, .. } = checked;
        let events = Events::default();
        let world = observe::observe(resolved, graph, instances, selected, &run, PARALLELISM, &events).await;
        if let Ok(Some(settings)) = world.resolved.custody(&world.known_outputs()) {
            run.custody().await?.set_recipients(settings.recipients);
        }
    }
    Ok(run)
}
