//! The journal's copy elsewhere, from which another machine can go on where this one stopped.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;

/// How often a write is tried against a copy that has changed since it was read.
const ATTEMPTS: usize = 3;

/// A place for one object that is only ever replaced when it is still as it was seen.
#[async_trait]
pub trait Place: fmt::Debug + Send + Sync {
    /// The object; `None` when it, or what it would lie in, does not exist.
    async fn fetch(&self) -> Result<Option<Copy>>;

    /// Replaces the object if it still has this version; makes it if `version` is `None` and
    /// there is none.
    async fn store(&self, permit: &Permit, text: &[u8], version: Option<&str>) -> Result<Stored>;

    /// The place in words, e.g. `s3://bucket/key`.
    fn describe(&self) -> String;
}

/// An object as it was fetched.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The content.
    pub text: Vec<u8>,
    /// What changes whenever the content does.
    pub version: String,
}

/// What became of an object that was to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is there, in this version.
    As(String),
    /// There is another version than the expected one; nothing was stored.
    Moved,
    /// What it would lie in does not exist.
    Nowhere,
}

/// A journal's copy, and what is known of it.
#[derive(Debug)]
pub struct Mirror {
    place: Arc<dyn Place>,
    seen: Mutex<Seen>,
}

/// The copy as it was last fetched or stored.
#[derive(Debug, Default)]
struct Seen {
    version: Option<String>,
    length: usize,
}

impl Mirror {
    /// The copy at `place`, of which nothing is known yet.
    pub fn new(place: Arc<dyn Place>) -> Self {
        Self { place, seen: Mutex::default() }
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

    /// Makes the copy equal to the journal, whose text `text` reads. Steps that append at the
    /// same time share one request: who waited finds that the copy has his line already.
    ///
    /// # Errors
    /// When the copy cannot be written, or has lines that the journal has not.
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
                Stored::Nowhere if seen.version.is_none() => return Ok(()),
                Stored::Nowhere => return Err(self.gone()),
                // It may be our own write, whose answer was lost.
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

    /// The place in words.
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

    fn gone(&self) -> Error {
        Error::new(ErrorKind::Rejected, "journal", format!("{} has vanished", self.place.describe()))
            .advice("somebody has removed the bucket while this run was going on; find out who")
    }
}

/// The journal here and its copy each have lines that the other has not.
pub fn diverged(place: &str) -> Error {
    let message = format!("the journal here and its copy at {place} have gone separate ways");
    Error::new(ErrorKind::Conflict, "journal", message).advice(
        "two machines have written without seeing each other; compare both with `groundwork journal`, move the \
         one that is wrong away, and run `groundwork plan`",
    )
}
