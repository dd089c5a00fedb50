//! Removing one thing.

use crate::observe::World;
use crate::providers::Providers;
use crate::resource::{Error, ErrorKind, Permit, Result};

/// A person has agreed to remove the thing of this step.
#[derive(Debug)]
pub struct ApprovedRemoval<'a>(&'a str);

impl<'a> ApprovedRemoval<'a> {
    /// Notes the approval. To be called where a person has seen what goes away and said yes.
    pub fn by_caller(step: &'a str) -> Self {
        Self(step)
    }
}

/// Removes the thing of the approved step; one that is protected is refused.
///
/// # Errors
/// `Rejected` for a protected or unknown step, else what the live system says.
pub async fn remove(world: &World, approved: ApprovedRemoval<'_>, providers: &Providers) -> Result<()> {
    let id = approved.0;
    let operation = || format!("remove {id}");
    let Some(index) = world.resolved.steps.iter().position(|step| step.id == id) else {
        return Err(Error::new(ErrorKind::Rejected, operation(), "there is no such step"));
    };
    let step = &world.resolved.steps[index];
    let declared = &world.resolved.document.steps[step.declared];
    if declared.protect.unwrap_or_else(|| step.kind.protected()) {
        return Err(Error::new(ErrorKind::Rejected, operation(), "it is protected")
            .advice("say `protect: false` in the step if it is really to go"));
    }
    world.instances[index].delete(providers, &Permit::mint(), id).await
}
