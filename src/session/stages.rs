//! Locks and things that the stages of one plan must not share.

use std::collections::BTreeMap;

use super::{Checked, Session};
use crate::diff::described;
use crate::place::Place;
use crate::plan::Diagnostic;
use crate::resource::Change;
use crate::run::Connection;
use crate::template::unknown;
use crate::trust::Grant;

/// How many things a warning names.
const NAMED: usize = 3;

/// Warnings about locks and things that several stages declare, each at the plan's `stages:`.
pub fn overlaps(stages: &[(String, &Checked)]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, (name, checked)) in stages.iter().enumerate() {
        for (other_name, other) in &stages[index + 1..] {
            let place = checked.resolved.document.stages.first().map(|stage| stage.id.span);
            if let Some(lock) = shared_lock(checked, other) {
                let message = format!(
                    "stages {name} and {other_name} have one lock, {lock}: a run of one keeps out the other"
                );
                found.push(
                    Diagnostic::warning(place, message).help("write `{{ stage }}` into it, or omit its key"),
                );
            }
            let things = shared_things(checked, other);
            if let Some(first) = things.first() {
                let rest = things.len().saturating_sub(NAMED);
                let named = things.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
                let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
                let message = format!(
                    "stages {name} and {other_name} declare the same things in one place: {named}{more}"
                );
                let help = format!(
                    "the stage that is applied first owns them, and the other one is blocked: write `{{{{ stage }}}}` into \
                     names such as that of {first}, or give each stage an account or address of its own"
                );
                found.push(Diagnostic::warning(place, message).help(help));
            }
        }
    }
    found
}

fn shared_lock(one: &Checked, other: &Checked) -> Option<String> {
    let lock = |checked: &Checked| checked.resolved.places(&checked.outputs, false).ok()?.lock;
    let lock_of_one = lock(one)?;
    (Some(&lock_of_one) == lock(other).as_ref()).then(|| lock_of_one.to_string())
}

/// The things that both declare, as `KIND NAME`, where both go to the same place.
fn shared_things(one: &Checked, other: &Checked) -> Vec<String> {
    let names = |checked: &Checked| -> BTreeMap<(String, String, Place), String> {
        let steps = checked.resolved.steps.iter().zip(&checked.instances);
        steps
            .filter(|(_, instance)| !unknown::is_unknown(&instance.same_name()))
            .map(|(step, instance)| {
                let kind = step.kind.name();
                let key = (kind.to_owned(), instance.same_name(), instance.place().clone());
                (key, format!("{kind} {}", instance.id()))
            })
            .collect()
    };
    let theirs = names(other);
    let mine = names(one).into_iter().filter(|(key, _)| theirs.contains_key(key));
    let wants = |connection: &dyn Connection, checked: &Checked| -> Vec<Grant> {
        let folder = checked.resolved.document.folder.clone();
        connection.wants(&folder).into_iter().map(|want| want.grant).collect()
    };
    let is_in_one_place = |(kind, _, place): &(String, String, Place)| {
        let provider = kind.split('.').next().unwrap_or_default();
        let (here, there) = (connection(one, provider), connection(other, provider));
        here.zip(there).is_none_or(|(here, there)| {
            let places = [Place { alias: place.alias.clone(), namespace: None }];
            // Nothing is connected, so the addresses that a section declares are only in what it wants.
            wants(here, one) == wants(there, other)
                && here.destinations(&places) == there.destinations(&places)
                && !here.known_realm(&places[0]).conflicts(&there.known_realm(&places[0]))
        })
    };
    mine.filter(|(key, _)| is_in_one_place(key)).map(|(_, thing)| thing).collect()
}

/// The declared fields of a stage's steps, by id, with secrets masked and unknown values described.
pub fn declared(session: &Session) -> Vec<(String, Vec<Change>)> {
    let steps = session.world.resolved.steps.iter().enumerate();
    steps
        .map(|(index, step)| {
            let changes = session.world.instances[index].preview().changes;
            let changes = changes.into_iter().map(described).collect();
            (step.id.clone(), changes)
        })
        .collect()
}

fn connection<'a>(checked: &'a Checked, provider: &str) -> Option<&'a dyn Connection> {
    checked.resolved.providers.named(provider)
}
