//! One run at a time: on this machine always, and everywhere when the plan names a lock.
//!
//! The lock elsewhere has Terraform's format, so that either tool sees the other's. It is never
//! stolen because of its age: whoever holds it says so, and only its exact id takes it away.

mod info;
mod local;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

pub use info::Info;
pub use local::{Holder, LocalLock};

use crate::resource::{Error, ErrorKind, Permit, Result};

/// How long a lock that was seen to be ours is taken to be so. Each write looks again after that.
const FRESH: Duration = Duration::from_secs(1);

/// Where a lock stands.
#[async_trait]
pub trait Place: fmt::Debug + Send + Sync {
    /// Puts the lock there if there is none.
    async fn put(&self, permit: &Permit, info: &Info) -> Result<Put>;
    /// The lock that is there.
    async fn held(&self) -> Result<Option<Held>>;
    /// Takes away the lock that was seen, if it is still the same; `false` when it is not.
    async fn remove(&self, permit: &Permit, held: &Held) -> Result<bool>;
    /// What is locked, `bucket/key`.
    fn path(&self) -> String;
}

/// What became of an attempt to put a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was put.
    Taken,
    /// There is one.
    Refused,
    /// The table or bucket that it would stand in does not exist.
    Nowhere,
}

/// A lock as it was seen.
#[derive(Clone, Debug)]
pub struct Held {
    /// Who holds it.
    pub info: Info,
    /// What the place knows this very lock by.
    pub proof: String,
}

/// One run's lock elsewhere.
#[derive(Debug)]
pub struct RemoteLock {
    place: Box<dyn Place>,
    info: Info,
    plan: PathBuf,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It was not asked for, or what it would stand in did not exist.
    Free,
    /// It was seen to be ours at this time.
    Ours(Instant),
    /// It was ours and is so no more.
    Lost,
}

impl RemoteLock {
    /// A lock at `place` that is not taken yet. `plan` is the plan file, for advice.
    pub fn new(place: Box<dyn Place>, info: Info, plan: PathBuf) -> Self {
        Self { place, info, plan, state: Mutex::new(State::Free) }
    }

    /// Takes the lock. `false` when what it would stand in does not exist yet: then the lock on
    /// this machine and the creating call's own atomicity must do.
    ///
    /// # Errors
    /// `Conflict`, naming the holder, when somebody else has it.
    pub async fn take(&self, permit: &Permit) -> Result<bool> {
        let mut state = self.state.lock().await;
        self.take_in(&mut state, permit).await
    }

    /// Looks whether the lock is still ours, or takes it if that was not possible before. To be
    /// called before each write.
    ///
    /// # Errors
    /// `Conflict` when it is not ours any more; nothing may be written then.
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
            State::Free => self.take_in(&mut state, permit).await.map(drop),
        }
    }

    /// Gives the lock back if it is ours.
    ///
    /// # Errors
    /// When it could not be taken away; the advice says how to do that by hand.
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
            Error::new(error.kind, "unlock", message).advice(format!(
                "run `groundwork unlock {} --id {}`",
                self.plan.display(),
                self.info.id
            ))
        })
    }

    /// Takes the lock away from whoever holds it, if its id is exactly `id`. Gives who held it;
    /// `None` when there is no lock.
    ///
    /// # Errors
    /// `Conflict` when the lock has another id.
    pub async fn force(&self, permit: &Permit, id: &str) -> Result<Option<Info>> {
        let Some(held) = self.place.held().await? else { return Ok(None) };
        if held.info.id != id || !self.place.remove(permit, &held).await? {
            let message = format!("{} is locked by {}", self.place.path(), held.info.describe());
            return Err(Error::new(ErrorKind::Conflict, "unlock", message)
                .advice("only the exact id of the lock takes it away; nothing was changed"));
        }
        Ok(Some(held.info))
    }

    async fn take_in(&self, state: &mut State, permit: &Permit) -> Result<bool> {
        match self.place.put(permit, &self.info).await {
            Ok(Put::Taken) => {}
            Ok(Put::Nowhere) => return Ok(false),
            // It may be our own request, whose answer was lost.
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
            let message = format!("{path} was locked by somebody who has just ended");
            return Error::new(ErrorKind::Conflict, "lock", message).advice("run again");
        };
        let message = format!("{path} is locked by {}", held.info.describe());
        Error::new(ErrorKind::Conflict, "lock", message).advice(format!(
            "wait until that run has ended; if it is certain that it is dead, `groundwork unlock {} --id {}`",
            self.plan.display(),
            held.info.id
        ))
    }

    fn lost(&self, now: Option<&Held>) -> Error {
        let by = now.map_or("nobody".to_owned(), |held| held.info.describe());
        let message = format!("{} is locked by {by} and not by this run any more", self.place.path());
        Error::new(ErrorKind::Conflict, "lock", message).advice(
            "somebody has taken the lock away; nothing more is written. Find out who, and apply again",
        )
    }
}

/// What stands where the lock should does not say who holds it.
pub fn unreadable(path: &str) -> Error {
    Error::new(ErrorKind::Rejected, "lock", format!("what locks {path} does not say who holds it")).advice(
        "neither Groundwork nor Terraform has written it; look at it, and remove it by hand if it is stale",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex as StdMutex, PoisonError};

    use super::*;
    use crate::journal::Who;

    /// A place in memory; `lossy`: the lock is put and the answer is lost, so that the request
    /// is repeated and refused.
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
        let info = Info::new(&Who::here("sha256:0"), "bucket/key");
        RemoteLock::new(Box::new(place.clone()), info, "plan.yaml".into())
    }

    #[tokio::test]
    async fn the_second_is_told_who_the_first_is_and_only_the_exact_id_takes_it_away() {
        let (place, permit) = (place(), Permit::mint());
        let (first, second) = (lock_at(&place), lock_at(&place));
        assert!(first.take(&permit).await.expect("free"));
        let refused = second.take(&permit).await.expect_err("taken");
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert!(refused.message.contains(&first.info.who) && refused.message.contains(&first.info.id));
        second.release(&permit).await.expect("nothing to give back");
        assert!(place.lock().is_some(), "what is not ours is left alone");
        assert!(second.force(&permit, &first.info.id[..8]).await.is_err());
        assert_eq!(second.force(&permit, &first.info.id).await.expect("exact"), Some(first.info.clone()));
        assert!(second.take(&permit).await.expect("free"));
    }

    #[tokio::test]
    async fn ones_own_repeated_request_is_recognised() {
        let place = Memory { lossy: true, ..place() };
        let lock = lock_at(&place);
        assert!(lock.take(&Permit::mint()).await.expect("it is ours"));
        lock.release(&Permit::mint()).await.expect("given back");
        assert!(place.lock().is_none());
    }

    #[tokio::test]
    async fn a_lock_without_a_place_is_taken_as_soon_as_there_is_one() {
        let (place, permit) = (Memory::default(), Permit::mint());
        let lock = lock_at(&place);
        assert!(!lock.take(&permit).await.expect("nothing to lock with"));
        lock.confirm(&permit).await.expect("still nothing");
        *place.exists.lock().unwrap() = true;
        lock.confirm(&permit).await.expect("taken");
        assert_eq!(place.lock().as_ref().map(|info| &info.id), Some(&lock.info.id));
    }

    #[tokio::test]
    async fn a_lost_lock_stops_everything_even_when_it_comes_free_again() {
        let (place, permit) = (place(), Permit::mint());
        let lock = lock_at(&place);
        lock.take(&permit).await.expect("free");
        let other = Info::new(&Who::here("sha256:0"), "bucket/key");
        *place.lock() = Some(other.clone());
        tokio::time::sleep(FRESH).await;
        let lost = lock.confirm(&permit).await.expect_err("not ours");
        assert!(lost.message.contains(&other.id), "{lost}");
        *place.lock() = None;
        assert!(lock.confirm(&permit).await.is_err());
        *place.lock() = Some(other);
        lock.release(&permit).await.expect("nothing to give back");
        assert!(place.lock().is_some(), "the other's lock is left alone");
    }
}
