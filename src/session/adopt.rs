//! Lets a person vouch, once, for entries that are not signed, or signed with a key that is lost.

use super::Error;
use super::checked::Checked;
use super::connect::{Reach, connect};
use crate::apply::by_command;
use crate::custody::Unvouched;
use crate::error::Result as LiveResult;
use crate::journal::{Journal, Things};
use crate::lock::{LocalLock, Wait};
use crate::plan::Section;
use crate::run::Run;
use crate::signing::{Signer, SigningKey};

/// The journal and the objects that a person is asked to vouch for. No other run of the plan goes on
/// meanwhile.
pub struct Adoption {
    run: Run,
    /// The plan's name.
    pub plan: String,
    /// What is wrong with the journal; nothing when it is the plan's already.
    pub doubt: Option<crate::error::Error>,
    /// Objects in custody that do not count yet.
    pub objects: Vec<Unvouched>,
    _lock: LocalLock,
}

impl Adoption {
    /// Looks at the journal and its copy. Writes nothing.
    ///
    /// # Errors
    /// When another run has the lock, the copy cannot be read, or the journal is damaged.
    pub async fn look(mut checked: Checked, wait: &Wait<'_>) -> Result<Self, Error> {
        let lock = checked.lock(wait).await?;
        let plan = checked.resolved.document.name.clone();
        let copied = checked.resolved.document.section(Section::Journal).is_some();
        let reach = if copied { Reach::Everything } else { Reach::Custody };
        let run = connect(&mut checked, reach).await?;
        let journal = &run.journal;
        journal.pull().await?;
        let doubt = journal.require_believed().err();
        let objects = match run.custody_settings {
            Some(_) => run.custody().await?.unvouched().await,
            None => Vec::new(),
        };
        Ok(Self { plan, doubt, objects, run, _lock: lock })
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.run.journal
    }

    /// The things that the journal records as the plan's.
    pub fn things(&self) -> Things {
        Things::of(&self.journal().entries())
    }

    /// Whether there is nothing to vouch for.
    pub fn is_needless(&self) -> bool {
        let has_key = self.journal().authority().key().is_some();
        self.doubt.is_none() && has_key && self.objects.is_empty()
    }

    /// Signs what was looked at, as a person has asked for; gives by whose key. A machine without a
    /// key makes one.
    ///
    /// # Errors
    /// When a key or the journal cannot be written.
    pub async fn vouch(&self) -> LiveResult<Signer> {
        let journal = self.journal();
        let authority = journal.authority();
        let key = match authority.key() {
            Some(key) => key,
            None => match self.key_in_custody().await {
                Some(key) => authority.adopt(key)?,
                None => authority.make()?,
            },
        };
        journal.adopt(&by_command()).await?;
        if !self.objects.is_empty() {
            self.run.custody().await?.vouch(&by_command(), &self.objects).await?;
        }
        Ok(key.signer())
    }

    /// The plan's key, if custody has one that counts and opens here.
    async fn key_in_custody(&self) -> Option<SigningKey> {
        self.run.custody_settings.as_ref()?;
        self.run.custody().await.ok()?.signing_key().await.ok()?
    }
}
