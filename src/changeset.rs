//! What a person reviews and `apply` carries out.

use schemars::JsonSchema;
use serde::Serialize;

use crate::destination::WhereThisGoes;
use crate::plan::{Diagnostics, Document};
use crate::removal::Extent;
use crate::resource::Change;

/// What is going to happen to one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It does not exist and will be made.
    Create,
    /// It is ours and differs.
    Update,
    /// It exists, is not ours, and the plan says to take it over.
    Adopt,
    /// It will be removed.
    Delete,
    /// It is as declared.
    None,
    /// It differs in a way that must not, or cannot, be changed.
    Blocked,
    /// What is to be done cannot be told yet.
    Deferred,
}

impl Action {
    /// The name in JSON and in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Adopt => "adopt",
            Self::Delete => "delete",
            Self::None => "none",
            Self::Blocked => "blocked",
            Self::Deferred => "deferred",
        }
    }

    /// Whether carrying it out writes.
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Adopt | Self::Delete)
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
    /// What will happen.
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

/// The difference between a plan and the live systems.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Changeset {
    /// The version of this form; another one is incompatible.
    #[schemars(extend("const" = "1"))]
    format_version: &'static str,
    /// What it was to remove.
    #[serde(skip_serializing_if = "Extent::is_nothing")]
    pub removes: Extent,
    /// Which plan.
    pub plan: PlanIdentity,
    /// All steps, in an order in which they can be carried out.
    pub steps: Vec<StepChange>,
    /// How many of each action.
    pub summary: Counts,
    /// Things of this plan that no step declares any more: what removing them would do. Not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undeclared: Vec<StepChange>,
    /// Where it goes and who can open what is kept, with what of that has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub where_this_goes: Option<WhereThisGoes>,
}

/// A plan's name and content.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlanIdentity {
    /// The declared name.
    pub name: String,
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
    /// Steps to delete.
    pub delete: usize,
    /// Steps that are as declared.
    pub none: usize,
    /// Steps that cannot be carried out.
    pub blocked: usize,
    /// Steps that cannot be told yet.
    pub deferred: usize,
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
            Action::Delete => &mut self.delete,
            Action::None => &mut self.none,
            Action::Blocked => &mut self.blocked,
            Action::Deferred => &mut self.deferred,
        }
    }

    /// Steps whose action writes.
    pub fn writing(&self) -> usize {
        self.create + self.update + self.adopt + self.delete
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
        removes: Extent,
        steps: Vec<StepChange>,
        undeclared: Vec<StepChange>,
    ) -> Self {
        let plan = PlanIdentity { name: document.name.clone(), digest: document.digest.clone() };
        Self { removes, undeclared, ..Self::of(plan, steps) }
    }

    /// A changeset of these steps for the plan of this identity, which removes nothing that the plan
    /// does not declare.
    pub fn of(plan: PlanIdentity, steps: Vec<StepChange>) -> Self {
        Self {
            format_version: "1",
            removes: Extent::Nothing,
            plan,
            summary: Counts::of(&steps),
            steps,
            undeclared: Vec::new(),
            where_this_goes: None,
        }
    }

    /// Whether a person has to agree to it: it writes, or goes elsewhere than the last apply.
    pub fn needs_approval(&self) -> bool {
        let mut changed = self.where_this_goes.iter().flat_map(WhereThisGoes::changed);
        self.summary.writing() > 0 || (self.removes != Extent::Everything && changed.next().is_some())
    }

    /// The ids of the steps for which `other` says something else.
    pub fn differences(&self, other: &Self) -> Vec<&str> {
        let as_told = |step: &StepChange| serde_json::to_value(step).unwrap_or_default();
        let differs = |step: &&StepChange| other.step(&step.id).map(as_told) != Some(as_told(step));
        self.steps.iter().filter(differs).map(|step| step.id.as_str()).collect()
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
