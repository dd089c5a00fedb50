//! `groundwork status`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::lock_args::duration;
use super::plan_args::PlanArgs;
use super::{Outcome, failed, permission, whole_file};
use crate::console;
use crate::event::Events;
use crate::session::{self, Purpose};
use crate::status::{self, Limits, Options, Report, Severity};
use crate::ui;

/// Show how the environment stands: servers, keys, custody, backups, what is due, locks, open requests, drift.
/// Nothing is changed, and no failure stops the rest. Exit codes: 0 healthy; 1 something is broken; 3 something
/// needs attention; 4 an outcome is unknown and needs a person.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: View,
    /// Write metrics to this file too, for the textfile collector of Prometheus's node exporter; it appears whole
    /// or not at all
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
    /// Do not compare the plan with the live systems, which takes longest; dates of secrets and keys are then not
    /// known
    #[arg(long)]
    no_drift: bool,
    /// Open the newest backup of each generation of key shares with the keys at hand, which fetches it
    #[arg(long)]
    prove_backups: bool,
    /// How long each part may take; the comparison and the backups that are opened may take four times as long
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15s")]
    timeout: Duration,
    /// How old the newest proven backup may be [default: `rpo` of the plan's `recovery:` section, else 26h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_backup_age: Option<Duration>,
    /// How long ago the last drill may be
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "90d")]
    max_drill_age: Duration,
    /// How old an access key may become
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "90d")]
    max_key_age: Duration,
    /// How long before its date something needs attention
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "14d")]
    due_within: Duration,
}

/// How the status is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum View {
    /// For people
    #[default]
    Human,
    /// For programs
    Json,
    /// Metrics, in the text format of Prometheus
    Prometheus,
}

/// Asks and shows.
pub async fn run(args: StatusArgs) -> Outcome {
    status(args).await.unwrap_or_else(|error| failed(&error))
}

async fn status(mut args: StatusArgs) -> Result<Outcome, session::Error> {
    let checked = args.plan.check()?;
    let allowed = permission::ask(&checked, Purpose::Connect).await;
    args.plan.allow(allowed);
    let limits = Limits {
        backup_age: args.max_backup_age,
        drill_age: args.max_drill_age,
        key_age: args.max_key_age,
        due_within: args.due_within,
    };
    let options = Options { limit: args.timeout, drift: !args.no_drift, prove: args.prove_backups, limits };
    let (events, receiver) = Events::channel();
    let display = ui::progress::quiet(receiver, args.format == View::Human);
    let report = status::gather(&|| args.plan.check(), options, &events).await;
    drop(events);
    display.finish().await;
    let report = report?;
    match args.format {
        View::Human => console::out(ui::status::human(&report)),
        View::Json => console::json(&ui::status::json(&report)),
        View::Prometheus => console::out(ui::status::prometheus(&report).trim_end()),
    }
    if let Some(file) = &args.prometheus {
        whole_file::put(file, &ui::status::prometheus(&report))?;
    }
    Ok(outcome(&report))
}

fn outcome(report: &Report) -> Outcome {
    match report.worst() {
        None => Outcome::Done,
        Some(Severity::Attention) => Outcome::Stuck,
        Some(Severity::Broken) => Outcome::Failed,
        Some(Severity::Unknown) => Outcome::Unknown,
    }
}
