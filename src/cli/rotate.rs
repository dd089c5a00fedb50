//! `groundwork rotate`

use clap::Args;

use super::lock_args::LockArgs;
use super::plan_args::PlanArgs;
use super::rotate_keys::{self, KeyArgs};
use super::{Outcome, failed};

/// Replace keys that are in use: those of Vault's cluster itself.
#[derive(Debug, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    keys: KeyArgs,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    lock: LockArgs,
}

/// Shows, asks, rotates.
pub async fn run(args: RotateArgs) -> Outcome {
    let how = rotate_keys::How { plan: &args.plan, lock: &args.lock, yes: args.yes, dry_run: args.dry_run };
    rotate_keys::run(&args.keys, &how).await.unwrap_or_else(|error| failed(&error))
}
