//! `groundwork custody`

mod holder;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::lock_args::LockArgs;
use super::plan::Format;
use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::apply::by_command;
use crate::console;
use crate::custody::Custody;
use crate::custody::examine::Object;
use crate::durable::{private_file, sync_folder};
use crate::error::{Error, ErrorKind};
use crate::place::Place;
use crate::providers::vault::{Custodian, CustodyStatus, DeclaredSplit, VaultInit, declared_split};
use crate::resolve::{OutputTable, Resolved, Step};
use crate::resource::{Provided, Resource};
use crate::run::Run;
use crate::secret::Secret;
use crate::session::{self, Checked, Purpose, Reach, Rewrapping};
use crate::ui;

/// How long the key service has to open one object. On the day on which it is lost, each object would wait for it.
const KEYS_WITHIN: Duration = Duration::from_secs(15);

/// Check, list and export the copies that are kept of once-only secrets.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct CustodyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prove, by decrypting every copy, that custody suffices today: 0 it does; 3 it does, but a
    /// copy needs repair; 1 it does not
    Check(CheckArgs),
    /// List what is kept, for whom and since when; decrypt nothing
    Show(ShowArgs),
    /// Seal everything again for the recipients that the plan names now, and no others: after one was
    /// added or removed
    Rewrap(RewrapArgs),
    /// Write one key share to a file
    ExportShare(ExportArgs),
    /// Show who can open what; let a person in, take one out, or give one a new key
    #[command(subcommand, after_help = "Guide: docs/guide/src/people.md")]
    Holder(holder::Command),
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Put a good copy in the place of each damaged or missing one
    #[arg(long)]
    repair: bool,
    /// Where stores have different values, put this one's copy in the place of the others, which keep
    /// theirs aside: a store as the check names it
    #[arg(long, value_name = "STORE", requires = "repair")]
    prefer: Option<String>,
    #[command(flatten)]
    lock: LockArgs,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct RewrapArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct ExportArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    which: Which,
    /// A file that does not exist yet, made for its owner only; `-` is standard output, which must
    /// not be a terminal
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The encrypted share of this holder, for `gpg --decrypt` or `age --decrypt`
    #[arg(long, value_name = "NAME")]
    holder: Option<String>,
    /// The share with this number, counted from 1, in the clear
    #[arg(long, value_name = "N")]
    index: Option<usize>,
}

/// The limit of sealing again.
const OLDER_VERSIONS: &str = "older versions stay on the stores, and former recipients may have kept what is in \
                              them: to end that, replace the secrets (`groundwork apply PLAN --replace STEP`)";

/// The results of a check, as JSON.
#[derive(Serialize)]
struct Findings<'a> {
    objects: &'a [Object],
    vault: Option<&'a CustodyStatus>,
    enough: bool,
    perfect: bool,
    repaired: &'a [String],
}

/// Runs one of the subcommands.
pub async fn run(args: CustodyArgs) -> Outcome {
    let ended = match args.command {
        Command::Check(args) => check(&args).await,
        Command::Show(args) => show(&args).await,
        Command::Rewrap(args) => rewrap(&args).await,
        Command::ExportShare(args) => export(&args).await,
        Command::Holder(command) => holder::run(&command).await,
    };
    ended.unwrap_or_else(|error| failed(&error))
}

async fn check(args: &CheckArgs) -> Result<Outcome, session::Error> {
    let mut checked = args.plan.open(Purpose::Connect).await?;
    let _lock = if args.repair { Some(checked.lock(&args.lock.wait()).await?) } else { None };
    let mut run = match checked.resolved.custody_references.is_empty() {
        true => session::connect(&mut checked, Reach::Custody).await?,
        false => with_recipients(args, &mut checked).await?,
    };
    run.give_up_on_silent_keys(KEYS_WITHIN);
    let custody = run.custody().await?;
    let mut objects = custody.examine("", true).await?;
    let mut repaired = Vec::new();
    if args.repair {
        if let Some(store) = &args.prefer
            && !objects.iter().flat_map(|object| &object.copies).any(|copy| copy.store == *store)
        {
            console::note(format!("error: no store is called `{store}`; use a name that the check shows"));
            return Ok(Outcome::Usage);
        }
        repaired = repair(&custody, &objects, args.prefer.as_deref()).await?;
        objects = custody.examine("", true).await?;
    }
    let standing = standing(&checked, &run).await?;
    // Said already, copy by copy.
    custody.take_warnings();
    let enough = objects.iter().all(|object| object.is_obtainable() || object.is_foreign())
        && standing.as_ref().is_none_or(|standing| standing.problems.is_empty());
    let perfect = enough && objects.iter().all(Object::is_perfect);
    match args.format {
        Format::Json => {
            let (objects, repaired) = (objects.as_slice(), repaired.as_slice());
            console::json(&Findings { objects, vault: standing.as_ref(), enough, perfect, repaired });
        }
        Format::Human => {
            repaired.iter().for_each(console::note);
            console::out(ui::custody::objects(&objects));
            if objects.iter().any(Object::differs) {
                console::out(ui::custody::DIFFERENT);
            }
            if !objects.iter().all(Object::is_well_directed) {
                console::out(ui::custody::MISDIRECTED);
            }
            if let Some(one) = &standing {
                console::out(ui::custody::standing(one));
            }
        }
    }
    Ok(match (enough, perfect) {
        (false, _) => Outcome::Failed,
        (true, false) => Outcome::Stuck,
        (true, true) => Outcome::Done,
    })
}

/// A run that knows the recipients that steps make; if these cannot be read, one that does not.
async fn with_recipients(args: &CheckArgs, checked: &mut Checked) -> Result<Run, session::Error> {
    match session::with_recipients(args.plan.check()?).await {
        Ok(run) => Ok(run),
        Err(error) => {
            let run = session::connect(checked, Reach::Custody).await?;
            console::note(format_args!(
                "the recipients that the plan names cannot be read, and are not compared: {error}"
            ));
            Ok(run)
        }
    }
}

async fn rewrap(args: &RewrapArgs) -> Result<Outcome, session::Error> {
    let checked = args.plan.open(Purpose::Connect).await?;
    let work = Rewrapping::look(checked, &args.lock.wait()).await?;
    work.take_warnings().into_iter().for_each(console::note);
    let told = ui::custody::misdirected(&work.objects, &work.handed_out);
    if !told.is_empty() {
        console::out(told);
    }
    let count = work.objects.len();
    if count == 0 {
        console::out("everything in custody is sealed for the plan's recipients");
        return Ok(Outcome::Done);
    }
    let question = format_args!("Seal these {count} objects again, only for the plan's recipients? [y/N] ");
    if !(args.yes || console::can_ask("rewrap") && console::ask(question)) {
        console::note("nothing was changed");
        return Ok(Outcome::Failed);
    }
    let done = work.carry_out(&args.lock.wait(), &|told| console::out(told)).await;
    work.take_warnings().into_iter().for_each(console::note);
    done?;
    if work.objects.iter().any(|one| !one.former.is_empty()) {
        console::note(OLDER_VERSIONS);
    }
    Ok(Outcome::Done)
}

async fn repair(
    custody: &Custody,
    objects: &[Object],
    prefer: Option<&str>,
) -> Result<Vec<String>, session::Error> {
    let mut repaired = Vec::new();
    for object in objects.iter().filter(|object| object.is_obtainable() && !object.is_perfect()) {
        for store in custody.repair(&by_command(), object, prefer).await? {
            repaired.push(format!("repaired {} on {store}", object.name));
        }
    }
    for object in objects.iter().filter(|object| object.is_foreign()) {
        for store in custody.reject(&by_command(), object).await? {
            repaired.push(format!("put {} aside on {store}, which is not this plan's", object.name));
        }
    }
    Ok(repaired)
}

/// Nothing when the plan does not initialise Vault.
async fn standing(checked: &Checked, run: &Run) -> Result<Option<CustodyStatus>, session::Error> {
    let resolved = &checked.resolved;
    let Some(step) = resolved.steps.iter().find(|step| step.kind.name() == VaultInit::KIND) else {
        return Ok(None);
    };
    let declared = split_of(resolved, step).map(|split| split.threshold);
    let custodian = Custodian::provide(run, &Place::OWN).await?;
    Ok(Some(custodian.standing(declared).await?))
}

/// How the plan declares the key to be split; `None` without a `vault.init` step.
pub(super) fn declared_init(checked: &Checked) -> Option<DeclaredSplit> {
    let resolved = &checked.resolved;
    let step = resolved.steps.iter().find(|step| step.kind.name() == VaultInit::KIND)?;
    split_of(resolved, step)
}

/// The same of one step, as far as that is known without the network.
fn split_of(resolved: &Resolved, step: &Step) -> Option<DeclaredSplit> {
    let fields = resolved.fields(step, &OutputTable::new()).ok()?;
    declared_split(fields.into())
}

async fn show(args: &ShowArgs) -> Result<Outcome, session::Error> {
    let run = session::connect(&mut args.plan.open(Purpose::Connect).await?, Reach::Custody).await?;
    let objects = run.custody().await?.examine("", false).await?;
    match args.format {
        Format::Json => console::json(&objects),
        Format::Human => console::out(ui::custody::objects(&objects)),
    }
    Ok(Outcome::Done)
}

async fn export(args: &ExportArgs) -> Result<Outcome, session::Error> {
    let to_stdout = args.to == Path::new("-");
    if to_stdout && std::io::stdout().is_terminal() {
        console::note("error: a share is not shown on a terminal: pipe it, or name a file with --to");
        return Ok(Outcome::Usage);
    }
    let run = session::connect(&mut args.plan.open(Purpose::Connect).await?, Reach::Custody).await?;
    let custodian = Custodian::provide(&run, &Place::OWN).await?;
    let share = match (&args.which.holder, args.which.index) {
        (Some(holder), _) => custodian.share_for(holder).await?,
        (None, number) => custodian.share_at(number.unwrap_or_default()).await?,
    };
    session::tell_warnings(&run, &console::note);
    match to_stdout {
        true => console::secret_line(&share),
        false => write_new(&args.to, &share)?,
    }
    Ok(Outcome::Done)
}

/// Writes a file that only its owner may read, and never over another.
fn write_new(path: &Path, secret: &Secret) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = private_file().write(true).create_new(true).open(path).and_then(|mut file| {
        file.write_all(secret.expose_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        sync_folder(folder)
    });
    written.map_err(|error| {
        Error::new(ErrorKind::Local, format!("write {}", path.display()), error.to_string())
            .advice("name a file that does not exist yet, in a folder that does")
    })
}
