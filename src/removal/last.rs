//! The end of a complete teardown: the things that custody, the journal's copy and the lock are in.

use std::collections::{BTreeSet, HashSet};

use super::attached::is_at;
use super::decision::{Candidate, RemovalDecision};
use crate::observe::ObservedPlan;
use crate::plan::settings::StoreSettings;
use crate::plan::{LockPlace, S3Location, bucket_and_prefix};
use crate::resource::Attachment;

/// A part of a bucket that is the run's own.
struct Own {
    bucket: String,
    /// The key, or with a slash at its end the beginning of several.
    key: String,
}

/// What the run itself keeps in things of the plan.
#[derive(Default)]
struct Kept {
    parts: Vec<Own>,
    /// The buckets and tables, by kind and name.
    containers: HashSet<(&'static str, String)>,
}

impl Kept {
    /// In custody's stores, as the journal's copy, and as the lock.
    fn of(world: &ObservedPlan) -> Self {
        let outputs = world.known_outputs();
        let places = world.resolved.places(&outputs, false).unwrap_or_default();
        let mut kept = Self::default();
        for place in places.journal.map(LockPlace::Object).into_iter().chain(places.lock) {
            let (kind, name) = place.container();
            kept.containers.insert((kind, name.to_owned()));
            if let LockPlace::Object(S3Location { bucket, key }) = place {
                kept.parts.push(Own { bucket, key });
            }
        }
        let custody = world.resolved.custody(&outputs).ok().flatten();
        for store in custody.into_iter().flat_map(|settings| settings.stores) {
            let StoreSettings::S3(url) = store else { continue };
            let Some((bucket, key)) = bucket_and_prefix(&url) else { continue };
            kept.containers.insert(("aws.s3_bucket", bucket.to_owned()));
            kept.parts.push(Own { bucket: bucket.to_owned(), key });
        }
        kept
    }
}

/// The ids of the steps whose things the run itself rests on.
pub fn rests_on(world: &ObservedPlan) -> HashSet<String> {
    steps_of(world, &Kept::of(world))
}

fn steps_of(world: &ObservedPlan, kept: &Kept) -> HashSet<String> {
    let steps = &world.resolved.steps;
    let is_place = |index: &usize| {
        let (step, name) = (&steps[*index], world.instances[*index].name());
        let declared = &world.resolved.document.steps[step.declared].id.name;
        kept.containers.contains(&(step.kind.name(), name))
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
    let kept = Kept::of(world);
    let ids = steps_of(world, &kept);
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
        candidate.attachments.retain(|one| !kept.parts.iter().any(|place| is_in(place, &bucket, one)));
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
