//! The journal's entries about restores.

use super::restore::{Preview, Restore, Restored};
use super::{Checked, Error, Reach, connect};
use crate::apply::by_command;
use crate::error::{self, ErrorKind};
use crate::journal::{Entry, OperationOutcome};
use crate::plan::Section;
use crate::providers::vault::Ground;
use crate::run::Run;
use crate::snapshot::Table;

/// The operation under which the journal knows a restore.
const RESTORE: &str = "restore";

/// The clients for a restore, with the lock that other machines see if it `is_shared`. The lines that other machines
/// have written to the journal have to be known before one is added to it; on the worst day its copy may be gone, and
/// then nothing is recorded.
///
/// # Errors
/// As [`connect`].
pub async fn connect_to_record(
    checked: &mut Checked,
    is_shared: bool,
) -> Result<(Run, Option<String>), Error> {
    let has = |section| checked.resolved.document.section(section).is_some();
    let (has_copy, has_lock) = (has(Section::Journal), is_shared && has(Section::Lock));
    let reach = if has_copy || has_lock { Reach::Everything } else { Reach::Custody };
    let run = match connect(checked, reach).await {
        Ok(run) => run,
        Err(Error::Live(error)) if has_lock => {
            let advice = "if the lock's table or bucket is lost, see to it that no one else works on the servers, and \
                          add `--without-shared-lock`";
            return Err(error.advice(advice).into());
        }
        Err(Error::Live(error)) if has_copy => return unrecorded(checked, &error).await,
        Err(error) => return Err(error),
    };
    match run.journal.pull().await {
        Err(error) if has_copy && !has_lock => unrecorded(checked, &error).await,
        pulled => {
            let why = pulled.and(run.ready_to_sign().await).err();
            Ok((run, why.map(|error| format!("the restore is not recorded in the journal: {error}"))))
        }
    }
}

async fn unrecorded(checked: &mut Checked, error: &error::Error) -> Result<(Run, Option<String>), Error> {
    let run = connect(checked, Reach::Custody).await?;
    Ok((run, Some(format!("the restore is not recorded, as the journal's copy cannot be read: {error}"))))
}

/// Records that a restore begins.
pub(super) async fn begun(restore: &Restore, preview: &Preview) -> error::Result<()> {
    if !restore.is_recorded() {
        return Ok(());
    }
    let sha256 = restore.check.frame.as_ref().map(|(frame, _)| frame.sha256.clone()).unwrap_or_default();
    let ground = match preview.ground {
        Ground::Inhabited => "a cluster with data",
        Ground::Empty => "empty servers",
        Ground::Begun => "servers of an unfinished restore",
    };
    let intent = Entry::Intent {
        step: RESTORE.to_owned(),
        operation: RESTORE.to_owned(),
        target: preview.address.clone(),
        detail: vec![restore.name.clone(), format!("sha256:{sha256}"), ground.to_owned()],
    };
    restore.run.journal.append(&by_command(), intent).await
}

/// Records how it ended, and what it brought back.
pub(super) async fn ended(
    restore: &Restore,
    preview: &Preview,
    restored: error::Result<Restored>,
) -> error::Result<Restored> {
    if !restore.is_recorded() {
        return restored;
    }
    let (operation, target) = (RESTORE.to_owned(), preview.address.clone());
    let entry = match &restored {
        Ok(_) => Entry::Committed { operation, target, detail: brought_back(restore) },
        Err(error) => {
            let result = match error.kind {
                ErrorKind::Rejected | ErrorKind::Denied => OperationOutcome::Failed,
                _ => OperationOutcome::Unknown,
            };
            Entry::Outcome { operation, target, result, message: error.to_string() }
        }
    };
    let noted = restore.run.journal.append(&by_command(), entry).await;
    let restored = restored?;
    noted.map(|()| restored)
}

fn brought_back(restore: &Restore) -> Vec<String> {
    let contents = restore.contents();
    let mounts = |table| contents.mounts_of(table).count();
    vec![
        format!("{} secrets", contents.secrets.len()),
        format!("{} secrets engines", mounts(Table::Secrets)),
        format!("{} auth methods", mounts(Table::Auth)),
        format!("{} policies", contents.policies.len()),
        format!("{} tokens", contents.counts.tokens),
    ]
}
