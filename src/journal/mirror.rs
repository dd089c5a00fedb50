//! The journal's copy elsewhere, which lets another machine go on where this one stopped.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;

/// How often a write is tried against a copy that has changed since it was read.
const ATTEMPTS: usize = 3;

/// A place for one object, which a write replaces only if it has not changed since it was read.
#[async_trait]
pub trait Place: fmt::Debug + Send + Sync {
    /// The object; `None` when it, or its container (such as the bucket), does not exist.
    async fn fetch(&self) -> Result<Option<Copy>>;

    /// Replaces the object if it still has this version; creates it if `version` is `None` and
    /// there is no object.
    async fn store(&self, permit: &Permit, text: &[u8], version: Option<&str>) -> Result<Stored>;

    /// Removes the object, with what the place keeps of earlier versions.
    async fn erase(&self, permit: &Permit) -> Result<()>;

    /// A description of the place, e.g. `s3://bucket/key`.
    fn describe(&self) -> String;
}

/// An object as it was fetched.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The content.
    pub text: Vec<u8>,
    /// A version that changes with the content, such as an ETag.
    pub version: String,
}

/// The result of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The object is stored, in this version.
    As(String),
    /// The object does not have the expected version; nothing was stored.
    Moved,
    /// The container, such as the bucket, does not exist.
    Nowhere,
}

/// A journal's copy, with the version and length that this run last saw.
#[derive(Debug)]
pub struct Mirror {
    place: Arc<dyn Place>,
    /// Whether a step of the plan makes the bucket, so that it may not exist yet.
    is_made: bool,
    seen: Mutex<Seen>,
}

/// The copy as it was last fetched or stored.
#[derive(Debug, Default)]
struct Seen {
    version: Option<String>,
    length: usize,
}

impl Mirror {
    /// The copy at `place`, of which nothing is known yet. `is_made` says whether a step of the plan makes the
    /// bucket; otherwise it must exist.
    pub fn new(place: Arc<dyn Place>, is_made: bool) -> Self {
        Self { place, is_made, seen: Mutex::default() }
    }

    /// The copy, empty when there is none, checked line by line.
    ///
    /// # Errors
    /// When it cannot be fetched, or is damaged.
    pub async fn fetch(&self) -> Result<(Vec<u8>, Chain)> {
        let mut seen = self.seen.lock().await;
        let text = self.look(&mut seen).await?;
        let chain = Chain::parse(&text).map_err(|damage| self.damaged(&damage))?;
        Ok((text, chain))
    }

    /// Makes the copy equal to the journal, whose text `text` reads. Steps that append at the same
    /// time share one request: a step that waited finds its line already in the copy.
    ///
    /// # Errors
    /// When the copy cannot be written, or has lines that the journal does not have.
    pub async fn update(&self, permit: &Permit, text: impl Fn() -> Result<Vec<u8>> + Send) -> Result<()> {
        let mut seen = self.seen.lock().await;
        let text = text()?;
        for _ in 0..ATTEMPTS {
            if seen.version.is_some() && seen.length == text.len() {
                return Ok(());
            }
            match self.place.store(permit, &text, seen.version.as_deref()).await? {
                Stored::As(version) => {
                    *seen = Seen { version: Some(version), length: text.len() };
                    return Ok(());
                }
                Stored::Nowhere if seen.version.is_some() => return Err(self.gone()),
                Stored::Nowhere if !self.is_made => return Err(self.nowhere()),
                Stored::Nowhere => return Ok(()),
                // It may be our own write, whose response was lost.
                Stored::Moved => {
                    let copy = self.look(&mut seen).await?;
                    if !text.starts_with(&copy) {
                        return Err(diverged(&self.place.describe()));
                    }
                }
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "journal",
            format!("{} keeps changing", self.place.describe()),
        ))
    }

    /// Removes the copy for good.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn erase(&self, permit: &Permit) -> Result<()> {
        let mut seen = self.seen.lock().await;
        self.place.erase(permit).await?;
        *seen = Seen::default();
        Ok(())
    }

    /// A description of the place.
    pub fn describe(&self) -> String {
        self.place.describe()
    }

    async fn look(&self, seen: &mut Seen) -> Result<Vec<u8>> {
        let copy = self.place.fetch().await?;
        let (text, version) = copy.map_or((Vec::new(), None), |copy| (copy.text, Some(copy.version)));
        *seen = Seen { version, length: text.len() };
        Ok(text)
    }

    fn damaged(&self, damage: &super::Damaged) -> Error {
        let message = format!("{} was damaged or changed by hand: {damage}", self.place.describe());
        Error::new(ErrorKind::Rejected, "journal", message)
            .advice("restore an earlier version of the object; buckets made by Groundwork keep them")
    }

    fn nowhere(&self) -> Error {
        let place = self.place.describe();
        let message =
            format!("{place} cannot be written: the bucket does not exist, and no step of the plan makes it");
        Error::new(ErrorKind::Rejected, "journal", message)
            .advice("correct `journal:` in the plan, or declare the bucket as a step")
    }

    fn gone(&self) -> Error {
        Error::new(ErrorKind::Rejected, "journal", format!("{} has vanished", self.place.describe()))
            .advice("the bucket was removed during this run; find out who removed it")
    }
}

/// The error for a journal and a copy that each have lines missing in the other.
pub fn diverged(place: &str) -> Error {
    let message = format!("the journal here and its copy at {place} have gone separate ways");
    Error::new(ErrorKind::Conflict, "journal", message).advice(
        "two machines have written without seeing each other; compare both with `groundwork journal`, move the \
         one that is wrong away, and run `groundwork plan`",
    )
}
