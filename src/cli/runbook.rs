//! `groundwork runbook`

use std::path::PathBuf;

use clap::{Args, CommandFactory, ValueEnum};

use super::plan_args::PlanArgs;
use super::{Cli, ENVIRONMENT, Outcome, failed, whole_file};
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::runbook::{Facts, Made, markdown};
use crate::saved::time_of_creation;
use crate::session;
use crate::ui;

/// Write the procedures for this environment's bad days, to print and to pin up: a node is lost, the cluster is
/// sealed, a holder left, a key is gone. They are made of the plan; no system is asked and nothing is changed.
#[derive(Debug, Args)]
pub struct RunbookArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// How to write it
    #[arg(long, value_enum, default_value_t)]
    format: View,
    /// Write it to this file, and over an older one
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// How the page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum View {
    /// Text with Markdown's marks
    #[default]
    Markdown,
    /// One page for a browser, which prints well on A4
    Html,
}

/// Writes the page.
pub fn run(args: &RunbookArgs) -> Outcome {
    write(args).unwrap_or_else(|error| failed(&error))
}

fn write(args: &RunbookArgs) -> Result<Outcome, session::Error> {
    let checked = args.plan.check()?;
    let commands = Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let facts = Facts::of(&checked, Made { at: time_of_creation(&ENVIRONMENT)?, commands })?;
    let page = markdown(&facts)
        .map_err(|error| Error::new(ErrorKind::Local, "write the runbook", format!("{error:#}")))?;
    let page = match args.format {
        View::Markdown => page,
        View::Html => ui::runbook::html(&page),
    };
    match &args.out {
        None => console::out(page.trim_end()),
        Some(file) => {
            whole_file::put(file, &page)?;
            console::note(format_args!("written to {}", file.display()));
        }
    }
    Ok(Outcome::Done)
}
