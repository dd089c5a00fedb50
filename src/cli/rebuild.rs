//! `groundwork rebuild`

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::apply::{self, ApplyArgs};
use super::backup::source_of;
use super::lock_args::LockArgs;
use super::plan::{Format, prepare};
use super::plan_args::PlanArgs;
use super::restore::{Given, asks_for_quorum, carry_out, proven};
use super::verify::{self, VerifyArgs};
use super::{Outcome, failed};
use crate::changeset::Selection;
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::rebuild::{Outlook, Times};
use crate::session::found;
use crate::session::{self, LostJournal, PARALLELISM, Purpose, Restore, Rewrapping};
use crate::ui;

/// Rebuild what a plan declares, with the data of a backup, from an empty account and empty servers, or from what is
/// still there: AWS and files first, then Vault from the backup, then the rest of the plan, then `verify`. Run it
/// again after it was cut off: it goes on. Exit codes: 0 rebuilt and verified; 3 something is left to a person, or
/// could not be verified; 1 it failed, or what stands does not work; 4 an outcome is unknown.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["from", "latest"])]
pub struct RebuildArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// The backup: a file, or an object `s3://BUCKET/KEY`
    #[arg(long, value_name = "BACKUP")]
    from: Option<String>,
    /// The newest backup in the plan's stores
    #[arg(long)]
    latest: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Read key shares from standard input, one a line; custody is not asked for shares. Needs --yes
    #[arg(long, requires = "yes")]
    share: bool,
    /// The key of a `static` seal: a file with its 32 bytes, or with these in base64 or hexadecimal
    #[arg(long, value_name = "FILE")]
    seal_key: Option<PathBuf>,
    #[command(flatten)]
    lock: LockArgs,
    /// How many steps are written at the same time
    #[arg(long, value_name = "N", default_value_t = PARALLELISM)]
    parallelism: usize,
}

/// Proves the backup, shows the order and what cannot be brought back, asks, and rebuilds.
pub async fn run(args: RebuildArgs) -> Outcome {
    rebuild(&args).await.unwrap_or_else(|error| failed(&error))
}

async fn rebuild(args: &RebuildArgs) -> Result<Outcome, session::Error> {
    let mut times = Times::begin();
    let (restore, quorum) = backup(args).await?;
    times.end("the backup found and proven");
    let vault = restore.vault_phase().await?;
    if quorum && vault.is_restored() {
        restore.require_quorum()?;
    }
    let (session, changeset) = prepare(&args.plan, args.parallelism, Format::Human).await?;
    let outlook = Outlook::new(&session.world, &changeset, restore.contents(), restore.taken(), vault);
    session::tell_warnings(&session.run, &console::note);
    drop(session);
    times.end("what is still there looked at");
    console::out(ui::rebuild::outlook(&outlook));
    if !agreed(args, &outlook.plan).await {
        console::note("nothing was changed");
        return Ok(Outcome::Failed);
    }
    times.begin_again();
    let outcome = phases(args, restore, &outlook, &mut times).await?;
    console::out(ui::rebuild::times(&times, &outlook));
    Ok(outcome)
}

/// The backup, proven, and whether it takes a quorum of holders. A journal that is gone is taken from it.
async fn backup(args: &RebuildArgs) -> Result<(Restore, bool), session::Error> {
    let mut checked = args.plan.open(Purpose::Everything).await?;
    let _lock = checked.lock(&args.lock.wait()).await?;
    let quorum = asks_for_quorum(&checked, args.share)?;
    let (keys, from) = (Given::read(args.share, args.seal_key.as_deref()).await?, args.from.as_deref());
    let (run, found) = found::find(&mut checked, source_of(from)?).await?;
    let lost = LostJournal::look(&run, found.manifest.as_deref(), found.companion.as_deref())?;
    let lost = match lost {
        None => None,
        Some(lost) => {
            console::out(ui::rebuild::lost_journal(&lost));
            let agreed =
                args.yes || console::can_ask("rebuild") && console::ask("Go on with that one? [y/N] ");
            if !agreed {
                return Err(Error::new(ErrorKind::Rejected, "rebuild", "the plan's journal is gone")
                    .advice("bring a copy of it back, or go on with the one of the backup")
                    .into());
            }
            Some(lost)
        }
    };
    let restore = proven(run, found, keys, None).await?;
    if let Some(lost) = lost {
        // Only now is the backup known to be authentic.
        lost.bring_back(&restore.run).await?;
    }
    Ok((restore, quorum))
}

async fn agreed(args: &RebuildArgs, name: &str) -> bool {
    if args.yes {
        return true;
    }
    if !console::can_ask("rebuild") {
        return false;
    }
    let name = name.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        console::ask_for(format!("To rebuild in this order, type the plan's name, {name}: "), &name)
    });
    asked.await.unwrap_or(false)
}

/// One phase after the other; one that fails ends the rebuild, and the next run goes on there.
async fn phases(
    args: &RebuildArgs,
    restore: Restore,
    outlook: &Outlook,
    times: &mut Times,
) -> Result<Outcome, session::Error> {
    let mut outcome = Outcome::Done;
    if !outlook.first.is_empty() {
        title(1, "AWS and files");
        outcome = outcome.and(applied(args, outlook.first.clone()).await);
        times.end("AWS and files");
        if stops(outcome) {
            return Ok(outcome);
        }
    }
    if outlook.vault.is_restored() {
        title(2, "Vault from the backup");
        outcome = outcome.and(restored(args, restore, times).await?);
        if stops(outcome) {
            return Ok(outcome);
        }
    }
    title(3, "the rest of the plan");
    outcome = outcome.and(applied(args, BTreeSet::new()).await);
    times.end("the rest of the plan applied");
    if stops(outcome) {
        return Ok(outcome);
    }
    if outlook.has_custody {
        title(4, "custody");
        mend_custody(args).await?;
        times.end("custody sealed and copied");
    }
    title(5, "verify");
    outcome = outcome.and(verify::run(VerifyArgs::of_plan(args.plan.clone())).await);
    times.end("verified");
    Ok(outcome)
}

fn title(number: usize, title: &str) {
    console::note(format_args!("\n{number}. {title}"));
}

fn stops(outcome: Outcome) -> bool {
    let stops = !matches!(outcome, Outcome::Done | Outcome::Stuck);
    if stops {
        console::note("the rebuild stops here; mend what failed, and run it again: it goes on");
    }
    stops
}

/// Applies these steps, or all of the plan if there are none.
async fn applied(args: &RebuildArgs, targets: BTreeSet<String>) -> Outcome {
    let select = Selection { targets: targets.into_iter().collect(), ..Selection::default() };
    let apply = ApplyArgs::new(args.plan.clone(), true, args.lock, Format::Human, args.parallelism);
    Box::pin(apply::run(apply.limited_to(select))).await
}

/// Seals what is in custody for the recipients of now, of which some may be new keys, and copies it to each store.
async fn mend_custody(args: &RebuildArgs) -> Result<(), session::Error> {
    let checked = args.plan.open(Purpose::Everything).await?;
    let work = Rewrapping::look(checked, &args.lock.wait()).await?;
    let count = work.objects.len();
    if count > 0 {
        work.carry_out(&args.lock.wait(), &|_| ()).await?;
        console::out(format_args!("{count} objects in custody are sealed again for the plan's recipients"));
    }
    let completed = work.complete().await;
    work.take_warnings().into_iter().for_each(console::note);
    Ok(completed?)
}

async fn restored(
    args: &RebuildArgs,
    restore: Restore,
    times: &mut Times,
) -> Result<Outcome, session::Error> {
    let checked = args.plan.open(Purpose::Everything).await?;
    let _lock = checked.lock(&args.lock.wait()).await?;
    // The clients know of what the phase before has made.
    let run = session::with_recipients(checked).await?;
    run.ready_to_sign().await?;
    let mut restore = restore.in_run(run);
    let preview = restore.preview(false).await?;
    let told = std::sync::Mutex::new(Vec::<(Instant, String)>::new());
    let tell = |text: &str| {
        console::note(text);
        told.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push((Instant::now(), text.to_owned()));
    };
    // The phase before has made the table of the lock, if the plan has it.
    let done = carry_out(&mut restore, &preview, Some(args.lock.wait()), &tell).await;
    let told = told.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    times.end_in_parts("Vault restored", &told);
    Ok(done?.unwrap_or(Outcome::Failed))
}
