//! `groundwork sandbox`: a local AWS and Vault.

mod arguments;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use arguments::SandboxArgs;
use arguments::{Format, SandboxCommand};

use crate::event::{Event, Events};
use crate::sandbox::{self, Error, Options, Running, ServerStatus, Status};
use crate::ui::console::{note, out};

/// Runs `groundwork sandbox`.
pub async fn run(args: SandboxArgs) -> Result<ExitCode, Error> {
    match args.command {
        SandboxCommand::Up { servers, format } => {
            let running = up(&servers.options()).await?;
            let status = sandbox::status(&running.dir()).await?;
            show(&status, format.format);
            if format.format == Format::Human {
                exports(&running);
            }
            Ok(ExitCode::SUCCESS)
        }
        SandboxCommand::Down { folder, purge } => {
            let ran = with_progress(async |events| sandbox::down(&folder.dir, purge, &events).await).await?;
            note(if ran { "the sandbox is down" } else { "no sandbox was up" });
            Ok(ExitCode::SUCCESS)
        }
        SandboxCommand::Status { folder, format } => {
            show(&sandbox::status(&folder.dir).await?, format.format);
            Ok(ExitCode::SUCCESS)
        }
        SandboxCommand::Run { servers, command } => in_sandbox(servers.options(), &command).await,
    }
}

/// Brings the sandbox up; Ctrl-C stops what had been started.
async fn up(options: &Options) -> Result<Running, Error> {
    with_progress(async |events| {
        let was_up = sandbox::status(&options.dir).await.is_ok_and(|status| !status.servers.is_empty());
        tokio::select! {
            running = sandbox::up(options, &events) => running,
            _ = tokio::signal::ctrl_c() => {
                if !was_up {
                    sandbox::down(&options.dir, false, &events).await?;
                }
                Err(Error::Interrupted)
            }
        }
    })
    .await
}

async fn in_sandbox(options: Options, command: &[OsString]) -> Result<ExitCode, Error> {
    // Tied, so that even a killed `sandbox run` leaves no server behind.
    let running = up(&Options { tied: true, ..options }).await?;
    let outcome = run_command(&running, command).await;
    if running.started {
        sandbox::down(&running.dir(), false, &Events::default()).await?;
    }
    outcome
}

async fn run_command(running: &Running, command: &[OsString]) -> Result<ExitCode, Error> {
    let name = command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = |source| Error::Command { command: name.clone(), source };
    // The terminal sends Ctrl-C to the command as well: it decides, and the servers end after it.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut process = std::process::Command::new(command.first().map_or("".as_ref(), OsString::as_os_str));
    process.args(command.get(1..).unwrap_or_default());
    running.apply_to(&mut process);
    let mut child = Command::from(process).spawn().map_err(failed)?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(exit_code(status.map_err(failed)?)),
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

/// Tells people on standard error what goes on.
async fn with_progress<T>(work: impl AsyncFnOnce(Events) -> T) -> T {
    let (events, mut receiver) = Events::channel();
    let printer = async {
        while let Some(event) = receiver.recv().await {
            match event {
                Event::Progress { message } => note(message),
                Event::Warning { message } => note(format_args!("warning: {message}")),
                _ => {}
            }
        }
    };
    let (outcome, ()) = tokio::join!(work(events), printer);
    outcome
}

fn show(status: &Status, format: Format) {
    match format {
        Format::Json => out(serde_json::json!(status)),
        Format::Human if status.servers.is_empty() => out("the sandbox is down"),
        Format::Human => out(table(&status.servers)),
    }
}

fn table(servers: &[ServerStatus]) -> String {
    let row = |server: &ServerStatus| {
        let pid = server.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        format!("{:<9} {:<24} {:<14} {pid}", server.name, server.address, server.health)
    };
    let head = format!("{:<9} {:<24} {:<14} PID", "SERVER", "ADDRESS", "HEALTH");
    std::iter::once(head).chain(servers.iter().map(row)).collect::<Vec<_>>().join("\n")
}

fn exports(running: &Running) {
    out("");
    for (name, value) in running.environment() {
        out(format_args!("export {name}={}", quoted(&value)));
    }
    note("\npaste these lines into a shell, or use: groundwork sandbox run -- CMD");
}

/// A value as a shell reads it.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+=".contains(c);
    if value.chars().all(plain) { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_read_exports_as_written() {
        assert_eq!(quoted("http://127.0.0.1:2000"), "http://127.0.0.1:2000");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
