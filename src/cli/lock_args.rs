//! How long to wait for a lock that another run holds.

use std::time::Duration;

use clap::Args;

use crate::console;
use crate::lock::Wait;

/// How long to wait for a lock.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct LockArgs {
    /// Wait this long for a lock that another run holds, instead of ending at once: `30s`, `5m`
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s", hide_default_value = true)]
    lock_timeout: Duration,
}

impl LockArgs {
    /// The time.
    pub fn limit(self) -> Duration {
        self.lock_timeout
    }

    /// Waits that are reported on standard error.
    pub fn wait(self) -> Wait<'static> {
        Wait::up_to(self.lock_timeout, &|waiting| console::note(waiting))
    }
}

/// The same for a command that also holds the lock that other machines see.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct SharedLockArgs {
    #[command(flatten)]
    own: LockArgs,
    /// Do not take the plan's lock that other machines see: its table or bucket is lost. No one else may work on the
    /// servers meanwhile
    #[arg(long)]
    without_shared_lock: bool,
}

impl SharedLockArgs {
    /// Whether the lock that other machines see is taken.
    pub fn is_shared(self) -> bool {
        !self.without_shared_lock
    }

    /// The wait for that lock, if it is taken.
    pub fn shared(self) -> Option<Wait<'static>> {
        self.is_shared().then(|| self.wait())
    }

    /// Waits that are reported on standard error.
    pub fn wait(self) -> Wait<'static> {
        self.own.wait()
    }
}

/// A length of time as people write it.
///
/// # Errors
/// How to write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let span: jiff::Span = text.parse().map_err(|_| "write it as 30m, 24h or 7d".to_owned())?;
    let length = span.to_duration(days).ok().and_then(|length| Duration::try_from(length).ok());
    length.ok_or_else(|| "write it as 30m, 24h or 7d".to_owned())
}
