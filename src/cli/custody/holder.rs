//! `groundwork custody holder`

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::super::Outcome;
use super::super::lock_args::LockArgs;
use super::super::plan::Format;
use super::super::plan_args::PlanArgs;
use super::declared_init;
use crate::apply::by_command;
use crate::console;
use crate::custody::people::{CanOpen, is_for_recipients, who_can_open};
use crate::custody::pgp::PublicKey;
use crate::custody::{Custody, Holder, HolderKey, Misdirected, Recipient};
use crate::error::{Error, ErrorKind};
use crate::place::Place;
use crate::prompt;
use crate::providers::vault::{Custodian, HeldShare, VaultInit};
use crate::resource::{Provided, Resource};
use crate::run::Run;
use crate::session::{self, Checked, Purpose, Reach, Rewrapping, recorded};
use crate::ui;
use crate::workspace::LocalFile;

/// The plan says who the holders are; these commands bring custody to it, one person at a time.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show who can open what today, and which share each holder has
    List(ListArgs),
    /// Let a recipient that the plan names now open everything, once its owner has proven the key
    Add(ChangeArgs),
    /// Seal everything again without a recipient that the plan no longer names
    Remove(ChangeArgs),
    /// Put one recipient in the place of another; or, for the holder of a key share, another key of theirs
    Replace(ReplaceArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
pub struct ChangeArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// The recipient: an age public key, a PGP key's fingerprint or its file in the plan's folder, a KMS key as the
    /// plan writes it
    who: String,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub struct ReplaceArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// The recipient that goes; or the name of a holder of the `vault.init` step, who keeps the share
    who: String,
    /// The recipient that comes
    by: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Where the new key is not on this machine: write a message for its owner to this file, which must not exist, and
    /// wait on standard input for what the message says
    #[arg(long, value_name = "FILE")]
    challenge: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    lock: LockArgs,
}

/// Who can open what, as JSON.
#[derive(Serialize)]
struct Standing<'a> {
    recipients: &'a [CanOpen],
    objects: usize,
    shares: &'a [HeldShare],
}

/// Runs one of the subcommands.
pub async fn run(command: &Command) -> Result<Outcome, session::Error> {
    match command {
        Command::List(args) => list(args).await,
        Command::Add(args) => change(args, true).await,
        Command::Remove(args) => change(args, false).await,
        Command::Replace(args) => replace(args).await,
    }
}

async fn list(args: &ListArgs) -> Result<Outcome, session::Error> {
    let run = session::with_recipients(args.plan.open(Purpose::Connect).await?).await?;
    let objects = run.custody().await?.examine("", false).await?;
    let recipients = who_can_open(&objects);
    let shares = match run.kinds.contains(&VaultInit::KIND) {
        true => Custodian::provide(&run, &Place::OWN).await?.held_shares().await?,
        false => Vec::new(),
    };
    session::tell_warnings(&run, &console::note);
    let objects = objects.iter().filter(|object| is_for_recipients(object)).count();
    match args.format {
        Format::Json => console::json(&Standing { recipients: &recipients, objects, shares: &shares }),
        Format::Human => console::out(ui::custody::people(&recipients, objects, &shares)),
    }
    Ok(Outcome::Done)
}

/// Adds a recipient, or removes one.
async fn change(args: &ChangeArgs, adds: bool) -> Result<Outcome, session::Error> {
    let checked = args.plan.open(Purpose::Connect).await?;
    if let Some(split) = declared_init(&checked)
        && split.holders.iter().any(|holder| holder.name == args.who)
    {
        return Err(takes_a_rekey(&args.who).into());
    }
    let folder = checked.resolved.document.folder.clone();
    let work = Rewrapping::look(checked, &args.how.lock.wait()).await?;
    let wanted = match adds {
        true => Change { comes: Some(&args.who), goes: None },
        false => Change { comes: None, goes: Some(&args.who) },
    };
    carry_out(&work, &wanted, &folder, &args.how).await
}

async fn replace(args: &ReplaceArgs) -> Result<Outcome, session::Error> {
    let checked = args.plan.open(Purpose::Connect).await?;
    let Some(by) = &args.by else { return reseal(args, checked).await };
    let folder = checked.resolved.document.folder.clone();
    let work = Rewrapping::look(checked, &args.how.lock.wait()).await?;
    carry_out(&work, &Change { comes: Some(by), goes: Some(&args.who) }, &folder, &args.how).await
}

/// The change that the caller has typed.
struct Change<'a> {
    comes: Option<&'a str>,
    goes: Option<&'a str>,
}

/// Requires that the difference between the plan and custody is what the caller says, no more; has the new key
/// prove itself; then seals everything again.
async fn carry_out(
    work: &Rewrapping,
    wanted: &Change<'_>,
    folder: &Path,
    how: &How,
) -> Result<Outcome, session::Error> {
    work.take_warnings().into_iter().for_each(console::note);
    let (comes, goes) = (all_of(&work.objects, |one| &one.lacks), all_of(&work.objects, |one| &one.former));
    let comes = require(wanted.comes, comes, folder, &Side::COMES)?;
    require(wanted.goes, goes, folder, &Side::GOES)?;
    if let Some(who) = &comes {
        let custody = work.run().custody().await?;
        prove(&custody, &custody.declared(who)?, who, how).await?;
    }
    console::out(ui::custody::misdirected(&work.objects, &[]));
    let question = format_args!("Seal these {} objects again? [y/N] ", work.objects.len());
    if !(how.yes || console::can_ask("custody holder") && console::ask(question)) {
        console::note("nothing was changed");
        return Ok(Outcome::Failed);
    }
    let done = work.carry_out(&how.lock.wait(), &|told| console::out(told)).await;
    work.take_warnings().into_iter().for_each(console::note);
    done?;
    if wanted.goes.is_some() {
        console::note(super::OLDER_VERSIONS);
    }
    Ok(Outcome::Done)
}

fn all_of(objects: &[Misdirected], side: impl Fn(&Misdirected) -> &Vec<String>) -> BTreeSet<String> {
    objects.iter().flat_map(|one| side(one).iter().cloned()).collect()
}

/// The words for what a plan adds, and for what it takes away.
struct Side {
    none: &'static str,
    other: &'static str,
}

impl Side {
    const COMES: Self = Self {
        none: "can open everything already, or the plan does not name it: add it to `custody.recipients` first",
        other: "can open custody by the plan, and not yet",
    };
    const GOES: Self = Self {
        none: "cannot open anything, or the plan still names it: remove it from `custody.recipients` first",
        other: "is no longer in the plan, and can still open custody",
    };
}

/// The one recipient of `found`, which is the one that the caller has typed; `None` where both say that there is none.
fn require(
    typed: Option<&str>,
    found: BTreeSet<String>,
    folder: &Path,
    side: &Side,
) -> Result<Option<String>, Error> {
    let refused = |message: String| {
        Error::new(ErrorKind::Rejected, "custody holder", message).advice(
            "one command changes one person: bring the plan and the command together, or seal everything for all \
             recipients of the plan with `groundwork custody rewrap PLAN`",
        )
    };
    let chosen = typed.and_then(|typed| found.iter().find(|who| is_same(who, typed, folder)).cloned());
    if let (Some(typed), None) = (typed, &chosen) {
        return Err(refused(format!("{typed} {}", side.none)));
    }
    match found.into_iter().find(|who| Some(who) != chosen.as_ref()) {
        Some(other) => Err(refused(format!("{other} {}", side.other))),
        None => Ok(chosen),
    }
}

/// Whether a recipient in words, `age age1…`, is what was typed: its key, or the file with it.
fn is_same(who: &str, typed: &str, folder: &Path) -> bool {
    let Some((kind, id)) = who.split_once(' ') else { return false };
    id.eq_ignore_ascii_case(typed)
        || kind == "pgp" && PublicKey::read(folder, Path::new(typed)).is_ok_and(|key| key.fingerprint() == id)
}

/// The proof that the owner of a key can open what is sealed for it, before anything is.
async fn prove(custody: &Custody, key: &Recipient, who: &str, how: &How) -> Result<(), Error> {
    if custody.opens_here(key).await? {
        console::note(format_args!("{who}: proven with the key on this machine"));
        return Ok(());
    }
    let unproven = |message: &str, advice: String| {
        Error::new(ErrorKind::Denied, format!("prove {who}"), message.to_owned()).advice(advice)
    };
    let (Some(path), Some(challenge)) = (&how.challenge, key.challenge()?) else {
        return Err(unproven(
            "its private key is not on this machine, so nothing proves that its owner can open custody",
            "run again with `--challenge FILE`: its owner decrypts that file and gives back what it says"
                .to_owned(),
        ));
    };
    LocalFile::of_caller(path).put(false, |file| file.write_all(challenge.message.as_bytes())).map_err(
        |error| Error::new(ErrorKind::Local, format!("write {}", path.display()), error.to_string()),
    )?;
    console::note(format_args!(
        "send {0} to the owner of {who}, who decrypts it (`age --decrypt --identity KEY {0}` or `gpg --decrypt {0}`) \
         and gives you the line in it",
        path.display()
    ));
    let answer = prompt::secret_line(format!("The line in {}", path.display()))
        .await
        .map_err(|error| Error::new(ErrorKind::Local, "read the answer", error.to_string()))?;
    match answer {
        Some(answer) if challenge.is_met_by(&answer) => {
            console::note(format_args!("{who}: proven by its owner"));
            Ok(())
        }
        _ => Err(unproven(
            "the answer is not what the message says; nothing was changed",
            "check which key the owner has, and run again with a new file".to_owned(),
        )),
    }
}

/// Seals a holder's share for another key of theirs.
async fn reseal(args: &ReplaceArgs, mut checked: Checked) -> Result<Outcome, session::Error> {
    let holder = declared_holder(&checked, &args.who)?;
    let key = holder.key(&checked.resolved.document.folder)?;
    let wait = args.how.lock.wait();
    let _lock = checked.lock(&wait).await?;
    let run = session::connect(&mut checked, Reach::Everything).await?;
    run.journal.pull().await?;
    run.journal.require_believed()?;
    let custodian = Custodian::provide(&run, &Place::OWN).await?;
    let held = custodian.held_shares().await?;
    let Some(before) = held.into_iter().find(|held| held.holder == args.who) else {
        return Err(Error::new(ErrorKind::Rejected, format!("holder {}", args.who), "holds no share yet")
            .advice("`groundwork apply PLAN` hands a share out, or says why there is none")
            .into());
    };
    if before.key_id == key.id() {
        console::out(format_args!("{}: share {} is sealed for this key already", args.who, before.share));
        return Ok(Outcome::Done);
    }
    let who = format!("{} ({})", args.who, key.id());
    prove(&*run.custody().await?, &Recipient::from(key.clone()), &who, &args.how).await?;
    console::out(format_args!(
        "share {} of {}\n  - {}\n  + {}",
        before.share,
        args.who,
        before.key,
        key.id()
    ));
    if !(args.how.yes || console::can_ask("custody holder") && console::ask("Seal this share again? [y/N] "))
    {
        console::note("nothing was changed");
        return Ok(Outcome::Failed);
    }
    let done = seal_again(&run, &custodian, args, &key).await;
    session::tell_warnings(&run, &console::note);
    let share = done?;
    console::out(format_args!(
        "{0}: share {share} is sealed for the new key; `groundwork custody export-share --holder {0}` writes it",
        args.who
    ));
    console::note(
        "the share itself is the same: if the lost key may be in other hands, split the cluster's key again",
    );
    Ok(Outcome::Done)
}

async fn seal_again(
    run: &Run,
    custodian: &Custodian,
    args: &ReplaceArgs,
    key: &HolderKey,
) -> Result<usize, Error> {
    recorded(run, &args.how.lock.wait(), async |hold| {
        hold.confirm().await?;
        custodian.reseal_share(&by_command(), &args.who, key).await
    })
    .await
}

fn declared_holder(checked: &Checked, name: &str) -> Result<Holder, Error> {
    let holders = declared_init(checked).map(|split| split.holders).unwrap_or_default();
    holders.into_iter().find(|holder| holder.name == name).ok_or_else(|| {
        Error::new(ErrorKind::Rejected, format!("holder {name}"), "is not one of the plan's holders of key shares")
            .advice(
                "a recipient is replaced by another: name both. For a holder, declare the new key under `holders` of \
                 the `vault.init` step",
            )
    })
}

/// Each share is a part of one key: there is none for one person more, and none less for one who knows it.
fn takes_a_rekey(name: &str) -> Error {
    let message = "a share can be neither added nor taken back: only splitting the key again does that";
    Error::new(ErrorKind::Rejected, format!("holder {name}"), message)
        .advice("for a holder who lost their key, declare the new one and use `custody holder replace`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn command_changes_only_the_person_it_names() {
        let folder = Path::new("/nowhere");
        let comes = |typed, all: &[&str]| require(typed, found(all), folder, &Side::COMES);
        assert_eq!(comes(Some("AGE1A"), &["age age1a"]).expect("the one").as_deref(), Some("age age1a"));
        assert_eq!(comes(None, &[]).expect("none"), None);
        let error = comes(Some("age1a"), &[]).expect_err("nothing to add");
        assert!(error.message.contains("custody.recipients"), "{error}");
        let error = comes(Some("age1a"), &["age age1a", "age age1b"]).expect_err("one more");
        assert!(error.message.contains("age age1b"), "{error}");
        let error = require(None, found(&["kms k"]), folder, &Side::GOES).expect_err("one goes");
        assert!(error.message.contains("kms k is no longer in the plan"), "{error}");
    }
}
