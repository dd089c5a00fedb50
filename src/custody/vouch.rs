//! Objects without a signature, or signed with a lost key, and a person who vouches for them.

use super::document::{Document, Origin};
use super::{Custody, Store};
use crate::error::Result;
use crate::permit::Permit;
use crate::signing::Signer;

/// One copy that does not count, and would if a person vouched for it.
#[derive(Debug)]
pub struct Unvouched {
    /// The object's name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The store that has it, in words.
    pub store: String,
    /// The signer; `None` for objects of older versions of the program.
    pub signer: Option<Signer>,
    place: usize,
    bytes: Vec<u8>,
}

impl Custody {
    /// Every copy that is whole and does not count. Places that do not answer are left out.
    pub async fn unvouched(&self) -> Vec<Unvouched> {
        let mut found = Vec::new();
        for (place, store) in self.places().enumerate() {
            for (name, version) in store.objects("").await.unwrap_or_default() {
                let Ok(bytes) = store.read(&name, version).await else { continue };
                let Ok(document) = Document::decode(&name, version, &bytes) else { continue };
                let signer = match document.origin(version, &self.authority) {
                    Origin::Nobody => None,
                    Origin::Stranger(signer) => Some(signer),
                    Origin::Ours | Origin::Forged => continue,
                };
                found.push(Unvouched { name, version, store: store.describe(), signer, place, bytes });
            }
        }
        found
    }

    /// Signs exactly these copies, for which a person has vouched. Every store keeps the old form
    /// aside.
    ///
    /// # Errors
    /// When this machine has no key; the error of the store that failed.
    pub async fn vouch(&self, permit: &Permit, objects: &[Unvouched]) -> Result<()> {
        let key = self.authority.require_key()?;
        let places: Vec<&dyn Store> = self.places().collect();
        for object in objects {
            let document = Document::decode(&object.name, object.version, &object.bytes)?;
            let bytes = document.sign(object.version, &key).encode();
            places[object.place].repair(permit, &object.name, object.version, &bytes).await?;
        }
        Ok(())
    }
}
