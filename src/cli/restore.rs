//! `groundwork restore`

use std::sync::Arc;

use clap::Args;

use super::backup::{source_of, typed_shares};
use super::lock_args::LockArgs;
use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::backup::{Keys, ManifestCheck};
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::session::found;
use crate::session::{self, Purpose, Restore};
use crate::ui;

/// Restore a backup of Vault into the plan's cluster, after showing what that changes; or bring one secret back.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["from", "latest"])]
pub struct RestoreArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// The backup: a file, or an object `s3://BUCKET/KEY`
    #[arg(long, value_name = "BACKUP")]
    from: Option<String>,
    /// The newest backup in the plan's stores
    #[arg(long)]
    latest: bool,
    /// Only this secret, in this version or the newest of the backup: written as a new version over the one that is
    /// live, and nothing else is touched
    #[arg(long, value_name = "PATH[@VERSION]")]
    secret: Option<String>,
    /// Read key shares from standard input, one a line; custody is not asked. Needs --yes or --confirm
    #[arg(long)]
    share: bool,
    /// Do not ask before one secret is written. For a whole backup it takes --confirm
    #[arg(long, short)]
    yes: bool,
    /// The plan's name, as the confirmation that a whole backup is restored
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// Restore a backup that is of another cluster, or that other key shares open
    #[arg(long)]
    other_cluster: bool,
    #[command(flatten)]
    lock: LockArgs,
}

/// Proves the backup, shows what changes, asks, and restores.
pub async fn run(args: RestoreArgs) -> Outcome {
    restore(&args).await.unwrap_or_else(|error| failed(&error))
}

async fn restore(args: &RestoreArgs) -> Result<Outcome, session::Error> {
    let mut checked = args.plan.open(Purpose::Connect).await?;
    let _lock = checked.lock(&args.lock.wait()).await?;
    let name = checked.resolved.document.name.clone();
    let mut keys = Keys::default();
    if args.share {
        keys.sets.push(typed_shares().await?);
    }
    let (run, found) = found::find(&mut checked, source_of(args.from.as_deref())?).await?;
    found.remarks.iter().for_each(console::note);
    if args.share {
        keys.service = run.any_key_service().await;
    }
    let authority = Arc::clone(run.journal.authority());
    let (manifest, title) = (found.manifest.clone(), found.title());
    let restore = Restore::prove(run, found.file, keys).await?;
    let manifest = ManifestCheck::of(manifest.as_deref(), restore.check(), &authority);
    console::out(ui::backup::subject(&title, restore.check(), &manifest));
    if manifest.is_contradicted() {
        let message = "the backup is not the one that its manifest names; nothing was changed";
        return Err(Error::new(ErrorKind::Rejected, "restore", message).into());
    }
    let outcome = match &args.secret {
        Some(wanted) => one_secret(args, restore, wanted).await?,
        None => whole(args, restore, &name).await?,
    };
    Ok(outcome)
}

async fn one_secret(
    args: &RestoreArgs,
    mut restore: Restore,
    wanted: &str,
) -> Result<Outcome, session::Error> {
    let secret = restore.secret(wanted).await?;
    console::out(ui::backup::secret(&secret));
    if secret.is_same() {
        return Ok(Outcome::Done);
    }
    let agreed = args.yes || console::can_ask("restore") && console::ask("Write it as a new version? [y/N] ");
    if !agreed {
        console::note("nothing was changed");
        return Ok(Outcome::Failed);
    }
    let version = secret.write(&restore.run).await?;
    console::out(format_args!("{} has version {version} now", secret.path));
    Ok(Outcome::Done)
}

async fn whole(args: &RestoreArgs, mut restore: Restore, name: &str) -> Result<Outcome, session::Error> {
    let preview = restore.preview(args.other_cluster).await?;
    console::out(ui::backup::preview(&preview));
    if !agreed(args, name) {
        console::note("nothing was changed");
        return Ok(Outcome::Failed);
    }
    let restored = restore.carry_out(&preview, &|told| console::note(told)).await;
    session::tell_warnings(&restore.run, &console::note);
    let restored = restored?;
    console::out(ui::backup::restored(&restored, &preview));
    Ok(if restored.open.is_empty() { Outcome::Done } else { Outcome::Stuck })
}

/// Everything that was written since is lost, so the plan's name is typed or given.
fn agreed(args: &RestoreArgs, name: &str) -> bool {
    match &args.confirm {
        Some(confirmed) if confirmed == name => return true,
        Some(confirmed) => {
            console::note(format_args!("error: `--confirm {confirmed}` is not the plan's name, {name}"));
            return false;
        }
        None => {}
    }
    if args.yes {
        console::note(format_args!(
            "error: `--yes` is not enough to restore a whole backup. Use --confirm {name}"
        ));
        return false;
    }
    let question =
        format_args!("Everything written since the backup is lost. To go on, type the plan's name, {name}: ");
    console::can_ask("restore") && console::ask_for(question, name)
}
