//! `groundwork plan`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::lock_args::LockArgs;
use super::plan_args::PlanArgs;
use super::select_args::SelectArgs;
use super::signals::Signals;
use super::{ENVIRONMENT, Outcome, failed};
use crate::changeset::{Changeset, RemovalScope};
use crate::console;
use crate::event::Events;
use crate::plan::Diagnostics;
use crate::review::Review;
use crate::saved::{self, Saved, SealKey};
use crate::session::{self, Checked, PARALLELISM, Purpose, Session};
use crate::ui;

/// Show what would change; write nothing.
#[derive(Debug, Args)]
pub struct PlanCommand {
    #[command(flatten)]
    pub(super) plan: PlanArgs,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: View,
    /// Exit with 2 when there are changes
    #[arg(long)]
    detailed_exitcode: bool,
    /// Remove things of this plan that are no longer declared
    #[arg(long)]
    prune: bool,
    /// Show what `destroy` would remove
    #[arg(long, conflicts_with_all = ["prune", "targets", "replaces"])]
    destroy: bool,
    /// With `--destroy`: show what `destroy --everything` would remove
    #[arg(long, requires = "destroy")]
    everything: bool,
    #[command(flatten)]
    select: SelectArgs,
    /// Save the changes in FILE, to be applied as they are with `apply FILE`. It holds no secret
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Fail when a step cannot be planned completely, instead of leaving it for later
    #[arg(long)]
    strict: bool,
    /// Show steps that are as declared too
    #[arg(long)]
    pub(super) all: bool,
    /// Plan every stage, and show them side by side: what is to be done in each, and the declared values that
    /// differ
    #[arg(long, conflicts_with_all = ["stage", "out", "destroy", "full", "strict"])]
    all_stages: bool,
    /// Show each step by itself, also those that differ only in their name
    #[arg(long)]
    full: bool,
    /// How many things are read at the same time
    #[arg(long, value_name = "N", default_value_t = PARALLELISM)]
    pub(super) parallelism: usize,
}

/// How a changeset is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// For people, on a terminal
    #[default]
    Human,
    /// For programs
    Json,
    /// For a comment of a pull request; begins with a marker by which it can be found again
    Markdown,
    /// One page for a browser, with everything in it
    Html,
}

impl View {
    /// The format of progress: text for a person, JSON otherwise.
    pub(super) fn progress(self) -> Format {
        if self == Self::Human { Format::Human } else { Format::Json }
    }
}

/// An output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Human,
    /// For programs
    Json,
}

/// Observes, compares, shows.
pub async fn run(mut args: PlanCommand) -> Outcome {
    let selection = args.select.selection();
    args.plan = args.plan.with_selection(selection).with_extent(match (args.prune, args.destroy) {
        (_, true) if args.everything => RemovalScope::Teardown,
        (_, true) => RemovalScope::Everything,
        (true, false) => RemovalScope::Undeclared,
        (false, false) => RemovalScope::Nothing,
    });
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failed(&error.into()),
    };
    if args.all_stages && args.format == View::Html {
        console::note("error: `--all-stages` has no HTML form: use `--format markdown` or `json`");
        return Outcome::Usage;
    }
    let shown = async {
        match args.all_stages {
            true => super::stages::compare(&args).await,
            false => review(&args).await,
        }
    };
    tokio::select! {
        outcome = shown => outcome.unwrap_or_else(|error| failed(&error)),
        () = signals.next() => {
            console::note("\nstopped; nothing was changed");
            Outcome::Failed
        }
    }
}

async fn review(args: &PlanCommand) -> Result<Outcome, session::Error> {
    let (session, changeset) = prepare(&args.plan, args.parallelism, args.format.progress()).await?;
    let place = session.world.whereabouts.as_deref();
    let show = if args.full { Review::in_full } else { Review::new };
    let review = show(&changeset, session.world.resolved.registry, place);
    match args.format {
        View::Human => ui::changeset::show(&review, args.all || args.destroy),
        View::Json => console::json(&review.json()),
        View::Markdown => console::out(ui::changeset::markdown(&review).trim_end()),
        View::Html => console::out(ui::changeset::html(&review)),
    }
    if args.strict {
        session.require_complete(&changeset)?;
    }
    if let Some(file) = &args.out {
        save(file, args, &session, &changeset)?;
    }
    Ok(args.outcome(&session, &changeset))
}

impl PlanCommand {
    /// How the plan ended.
    pub(super) fn outcome(&self, session: &Session, changeset: &Changeset) -> Outcome {
        let outcome = Outcome::of_plan(&session.world, &changeset.summary, self.detailed_exitcode);
        let whole = session.gaps.is_empty() || outcome == Outcome::Unknown;
        if whole { outcome } else { Outcome::Stuck }
    }
}

fn save(
    file: &Path,
    args: &PlanCommand,
    session: &Session,
    changeset: &Changeset,
) -> Result<(), session::Error> {
    let key = SealKey::of_caller(&ENVIRONMENT)?;
    let saved = Saved::now(session.record(changeset, &args.plan.origin()?), key.as_ref(), &ENVIRONMENT)?;
    saved::write(file, &saved)?;
    console::note(format_args!("saved in {} ({})", file.display(), saved.digest));
    Ok(())
}

/// Checks the plan, observes the live systems and compares.
pub async fn compare(
    args: &PlanArgs,
    parallelism: usize,
    format: Format,
) -> Result<(Session, Changeset), session::Error> {
    compare_with(args.open(Purpose::Everything).await?, parallelism, format, None).await
}

/// The same, with all that a review of the changeset shows.
pub async fn prepare(
    args: &PlanArgs,
    parallelism: usize,
    format: Format,
) -> Result<(Session, Changeset), session::Error> {
    Ok(for_review(compare(args, parallelism, format).await?).await)
}

/// The same for a plan that has been checked, as its only run on this machine.
pub async fn prepare_alone(
    checked: Checked,
    parallelism: usize,
    format: Format,
    lock: LockArgs,
) -> Result<(Session, Changeset), session::Error> {
    Ok(for_review(compare_with(checked, parallelism, format, Some(lock)).await?).await)
}

/// Adds all that a review of the changeset shows.
pub(super) async fn for_review((session, mut changeset): (Session, Changeset)) -> (Session, Changeset) {
    session.compare_access(&mut changeset);
    changeset.lacking = session.lacking(&changeset).await;
    (session, changeset)
}

async fn compare_with(
    checked: Checked,
    parallelism: usize,
    format: Format,
    alone: Option<LockArgs>,
) -> Result<(Session, Changeset), session::Error> {
    let mut session = observed(checked, parallelism, format, alone).await?;
    let changeset = session.compare().await?;
    Ok((session, changeset))
}

/// Observes the live systems, as the plan's only run on this machine where a lock is asked for.
pub(super) async fn observed(
    checked: Checked,
    parallelism: usize,
    format: Format,
    alone: Option<LockArgs>,
) -> Result<Session, session::Error> {
    warn(&checked, format);
    let (events, receiver) = Events::channel();
    let progress = ui::progress::quiet(receiver, format == Format::Human);
    let observed = match alone {
        Some(lock) => Session::observe_alone(checked, parallelism.max(1), lock.limit(), &events).await,
        None => Session::observe(checked, parallelism.max(1), &events).await,
    };
    drop(events);
    progress.finish().await;
    observed
}

fn warn(checked: &Checked, format: Format) {
    if format == Format::Human {
        let sources = checked.resolved.document.sources.clone();
        ui::diagnostics::show(&Diagnostics::new(sources, checked.warnings.clone()));
    }
}
