//! Looking at every copy of every object, and mending those that are damaged.

use serde::Serialize;

use super::{Custody, Envelope, Handout, Store, decode, encode};
use crate::resource::{ErrorKind, Permit, Result};

/// What every store has of one object, in its latest version.
#[derive(Clone, Debug, Serialize)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// The latest version on any store.
    pub version: u32,
    /// All versions on any store.
    pub versions: Vec<u32>,
    /// One for each store, in the order of the plan.
    pub copies: Vec<Copy>,
}

/// One store's copy.
#[derive(Clone, Debug, Serialize)]
pub struct Copy {
    /// The store in words.
    pub store: String,
    /// Whether it can be used.
    pub state: CopyState,
    /// When it was sealed, as far as it can be read.
    pub created: Option<jiff::Timestamp>,
    /// Who it was sealed for.
    pub recipients: Vec<Opener>,
}

/// Whether a copy can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "because")]
pub enum CopyState {
    /// It was decrypted, or is a handout whose digest is right.
    Whole,
    /// It is a whole envelope, but no key is at hand that opens it.
    Closed,
    /// The store does not have it.
    Missing,
    /// It cannot be decoded or decrypted.
    Damaged(String),
    /// The store did not answer.
    Unreachable(String),
}

/// One recipient of a copy.
#[derive(Clone, Debug, Serialize)]
pub struct Opener {
    /// `age`, `kms` or `pgp`.
    pub kind: String,
    /// The key's id.
    pub id: String,
    /// Whether the copy was opened for this recipient; nothing where that cannot be tried here.
    pub opens: Option<bool>,
}

impl Object {
    /// Whether a copy on any store can be used.
    pub fn is_obtainable(&self) -> bool {
        self.copies.iter().any(|copy| copy.state == CopyState::Whole)
    }

    /// Whether every store's copy can be used, and for every recipient that can be tried.
    pub fn is_perfect(&self) -> bool {
        let opens = |copy: &Copy| copy.recipients.iter().all(|recipient| recipient.opens != Some(false));
        self.copies.iter().all(|copy| copy.state == CopyState::Whole && opens(copy))
    }
}

impl Custody {
    /// Reads and decrypts everything below `prefix` on every store. With `open` false nothing is
    /// decrypted, and a whole envelope counts as closed.
    ///
    /// # Errors
    /// When no store can be listed.
    pub async fn examine(&self, prefix: &str, open: bool) -> Result<Vec<Object>> {
        let mut objects = Vec::new();
        for name in self.list(prefix).await? {
            let versions = self.versions(&name).await?;
            let Some(version) = versions.last().copied() else { continue };
            let mut copies = Vec::with_capacity(self.stores.len());
            for store in &self.stores {
                copies.push(self.examine_copy(store.as_ref(), &name, version, open).await);
            }
            objects.push(Object { name, version, versions, copies });
        }
        Ok(objects)
    }

    /// Puts the good copy in the place of every damaged or missing one; gives the stores that were
    /// mended.
    ///
    /// # Errors
    /// `Local` when there is no good copy; else what a store said.
    pub async fn repair(&self, permit: &Permit, object: &Object) -> Result<Vec<String>> {
        let whole = object.copies.iter().position(|copy| copy.state == CopyState::Whole);
        let Some(whole) = whole else {
            return Err(super::local(&object.name, "no store has a whole copy".to_owned())
                .advice("bring back a store from its backup, or set the variable with the private key"));
        };
        let bytes = self.stores[whole].read(&object.name, object.version).await?;
        let mut mended = Vec::new();
        for (store, copy) in self.stores.iter().zip(&object.copies) {
            match copy.state {
                CopyState::Missing => store.write(permit, &object.name, object.version, &bytes).await?,
                CopyState::Damaged(_) => store.repair(permit, &object.name, object.version, &bytes).await?,
                _ => continue,
            }
            mended.push(store.describe());
        }
        Ok(mended)
    }

    async fn examine_copy(&self, store: &dyn Store, name: &str, version: u32, open: bool) -> Copy {
        let copy = |state| Copy { store: store.describe(), state, created: None, recipients: Vec::new() };
        match store.versions(name).await {
            Err(error) => return copy(CopyState::Unreachable(error.to_string())),
            Ok(versions) if !versions.contains(&version) => return copy(CopyState::Missing),
            Ok(_) => {}
        }
        let bytes = match store.read(name, version).await {
            Ok(bytes) => bytes,
            Err(error) => return copy(CopyState::Unreachable(error.to_string())),
        };
        if let Ok(handout) = Handout::decode(name, &bytes) {
            let opener = Opener { kind: handout.kind, id: handout.holder_key, opens: None };
            let created = Some(handout.created);
            return Copy { created, recipients: vec![opener], ..copy(CopyState::Whole) };
        }
        match decode(name, &bytes) {
            Ok(envelope) => self.examine_envelope(name, &envelope, open, copy(CopyState::Closed)).await,
            Err(error) => copy(CopyState::Damaged(error.message)),
        }
    }

    async fn examine_envelope(&self, name: &str, envelope: &Envelope, open: bool, mut copy: Copy) -> Copy {
        copy.created = Some(envelope.header.created);
        let mut failure = None;
        for (position, recipient) in envelope.header.recipients.iter().enumerate() {
            let opens = match open && self.keyring.may_open(recipient) {
                false => None,
                true => match envelope.open_as(position, &self.keyring).await {
                    Ok(_) => Some(true),
                    Err(error) => {
                        failure.get_or_insert(error);
                        Some(false)
                    }
                },
            };
            copy.recipients.push(Opener { kind: recipient.kind.clone(), id: recipient.id.clone(), opens });
        }
        let opened = copy.recipients.iter().any(|recipient| recipient.opens == Some(true));
        copy.state = match failure {
            _ if envelope.header.name != name => CopyState::Damaged("is another object's".to_owned()),
            _ if opened => CopyState::Whole,
            Some(error) if error.kind == ErrorKind::Local => CopyState::Damaged(error.message),
            // The service that would open it is what fails, not the copy.
            Some(_) | None => CopyState::Closed,
        };
        copy
    }
}

impl Custody {
    /// Keeps a handout under its name on every store. Where a store has one already, that one is
    /// kept everywhere: two messages with the same share must not be told apart by their stores.
    ///
    /// # Errors
    /// Whatever made a store fail, after all others were tried.
    pub async fn hand_out(&self, permit: &Permit, handout: &Handout) -> Result<()> {
        let kept = self.handout(&handout.name).await?;
        let bytes = encode(kept.as_ref().unwrap_or(handout));
        let mut failure = None;
        for store in &self.stores {
            if let Err(error) = hand_out_on(store.as_ref(), permit, &handout.name, &bytes).await {
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// The handout of this name, from the first store that has it whole.
    ///
    /// # Errors
    /// When stores have it, but none of them whole.
    pub async fn handout(&self, name: &str) -> Result<Option<Handout>> {
        super::check_name(name)?;
        let Some(version) = self.latest(name).await? else { return Ok(None) };
        let reads = self
            .stores
            .iter()
            .map(|store| async move { Handout::decode(name, &store.read(name, version).await?) });
        self.first_whole(name, reads.collect()).await
    }
}

async fn hand_out_on(store: &dyn Store, permit: &Permit, name: &str, bytes: &[u8]) -> Result<()> {
    match store.write(permit, name, 1, bytes).await {
        Err(error) if error.kind == ErrorKind::Conflict => {}
        written => written?,
    }
    if store.read(name, 1).await? == bytes {
        return Ok(());
    }
    Err(super::local(name, format!("{} has another message under this name", store.describe()))
        .advice("`groundwork custody check PLAN --repair` makes the copies the same"))
}
