//! A changeset as people see it, the same in every format: grouped, with differences by line and with
//! its risks. Pure; only `ui` turns it into text.

mod field;
mod fold;
pub mod layout;
mod lines;
mod name;
mod policy;
mod risk;
pub mod stages;

use std::collections::{BTreeMap, HashMap, HashSet};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

pub use field::{Content, Field, fields};
pub use lines::{Line, Sign};
pub use risk::Risk;

use crate::changeset::{Action, Changeset, Counts, StepChange};
use crate::destination::Destination;
use crate::provider::Registry;
pub use crate::resource::risk::{Category, Severity};

/// How many items in a row must have the same reason before it is shown only once.
const TOGETHER: usize = 3;

/// A changeset, ready to be shown.
pub struct Review<'a> {
    /// The reviewed changeset.
    pub changeset: &'a Changeset,
    /// The account and region to apply it in, e.g. `account 123456789012, region us-east-1`.
    pub place: Option<String>,
    /// The steps by provider, the providers in the order of their first steps.
    pub groups: Vec<Group<'a>>,
    /// The risks, the worst first.
    pub risks: Vec<Risk>,
    is_full: bool,
}

/// The steps of one provider.
pub struct Group<'a> {
    /// The provider's name, for people.
    pub title: String,
    /// How many steps have each action.
    pub counts: Counts,
    /// The steps, in an order in which they can be applied.
    pub items: Vec<Item<'a>>,
}

/// A step, together with those that change in the same way.
pub struct Item<'a> {
    /// The shown step.
    pub step: &'a StepChange,
    /// Further steps, which differ only in their names.
    pub others: Vec<&'a StepChange>,
    /// The changed fields, and the unchanged secrets.
    pub fields: Vec<Field>,
    /// The reason for the action, or the step that it waits for.
    pub reason: Option<Reason<'a>>,
}

/// The reason for a step's action. A reason that several items in a row share is shown only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// The reason, and the number of following items that share it.
    Told(&'a str, usize),
    /// The same reason as an item above.
    Above,
}

impl Item<'_> {
    /// How many steps it stands for.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// The names of the further steps: the keys of instances, otherwise ids.
    pub fn other_names(&self) -> Vec<&str> {
        self.others.iter().map(|step| fold::key(&step.id).unwrap_or(&step.id)).collect()
    }

    /// Whether it stands for steps that are written out one by one.
    pub fn is_abridged(&self) -> bool {
        !self.others.is_empty() && fold::key(&self.step.id).is_none()
    }
}

impl<'a> Review<'a> {
    /// The review of a changeset, with repeated steps and reasons shown only once.
    pub fn new(changeset: &'a Changeset, registry: &'static Registry, place: Option<&str>) -> Self {
        Self::with(changeset, registry, place, false)
    }

    /// The review with every step and every reason, even if they repeat.
    pub fn in_full(changeset: &'a Changeset, registry: &'static Registry, place: Option<&str>) -> Self {
        Self::with(changeset, registry, place, true)
    }

    fn with(
        changeset: &'a Changeset,
        registry: &'static Registry,
        place: Option<&str>,
        is_full: bool,
    ) -> Self {
        let mut groups: Vec<(&str, Vec<&StepChange>)> = Vec::new();
        for step in &changeset.steps {
            let provider = provider(step);
            match groups.iter_mut().find(|(name, _)| *name == provider) {
                Some((_, steps)) => steps.push(step),
                None => groups.push((provider, vec![step])),
            }
        }
        let risks = risk::assess(changeset, registry);
        let risky: HashSet<&str> = risks.iter().map(|risk| risk.step.as_str()).collect();
        let group = |(provider, steps): (&str, Vec<&'a StepChange>)| Group {
            title: title(registry, provider),
            counts: Counts::of(steps.iter().copied()),
            items: match is_full {
                true => steps.into_iter().map(|step| item((step, Vec::new()))).collect(),
                false => items(&steps, &risky),
            },
        };
        Self {
            changeset,
            place: place.map(ToOwned::to_owned),
            groups: groups.into_iter().map(group).collect(),
            risks,
            is_full,
        }
    }

    /// The destinations: all of them, or only the changed ones when there is nothing to do.
    pub fn destinations(&self) -> Vec<&'a Destination> {
        let summary = &self.changeset.summary;
        let quiet = summary.writing() + summary.stuck() == 0;
        let all = self.changeset.where_this_goes.iter().flat_map(|where_to| &where_to.destinations);
        all.filter(|one| !quiet || one.before.is_some()).collect()
    }

    /// The remark beside the title of the destinations.
    pub fn destinations_remark(&self) -> Option<String> {
        match self.changeset.where_this_goes.as_ref()?.recorded {
            None => Some("not recorded before".to_owned()),
            Some(time) => {
                let changed = self.destinations().iter().any(|one| one.before.is_some());
                changed.then(|| format!("changed since {}", time.strftime("%Y-%m-%d %H:%M UTC")))
            }
        }
    }

    /// Whether some steps that are written out one by one are shown only through another step like them.
    pub fn is_abridged(&self) -> bool {
        self.groups.iter().flat_map(|group| &group.items).any(Item::is_abridged)
    }

    /// The risks with their steps. A message is shown only once for the instances of a repeated step,
    /// and for many steps of a kind.
    pub fn risks_by_words(&self) -> Vec<(&Risk, Vec<&str>)> {
        let steps = self.changeset.steps.iter();
        let kinds: HashMap<&str, &str> = steps.map(|step| (step.id.as_str(), step.kind)).collect();
        let words = |risk: &Risk| {
            let base = fold::base(&risk.step).map(ToOwned::to_owned);
            (risk.severity, risk.message.clone(), kinds.get(risk.step.as_str()).copied(), base)
        };
        let mut counts = HashMap::new();
        for risk in &self.risks {
            *counts.entry(words(risk)).or_insert(0) += 1;
        }
        let is_repeated =
            |risk: &Risk| fold::key(&risk.step).is_some() || counts[&words(risk)] >= fold::WRITTEN_OUT;
        let mut places = HashMap::new();
        let mut told: Vec<(&Risk, Vec<&str>)> = Vec::new();
        for risk in &self.risks {
            let place = *places.entry(words(risk)).or_insert(told.len());
            if place < told.len() && is_repeated(risk) && !self.is_full {
                told[place].1.push(&risk.step);
            } else {
                told.push((risk, vec![&risk.step]));
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

/// The form that programs read: the changeset and its risks.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Changeset")]
pub struct Json<'a> {
    #[serde(flatten)]
    changeset: &'a Changeset,
    /// The risks, the worst first.
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

/// The counts of each action in words: `3 to create`.
pub fn counted(counts: &Counts) -> Vec<(Action, String)> {
    let parts = [
        (Action::Create, counts.create, "to create"),
        (Action::Update, counts.update, "to update"),
        (Action::Adopt, counts.adopt, "to adopt"),
        (Action::Replace, counts.replace, "to replace"),
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

/// The summary of a plan whose steps are all as declared.
pub fn as_declared(counts: &Counts) -> String {
    match counts.none {
        1 => "1 step is as declared.".to_owned(),
        count => format!("{count} steps are as declared."),
    }
}

/// The sign that stands for an action in every format.
pub fn sign(action: Action) -> &'static str {
    match action {
        Action::Create => "+",
        Action::Update => "~",
        Action::Adopt => ">",
        Action::Replace => "±",
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

/// A provider's name, for people.
fn title(registry: &Registry, provider: &str) -> String {
    let title = registry.provider(provider).map(|provider| provider.title());
    title.unwrap_or(provider).to_owned()
}

fn items<'a>(steps: &[&'a StepChange], risky: &HashSet<&str>) -> Vec<Item<'a>> {
    let folded = fold::fold(steps, &|step| risky.contains(step.id.as_str()));
    let mut items: Vec<Item> = folded.into_iter().map(item).collect();
    // Unchanged steps are rarely shown, so they do not interrupt a run of items with one reason.
    let mut shown: Vec<&mut Item> =
        items.iter_mut().filter(|item| item.step.action != Action::None).collect();
    let runs = shown.chunk_by_mut(|one, other| have_one_reason(one, other));
    for run in runs.filter(|run| run.len() >= TOGETHER) {
        let below = run.len() - 1;
        for (place, item) in run.iter_mut().enumerate() {
            item.reason = match item.reason {
                Some(Reason::Told(reason, _)) if place == 0 => Some(Reason::Told(reason, below)),
                _ => Some(Reason::Above),
            };
        }
    }
    items
}

fn have_one_reason(one: &Item, other: &Item) -> bool {
    one.fields.is_empty()
        && other.fields.is_empty()
        && one.reason.is_some()
        && (one.step.action, one.reason) == (other.step.action, other.reason)
}

fn item((step, others): fold::Folded<'_>) -> Item<'_> {
    let reason = step.reason.as_deref().map(|reason| Reason::Told(reason, 0));
    Item { step, others, fields: fields(step), reason }
}

#[cfg(test)]
pub(crate) mod testing;
