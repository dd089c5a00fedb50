//! What stays keeps what it needs; what goes, goes before what it needs.

use std::collections::{BTreeSet, HashMap};

use super::fate::{Candidate, Fate};
use crate::changeset::StepChange;

/// The candidates as steps of a changeset: removals in an order in which they can be carried out,
/// then what stays.
pub fn settle(mut candidates: Vec<Candidate>) -> Vec<StepChange> {
    hold(&mut candidates);
    let dependents = dependents(&candidates);
    let order = order(&candidates, &dependents);
    order
        .into_iter()
        .map(|index| {
            let candidate = &candidates[index];
            let before = dependents[index].iter().map(|other| candidates[*other].id.clone());
            StepChange {
                id: candidate.id.clone(),
                kind: candidate.kind,
                name: candidate.name.clone(),
                action: candidate.fate.action(),
                changes: Vec::new(),
                needs: before.collect(),
                reason: candidate.fate.reason().map(str::to_owned),
                unchanged: Vec::new(),
                unprotected: false,
            }
        })
        .collect()
}

/// What something needs that stays, must stay too.
fn hold(candidates: &mut [Candidate]) {
    let positions: HashMap<String, usize> =
        candidates.iter().enumerate().map(|(index, candidate)| (candidate.target.clone(), index)).collect();
    let mut open: Vec<usize> =
        (0..candidates.len()).filter(|index| candidates[*index].fate.holds()).collect();
    while let Some(index) = open.pop() {
        let (id, needs) = (candidates[index].id.clone(), candidates[index].needs.clone());
        for need in needs.iter().filter_map(|need| positions.get(need)) {
            if matches!(candidates[*need].fate, Fate::Goes(_)) {
                candidates[*need].fate = Fate::Held(format!("`{id}`, which stays, needs it"));
                open.push(*need);
            }
        }
    }
}

/// For each candidate, those that go and need it directly.
fn dependents(candidates: &[Candidate]) -> Vec<BTreeSet<usize>> {
    let positions: HashMap<&str, usize> =
        candidates.iter().enumerate().map(|(index, candidate)| (candidate.target.as_str(), index)).collect();
    let mut dependents = vec![BTreeSet::new(); candidates.len()];
    for (index, candidate) in candidates.iter().enumerate() {
        if !matches!(candidate.fate, Fate::Goes(_)) {
            continue;
        }
        for need in candidate.needs.iter().filter_map(|need| positions.get(need.as_str())) {
            if *need != index {
                dependents[*need].insert(index);
            }
        }
    }
    dependents
}

/// Removals with their dependents first, the latest declared of those that are free before the
/// others; then the rest. Things that once needed one another in a circle come as they stand.
fn order(candidates: &[Candidate], dependents: &[BTreeSet<usize>]) -> Vec<usize> {
    let (going, staying): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|index| matches!(candidates[*index].fate, Fate::Goes(_)));
    let mut waiting: BTreeSet<usize> = going.into_iter().collect();
    let mut order = Vec::with_capacity(candidates.len());
    while let Some(last) = waiting.last().copied() {
        let is_free = |index: &&usize| dependents[**index].iter().all(|other| !waiting.contains(other));
        let next = waiting.iter().rev().find(is_free).copied().unwrap_or(last);
        waiting.remove(&next);
        order.push(next);
    }
    order.extend(staying);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changeset::Action;

    fn thing(id: &str, needs: &[&str], fate: Fate) -> Candidate {
        Candidate {
            id: id.to_owned(),
            kind: "vault.policy",
            name: id.to_owned(),
            target: id.to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            fate,
        }
    }

    fn told(candidates: Vec<Candidate>) -> Vec<(String, Action)> {
        settle(candidates).into_iter().map(|step| (step.id, step.action)).collect()
    }

    #[test]
    fn dependents_go_before_what_they_need() {
        let goes = Fate::Goes(None);
        let all = vec![
            thing("mount", &[], goes.clone()),
            thing("policy", &[], goes.clone()),
            thing("secret", &["mount"], goes.clone()),
            thing("role", &["policy", "mount"], goes),
        ];
        let order: Vec<String> = told(all.clone()).into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, ["role", "secret", "policy", "mount"]);
        let steps = settle(all);
        let mount = steps.iter().find(|step| step.id == "mount").expect("there");
        assert_eq!(mount.needs, ["secret", "role"], "what comes before it");
    }

    #[test]
    fn what_stays_keeps_what_it_needs_however_far() {
        let goes = || Fate::Goes(None);
        let stays: Vec<fn(String) -> Fate> = vec![Fate::Stays, Fate::Held, Fate::Unclear];
        for stay in stays {
            let all = vec![
                thing("key", &[], goes()),
                thing("mount", &["key"], goes()),
                thing("secret", &["mount"], stay("so".to_owned())),
                thing("other", &[], goes()),
            ];
            let told = told(all);
            let action = |id: &str| told.iter().find(|(other, _)| other == id).map(|(_, action)| *action);
            assert_eq!((action("key"), action("mount")), (Some(Action::Blocked), Some(Action::Blocked)));
            assert_eq!(action("other"), Some(Action::Delete));
        }
        let lasting = vec![
            thing("method", &[], goes()),
            thing("config", &["method"], Fate::Lasts("part of it".to_owned())),
        ];
        assert_eq!(told(lasting)[0], ("method".to_owned(), Action::Delete));
    }

    #[test]
    fn a_circle_of_old_needs_comes_to_an_end() {
        let all = vec![thing("a", &["b"], Fate::Goes(None)), thing("b", &["a"], Fate::Goes(None))];
        assert_eq!(told(all).len(), 2);
    }
}
