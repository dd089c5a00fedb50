//! A text that the seal encrypted, with the name of the key that did it.

use aws_lc_rs::aead::NONCE_LEN;

use super::cipher::open_with;
use super::wire::{bytes, fields};
use crate::secret::Secret;

/// Encrypted by the seal (`BlobInfo` of go-kms-wrapping).
#[derive(Clone, Debug)]
pub struct Blob {
    ciphertext: Vec<u8>,
    iv: Vec<u8>,
    /// The key of the seal that encrypted it; an ARN for AWS KMS. Empty for key shares.
    pub key_id: String,
    /// The key of this blob, encrypted by the seal's key; empty where the seal's key itself encrypted it.
    pub wrapped_key: Vec<u8>,
}

impl Blob {
    /// Reads one; `None` if it is not one.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let found = fields(message)?;
        let key = fields(bytes(&found, 5).unwrap_or_default())?;
        Some(Self {
            ciphertext: bytes(&found, 1)?.to_vec(),
            iv: bytes(&found, 2).unwrap_or_default().to_vec(),
            key_id: String::from_utf8(bytes(&key, 3).unwrap_or_default().to_vec()).ok()?,
            wrapped_key: bytes(&key, 5).unwrap_or_default().to_vec(),
        })
    }

    /// The plaintext, if `key` is the one; without a separate nonce it is in front of the ciphertext.
    pub(super) fn open(&self, key: &Secret) -> Option<Secret> {
        let (nonce, ciphertext) = match self.iv.is_empty() {
            true => self.ciphertext.split_at_checked(NONCE_LEN)?,
            false => (self.iv.as_slice(), self.ciphertext.as_slice()),
        };
        open_with(key, nonce, b"", ciphertext)
    }
}
