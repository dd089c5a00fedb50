//! Which changes of a thing are dangerous. A kind states it beside its fields, in
//! [`Resource::RISKS`](super::Resource::RISKS); the review evaluates it.
//!
//! A table has an entry for each field of the kind's schema, which a test of the registry checks:
//! the change that is dangerous and its consequence, or why none is.

use schemars::JsonSchema;
use serde::Serialize;

use super::Change;

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

/// A risk that is not assigned to a step yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it can get.
    pub severity: Severity,
    /// The sort of risk.
    pub category: Category,
    /// The consequence, a fragment without a full stop.
    pub message: String,
}

impl Finding {
    /// A finding with this message.
    pub fn new(severity: Severity, category: Category, message: impl Into<String>) -> Self {
        Self { severity, category, message: message.into() }
    }
}

/// What the removal of a thing means.
#[derive(Clone, Copy, Debug)]
pub struct Deletion {
    severity: Severity,
    category: Category,
    message: &'static str,
}

impl Deletion {
    /// A deletion with this consequence.
    pub const fn new(severity: Severity, category: Category, message: &'static str) -> Self {
        Self { severity, category, message }
    }

    /// The deletion of a thing that is, or is not, protected from it by default.
    pub const fn usual(protected: bool) -> Self {
        let severity = if protected { Severity::High } else { Severity::Medium };
        Self::new(severity, Category::Destroy, "is deleted")
    }

    /// The deletion as a finding.
    pub fn finding(&self) -> Finding {
        Finding::new(self.severity, self.category, self.message)
    }
}

/// What a kind says about its fields: parts that it shares with other kinds, and its own.
pub type Risks = &'static [&'static [FieldRisk]];

/// What a kind says about some of its fields. Names are separated by spaces; a dotted one is below
/// the field that it starts with.
#[derive(Clone, Copy, Debug)]
pub enum FieldRisk {
    /// No change is dangerous.
    Safe {
        /// The fields.
        fields: &'static str,
        /// Whether these are parts of the live thing that no plan declares.
        live: bool,
        /// Why.
        why: &'static str,
    },
    /// One sort of change is dangerous.
    Rule(Rule),
    /// A function finds the dangerous changes.
    Analysed {
        /// The fields, each of which is analysed by itself.
        fields: &'static str,
        /// Whether these are parts of the live thing that no plan declares.
        live: bool,
        /// Analyses the changes of one field.
        by: fn(&FieldChanges<'_>) -> Vec<Finding>,
    },
}

/// Why descriptions, labels and the like are safe.
pub const LABELS: &str = "it describes the thing, and nothing is decided by it";

/// A change that is dangerous, and its consequence.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The fields.
    pub fields: &'static str,
    /// Whether these are parts of the live thing that no plan declares.
    pub live: bool,
    /// The dangerous change.
    pub when: When,
    /// How bad it can get.
    pub severity: Severity,
    /// The sort of risk.
    pub category: Category,
    /// The consequence, a fragment without a full stop. `{field}` stands for the field's name.
    pub consequence: &'static str,
}

/// When a change is dangerous. Those that compare with the value before do not apply to a new thing.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// It is false, or `{ off: reason }`.
    Off,
    /// It is true, and was not.
    On,
    /// It was true, and is false.
    TurnedOff,
    /// It was false, and is true.
    TurnedOn,
    /// It is removed.
    Gone,
    /// It no longer limits anything: it was not empty, and is.
    Unbound,
    /// It now has this item, such as `*`.
    Includes(&'static str),
    /// It becomes one of these values, separated by spaces.
    Becomes(&'static str),
    /// It is another value than before, and neither is empty.
    Replaced,
    /// It is another value than before, or is set or removed.
    Changed,
    /// Its number is lower than before.
    Lowered(Zero),
    /// Its number is higher than before.
    Raised(Zero),
    /// It has entries that it did not have.
    Added,
    /// It no longer has entries that it had.
    Removed,
    /// It has entries that it did not have, where none at all means everyone.
    Widened,
}

/// What the number 0, or none, stands for.
#[derive(Clone, Copy, Debug)]
pub enum Zero {
    /// 0 is a number as others; none cannot be compared.
    Itself,
    /// There is no limit.
    Unlimited,
    /// This number.
    Means(u32),
}

/// A dangerous change whose consequence is still to be said.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Danger {
    fields: &'static str,
    live: bool,
    when: When,
}

impl Danger {
    /// It is about parts of the live thing that no plan declares.
    pub const fn live(self) -> Self {
        Self { live: true, ..self }
    }

    /// Its consequence is worth knowing.
    pub const fn low(self, category: Category, consequence: &'static str) -> FieldRisk {
        self.rated(Severity::Low, category, consequence)
    }

    /// Its consequence should be intended.
    pub const fn medium(self, category: Category, consequence: &'static str) -> FieldRisk {
        self.rated(Severity::Medium, category, consequence)
    }

    /// Its consequence cannot be undone, or opens something to everyone.
    pub const fn high(self, category: Category, consequence: &'static str) -> FieldRisk {
        self.rated(Severity::High, category, consequence)
    }

    const fn rated(self, severity: Severity, category: Category, consequence: &'static str) -> FieldRisk {
        let Self { fields, live, when } = self;
        FieldRisk::Rule(Rule { fields, live, when, severity, category, consequence })
    }
}

const fn danger(fields: &'static str, when: When) -> Danger {
    Danger { fields, live: false, when }
}

/// No change of these fields is dangerous, and why.
pub const fn safe(fields: &'static str, why: &'static str) -> FieldRisk {
    FieldRisk::Safe { fields, live: false, why }
}

/// No change of these parts of the live thing, which no plan declares, is dangerous, and why.
pub const fn live_safe(fields: &'static str, why: &'static str) -> FieldRisk {
    FieldRisk::Safe { fields, live: true, why }
}

/// The live thing is in a state in which it is not changed: the step is blocked.
pub const fn state(fields: &'static str) -> FieldRisk {
    live_safe(fields, "it is a state in which nothing is written")
}

/// The fields identify the thing: with another value the step declares another thing.
pub const fn identity(fields: &'static str) -> FieldRisk {
    safe(fields, "another value is another thing, and the one before is removed as such")
}

/// The fields are decided when the thing is created: a change is blocked.
pub const fn fixed(fields: &'static str) -> FieldRisk {
    safe(fields, "it is decided at creation, and a change is blocked")
}

/// A function finds the dangerous changes of these fields.
pub const fn analysed(fields: &'static str, by: fn(&FieldChanges<'_>) -> Vec<Finding>) -> FieldRisk {
    FieldRisk::Analysed { fields, live: false, by }
}

/// A function finds the dangerous changes of parts of the live thing that no plan declares.
pub const fn live_analysed(fields: &'static str, by: fn(&FieldChanges<'_>) -> Vec<Finding>) -> FieldRisk {
    FieldRisk::Analysed { fields, live: true, by }
}

/// See [`When::Off`].
pub const fn off(fields: &'static str) -> Danger {
    danger(fields, When::Off)
}

/// See [`When::On`].
pub const fn on(fields: &'static str) -> Danger {
    danger(fields, When::On)
}

/// See [`When::TurnedOff`].
pub const fn turned_off(fields: &'static str) -> Danger {
    danger(fields, When::TurnedOff)
}

/// See [`When::TurnedOn`].
pub const fn turned_on(fields: &'static str) -> Danger {
    danger(fields, When::TurnedOn)
}

/// See [`When::Gone`].
pub const fn gone(fields: &'static str) -> Danger {
    danger(fields, When::Gone)
}

/// See [`When::Unbound`].
pub const fn unbound(fields: &'static str) -> Danger {
    danger(fields, When::Unbound)
}

/// See [`When::Includes`].
pub const fn includes(fields: &'static str, item: &'static str) -> Danger {
    danger(fields, When::Includes(item))
}

/// See [`When::Becomes`].
pub const fn becomes(fields: &'static str, values: &'static str) -> Danger {
    danger(fields, When::Becomes(values))
}

/// See [`When::Replaced`].
pub const fn replaced(fields: &'static str) -> Danger {
    danger(fields, When::Replaced)
}

/// See [`When::Changed`].
pub const fn changed(fields: &'static str) -> Danger {
    danger(fields, When::Changed)
}

/// The number is lower than before.
pub const fn lowered(fields: &'static str) -> Danger {
    danger(fields, When::Lowered(Zero::Itself))
}

/// The number is higher than before.
pub const fn raised(fields: &'static str) -> Danger {
    danger(fields, When::Raised(Zero::Itself))
}

/// A limit is lower than before; 0 or none is no limit.
pub const fn tightened(fields: &'static str) -> Danger {
    danger(fields, When::Lowered(Zero::Unlimited))
}

/// A limit is higher than before, or none; 0 or none is no limit.
pub const fn loosened(fields: &'static str) -> Danger {
    danger(fields, When::Raised(Zero::Unlimited))
}

/// The number is lower than before; 0 or none stands for `usual`.
pub const fn lowered_below(fields: &'static str, usual: u32) -> Danger {
    danger(fields, When::Lowered(Zero::Means(usual)))
}

/// See [`When::Added`].
pub const fn added(fields: &'static str) -> Danger {
    danger(fields, When::Added)
}

/// See [`When::Removed`].
pub const fn removed(fields: &'static str) -> Danger {
    danger(fields, When::Removed)
}

/// See [`When::Widened`].
pub const fn widened(fields: &'static str) -> Danger {
    danger(fields, When::Widened)
}

/// The changes of one step at and below a field.
#[derive(Debug)]
pub struct FieldChanges<'a> {
    /// The field.
    pub field: &'a str,
    /// Its changes.
    pub changes: Vec<&'a Change>,
    /// Whether the thing is created, so that there is nothing before.
    pub is_new: bool,
}

impl FieldRisk {
    /// The fields that it is about, and whether these are parts of the live thing that no plan declares.
    pub fn fields(&self) -> (impl Iterator<Item = &'static str> + use<>, bool) {
        let (Self::Safe { fields, live, .. }
        | Self::Rule(Rule { fields, live, .. })
        | Self::Analysed { fields, live, .. }) = self;
        let (fields, live) = (*fields, *live);
        (fields.split_whitespace(), live)
    }
}

/// Whether `path` is the field, or below it.
pub fn is_at(path: &str, field: &str) -> bool {
    path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The first few items, and the number of the others.
pub fn some<S: AsRef<str>>(items: &[S]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = items.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match items.len() {
        0..=SHOWN => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), more - SHOWN),
    }
}
