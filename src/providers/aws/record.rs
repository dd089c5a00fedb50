//! Tracks ownership of parts of a resource that cannot have tags, such as the statements of a bucket
//! policy and the grants of a key.
//!
//! A plan that no longer declares a part does not say that it once did. So tags of the resource record
//! the parts that the plan has added, each by a short digest of its identity. A live part that is
//! recorded and no longer declared is removed; a part that is neither recorded nor declared belongs to
//! others.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::tags::PLAN_TAG;
use crate::resource::{Diff, Tags};

/// How many digests fit into the 256 characters of a tag.
const IN_ONE_TAG: usize = 28;

/// A record in the tag of this name. If there are many parts, more tags follow: `NAME-2` and so on.
#[derive(Clone, Copy, Debug)]
pub struct Record(pub &'static str);

impl Record {
    /// Whether a tag is part of the record.
    pub fn is_part(self, tag: &str) -> bool {
        tag.strip_prefix(self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// The tags that record parts with these identities.
    pub fn of<I: AsRef<str>>(self, identities: impl IntoIterator<Item = I>) -> Tags {
        let digests: BTreeSet<String> = identities.into_iter().map(|it| digest(it.as_ref())).collect();
        let digests: Vec<String> = digests.into_iter().collect();
        let name = |index: usize| match index {
            0 => self.0.to_owned(),
            index => format!("{}-{}", self.0, index + 1),
        };
        digests.chunks(IN_ONE_TAG).enumerate().map(|(index, some)| (name(index), some.join(" "))).collect()
    }

    /// The record in a resource's tags.
    pub fn live(self, tags: &Tags) -> Tags {
        let record = tags.iter().filter(|(tag, _)| self.is_part(tag));
        record.map(|(tag, value)| (tag.clone(), value.clone())).collect()
    }

    /// Whether the tags record a part, and belong to the same plan as `declared`: a record of another
    /// plan does not count.
    pub fn has(self, tags: &Tags, declared: &Tags, identity: &str) -> bool {
        let digest = digest(identity);
        declared.get(PLAN_TAG) == tags.get(PLAN_TAG)
            && self.live(tags).values().any(|some| some.split(' ').any(|recorded| recorded == digest))
    }

    /// Adds a change if the record is out of date.
    pub fn compare(self, diff: &mut Diff, tags: &Tags, wanted: &Tags) {
        let live = self.live(tags);
        for tag in live.keys().chain(wanted.keys().filter(|tag| !live.contains_key(*tag))) {
            diff.field(&format!("tags.{tag}"), &live.get(tag), &wanted.get(tag));
        }
    }
}

fn digest(identity: &str) -> String {
    hex::encode(&Sha256::digest(identity)[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record("groundwork:parts");

    #[test]
    fn long_records_take_several_tags() {
        let identities: Vec<String> = (0..60).map(|n| format!("part {n}")).collect();
        let tags = RECORD.of(&identities);
        let names: Vec<&str> = tags.keys().map(String::as_str).collect();
        assert_eq!(names, ["groundwork:parts", "groundwork:parts-2", "groundwork:parts-3"]);
        assert!(tags.values().all(|value| value.len() <= 256));
        assert_eq!(RECORD.live(&tags), tags);
        assert!(identities.iter().all(|identity| RECORD.has(&tags, &Tags::new(), identity)));
        assert!(!RECORD.has(&tags, &Tags::new(), "another") && !RECORD.is_part("groundwork:plan"));
    }

    #[test]
    fn record_of_another_plan_does_not_count() {
        let plan = |name: &str| Tags::from([(PLAN_TAG.to_owned(), name.to_owned())]);
        let mut live = RECORD.of(["a"]);
        live.extend(plan("other"));
        assert!(RECORD.has(&live, &plan("other"), "a") && !RECORD.has(&live, &plan("ours"), "a"));
    }

    #[test]
    fn outdated_record_is_a_change() {
        let paths = |live: &Tags, wanted: &Tags| {
            let mut diff = Diff::none();
            RECORD.compare(&mut diff, live, wanted);
            diff.changes.len()
        };
        let (one, two) = (RECORD.of(["a"]), RECORD.of(["a", "b"]));
        assert_eq!((paths(&one, &one), paths(&one, &two)), (0, 1));
        assert_eq!((paths(&one, &Tags::new()), paths(&Tags::new(), &one)), (1, 1));
    }
}
