//! `groundwork journal`

use clap::Args;

use super::lock_args::LockArgs;
use super::plan::Format;
use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::console;
use crate::session::{self, Adoption, Purpose};
use crate::ui;

/// Show what was done, when, by whom: the record of all runs of a plan.
#[derive(Debug, Args)]
pub struct JournalArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Vouch for a journal that is not signed, or not with a key that this machine knows: show what it
    /// says, ask, and sign it
    #[arg(long)]
    adopt: bool,
    /// Do not ask; for a person who has looked at the journal
    #[arg(long, short, requires = "adopt")]
    yes: bool,
    #[command(flatten)]
    lock: LockArgs,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Reads the journal, with what other machines have added, and shows it.
pub async fn run(args: JournalArgs) -> Outcome {
    let ended = if args.adopt { adopt(&args).await } else { show(&args).await };
    ended.unwrap_or_else(|error| failed(&error))
}

async fn show(args: &JournalArgs) -> Result<Outcome, session::Error> {
    let checked = args.plan.open(Purpose::Connect).await?;
    let plan = checked.resolved.document.name.clone();
    let (journal, unseen) = session::journal(checked).await?;
    if let Some(error) = unseen {
        failed(&error);
        console::note("showing only this machine's journal:");
    }
    match args.format {
        Format::Human => {
            ui::journal::show(&plan, &journal.entries(), &journal.open_intents());
            ui::journal::show_signer(journal.signer());
        }
        Format::Json => ui::journal::json(&plan, &journal.entries(), journal.signer()),
    }
    if let Err(doubt) = journal.require_believed() {
        ui::error::show(&doubt);
    }
    Ok(Outcome::Done)
}

async fn adopt(args: &JournalArgs) -> Result<Outcome, session::Error> {
    let adoption = Adoption::look(args.plan.open(Purpose::Connect).await?, &args.lock.wait()).await?;
    if adoption.is_needless() {
        console::out("nothing to adopt: it is signed with a key that this machine has");
        return Ok(Outcome::Done);
    }
    ui::journal::show_claims(&adoption.journal().entries(), &adoption.things());
    ui::custody::show_unvouched(&adoption.objects);
    if let Some(doubt) = &adoption.doubt {
        console::note(doubt);
    }
    if !agreed(args, &adoption.plan) {
        console::note("nothing was changed");
        return Ok(Outcome::Failed);
    }
    let signer = adoption.vouch().await?;
    console::out(format_args!("adopted: signed with the key {signer}"));
    Ok(Outcome::Done)
}

fn agreed(args: &JournalArgs, plan: &str) -> bool {
    let question = format_args!(
        "All of this counts as this plan's from now on. To vouch for it, type the plan's name, {plan}: "
    );
    args.yes || console::can_ask("adopt") && console::ask_for(question, plan)
}
