//! Proves that everything in custody opens, in every store.

use crate::custody::examine::{CopyState, Object};
use crate::error::Result;
use crate::observe::ObservedPlan;
use crate::proof::{Proofs, Prover};
use crate::run::Run;

/// The section that the findings are about.
const SECTION: &str = "custody";

/// Decrypts every copy of every object.
pub(super) async fn prove(world: &ObservedPlan, run: &Run, proofs: &Proofs) {
    if run.custody_settings.is_none() {
        return;
    }
    let prover = Prover::new(run, proofs, SECTION);
    let tried = "every copy of every object opens";
    let Some(objects) = prover.ask(tried, "custody can be read", examine(world, run).await) else { return };
    let faults: Vec<(&Object, String)> = objects.iter().flat_map(faults).collect();
    for (object, fault) in &faults {
        prover.failed(
            format!("{}: every copy opens", object.name),
            "a whole copy on every store, sealed for the plan's recipients",
            fault.clone(),
            "run `groundwork custody check PLAN`, then with `--repair`; for other recipients `groundwork custody rewrap PLAN`",
        );
    }
    let closed = objects.iter().flat_map(|object| object.copies.iter().map(move |copy| (object, copy)));
    let closed: Vec<String> = closed
        .filter(|(_, copy)| copy.state == CopyState::Closed)
        .map(|(object, copy)| format!("{} on {}", object.name, copy.store))
        .collect();
    if !closed.is_empty() {
        let needs = format!(
            "a key at hand that opens {} (for an age recipient, GROUNDWORK_AGE_IDENTITY)",
            closed.join(", ")
        );
        prover.untried(tried, needs);
    } else if faults.is_empty() {
        let copies: usize = objects.iter().map(|object| object.copies.len()).sum();
        prover.proven(format!("{copies} copies of {} objects open", objects.len()));
    }
}

async fn examine(world: &ObservedPlan, run: &Run) -> Result<Vec<Object>> {
    let custody = run.custody().await?;
    if let Ok(Some(settings)) = world.resolved.custody(&world.known_outputs()) {
        custody.set_recipients(settings.recipients);
    }
    custody.examine("", true).await
}

/// The faults of an object's copies. A copy for which no key is at hand does not count as a fault.
fn faults(object: &Object) -> Vec<(&Object, String)> {
    let of_copy = object.copies.iter().filter_map(|copy| {
        let fault = match &copy.state {
            CopyState::Whole | CopyState::Closed => {
                let closed = copy.recipients.iter().find(|recipient| recipient.opens == Some(false))?;
                format!("does not open for {} {}", closed.kind, closed.id)
            }
            CopyState::Differs => "has another value than another store's copy".to_owned(),
            CopyState::Missing => "is missing".to_owned(),
            CopyState::Damaged(why) => format!("is damaged: {why}"),
            CopyState::Refused(why) => format!("is refused: {why}"),
            CopyState::Unreachable(why) => format!("cannot be reached: {why}"),
        };
        Some(format!("the copy on {} {fault}", copy.store))
    });
    let aside = object.aside.iter();
    let aside =
        aside.map(|one| format!("version {} on {} does not count: {}", one.version, one.store, one.because));
    let lacks = object.lacks.iter().map(|one| format!("it is not sealed for {one}"));
    let former = object.former.iter().map(|one| format!("it is still sealed for {one}"));
    of_copy.chain(aside).chain(lacks).chain(former).map(|fault| (object, fault)).collect()
}
