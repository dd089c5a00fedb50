//! `groundwork sandbox`: a local AWS and Vault.

mod arguments;

use std::ffi::OsString;
use std::process::ExitCode;

pub use arguments::SandboxArgs;
use arguments::{Format, SandboxCommand};

use super::child;
use crate::console::{json_line, note, out};
use crate::event::{Event, Events};
use crate::sandbox::{self, Error, Options, Running, ServerStatus, Status};

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
        SandboxCommand::Lose { folder, server } => {
            with_progress(async |events| sandbox::lose(&folder.dir, &server, &events).await).await?;
            note(format_args!(
                "{server} is lost; `groundwork sandbox up` with the same options starts an empty one in its place"
            ));
            Ok(ExitCode::SUCCESS)
        }
        SandboxCommand::Restart { folder, server } => {
            with_progress(async |events| sandbox::restart(&folder.dir, &server, &events).await).await?;
            Ok(ExitCode::SUCCESS)
        }
        SandboxCommand::Status { folder, format } => {
            show(&sandbox::status(&folder.dir).await?, format.format);
            Ok(ExitCode::SUCCESS)
        }
        SandboxCommand::Run { servers, command } => {
            in_sandbox(servers.for_command(&command).options(), &command).await
        }
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
    let mut process = child::command(command);
    running.apply_to(&mut process);
    child::run(process).await.map_err(|source| Error::Command { command: name, source })
}

/// Runs `work` and reports its progress on standard error.
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
        Format::Json => json_line(status),
        Format::Human if status.servers.is_empty() => out("the sandbox is down"),
        Format::Human => out(table(&status.servers)),
    }
}

fn table(servers: &[ServerStatus]) -> String {
    let width = servers.iter().map(|server| server.name.len() + 1).fold(9, usize::max);
    let row = |server: &ServerStatus| {
        let pid = server.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        format!("{:<width$} {:<24} {:<14} {pid}", server.name, server.address, server.health)
    };
    let head = format!("{:<width$} {:<24} {:<14} PID", "SERVER", "ADDRESS", "HEALTH");
    std::iter::once(head).chain(servers.iter().map(row)).collect::<Vec<_>>().join("\n")
}

fn exports(running: &Running) {
    out("");
    for (name, value) in running.environment() {
        out(format_args!("export {name}={}", quoted(&value)));
    }
    out(format_args!("export PATH=\"$PATH:\"{}", quoted(&running.tools().to_string_lossy())));
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
