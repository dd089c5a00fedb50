//! Changesets for tests.

use serde_json::Value;

use crate::changeset::{Action, Changeset, PlanIdentity, StepChange};
use crate::resource::Diff;
use crate::secret::SecretChange;

/// A field that changes: path, before, after.
pub type Row<'a> = (&'a str, Value, Value);

/// A step with these changes.
pub fn step(id: &str, kind: &'static str, action: &str, changes: &[Row]) -> StepChange {
    let mut diff = Diff::none();
    for (path, before, after) in changes {
        diff.push(path, before.clone(), after.clone());
    }
    StepChange {
        id: id.to_owned(),
        kind,
        name: format!("live-{id}"),
        action: action_of(action),
        changes: diff.changes,
        unchanged: Vec::new(),
        needs: Vec::new(),
        reason: None,
        unprotected: false,
    }
}

/// The same step with a secret field.
pub fn with_secret(mut step: StepChange, path: &str, what: SecretChange, source: &str) -> StepChange {
    let mut diff = Diff { changes: step.changes, unchanged: step.unchanged, ..Diff::none() };
    diff.secret(path, what, Some(source.to_owned()));
    step.changes = diff.changes;
    step.unchanged = diff.unchanged;
    step
}

/// A changeset of these steps.
pub fn changeset(steps: Vec<StepChange>) -> Changeset {
    let plan = PlanIdentity {
        name: "example".to_owned(),
        digest: format!("sha256:{}", "0".repeat(64)),
        ..PlanIdentity::default()
    };
    Changeset::of(plan, steps)
}

/// Where it is to be applied.
pub const PLACE: Option<&str> = Some("account 123456789012, region us-east-1");

fn action_of(name: &str) -> Action {
    let all = [
        Action::Create,
        Action::Update,
        Action::Adopt,
        Action::Delete,
        Action::None,
        Action::Blocked,
        Action::Deferred,
    ];
    all.into_iter().find(|action| action.name() == name).expect("an action")
}
