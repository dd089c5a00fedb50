//! The end of a complete teardown: custody, the journal's copy and the lock, then what these were in, and the
//! journal itself at the very last, so that a run that was cut off can be run again.

use super::{Means, Report, remove};
use crate::changeset::{Action, Changeset, StepChange};
use crate::error::Result;
use crate::event::Event;
use crate::observe::ObservedPlan;
use crate::removal;

const LEFT: &str =
    "something else is left, which may need custody, the journal or the lock; run again when that is gone";

/// Removes everything, dependents first. The things that the run itself rests on go only when nothing else is left.
///
/// # Errors
/// When custody, the journal or the lock cannot be removed.
pub async fn tear_down(
    world: &ObservedPlan,
    changeset: &Changeset,
    means: Means<'_>,
    report: &mut Report,
) -> Result<()> {
    let rests_on = removal::rests_on(world);
    let (last, first): (Vec<&StepChange>, Vec<&StepChange>) =
        changeset.steps.iter().partition(|step| rests_on.contains(&step.id));
    remove::remove(world, going(&first), means, report).await;
    let is_stuck = |step: &&&StepChange| matches!(step.action, Action::Blocked | Action::Deferred);
    let stuck: Vec<&str> = last.iter().filter(is_stuck).map(|step| step.id.as_str()).collect();
    let last = going(&last);
    let is_left = first.iter().any(|step| is_stuck(&step)) || !world.elsewhere.is_empty();
    if is_left || report.undone().next().is_some() || *means.options.stop.borrow() {
        for step in &last {
            means.events.emit(Event::StepSkipped { id: step.id.clone(), reason: LEFT.to_owned() });
            report.skipped.push((step.id.clone(), LEFT.to_owned()));
        }
        if last.is_empty() {
            means.events.warn(format!("custody and the journal stay: {LEFT}"));
        }
        return Ok(());
    }
    let Means { run, permit, events, .. } = means;
    if run.custody_settings.is_some() {
        let removed = run.custody().await?.erase(permit).await?;
        events.progress(format!("custody: {removed} objects removed"));
    }
    run.journal.erase_copy(permit).await?;
    if let Some(lock) = &run.lock {
        lock.retire(permit).await?;
    }
    remove::remove(world, last, means, report).await;
    if report.undone().next().is_none() && !*means.options.stop.borrow() {
        run.journal.erase()?;
        report.is_torn_down = true;
        events.progress(farewell(&stuck));
    }
    Ok(())
}

/// The last message of a teardown, with the ids of those steps whose removal was refused.
fn farewell(stuck: &[&str]) -> String {
    let left = match stuck {
        [] => "nothing of this plan is left that it has made".to_owned(),
        stuck => format!("of what this plan has made, this is left: {}", stuck.join(", ")),
    };
    format!("the journal is removed; {left}")
}

/// The removals among these steps.
fn going<'a>(steps: &[&'a StepChange]) -> Vec<&'a StepChange> {
    steps.iter().copied().filter(|step| step.action == Action::Delete).collect()
}
