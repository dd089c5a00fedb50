//! What is to be done about a user's keys, decided from what IAM, custody and the journal say.

use std::collections::BTreeSet;

use aws_sdk_iam::types::AccessKeyMetadata;
use jiff::{SignedDuration, Timestamp};

use crate::journal::{Entry, Record};

/// How far this machine's clock and Amazon's may be apart. AWS refuses requests that differ by more
/// than five minutes.
const SKEW: SignedDuration = SignedDuration::from_mins(2);
/// How long after its intent a request can take effect: it is given up after a minute.
const EFFECT: SignedDuration = SignedDuration::from_mins(1);

/// What is to be done about a user's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is no key: make one.
    Create,
    /// This key's secret is in custody: deliver what is missing. The keys in `lost` go.
    Keep { key: String, lost: Vec<String> },
    /// There are only keys of ours whose secret never arrived: remove them and make another one.
    Replace { lost: Vec<String> },
    /// Keys that are not ours, or whose secret custody has lost: never touched.
    Blocked { keys: Vec<String> },
}

/// A key that IAM lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    id: String,
    made: Option<Timestamp>,
}

impl Key {
    /// From what IAM says of it.
    pub(super) fn of(live: &AccessKeyMetadata) -> Option<Self> {
        let made = live.create_date.and_then(|date| Timestamp::from_second(date.secs()).ok());
        Some(Self { id: live.access_key_id.clone()?, made })
    }
}

/// When a listed key was made.
pub(super) fn made(live: &[AccessKeyMetadata], key: &str) -> Option<Timestamp> {
    live.iter().filter_map(Key::of).find(|one| one.id == key)?.made
}

/// When the oldest key was made, leaving out those that are `foreign` unless there is no other: what is blocked has its
/// date all the same.
pub(super) fn oldest(live: &[AccessKeyMetadata], foreign: &[String]) -> Option<Timestamp> {
    let keys: Vec<Key> = live.iter().filter_map(Key::of).collect();
    let ours = keys.iter().filter(|key| !foreign.contains(&key.id)).filter_map(|key| key.made).min();
    ours.or_else(|| keys.iter().filter_map(|key| key.made).min())
}

/// A request for a key that was announced and neither fulfilled nor refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    at: Timestamp,
    /// The keys that existed before.
    baseline: Vec<String>,
}

impl Request {
    /// From the journal.
    pub(super) fn of(intent: &Record) -> Option<Self> {
        match &intent.entry {
            Entry::Intent { detail, .. } => Some(Self { at: intent.time, baseline: detail.clone() }),
            _ => None,
        }
    }

    /// Whether it may have made the key: the key was not there before, and dates from the minutes in
    /// which the request took effect, if it did. A key of any other time comes from another request.
    fn may_have_made(&self, key: &Key) -> bool {
        let in_time = |made| self.at - SKEW <= made && made <= self.at + EFFECT + SKEW;
        !self.baseline.contains(&key.id) && key.made.is_some_and(in_time)
    }
}

/// The next step for the keys that are `live`, oldest first. `held` are those whose secret custody
/// has; `requests` those that no run has completed.
///
/// A key that such a request made and that is not held is lost: its secret exists nowhere, so removing
/// the key does no harm.
pub(super) fn next(live: &[Key], held: &BTreeSet<String>, requests: &[Request]) -> Next {
    let (ours, others): (Vec<_>, Vec<_>) = live.iter().partition(|key| held.contains(&key.id));
    let is_lost = |key: &&Key| requests.iter().any(|request| request.may_have_made(key));
    let (lost, foreign): (Vec<_>, Vec<_>) = others.into_iter().partition(is_lost);
    let owned = |keys: Vec<&Key>| keys.into_iter().map(|key| key.id.clone()).collect::<Vec<_>>();
    match ours.last() {
        _ if !foreign.is_empty() => Next::Blocked { keys: owned(foreign) },
        Some(key) => Next::Keep { key: key.id.clone(), lost: owned(lost) },
        None if lost.is_empty() => Next::Create,
        None => Next::Replace { lost: owned(lost) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn names(names: &str) -> Vec<String> {
        names.chars().map(String::from).collect()
    }

    fn keys(text: &str, after: SignedDuration) -> Vec<Key> {
        names(text).into_iter().map(|id| Key { id, made: Some(AT + after) }).collect()
    }

    fn decide(live: &str, held: &str, baseline: Option<&str>) -> Next {
        let requests: Vec<Request> =
            baseline.map(|known| Request { at: AT, baseline: names(known) }).into_iter().collect();
        next(&keys(live, SignedDuration::from_secs(2)), &names(held).into_iter().collect(), &requests)
    }

    #[test]
    fn every_state_has_one_next_step() {
        let keep = |key: &str, lost: &str| Next::Keep { key: key.into(), lost: names(lost) };
        let replace = |lost: &str| Next::Replace { lost: names(lost) };
        let blocked = |keys: &str| Next::Blocked { keys: names(keys) };
        let rows = [
            // Nothing there: never made, request lost, or all removed since.
            ("", "", None, Next::Create),
            ("", "", Some(""), Next::Create),
            ("", "", Some("a"), Next::Create),
            ("", "a", None, Next::Create),
            // One key.
            ("a", "a", None, keep("a", "")),
            ("a", "a", Some(""), keep("a", "")),
            ("a", "a", Some("a"), keep("a", "")),
            ("a", "", Some(""), replace("a")),
            ("a", "", Some("a"), blocked("a")),
            ("a", "", None, blocked("a")),
            // Two keys.
            ("ab", "ab", None, keep("b", "")),
            ("ab", "a", Some("a"), keep("a", "b")),
            ("ab", "b", Some("a"), blocked("a")),
            ("ab", "b", Some(""), keep("b", "a")),
            ("ab", "a", None, blocked("b")),
            ("ab", "", Some(""), replace("ab")),
            ("ab", "", Some("a"), blocked("a")),
            ("ab", "", Some("ab"), blocked("ab")),
            ("ab", "", None, blocked("ab")),
        ];
        for (live, held, baseline, expected) in rows {
            assert_eq!(decide(live, held, baseline), expected, "{live} {held} {baseline:?}");
        }
    }

    #[test]
    fn key_created_at_another_time_is_never_removed() {
        let request = [Request { at: AT, baseline: Vec::new() }];
        let decide =
            |minutes| next(&keys("a", SignedDuration::from_mins(minutes)), &BTreeSet::new(), &request);
        for minutes in [-60, -3, 4, 60] {
            assert_eq!(decide(minutes), Next::Blocked { keys: names("a") }, "{minutes}");
        }
        for minutes in [-1, 0, 2] {
            assert_eq!(decide(minutes), Next::Replace { lost: names("a") }, "{minutes}");
        }
        let undated = [Key { id: "a".to_owned(), made: None }];
        assert_eq!(next(&undated, &BTreeSet::new(), &request), Next::Blocked { keys: names("a") });
    }

    /// IAM may list the key of an earlier request only after a later one was sent.
    #[test]
    fn key_of_earlier_request_is_still_recognised() {
        let late = Request { at: AT + SignedDuration::from_mins(30), baseline: Vec::new() };
        let requests = [Request { at: AT, baseline: Vec::new() }, late];
        let live: Vec<Key> = [("a", 0), ("b", 30)]
            .map(|(id, after)| Key { id: id.to_owned(), made: Some(AT + SignedDuration::from_mins(after)) })
            .into();
        let held = BTreeSet::from(["b".to_owned()]);
        assert_eq!(next(&live, &held, &requests), Next::Keep { key: "b".to_owned(), lost: names("a") });
    }

    #[test]
    fn possibly_foreign_key_is_never_removed() {
        let subsets = ["", "a", "b", "ab"];
        for live in subsets {
            for held in subsets {
                for baseline in [None, Some(""), Some("a"), Some("b"), Some("ab")] {
                    let lost = match decide(live, held, baseline) {
                        Next::Replace { lost } | Next::Keep { lost, .. } => lost,
                        _ => Vec::new(),
                    };
                    let harmless = |key: &String| {
                        baseline.is_some_and(|known| !known.contains(key)) && !held.contains(key)
                    };
                    assert!(lost.iter().all(harmless), "{live} {held} {baseline:?}");
                }
            }
        }
    }
}
