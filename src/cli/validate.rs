//! `groundwork validate`

use clap::Args;

use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::plan::Diagnostics;
use crate::ui;

/// Check everything about a plan that needs no network.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    plan: PlanArgs,
}

/// Checks and says what was found.
pub fn run(args: &ValidateArgs) -> Outcome {
    match args.plan.check() {
        Ok(checked) => {
            let sources = checked.resolved.document.sources.clone();
            ui::diagnostics::show(&Diagnostics::new(sources, checked.warnings));
            let document = &checked.resolved.document;
            ui::console::out(format_args!(
                "{}: {} steps, no mistakes",
                document.name,
                checked.resolved.steps.len()
            ));
            Outcome::Done
        }
        Err(error) => failed(&error),
    }
}
