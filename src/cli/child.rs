//! A command that runs inside of one of ours, which ends as that command does.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ENVIRONMENT;
use crate::net::http;

/// The command and its arguments.
pub fn command(words: &[OsString]) -> std::process::Command {
    let mut command = std::process::Command::new(words.first().map_or("".as_ref(), OsString::as_os_str));
    command.args(words.get(1..).unwrap_or_default());
    command
}

/// Sets the variables by which a command finds Vault, and by which it does not send Vault's token to a
/// proxy in the clear.
pub fn lead_to_vault(command: &mut std::process::Command, address: &str) {
    command.env("VAULT_ADDR", address).envs(http::no_proxy_variables_for(address, &ENVIRONMENT));
}

/// Runs a command to its end, whatever signals come meanwhile; gives the code to end with.
///
/// # Errors
/// When it cannot be started.
pub async fn run(command: std::process::Command) -> io::Result<ExitCode> {
    status(command).await.map(exit_code)
}

/// As [`run`]; gives how it ended.
pub async fn status(command: std::process::Command) -> io::Result<ExitStatus> {
    // The terminal sends Ctrl-C to the command as well: it decides, and what is here ends after it.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = Command::from(command).spawn()?;
    loop {
        tokio::select! {
            status = child.wait() => return status,
            _ = interrupt.recv() => {}
            () = received(&mut terminate) => pass_on(&child),
        }
    }
}

async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

fn pass_on(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process};
    // It has not been waited for, so the number is still its own.
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
}

/// The command's own code; 128 and the signal's number if one ended it, as shells have it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
