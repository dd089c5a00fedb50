//! Examines every copy of every object, and repairs the damaged ones.

use std::collections::BTreeSet;

use futures::stream::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::document::Document;
use super::newest::Listed;
use super::{Custody, Envelope, Handout, Store};
use crate::error::{ErrorKind, Result};
use crate::permit::Permit;
use crate::secret::Secret;
use crate::signing::Signer;

/// How many objects are examined at the same time.
const AT_ONCE: usize = 16;

/// Every store's copy of one object, in the version that counts.
#[derive(Clone, Debug, Serialize)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// The version that counts: the newest that is the plan's, or the highest if none is.
    pub version: u32,
    /// All versions on any store.
    pub versions: Vec<u32>,
    /// The signer of that version; `None` where no version counts.
    pub signer: Option<Signer>,
    /// One for each store, in the order of the plan.
    pub copies: Vec<Copy>,
    /// Versions with a higher number that are not the plan's or cannot be used.
    pub aside: Vec<Aside>,
    /// The plan's recipients that it is not sealed for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// Those that it is sealed for and that the plan no longer names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<String>,
}

/// A version in a store that is skipped.
#[derive(Clone, Debug, Serialize)]
pub struct Aside {
    /// The store in words.
    pub store: String,
    /// The version number that the store has it under.
    pub version: u32,
    /// Why it does not count.
    pub because: String,
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
    /// The recipients that it was sealed for.
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
    /// It is whole, and not signed with a key that counts.
    Refused(String),
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
        self.is_well_directed()
            && self.aside.is_empty()
            && self.copies.iter().all(|copy| copy.state == CopyState::Whole && opens(copy))
    }

    /// Whether it is sealed for the recipients that the plan names, and no others.
    pub fn is_well_directed(&self) -> bool {
        self.lacks.is_empty() && self.former.is_empty()
    }

    /// Whether every existing copy is foreign, so that the object does not belong to the plan.
    pub fn is_foreign(&self) -> bool {
        let refused = |copy: &Copy| matches!(copy.state, CopyState::Refused(_));
        self.copies.iter().any(refused)
            && self.copies.iter().all(|copy| refused(copy) || copy.state == CopyState::Missing)
    }
}

impl Custody {
    /// Reads and decrypts everything below `prefix` on every store. With `open` false nothing is
    /// decrypted, and a whole envelope counts as closed.
    ///
    /// # Errors
    /// When no store can be listed.
    pub async fn examine(&self, prefix: &str, open: bool) -> Result<Vec<Object>> {
        // Stores that answer for many names at once get their questions at once.
        let names = self.list(prefix).await?;
        let each = futures::stream::iter(names.into_iter().map(|name| self.examine_object(name, open)));
        let objects: Vec<Option<Object>> = each.buffered(AT_ONCE).try_collect().await?;
        Ok(objects.into_iter().flatten().collect())
    }

    /// `None` when no store has a version of it.
    async fn examine_object(&self, name: String, open: bool) -> Result<Option<Object>> {
        let listed = self.listed(&name).await;
        let answers = listed.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        let versions: BTreeSet<u32> = answers.flatten().copied().collect();
        let Some(highest) = versions.last().copied() else { return Ok(None) };
        let counts = self.search_in(&name, &listed, false).await.whole;
        let version = counts.as_ref().map_or(highest, |whole| whole.version);
        let (lacks, former) = match counts.as_ref().map(|whole| &whole.document) {
            Some(Document::Envelope(envelope)) => self.compared(envelope),
            _ => (Vec::new(), Vec::new()),
        };
        let signer = counts.and_then(|whole| whole.document.signer());
        let aside = self.aside(&name, version, &listed).await;
        let copies = self.copies(&name, version, open).await?;
        let versions = versions.into_iter().collect();
        Ok(Some(Object { name, version, versions, signer, copies, aside, lacks, former }))
    }

    /// The unusable versions whose number is higher than that of the version that counts.
    async fn aside(&self, name: &str, counts: u32, listed: &Listed<'_>) -> Vec<Aside> {
        let mut aside = Vec::new();
        for (place, answer) in listed {
            for version in answer.iter().flatten().filter(|version| **version > counts) {
                if let Err(error) = self.require_whole(*place, name, *version).await {
                    let (store, because) = (place.describe(), error.message);
                    aside.push(Aside { store, version: *version, because });
                }
            }
        }
        aside
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

    /// Replaces every damaged or missing copy with the good one, and returns the repaired stores.
    /// Leaves copies with different values as they are, unless `prefer` names the store whose copy is
    /// right. Every store keeps the replaced copy aside.
    ///
    /// # Errors
    /// `Local` when there is no good copy; otherwise the error of the store that failed.
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
        let mut mended = self.set_aside(permit, object).await?;
        for (position, (place, copy)) in places.into_iter().zip(&object.copies).enumerate() {
            match copy.state {
                CopyState::Missing => place.write(permit, &object.name, object.version, &bytes).await?,
                CopyState::Damaged(_) | CopyState::Refused(_) => {
                    place.repair(permit, &object.name, object.version, &bytes).await?;
                }
                CopyState::Differs if position != good => {
                    place.repair(permit, &object.name, object.version, &bytes).await?;
                }
                _ => continue,
            }
            mended.push(place.describe());
        }
        Ok(mended)
    }

    /// Moves the newer versions that do not count out of the way, as far as a store can keep them
    /// elsewhere. Returns the stores.
    ///
    /// # Errors
    /// The error of the store that failed.
    async fn set_aside(&self, permit: &Permit, object: &Object) -> Result<Vec<String>> {
        let mut stores = Vec::new();
        for Aside { store, version, .. } in &object.aside {
            for place in self.places().filter(|place| place.describe() == *store) {
                place.set_aside(permit, &object.name, *version).await?;
                stores.push(store.clone());
            }
        }
        Ok(stores)
    }

    /// Moves the foreign copies of an object out of the way ([`Object::is_foreign`]). Returns the stores.
    ///
    /// # Errors
    /// The error of the store that failed.
    pub async fn reject(&self, permit: &Permit, object: &Object) -> Result<Vec<String>> {
        let mut stores = self.set_aside(permit, object).await?;
        let places = self.places_of(&object.name, object.version).await?;
        for (place, copy) in places.into_iter().zip(&object.copies) {
            if matches!(copy.state, CopyState::Refused(_)) {
                place.set_aside(permit, &object.name, object.version).await?;
                stores.push(place.describe());
            }
        }
        Ok(stores)
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
        let document = match Document::decode(name, version, &bytes) {
            Ok(document) => document,
            Err(error) => return (copy(CopyState::Damaged(error.message)), None),
        };
        if let Err(error) = document.require_ours(name, version, &self.authority) {
            let state = match error.kind {
                ErrorKind::Local => CopyState::Damaged(error.message),
                _ => CopyState::Refused(error.message),
            };
            return (copy(state), None);
        }
        match document {
            Document::Handout(handout) => {
                let message = Secret::from(handout.message().to_owned());
                let opener = Opener { kind: handout.kind, id: handout.holder_key, opens: None };
                let created = Some(handout.created);
                let recipients = vec![opener];
                (Copy { created, recipients, ..copy(CopyState::Whole) }, Some(message))
            }
            Document::Envelope(envelope) => {
                self.examine_envelope(&envelope, open, copy(CopyState::Closed)).await
            }
        }
    }

    async fn examine_envelope(
        &self,
        envelope: &Envelope,
        open: bool,
        mut copy: Copy,
    ) -> (Copy, Option<Secret>) {
        copy.created = Some(envelope.header.created);
        let (mut failure, mut value) = (None, None);
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
            _ if value.is_some() => CopyState::Whole,
            Some(error) if error.kind == ErrorKind::Local => CopyState::Damaged(error.message),
            // The service that would open it is what fails, not the copy.
            Some(_) | None => CopyState::Closed,
        };
        (copy, value)
    }
}

impl Custody {
    /// Keeps a handout under its name on every store. Where a store has one already, that one is
    /// kept everywhere, because all stores must have the same message for a share.
    ///
    /// # Errors
    /// When no store takes it. If one store takes it, the failure of another is only a warning.
    pub async fn hand_out(&self, permit: &Permit, handout: &Handout) -> Result<()> {
        let kept = self.handout(&handout.name).await?;
        let kept = kept.unwrap_or_else(|| handout.clone());
        let key = self.authority.require_key()?;
        let bytes = Document::Handout(kept).sign(1, &key).encode();
        self.spread(permit, &handout.name, 1, &bytes).await
    }
}
