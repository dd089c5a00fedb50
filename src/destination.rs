//! Where a run sends things, who can open what it keeps, and what of that has changed.
//!
//! A step's fields do not show it: another custody recipient, address or store changes nothing that
//! lives anywhere, and everything about who can read what comes. So a review lists it by itself, and
//! the journal keeps what the last apply used.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// Marks a value that is made during apply, as in [`crate::template::unknown::describe`].
const PENDING: &str = "(known after apply: ";

/// Values by the place in the plan that decides about them, such as `custody.recipients`.
pub type Destinations = BTreeMap<String, Vec<String>>;

/// Where a changeset goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WhereThisGoes {
    /// When the last apply recorded where it went (RFC 3339); null when none did.
    #[schemars(with = "Option<String>")]
    pub recorded: Option<Timestamp>,
    /// Each destination.
    pub destinations: Vec<Destination>,
}

/// One destination, or several of a sort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Destination {
    /// The place in the plan that decides about it: `vault.address`, `custody.recipients`.
    pub name: String,
    /// Which.
    pub values: Vec<String>,
    /// Which it was at the last apply, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Vec<String>>,
}

/// Values as one text.
pub fn value_text(values: &[String]) -> String {
    if values.is_empty() { "none".to_owned() } else { values.join(", ") }
}

impl WhereThisGoes {
    /// The destinations that are used now, beside those that the last apply recorded.
    pub fn new(now: Destinations, last: Option<(Timestamp, Destinations)>) -> Self {
        let Some((time, last)) = last else {
            let entry = |(name, values)| Destination { name, values, before: None };
            return Self { recorded: None, destinations: now.into_iter().map(entry).collect() };
        };
        let names: BTreeSet<&String> = now.keys().chain(last.keys()).collect();
        let entry = |name: &String| {
            let of = |all: &Destinations| all.get(name).cloned().unwrap_or_default();
            let mut entry = Destination { name: name.clone(), values: of(&now), before: Some(of(&last)) };
            if entry.added().is_empty() && entry.removed().is_empty() {
                entry.before = None;
            }
            entry
        };
        Self { recorded: Some(time), destinations: names.into_iter().map(entry).collect() }
    }

    /// The destinations whose values differ from those of the last apply.
    pub fn changed(&self) -> impl Iterator<Item = &Destination> {
        self.destinations.iter().filter(|one| one.before.is_some())
    }

    /// The current values by destination.
    pub fn values(&self) -> Destinations {
        let values = self.destinations.iter().filter(|one| !one.values.is_empty());
        values.map(|one| (one.name.clone(), one.values.clone())).collect()
    }
}

impl Destination {
    /// Values that are new since the last apply. A value that was not known then may be a key now.
    pub fn added(&self) -> Vec<&str> {
        let Some(before) = &self.before else { return Vec::new() };
        let mut pending = before.iter().filter(|value| value.contains(PENDING)).count();
        let mut made = |value: &str| {
            let is_made = pending > 0 && value.starts_with("kms ");
            pending -= usize::from(is_made);
            is_made
        };
        let new = self.values.iter().filter(|value| !before.contains(value)).map(String::as_str);
        new.filter(|value| !made(value)).collect()
    }

    /// Values that are gone since the last apply.
    pub fn removed(&self) -> Vec<&str> {
        let before = self.before.iter().flatten().map(String::as_str);
        before
            .filter(|value| !value.contains(PENDING) && !self.values.iter().any(|now| now == value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipients(values: &[&str]) -> Destinations {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        [("custody.recipients".to_owned(), values)].into()
    }

    fn compared(last: &[&str], now: &[&str]) -> (Vec<String>, Vec<String>) {
        let where_to = WhereThisGoes::new(recipients(now), Some((Timestamp::UNIX_EPOCH, recipients(last))));
        let owned = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect();
        where_to.changed().next().map(|one| (owned(one.added()), owned(one.removed()))).unwrap_or_default()
    }

    #[test]
    fn destination_changes_are_listed_per_value() {
        assert_eq!(compared(&["age a"], &["age a"]), (vec![], vec![]));
        assert_eq!(
            compared(&["age a", "age b"], &["age a", "age c"]),
            (vec!["age c".into()], vec!["age b".into()])
        );
        assert_eq!(WhereThisGoes::new(recipients(&["age a"]), None).changed().count(), 0);
        let gone =
            WhereThisGoes::new(Destinations::new(), Some((Timestamp::UNIX_EPOCH, recipients(&["age a"]))));
        assert_eq!(gone.changed().next().expect("changed").removed(), ["age a"]);
    }

    #[test]
    fn pending_value_matches_exactly_one_key() {
        let pending = "kms (known after apply: key.arn)";
        assert_eq!(compared(&[pending], &["kms arn:1"]), (vec![], vec![]));
        assert_eq!(compared(&[pending], &["kms arn:1", "kms arn:2"]).0, ["kms arn:2"]);
        assert_eq!(compared(&[pending], &["age a"]).0, ["age a"]);
    }
}
