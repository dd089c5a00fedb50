//! The lock that other machines see, for a command that writes without a changeset.

use crate::apply::by_command;
use crate::error::{Error, Result};
use crate::lock::Wait;
use crate::run::Run;

/// The lock of a run, as long as it is held; where the plan names none, there is nothing to hold.
pub struct Hold<'r>(&'r Run);

impl<'r> Hold<'r> {
    /// Takes the lock of a run that was connected with [`super::Reach::Everything`].
    ///
    /// # Errors
    /// `Conflict`, naming the holder, when another run has it; when its table or bucket does not answer.
    pub async fn take(run: &'r Run, wait: &Wait<'_>) -> Result<Self> {
        let hold = Self(run);
        wait.take(async || hold.confirm().await).await?;
        Ok(hold)
    }

    /// The lock that a run may have taken already.
    pub(super) fn of(run: &'r Run) -> Self {
        Self(run)
    }

    /// Requires that it is still held, which comes before each write.
    ///
    /// # Errors
    /// `Conflict` when another run has it by now.
    pub async fn confirm(&self) -> Result<()> {
        self.0.confirm_lock(&by_command()).await
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When it could not be removed; the advice gives the command to do it by hand.
    pub async fn release(self) -> Result<()> {
        match &self.0.lock {
            Some(lock) => lock.release(&by_command()).await,
            None => Ok(()),
        }
    }

    /// Gives it back, and reports whether this run holds it no more; `told` gets a line about a lock that stays.
    pub async fn let_go(self, told: impl FnOnce(String)) -> bool {
        self.release().await.inspect_err(|error| told(still_locked(error))).is_ok()
    }
}

/// A lock that stays, in one line.
fn still_locked(error: &Error) -> String {
    format!("{error}; {}", error.advice.as_deref().unwrap_or("run `groundwork unlock`"))
}
