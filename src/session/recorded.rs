//! A command that writes without a changeset: under the plan's lock, between the entries that say who writes and when.

use super::Hold;
use crate::apply::by_command;
use crate::error::Result;
use crate::journal::Entry;
use crate::lock::Wait;
use crate::run::Run;

/// Does `work`. The run was connected with [`super::Reach::Everything`].
///
/// # Errors
/// When another run has the lock, the journal cannot be written, or as `work` fails.
pub async fn recorded<T>(
    run: &Run,
    wait: &Wait<'_>,
    work: impl AsyncFnOnce(&Hold<'_>) -> Result<T>,
) -> Result<T> {
    run.ready_to_sign().await?;
    let hold = Hold::take(run, wait).await?;
    let done = async {
        run.journal.append(&by_command(), Entry::RunStarted).await?;
        let done = work(&hold).await;
        let ended = run.journal.append(&by_command(), Entry::RunFinished).await;
        done.and_then(|done| ended.map(|()| done))
    };
    let done = done.await;
    let released = hold.release().await;
    done.and_then(|done| released.map(|()| done))
}
