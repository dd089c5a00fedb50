//! Waits for a lock that another run holds, as long as the caller wants to.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::error::{ErrorKind, Result};
use crate::stop::Stop;

/// The first pause between two attempts, and the longest; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// How often a person hears that the run still waits.
const REMIND: Duration = Duration::from_secs(30);

/// How long a run waits for a lock, and who hears of it.
pub struct Wait<'a> {
    limit: Duration,
    tell: &'a (dyn Fn(String) + Sync),
    stop: Stop,
}

impl<'a> Wait<'a> {
    /// Waits up to `limit`, and reports each time for whom.
    pub fn up_to(limit: Duration, tell: &'a (dyn Fn(String) + Sync)) -> Self {
        Self { limit, tell, stop: Stop::default() }
    }

    /// The same, until the run must end.
    #[must_use]
    pub fn unless(self, stop: &watch::Receiver<bool>) -> Self {
        Self { stop: Stop::by(stop), ..self }
    }

    /// Repeats the attempt while another run holds the lock and there is time.
    ///
    /// # Errors
    /// Of the last attempt.
    pub async fn take<T>(&self, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let (mut pause, longest) = PAUSES;
        let mut told: Option<Instant> = None;
        loop {
            let taken = match attempt().await {
                Err(error) if error.kind == ErrorKind::Conflict => error,
                ended => return ended,
            };
            let left = self.limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(taken);
            }
            if told.is_none_or(|time| time.elapsed() >= REMIND) {
                told = Some(Instant::now());
                let left = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
                (self.tell)(format!("waiting up to {left:?} for the lock: {}", taken.message));
            }
            if !self.stop.wait(pause.min(left)).await {
                return Err(taken);
            }
            pause = (pause * 2).min(longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::Error;

    /// The outcome after the lock is held for this many attempts, how many there were, and what was told.
    async fn taken(limit: Duration, held: usize, stop: Option<bool>) -> (bool, usize, Vec<String>) {
        let told = Mutex::new(Vec::new());
        let tell = |text| told.lock().expect("one thread").push(text);
        let mut wait = Wait::up_to(limit, &tell);
        let (_sender, stop) = match stop {
            Some(stop) => {
                let (sender, receiver) = watch::channel(stop);
                (Some(sender), Some(receiver))
            }
            None => (None, None),
        };
        if let Some(stop) = stop {
            wait = wait.unless(&stop);
        }
        let mut attempts = 0;
        let outcome = wait
            .take(async || {
                attempts += 1;
                match attempts <= held {
                    true => Err(Error::new(ErrorKind::Conflict, "lock", "ann holds it")),
                    false => Ok(()),
                }
            })
            .await;
        (outcome.is_ok(), attempts, told.lock().expect("one thread").clone())
    }

    #[tokio::test]
    async fn wait_ends_with_the_lock_or_with_its_time() {
        let seconds = Duration::from_secs;
        assert_eq!(taken(seconds(0), 1, None).await, (false, 1, vec![]), "as without it");
        let (ok, attempts, told) = taken(seconds(60), 2, None).await;
        assert_eq!((ok, attempts), (true, 3));
        assert_eq!(told, ["waiting up to 60s for the lock: ann holds it"]);
        let (ok, attempts, _) = taken(Duration::from_millis(250), usize::MAX, None).await;
        assert!(!ok && attempts > 2, "{attempts}");
    }

    #[tokio::test]
    async fn wait_ends_when_the_run_must_end() {
        let (ok, attempts, _) = taken(Duration::from_mins(1), usize::MAX, Some(true)).await;
        assert_eq!((ok, attempts), (false, 1));
    }
}
