//! The risks of a changeset: things that it deletes, opens or no longer protects.
//!
//! Only changes are risks, not the state before: a new wildcard is a risk, an unchanged one is not.

mod destination;
mod field;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::changeset::{Action, Changeset, StepChange};
use crate::provider::Registry;
use crate::resource::erased::Kind;
use crate::resource::risk::{Category, Deletion, Finding, Severity, some};
use crate::visible::sanitize;

/// Something about a changeset that deserves a second look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Risk {
    /// The step; for a destination, the field of the plan that sets it.
    pub step: String,
    /// How bad it can get.
    pub severity: Severity,
    /// The sort of risk.
    pub category: Category,
    /// The consequence, a fragment without a full stop.
    pub message: String,
}

/// All risks, the worst first, otherwise in the order of the steps.
pub fn assess(changeset: &Changeset, registry: &Registry) -> Vec<Risk> {
    let destinations = changeset.where_this_goes.iter().flat_map(destination::findings);
    let mut risks: Vec<Risk> = destinations.map(|(name, found)| assigned(found, name)).collect();
    risks.extend(changeset.steps.iter().flat_map(|step| of_step(step, registry.find(step.kind))));
    risks.sort_by_key(|risk| std::cmp::Reverse(risk.severity));
    risks
}

fn assigned(found: Finding, step: &str) -> Risk {
    let Finding { severity, category, message } = found;
    Risk { step: step.to_owned(), severity, category, message: sanitize(&message).replace('\n', " ") }
}

fn of_step(step: &StepChange, kind: Option<&dyn Kind>) -> Vec<Risk> {
    let mut found = match step.action {
        Action::None | Action::Blocked | Action::Deferred => return Vec::new(),
        Action::Delete => std::iter::once(deletion(kind)).chain(losses(step)).collect(),
        Action::Replace => {
            // Both: what is deleted with the old thing, and what the new one opens.
            let (lost, new) = step.changes.iter().cloned().partition(|change| change.after.is_null());
            let part = |action, changes| StepChange { action, changes, ..step.clone() };
            let (old, new) = (part(Action::Delete, lost), part(Action::Create, new));
            let found = std::iter::once(deletion(kind)).chain(losses(&old).collect::<Vec<_>>());
            found.chain(field::findings(&new, kind)).collect()
        }
        Action::Create | Action::Update | Action::Adopt => {
            let mut found = field::findings(step, kind);
            found.extend(resets(step));
            found
        }
    };
    if step.unprotected {
        let message = "is not protected from deletion (`protect: false`)";
        found.push(Finding::new(Severity::Low, Category::ProtectionOff, message));
    }
    found.into_iter().map(|found| assigned(found, &step.id)).collect()
}

fn deletion(kind: Option<&dyn Kind>) -> Finding {
    kind.map_or(Deletion::usual(false), |kind| kind.deletion()).finding()
}

/// Fields that an update resets although the plan does not declare them.
fn resets(step: &StepChange) -> impl Iterator<Item = Finding> {
    step.changes.iter().filter(|change| change.resets).map(|change| {
        let message = format!("resets {}, which may have been set by hand", change.path);
        Finding::new(Severity::Medium, Category::Destroy, message)
    })
}

/// Things that a removal takes along although this plan did not make them.
fn losses(step: &StepChange) -> impl Iterator<Item = Finding> {
    step.changes.iter().filter(|change| change.after.is_null()).map(|change| {
        let names = change.before.as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Vec<String> = names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let message = format!("takes along {} that this plan did not make: {}", change.path, some(&names));
        Finding::new(Severity::High, Category::Destroy, message)
    })
}

#[cfg(test)]
mod field_tests;
#[cfg(test)]
mod tests;
