//! The things that a plan has made or taken over, and not removed. Only the journal records them,
//! because most live systems have no place for such a mark.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{Entry, OperationOutcome, Record};
use crate::secret::Declarations;

/// The operation that makes a thing, or takes one over.
pub const CREATE: &str = "create";
/// The operation that removes a thing.
pub const DELETE: &str = "delete";
/// The operation that ends the ownership of a thing without removing it.
pub const FORGET: &str = "forget";

/// The journal's name for a thing.
pub fn target(kind: &str, id: &str) -> String {
    format!("{kind} {id}")
}

/// A thing as its step declared it, with the data that its removal needs once the step is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    /// The step's id.
    pub step: String,
    /// The thing, see [`target`].
    pub target: String,
    /// The kind's address of it.
    pub address: Value,
    /// The AWS account that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The id of the Vault cluster that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The things that it needs directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Whether its removal is refused.
    pub protect: bool,
    /// Whether it stays when its step is gone.
    pub retain: bool,
    /// The attachments of its step, see [`crate::resource::Attachment::path`]; `None` where they are
    /// not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attaches: Option<Vec<String>>,
    /// The declarations of its secret fields, as digests by path; never a part of a value. `None` for
    /// a kind without secret fields, and where they are not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Declarations>,
}

impl Thing {
    /// The kind's name.
    pub fn kind(&self) -> &str {
        self.target.split_once(' ').map_or(self.target.as_str(), |(kind, _)| kind)
    }

    /// The name under `aws.aliases` of the account and region that it is in; `None` for the plan's own.
    pub fn alias(&self) -> Option<&str> {
        self.address.get("alias").and_then(Value::as_str)
    }

    /// Its name in the live system, for people.
    pub fn name(&self) -> &str {
        self.target.split_once(' ').map_or("", |(_, name)| name)
    }
}

/// A plan's things by their targets.
#[derive(Clone, Debug, Default)]
pub struct Things {
    all: BTreeMap<String, (Thing, Standing)>,
    /// Targets of removals whose end is not recorded.
    leaving: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It was about to be made; the outcome is not recorded, or unknown.
    Announced,
    /// It is the plan's.
    Owned,
}

impl Things {
    /// Builds the state from the records, in their order.
    pub fn of(records: &[Record]) -> Self {
        let mut things = Self::default();
        for record in records {
            things.take(&record.entry);
        }
        things
    }

    fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Making(thing) => match self.standing(&thing.target) {
                // It was removed by hand, and this run makes it again.
                Some(standing) => self.put(thing, standing),
                None => self.put(thing, Standing::Announced),
            },
            Entry::Owned(thing) => self.put(thing, Standing::Owned),
            Entry::Intent { operation, target, .. } if operation == DELETE => {
                self.leaving.insert(target.clone());
            }
            Entry::Committed { operation, target, .. } if operation == DELETE || operation == FORGET => {
                self.leaving.remove(target);
                self.all.remove(target);
            }
            Entry::Outcome { operation, target, result: OperationOutcome::Failed, .. }
                if operation == DELETE =>
            {
                self.leaving.remove(target);
            }
            Entry::Outcome { operation, target, result: OperationOutcome::Failed, .. }
                if operation == CREATE && self.is_announced(target) =>
            {
                self.all.remove(target);
            }
            _ => {}
        }
    }

    fn put(&mut self, thing: &Thing, standing: Standing) {
        self.all.insert(thing.target.clone(), (thing.clone(), standing));
    }

    fn standing(&self, target: &str) -> Option<Standing> {
        self.all.get(target).map(|(_, standing)| *standing)
    }

    /// The thing of this name, if it is the plan's or may have become so.
    pub fn get(&self, target: &str) -> Option<&Thing> {
        self.all.get(target).map(|(thing, _)| thing)
    }

    /// Whether it was only announced: the run that was making it was interrupted.
    pub fn is_announced(&self, target: &str) -> bool {
        self.standing(target) == Some(Standing::Announced)
    }

    /// Whether its record is settled and equal to `thing`.
    pub fn has(&self, thing: &Thing) -> bool {
        self.get(&thing.target) == Some(thing) && !self.is_announced(&thing.target)
    }

    /// The targets whose removal was announced, but whose end is not recorded.
    pub fn leaving(&self) -> impl Iterator<Item = &str> {
        self.leaving.iter().map(String::as_str)
    }

    /// All things.
    pub fn iter(&self) -> impl Iterator<Item = &Thing> {
        self.all.values().map(|(thing, _)| thing)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Who;
    use super::*;

    fn thing(step: &str, id: &str) -> Thing {
        Thing {
            step: step.to_owned(),
            target: target("vault.policy", id),
            address: json!(id),
            account: None,
            cluster: None,
            needs: Vec::new(),
            protect: false,
            retain: false,
            attaches: None,
            secrets: None,
        }
    }

    fn things(entries: Vec<Entry>) -> Things {
        let records: Vec<Record> = entries
            .into_iter()
            .zip(1..)
            .map(|(entry, seq)| Record { seq, time: jiff::Timestamp::UNIX_EPOCH, who: Who::here("x"), entry })
            .collect();
        Things::of(&records)
    }

    fn ended(operation: &str, id: &str) -> Entry {
        Entry::Committed {
            operation: operation.to_owned(),
            target: target("vault.policy", id),
            detail: Vec::new(),
        }
    }

    fn failed(result: OperationOutcome) -> Entry {
        Entry::Outcome {
            operation: CREATE.to_owned(),
            target: target("vault.policy", "a"),
            result,
            message: String::new(),
        }
    }

    #[test]
    fn a_thing_is_ours_from_its_announcement_to_its_removal() {
        let (a, b) = (thing("one", "a"), thing("two", "b"));
        let all = things(vec![Entry::Making(a.clone()), Entry::Owned(a.clone()), Entry::Making(b.clone())]);
        assert_eq!(all.iter().collect::<Vec<_>>(), [&a, &b]);
        assert!(all.has(&a) && !all.has(&b) && all.is_announced(&b.target) && !all.is_announced(&a.target));
        let renamed = thing("three", "a");
        let all = things(vec![
            Entry::Making(a.clone()),
            Entry::Owned(a.clone()),
            Entry::Owned(renamed.clone()),
            Entry::Owned(b),
            ended(DELETE, "b"),
        ]);
        assert_eq!(all.iter().collect::<Vec<_>>(), [&renamed]);
        assert!(things(vec![Entry::Owned(a), ended(FORGET, "a")]).iter().next().is_none());
    }

    #[test]
    fn a_removal_is_open_until_its_end_is_known() {
        let a = thing("one", "a");
        let intent = Entry::Intent {
            step: "one".to_owned(),
            operation: DELETE.to_owned(),
            target: a.target.clone(),
            detail: Vec::new(),
        };
        let open = |more: Vec<Entry>| {
            let things = things([vec![Entry::Owned(a.clone()), intent.clone()], more].concat());
            (things.get(&a.target).is_some(), things.leaving().next().is_some())
        };
        assert_eq!(open(vec![]), (true, true));
        assert_eq!(open(vec![ended(DELETE, "a")]), (false, false));
        let outcome = |result| Entry::Outcome {
            operation: DELETE.to_owned(),
            target: a.target.clone(),
            result,
            message: String::new(),
        };
        assert_eq!(open(vec![outcome(OperationOutcome::Unknown)]), (true, true));
        assert_eq!(open(vec![outcome(OperationOutcome::Failed)]), (true, false));
    }

    #[test]
    fn what_was_refused_is_not_ours_and_what_is_unknown_may_be() {
        let a = thing("one", "a");
        let making = || Entry::Making(a.clone());
        assert!(things(vec![making(), failed(OperationOutcome::Failed)]).get(&a.target).is_none());
        assert!(things(vec![making(), failed(OperationOutcome::Unknown)]).is_announced(&a.target));
        let again =
            things(vec![making(), Entry::Owned(a.clone()), making(), failed(OperationOutcome::Failed)]);
        assert!(again.has(&a), "made once, and only a later attempt was refused");
    }
}
