//! `groundwork backup`

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::plan::Format;
use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::backup::{self, Check, Keys, ManifestCheck, ShareSet, State};
use crate::confined_path::{JOURNAL, KEY, OBJECT, read_caller_file};
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::prompt;
use crate::secret::Secret;
use crate::session::found::{self, Source, Subject};
use crate::session::{self, BackedUp, Backups, Purpose};
use crate::signing::Authority;
use crate::snapshot::seal_key;
use crate::trust::Trust;
use crate::ui;

/// Take a backup of Vault, prove it, and store it where the plan says: 0 every store has a proven one; 3 a store
/// failed, or it is not proven; 1 there is none. `check` proves one that was taken.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BackupArgs {
    #[command(flatten)]
    plan: Option<PlanArgs>,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prove a backup without a server: whole, opened by the keys at hand, and every entry authentic; list
    /// what it holds, and never a value: 0 it is proven; 3 it is whole, but no key was at hand to open it;
    /// 1 it is flawed, or the keys do not open it
    Check(CheckArgs),
}

#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
struct CheckArgs {
    /// The snapshot: a file, or an object `s3://BUCKET/KEY`
    #[arg(value_name = "BACKUP")]
    source: Option<String>,
    /// The plan whose custody opens it. Where this is the only name, it is a file with a snapshot, and no plan is
    /// needed
    #[command(flatten)]
    plan: PlanArgs,
    /// The newest backup in the plan's stores
    #[arg(long, conflicts_with = "source")]
    latest: bool,
    /// Read key shares from standard input, one a line, hidden on a terminal; custody is not asked
    #[arg(long)]
    share: bool,
    /// The key of a `static` seal: a file with its 32 bytes, or with these in base64 or hexadecimal
    #[arg(long, value_name = "FILE")]
    seal_key: Option<PathBuf>,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Takes a backup, or runs the subcommand.
pub async fn run(args: BackupArgs) -> Outcome {
    let ended = match (args.command, args.plan) {
        (Some(Command::Check(args)), _) => check(&args).await,
        (None, Some(plan)) => take(&plan, args.format).await,
        (None, None) => Ok(Outcome::Usage),
    };
    ended.unwrap_or_else(|error| failed(&error))
}

async fn take(plan: &PlanArgs, format: Format) -> Result<Outcome, session::Error> {
    let mut checked = plan.open(Purpose::Connect).await?;
    let backups = Backups::connect(&mut checked).await?;
    let done = backups.take(&checked).await;
    session::tell_warnings(&backups.run, &console::note);
    let done = done?;
    done.remarks.iter().for_each(console::note);
    match format {
        Format::Json => console::json(&ui::backup::taken_json(&done.taken, &done.check)),
        Format::Human => console::out(ui::backup::taken(&done.taken, &done.check)),
    }
    Ok(outcome_of_taking(&done))
}

fn outcome_of_taking(done: &BackedUp) -> Outcome {
    let (copies, all) = (done.taken.copies(), done.taken.stored.len());
    match copies {
        0 => Outcome::Failed,
        _ if copies < all || done.check.state != State::Proven || !done.taken.is_signed => Outcome::Stuck,
        _ => Outcome::Done,
    }
}

async fn check(args: &CheckArgs) -> Result<Outcome, session::Error> {
    let seal_key = args.seal_key.as_deref().map(read_seal_key).transpose()?;
    let shares = if args.share { Some(typed_shares().await?) } else { None };
    let (subject, keys, authority) = match (&args.source, args.latest) {
        (None, false) => {
            let sets = shares.into_iter().collect();
            (from_file(&args.plan.plan)?, Keys { sets, seal_key, service: None }, None)
        }
        (source, _) => {
            let mut checked = args.plan.open(Purpose::Connect).await?;
            let (run, subject) = found::find(&mut checked, source_of(source.as_deref())?).await?;
            subject.remarks.iter().for_each(console::note);
            let keys = found::keys(&run, shares, seal_key).await?;
            session::tell_warnings(&run, &console::note);
            (subject, keys, Some(std::sync::Arc::clone(run.journal.authority())))
        }
    };
    let checked = backup::check(&subject.file, &keys).await?;
    let authority = match authority {
        Some(authority) => authority,
        None => Authority::at(None, "", &Trust::default())?.into(),
    };
    let manifest = ManifestCheck::of(subject.manifest.as_deref(), &checked, &authority);
    match args.format {
        Format::Json => console::json(&ui::backup::check_json(&subject.title(), &checked, &manifest)),
        Format::Human => {
            console::out(ui::backup::check(&subject.title(), &checked, &manifest, Timestamp::now()));
        }
    }
    Ok(if manifest.is_contradicted() { Outcome::Failed } else { outcome(&checked) })
}

/// The backup that an argument names: an object in S3 or a file; the newest one without it.
pub(super) fn source_of(argument: Option<&str>) -> Result<Source, Error> {
    Ok(match argument {
        None => Source::Latest,
        Some(address) if address.starts_with("s3://") => Source::Object(address.to_owned()),
        Some(path) => Source::File(from_file(Path::new(path))?),
    })
}

/// A file, and the manifest beside it.
fn from_file(path: &Path) -> Result<Subject, Error> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let beside = path.with_extension("json");
    let is_named = path.extension().is_some_and(|end| end == "snap") && beside.is_file();
    let manifest = is_named.then(|| read_caller_file(&beside, OBJECT)).transpose();
    let manifest = manifest.map_err(|error| unreadable(&beside, &error))?;
    let companion = path.with_extension("plan.tar");
    let companion = manifest.as_ref().and_then(|_| read_caller_file(&companion, JOURNAL).ok());
    let name = path.display().to_string();
    Ok(Subject { name, place: None, file, manifest, companion, remarks: Vec::new() })
}

fn outcome(check: &Check) -> Outcome {
    match check.state {
        State::Proven => Outcome::Done,
        State::Whole => Outcome::Stuck,
        State::Locked | State::Flawed => Outcome::Failed,
    }
}

pub(super) async fn typed_shares() -> Result<ShareSet, Error> {
    let shares = prompt::secret_lines("Share").await.map_err(|error| {
        Error::new(ErrorKind::Local, "read the shares", error.to_string()).advice("give one share a line")
    })?;
    Ok(ShareSet { from: "standard input".to_owned(), shares })
}

pub(super) fn read_seal_key(path: &Path) -> Result<Secret, Error> {
    let bytes = read_caller_file(path, KEY).map_err(|error| unreadable(path, &error))?;
    seal_key(Secret::new(bytes)).ok_or_else(|| {
        Error::new(ErrorKind::Local, format!("read {}", path.display()), "it does not have a key of 32 bytes")
            .advice("name a file with the key itself, or with it in base64 or hexadecimal")
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Local, format!("read {}", path.display()), error.to_string())
}
