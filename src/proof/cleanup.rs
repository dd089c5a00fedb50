//! The things that proofs have made, and their removal.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// Removes one thing. It may be called again after a failure, so that a thing which is gone already must count
/// as removed.
type Remove = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send + Sync>;

#[derive(Clone)]
struct Made {
    step: String,
    what: String,
    remove: Remove,
}

/// The things that proofs have made and not removed yet.
#[derive(Default)]
pub struct Cleanup {
    made: Mutex<Register>,
}

#[derive(Default)]
struct Register {
    next: u64,
    made: BTreeMap<u64, Made>,
}

impl Cleanup {
    /// Registers a thing that was made on behalf of a step.
    pub(super) fn register<F>(
        &self,
        step: &str,
        what: String,
        remove: impl Fn() -> F + Send + Sync + 'static,
    ) -> Undo<'_>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let mut register = self.lock();
        let number = register.next;
        register.next += 1;
        let remove: Remove = Arc::new(move || Box::pin(remove()));
        register.made.insert(number, Made { step: step.to_owned(), what, remove });
        Undo { cleanup: self, number }
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes everything that is still there, the latest first. Returns what could not be removed: the
    /// step, the thing and the reason.
    pub async fn run(&self) -> Vec<(String, String, Error)> {
        let open: Vec<u64> = self.lock().made.keys().rev().copied().collect();
        let mut left = Vec::new();
        for number in open {
            let made = self.lock().made.get(&number).cloned();
            let Some(Made { step, what, .. }) = made else { continue };
            if let Err(error) = self.remove(number).await {
                left.push((step, what, error));
            }
        }
        left
    }

    /// The things that are still there: the step and the thing.
    pub fn remaining(&self) -> Vec<(String, String)> {
        self.lock().made.values().map(|made| (made.step.clone(), made.what.clone())).collect()
    }

    async fn remove(&self, number: u64) -> Result<()> {
        let made = self.lock().made.get(&number).cloned();
        let Some(made) = made else { return Ok(()) };
        (made.remove)().await?;
        self.lock().made.remove(&number);
        Ok(())
    }
}

/// A registered thing. Dropping this changes nothing: the thing is then removed at the end.
#[must_use]
pub struct Undo<'a> {
    cleanup: &'a Cleanup,
    number: u64,
}

impl Undo<'_> {
    /// Removes the thing now. One that cannot be removed is tried once more at the end.
    ///
    /// # Errors
    /// The error of the removal.
    pub async fn now(self) -> Result<()> {
        self.cleanup.remove(self.number).await
    }

    /// Forgets the thing, which is gone already.
    pub fn is_gone(self) {
        self.cleanup.lock().made.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn everything_made_is_removed_once() {
        let cleanup = Cleanup::default();
        let removed = Arc::new(AtomicUsize::new(0));
        let make = |name: &str, failures: usize| {
            let (removed, left) = (Arc::clone(&removed), Arc::new(AtomicUsize::new(failures)));
            cleanup.register("step", name.to_owned(), move || {
                let fails =
                    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                if fails.is_err() {
                    removed.fetch_add(1, Ordering::Relaxed);
                }
                std::future::ready(match fails {
                    Ok(_) => Err(Error::new(ErrorKind::Unavailable, "remove", "not now")),
                    Err(_) => Ok(()),
                })
            })
        };
        make("at once", 0).now().await.expect("removed");
        make("gone by itself", 0).is_gone();
        make("after a failure", 1).now().await.expect_err("fails once");
        drop(make("at the end", 0));
        drop(make("never", 9));
        let left = cleanup.run().await;
        assert_eq!(left.iter().map(|(_, what, _)| what.as_str()).collect::<Vec<_>>(), ["never"]);
        assert_eq!(cleanup.remaining(), [("step".to_owned(), "never".to_owned())]);
        assert_eq!(removed.load(Ordering::Relaxed), 3);
    }
}
