//! `groundwork destroy`

use clap::Args;

use super::Outcome;
use super::apply::{self, ApplyArgs};
use super::lock_args::LockArgs;
use super::plan::Format;
use super::plan_args::PlanArgs;
use crate::changeset::RemovalScope;
use crate::console;
use crate::saved;
use crate::session::PARALLELISM;

/// Remove everything that a plan has made, after showing it and asking.
#[derive(Debug, Args)]
pub struct DestroyArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// A complete teardown: also what is protected, and at the end custody, the journal with its copy, and the
    /// lock, with what they are in. Things that others have put there stay
    #[arg(long)]
    everything: bool,
    /// With `--everything`, without a terminal: the plan's name
    #[arg(long, value_name = "NAME", requires = "everything")]
    confirm: Option<String>,
    #[command(flatten)]
    lock: LockArgs,
    /// How to report: text, or one JSON event a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// How many things are removed at the same time
    #[arg(long, value_name = "N", default_value_t = PARALLELISM)]
    parallelism: usize,
}

/// Removes the things that the plan has made. After an interruption it can run again: it skips things
/// that are gone.
pub async fn run(args: DestroyArgs) -> Outcome {
    let DestroyArgs { plan, yes, everything, confirm, lock, format, parallelism } = args;
    if saved::is_saved(&plan.plan) {
        console::note("error: `destroy` takes a plan; `apply` carries out what `plan --destroy --out` saved");
        return Outcome::Usage;
    }
    let extent = if everything { RemovalScope::Teardown } else { RemovalScope::Everything };
    let plan = plan.with_extent(extent);
    apply::run(ApplyArgs::new(plan, yes, lock, format, parallelism).confirmed(confirm)).await
}
