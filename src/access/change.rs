//! The difference between two answers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Access, Right, Subject};
use crate::template::unknown;

/// Whether a principal gains or loses a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Gains it.
    Gains,
    /// Loses it.
    Loses,
    /// Has it before and after, under other conditions.
    Changes,
}

/// How many targets a line names.
const NAMED: usize = 4;

/// The rights that one principal gains or loses on some targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AccessChange {
    /// Whether it gains or loses.
    pub change: Direction,
    /// Who.
    pub principal: Subject,
    /// The targets: all of which the same is true.
    pub targets: Vec<Subject>,
    /// The rights, such as `read`.
    pub rights: Vec<&'static str>,
    /// The conditions after the change, or before it where the rights are lost; none if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
}

impl AccessChange {
    /// The change as one line.
    pub fn line(&self) -> String {
        let verb = match self.change {
            Direction::Gains => "gains",
            Direction::Loses => "loses",
            Direction::Changes => "keeps, under other conditions,",
        };
        let mut line = format!(
            "{} {verb} {} on {}",
            self.principal.title(),
            self.rights.join(", "),
            self.shown_targets()
        );
        if !self.conditions.is_empty() {
            line.push_str(&format!(" ({})", self.conditions.join("; ")));
        }
        line
    }

    /// Whether the same happens to the same principal, on other targets.
    fn is_like(&self, other: &Self) -> bool {
        (self.change, &self.principal, &self.rights, &self.conditions)
            == (other.change, &other.principal, &other.rights, &other.conditions)
    }

    /// The first targets, each sort named once.
    fn shown_targets(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for (at, target) in self.targets.iter().take(NAMED).enumerate() {
            let is_like_the_one_before = at > 0 && self.targets[at - 1].sort == target.sort;
            words.push(if is_like_the_one_before { unknown::describe(&target.name) } else { target.title() });
        }
        let more = self.targets.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        words.join(", ") + &more
    }
}

type Rights<'a> = BTreeMap<&'static str, &'a Right>;

/// The rights that only one of two answers has. Losses come after gains.
pub fn changes(before: &Access, after: &Access) -> Vec<AccessChange> {
    let (was, is) = (by_pair(before), by_pair(after));
    let mut found = Vec::new();
    let none = Rights::new();
    let pairs: BTreeMap<(&str, &str, &str, &str), (&Subject, &Subject)> = before
        .reach
        .iter()
        .chain(&after.reach)
        .map(|one| (key(&one.principal, &one.target), (&one.principal, &one.target)))
        .collect();
    for (pair, (principal, target)) in pairs {
        let (was, is) = (was.get(&pair).unwrap_or(&none), is.get(&pair).unwrap_or(&none));
        let gained = is.iter().filter(|(right, _)| !was.contains_key(*right)).map(|(_, right)| *right);
        let lost = was.iter().filter(|(right, _)| !is.contains_key(*right)).map(|(_, right)| *right);
        let kept = is.iter().filter(|(name, right)| {
            was.get(*name).is_some_and(|before| before.conditions() != right.conditions())
        });
        let kept = kept.map(|(_, right)| *right);
        let all = [
            (Direction::Gains, gained.collect::<Vec<&Right>>()),
            (Direction::Loses, lost.collect()),
            (Direction::Changes, kept.collect()),
        ];
        for (change, rights) in all {
            found.extend(together(change, principal, target, &rights));
        }
    }
    let mut merged: Vec<AccessChange> = Vec::new();
    // Those of one principal follow one another.
    let mut from = 0;
    for one in found {
        if merged.last().is_some_and(|last| last.principal != one.principal) {
            from = merged.len();
        }
        match merged[from..].iter_mut().find(|known| known.is_like(&one)) {
            Some(known) => known.targets.extend(one.targets),
            None => merged.push(one),
        }
    }
    merged.sort_by_key(|one| one.change);
    merged
}

/// One change for all rights that have the same conditions.
fn together(
    change: Direction,
    principal: &Subject,
    target: &Subject,
    rights: &[&Right],
) -> Vec<AccessChange> {
    let mut found: Vec<AccessChange> = Vec::new();
    for right in rights {
        let conditions = right.conditions();
        match found.iter_mut().find(|one| one.conditions == conditions) {
            Some(one) => one.rights.push(right.right),
            None => found.push(AccessChange {
                change,
                principal: principal.clone(),
                targets: vec![target.clone()],
                rights: vec![right.right],
                conditions,
            }),
        }
    }
    found
}

fn key<'a>(principal: &'a Subject, target: &'a Subject) -> (&'a str, &'a str, &'a str, &'a str) {
    (&principal.sort, &principal.name, &target.sort, &target.name)
}

fn by_pair(access: &Access) -> BTreeMap<(&str, &str, &str, &str), Rights<'_>> {
    let mut all: BTreeMap<_, Rights<'_>> = BTreeMap::new();
    for one in &access.reach {
        let rights = all.entry(key(&one.principal, &one.target)).or_default();
        rights.extend(one.rights.iter().map(|right| (right.right, right)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::Reach;
    use super::*;

    fn access(rights: &[(&'static str, &[&str])]) -> Access {
        let subject = |sort: &str, name: &str| Subject {
            provider: "toy",
            sort: sort.to_owned(),
            name: name.to_owned(),
            step: None,
            also: Vec::new(),
        };
        let rights = rights.iter().map(|(right, only)| Right {
            right,
            because: vec!["a policy".to_owned()],
            only: only.iter().map(|one| (*one).to_owned()).collect(),
            unless: Vec::new(),
        });
        let reach = Reach {
            principal: subject("user", "ann"),
            target: subject("box", "b"),
            rights: rights.collect(),
        };
        Access { reach: vec![reach], ..Access::default() }
    }

    fn lines(before: &Access, after: &Access) -> Vec<String> {
        changes(before, after).iter().map(AccessChange::line).collect()
    }

    #[test]
    fn gains_losses_and_conditions_are_told_in_lines() {
        let none = Access::default();
        let full = access(&[("read", &[]), ("write", &[])]);
        assert!(changes(&full, &full).is_empty());
        assert_eq!(lines(&none, &full), ["user ann gains read, write on box b"]);
        assert_eq!(lines(&full, &none), ["user ann loses read, write on box b"]);
        let narrow = access(&[("read", &["on b/x"]), ("delete", &[])]);
        let expected = [
            "user ann gains delete on box b",
            "user ann loses write on box b",
            "user ann keeps, under other conditions, read on box b (only on b/x)",
        ];
        assert_eq!(lines(&full, &narrow), expected);
    }
}
