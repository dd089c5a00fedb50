//! Traces of other runs of the plan: locks, and requests whose outcome is not known.

use super::report::{LockHeld, OpenOutcome, Seen};
use crate::error::Result;
use crate::journal::{Entry, Journal, PHASED};
use crate::lock::{Holder, LocalLock, LocalLook, RemoteLock};
use crate::workspace::Workspace;

/// The lock of this machine.
pub(super) fn here(workspace: Result<Workspace>, plan: &str) -> Seen<Option<LockHeld>> {
    match workspace.and_then(|workspace| LocalLock::look(&workspace, plan)) {
        Ok(LocalLook::Free) => Seen::Known(None),
        Ok(LocalLook::Held(holder)) => Seen::Known(Some(held_here(holder))),
        Err(error) => Seen::Unseen(error.to_string()),
    }
}

fn held_here(holder: Option<Holder>) -> LockHeld {
    match holder {
        Some(Holder { who, since }) => {
            LockHeld { holder: format!("{}, process {}", who.who, who.pid), since: Some(since), id: None }
        }
        None => LockHeld { holder: "a run that has not recorded itself".to_owned(), since: None, id: None },
    }
}

/// The lock that other machines see.
pub(super) async fn everywhere(lock: Option<&RemoteLock>) -> Result<Option<LockHeld>> {
    let Some(lock) = lock else { return Ok(None) };
    Ok(lock.look().await?.map(|held| LockHeld {
        holder: held.info.describe(),
        since: held.info.created.parse().ok(),
        id: Some(held.info.id),
    }))
}

/// The requests that the journal has neither committed nor settled. A rotation in phases is meant to be open for
/// a day; its next phase is among the dates.
pub(super) fn outcomes(journal: &Journal) -> Vec<OpenOutcome> {
    let open = journal.open_intents().into_iter().filter_map(|record| {
        let is_request = matches!(record.entry, Entry::Intent { .. });
        let is_phased = |operation: &str| operation.starts_with(PHASED);
        let (operation, target) =
            record.entry.subject().filter(|(operation, _)| is_request && !is_phased(operation))?;
        Some(OpenOutcome {
            operation: operation.to_owned(),
            target: target.to_owned(),
            since: record.time,
            who: record.who.who.clone(),
            is_lost: journal.is_unknown(operation, target),
        })
    });
    open.collect()
}
