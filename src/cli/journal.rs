//! `groundwork journal`

use clap::Args;

use super::plan::Format;
use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::session::{self, Purpose};
use crate::ui;

/// Show what was done, when, by whom: the record of all runs of a plan.
#[derive(Debug, Args)]
pub struct JournalArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Reads the journal, with what other machines have added, and shows it.
pub async fn run(args: JournalArgs) -> Outcome {
    match show(&args).await {
        Ok(()) => Outcome::Done,
        Err(error) => failed(&error),
    }
}

async fn show(args: &JournalArgs) -> Result<(), session::Error> {
    let checked = args.plan.open(Purpose::Connect).await?;
    let plan = checked.resolved.document.name.clone();
    let (journal, unseen) = session::journal(checked).await?;
    if let Some(error) = unseen {
        failed(&error);
        ui::console::note("this is the journal of this machine alone:");
    }
    match args.format {
        Format::Human => ui::journal::show(&plan, &journal.entries(), &journal.open_intents()),
        Format::Json => ui::journal::json(&plan, &journal.entries()),
    }
    Ok(())
}
