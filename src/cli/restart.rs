//! `groundwork restart`

use std::ffi::OsString;
use std::process::Command;
use std::sync::Arc;

use clap::Args;

use super::lock_args::SharedLockArgs;
use super::plan_args::PlanArgs;
use super::signals::Signals;
use super::{Outcome, child, failed};
use crate::apply::by_command;
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::place::Place;
use crate::providers::vault::{Custodian, NodeState};
use crate::resource::Provided;
use crate::run::Run;
use crate::session::{self, Hold, Purpose, Reach};

/// The variable in which the command finds the host of the server that it is to restart.
const HOST: &str = "VAULT_HOST";

/// Restart the servers of Vault one after the other, the active one last and after it has handed over;
/// without a command, show the order.
#[derive(Debug, Args)]
pub struct RestartArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    lock: SharedLockArgs,
    /// Move the cluster of one server to the seal that it is restarted with: it gets the present key shares for that
    #[arg(long, requires = "command")]
    migrate_seal: bool,
    /// The command that restarts one server, and ends once the server has started; it finds the server's
    /// address in `VAULT_ADDR` and its host in `VAULT_HOST`
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Shows the order, asks, and goes through the servers: each is let go while all are well, restarted by
/// the command, unsealed and waited for.
pub async fn run(args: RestartArgs) -> Outcome {
    match restart(&args).await {
        Ok(outcome) => outcome,
        Err(error) => failed(&error),
    }
}

async fn restart(args: &RestartArgs) -> Result<Outcome, session::Error> {
    let mut checked = args.plan.open(Purpose::Connect).await?;
    let _lock = checked.lock(&args.lock.wait()).await?;
    let is_shared = !args.command.is_empty() && args.lock.is_shared();
    let reach = if is_shared { Reach::Everything } else { Reach::Custody };
    let run = session::connect(&mut checked, reach).await?;
    let custodian = Custodian::provide(&run, &Place::OWN).await?;
    let order = custodian.restart_order().await?;
    show(&order);
    if args.command.is_empty() {
        return Ok(Outcome::Done);
    }
    if !agreed(args, order.len()) {
        return Ok(Outcome::Failed);
    }
    // Two runs that each let one server go at a time could let two go.
    let hold = Hold::take(&run, &args.lock.wait()).await?;
    let mut rolling = Rolling { custodian, hold: &hold, command: &args.command, left: order };
    let begun = match args.migrate_seal {
        true => begin_migration(&run, &rolling.custodian).await,
        false => Ok(()),
    };
    // The command itself decides how to react to a signal; the wait here ends with the signal.
    let mut signals = Signals::new()?;
    let done = match begun {
        Ok(()) => tokio::select! {
            done = rolling.all() => done,
            () = signals.next() => Err(stopped()),
        },
        Err(error) => Err(error),
    };
    let done = match done {
        Ok(()) if args.migrate_seal => rolling.custodian.end_migration(&by_command()).await.map(|seal| {
            console::out(format_args!("every server has the seal {seal}; the key shares are the same"));
        }),
        done => done,
    };
    rolling.tell_what_is_left();
    if let Err(error) = hold.release().await {
        console::note(session::still_locked(&error));
    }
    session::tell_warnings(&run, &console::note);
    done.map(|()| Outcome::Done).map_err(Into::into)
}

async fn begin_migration(run: &Run, custodian: &Custodian) -> Result<(), Error> {
    run.ready_to_sign().await?;
    custodian.begin_migration(&by_command()).await
}

fn stopped() -> Error {
    Error::new(ErrorKind::Local, "restart the servers", "a signal came; nothing more is restarted")
        .advice("look at the last server, then run again: every server is restarted once more")
}

fn show(order: &[NodeState]) {
    for (position, NodeState { address, active, version }) in order.iter().enumerate() {
        let role = if *active { "active" } else { "standby" };
        console::out(format_args!("{}. {address}  {role}, {version}", position + 1));
    }
}

fn agreed(args: &RestartArgs, servers: usize) -> bool {
    let what = if args.migrate_seal {
        "and move them to the seal that they are started with"
    } else {
        "in this order"
    };
    let question = format_args!("Restart {servers} servers {what}? [y/N] ");
    args.yes || console::can_ask("restart") && console::ask(question)
}

/// Servers that are restarted one after the other.
struct Rolling<'a> {
    custodian: Arc<Custodian>,
    hold: &'a Hold<'a>,
    command: &'a [OsString],
    /// Those to come, in order.
    left: Vec<NodeState>,
}

impl Rolling<'_> {
    async fn all(&mut self) -> Result<(), Error> {
        let permit = by_command();
        while let Some(server) = self.left.first() {
            let address = &server.address;
            self.hold.confirm().await?;
            self.custodian.release(&permit, address).await?;
            console::note(format_args!("restarting {address}"));
            self.restart(address).await?;
            self.custodian.readmit(&permit, address).await?;
            console::out(format_args!("{address}: restarted and healthy"));
            self.left.remove(0);
        }
        Ok(())
    }

    async fn restart(&self, address: &str) -> Result<(), Error> {
        let failed = |problem: String| {
            Error::new(ErrorKind::Local, format!("restart {address}"), problem)
                .advice("see what the command said, look at the server, then run again")
        };
        let name = self.command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        let ran = child::status(self.command(address)).await;
        match ran.map_err(|error| failed(format!("cannot run {name}: {error}")))? {
            status if status.success() => Ok(()),
            status => Err(failed(format!("{name} ended with {status}"))),
        }
    }

    fn command(&self, address: &str) -> Command {
        let mut command = child::command(self.command);
        let host = address.split_once("://").map_or(address, |(_, rest)| rest);
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        child::lead_to_vault(&mut command, address);
        command.env(HOST, host);
        command
    }

    fn tell_what_is_left(&self) {
        let left: Vec<&str> = self.left.iter().map(|server| server.address.as_str()).collect();
        if !left.is_empty() {
            console::note(format_args!("not restarted, or not confirmed healthy: {}", left.join(", ")));
        }
    }
}
