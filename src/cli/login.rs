//! `groundwork login`

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::Args;

use super::plan_args::PlanArgs;
use super::{Outcome, child, failed};
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::prompt;
use crate::providers::vault::Login;
use crate::session::{self, Purpose, Reach};
use crate::ui;

/// Log in to Vault as the plan's admin, run a command, and revoke the token.
#[derive(Debug, Args)]
pub struct LoginArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// The command and its arguments; it finds the token in `VAULT_TOKEN`
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Logs in through custody, runs the command, revokes. Ends with the command's exit code.
pub async fn run(args: LoginArgs) -> ExitCode {
    let login = match begin(&args.plan).await {
        Ok(login) => login,
        Err(error) => return failed(&error).into(),
    };
    let mut command = child::command(&args.command);
    child::lead_to_vault(&mut command, login.address());
    command.env("VAULT_TOKEN", OsStr::from_bytes(login.token().expose_bytes()));
    let ran = child::run(command).await;
    // Also when the command could not be started.
    let ended = login.end().await;
    let code = ran.unwrap_or_else(|error| {
        let name = args.command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        console::note(format_args!("error: cannot run {name}: {error}"));
        Outcome::Failed.into()
    });
    match ended {
        Ok(()) => code,
        Err(error) => {
            ui::error::show(&error);
            Outcome::Failed.into()
        }
    }
}

async fn begin(plan: &PlanArgs) -> Result<Login, session::Error> {
    let connected = async {
        let mut checked = plan.open(Purpose::Connect).await?;
        let run = session::connect(&mut checked, Reach::Custody).await?;
        Ok(Login::begin(&run).await?)
    };
    tokio::select! {
        login = connected => login,
        () = prompt::interrupted() => {
            Err(Error::new(ErrorKind::Local, "log in to Vault", "a signal came").into())
        }
    }
}
