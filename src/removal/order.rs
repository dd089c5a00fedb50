//! Orders removals. A thing that stays keeps its needs; a thing that is removed goes before its
//! needs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::attached::is_at;
use super::decision::{Candidate, RemovalDecision};
use crate::changeset::StepChange;
use crate::journal::target;
use crate::resource::{Attachment, Change, Diff};

/// How many names a reason lists.
const NAMED: usize = 3;

/// The candidates as steps of a changeset: removals in an executable order, then the things that
/// stay.
pub fn settle(mut candidates: Vec<Candidate>) -> Vec<StepChange> {
    hold(&mut candidates);
    link(&mut candidates);
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
                changes: lost(candidate, &candidates),
                needs: before.chain(candidate.successor.clone()).collect(),
                reason: candidate.fate.reason().map(str::to_owned),
                unchanged: Vec::new(),
                unprotected: false,
            }
        })
        .collect()
}

fn goes(candidate: &Candidate) -> bool {
    matches!(candidate.fate, RemovalDecision::Goes(_))
}

/// The needs of a thing that stays must stay too, and so must the thing to which it is attached.
fn hold(candidates: &mut [Candidate]) {
    loop {
        hold_needs(candidates);
        let blocked = candidates
            .iter()
            .enumerate()
            .find_map(|(index, candidate)| Some((index, blocked(candidate, candidates)?)));
        let Some((index, why)) = blocked else { return };
        candidates[index].fate = RemovalDecision::Held(why);
    }
}

fn hold_needs(candidates: &mut [Candidate]) {
    let positions: HashMap<String, usize> =
        candidates.iter().enumerate().map(|(index, candidate)| (candidate.target.clone(), index)).collect();
    let mut open: Vec<usize> =
        (0..candidates.len()).filter(|index| candidates[*index].fate.holds()).collect();
    while let Some(index) = open.pop() {
        let (id, needs) = (candidates[index].id.clone(), candidates[index].needs.clone());
        for need in needs.iter().filter_map(|need| positions.get(need)) {
            if goes(&candidates[*need]) {
                candidates[*need].fate = RemovalDecision::Held(format!("`{id}`, which stays, needs it"));
                open.push(*need);
            }
        }
    }
}

/// Why a candidate cannot be removed: a blocking attachment stays, or its container does.
fn blocked(candidate: &Candidate, all: &[Candidate]) -> Option<String> {
    if !goes(candidate) {
        return None;
    }
    if let Some(part) = candidate.part.as_ref().filter(|_| container(candidate, all).is_none()) {
        return Some(part.why.clone());
    }
    let clauses: Vec<&str> = candidate
        .attachments
        .iter()
        .filter(|attachment| attachment.blocks.is_some() && holder(attachment, all).is_none())
        .filter_map(|attachment| attachment.blocks.as_deref())
        .collect();
    let more = clauses.len().saturating_sub(NAMED);
    let named = clauses.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match (clauses.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(format!("cannot be deleted while {named}; remove that first")),
        (false, more) => {
            Some(format!("cannot be deleted while {named}, and {more} more; remove these first"))
        }
    }
}

/// The candidate whose removal in the same run also removes the attachment.
fn holder(attachment: &Attachment, all: &[Candidate]) -> Option<usize> {
    let holder = attachment.holder.as_ref()?;
    let name = target(holder.kind, &holder.id);
    all.iter().position(|candidate| {
        let outputs = |(output, value): &(&str, String)| {
            candidate.outputs.get(*output).and_then(Value::as_str) == Some(value.as_str())
        };
        goes(candidate) && is_at(&candidate.target, &name) && holder.output.as_ref().is_none_or(outputs)
    })
}

/// The candidate whose removal in the same run also deletes the part.
fn container(candidate: &Candidate, all: &[Candidate]) -> Option<usize> {
    let part = candidate.part.as_ref()?;
    let name = target(part.kind, &part.id);
    all.iter().position(|other| goes(other) && other.target == name)
}

/// Puts the holders of a thing before it, and a container before its parts.
fn link(candidates: &mut [Candidate]) {
    for index in (0..candidates.len()).filter(|index| goes(&candidates[*index])).collect::<Vec<_>>() {
        let name = candidates[index].target.clone();
        let blocking = candidates[index].attachments.iter().filter(|attachment| attachment.blocks.is_some());
        let holders: Vec<usize> = blocking.filter_map(|attachment| holder(attachment, candidates)).collect();
        for holder in holders {
            add(&mut candidates[holder].needs, &name);
        }
        if let Some(container) = container(&candidates[index], candidates) {
            let whole = candidates[container].target.clone();
            let why = format!("removed with `{}`", candidates[container].id);
            candidates[index].needs.retain(|need| *need != whole);
            let reason = candidates[index].fate.reason().map(|reason| format!("{reason}; {why}"));
            candidates[index].fate = RemovalDecision::Goes(Some(reason.unwrap_or(why)));
            add(&mut candidates[container].needs, &name);
        }
    }
}

fn add(needs: &mut Vec<String>, name: &str) {
    if !needs.iter().any(|need| need == name) {
        needs.push(name.to_owned());
    }
}

/// The attachments of a thing that the plan did not create and this run does not remove separately:
/// one change for each field.
fn lost(candidate: &Candidate, all: &[Candidate]) -> Vec<Change> {
    let mut fields: BTreeMap<&str, (Vec<&str>, bool)> = BTreeMap::new();
    for attachment in &candidate.attachments {
        let own = attachment.blocks.is_none() && candidate.own.contains(&attachment.path());
        if !own && holder(attachment, all).is_none() {
            let (names, blocks) = fields.entry(attachment.field).or_default();
            names.push(&attachment.name);
            *blocks |= attachment.blocks.is_some();
        }
    }
    let mut diff = Diff::none();
    for (field, (mut names, blocks)) in fields {
        names.sort_unstable();
        let after = if blocks { json!(names) } else { Value::Null };
        diff.push(field, json!(names), after);
        diff.note(if blocks { "blocks the removal" } else { "not created by this plan; deleted with it" });
    }
    diff.changes
}

/// For each candidate, the removed candidates that need it directly.
fn dependents(candidates: &[Candidate]) -> Vec<BTreeSet<usize>> {
    let positions: HashMap<&str, usize> =
        candidates.iter().enumerate().map(|(index, candidate)| (candidate.target.as_str(), index)).collect();
    let mut dependents = vec![BTreeSet::new(); candidates.len()];
    for (index, candidate) in candidates.iter().enumerate() {
        if !goes(candidate) {
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

/// Removals with their dependents first; among those that are free, the latest declared one first;
/// then the rest. Things that once needed each other in a cycle keep their order.
fn order(candidates: &[Candidate], dependents: &[BTreeSet<usize>]) -> Vec<usize> {
    let (going, staying): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|index| goes(&candidates[*index]));
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

    fn thing(id: &str, needs: &[&str], fate: RemovalDecision) -> Candidate {
        Candidate {
            id: id.to_owned(),
            kind: "vault.policy",
            name: id.to_owned(),
            target: id.to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            outputs: serde_json::Map::new(),
            attachments: Vec::new(),
            own: Vec::new(),
            part: None,
            successor: None,
            fate,
        }
    }

    fn told(candidates: Vec<Candidate>) -> Vec<(String, Action)> {
        settle(candidates).into_iter().map(|step| (step.id, step.action)).collect()
    }

    #[test]
    fn dependents_go_before_their_needs() {
        let goes = RemovalDecision::Goes(None);
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
    fn needs_of_kept_things_are_kept() {
        let goes = || RemovalDecision::Goes(None);
        let stays: Vec<fn(String) -> RemovalDecision> =
            vec![RemovalDecision::Stays, RemovalDecision::Held, RemovalDecision::Unclear];
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
            thing("config", &["method"], RemovalDecision::Lasts("part of it".to_owned())),
        ];
        assert_eq!(told(lasting)[0], ("method".to_owned(), Action::Delete));
    }

    #[test]
    fn cycle_of_old_needs_terminates() {
        let all = vec![
            thing("a", &["b"], RemovalDecision::Goes(None)),
            thing("b", &["a"], RemovalDecision::Goes(None)),
        ];
        assert_eq!(told(all).len(), 2);
    }

    fn goes_with(id: &str, attachments: Vec<Attachment>) -> Candidate {
        Candidate { attachments, ..thing(id, &[], RemovalDecision::Goes(None)) }
    }

    fn profile(name: &str) -> Attachment {
        let clause = format!("the instance profile {name} contains it");
        Attachment::blocks("instance_profiles", name, clause).held_by("vault.policy", name)
    }

    #[test]
    fn blocking_attachment_blocks_removal_and_is_named() {
        let steps = settle(vec![goes_with("role", vec![profile("web")])]);
        assert_eq!(steps[0].action, Action::Blocked);
        let reason = steps[0].reason.as_deref().unwrap_or_default();
        assert!(reason.contains("the instance profile web contains it"), "{reason}");
        assert_eq!(steps[0].changes[0].before, json!(["web"]));
    }

    #[test]
    fn removed_blocking_attachment_goes_first() {
        let held = |id: &str| Candidate { target: format!("vault.policy {id}"), ..goes_with(id, Vec::new()) };
        let role = goes_with("role", vec![profile("web"), profile("app")]);
        let steps = settle(vec![held("web"), held("app"), role.clone()]);
        let order: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
        assert_eq!(order, ["app", "web", "role"]);
        assert!(steps.iter().all(|step| step.action == Action::Delete && step.changes.is_empty()));
        let steps = settle(vec![held("web"), role]);
        assert_eq!(steps.last().map(|step| step.action), Some(Action::Blocked), "app stays");
    }

    #[test]
    fn output_distinguishes_several_holders() {
        let key = |id: &str| {
            Attachment::blocks("access_keys", id, "it has keys")
                .held_by("vault.policy", "ci")
                .with_output("access_key_id", id)
        };
        let mut keys = Candidate { target: "vault.policy ci".to_owned(), ..goes_with("keys", Vec::new()) };
        keys.outputs.insert("access_key_id".to_owned(), json!("AKIA1"));
        let action = |attached: Vec<Attachment>| {
            let steps = settle(vec![keys.clone(), goes_with("user", attached)]);
            steps.iter().find(|step| step.id == "user").map(|step| step.action)
        };
        assert_eq!(action(vec![key("AKIA1")]), Some(Action::Delete));
        assert_eq!(action(vec![key("AKIA1"), key("AKIA2")]), Some(Action::Blocked));
    }

    #[test]
    fn own_attachments_are_not_shown_as_lost() {
        let policy = |arn: &str| Attachment::ends("managed_policies", arn);
        let role = Candidate {
            own: vec!["managed_policies.mine".to_owned()],
            ..goes_with("role", vec![policy("mine"), policy("theirs")])
        };
        let steps = settle(vec![role]);
        assert_eq!(steps[0].action, Action::Delete);
        assert_eq!(
            (&steps[0].changes[0].before, &steps[0].changes[0].after),
            (&json!(["theirs"]), &Value::Null)
        );
    }

    #[test]
    fn part_goes_after_its_container_or_stays() {
        let part = crate::resource::Part {
            kind: "vault.policy",
            id: "topic".to_owned(),
            why: "it is not confirmed".to_owned(),
        };
        let topic = Candidate { target: "vault.policy topic".to_owned(), ..goes_with("topic", Vec::new()) };
        let waiting = Candidate {
            part: Some(part),
            ..thing("waiting", &["vault.policy topic"], RemovalDecision::Goes(None))
        };
        let steps = settle(vec![topic.clone(), waiting.clone()]);
        let told: Vec<(&str, Action)> = steps.iter().map(|step| (step.id.as_str(), step.action)).collect();
        assert_eq!(told, [("topic", Action::Delete), ("waiting", Action::Delete)]);
        assert_eq!(
            (&steps[1].needs, steps[1].reason.as_deref()),
            (&vec!["topic".to_owned()], Some("removed with `topic`"))
        );
        let steps =
            settle(vec![Candidate { fate: RemovalDecision::Stays("declared".to_owned()), ..topic }, waiting]);
        let waiting = steps.iter().find(|step| step.id == "waiting").expect("there");
        assert_eq!(
            (waiting.action, waiting.reason.as_deref()),
            (Action::Blocked, Some("it is not confirmed"))
        );
    }
}
