//! Removes the findings that a plan silences, and checks the silences themselves.

use std::collections::HashSet;

use super::facts::Facts;
use super::findings::Finding;
use super::rules::{find, silence};
use super::{Rule, rules};
use crate::plan::{Silence, Span};
use crate::suggest::closest;

/// The remaining findings, with those about the silences; and the silenced findings, with the reasons.
pub fn apply(facts: &Facts<'_>, found: Vec<Finding>) -> (Vec<Finding>, Vec<(Finding, String)>) {
    let mut used: HashSet<(usize, usize)> = HashSet::new();
    let (mut reported, mut silenced) = (Vec::new(), Vec::new());
    for finding in found {
        let step = finding.step.as_deref().and_then(|id| facts.document().step(id));
        let own = step.map(|step| step.silences.as_slice()).unwrap_or_default();
        let silences = own.iter().chain(&facts.document().silences);
        match silences.into_iter().find(|one| one.rule.name == finding.rule.id && !one.reason.is_empty()) {
            Some(silence) => {
                used.insert(place(silence));
                silenced.push((finding, silence.reason.clone()));
            }
            None => reported.push(finding),
        }
    }
    reported.extend(wrong(facts, &used));
    (reported, silenced)
}

fn place(silence: &Silence) -> (usize, usize) {
    (silence.rule.span.file, silence.rule.span.start)
}

/// Finds silences without effect.
fn wrong(facts: &Facts<'_>, used: &HashSet<(usize, usize)>) -> Vec<Finding> {
    let document = facts.document();
    let of_plan = document.silences.iter().map(|silence| (None, silence, true));
    let of_steps = document.steps.iter().flat_map(|step| {
        // Rules find nothing in a step that does not take part.
        let takes_part = facts.steps.iter().any(|fact| fact.id() == step.id.name);
        step.silences.iter().map(move |silence| (Some(step.id.name.clone()), silence, takes_part))
    });
    of_plan
        .chain(of_steps)
        .filter_map(|(step, silence, takes_part)| {
            let (rule, span, message) = mistake(silence, takes_part && !used.contains(&place(silence)))?;
            Some(Finding {
                rule,
                message,
                span: Some(span),
                step,
                path: format!("lint.{}", silence.rule.name),
            })
        })
        .collect()
}

fn mistake(silence: &Silence, is_unused: bool) -> Option<(&'static Rule, Span, String)> {
    let name = &silence.rule.name;
    if find(name).is_none() {
        let hint = closest(name, rules::all().map(|rule| rule.id))
            .map(|candidate| format!("; did you mean `{candidate}`?"))
            .unwrap_or_default();
        let message = format!("rule `{name}` does not exist{hint}");
        return Some((&silence::UNKNOWN, silence.rule.span, message));
    }
    if silence.reason.is_empty() {
        let message = format!("`{name}` is silenced without a reason, so it is not silenced");
        return Some((&silence::NO_REASON, silence.rule.span, message));
    }
    is_unused.then(|| {
        let message = format!("`{name}` is silenced, but it finds nothing here");
        (&silence::UNUSED, silence.rule.span, message)
    })
}
