//! The journal's record of a rotation: open from before the first request until every step that takes something of
//! the rotated thing has it.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::Report;
use crate::error::Result;
use crate::journal::Entry;
use crate::observe::ObservedPlan;
use crate::permit::Permit;
use crate::resource::erased::Instance;
use crate::run::Run;

/// The journal's word for a rotation.
const ROTATE: &str = "rotate";

/// A rotation that an earlier run has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The thing is as it was before.
    NotRotated,
    /// The thing has its new secret; others may lack it.
    Rotated,
}

/// The announcement of a rotation.
pub(super) fn intent(step: &str, target: &str, instance: &dyn Instance) -> Entry {
    Entry::Intent {
        step: step.to_owned(),
        operation: ROTATE.to_owned(),
        target: target.to_owned(),
        detail: vec![mark(instance)],
    }
}

/// Distinguishes one write of a thing from the next, without anything of its secrets: its revision and its outputs.
fn mark(instance: &dyn Instance) -> String {
    let outputs = serde_json::to_vec(&instance.outputs()).unwrap_or_default();
    let both = [instance.revision().unwrap_or_default().into_bytes(), outputs].join(&0);
    hex::encode(&Sha256::digest(both)[..8])
}

/// The rotation of a step that an earlier run has begun and not ended.
pub fn begun(world: &ObservedPlan, run: &Run, index: usize) -> Option<Begun> {
    let record = run.journal.open_intent(ROTATE, &world.target(index))?;
    let Entry::Intent { detail, .. } = record.entry else { return None };
    let is_as_before = detail.first() == Some(&mark(&world.instances[index]));
    Some(if is_as_before { Begun::NotRotated } else { Begun::Rotated })
}

/// Notes the end of each rotation whose followers have all followed.
///
/// # Errors
/// When the journal cannot be written.
pub(super) async fn settle(world: &ObservedPlan, report: &Report, run: &Run, permit: &Permit) -> Result<()> {
    let undone: HashSet<&str> = report.undone().collect();
    let is_done = |index: &usize| !undone.contains(world.resolved.steps[*index].id.as_str());
    let rotated = world.selected.begun().filter(is_done);
    for index in rotated.filter(|_| !report.stopped).collect::<Vec<_>>() {
        let follows = |follower: &usize| world.graph.ancestors(*follower).contains(&index);
        let target = world.target(index);
        let is_open = run.journal.open_intent(ROTATE, &target).is_some();
        if is_open && world.selected.followers().filter(follows).all(|follower| is_done(&follower)) {
            let operation = ROTATE.to_owned();
            run.journal.append(permit, Entry::Committed { operation, target, detail: Vec::new() }).await?;
        }
    }
    Ok(())
}
