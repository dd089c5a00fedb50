//! `groundwork restart`

mod migrate;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Command;
use std::sync::Arc;

use clap::Args;

use self::migrate::Migration;
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
    /// Move the servers to this seal, as `sys/seal-status` names it: `awskms`, `transit`, `static`, or `shamir` for key
    /// shares. Their new configuration has to be in place. Run it again to go on after it was cut off
    #[arg(long, value_name = "SEAL")]
    migrate_seal: Option<String>,
    /// A person restarts each server that the program names, and the program waits for it
    #[arg(long, requires = "migrate_seal", conflicts_with = "command")]
    by_hand: bool,
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
    let order = match &args.migrate_seal {
        Some(target) => {
            let phases = custodian.phases(target).await?;
            migrate::show(&phases);
            if migrate::is_done(&custodian, &phases, target) {
                return Ok(Outcome::Done);
            }
            Vec::new()
        }
        None => custodian.restart_order().await?,
    };
    show(&order);
    if args.command.is_empty() && !args.by_hand {
        return Ok(Outcome::Done);
    }
    if !agreed(args, custodian.servers()) {
        return Ok(Outcome::Failed);
    }
    // Two runs that each let one server go at a time could let two go.
    let hold = Hold::take(&run, &args.lock.wait()).await?;
    let restarts = Restarts { hold: &hold, command: &args.command, by_hand: args.by_hand };
    let done = match &args.migrate_seal {
        Some(target) => {
            run.ready_to_sign().await?;
            let (restarts, proven) = (&restarts, BTreeSet::new());
            until_signal(Migration { custodian: &custodian, restarts, target, proven }.all()).await
        }
        None => {
            let mut rolling = Rolling { custodian, restarts: &restarts, left: order };
            let done = until_signal(rolling.all()).await;
            rolling.tell_what_is_left();
            done
        }
    };
    let is_free = hold.let_go(console::note).await;
    session::tell_warnings(&run, &console::note);
    done.map(|()| if is_free { Outcome::Done } else { Outcome::Failed }).map_err(Into::into)
}

/// The command itself decides how to react to a signal; the wait here ends with the signal.
async fn until_signal(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(|error| {
        Error::new(ErrorKind::Local, "wait for signals", error.to_string())
            .advice("nothing was restarted; run again")
    })?;
    tokio::select! {
        done = work => done,
        () = signals.next() => Err(stopped()),
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Local, "restart the servers", "a signal came; nothing more is restarted")
        .advice("look at the last server, then run the same command again")
}

fn show(order: &[NodeState]) {
    for (position, NodeState { address, active, version }) in order.iter().enumerate() {
        let role = if *active { "active" } else { "standby" };
        console::out(format_args!("{}. {address}  {role}, {version}", position + 1));
    }
}

fn agreed(args: &RestartArgs, servers: usize) -> bool {
    let what = match &args.migrate_seal {
        Some(target) => format!("and move them to the seal {target}"),
        None => "in this order".to_owned(),
    };
    let question = format_args!("Restart {servers} servers {what}? [y/N] ");
    args.yes || console::can_ask("restart") && console::ask(question)
}

/// How servers are restarted.
struct Restarts<'a> {
    hold: &'a Hold<'a>,
    command: &'a [OsString],
    /// By a person, to whom the program names it.
    by_hand: bool,
}

impl Restarts<'_> {
    /// Restarts one server, or has a person do it. The caller confirms the lock of other machines first.
    async fn restart(&self, address: &str, reason: &str) -> Result<(), Error> {
        if self.by_hand {
            console::note(format_args!("restart {address} now, {reason}; waiting for it"));
            return Ok(());
        }
        match reason {
            "" => console::note(format_args!("restarting {address}")),
            reason => console::note(format_args!("restarting {address} {reason}")),
        }
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
}

/// Servers that are restarted one after the other.
struct Rolling<'a> {
    custodian: Arc<Custodian>,
    restarts: &'a Restarts<'a>,
    /// Those to come, in order.
    left: Vec<NodeState>,
}

impl Rolling<'_> {
    async fn all(&mut self) -> Result<(), Error> {
        let permit = by_command();
        while let Some(server) = self.left.first() {
            let address = &server.address;
            self.restarts.hold.confirm().await?;
            self.custodian.release(&permit, address).await?;
            self.restarts.restart(address, "").await?;
            self.custodian.readmit(&permit, address).await?;
            console::out(format_args!("{address}: restarted and healthy"));
            self.left.remove(0);
        }
        Ok(())
    }

    fn tell_what_is_left(&self) {
        let left: Vec<&str> = self.left.iter().map(|server| server.address.as_str()).collect();
        if !left.is_empty() {
            console::note(format_args!("not restarted, or not confirmed healthy: {}", left.join(", ")));
        }
    }
}
