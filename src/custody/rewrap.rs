//! Seals again what was sealed for other recipients than the plan names now.
//!
//! Each object becomes a new version under a key of its own, which no former recipient has ever had. It is
//! opened here before any store gets it, and read back from every store afterwards.

use super::document::Document;
use super::newest::{Whole, require_an_answer};
use super::{Custody, Envelope, local};
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;

/// An object that is sealed for other recipients than the plan names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misdirected {
    /// Its name.
    pub object: String,
    /// The version that counts.
    pub version: u32,
    /// The plan's recipients that cannot open it.
    pub lacks: Vec<String>,
    /// Those that can open it and are no longer the plan's.
    pub former: Vec<String>,
}

impl Custody {
    /// The objects that are sealed for other recipients than the plan names, and the names of the shares
    /// that only their holders open, which stay as they are.
    ///
    /// # Errors
    /// When a recipient is not known, or a store does not answer.
    pub async fn misdirected(&self) -> Result<(Vec<Misdirected>, Vec<String>)> {
        self.recipients()?;
        let (mut found, mut handed_out) = (Vec::new(), Vec::new());
        for name in self.list("").await? {
            let listed = self.listed(&name).await;
            require_an_answer(&listed)?;
            let Some(Whole { version, document, .. }) = self.search_in(&name, &listed, false).await.whole
            else {
                continue;
            };
            match document {
                Document::Handout(_) => handed_out.push(name),
                Document::Envelope(envelope) => {
                    let (lacks, former) = self.compared(&envelope);
                    if !(lacks.is_empty() && former.is_empty()) {
                        found.push(Misdirected { object: name, version, lacks, former });
                    }
                }
            }
        }
        Ok((found, handed_out))
    }

    /// The plan's recipients that cannot open an object, and those that can and are not the plan's; nothing
    /// as long as the plan's are not all known.
    pub(super) fn compared(&self, envelope: &Envelope) -> (Vec<String>, Vec<String>) {
        let Ok(declared) = self.recipients() else { return (Vec::new(), Vec::new()) };
        let has = &envelope.header.recipients;
        let lacks = declared.iter().filter(|one| {
            let (kind, id) = one.identity();
            has.iter().all(|other| other.kind != kind || other.id != id)
        });
        let former = has.iter().filter(|one| {
            declared.iter().all(|other| other.identity() != (one.kind.as_str(), one.id.clone()))
        });
        let lacks = lacks.map(super::Recipient::describe).collect();
        (lacks, former.map(|one| format!("{} {}", one.kind, one.id)).collect())
    }

    /// Seals an object for the plan's recipients, and no others. Returns the new version. The older
    /// ones stay where they are.
    ///
    /// # Errors
    /// When it cannot be opened here, a recipient cannot be sealed for, or a store does not take or give it
    /// back: then it is run again.
    pub async fn rewrap(&self, permit: &Permit, name: &str) -> Result<u32> {
        for (place, answer) in self.listed(name).await {
            if let Err(error) = answer {
                let message = format!("{} does not answer: {}", place.describe(), error.message);
                return Err(
                    local(name, message).advice("every store has to take part; run again when it does")
                );
            }
        }
        let secret =
            self.get(name).await?.ok_or_else(|| local(name, "is no longer in custody".to_owned()))?;
        let prepared = self.prepare(permit, name).await?;
        let version = prepared.version();
        let missing = self.recipients()?.into_iter().find(|one| {
            let (kind, id) = one.identity();
            prepared.recipients().iter().all(|other| other.kind != kind || other.id != id)
        });
        if let Some(recipient) = missing {
            let message = format!("cannot be sealed for {}; nothing was written", recipient.describe());
            return Err(local(name, message).advice("make that recipient work, or take it out of the plan"));
        }
        self.keep(permit, prepared, &secret).await?;
        for store in &self.stores {
            let found = self.read_from(store.as_ref(), name, version).await;
            let problem = match found {
                Ok(found) if found == secret => continue,
                Ok(_) => "gives another value back".to_owned(),
                Err(error) => error.message,
            };
            let message = format!("version {version} is not proven in {}: {problem}", store.describe());
            return Err(Error::new(ErrorKind::Unavailable, format!("custody: {name}"), message)
                .advice("`groundwork custody check PLAN --repair` completes the store; then run again"));
        }
        Ok(version)
    }
}
