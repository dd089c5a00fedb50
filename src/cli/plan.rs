//! `groundwork plan`

use clap::{Args, ValueEnum};

use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::changeset::Changeset;
use crate::event::Events;
use crate::plan::Diagnostics;
use crate::review::Review;
use crate::session::{self, Checked, PARALLELISM, Session};
use crate::ui;

/// Show what would change; write nothing.
#[derive(Debug, Args)]
pub struct PlanCommand {
    #[command(flatten)]
    plan: PlanArgs,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: View,
    /// Exit with 2 when there are changes
    #[arg(long)]
    detailed_exitcode: bool,
    /// Show steps that are as declared too
    #[arg(long)]
    all: bool,
    /// How many things are read at the same time
    #[arg(long, value_name = "N", default_value_t = PARALLELISM)]
    parallelism: usize,
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
    /// Whether there is somebody to tell how it is going.
    fn progress(self) -> Format {
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
pub async fn run(args: PlanCommand) -> Outcome {
    match prepare(&args.plan, args.parallelism, args.format.progress()).await {
        Ok((session, changeset)) => {
            let review = Review::new(&changeset, &session.world.scope);
            match args.format {
                View::Human => ui::changeset::show(&changeset, &session.world.scope, args.all),
                View::Json => ui::console::json(&review.json()),
                View::Markdown => ui::console::out(ui::changeset::markdown(&review).trim_end()),
                View::Html => ui::console::out(ui::changeset::html(&review)),
            }
            Outcome::of_plan(&session.world, &changeset.summary, args.detailed_exitcode)
        }
        Err(error) => failed(&error),
    }
}

/// Checks the plan, observes the live systems and compares.
pub async fn prepare(
    args: &PlanArgs,
    parallelism: usize,
    format: Format,
) -> Result<(Session, Changeset), session::Error> {
    prepare_with(args, parallelism, format, false).await
}

/// As [`prepare`], as the only run of the plan on this machine.
pub async fn prepare_alone(
    args: &PlanArgs,
    parallelism: usize,
    format: Format,
) -> Result<(Session, Changeset), session::Error> {
    prepare_with(args, parallelism, format, true).await
}

async fn prepare_with(
    args: &PlanArgs,
    parallelism: usize,
    format: Format,
    alone: bool,
) -> Result<(Session, Changeset), session::Error> {
    let checked = args.check()?;
    warn(&checked, format);
    let (events, receiver) = Events::channel();
    let progress = ui::progress::quiet(receiver, format == Format::Human);
    let observed = match alone {
        true => Session::observe_alone(checked, parallelism.max(1), &events).await,
        false => Session::observe(checked, parallelism.max(1), &events).await,
    };
    drop(events);
    progress.finish().await;
    let mut session = observed?;
    let changeset = session.compare()?;
    Ok((session, changeset))
}

fn warn(checked: &Checked, format: Format) {
    if format == Format::Human {
        let sources = checked.resolved.document.sources.clone();
        ui::diagnostics::show(&Diagnostics::new(sources, checked.warnings.clone()));
    }
}
