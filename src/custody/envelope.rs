//! The encrypted form of one object: AES-256-GCM under a key of its own, which each recipient can
//! unwrap alone.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::recipient::{Keyring, Recipient};
use crate::resource::{Error, ErrorKind, Result};
use crate::secret::{Secret, random_bytes};

/// What stands in [`Header::format`].
const FORMAT: &str = "groundwork-custody/1";
/// Length of an AES-256 key in bytes.
const KEY_LEN: usize = 32;

/// One encrypted object, as it is stored: a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Everything that is not secret. It is authenticated as a whole: an envelope with another
    /// name, time or recipient does not open.
    pub header: Header,
    /// The nonce, base64.
    nonce: String,
    /// The ciphertext with its tag, base64.
    ciphertext: String,
}

/// What is known about an object without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of this form.
    pub format: String,
    /// The object's name in custody.
    pub name: String,
    /// When it was sealed (RFC 3339).
    pub created: Timestamp,
    /// Who can open it.
    pub recipients: Vec<Wrapped>,
}

/// The object's key, encrypted for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrapped {
    /// How it is encrypted: `age`, `kms` or `pgp`.
    pub kind: String,
    /// For whom: the age public key, the KMS key as declared, or the PGP key's fingerprint.
    pub id: String,
    /// The encrypted key, base64.
    pub wrapped_key: String,
}

impl Envelope {
    /// Encrypts `secret` for all `recipients`.
    ///
    /// # Errors
    /// When a recipient cannot be encrypted for, such as a KMS key that refuses.
    pub async fn seal(name: &str, secret: &Secret, recipients: &[Recipient]) -> Result<Self> {
        let key = Secret::new(random_bytes(KEY_LEN));
        let mut wrapped = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            wrapped.push(recipient.wrap(&key, name).await?);
        }
        let (format, name) = (FORMAT.to_owned(), name.to_owned());
        let header = Header { format, name, created: Timestamp::now(), recipients: wrapped };
        // Room for the tag, so that the plaintext is overwritten in place and left nowhere else.
        let mut bytes = Vec::with_capacity(secret.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(secret.expose_bytes());
        let nonce = cipher(&key)
            .and_then(|cipher| cipher.seal_in_place_append_tag(Aad::from(header.bytes()), &mut bytes))
            .map_err(|_| failed(&header.name, "the cipher refused to encrypt"))?;
        Ok(Self { header, nonce: STANDARD.encode(nonce.as_ref()), ciphertext: STANDARD.encode(bytes) })
    }

    /// Decrypts with whatever key in `keyring` fits. `name` is what the caller asked for: an
    /// object that was moved to another name does not open.
    ///
    /// # Errors
    /// When no key fits, or when any part was changed.
    pub async fn open(&self, name: &str, keyring: &Keyring) -> Result<Secret> {
        if self.header.format != FORMAT || self.header.name != name {
            let found = format!("found {} named {}", self.header.format, self.header.name);
            return Err(failed(name, &format!("expected {FORMAT} named {name}, {found}")));
        }
        let key = keyring.unwrap(&self.header.recipients, name).await?;
        self.decrypt(&key).ok_or_else(|| failed(name, "was changed since it was sealed"))
    }

    /// Decrypts for one recipient alone, as a proof that this recipient can.
    pub(super) async fn open_as(&self, position: usize, keyring: &Keyring) -> Result<Secret> {
        let recipients = self.header.recipients.get(position..=position).unwrap_or_default();
        let key = keyring.unwrap(recipients, &self.header.name).await?;
        self.decrypt(&key).ok_or_else(|| failed(&self.header.name, "was changed since it was sealed"))
    }

    fn decrypt(&self, key: &Secret) -> Option<Secret> {
        let nonce: [u8; NONCE_LEN] = STANDARD.decode(&self.nonce).ok()?.try_into().ok()?;
        let mut bytes = Zeroizing::new(STANDARD.decode(&self.ciphertext).ok()?);
        let (nonce, bound) = (Nonce::assume_unique_for_key(nonce), Aad::from(self.header.bytes()));
        let plain = cipher(key).ok()?.open_in_place(nonce, bound, &mut bytes).ok()?;
        Some(Secret::new(plain.to_vec()))
    }
}

impl Header {
    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a header is plain data")
    }
}

fn cipher(key: &Secret) -> std::result::Result<RandomizedNonceKey, aws_lc_rs::error::Unspecified> {
    RandomizedNonceKey::new(&AES_256_GCM, key.expose_bytes())
}

fn failed(name: &str, message: &str) -> Error {
    Error::new(ErrorKind::Local, format!("custody: {name}"), message)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{keyring, recipient};
    use super::*;

    async fn sealed() -> (Envelope, Keyring) {
        let identity = age::x25519::Identity::generate();
        let secret = Secret::from("s.root".to_owned());
        let envelope = Envelope::seal("vault/a", &secret, &[recipient(&identity)]).await.expect("seals");
        (envelope, keyring([identity]))
    }

    #[tokio::test]
    async fn what_was_sealed_opens_and_is_not_in_the_document() {
        let (envelope, keyring) = sealed().await;
        assert_eq!(envelope.open("vault/a", &keyring).await.expect("opens").expose_str(), Some("s.root"));
        let text = serde_json::to_string(&envelope).expect("serialises");
        assert!(!text.contains("s.root") && !text.contains(&STANDARD.encode("s.root")));
    }

    #[tokio::test]
    async fn each_recipient_opens_alone_and_nobody_else_does() {
        let [one, two, other] = std::array::from_fn(|_| age::x25519::Identity::generate());
        let secret = Secret::from("x".to_owned());
        let envelope =
            Envelope::seal("a", &secret, &[recipient(&one), recipient(&two)]).await.expect("seals");
        assert_eq!(envelope.open("a", &keyring([one])).await.expect("opens"), secret);
        assert_eq!(envelope.open("a", &keyring([two])).await.expect("opens"), secret);
        let error = envelope.open("a", &keyring([other])).await.expect_err("is no recipient");
        assert!(error.advice.is_some_and(|advice| advice.contains("GROUNDWORK_AGE_IDENTITY")));
    }

    #[tokio::test]
    async fn a_change_to_any_part_is_refused() {
        let (envelope, keyring) = sealed().await;
        let text = serde_json::to_string(&envelope).expect("serialises").into_bytes();
        for position in 0..text.len() {
            let mut text = text.clone();
            text[position] ^= 1;
            let Ok(changed) = serde_json::from_slice::<Envelope>(&text) else { continue };
            assert!(changed.open("vault/a", &keyring).await.is_err(), "byte {position}");
        }
        assert!(envelope.open("vault/b", &keyring).await.is_err(), "another name");
    }

    #[tokio::test]
    async fn a_recipient_added_or_removed_is_noticed() {
        let (envelope, keyring) = sealed().await;
        let mut more = envelope.clone();
        more.header.recipients.push(envelope.header.recipients[0].clone());
        assert!(more.open("vault/a", &keyring).await.is_err());
    }
}
