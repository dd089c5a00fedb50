//! The risks of a changeset: things that it deletes, opens or no longer protects.
//!
//! Only changes are risks, not the state before: a new wildcard is a risk, an unchanged one is not.

mod destination;
mod iam;
mod setting;
mod vault;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::changeset::{Action, Changeset, StepChange};
use crate::providers::registry;
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

/// How bad it can get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Can be right, but should be intended.
    Medium,
    /// Cannot be undone, or opens something to everyone.
    High,
}

impl Severity {
    /// The word in JSON and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// The sort of a risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// Something is deleted.
    Destroy,
    /// A key is, or will be, scheduled for deletion.
    KeyDeletion,
    /// Something becomes accessible to everyone.
    PublicExposure,
    /// Everything, or every member of a group, is allowed.
    Wildcard,
    /// A safeguard is switched off or taken away.
    ProtectionOff,
    /// More is allowed than before.
    BroaderGrant,
    /// Something goes to another place than at the last apply, or another person can open it.
    Destination,
}

/// All risks, the worst first, otherwise in the order of the steps.
pub fn assess(changeset: &Changeset) -> Vec<Risk> {
    let destinations = changeset.where_this_goes.iter().flat_map(destination::findings);
    let mut risks: Vec<Risk> = destinations.map(|(name, found)| found.of(name)).collect();
    risks.extend(changeset.steps.iter().flat_map(of_step));
    risks.sort_by_key(|risk| std::cmp::Reverse(risk.severity));
    risks
}

/// A risk that is not assigned to a step yet.
struct Finding {
    severity: Severity,
    category: Category,
    message: String,
}

impl Finding {
    fn new(severity: Severity, category: Category, message: impl Into<String>) -> Self {
        Self { severity, category, message: message.into() }
    }

    fn of(self, step: &str) -> Risk {
        let Self { severity, category, message } = self;
        Risk { step: step.to_owned(), severity, category, message: sanitize(&message).replace('\n', " ") }
    }
}

fn of_step(step: &StepChange) -> Vec<Risk> {
    let mut found = match step.action {
        Action::None | Action::Blocked | Action::Deferred => return Vec::new(),
        Action::Delete => std::iter::once(deletion(step.kind)).chain(losses(step)).collect(),
        Action::Create | Action::Update | Action::Adopt => {
            let mut found = setting::findings(step);
            found.extend(iam::findings(step));
            found.extend(vault::findings(step));
            found.extend(resets(step));
            found
        }
    };
    if step.unprotected {
        let message = "is not protected from deletion (`protect: false`)";
        found.push(Finding::new(Severity::Low, Category::ProtectionOff, message));
    }
    found.into_iter().map(|found| found.of(&step.id)).collect()
}

fn deletion(kind: &str) -> Finding {
    let (severity, category, message) = match kind {
        "vault.audit" => {
            (Severity::High, Category::ProtectionOff, "is deleted: requests are no longer recorded on it")
        }
        "aws.kms_key" => (
            Severity::High,
            Category::KeyDeletion,
            "is scheduled for deletion; data encrypted with it can never be read again",
        ),
        "vault.mount" => (Severity::High, Category::Destroy, "is deleted, with everything in it"),
        "vault.auth_method" => (
            Severity::High,
            Category::Destroy,
            "is deleted, with its roles; logins through it no longer work",
        ),
        kind if registry::find(kind).is_some_and(|kind| kind.protected()) => {
            (Severity::High, Category::Destroy, "is deleted")
        }
        _ => (Severity::Medium, Category::Destroy, "is deleted"),
    };
    Finding::new(severity, category, message)
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

/// The first few items, and the number of the others.
fn some(items: &[String]) -> String {
    const SHOWN: usize = 3;
    match items.len() {
        0..=SHOWN => items.join(", "),
        more => format!("{} and {} more", items[..SHOWN].join(", "), more - SHOWN),
    }
}

#[cfg(test)]
mod tests;
