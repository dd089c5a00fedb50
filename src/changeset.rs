//! The changes that a person reviews and `apply` carries out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::AccessChange;
use crate::destination::WhereThisGoes;
use crate::plan::{Diagnostics, Document};
use crate::resource::Change;
use crate::run::Lack;

/// The action for one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It does not exist and will be made.
    Create,
    /// It is ours and differs.
    Update,
    /// It exists, is not ours, and the plan says to take it over.
    Adopt,
    /// It will be removed, and made again.
    Replace,
    /// It will be removed.
    Delete,
    /// It is as declared.
    None,
    /// It differs in a way that must not, or cannot, be changed.
    Blocked,
    /// The action is not known yet.
    Deferred,
}

impl Action {
    /// The name in JSON and in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Adopt => "adopt",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::None => "none",
            Self::Blocked => "blocked",
            Self::Deferred => "deferred",
        }
    }

    /// Whether carrying it out writes.
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Adopt | Self::Replace | Self::Delete)
    }
}

/// One step of a changeset.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StepChange {
    /// The step's id.
    pub id: String,
    /// Its kind.
    pub kind: &'static str,
    /// How the live system addresses it.
    pub name: String,
    /// What `apply` will do.
    pub action: Action,
    /// The fields that differ; all fields for a creation.
    pub changes: Vec<Change>,
    /// Secret fields that stay as they are, where others differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unchanged: Vec<Change>,
    /// Ids of the steps that come before.
    pub needs: Vec<String>,
    /// Why it is blocked or deferred, or what it waits for.
    pub reason: Option<String>,
    /// Whether the plan takes away the protection from deletion that its kind has.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unprotected: bool,
}

impl StepChange {
    /// The nodes of Vault whose field of this name changes, with its new value.
    pub fn nodes<'a>(&'a self, field: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let end = format!("].{field}");
        self.changes.iter().filter_map(move |change| {
            let node = change.path.strip_prefix("nodes[")?.strip_suffix(end.as_str())?;
            Some((node, &change.after))
        })
    }

    /// Whether `now` is this change, or a part of this update.
    fn covers(&self, now: &Self) -> bool {
        let is_part = self.action == Action::Update
            && matches!(now.action, Action::Update | Action::None)
            && now.changes.iter().all(|change| self.has(change));
        let now = match is_part {
            true => &Self {
                action: self.action,
                changes: self.changes.clone(),
                unchanged: self.unchanged.clone(),
                ..now.clone()
            },
            false => now,
        };
        let as_told = |step: &Self| serde_json::to_value(step).unwrap_or_default();
        as_told(self) == as_told(now)
    }

    /// The step, and the fields or the action that were not approved.
    fn beyond(&self, now: &Self) -> String {
        let fields: Vec<&str> = now
            .changes
            .iter()
            .filter(|change| !self.has(change))
            .map(|change| change.path.as_str())
            .collect();
        match fields.is_empty() {
            false if self.action == now.action => format!("{} ({})", self.id, fields.join(", ")),
            _ => format!("{} ({}, was {})", self.id, now.action.name(), self.action.name()),
        }
    }

    /// Whether this change is among the approved ones. Notes are not compared: they only explain a
    /// change, and may describe a server's health, which comes and goes.
    fn has(&self, change: &Change) -> bool {
        let plain = |change: &Change| Change { note: None, ..change.clone() };
        self.changes.iter().any(|approved| plain(approved) == plain(change))
    }
}

/// The scope of removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemovalScope {
    /// Only report what would be removed.
    #[default]
    Nothing,
    /// Remove orphans, which no step declares any longer.
    Undeclared,
    /// Remove everything that the plan has created.
    Everything,
    /// The same, with what is protected, and with custody, the journal and the lock.
    Teardown,
}

impl RemovalScope {
    /// Whether this scope does not remove anything.
    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }

    /// Whether this scope removes what the plan declares.
    pub fn removes_all(self) -> bool {
        matches!(self, Self::Everything | Self::Teardown)
    }
}

/// The part of a plan that a run is limited to, and the things that it replaces, by the ids of steps or
/// of their instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Only these steps, with what they need; all steps if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// The things of these steps are replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
    /// Only the things of these steps are rotated, and the steps that take something of them follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotates: Vec<String>,
}

impl Selection {
    /// Whether nothing is selected: the whole plan is meant, and nothing is replaced or rotated.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.replaces.is_empty() && self.rotates.is_empty()
    }
}

/// The difference between a plan and the live systems.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Changeset {
    /// The version of this form; another one is incompatible.
    #[schemars(extend("const" = "1"))]
    format_version: &'static str,
    /// The scope of removal that was asked for.
    #[serde(skip_serializing_if = "RemovalScope::is_nothing")]
    pub removes: RemovalScope,
    /// The part of the plan that was asked for.
    #[serde(skip_serializing_if = "Selection::is_empty")]
    pub selection: Selection,
    /// Which plan.
    pub plan: PlanIdentity,
    /// All steps, in an order in which they can be carried out.
    pub steps: Vec<StepChange>,
    /// How many of each action.
    pub summary: Counts,
    /// Orphans: things of this plan that no step declares any longer, with the effect of removing them.
    /// Not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undeclared: Vec<StepChange>,
    /// Things of this plan that are where this run does not go, and that it does not touch. Not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Elsewhere>,
    /// Who gains or loses what by it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_changes: Vec<AccessChange>,
    /// Whether these are not known, because the plan has too many principals and things.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub access_not_compared: bool,
    /// The permissions that the caller certainly lacks for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<Lack>,
    /// Where it goes and who can open what is kept, with what of that has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub where_this_goes: Option<WhereThisGoes>,
}

/// Things of this plan in one realm that this run does not go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Elsewhere {
    /// The realm, such as `account 123456789012, region eu-west-1`.
    pub realm: String,
    /// The things, by kind and name.
    pub things: Vec<String>,
}

impl Elsewhere {
    /// How many names the sentence lists.
    const NAMED: usize = 3;

    /// A sentence about them.
    pub fn describe(&self) -> String {
        let named = self.things.iter().take(Self::NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = match self.things.len().saturating_sub(Self::NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (are, they) = if self.things.len() == 1 { ("is", "it") } else { ("are", "them") };
        format!("{named}{more} {are} in {}: this run does not go there and does not touch {they}", self.realm)
    }
}

/// A plan's name and content.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct PlanIdentity {
    /// The declared name, or that of the stage's instance.
    pub name: String,
    /// The chosen stage, in a plan that has stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// SHA-256 over the files and variables, `sha256:…`.
    pub digest: String,
}

/// How many steps have each action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Steps to create.
    pub create: usize,
    /// Steps to update.
    pub update: usize,
    /// Steps to take over.
    pub adopt: usize,
    /// Steps whose things are deleted and created again.
    #[serde(skip_serializing_if = "is_none")]
    pub replace: usize,
    /// Steps to delete.
    pub delete: usize,
    /// Steps that are as declared.
    pub none: usize,
    /// Steps that cannot be carried out.
    pub blocked: usize,
    /// Steps whose action is not known yet.
    pub deferred: usize,
}

/// A count that only some runs have.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

impl Counts {
    /// The counts of these steps.
    pub fn of<'a>(steps: impl IntoIterator<Item = &'a StepChange>) -> Self {
        let mut counts = Self::default();
        for step in steps {
            *counts.slot(step.action) += 1;
        }
        counts
    }

    fn slot(&mut self, action: Action) -> &mut usize {
        match action {
            Action::Create => &mut self.create,
            Action::Update => &mut self.update,
            Action::Adopt => &mut self.adopt,
            Action::Replace => &mut self.replace,
            Action::Delete => &mut self.delete,
            Action::None => &mut self.none,
            Action::Blocked => &mut self.blocked,
            Action::Deferred => &mut self.deferred,
        }
    }

    /// Steps whose action writes.
    pub fn writing(&self) -> usize {
        self.create + self.update + self.adopt + self.replace + self.delete
    }

    /// Steps that remain undone whatever is applied.
    pub fn stuck(&self) -> usize {
        self.blocked + self.deferred
    }
}

impl Changeset {
    /// A changeset of these steps for this plan.
    pub fn new(
        document: &Document,
        removes: RemovalScope,
        selection: Selection,
        steps: Vec<StepChange>,
        undeclared: Vec<StepChange>,
    ) -> Self {
        let plan = PlanIdentity {
            name: document.name.clone(),
            stage: document.stage_name().map(str::to_owned),
            digest: document.digest.clone(),
        };
        Self { removes, selection, undeclared, ..Self::of(plan, steps) }
    }

    /// A changeset of these steps for the plan of this identity, which removes nothing that the plan
    /// does not declare.
    pub fn of(plan: PlanIdentity, steps: Vec<StepChange>) -> Self {
        Self {
            format_version: "1",
            removes: RemovalScope::Nothing,
            selection: Selection::default(),
            plan,
            summary: Counts::of(&steps),
            steps,
            undeclared: Vec::new(),
            elsewhere: Vec::new(),
            access_changes: Vec::new(),
            access_not_compared: false,
            lacking: Vec::new(),
            where_this_goes: None,
        }
    }

    /// A sentence that says which part of the plan it is about, if not the whole.
    pub fn part(&self) -> Option<String> {
        if self.removes == RemovalScope::Teardown {
            let all = "A complete teardown: what is protected goes too, and at the end custody, the journal with its \
                       copy, and the lock. A saved secret, a key share or an old state cannot be had again";
            return Some(all.to_owned());
        }
        let rotated = self.selection.rotates.join(", ");
        if !rotated.is_empty() {
            let follow = "and the steps that take something of it; the rest stays as it is";
            return Some(format!("Only a rotation of {rotated}, {follow}"));
        }
        let named = self.selection.targets.join(", ");
        let sentence = "Only a part of the plan, as `--target` says";
        (!named.is_empty())
            .then(|| format!("{sentence}: {named}, and what is needed for that; the rest stays as it is"))
    }

    /// Whether a person has to agree to it: it writes, or goes elsewhere than the last apply.
    pub fn needs_approval(&self) -> bool {
        let mut changed = self.where_this_goes.iter().flat_map(WhereThisGoes::changed);
        match self.removes {
            RemovalScope::Teardown => true,
            RemovalScope::Everything => self.summary.writing() > 0,
            RemovalScope::Nothing | RemovalScope::Undeclared => {
                self.summary.writing() > 0 || changed.next().is_some()
            }
        }
    }

    /// The changes in `now` that were not approved with this changeset: each step, with the fields. An
    /// update that has become smaller needs no new approval: a server may have joined or unsealed itself
    /// in the meantime.
    pub fn beyond(&self, now: &Self) -> Vec<String> {
        let beyond = |step: &StepChange| match now.step(&step.id) {
            Some(now) if step.covers(now) => None,
            Some(now) => Some(step.beyond(now)),
            None => Some(step.id.clone()),
        };
        self.steps.iter().filter_map(beyond).collect()
    }

    /// The step with this id.
    pub fn step(&self, id: &str) -> Option<&StepChange> {
        self.steps.iter().find(|step| step.id == id)
    }
}

/// Why there is no changeset.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan is wrong.
    #[error(transparent)]
    Plan(#[from] Diagnostics),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(path: &str, note: Option<&str>) -> Change {
        Change {
            path: path.to_owned(),
            before: json!(true),
            after: json!(false),
            sensitive: false,
            secret: None,
            source: None,
            note: note.map(str::to_owned),
            resets: false,
        }
    }

    fn step(action: Action, changes: &[Change]) -> StepChange {
        StepChange {
            id: "cluster".to_owned(),
            kind: "vault.init",
            name: "the cluster".to_owned(),
            action,
            changes: changes.to_vec(),
            unchanged: Vec::new(),
            needs: Vec::new(),
            reason: None,
            unprotected: false,
        }
    }

    #[test]
    fn approval_covers_smaller_updates_only() {
        let [first, second] = [change("first", Some("a remark")), change("second", None)];
        let approved = step(Action::Update, &[first.clone(), second.clone()]);
        assert!(approved.covers(&approved));
        assert!(approved.covers(&step(Action::Update, std::slice::from_ref(&second))));
        assert!(approved.covers(&step(Action::Update, &[change("first", None)])));
        assert!(approved.covers(&step(Action::Update, &[change("second", Some("a new remark"))])));
        assert!(approved.covers(&step(Action::None, &[])));

        assert!(!approved.covers(&step(Action::Update, &[first.clone(), change("third", None)])));
        assert!(!approved.covers(&step(Action::Update, &[Change { after: json!(7), ..second.clone() }])));
        assert!(!approved.covers(&step(Action::Update, &[Change { resets: true, ..second.clone() }])));
        for action in [Action::Create, Action::Adopt, Action::Delete, Action::Blocked, Action::Deferred] {
            assert!(!approved.covers(&step(action, &[])), "{action:?}");
        }
        let elsewhere = StepChange { name: "another".to_owned(), ..step(Action::None, &[]) };
        assert!(!approved.covers(&elsewhere));
    }

    #[test]
    fn creation_and_removal_must_match_their_approval() {
        let fields = [change("first", None), change("second", None)];
        for action in [Action::Create, Action::Delete, Action::Adopt] {
            let approved = step(action, &fields);
            assert!(approved.covers(&approved), "{action:?}");
            assert!(!approved.covers(&step(action, &fields[..1])), "{action:?}");
            assert!(!approved.covers(&step(Action::None, &[])), "{action:?}");
        }
    }
}
