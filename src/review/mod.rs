//! A changeset as people see it, the same in every format: grouped, with differences by line, with
//! what is risky about it. Pure; `ui` alone turns it into text.

mod field;
mod fold;
pub mod layout;
mod lines;
mod policy;
mod risk;

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

pub use field::{Content, Field, fields};
pub use lines::{Line, Sign};
pub use risk::{Category, Risk, Severity};

use crate::changeset::{Action, Changeset, Counts, StepChange};
use crate::resource::Scope;

/// A changeset, ready to be looked at.
pub struct Review<'a> {
    /// What is reviewed.
    pub changeset: &'a Changeset,
    /// Where it would be applied, e.g. `account 123456789012, region us-east-1`.
    pub place: Option<String>,
    /// The steps by provider, in the order in which the providers come first.
    pub groups: Vec<Group<'a>>,
    /// What is risky, the worst first.
    pub risks: Vec<Risk>,
}

/// The steps of one provider.
pub struct Group<'a> {
    /// The provider's name, for people.
    pub title: String,
    /// How many steps have each action.
    pub counts: Counts,
    /// The steps, in an order in which they can be carried out.
    pub items: Vec<Item<'a>>,
}

/// A step, together with those repeated ones that change in the same way.
pub struct Item<'a> {
    /// The step that is shown.
    pub step: &'a StepChange,
    /// Further instances of its `for_each`, the same but for their own key.
    pub others: Vec<&'a StepChange>,
    /// What changes in it, and the secrets that do not.
    pub fields: Vec<Field>,
}

impl Item<'_> {
    /// How many steps it stands for.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// The keys of the further instances.
    pub fn other_keys(&self) -> Vec<&str> {
        self.others.iter().filter_map(|step| fold::key(&step.id)).collect()
    }
}

impl<'a> Review<'a> {
    /// The changeset as it is to be looked at.
    pub fn new(changeset: &'a Changeset, scope: &Scope) -> Self {
        let mut groups: Vec<(&str, Vec<&StepChange>)> = Vec::new();
        for step in &changeset.steps {
            let provider = provider(step);
            match groups.iter_mut().find(|(name, _)| *name == provider) {
                Some((_, steps)) => steps.push(step),
                None => groups.push((provider, vec![step])),
            }
        }
        let account = scope.account_id.as_ref();
        Self {
            changeset,
            place: account.map(|account| format!("account {account}, region {}", scope.region)),
            groups: groups.into_iter().map(|(provider, steps)| group(provider, &steps)).collect(),
            risks: risk::assess(changeset),
        }
    }

    /// The risks, those of repeated steps with the same words told once.
    pub fn risks_by_words(&self) -> Vec<(&Risk, Vec<&str>)> {
        let mut told: Vec<(&Risk, Vec<&str>)> = Vec::new();
        for risk in &self.risks {
            let base = fold::base(&risk.step);
            let same = |known: &&mut (&Risk, Vec<&str>)| {
                let first = known.0;
                let repeated = base.is_some() && fold::base(&first.step) == base;
                (&first.message, first.severity) == (&risk.message, risk.severity) && repeated
            };
            match told.iter_mut().find(same) {
                Some((_, steps)) => steps.push(&risk.step),
                None => told.push((risk, vec![&risk.step])),
            }
        }
        told
    }

    /// How many risks there are of each severity that occurs, the worst first.
    pub fn severities(&self) -> Vec<(Severity, usize)> {
        let mut counts = BTreeMap::new();
        for risk in &self.risks {
            *counts.entry(risk.severity).or_insert(0) += 1;
        }
        counts.into_iter().rev().collect()
    }

    /// The form that programs read.
    pub fn json(&self) -> Json<'_> {
        Json { changeset: self.changeset, risks: &self.risks }
    }
}

/// The form that programs read: the changeset, and what is risky about it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Changeset")]
pub struct Json<'a> {
    #[serde(flatten)]
    changeset: &'a Changeset,
    /// What is risky, the worst first.
    risks: &'a [Risk],
}

/// The JSON Schema of [`Json`].
pub fn schema() -> Schema {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Json>();
    let about = "What `groundwork plan --format json` prints. Later versions may add fields.";
    schema.insert("description".to_owned(), about.into());
    schema
}

/// What is going to happen, as one would say it of a number of steps: `3 to create`.
pub fn counted(counts: &Counts) -> Vec<(Action, String)> {
    let parts = [
        (Action::Create, counts.create, "to create"),
        (Action::Update, counts.update, "to update"),
        (Action::Adopt, counts.adopt, "to adopt"),
        (Action::Delete, counts.delete, "to delete"),
        (Action::Blocked, counts.blocked, "blocked"),
        (Action::Deferred, counts.deferred, "deferred"),
        (Action::None, counts.none, "unchanged"),
    ];
    parts
        .into_iter()
        .filter(|(_, count, _)| *count > 0)
        .map(|(action, count, words)| (action, format!("{count} {words}")))
        .collect()
}

/// The sign that stands for an action in every format.
pub fn sign(action: Action) -> &'static str {
    match action {
        Action::Create => "+",
        Action::Update => "~",
        Action::Adopt => ">",
        Action::Delete => "-",
        Action::None => "=",
        Action::Blocked => "!",
        Action::Deferred => "?",
    }
}

/// The provider of a step's kind.
pub fn provider(step: &StepChange) -> &str {
    step.kind.split('.').next().unwrap_or_default()
}

fn group<'a>(provider: &str, steps: &[&'a StepChange]) -> Group<'a> {
    let title = match provider {
        "aws" => "AWS".to_owned(),
        "gcp" => "Google Cloud".to_owned(),
        "github" => "GitHub".to_owned(),
        "postgres" => "PostgreSQL".to_owned(),
        "file" => "Files".to_owned(),
        other => {
            let mut letters = other.chars();
            letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
        }
    };
    let items = fold::fold(steps)
        .into_iter()
        .map(|(step, others)| Item { step, others, fields: fields(step) })
        .collect();
    Group { title, counts: Counts::of(steps.iter().copied()), items }
}

#[cfg(test)]
pub(crate) mod testing;
