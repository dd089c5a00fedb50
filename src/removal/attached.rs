//! Attachments of the things to remove: some block the removal, others are deleted with it.

use std::collections::HashMap;

use futures::stream::{StreamExt, iter};

use super::decision::{self, Candidate, RemovalDecision};
use super::replaced;
use crate::changeset::{Action, RemovalScope, StepChange};
use crate::error::{Error, Result};
use crate::journal::target;
use crate::observe::ObservedPlan;
use crate::resource::{Attachment, Part, mentions};
use crate::run::Run;

/// The attachments of the things that may be removed, by target; or the error from reading them.
pub type Attached = HashMap<String, Result<Vec<Attachment>>>;

/// Reads the attachments of everything that would be removed, at most `parallelism` things at once.
pub async fn attached(world: &ObservedPlan, run: &Run, parallelism: usize) -> Attached {
    let mut all = decision::orphans(world);
    all.extend(match world.extent {
        RemovalScope::Everything | RemovalScope::Teardown => decision::declared(world),
        RemovalScope::Nothing | RemovalScope::Undeclared => replaced::candidates(world),
    });
    let goes = all.into_iter().filter(|candidate| matches!(candidate.fate, RemovalDecision::Goes(_)));
    let look = |candidate: Candidate| async move {
        let found = read(world, run, &candidate).await;
        (candidate.target, found)
    };
    iter(goes.map(look)).buffer_unordered(parallelism.max(1)).collect().await
}

async fn read(world: &ObservedPlan, run: &Run, candidate: &Candidate) -> Result<Vec<Attachment>> {
    let mut orphans = world.orphans.iter();
    if let Some(orphan) = orphans.find(|orphan| orphan.target() == candidate.target) {
        return orphan.recorded.attachments(run).await;
    }
    let mut steps = 0..world.resolved.steps.len();
    match steps.find(|index| world.target(*index) == candidate.target) {
        Some(index) => world.instances[index].attachments(run).await,
        None => Ok(Vec::new()),
    }
}

/// Adds its attachments to each candidate. When they cannot be read, the removal is unclear. A
/// thing whose successor is not created stays.
pub(super) fn consider(world: &ObservedPlan, steps: &[StepChange], candidates: &mut [Candidate]) {
    let actions: HashMap<&str, Action> = steps.iter().map(|step| (step.id.as_str(), step.action)).collect();
    let let_go = LettingGo::of(world, steps);
    for candidate in
        candidates.iter_mut().filter(|candidate| matches!(candidate.fate, RemovalDecision::Goes(_)))
    {
        match world.attached.get(&candidate.target) {
            Some(Ok(found)) => {
                candidate.attachments =
                    found.iter().filter(|one| !let_go.ends(one) && !is_own(world, one)).cloned().collect();
            }
            Some(Err(error)) => candidate.fate = RemovalDecision::Unclear(unreadable(error)),
            None => {}
        }
        contain(candidate);
        let successor = candidate.successor.as_deref().and_then(|id| Some((id, actions.get(id)?)));
        if let Some((id, action @ (Action::Blocked | Action::Deferred))) = successor {
            let why =
                format!("`{id}` replaces it and is {}; it stays until that step is applied", action.name());
            candidate.fate = RemovalDecision::Held(why);
        }
    }
}

/// Whether it is a thing of this plan, whose own removal is decided separately.
fn is_own(world: &ObservedPlan, attachment: &Attachment) -> bool {
    let holder = attachment.holder.as_ref().filter(|holder| holder.kind.is_empty());
    holder.is_some_and(|holder| world.things.iter().any(|thing| is_at(thing.name(), &holder.id)))
}

/// Whether a name is `place`, or below it when `place` ends with a slash; in the same namespace.
pub(super) fn is_at(name: &str, place: &str) -> bool {
    let (name, here) = name.split_once(" (").unwrap_or((name, ""));
    let (place, there) = place.split_once(" (").unwrap_or((place, ""));
    here == there && (name == place || place.ends_with('/') && name.starts_with(place))
}

fn unreadable(error: &Error) -> String {
    let advice = error.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
    format!("cannot determine what blocks its removal: {error}{advice}")
}

/// Marks a candidate as part of a container when an attachment blocks its separate removal, but not
/// its removal with the container.
fn contain(candidate: &mut Candidate) {
    let mut blocking = candidate.attachments.iter().filter(|attachment| attachment.blocks.is_some());
    let part = blocking.find_map(|attachment| {
        let (kind, id) = attachment.container.clone()?;
        let clause = attachment.blocks.as_deref().unwrap_or_default();
        Some(Part { kind, id, why: format!("cannot be deleted while {clause}; remove that first") })
    });
    candidate.attachments.retain(|attachment| attachment.container.is_none());
    candidate.part = candidate.part.take().or(part);
}

/// The declared steps that this run updates, and the attachments that these updates remove.
struct LettingGo<'a>(HashMap<String, &'a StepChange>);

impl<'a> LettingGo<'a> {
    fn of(world: &ObservedPlan, steps: &'a [StepChange]) -> Self {
        let updated = steps.iter().filter(|step| matches!(step.action, Action::Update | Action::Adopt));
        let by_id: HashMap<&str, &StepChange> = updated.map(|step| (step.id.as_str(), step)).collect();
        let declared = world.resolved.steps.iter().enumerate();
        Self(
            declared
                .filter_map(|(index, step)| Some((world.target(index), *by_id.get(step.id.as_str())?)))
                .collect(),
        )
    }

    fn ends(&self, attachment: &Attachment) -> bool {
        let Some(holder) = &attachment.holder else { return false };
        let step = self.0.get(&target(holder.kind, &holder.id));
        let (Some(step), Some(value)) = (step, &holder.value) else { return false };
        step.changes.iter().any(|change| mentions(&change.before, value) && !mentions(&change.after, value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn attachment_below_a_folder_is_found() {
        assert!(is_at("secret/app/database", "secret/app/") && is_at("transit/keys/k", "transit/keys/k"));
        assert!(!is_at("secret/app/database", "secret/app"), "a secret beside the folder");
        assert!(is_at("secret/a/b (namespace t)", "secret/a/ (namespace t)"));
        assert!(!is_at("secret/a/b", "secret/a/ (namespace t)"));
    }

    #[test]
    fn update_dropping_the_name_releases_it() {
        let mut step = crate::review::testing::step("role", "aws.iam_role", "update", &[]);
        let mut diff = crate::resource::Diff::none();
        diff.push("managed_policies", json!(["a", "b"]), json!(["a"]));
        step.changes = diff.changes;
        let let_go = LettingGo(HashMap::from([("aws.iam_role r".to_owned(), &step)]));
        let held = |by: &str, value: &str| {
            Attachment::blocks("attachments", "r", "x").held_by("aws.iam_role", by).by_value(value)
        };
        assert!(let_go.ends(&held("r", "b")) && !let_go.ends(&held("r", "a")));
        assert!(!let_go.ends(&held("other", "b")), "another role still has it");
    }
}
