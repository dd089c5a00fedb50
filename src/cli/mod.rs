//! The command line: one file per subcommand.

mod access;
mod answer;
mod apply;
mod backup;
mod break_glass;
mod child;
mod completions;
mod custody;
mod destroy;
mod drill;
mod exit_code;
mod explain;
mod graph;
mod init;
mod journal;
mod lock_args;
mod login;
mod new_nodes;
mod notify;
mod permission;
mod permissions;
mod plan;
mod plan_args;
mod rebuild;
mod restart;
mod restore;
mod rotate;
mod rotate_keys;
mod runbook;
mod sandbox;
mod schema;
mod select_args;
mod signals;
mod stages;
mod status;
mod trust;
mod unlock;
mod unseal;
mod validate;
mod verify;
mod whole_file;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};

pub use exit_code::Outcome;

use crate::console;
use crate::environment::Environment;
use crate::error::ErrorKind;
use crate::hygiene;
use crate::prompt;
use crate::session;
use crate::trace;
use crate::ui;

/// The environment, which is read once.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(Environment::of_process);

/// Where the guide has a chapter about a command.
macro_rules! guide {
    ($page:literal) => {
        concat!("Guide: docs/guide/src/", $page, ".md")
    };
}

/// The description of the environment's variables in `--help`.
const VARIABLES: &str = "\
Environment variables:
  AWS_*, VAULT_ADDR, VAULT_TOKEN, VAULT_CACERT, VAULT_NAMESPACE
          As the AWS and Vault command lines have them
  GROUNDWORK_STAGE
          The stage of a plan that has stages, where --stage does not say it
  GROUNDWORK_AGE_IDENTITY
          The file with the age identity that opens custody
  GROUNDWORK_SEAL_KEY
          The file with the key that seals saved changesets [default: seal.key in the folder of the
          configuration]
  GROUNDWORK_TRUST
          What every plan may use: SUBJECT=VALUE, separated by commas, as --trust takes it.
          The servers of VAULT_ADDR and the profile of AWS_PROFILE are allowed already
  GROUNDWORK_CONFIG_DIR
          Where `groundwork trust` remembers answers and the plans' signing keys are;
          default: ~/.config/groundwork
  GROUNDWORK_SIGNING_KEY
          The file with the plan's signing key, where no configuration folder outlives a run
  GROUNDWORK_ALLOW_ENDPOINT=1
          Allow an AWS endpoint that is neither Amazon's nor on this machine, and a Vault that is
          reached over the network without encryption

Guide: docs/guide/src/first-hour.md, or as pages for a browser with `make guide`";

/// Bootstraps an environment's AWS account and Vault from one plan file, and rebuilds it after a
/// disaster.
#[derive(Debug, Parser)]
#[command(name = "groundwork", version, about, max_term_width = 100, subcommand_required = true,
    after_help = guide!("first-hour"), after_long_help = VARIABLES)]
pub struct Cli {
    /// Report every request to AWS and Vault on standard error: what, how it ended, how long it took,
    /// the request's id; never a body, a header or a token
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented starter plan and its templates
    #[command(after_help = guide!("first-hour"))]
    Init(init::InitArgs),
    /// Check everything about a plan that needs no network
    #[command(after_help = guide!("policies"))]
    Validate(validate::ValidateArgs),
    /// Show what would change; write nothing
    #[command(after_help = guide!("ci"))]
    Plan(plan::PlanCommand),
    /// Show what will change, ask, and do it
    #[command(after_help = guide!("changing"))]
    Apply(apply::ApplyArgs),
    /// Show who can reach what, in AWS and in Vault, with the policy that says so
    #[command(after_help = guide!("access"))]
    Access(access::AccessArgs),
    /// Remove everything that a plan has made, after showing it and asking
    #[command(after_help = guide!("teardown"))]
    Destroy(destroy::DestroyArgs),
    /// Prove that everything works: log in, read, be refused, encrypt, issue; and clean up
    #[command(after_help = guide!("proving"))]
    Verify(verify::VerifyArgs),
    /// Show how it stands now: servers, keys, custody, backups, what is due, locks, drift
    #[command(after_help = guide!("standing"))]
    Status(status::StatusArgs),
    /// Write the procedures for this environment's bad days, to print
    #[command(after_help = guide!("runbook"))]
    Runbook(runbook::RunbookArgs),
    /// Show what was done, when, by whom: the record of all runs of a plan
    #[command(after_help = guide!("journals-and-locks"))]
    Journal(journal::JournalArgs),
    /// Take away the lock of a run that is dead
    #[command(after_help = guide!("journals-and-locks"))]
    Unlock(unlock::UnlockArgs),
    /// Show what a plan wants to use of yours, ask, and remember the answers outside of its folder
    #[command(after_help = guide!("trust"))]
    Trust(trust::TrustArgs),
    /// Log in to Vault as the plan's admin, run a command, and revoke the token
    #[command(after_help = guide!("first-hour"))]
    Login(login::LoginArgs),
    /// Get in when everything else fails: a quorum of key shares, a reason, and an access that ends by itself
    #[command(after_help = guide!("break-glass"))]
    BreakGlass(break_glass::BreakGlassArgs),
    /// Give a key share to a person who breaks glass on another machine
    #[command(after_help = guide!("break-glass"))]
    Answer(answer::AnswerArgs),
    /// Unseal every node, from custody or with shares that people enter
    #[command(after_help = guide!("custody"))]
    Unseal(unseal::UnsealArgs),
    /// Take a backup of Vault, prove it, and store it where the plan says; or prove one that was taken
    #[command(after_help = guide!("backup"))]
    Backup(Box<backup::BackupArgs>),
    /// Restore a backup of Vault into the plan's cluster, after showing what that changes; or bring one secret back
    #[command(after_help = guide!("backup"))]
    Restore(restore::RestoreArgs),
    /// Rehearse a recovery with the real backup and the real key shares, measured, apart from everything else
    #[command(after_help = guide!("rehearsing"))]
    Drill(drill::DrillArgs),
    /// Rebuild everything that a plan declares, with the data of a backup, from whatever is still there
    #[command(after_help = guide!("rebuilding"))]
    Rebuild(rebuild::RebuildArgs),
    /// Give secrets in use new values: access keys, secret-ids, generated secrets, keys of engines
    #[command(after_help = guide!("rotating"))]
    Rotate(rotate::RotateArgs),
    /// Restart the servers of Vault one after the other, the active one last; or show the order
    Restart(restart::RestartArgs),
    /// Check, list and export the copies that are kept of once-only secrets
    #[command(after_help = guide!("custody"))]
    Custody(custody::CustodyArgs),
    /// Show the least policies of AWS and Vault, and roles of Kubernetes, with which a command can run on a plan
    #[command(after_help = guide!("ci"))]
    Permissions(permissions::PermissionsArgs),
    /// Draw the steps of a plan and what each needs
    Graph(graph::GraphArgs),
    /// Describe the kinds of steps, the sections of a plan, and the rules of `validate`
    #[command(after_help = guide!("sections"))]
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of plan files, for editors
    Schema(schema::SchemaArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// A local AWS and Vault, for rehearsal
    #[command(after_help = guide!("first-hour"))]
    Sandbox(sandbox::SandboxArgs),
}

impl Command {
    /// Whether secrets come into this process's memory.
    fn sees_secrets(&self) -> bool {
        !matches!(
            self,
            Self::Init(_) | Self::Explain(_) | Self::Schema(_) | Self::Completions(_) | Self::Sandbox(_)
        )
    }
}

/// Parses the command line and runs the command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return whole(usage(&error)),
    };
    if cli.verbose {
        trace::observe_with(ui::trace::show);
    }
    whole(dispatch(cli.command))
}

/// The exit code: a script must not take a part of the results for all of them.
fn whole(ended: ExitCode) -> ExitCode {
    if console::has_lost_results() && ended == ExitCode::SUCCESS { Outcome::Failed.into() } else { ended }
}

/// Help and version are results; everything else is a mistake on the command line.
fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render();
    if error.use_stderr() {
        console::note(text.ansi());
        return Outcome::Usage.into();
    }
    console::out(text.ansi());
    Outcome::Done.into()
}

fn dispatch(command: Command) -> ExitCode {
    if command.sees_secrets() {
        hygiene::keep_memory_private();
    }
    let outcome = match command {
        Command::Init(args) => init::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Runbook(args) => runbook::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Permissions(args) => permissions::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Plan(args) => block_on(plan::run(args)),
        Command::Apply(args) => block_on(apply::run(args)),
        Command::Access(args) => block_on(ending_on_signal(access::run(args))),
        Command::Destroy(args) => block_on(destroy::run(args)),
        Command::Verify(args) => block_on(verify::run(args)),
        Command::Status(args) => block_on(ending_on_signal(status::run(args))),
        Command::Journal(args) => block_on(ending_on_signal(journal::run(args))),
        Command::Unlock(args) => block_on(ending_on_signal(unlock::run(args))),
        Command::Trust(args) => block_on(ending_on_signal(trust::run(args))),
        Command::Login(args) => return block_on(login::run(args)),
        Command::BreakGlass(args) => return block_on(break_glass::run(args)),
        Command::Answer(args) => block_on(ending_on_signal(answer::run(args))),
        Command::Unseal(args) => block_on(ending_on_signal(unseal::run(args))),
        Command::Backup(args) => block_on(ending_on_signal(backup::run(*args))),
        Command::Restore(args) => block_on(restore::run(args)),
        Command::Drill(args) => block_on(drill::run(args)),
        Command::Rebuild(args) => block_on(rebuild::run(args)),
        Command::Rotate(args) => block_on(rotate::run(args)),
        Command::Restart(args) => block_on(restart::run(args)),
        Command::Custody(args) => block_on(ending_on_signal(custody::run(args))),
        Command::Sandbox(args) => return block_on(in_sandbox(args)),
    };
    outcome.into()
}

/// The sandbox ends with the exit code of the command that ran in it.
async fn in_sandbox(args: sandbox::SandboxArgs) -> ExitCode {
    sandbox::run(args).await.unwrap_or_else(|error| {
        ui::error::show_plain(&error);
        Outcome::Failed.into()
    })
}

/// Runs a command that talks to servers; the others start faster without this.
fn block_on<T: From<Outcome>>(future: impl Future<Output = T>) -> T {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(future);
            // A thread that waits for an answer on the terminal must not keep the program.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => {
            console::note(format_args!("error: cannot start: {error}"));
            Outcome::Failed.into()
        }
    }
}

/// Runs a command that leaves signals to the system, which ends the program at once; after a hidden
/// prompt, which needs to know of them, this does.
async fn ending_on_signal(command: impl Future<Output = Outcome>) -> Outcome {
    tokio::select! {
        outcome = command => outcome,
        () = prompt::interrupted() => {
            console::note("\nstopped");
            Outcome::Failed
        }
    }
}

/// Shows a session's error, and returns the command's outcome.
fn failed(error: &session::Error) -> Outcome {
    match error {
        session::Error::Plan(mistakes) => ui::diagnostics::show(mistakes),
        session::Error::Live(error) => ui::error::show(error),
        session::Error::Outdated(differences) => ui::error::show_outdated(differences),
        session::Error::Incomplete(steps) => ui::error::show_incomplete(steps),
    }
    match error {
        session::Error::Live(error) if error.kind == ErrorKind::Unknown => Outcome::Unknown,
        _ => Outcome::Failed,
    }
}
