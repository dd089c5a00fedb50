//! Decides how long to wait before each retry. No other module does.

use std::ops::ControlFlow;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::net::timeout::scaled_delay;
use crate::stop::Stop;

/// Delays between attempts at a write. Throttling passes in seconds; a new IAM principal may stay
/// invisible to other services for two minutes. Jitter prevents parallel steps from retrying at the
/// same moment.
pub fn write_delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(scaled_delay(Duration::from_millis(250)))
        .with_max_delay(scaled_delay(Duration::from_secs(20)))
        .with_max_times(12)
        .with_jitter()
        .build()
}

/// Delays between reads of a thing that was just written.
fn read_delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(scaled_delay(Duration::from_millis(50)))
        .with_max_delay(scaled_delay(Duration::from_secs(5)))
        .with_max_times(10)
        .with_jitter()
        .build()
}

/// The waits of one task.
pub struct Waits(Stop);

impl Waits {
    /// Waits that end when the run must end.
    pub fn until(stop: &watch::Receiver<bool>) -> Self {
        Self(Stop::by(stop))
    }

    /// Waits that last as long as they take.
    pub fn to_the_end() -> Self {
        Self(Stop::default())
    }

    /// Waits. Returns `false`, immediately, when the run must end.
    pub async fn wait(&self, delay: Duration) -> bool {
        self.0.wait(delay).await
    }

    /// Reads, and repeats while the server reports that it is not ready: for example, a KV engine is
    /// not ready immediately after it is mounted.
    ///
    /// # Errors
    /// The last one.
    pub async fn read(&self, mut read: impl AsyncFnMut() -> Result<()>) -> Result<()> {
        self.read_until(async || passing(read().await)).await
    }

    /// Reads until an attempt decides the outcome; the problem of an undecided one is the outcome when
    /// the delays or the run come to an end.
    ///
    /// # Errors
    /// As the attempts decide.
    pub async fn read_until(
        &self,
        mut attempt: impl AsyncFnMut() -> ControlFlow<Result<()>, Error>,
    ) -> Result<()> {
        let mut delays = read_delays();
        loop {
            let problem = match attempt().await {
                ControlFlow::Break(outcome) => return outcome,
                ControlFlow::Continue(problem) => problem,
            };
            match delays.next() {
                Some(delay) if self.wait(delay).await => {}
                _ => return Err(problem),
            }
        }
    }
}

/// Decides by a result, unless its error may pass.
pub fn passing(result: Result<()>) -> ControlFlow<Result<()>, Error> {
    match result {
        Err(error) if error.is_retriable() => ControlFlow::Continue(error),
        decided => ControlFlow::Break(decided),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "read", "no")
    }

    /// Reads with these results, in order: the last one, and how many were read.
    async fn read(waits: &Waits, results: Vec<Result<()>>) -> (Option<ErrorKind>, usize) {
        let (mut results, mut count) = (results.into_iter(), 0);
        let outcome = waits
            .read(async || {
                count += 1;
                results.next().unwrap_or(Ok(()))
            })
            .await;
        (outcome.err().map(|error| error.kind), count)
    }

    #[tokio::test]
    async fn only_errors_that_may_pass_are_repeated() {
        let waits = Waits::to_the_end();
        let passing = || Err(error(ErrorKind::Throttled));
        assert_eq!(read(&waits, vec![passing(), Ok(()), passing()]).await, (None, 2));
        let denied = vec![Err(error(ErrorKind::Denied)), Ok(())];
        assert_eq!(read(&waits, denied).await, (Some(ErrorKind::Denied), 1));
    }

    #[tokio::test]
    async fn stop_ends_the_waits_with_the_last_problem() {
        let (sender, stop) = watch::channel(true);
        let passing = vec![Err(error(ErrorKind::Throttled)), Ok(())];
        assert_eq!(read(&Waits::until(&stop), passing).await, (Some(ErrorKind::Throttled), 1));
        // Without a sender nobody can stop the run, so it goes on.
        sender.send_replace(false);
        drop(sender);
        assert!(Waits::until(&stop).wait(Duration::ZERO).await);
    }
}
