//! The end of a complete teardown: the things that custody, the journal's copy and the lock are in.

use std::collections::{BTreeSet, HashSet};

use super::attached::is_at;
use super::decision::{Candidate, RemovalDecision};
use crate::observe::ObservedPlan;
use crate::plan::settings::StoreSettings;
use crate::plan::{LockPlace, S3Location};
use crate::resource::Attachment;

/// A part of a bucket that is the run's own.
struct Own {
    bucket: String,
    /// The key, or with a slash at its end the beginning of several.
    key: String,
}

impl Own {
    fn of(place: &S3Location) -> Self {
        Self { bucket: place.bucket.clone(), key: place.key.clone() }
    }
}

/// The buckets and keys of custody's stores, the journal's copy and the lock; and the lock's table.
fn own(world: &ObservedPlan) -> (Vec<Own>, Option<String>) {
    let outputs = world.known_outputs();
    let places = world.resolved.places(&outputs, false).unwrap_or_default();
    let mut own: Vec<Own> = places.journal.iter().map(Own::of).collect();
    let mut table = None;
    match &places.lock {
        Some(LockPlace::Object(place)) => own.push(Own::of(place)),
        Some(LockPlace::Item { table: name, .. }) => table = Some(name.clone()),
        None => {}
    }
    let custody = world.resolved.custody(&outputs).ok().flatten();
    for store in custody.into_iter().flat_map(|settings| settings.stores) {
        let StoreSettings::S3(url) = store else { continue };
        let place = url.strip_prefix("s3://").unwrap_or(&url).to_owned();
        let (bucket, prefix) = place.split_once('/').unwrap_or((&place, ""));
        let prefix = prefix.trim_end_matches('/');
        let key = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        own.push(Own { bucket: bucket.to_owned(), key });
    }
    (own, table)
}

/// The ids of the steps whose things the run itself rests on.
pub fn rests_on(world: &ObservedPlan) -> HashSet<String> {
    let (own, table) = own(world);
    let steps = &world.resolved.steps;
    let is_place = |index: &usize| {
        let (step, name) = (&steps[*index], world.instances[*index].name());
        let declared = &world.resolved.document.steps[step.declared].id.name;
        let is_named = match step.kind.name() {
            "aws.s3_bucket" => own.iter().any(|place| place.bucket == name),
            "aws.dynamodb_table" => table.as_ref() == Some(&name),
            _ => false,
        };
        is_named
            || world.resolved.custody_references.contains(declared)
            || world.resolved.place_references.contains(declared)
    };
    let places: Vec<usize> = (0..steps.len()).filter(is_place).collect();
    let needed = places.iter().flat_map(|index| world.graph.ancestors(*index));
    let all: BTreeSet<usize> = places.iter().copied().chain(needed).collect();
    all.into_iter().map(|index| steps[index].id.clone()).collect()
}

/// Puts these things behind all others, and takes out of their attachments what the run itself has put there
/// and removes first.
pub(super) fn put_last(world: &ObservedPlan, candidates: &mut [Candidate]) {
    let (own, _) = own(world);
    let ids = rests_on(world);
    let last: Vec<String> = candidates
        .iter()
        .filter(|candidate| ids.contains(&candidate.id))
        .map(|candidate| candidate.target.clone())
        .collect();
    for candidate in candidates {
        if !ids.contains(&candidate.id) {
            // A thing that stays for its own reasons does not need them.
            if !matches!(candidate.fate, RemovalDecision::Stays(_)) {
                candidate.needs.extend(last.iter().cloned());
            }
            continue;
        }
        let bucket = candidate.name.clone();
        candidate.attachments.retain(|one| !own.iter().any(|place| is_in(place, &bucket, one)));
        if let RemovalDecision::Goes(why) = &mut candidate.fate {
            let last = "last, after custody, the journal's copy and the lock";
            *why = Some(why.as_ref().map_or(last.to_owned(), |why| format!("{last}; {why}")));
        }
    }
}

fn is_in(place: &Own, bucket: &str, attachment: &Attachment) -> bool {
    let key = attachment.name.split(" (").next().unwrap_or_default();
    is_at(bucket, &place.bucket)
        && attachment.field == "objects"
        && (key == place.key
            || (place.key.is_empty() || place.key.ends_with('/')) && key.starts_with(&place.key))
}
