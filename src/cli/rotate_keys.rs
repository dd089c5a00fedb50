//! The keys of the cluster itself: `groundwork rotate --shares`, `--root-key` and `--keyring`.

use async_trait::async_trait;
use clap::Args;

use super::lock_args::LockArgs;
use super::plan_args::PlanArgs;
use super::{Outcome, custody};
use crate::apply::by_command;
use crate::console;
use crate::error::{Error, ErrorKind, Result};
use crate::prompt;
use crate::providers::vault::{
    DeclaredSplit, Rekey, ShareSource, VaultInit, rotate_keyring, rotate_root_key,
};
use crate::resource::Resource;
use crate::run::Run;
use crate::secret::Secret;
use crate::session::{self, Purpose, Reach, recorded};
use crate::ui;

/// Which of the cluster's keys.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// Split the cluster's key again: new shares, for the holders that the plan names now. The present ones are taken from
    /// custody, or asked for; they stay in custody for the backups of their time
    #[arg(long, conflicts_with_all = ["root_key", "keyring", "ids", "due", "rollback"])]
    pub shares: bool,
    /// Into how many shares [default: as the `vault.init` step declares]
    #[arg(long, value_name = "N", requires = "shares")]
    pub key_shares: Option<u32>,
    /// How many of them open it [default: as the `vault.init` step declares]
    #[arg(long, value_name = "K", requires = "shares")]
    pub key_threshold: Option<u32>,
    /// Replace the root key under the same shares (OpenBao)
    #[arg(long, conflicts_with_all = ["ids", "due", "rollback"])]
    pub root_key: bool,
    /// Add a key to the keyring, with which Vault encrypts from then on
    #[arg(long, conflicts_with_all = ["ids", "due", "rollback"])]
    pub keyring: bool,
}

impl KeyArgs {
    /// Whether any of them is asked for.
    pub fn is_any(&self) -> bool {
        self.shares || self.root_key || self.keyring
    }
}

/// How a rotation of keys is run.
pub struct How<'a> {
    pub plan: &'a PlanArgs,
    pub lock: &'a LockArgs,
    /// Do not ask.
    pub yes: bool,
    /// Only show what would be done.
    pub dry_run: bool,
}

/// Shows what is to be done, asks, and does it.
///
/// # Errors
/// When the plan is wrong, another run has the lock, or a server or custody does not take part.
pub async fn run(keys: &KeyArgs, how: &How<'_>) -> Result<Outcome, session::Error> {
    let mut checked = how.plan.open(Purpose::Connect).await?;
    let _lock = checked.lock(&how.lock.wait()).await?;
    let declared = custody::declared_init(&checked);
    let run = session::connect(&mut checked, Reach::Everything).await?;
    run.journal.pull().await?;
    run.journal.require_believed()?;
    let done = match keys.shares {
        true => rekey(keys, how, &run, declared).await,
        false => renew(keys, how, &run).await,
    };
    session::tell_warnings(&run, &console::note);
    Ok(done?)
}

async fn rekey(keys: &KeyArgs, how: &How<'_>, run: &Run, declared: Option<DeclaredSplit>) -> Result<Outcome> {
    let Some(declared) = declared else {
        return Err(Error::new(ErrorKind::Rejected, "split the key", "the plan has no `vault.init` step")
            .advice("declare how the key is split, and its holders, in a step of that kind"));
    };
    let wanted = wanted(keys, &declared)?;
    let rekey = Rekey::of(run).await?;
    let outlook = rekey.look().await?;
    console::out(ui::rotate_keys::outlook(&outlook, &wanted));
    if (wanted.shares, wanted.threshold) != (declared.shares, declared.threshold) {
        console::note(format_args!(
            "the plan declares {} of {} shares: change it too, or it differs from the cluster from then on",
            declared.threshold, declared.shares
        ));
    }
    if how.dry_run {
        return Ok(Outcome::Done);
    }
    let question = format_args!("Type the plan's name, {}, to split the key again: ", run.plan);
    if !(how.yes || console::can_ask("rotate") && console::ask_for(question, &run.plan)) {
        console::note("nothing was changed");
        return Ok(Outcome::Failed);
    }
    recorded(run, &how.lock.wait(), async |hold| {
        hold.confirm().await?;
        rekey.carry_out(&by_command(), &wanted, &Prompt).await
    })
    .await?;
    console::out(ui::rotate_keys::done(&wanted));
    Ok(Outcome::Done)
}

/// The declared split, with the shape of the command line.
fn wanted(keys: &KeyArgs, declared: &DeclaredSplit) -> Result<DeclaredSplit> {
    let wanted = DeclaredSplit {
        shares: keys.key_shares.unwrap_or(declared.shares),
        threshold: keys.key_threshold.unwrap_or(declared.threshold),
        ..declared.clone()
    };
    match VaultInit::check(&wanted).first() {
        None => Ok(wanted),
        Some(mistake) => {
            let message = format!("{}: {}", mistake.path, mistake.message);
            Err(Error::new(ErrorKind::Rejected, "split the key", message)
                .advice("bring the options and the plan's `vault.init` step together"))
        }
    }
}

/// The root key, the keyring, or both.
async fn renew(keys: &KeyArgs, how: &How<'_>, run: &Run) -> Result<Outcome> {
    let all =
        [(keys.root_key, "the root key, under the same shares"), (keys.keyring, "the keyring: a new key")];
    for (_, what) in all.iter().filter(|(is_wanted, _)| *is_wanted) {
        console::out(format_args!("rotate {what}"));
    }
    if how.dry_run {
        return Ok(Outcome::Done);
    }
    if !(how.yes || console::can_ask("rotate") && console::ask("Rotate? [y/N] ")) {
        console::note("nothing was changed");
        return Ok(Outcome::Failed);
    }
    recorded(run, &how.lock.wait(), async |hold| {
        if keys.root_key {
            hold.confirm().await?;
            console::out(match rotate_root_key(run, &by_command()).await? {
                true => "the root key is new, and the shares in custody open it",
                false => "the root key is new; custody has too few shares to prove that they open it",
            });
        }
        if keys.keyring {
            hold.confirm().await?;
            let (before, after) = rotate_keyring(run, &by_command()).await?;
            console::out(format_args!("the keyring has a new key: number {after}, before {before}"));
        }
        Ok(())
    })
    .await?;
    Ok(Outcome::Done)
}

/// Shares that people enter.
struct Prompt;

#[async_trait]
impl ShareSource for Prompt {
    async fn next(&self, entered: u32, required: u32) -> Result<Option<Secret>> {
        let question = format!("Present share {} of {required}", entered + 1);
        let line = prompt::secret_line(question).await;
        line.map_err(|error| Error::new(ErrorKind::Local, "read the shares", error.to_string()))
    }

    fn tell(&self, text: &str) {
        console::note(text);
    }
}
