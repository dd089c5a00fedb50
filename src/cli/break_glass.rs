//! `groundwork break-glass`

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::lock_args::{LockArgs, duration};
use super::notify::{Notice, Notified};
use super::plan_args::PlanArgs;
use super::signals::Signals;
use super::{ENVIRONMENT, Outcome, child, failed};
use crate::apply::by_command;
use crate::console;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::LocalLock;
use crate::prompt;
use crate::providers::vault::{Attempt, BreakGlass, EmergencyAccess, EmergencyWanted, Progress};
use crate::relay::{Given, Relay};
use crate::resolve::notify::Topic;
use crate::run::Run;
use crate::secret::Secret;
use crate::session::{self, Purpose, Reach};
use crate::ui;
use crate::visible;
use crate::workspace::LocalFile;

/// The longest time that an emergency may last.
const LONGEST: Duration = Duration::from_hours(12);

/// Get in when everything else fails: enough holders enter their key shares, a command or a shell runs with a token
/// that the server itself ends, and the root token is revoked before it.
#[derive(Debug, Args)]
pub struct BreakGlassArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Why; it goes into the journal and into the token's metadata
    #[arg(long, required_unless_present = "sweep")]
    reason: Option<String>,
    /// When the server ends the access, even if this machine dies
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15m")]
    ttl: Duration,
    /// A policy that the access has, instead of root; may be repeated
    #[arg(long = "policy", value_name = "NAME")]
    policies: Vec<String>,
    /// Write a request for holders in other places to this file, which must not exist: it holds no secret. They answer
    /// with `groundwork answer`, and their lines are entered like shares
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// Use the shares that custody has, instead of asking people
    #[arg(long, conflicts_with = "request")]
    shares_in_custody: bool,
    /// Run this program when it begins and when it has ended, with a line of JSON on its standard input that says who,
    /// why, until when and how it ended, and holds no secret
    #[arg(long, value_name = "PROGRAM")]
    notify: Option<PathBuf>,
    /// Only look for what earlier runs left, and for root tokens without an end; needs no share
    #[arg(long, conflicts_with_all = ["reason", "request", "shares_in_custody", "policies", "command", "notify"])]
    sweep: bool,
    #[command(flatten)]
    lock: LockArgs,
    /// The command and its arguments; it finds the token in `VAULT_TOKEN`. Without one, your shell
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Gets in, runs the command, and ends the access. Ends with the command's exit code.
pub async fn run(args: BreakGlassArgs) -> ExitCode {
    let done = match args.sweep {
        true => sweep(&args).await.map(ExitCode::from),
        false => break_in(&args).await,
    };
    done.unwrap_or_else(|error| failed(&error).into())
}

async fn break_in(args: &BreakGlassArgs) -> Result<ExitCode, session::Error> {
    let wanted = wanted(args)?;
    let (run, _lock, topic) = connect(args).await?;
    let notified = Notified { program: args.notify.as_deref(), topic: topic.as_ref() };
    let glass = BreakGlass::of(&run).await?;
    let mut notice = Notice {
        event: "begin",
        plan: &run.plan,
        address: glass.address(),
        reason: &wanted.reason,
        by: run.journal.writer(),
        policies: &wanted.policies,
        ttl_seconds: wanted.ttl.as_secs(),
        accessor: None,
        outcome: None,
    };
    notified.tell(&run, &notice).await;
    let opened = open(args, &glass, &run, &wanted).await;
    session::tell_warnings(&run, &console::note);
    notice.event = "end";
    let access = match opened {
        Ok(access) => access,
        Err(error) => {
            notified.tell(&run, &Notice { outcome: Some(&error.to_string()), ..notice }).await;
            return Err(error.into());
        }
    };
    notice.accessor = Some(&access.accessor);
    console::note(format_args!(
        "the root token is revoked; access as {} until {}, accessor {}",
        wanted.policies.join(", "),
        access.expires,
        access.accessor
    ));
    let ran = child::run(command(args, &glass, &access)).await;
    // Also when the command could not be started.
    let ended = glass.end(&by_command(), &access).await;
    let code = ran.unwrap_or_else(|error| {
        console::note(format_args!("error: cannot run the command: {error}"));
        Outcome::Failed.into()
    });
    match ended {
        Ok(()) => {
            console::note("the access is revoked, and the server refuses it since");
            notified.tell(&run, &Notice { outcome: Some("revoked, and refused since"), ..notice }).await;
            Ok(code)
        }
        Err(error) => {
            ui::error::show(&error);
            let outcome = Some("not revoked: the server ends it at its time");
            notified.tell(&run, &Notice { outcome, ..notice }).await;
            console::note(format_args!("the server ends the access at {}", access.expires));
            Ok(Outcome::Failed.into())
        }
    }
}

fn wanted(args: &BreakGlassArgs) -> Result<EmergencyWanted> {
    let refused = |message: &str| Err(Error::new(ErrorKind::Rejected, "break glass", message));
    let reason = visible::sanitize(args.reason.as_deref().unwrap_or_default().trim());
    if reason.is_empty() || reason.chars().count() > 500 {
        return refused("a reason has 1 to 500 characters");
    }
    if args.ttl.is_zero() || args.ttl > LONGEST {
        return refused("an access lasts from 1 second to 12 hours; choose a shorter `--ttl`");
    }
    let policies = match args.policies.as_slice() {
        [] => vec!["root".to_owned()],
        named => named.to_vec(),
    };
    Ok(EmergencyWanted { reason, ttl: args.ttl, policies })
}

/// A run with the journal's copy where AWS answers, and without it where it does not.
async fn connect(args: &BreakGlassArgs) -> Result<(Run, LocalLock, Option<Topic>), session::Error> {
    let mut checked = args.plan.open(Purpose::Connect).await?;
    let topic = checked.notify()?;
    let lock = checked.lock(&args.lock.wait()).await?;
    let run = match session::connect(&mut checked, Reach::Everything).await {
        Ok(run) if run.journal.mirror().is_some() => match run.journal.pull().await {
            Ok(_) => return Ok((run, lock, topic)),
            Err(error) => Err(session::Error::from(error)),
        },
        connected => connected,
    };
    match run {
        Err(session::Error::Live(error)) => {
            let run = session::connect(&mut checked, Reach::Custody).await?;
            console::note(format_args!("warning: this is recorded on this machine only: {error}"));
            Ok((run, lock, topic))
        }
        connected => Ok((connected?, lock, topic)),
    }
}

/// From the shares to the access. An attempt that is not finished is given up.
async fn open(
    args: &BreakGlassArgs,
    glass: &BreakGlass,
    run: &Run,
    wanted: &EmergencyWanted,
) -> Result<EmergencyAccess> {
    let permit = by_command();
    run.ready_to_sign().await?;
    // Without a login there is nothing to clean up with, and that must not stand in the way.
    match glass.clean_up(&permit).await {
        Ok(found) => {
            for line in found {
                console::note(format_args!("left by an earlier run: {line}"));
            }
        }
        Err(error) => {
            console::note(format_args!("warning: what earlier runs left was not looked for: {error}"));
        }
    }
    let attempt = glass.begin(&permit, &wanted.reason).await?;
    let mut givers = Vec::new();
    let root = tokio::select! {
        root = gather(args, glass, run, (wanted, &attempt), &mut givers) => root,
        stopped = stopped() => Err(stopped),
    };
    match root {
        Ok(root) => glass.exchange(&permit, &attempt, &root, (wanted, &givers)).await,
        Err(error) => {
            glass.give_up(&permit, &attempt).await?;
            Err(error)
        }
    }
}

async fn stopped() -> Error {
    match Signals::new() {
        Ok(mut signals) => signals.next().await,
        Err(error) => return Error::new(ErrorKind::Local, "break glass", error.to_string()),
    }
    Error::new(ErrorKind::Local, "break glass", "a signal came; the attempt is given up")
}

/// Enters shares until there are enough.
async fn gather(
    args: &BreakGlassArgs,
    glass: &BreakGlass,
    run: &Run,
    (wanted, attempt): (&EmergencyWanted, &Attempt),
    givers: &mut Vec<String>,
) -> Result<Secret> {
    if args.shares_in_custody {
        givers.push("the shares in custody".to_owned());
        for share in glass.shares_in_custody().await? {
            if let Progress::Complete(root) = glass.enter(&by_command(), attempt, &share).await? {
                return Ok(root);
            }
        }
        return Err(too_few(attempt.required));
    }
    let relay = Relay::new(&attempt.nonce);
    if let Some(path) = &args.request {
        let request = relay.request(&run.plan, glass.address(), &wanted.reason, run.journal.writer());
        let text = serde_json::to_string_pretty(&request).unwrap_or_default();
        LocalFile::of_caller(path).put(false, |file| writeln!(file, "{text}")).map_err(|error| {
            Error::new(ErrorKind::Local, format!("write {}", path.display()), error.to_string())
        })?;
        console::note(format_args!(
            "the request is in {0}: send it to the holders; each runs `groundwork answer {0}`",
            path.display()
        ));
    }
    let mut entered = 0;
    loop {
        let question = format!("Share {} of {}, or the answer of a holder", entered + 1, attempt.required);
        let line = prompt::secret_line(question)
            .await
            .map_err(|error| Error::new(ErrorKind::Local, "read the shares", error.to_string()))?;
        let Some(line) = line else { return Err(too_few(attempt.required)) };
        let Given { share, by } = match relay.open(&line) {
            Ok(given) => given,
            Err(error) => {
                ui::error::show(&error);
                continue;
            }
        };
        let giver = giver(glass, &share, &by).await;
        match glass.enter(&by_command(), attempt, &share).await {
            Ok(Progress::Complete(root)) => {
                givers.push(giver);
                return Ok(root);
            }
            Ok(Progress::Entered(now)) => {
                if now <= entered {
                    // The server counts from nothing again.
                    givers.clear();
                }
                entered = now;
                console::note(format_args!("{now} of {} shares: {giver}", attempt.required));
                givers.push(giver);
            }
            Err(error) => {
                ui::error::show(&error);
                console::note("a share may have been entered twice, or the server counts from nothing again");
            }
        }
    }
}

/// Who has given a share: by what custody knows of it, and by their own word.
async fn giver(glass: &BreakGlass, share: &Secret, by: &str) -> String {
    let known = glass.giver_of(share).await.unwrap_or_else(|| "a share of an unknown holder".to_owned());
    match by {
        "" => format!("{known}, typed on this machine"),
        by => format!("{known}, given by {}", visible::sanitize(by)),
    }
}

fn too_few(required: u64) -> Error {
    Error::new(
        ErrorKind::Local,
        "break glass",
        format!("there were fewer than the {required} shares that it takes"),
    )
    .advice("gather the holders, or send them a request with `--request FILE`; the attempt is given up")
}

fn command(args: &BreakGlassArgs, glass: &BreakGlass, access: &EmergencyAccess) -> std::process::Command {
    let shell = [ENVIRONMENT.value("SHELL").unwrap_or(OsStr::new("/bin/sh")).to_owned()];
    let words = if args.command.is_empty() { &shell[..] } else { &args.command };
    let mut command = child::command(words);
    child::lead_to_vault(&mut command, glass.address());
    command.env("VAULT_TOKEN", OsStr::from_bytes(access.token.expose_bytes()));
    command
}

async fn sweep(args: &BreakGlassArgs) -> Result<Outcome, session::Error> {
    let (run, _lock, _) = connect(args).await?;
    let glass = BreakGlass::of(&run).await?;
    run.ready_to_sign().await?;
    for line in glass.clean_up(&by_command()).await? {
        console::out(line);
    }
    let stray = glass.stray_roots().await?;
    session::tell_warnings(&run, &console::note);
    for root in &stray {
        console::out(format_args!(
            "a root token without an end: accessor {}, made {}",
            root.accessor, root.made
        ));
    }
    if stray.is_empty() {
        console::out("no root token without an end");
        return Ok(Outcome::Done);
    }
    if !console::can_ask("break-glass") || !console::ask(format_args!("Revoke {}? [y/N] ", stray.len())) {
        return Ok(Outcome::Stuck);
    }
    for root in &stray {
        glass.revoke(&by_command(), &root.accessor).await?;
        console::out(format_args!("revoked: {}", root.accessor));
    }
    Ok(Outcome::Done)
}
