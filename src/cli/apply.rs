//! `groundwork apply`

use std::io::IsTerminal;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::plan::{Format, prepare};
use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::apply::{Approved, Options};
use crate::changeset::{Action, Changeset};
use crate::event::Events;
use crate::session::{self, PARALLELISM, Session};
use crate::ui;

/// Show what will change, ask, and do it.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// How to report: text, or one JSON event a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// How many steps are written at the same time
    #[arg(long, value_name = "N", default_value_t = PARALLELISM)]
    parallelism: usize,
}

/// Applies the plan. What was deferred because something was not there yet is planned again, and
/// asked for again, as long as each round gets something done.
pub async fn run(args: ApplyArgs) -> Outcome {
    if args.format == Format::Json && !args.yes {
        ui::console::note("error: --format json does not ask: add --yes");
        return Outcome::Usage;
    }
    loop {
        match round(&args).await {
            Ok(Round::Again) => {}
            Ok(Round::Ended(outcome)) => return outcome,
            Err(error) => return failed(&error),
        }
    }
}

enum Round {
    /// Something was done, and something that was deferred may be possible now.
    Again,
    Ended(Outcome),
}

async fn round(args: &ApplyArgs) -> Result<Round, session::Error> {
    let (mut session, changeset) = prepare(&args.plan, args.parallelism, args.format).await?;
    if args.format == Format::Human {
        ui::changeset::show(&changeset, &session.world.scope, false);
    }
    if changeset.summary.writing() > 0 && !approve(args, &changeset) {
        return Ok(Round::Ended(Outcome::Failed));
    }
    let report = write(args, &mut session, &changeset).await?;
    let outcome = Outcome::of_apply(&session.world, &report, &changeset.summary);
    let deferred = changeset.steps.iter().any(|step| step.action == Action::Deferred);
    if outcome == Outcome::Stuck && deferred && !report.done.is_empty() {
        return Ok(Round::Again);
    }
    Ok(Round::Ended(outcome))
}

fn approve(args: &ApplyArgs, changeset: &Changeset) -> bool {
    if args.yes {
        return true;
    }
    if !std::io::stdin().is_terminal() {
        ui::console::note(
            "error: nobody to ask, standard input is no terminal: add --yes to apply without asking",
        );
        return false;
    }
    let agreed =
        ui::console::ask(format_args!("Apply these {} changes? [y/N] ", changeset.summary.writing()));
    if !agreed {
        ui::console::note("nothing was changed");
    }
    agreed
}

async fn write(
    args: &ApplyArgs,
    session: &mut Session,
    changeset: &Changeset,
) -> Result<crate::apply::Report, session::Error> {
    let (events, receiver) = Events::channel();
    let progress = match args.format {
        Format::Human => ui::progress::apply(receiver, changeset.summary.writing()),
        Format::Json => ui::progress::json(receiver),
    };
    let (stop, stopped) = watch::channel(false);
    let options = Options { parallelism: args.parallelism.max(1), stop: stopped };
    let result = {
        let work = session.apply(Approved::by_caller(changeset), &options, &events);
        tokio::pin!(work);
        let interrupts = interrupts(&stop, &events);
        tokio::select! {
            result = &mut work => Some(result),
            () = interrupts => None,
        }
    };
    drop(events);
    progress.finish().await;
    result.unwrap_or_else(|| {
        let message = "stopped at once; requests that were under way may or may not have taken effect";
        Err(crate::resource::Error::new(crate::resource::ErrorKind::Unknown, "apply", message)
            .advice("run `groundwork plan` to see what is there, and apply again")
            .into())
    })
}

/// The first interrupt lets running steps finish and starts no others; the second ends the wait.
async fn interrupts(stop: &watch::Sender<bool>, events: &Events) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    for round in 0..2 {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if round == 0 {
            // Nobody listening any more means that the work has ended.
            let _ = stop.send(true);
            events.warn(
                "stopping: what is running is finished, nothing new is started; once more to stop at once",
            );
        }
    }
}
