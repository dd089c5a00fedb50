//! `groundwork unseal`

use clap::Args;

use super::lock_args::LockArgs;
use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::apply::by_command;
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::place::Place;
use crate::prompt;
use crate::providers::vault::{Custodian, NodeProof, SealStatus, VaultClient};
use crate::resource::Provided;
use crate::session::{self, Checked, Purpose, Reach};

/// Unseal every node, from custody or with shares that people enter.
#[derive(Debug, Args)]
pub struct UnsealArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Read shares from standard input, one a line, hidden on a terminal; custody is not asked.
    /// Holders may do this one after the other, each on their own machine
    #[arg(long)]
    share: bool,
    /// Move servers that were started with another seal to that one; `groundwork restart PLAN --migrate-seal
    /// SEAL -- CMD` does all of it
    #[arg(long)]
    migrate_seal: bool,
    #[command(flatten)]
    lock: LockArgs,
}

/// Unseals and says how each node is now.
pub async fn run(args: UnsealArgs) -> Outcome {
    let done = match args.plan.open(Purpose::Connect).await {
        Ok(mut checked) if args.share => with_shares(&mut checked, args.migrate_seal).await,
        Ok(mut checked) => from_custody(&mut checked, &args).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(nodes) => tell(&nodes),
        Err(error) => failed(&error),
    }
}

/// A node's address and how it is.
type Node = (String, SealStatus);

async fn from_custody(checked: &mut Checked, args: &UnsealArgs) -> Result<Vec<Node>, session::Error> {
    let _lock = checked.lock(&args.lock.wait()).await?;
    let run = session::connect(checked, Reach::Custody).await?;
    let custodian = Custodian::provide(&run, &Place::OWN).await?;
    if args.migrate_seal {
        VaultClient::provide(&run, &Place::OWN).await?.allow_migration();
    }
    let unsealed = custodian.unseal(&by_command()).await;
    session::tell_warnings(&run, &console::note);
    unsealed?;
    let vault = VaultClient::provide(&run, &Place::OWN).await?;
    let mut nodes = Vec::new();
    for node in vault.nodes() {
        // One that does not answer was warned of.
        if let Ok(status) = node.seal_status().await {
            nodes.push((node.address().to_owned(), status));
        }
    }
    Ok(nodes)
}

/// Custody is left out, so that a lost AWS account does not stand between people and their Vault.
async fn with_shares(checked: &mut Checked, migrates: bool) -> Result<Vec<Node>, session::Error> {
    let mut run = session::connect(checked, Reach::Custody).await?;
    run.custody_settings = None;
    let vault = VaultClient::provide(&run, &Place::OWN).await?;
    if migrates {
        vault.allow_migration();
    }
    let shares = prompt::secret_lines("Share").await.map_err(|error| {
        Error::new(ErrorKind::Local, "read the shares", error.to_string()).advice("give one share a line")
    })?;
    if shares.is_empty() {
        return Err(Error::new(ErrorKind::Local, "read the shares", "there were none")
            .advice("give one share a line, in hexadecimal or base64")
            .into());
    }
    let proof = NodeProof::of_run(&run)?;
    let reached = Custodian::enter_shares(&vault, &proof, &by_command(), &shares).await;
    session::tell_warnings(&run, &console::note);
    Ok(reached?)
}

fn tell(nodes: &[Node]) -> Outcome {
    for (address, status) in nodes {
        console::out(match status.sealed {
            false => format!("{address}: unsealed"),
            true => format!("{address}: sealed, {} of {} shares entered", status.progress, status.threshold),
        });
    }
    match nodes.iter().any(|(_, status)| status.sealed) {
        true => Outcome::Stuck,
        false => Outcome::Done,
    }
}
