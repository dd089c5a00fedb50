//! `groundwork unlock`

use clap::Args;

use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::console;
use crate::session::{self, Purpose};

/// Take away the lock of a run that is dead.
#[derive(Debug, Args)]
pub struct UnlockArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// The lock's exact id, as the refused run reported it
    #[arg(long, value_name = "ID")]
    id: String,
}

/// Takes the lock away, if it is the one that was named.
pub async fn run(args: UnlockArgs) -> Outcome {
    match unlock(&args).await {
        Ok(Some(holder)) => console::out(format_args!("unlocked; it was held by {holder}")),
        Ok(None) => console::out("there is no lock"),
        Err(error) => return failed(&error),
    }
    Outcome::Done
}

async fn unlock(args: &UnlockArgs) -> Result<Option<String>, session::Error> {
    session::unlock(args.plan.open(Purpose::Connect).await?, &args.id).await
}
