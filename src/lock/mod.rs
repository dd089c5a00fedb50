//! Allows only one run at a time: on this machine always, and everywhere when the plan names a
//! lock.
//!
//! The remote lock has Terraform's format, so that each tool sees the other's lock. A lock is never
//! stolen because of its age: it names its holder, and only its exact id removes it.

mod info;
mod local;
mod wait;

use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

pub use info::Info;
pub use local::{Holder, LocalLock, LocalLook};
pub use wait::Wait;

use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;

/// How long a confirmed lock counts as ours. Writes after that confirm it again.
const FRESH: Duration = Duration::from_secs(1);

/// A place that holds a lock.
#[async_trait]
pub trait Place: fmt::Debug + Send + Sync {
    /// Creates the lock if none exists.
    async fn put(&self, permit: &Permit, info: &Info) -> Result<Put>;
    /// The current lock.
    async fn held(&self) -> Result<Option<Held>>;
    /// Removes the lock that was read, if it has not changed; returns `false` when it has.
    async fn remove(&self, permit: &Permit, held: &Held) -> Result<bool>;
    /// Removes the lock with what the place keeps of earlier ones.
    async fn erase(&self, permit: &Permit) -> Result<()>;
    /// The locked object, `bucket/key`.
    fn path(&self) -> String;
}

/// The result of an attempt to create a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The lock was created.
    Taken,
    /// A lock already exists.
    Refused,
    /// The table or bucket for the lock does not exist.
    Nowhere,
}

/// A lock as it was read.
#[derive(Clone, Debug)]
pub struct Held {
    /// Who holds it.
    pub info: Info,
    /// The place's own identification of this lock.
    pub proof: String,
}

/// One run's remote lock.
#[derive(Debug)]
pub struct RemoteLock {
    place: Box<dyn Place>,
    info: Info,
    plan: String,
    /// Whether a step of the plan makes the table or bucket, so that it may not exist yet.
    is_made: bool,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It was not taken, or its table or bucket did not exist.
    Free,
    /// This run held it at this time.
    Ours(Instant),
    /// This run held it and no longer does.
    Lost,
    /// This run has removed it for good, with everything that it protects.
    Retired,
}

impl RemoteLock {
    /// A lock at `place` that is not taken yet. `plan` is the plan file, for advice.
    pub fn new(place: Box<dyn Place>, info: Info, plan: String) -> Self {
        Self { place, info, plan, is_made: true, state: Mutex::new(State::Free) }
    }

    /// Says whether a step of the plan makes the table or bucket. Otherwise it must exist.
    #[must_use]
    pub fn made_by_plan(self, is_made: bool) -> Self {
        Self { is_made, ..self }
    }

    /// Takes the lock. Returns `false` when its table or bucket does not exist yet: then the lock
    /// on this machine and the atomicity of the creating call must suffice.
    ///
    /// # Errors
    /// `Conflict`, naming the holder, when another run holds it.
    pub async fn take(&self, permit: &Permit) -> Result<bool> {
        let mut state = self.state.lock().await;
        self.take_in(&mut state, permit).await
    }

    /// Confirms that this run still holds the lock, or takes it if that was not possible before.
    /// Call it before each write.
    ///
    /// # Errors
    /// `Conflict` when this run no longer holds it; then nothing may be written.
    pub async fn confirm(&self, permit: &Permit) -> Result<()> {
        let mut state = self.state.lock().await;
        match *state {
            State::Ours(seen) if seen.elapsed() < FRESH => Ok(()),
            State::Ours(_) => match self.place.held().await? {
                Some(held) if held.info.id == self.info.id => {
                    *state = State::Ours(Instant::now());
                    Ok(())
                }
                now => {
                    *state = State::Lost;
                    Err(self.lost(now.as_ref()))
                }
            },
            State::Lost => Err(self.lost(None)),
            State::Retired => Ok(()),
            State::Free => self.take_in(&mut state, permit).await.map(drop),
        }
    }

    /// The lock as it is now, whoever holds it; `None` while it is free.
    ///
    /// # Errors
    /// When it cannot be read, or does not name its holder.
    pub async fn look(&self) -> Result<Option<Held>> {
        self.place.held().await
    }

    /// Releases the lock if this run holds it.
    ///
    /// # Errors
    /// When it could not be removed; the advice gives the command to do it by hand.
    pub async fn release(&self, permit: &Permit) -> Result<()> {
        let mut state = self.state.lock().await;
        if !matches!(*state, State::Ours(_)) {
            return Ok(());
        }
        let removed = match self.place.held().await {
            Ok(Some(held)) if held.info.id == self.info.id => {
                self.place.remove(permit, &held).await.map(drop)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        *state = State::Free;
        removed.map_err(|error| {
            let message = format!("{} may still be locked: {error}", self.place.path());
            Error::new(error.kind, "unlock", message)
                .advice(format!("run `groundwork unlock {} --id {}`", self.plan, self.info.id))
        })
    }

    /// Removes the lock and its traces for good: nothing is left that it protects but what this run removes.
    ///
    /// # Errors
    /// `Conflict` when this run no longer holds it; when it cannot be removed.
    pub async fn retire(&self, permit: &Permit) -> Result<()> {
        self.confirm(permit).await?;
        let mut state = self.state.lock().await;
        self.place.erase(permit).await?;
        *state = State::Retired;
        Ok(())
    }

    /// Removes the lock, regardless of its holder, if its id is exactly `id`. Returns the former
    /// holder; `None` when no lock exists.
    ///
    /// # Errors
    /// `Conflict` when the lock has another id.
    pub async fn force(&self, permit: &Permit, id: &str) -> Result<Option<Info>> {
        let Some(held) = self.place.held().await? else { return Ok(None) };
        if held.info.id != id || !self.place.remove(permit, &held).await? {
            let message = format!("{} is locked by {}", self.place.path(), held.info.describe());
            return Err(Error::new(ErrorKind::Conflict, "unlock", message)
                .advice("only the lock's exact id removes it; nothing was changed"));
        }
        Ok(Some(held.info))
    }

    async fn take_in(&self, state: &mut State, permit: &Permit) -> Result<bool> {
        match self.place.put(permit, &self.info).await {
            Ok(Put::Taken) => {}
            Ok(Put::Nowhere) if !self.is_made => return Err(self.nowhere()),
            Ok(Put::Nowhere) => return Ok(false),
            // It may be our own request, whose response was lost.
            refused => match (self.place.held().await?, refused) {
                (Some(held), _) if held.info.id == self.info.id => {}
                (_, Err(error)) => return Err(error),
                (held, Ok(_)) => return Err(self.taken(held.as_ref())),
            },
        }
        *state = State::Ours(Instant::now());
        Ok(true)
    }

    fn taken(&self, held: Option<&Held>) -> Error {
        let path = self.place.path();
        let Some(held) = held else {
            let message = format!("{path} was locked by a run that has just ended");
            return Error::new(ErrorKind::Conflict, "lock", message).advice("run again");
        };
        let message = format!("{path} is locked by {}", held.info.describe());
        Error::new(ErrorKind::Conflict, "lock", message).advice(format!(
            "wait until that run ends, which `--lock-timeout 10m` does; if you are sure that it is dead, run `groundwork unlock {} --id {}`",
            self.plan, held.info.id
        ))
    }

    fn nowhere(&self) -> Error {
        let message = format!(
            "there is nothing to keep the lock {} in: the table or bucket does not exist, and no step of the plan \
             makes it",
            self.place.path()
        );
        Error::new(ErrorKind::Rejected, "lock", message).advice(
            "correct `lock:` in the plan, or declare the table or bucket as a step; nothing was changed",
        )
    }

    fn lost(&self, now: Option<&Held>) -> Error {
        let by = now.map_or("no one".to_owned(), |held| held.info.describe());
        let message =
            format!("this run no longer holds the lock of {}; it is held by {by}", self.place.path());
        Error::new(ErrorKind::Conflict, "lock", message).advice(
            "another person or process removed the lock; this run stops writing. Find out who, then apply again",
        )
    }
}

/// The lock exists but does not name its holder.
pub fn unreadable(path: &str) -> Error {
    Error::new(ErrorKind::Rejected, "lock", format!("the lock of {path} does not name its holder"))
        .advice("neither Groundwork nor Terraform wrote it; examine it, and remove it by hand if it is stale")
}

#[cfg(test)]
mod tests {
    use crate::environment::Environment;
    use std::sync::{Arc, Mutex as StdMutex, PoisonError};

    use super::*;
    use crate::journal::Who;

    /// A place in memory. `lossy`: the lock is created and the response is lost, so that the
    /// request is repeated and refused.
    #[derive(Clone, Debug, Default)]
    struct Memory {
        exists: Arc<StdMutex<bool>>,
        lock: Arc<StdMutex<Option<Info>>>,
        lossy: bool,
    }

    impl Memory {
        fn lock(&self) -> std::sync::MutexGuard<'_, Option<Info>> {
            self.lock.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    #[async_trait]
    impl Place for Memory {
        async fn put(&self, _: &Permit, info: &Info) -> Result<Put> {
            if !*self.exists.lock().unwrap() {
                return Ok(Put::Nowhere);
            }
            let mut lock = self.lock();
            if lock.is_some() {
                return Ok(Put::Refused);
            }
            *lock = Some(info.clone());
            Ok(if self.lossy { Put::Refused } else { Put::Taken })
        }

        async fn held(&self) -> Result<Option<Held>> {
            Ok(self.lock().clone().map(|info| Held { proof: info.id.clone(), info }))
        }

        async fn remove(&self, _: &Permit, held: &Held) -> Result<bool> {
            let mut lock = self.lock();
            let same = lock.as_ref().is_some_and(|info| info.id == held.proof);
            if same {
                *lock = None;
            }
            Ok(same)
        }

        async fn erase(&self, _: &Permit) -> Result<()> {
            *self.lock() = None;
            Ok(())
        }

        fn path(&self) -> String {
            "bucket/key".to_owned()
        }
    }

    fn place() -> Memory {
        let place = Memory::default();
        *place.exists.lock().unwrap() = true;
        place
    }

    fn lock_at(place: &Memory) -> RemoteLock {
        let info = Info::new(&Who::here("sha256:0", &Environment::default()), "bucket/key");
        RemoteLock::new(Box::new(place.clone()), info, "plan.yaml".into())
    }

    #[tokio::test]
    async fn second_run_names_holder_and_needs_exact_id() {
        let (place, permit) = (place(), Permit::mint());
        let (first, second) = (lock_at(&place), lock_at(&place));
        assert!(first.take(&permit).await.expect("free"));
        let refused = second.take(&permit).await.expect_err("taken");
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert!(refused.message.contains(&first.info.who) && refused.message.contains(&first.info.id));
        second.release(&permit).await.expect("nothing to give back");
        assert!(place.lock().is_some(), "another run's lock is kept");
        assert!(second.force(&permit, &first.info.id[..8]).await.is_err());
        assert_eq!(second.force(&permit, &first.info.id).await.expect("exact"), Some(first.info.clone()));
        assert!(second.take(&permit).await.expect("free"));
    }

    #[tokio::test]
    async fn lock_recognises_its_own_repeated_request() {
        let place = Memory { lossy: true, ..place() };
        let lock = lock_at(&place);
        assert!(lock.take(&Permit::mint()).await.expect("it is ours"));
        lock.release(&Permit::mint()).await.expect("given back");
        assert!(place.lock().is_none());
    }

    #[tokio::test]
    async fn lock_is_taken_once_its_place_exists() {
        let (place, permit) = (Memory::default(), Permit::mint());
        let lock = lock_at(&place);
        assert!(!lock.take(&permit).await.expect("nothing to lock with"));
        lock.confirm(&permit).await.expect("still nothing");
        *place.exists.lock().unwrap() = true;
        lock.confirm(&permit).await.expect("taken");
        assert_eq!(place.lock().as_ref().map(|info| &info.id), Some(&lock.info.id));
    }

    #[tokio::test]
    async fn lost_lock_stays_lost_after_another_holders_release() {
        let (place, permit) = (place(), Permit::mint());
        let lock = lock_at(&place);
        lock.take(&permit).await.expect("free");
        let other = Info::new(&Who::here("sha256:0", &Environment::default()), "bucket/key");
        *place.lock() = Some(other.clone());
        tokio::time::sleep(FRESH).await;
        let lost = lock.confirm(&permit).await.expect_err("not ours");
        assert!(lost.message.contains(&other.id), "{lost}");
        *place.lock() = None;
        assert!(lock.confirm(&permit).await.is_err());
        *place.lock() = Some(other);
        lock.release(&permit).await.expect("nothing to give back");
        assert!(place.lock().is_some(), "another run's lock is kept");
    }
}
