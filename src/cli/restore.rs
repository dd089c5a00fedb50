//! `groundwork restore`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::backup::{read_seal_key, source_of, typed_shares};
use super::lock_args::SharedLockArgs;
use super::plan_args::PlanArgs;
use super::signals::Signals;
use super::verify::{self, VerifyArgs};
use super::{Outcome, failed};
use crate::backup::{ManifestCheck, ShareSet};
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::lock::Wait;
use crate::providers::vault::Ground;
use crate::run::Run;
use crate::secret::Secret;
use crate::session::found::{self, Subject};
use crate::session::{self, Checked, Preview, Purpose, Restore};
use crate::ui;

/// Restore a backup of Vault into the plan's cluster, or into its empty servers, after showing what that changes, and
/// verify the plan; or bring one secret back. Exit codes: 0 restored and verified; 3 something is left to a person, or
/// could not be verified; 1 it failed, or what stands does not work; 4 an outcome is unknown.
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
    /// The key of a `static` seal: a file with its 32 bytes, or with these in base64 or hexadecimal
    #[arg(long, value_name = "FILE")]
    seal_key: Option<PathBuf>,
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
    lock: SharedLockArgs,
}

/// Proves the backup, shows what changes, asks, and restores.
pub async fn run(args: RestoreArgs) -> Outcome {
    restore(&args).await.unwrap_or_else(|error| failed(&error))
}

async fn restore(args: &RestoreArgs) -> Result<Outcome, session::Error> {
    let mut checked = args.plan.open(Purpose::Connect).await?;
    let _lock = checked.lock(&args.lock.wait()).await?;
    let name = checked.resolved.document.name.clone();
    let quorum = args.secret.is_none() && asks_for_quorum(&checked, args.share)?;
    let (keys, from) = (Given::read(args.share, args.seal_key.as_deref()).await?, args.from.as_deref());
    let (run, found) = found::find(&mut checked, source_of(from)?).await?;
    if let Some(wanted) = &args.secret {
        let restore = proven(run, found, keys, None).await?;
        return one_secret(args, restore, wanted).await;
    }
    let (run, unrecorded) = session::connect_to_record(&mut checked, args.lock.is_shared()).await?;
    let restore = proven(run, found, keys, unrecorded).await?;
    if quorum {
        restore.require_quorum()?;
    }
    whole(args, checked, restore, &name).await
}

/// Whether the plan asks for a quorum of holders, whose shares then have to be given.
pub(super) fn asks_for_quorum(checked: &Checked, share: bool) -> Result<bool, session::Error> {
    let quorum = checked.recovery()?.quorum;
    if quorum && !share {
        let message =
            "the plan brings a whole backup back only with a quorum of holders (`recovery: quorum`)";
        return Err(Error::new(ErrorKind::Rejected, "restore", message)
            .advice("gather the holders, and give their key shares with `--share`, one a line")
            .into());
    }
    Ok(quorum)
}

/// The keys that the caller gives.
pub(super) struct Given {
    shares: Option<ShareSet>,
    seal_key: Option<Secret>,
}

impl Given {
    /// Reads them: shares from standard input, the key of a seal from a file.
    pub(super) async fn read(share: bool, seal_key: Option<&Path>) -> Result<Self, Error> {
        let seal_key = seal_key.map(read_seal_key).transpose()?;
        Ok(Self { shares: if share { Some(typed_shares().await?) } else { None }, seal_key })
    }
}

/// The backup, once it is proven, and is the one that its manifest names. `unrecorded` is why the journal gets nothing.
pub(super) async fn proven(
    run: Run,
    found: Subject,
    given: Given,
    unrecorded: Option<String>,
) -> Result<Restore, session::Error> {
    found.remarks.iter().for_each(console::note);
    let keys = found::keys(&run, given.shares, given.seal_key).await?;
    let title = found.title();
    let authority = Arc::clone(run.journal.authority());
    let restore = Restore::prove(run, found.file, keys, &found.name).await?;
    let manifest = ManifestCheck::of(found.manifest.as_deref(), restore.check(), &authority);
    console::out(ui::backup::subject(&title, restore.check(), &manifest));
    if manifest.is_contradicted() {
        let message = "the backup is not the one that its manifest names; nothing was changed";
        return Err(Error::new(ErrorKind::Rejected, "restore", message).into());
    }
    let restore = restore.dated(manifest.read().map(|read| read.manifest.taken));
    let Some(why) = unrecorded else { return Ok(restore) };
    console::note(format_args!("warning: {why}"));
    Ok(restore.unrecorded())
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

async fn whole(
    args: &RestoreArgs,
    checked: Checked,
    mut restore: Restore,
    name: &str,
) -> Result<Outcome, session::Error> {
    let preview = restore.preview(args.other_cluster).await?;
    console::out(ui::backup::preview(&preview));
    if !agreed(args, name) {
        console::note("nothing was changed");
        return Ok(Outcome::Failed);
    }
    if preview.ground != Ground::Inhabited {
        restore = with_recipients(checked, restore).await;
    }
    let done = carry_out(&mut restore, &preview, args.lock.shared(), &|told| console::note(told)).await?;
    let Some(outcome) = done else { return Ok(Outcome::Failed) };
    drop(restore);
    Ok(outcome.and(prove(&args.plan).await))
}

/// Restores until it is done or a signal comes, and says how it went. With a wait, it holds the lock that other
/// machines see. `None` when it was stopped.
pub(super) async fn carry_out(
    restore: &mut Restore,
    preview: &Preview,
    lock: Option<Wait<'_>>,
    told: &dyn Fn(&str),
) -> Result<Option<Outcome>, session::Error> {
    let mut signals = Signals::new()?;
    if let Some(wait) = &lock {
        restore.hold(wait).await?;
    }
    let awaited = Arc::clone(&restore.run.awaited);
    let result = tokio::select! {
        result = restore.carry_out(preview, told) => Some(result),
        () = async {
            signals.next().await;
            awaited.settled().await;
        } => None,
    };
    let is_free = lock.is_none() || restore.let_go(console::note).await;
    session::tell_warnings(&restore.run, &console::note);
    let Some(restored) = result else {
        console::note("\nstopped; run it again: it goes on from there");
        return Ok(None);
    };
    let restored = restored?;
    console::out(ui::backup::restored(&restored, preview));
    let outcome = if restored.open.is_empty() { Outcome::Done } else { Outcome::Stuck };
    Ok(Some(if is_free { outcome } else { outcome.and(Outcome::Failed) }))
}

/// The same backup in a run whose custody knows who can open it, as far as that depends on what the plan has made, such
/// as a KMS key. Where that cannot be read, custody goes by what it knows.
pub(super) async fn with_recipients(checked: Checked, restore: Restore) -> Restore {
    match session::with_recipients(checked).await {
        Ok(run) => restore.in_run(run),
        Err(_) => restore,
    }
}

/// Proves that the plan works on what was restored.
async fn prove(plan: &PlanArgs) -> Outcome {
    console::note("verifying what stands now");
    verify::run(VerifyArgs::of_plan(plan.clone())).await
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
