//! `groundwork verify`

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use tokio::sync::watch;

use super::plan::{Format, compare};
use super::plan_args::PlanArgs;
use super::signals::Signals;
use super::{ENVIRONMENT, Outcome, failed};
use crate::apply::by_command;
use crate::confined_path::{KEY, read_caller_file};
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::event::Events;
use crate::secret::Secret;
use crate::session::{self, PARALLELISM};
use crate::ui;
use crate::verify::{self, Options, Report};

/// Prove that the plan's things work. Everything that a proof makes ends by itself and is removed at once:
/// tokens, secret-ids, certificates, database users. Exit codes: 0 everything is proven, 1 something fails,
/// 3 something could not be tried.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Only these steps; the name of a repeated step means all of its instances
    #[arg(value_name = "ID")]
    steps: Vec<String>,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: View,
    /// A credential to log in with as the role of a step: a file with a JWT, a password, or a certificate with
    /// its key in PEM; or `env:NAME` for a variable that has it. May be repeated
    #[arg(long = "credential", value_name = "ID=FILE")]
    credentials: Vec<Credential>,
    /// Measure too how fast secrets are read, for five seconds at most, against `vault.service` of the plan
    #[arg(long)]
    load: bool,
    /// How many things are read and tried at the same time
    #[arg(long, value_name = "N", default_value_t = PARALLELISM)]
    parallelism: usize,
}

impl VerifyArgs {
    /// For all of a plan, shown to people.
    pub(super) fn of_plan(plan: PlanArgs) -> Self {
        Self {
            plan,
            steps: Vec::new(),
            format: View::Human,
            credentials: Vec::new(),
            load: false,
            parallelism: PARALLELISM,
        }
    }
}

/// How the findings are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum View {
    /// For people
    #[default]
    Human,
    /// For programs
    Json,
    /// For CI systems, which show it beside their tests
    Junit,
    /// For a comment of a pull request
    Markdown,
}

/// Where a credential is.
#[derive(Clone, Debug)]
struct Credential {
    step: String,
    place: String,
}

impl FromStr for Credential {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((step, place)) if !step.is_empty() && !place.is_empty() => {
                Ok(Self { step: step.to_owned(), place: place.to_owned() })
            }
            _ => Err("write ID=FILE or ID=env:NAME".to_owned()),
        }
    }
}

impl Credential {
    /// Reads it; a line end after it is not part of it.
    fn read(&self) -> Result<Secret, Error> {
        let wrong = |why: String| {
            Error::new(ErrorKind::Local, format!("read the credential of {}", self.step), why)
                .advice("name a file that you can read, or `env:NAME` with a variable that is set")
        };
        let mut bytes = match self.place.strip_prefix("env:") {
            Some(name) => {
                let value = ENVIRONMENT.text(name);
                value.ok_or_else(|| wrong(format!("the variable {name} is not set")))?.as_bytes().to_vec()
            }
            None => read_caller_file(Path::new(&self.place), KEY)
                .map_err(|error| wrong(format!("{}: {error}", self.place)))?,
        };
        while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            bytes.pop();
        }
        match bytes.is_empty() {
            true => Err(wrong("it is empty".to_owned())),
            false => Ok(Secret::new(bytes)),
        }
    }
}

/// Observes, tries, shows.
pub async fn run(args: VerifyArgs) -> Outcome {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failed(&error.into()),
    };
    carry_out(&args, &mut signals).await.unwrap_or_else(|error| failed(&error))
}

async fn carry_out(args: &VerifyArgs, signals: &mut Signals) -> Result<Outcome, session::Error> {
    let mut credentials = BTreeMap::new();
    for credential in &args.credentials {
        credentials.insert(credential.step.clone(), credential.read()?);
    }
    let progress = if args.format == View::Human { Format::Human } else { Format::Json };
    let (session, changeset) = tokio::select! {
        compared = compare(&args.plan, args.parallelism, progress) => compared?,
        () = signals.next() => {
            console::note("\nstopped; nothing was tried");
            return Ok(Outcome::Failed);
        }
    };
    let (stop, stopped) = watch::channel(false);
    let (parallelism, only) = (args.parallelism.max(1), args.steps.clone());
    let options = Options { parallelism, only, load: args.load, credentials, stop: stopped };
    let unknown = verify::unknown_steps(&session.world, &options);
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        console::note(format_args!(
            "error: the plan has no step {names}; `groundwork graph PLAN` lists them"
        ));
        return Ok(Outcome::Usage);
    }
    let (events, receiver) = Events::channel();
    let display = ui::progress::quiet(receiver, args.format == View::Human);
    let verified = verify::verify(&session.world, &changeset, &session.run, by_command(), options, &events);
    let report = {
        futures::pin_mut!(verified);
        tokio::select! {
            report = &mut verified => report,
            () = signals.next() => {
                events.warn("stopping: what is being tried is finished, and what it made is removed");
                // Without a receiver the work has already ended.
                let _ = stop.send(true);
                verified.await
            }
        }
    };
    session::tell_warnings(&session.run, &|warning| events.warn(warning));
    drop(events);
    display.finish().await;
    show(args.format, &report);
    Ok(outcome(&report))
}

fn show(format: View, report: &Report) {
    match format {
        View::Human => console::out(ui::verify::human(report)),
        View::Json => console::json(&ui::verify::json(report)),
        View::Junit => console::out(ui::verify::junit(report)),
        View::Markdown => console::out(ui::verify::markdown(report).trim_end()),
    }
}

fn outcome(report: &Report) -> Outcome {
    match report.totals() {
        totals if totals.failed > 0 || report.stopped => Outcome::Failed,
        totals if totals.untried > 0 => Outcome::Stuck,
        _ => Outcome::Done,
    }
}
