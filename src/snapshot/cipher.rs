//! The keys of a snapshot, and the authentication of every entry.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::container::stated;
use super::vitals::KEYRING;
use super::{Blob, Flaw, Frame, Vitals};
use crate::secret::Secret;

/// Length of the number of a key and of the format in front of an entry.
const HEAD: usize = 5;
/// The format whose authentication covers the name of the entry.
const WITH_NAME: u8 = 2;

/// The plain text of AES-256-GCM; `None` if the key, the name or a byte is another one.
pub(super) fn open_with(key: &Secret, nonce: &[u8], name: &[u8], ciphertext: &[u8]) -> Option<Secret> {
    let mut bytes = Zeroizing::new(ciphertext.to_vec());
    let length = open_in_place(&usable(key)?, nonce, name, &mut bytes)?;
    Some(Secret::new(bytes[..length].to_vec()))
}

fn open_in_place(key: &LessSafeKey, nonce: &[u8], name: &[u8], bytes: &mut [u8]) -> Option<usize> {
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    key.open_in_place(nonce, Aad::from(name), bytes).ok().map(|plain| plain.len())
}

fn usable(key: &Secret) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key.expose_bytes()).ok().map(LessSafeKey::new)
}

/// The keys that a snapshot's entries are encrypted with, by their numbers.
pub struct Unlocked {
    keys: BTreeMap<u32, LessSafeKey>,
    /// A buffer for the entry in hand.
    buffer: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Unlocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unlocked({} keys)", self.keys.len())
    }
}

#[derive(Deserialize)]
struct Keyring {
    #[serde(rename = "Keys")]
    keys: Vec<Term>,
}

#[derive(Deserialize)]
struct Term {
    #[serde(rename = "Term")]
    number: u32,
    #[serde(rename = "Value")]
    value: String,
}

impl Drop for Term {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

impl Unlocked {
    /// Opens a snapshot with the key of its seal: the combined shares, a static key, or what KMS gives for
    /// [`Blob::wrapped_key`] of the root key.
    ///
    /// # Errors
    /// `Foreign` when it is another key; `Forged` when the keyring is not authentic.
    pub fn with_seal_key(vitals: &Vitals, key: &Secret) -> Result<Self, Flaw> {
        let foreign = || Flaw::Foreign("they are those of another cluster, or of another time".to_owned());
        let root = vitals.root.open(key).ok_or_else(foreign)?;
        let root = root_key(&root).ok_or_else(|| Flaw::Damaged("its root key cannot be read".to_owned()))?;
        let forged = || Flaw::Forged(KEYRING.to_owned());
        let (head, sealed) = vitals.keyring.split_at_checked(HEAD).ok_or_else(forged)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(forged)?;
        let name: &[u8] = if head[HEAD - 1] == WITH_NAME { KEYRING.as_bytes() } else { b"" };
        let keyring = open_with(&root, nonce, name, sealed).ok_or_else(forged)?;
        let keyring: Keyring = serde_json::from_slice(keyring.expose_bytes()).map_err(|_| forged())?;
        let keys = keyring.keys.iter().map(|term| {
            let value = Secret::new(STANDARD.decode(&term.value).ok()?);
            Some((term.number, usable(&value)?))
        });
        let keys: Option<BTreeMap<_, _>> = keys.collect();
        Ok(Self { keys: keys.ok_or_else(forged)?, buffer: Zeroizing::default() })
    }

    /// The plaintext of an entry.
    ///
    /// # Errors
    /// `Forged` when it was not encrypted under this name with one of the keys.
    pub fn open(&mut self, key: &str, value: &[u8]) -> Result<&[u8], Flaw> {
        let length = self.opened(key, value).ok_or_else(|| Flaw::Forged(key.to_owned()))?;
        Ok(&self.buffer[HEAD + NONCE_LEN..][..length])
    }

    fn opened(&mut self, key: &str, value: &[u8]) -> Option<usize> {
        self.buffer.zeroize();
        self.buffer.extend_from_slice(value);
        let (head, sealed) = self.buffer.split_at_mut_checked(HEAD)?;
        let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let number = u32::from_be_bytes(head[..4].try_into().ok()?);
        let name: &[u8] = match head[4] {
            1 => b"",
            WITH_NAME => key.as_bytes(),
            _ => return None,
        };
        open_in_place(self.keys.get(&number)?, nonce, name, sealed)
    }
}

/// The root key in the JSON list of one text.
fn root_key(list: &Secret) -> Option<Secret> {
    let list: Zeroizing<Vec<String>> = Zeroizing::new(serde_json::from_slice(list.expose_bytes()).ok()?);
    let [key] = list.as_slice() else { return None };
    STANDARD.decode(key).ok().map(Secret::new)
}

impl Frame {
    /// The seal's copy of the checksums, for the key that it names.
    pub fn sealed_sums(&self) -> Option<Blob> {
        Blob::parse(&self.sealed)
    }

    /// Whether the seal's copy of the checksums is that of exactly this snapshot.
    ///
    /// # Errors
    /// `Forged` when the holder of the key has not written it.
    pub fn check_sealed_sums(&self, key: &Secret) -> Result<(), Flaw> {
        let opened = self.sealed_sums().and_then(|blob| blob.open(key));
        // The server writes the two lines in either order, and not twice in the same.
        match opened.and_then(|sums| stated(sums.expose_bytes())) {
            Some(sums) if Some(&sums) == stated(&self.sums).as_ref() => Ok(()),
            _ => Err(Flaw::Forged("SHA256SUMS.sealed".to_owned())),
        }
    }
}
