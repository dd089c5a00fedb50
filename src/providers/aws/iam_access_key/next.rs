//! What is to be done about a user's keys, decided from what IAM, custody and the journal say.

use std::collections::BTreeSet;

/// What is to be done about a user's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is no key: make one.
    Create,
    /// This key's secret is in custody: deliver what is missing. The keys in `lost` go.
    Keep { key: String, lost: Vec<String> },
    /// Only keys of ours whose secret never arrived: remove them and make one anew.
    Replace { lost: Vec<String> },
    /// Keys that are not ours, or whose secret custody has lost: never touched.
    Blocked { keys: Vec<String> },
}

/// The next step for the keys that are `live`, oldest first. `held` are those whose secret custody
/// has; `baseline`, while an intent is open, those that existed when it was written.
///
/// A key that appeared after an open intent and is not held was made by the request whose answer
/// was lost: nobody can have its secret, so removing it harms nobody.
pub(super) fn next(live: &[String], held: &BTreeSet<String>, baseline: Option<&[String]>) -> Next {
    let is_held = |key: &&String| held.contains(*key);
    let is_lost = |key: &&String| baseline.is_some_and(|baseline| !baseline.contains(key));
    let (ours, others): (Vec<_>, Vec<_>) = live.iter().partition(is_held);
    let (lost, foreign): (Vec<_>, Vec<_>) = others.into_iter().partition(is_lost);
    let owned = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>();
    match ours.last() {
        _ if !foreign.is_empty() => Next::Blocked { keys: owned(foreign) },
        Some(key) => Next::Keep { key: (*key).clone(), lost: owned(lost) },
        None if lost.is_empty() => Next::Create,
        None => Next::Replace { lost: owned(lost) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &str) -> Vec<String> {
        names.chars().map(String::from).collect()
    }

    fn decide(live: &str, held: &str, baseline: Option<&str>) -> Next {
        let baseline = baseline.map(keys);
        next(&keys(live), &keys(held).into_iter().collect(), baseline.as_deref())
    }

    #[test]
    fn every_state_has_one_next_step() {
        let keep = |key: &str, lost: &str| Next::Keep { key: key.into(), lost: keys(lost) };
        let replace = |lost: &str| Next::Replace { lost: keys(lost) };
        let blocked = |names: &str| Next::Blocked { keys: keys(names) };
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
    fn a_key_that_may_be_somebodys_is_never_removed() {
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
