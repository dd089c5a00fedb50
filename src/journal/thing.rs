//! The things that a plan has made or taken over, and not removed. Only the journal records them,
//! because most live systems have no place for such a mark.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{Entry, OperationOutcome, Record};
use crate::place::{Place, Realm};
use crate::secret::Declarations;

/// The beginning of the journal's word for a rotation that takes several runs, whose old secret still exists.
pub const PHASED: &str = "rotation in phases of";
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
    /// Where it is, as far as the live system has reported it. Read it with [`Thing::realm`].
    #[serde(default, skip_serializing_if = "Realm::is_unknown")]
    pub realm: Realm,
    /// The AWS account that it is in, as older versions recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// The id of the Vault cluster that it is in, as older versions recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cluster: Option<String>,
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
    /// The thing of this step, in a place that is not known, without anything else.
    pub fn new(step: &str, target: String, address: Value) -> Self {
        Self {
            step: step.to_owned(),
            target,
            address,
            realm: Realm::UNKNOWN,
            account: None,
            cluster: None,
            needs: Vec::new(),
            protect: false,
            retain: false,
            attaches: None,
            secrets: None,
        }
    }

    /// The kind's name.
    pub fn kind(&self) -> &str {
        self.target.split_once(' ').map_or(self.target.as_str(), |(kind, _)| kind)
    }

    /// The name of the kind's provider.
    pub fn provider(&self) -> &str {
        self.kind().split('.').next().unwrap_or_default()
    }

    /// Where it is, as far as the live system has reported it.
    pub fn realm(&self) -> Realm {
        let older = Realm::default().with_some("account", self.account.as_deref());
        let older = older.with_some("cluster", self.cluster.as_deref());
        if self.realm.is_unknown() { older } else { self.realm.clone() }
    }

    /// The place under which its step declared it.
    pub fn place(&self) -> Place {
        Place::deserialize(&self.address).unwrap_or_default()
    }

    /// Its name in the live system with its place, for people.
    pub fn name(&self) -> &str {
        self.target.split_once(' ').map_or("", |(_, name)| name)
    }

    /// Its name without its place.
    pub fn bare_name(&self) -> &str {
        let qualifier = self.place().qualify(self.provider(), "");
        self.name().strip_suffix(&qualifier).unwrap_or(self.name())
    }

    /// Whether the other record is of the same live thing: of the same name in the same realm, or where
    /// one realm is not known completely, declared in the same place.
    fn is_same(&self, other: &Self) -> bool {
        let (here, there) = (self.realm(), other.realm());
        !here.conflicts(&there) && (self.target == other.target || !here.is_unknown() && here == there)
    }
}

/// A plan's things.
#[derive(Clone, Debug, Default)]
pub struct Things {
    /// By kind and bare name: one record for each realm.
    all: BTreeMap<(String, String), Vec<(Thing, Standing)>>,
    /// The keys of `all` by the targets of its records.
    keys: BTreeMap<String, (String, String)>,
    /// Removals whose end is not recorded.
    leaving: BTreeSet<Leaving>,
}

/// A removal whose end is not recorded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaving {
    /// The thing, see [`target`].
    pub target: String,
    /// Its realm in words, as the entry has it; nothing when older versions wrote the entry.
    pub realm: Vec<String>,
}

impl Leaving {
    /// Whether this is the thing of the removal.
    pub fn is_of(&self, thing: &Thing) -> bool {
        thing.target == self.target && is_meant(&self.realm, &realm_detail(&thing.realm()))
    }
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
            // One that was removed by hand, and that this run makes again, stays the plan's.
            Entry::Making(thing) => self.put(thing, self.standing(thing).unwrap_or(Standing::Announced)),
            Entry::Owned(thing) => self.put(thing, Standing::Owned),
            Entry::Intent { operation, target, detail, .. } if operation == DELETE => {
                self.leaving.insert(Leaving { target: target.clone(), realm: detail.clone() });
            }
            Entry::Committed { operation, target, detail } if operation == DELETE || operation == FORGET => {
                self.leaving.retain(|one| one.target != *target || !is_meant(detail, &one.realm));
                self.remove(target, |thing, _| is_meant(detail, &realm_detail(&thing.realm())));
            }
            Entry::Outcome { operation, target, result: OperationOutcome::Failed, .. }
                if operation == DELETE =>
            {
                self.leaving.retain(|one| one.target != *target);
            }
            Entry::Outcome { operation, target, result: OperationOutcome::Failed, .. }
                if operation == CREATE =>
            {
                self.remove(target, |_, standing| standing == Standing::Announced);
            }
            _ => {}
        }
    }

    fn put(&mut self, thing: &Thing, standing: Standing) {
        let key = (thing.kind().to_owned(), thing.bare_name().to_owned());
        self.keys.insert(thing.target.clone(), key.clone());
        let records = self.all.entry(key).or_default();
        records.retain(|(other, _)| !thing.is_same(other));
        records.push((thing.clone(), standing));
    }

    fn remove(&mut self, target: &str, is_meant: impl Fn(&Thing, Standing) -> bool) {
        let Some(key) = self.keys.get(target) else { return };
        if let Some(records) = self.all.get_mut(key) {
            records.retain(|(thing, standing)| thing.target != target || !is_meant(thing, *standing));
        }
    }

    fn standing(&self, thing: &Thing) -> Option<Standing> {
        let mut records = self.records(thing.kind(), thing.bare_name());
        records.find(|(other, _)| thing.is_same(other)).map(|(_, standing)| *standing)
    }

    fn records(&self, kind: &str, name: &str) -> impl Iterator<Item = &(Thing, Standing)> {
        self.all.get(&(kind.to_owned(), name.to_owned())).into_iter().flatten()
    }

    /// Whether it was only announced: the run that was making it was interrupted.
    pub fn is_announced(&self, thing: &Thing) -> bool {
        self.standing(thing) == Some(Standing::Announced)
    }

    /// Whether it is this plan's, or may have become so.
    pub fn knows(&self, thing: &Thing) -> bool {
        self.standing(thing).is_some()
    }

    /// Whether its record is settled and equal to `thing`.
    pub fn has(&self, thing: &Thing) -> bool {
        let mut records = self.records(thing.kind(), thing.bare_name());
        records.any(|(known, standing)| known == thing && *standing == Standing::Owned)
    }

    /// The removals that were announced, and whose end is not recorded.
    pub fn leaving(&self) -> impl Iterator<Item = &Leaving> {
        self.leaving.iter()
    }

    /// All things.
    pub fn iter(&self) -> impl Iterator<Item = &Thing> {
        self.all.values().flatten().map(|(thing, _)| thing)
    }
}

/// The record of a live thing in this realm, among those of its kind and name. Where a realm is not known
/// completely, it must have been declared in the same `place`.
pub fn record_in<'a>(records: &'a [Thing], realm: &Realm, place: &Place) -> Option<&'a Thing> {
    let exact = records.iter().find(|thing| !realm.is_unknown() && thing.realm() == *realm);
    exact.or_else(|| records.iter().find(|thing| !thing.realm().conflicts(realm) && thing.place() == *place))
}

/// A realm in the detail of an entry about a removal, which tells two things of one name apart.
pub fn realm_detail(realm: &Realm) -> Vec<String> {
    if realm.is_unknown() { Vec::new() } else { vec![realm.to_string()] }
}

/// Whether an entry with this detail means the thing in this realm. An entry of an older version means
/// every thing of the name.
fn is_meant(detail: &[String], realm: &[String]) -> bool {
    detail.is_empty() || realm.is_empty() || detail == realm
}

#[cfg(test)]
mod tests {
    use crate::environment::Environment;
    use serde_json::json;

    use super::super::Who;
    use super::*;

    fn thing(step: &str, id: &str) -> Thing {
        Thing::new(step, target("vault.policy", id), json!({ "id": id }))
    }

    fn things(entries: Vec<Entry>) -> Things {
        let records: Vec<Record> = entries
            .into_iter()
            .zip(1..)
            .map(|(entry, seq)| Record {
                seq,
                time: jiff::Timestamp::UNIX_EPOCH,
                who: Who::here("x", &Environment::default()),
                entry,
            })
            .collect();
        Things::of(&records)
    }

    fn owns(things: &Things, thing: &Thing) -> bool {
        things.iter().any(|known| known.target == thing.target)
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
    fn thing_is_ours_from_announcement_to_removal() {
        let (a, b) = (thing("one", "a"), thing("two", "b"));
        let all = things(vec![Entry::Making(a.clone()), Entry::Owned(a.clone()), Entry::Making(b.clone())]);
        assert_eq!(all.iter().collect::<Vec<_>>(), [&a, &b]);
        assert!(all.has(&a) && !all.has(&b) && all.is_announced(&b) && !all.is_announced(&a));
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
    fn removal_stays_open_until_its_outcome_is_known() {
        let a = thing("one", "a");
        let intent = Entry::Intent {
            step: "one".to_owned(),
            operation: DELETE.to_owned(),
            target: a.target.clone(),
            detail: Vec::new(),
        };
        let open = |more: Vec<Entry>| {
            let things = things([vec![Entry::Owned(a.clone()), intent.clone()], more].concat());
            (owns(&things, &a), things.leaving().next().is_some())
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
    fn failed_creation_is_dropped_and_unknown_stays_announced() {
        let a = thing("one", "a");
        let making = || Entry::Making(a.clone());
        assert!(!owns(&things(vec![making(), failed(OperationOutcome::Failed)]), &a));
        assert!(things(vec![making(), failed(OperationOutcome::Unknown)]).is_announced(&a));
        let again =
            things(vec![making(), Entry::Owned(a.clone()), making(), failed(OperationOutcome::Failed)]);
        assert!(again.has(&a), "made once, and only a later attempt was refused");
    }

    fn all_of(things: &Things) -> Vec<Thing> {
        things.iter().cloned().collect()
    }

    fn topic(alias: Option<&str>, realm: &[(&str, &str)]) -> Thing {
        let place = Place::of_alias(alias);
        let address = alias.map_or(json!({ "id": "t" }), |alias| json!({ "id": "t", "alias": alias }));
        let named = target("aws.sns_topic", &place.qualify("aws", "t"));
        let realm = realm.iter().fold(Realm::default(), |realm, (part, value)| realm.with(part, *value));
        Thing { realm, ..Thing::new("t", named, address) }
    }

    #[test]
    fn things_in_two_realms_are_two() {
        let (eu, us) = (topic(None, &[("region", "eu")]), topic(None, &[("region", "us")]));
        let all = || vec![Entry::Owned(eu.clone()), Entry::Owned(us.clone())];
        assert_eq!(things(all()).iter().count(), 2);
        let find =
            |things: &Things, realm: &Realm| record_in(&all_of(things), realm, &Place::OWN).map(Thing::realm);
        assert_eq!(find(&things(all()), &us.realm), Some(us.realm.clone()));
        assert_eq!(find(&things(all()), &Realm::default().with("region", "ap")), None);
        let gone = Entry::Committed {
            operation: DELETE.to_owned(),
            target: eu.target.clone(),
            detail: realm_detail(&eu.realm),
        };
        let left = things([all(), vec![gone]].concat());
        assert_eq!(left.iter().collect::<Vec<_>>(), [&us]);
    }

    #[test]
    fn thing_in_renamed_place_is_recorded_once() {
        let realm = [("account", "1"), ("region", "eu")];
        let (before, after) = (topic(Some("eu"), &realm), topic(Some("europe"), &realm));
        let all = things(vec![Entry::Owned(before.clone()), Entry::Owned(after.clone())]);
        assert_eq!(all.iter().collect::<Vec<_>>(), [&after]);
        let records = all_of(&all);
        let found = record_in(&records, &before.realm, &Place::of_alias(Some("eu")));
        assert_eq!(found, Some(&after));
    }

    #[test]
    fn record_of_older_version_is_found_in_its_place_only() {
        let text = r#"{"step":"t","target":"aws.sns_topic t (aws.eu)","address":{"id":"t","alias":"eu"},
            "account":"1","protect":false,"retain":false}"#;
        let old: Thing = serde_json::from_str(text).expect("a record");
        assert_eq!((old.bare_name(), old.realm()), ("t", Realm::default().with("account", "1")));
        let all = things(vec![Entry::Owned(old.clone())]);
        let find = |account, alias| {
            let realm = Realm::default().with("account", account).with("region", "eu");
            record_in(&all_of(&all), &realm, &Place::of_alias(alias)).is_some()
        };
        assert!(find("1", Some("eu")) && !find("2", Some("eu")) && !find("1", None));
        let new = topic(Some("eu"), &[("account", "1"), ("region", "eu")]);
        let all = things(vec![Entry::Owned(old), Entry::Owned(new.clone())]);
        assert_eq!(all.iter().collect::<Vec<_>>(), [&new], "the new record has taken the old one's place");
    }
}
