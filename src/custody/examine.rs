//! Looking at every copy of every object, and mending those that are damaged.

use serde::Serialize;

use super::{Custody, Envelope, Handout, Store, decode, encode};
use crate::resource::{ErrorKind, Permit, Result};
use crate::secret::Secret;

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
    /// It can be decrypted, and so can another store's copy, which has another value.
    Differs,
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
        self.copies.iter().any(|copy| matches!(copy.state, CopyState::Whole | CopyState::Differs))
    }

    /// Whether stores have different values of it, so that a person has to say which is right.
    pub fn differs(&self) -> bool {
        self.copies.iter().any(|copy| copy.state == CopyState::Differs)
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
            let copies = self.copies(&name, version, open).await?;
            objects.push(Object { name, version, versions, copies });
        }
        Ok(objects)
    }

    async fn copies(&self, name: &str, version: u32, open: bool) -> Result<Vec<Copy>> {
        let mut found = Vec::new();
        for place in self.places_of(name, version).await? {
            found.push(self.examine_copy(place, name, version, open).await);
        }
        let values: Vec<&Secret> = found.iter().filter_map(|(_, value)| value.as_ref()).collect();
        let differ = values.windows(2).any(|pair| pair[0] != pair[1]);
        let state = |copy: Copy| match copy.state {
            CopyState::Whole if differ => Copy { state: CopyState::Differs, ..copy },
            _ => copy,
        };
        Ok(found.into_iter().map(|(copy, _)| state(copy)).collect())
    }

    /// Puts the good copy in the place of every damaged or missing one; gives the stores that were
    /// mended. Copies with different values are left as they are, unless `prefer` names the store
    /// whose copy is right. Every store keeps what is replaced aside.
    ///
    /// # Errors
    /// `Local` when there is no good copy; else what a store said.
    pub async fn repair(
        &self,
        permit: &Permit,
        object: &Object,
        prefer: Option<&str>,
    ) -> Result<Vec<String>> {
        let good = |copy: &Copy| match prefer {
            Some(store) if object.differs() => copy.state == CopyState::Differs && copy.store == store,
            _ => copy.state == CopyState::Whole,
        };
        let Some(good) = object.copies.iter().position(good) else {
            if object.differs() {
                return Ok(Vec::new());
            }
            return Err(super::local(&object.name, "no store has a whole copy".to_owned())
                .advice("bring back a store from its backup, or set the variable with the private key"));
        };
        let places = self.places_of(&object.name, object.version).await?;
        let bytes = places[good].read(&object.name, object.version).await?;
        let mut mended = Vec::new();
        for (position, (place, copy)) in places.into_iter().zip(&object.copies).enumerate() {
            match copy.state {
                CopyState::Missing => place.write(permit, &object.name, object.version, &bytes).await?,
                CopyState::Damaged(_) => place.repair(permit, &object.name, object.version, &bytes).await?,
                CopyState::Differs if position != good => {
                    place.repair(permit, &object.name, object.version, &bytes).await?;
                }
                _ => continue,
            }
            mended.push(place.describe());
        }
        Ok(mended)
    }

    /// The copy, and its value where it could be opened.
    async fn examine_copy(
        &self,
        store: &dyn Store,
        name: &str,
        version: u32,
        open: bool,
    ) -> (Copy, Option<Secret>) {
        let copy = |state| Copy { store: store.describe(), state, created: None, recipients: Vec::new() };
        match store.versions(name).await {
            Err(error) => return (copy(CopyState::Unreachable(error.to_string())), None),
            Ok(versions) if !versions.contains(&version) => return (copy(CopyState::Missing), None),
            Ok(_) => {}
        }
        let bytes = match store.read(name, version).await {
            Ok(bytes) => bytes,
            Err(error) => return (copy(CopyState::Unreachable(error.to_string())), None),
        };
        if let Ok(handout) = Handout::decode(name, &bytes) {
            let message = Secret::from(handout.message().to_owned());
            let opener = Opener { kind: handout.kind, id: handout.holder_key, opens: None };
            let created = Some(handout.created);
            return (Copy { created, recipients: vec![opener], ..copy(CopyState::Whole) }, Some(message));
        }
        match decode(name, &bytes) {
            Ok(envelope) => {
                self.examine_envelope(name, version, &envelope, open, copy(CopyState::Closed)).await
            }
            Err(error) => (copy(CopyState::Damaged(error.message)), None),
        }
    }

    async fn examine_envelope(
        &self,
        name: &str,
        version: u32,
        envelope: &Envelope,
        open: bool,
        mut copy: Copy,
    ) -> (Copy, Option<Secret>) {
        copy.created = Some(envelope.header.created);
        let (mut failure, mut value) = (envelope.require(name, version).err(), None);
        let misplaced = failure.is_some();
        for (position, recipient) in envelope.header.recipients.iter().enumerate() {
            let opens = match open && self.keyring.may_open(recipient) {
                false => None,
                true => match envelope.open_as(position, &self.keyring).await {
                    Ok(found) => {
                        value.get_or_insert(found);
                        Some(true)
                    }
                    Err(error) => {
                        failure.get_or_insert(error);
                        Some(false)
                    }
                },
            };
            copy.recipients.push(Opener { kind: recipient.kind.clone(), id: recipient.id.clone(), opens });
        }
        copy.state = match failure {
            _ if value.is_some() && !misplaced => CopyState::Whole,
            Some(error) if error.kind == ErrorKind::Local => CopyState::Damaged(error.message),
            // The service that would open it is what fails, not the copy.
            Some(_) | None => CopyState::Closed,
        };
        (copy, value.filter(|_| !misplaced))
    }
}

impl Custody {
    /// Keeps a handout under its name on every store. Where a store has one already, that one is
    /// kept everywhere: two messages with the same share must not be told apart by their stores.
    ///
    /// # Errors
    /// When no store takes it; those that fail beside one that works are warned of.
    pub async fn hand_out(&self, permit: &Permit, handout: &Handout) -> Result<()> {
        let kept = self.handout(&handout.name).await?;
        self.spread(permit, &handout.name, 1, &encode(kept.as_ref().unwrap_or(handout))).await
    }

    /// The handout of this name, from the first store that has it whole; `None` when no store that
    /// answers has it.
    ///
    /// # Errors
    /// When stores have it, but none of them whole; when no store answers.
    pub async fn handout(&self, name: &str) -> Result<Option<Handout>> {
        super::check_name(name)?;
        let Some(version) = self.latest_answered(name).await? else { return Ok(None) };
        let places = self.places_of(name, version).await?;
        let reads = places
            .iter()
            .map(|place| async move { Handout::decode(name, &place.read(name, version).await?) });
        self.first_whole(name, &places, reads.collect()).await
    }
}
