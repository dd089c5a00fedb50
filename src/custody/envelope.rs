//! The encrypted form of one object: AES-256-GCM under a key of its own. Each recipient can unwrap
//! that key without the others.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::recipient::{Keyring, Recipient};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, random_bytes};
use crate::signing::Seal;

/// The value of [`Header::format`].
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
    /// The signature of the plan's key over all of it. Objects of older versions of the program have
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seal: Option<Seal>,
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
    /// The recipients that can open it.
    pub recipients: Vec<Wrapped>,
    /// The object's version. Objects from before it was part of the header have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The beginning of the name, which the wrapped keys are bound to; the whole name when absent.
    /// The end of a name may come only with the response that is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
}

/// The object's key, encrypted for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrapped {
    /// How it is encrypted: `age`, `kms` or `pgp`.
    pub kind: String,
    /// The recipient: the age public key, the KMS key as declared, or the PGP key's fingerprint.
    pub id: String,
    /// The encrypted key, base64.
    pub wrapped_key: String,
}

/// A key for one object, already wrapped for its recipients, so that sealing needs no remote call.
pub struct SealingKey {
    key: Secret,
    recipients: Vec<Wrapped>,
    bound: String,
}

impl SealingKey {
    /// Makes a key for the object `bound`, or for one below it, and wraps it for all `recipients` at
    /// once. Recipients for whom that fails are left out and returned with their errors.
    pub async fn wrap(bound: &str, recipients: &[Recipient]) -> (Self, Vec<(String, Error)>) {
        let key = Secret::new(random_bytes(KEY_LEN));
        let (recipients, failures) = wrap_for(&key, bound, recipients).await;
        (Self { key, recipients, bound: bound.to_owned() }, failures)
    }

    /// The recipients that can open objects sealed with this key.
    pub(super) fn recipients(&self) -> &[Wrapped] {
        &self.recipients
    }

    /// Encrypts `secret` as `version` of the object `name`, without any remote call.
    ///
    /// # Errors
    /// `Local` when the name is not the one that the key is for, or the cipher fails.
    pub fn seal(&self, name: &str, version: u32, secret: &Secret) -> Result<Envelope> {
        if !name.starts_with(&self.bound) {
            return Err(failed(name, &format!("its key was made for {}", self.bound)));
        }
        let header = Header {
            format: FORMAT.to_owned(),
            name: name.to_owned(),
            created: Timestamp::now(),
            recipients: self.recipients.clone(),
            version: Some(version),
            bound: (self.bound != name).then(|| self.bound.clone()),
        };
        Envelope::encrypt(header, &self.key, secret)
    }
}

async fn wrap_for(
    key: &Secret,
    bound: &str,
    recipients: &[Recipient],
) -> (Vec<Wrapped>, Vec<(String, Error)>) {
    let wrapped = join_all(recipients.iter().map(|recipient| recipient.wrap(key, bound))).await;
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (recipient, result) in recipients.iter().zip(wrapped) {
        match result {
            Ok(wrapped) => done.push(wrapped),
            Err(error) => failures.push((recipient.describe(), error)),
        }
    }
    (done, failures)
}

impl Envelope {
    fn encrypt(header: Header, key: &Secret, secret: &Secret) -> Result<Self> {
        // Room for the tag, so that the plaintext is overwritten in place and left nowhere else.
        let mut bytes = Vec::with_capacity(secret.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(secret.expose_bytes());
        let nonce = cipher(key)
            .and_then(|cipher| cipher.seal_in_place_append_tag(Aad::from(header.bytes()), &mut bytes))
            .map_err(|_| failed(&header.name, "the cipher refused to encrypt"))?;
        Ok(Self {
            header,
            nonce: STANDARD.encode(nonce.as_ref()),
            ciphertext: STANDARD.encode(bytes),
            seal: None,
        })
    }

    /// The same object for `more` recipients beside those it has. Those for whom wrapping its key
    /// fails are returned with their errors.
    ///
    /// # Errors
    /// When it cannot be opened here.
    pub(super) async fn widen(
        &self,
        version: u32,
        more: &[Recipient],
        keyring: &Keyring,
    ) -> Result<(Self, Vec<(String, Error)>)> {
        let name = &self.header.name;
        let secret = self.open(name, version, keyring).await?;
        let key = keyring.unwrap(&self.header.recipients, self.bound()).await?;
        let (added, failures) = wrap_for(&key, self.bound(), more).await;
        let mut header = self.header.clone();
        header.recipients.extend(added);
        header.version = Some(version);
        Ok((Self::encrypt(header, &key, &secret)?, failures))
    }

    fn bound(&self) -> &str {
        self.header.bound.as_deref().unwrap_or(&self.header.name)
    }

    /// Decrypts with any key in `keyring` that fits. The caller passes the `name` and `version` that it
    /// asked for: an object that was moved to another name, or put in the place of another version,
    /// does not open.
    ///
    /// # Errors
    /// When no key fits, or when any part was changed.
    pub async fn open(&self, name: &str, version: u32, keyring: &Keyring) -> Result<Secret> {
        self.require(name, version)?;
        let key = keyring.unwrap(&self.header.recipients, self.bound()).await?;
        self.decrypt(&key).ok_or_else(|| failed(name, "was changed since it was sealed"))
    }

    /// Checks that the header belongs to this name and version.
    pub(super) fn require(&self, name: &str, version: u32) -> Result<()> {
        if self.header.format != FORMAT || self.header.name != name || !name.starts_with(self.bound()) {
            let found = format!("found {} named {}", self.header.format, self.header.name);
            return Err(failed(name, &format!("expected {FORMAT} named {name}, {found}")));
        }
        match self.header.version {
            Some(sealed) if sealed != version => {
                Err(failed(name, &format!("version {sealed} of it stands in the place of version {version}")))
            }
            _ => Ok(()),
        }
    }

    /// Decrypts for one recipient only, as a proof that this recipient can.
    pub(super) async fn open_as(&self, position: usize, keyring: &Keyring) -> Result<Secret> {
        let recipients = self.header.recipients.get(position..=position).unwrap_or_default();
        let key = keyring.unwrap(recipients, self.bound()).await?;
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

    async fn seal(name: &str, version: u32, text: &str, recipients: &[Recipient]) -> Envelope {
        let (key, failures) = SealingKey::wrap(name, recipients).await;
        assert!(failures.is_empty());
        key.seal(name, version, &Secret::from(text.to_owned())).expect("seals")
    }

    async fn sealed() -> (Envelope, Keyring) {
        let identity = age::x25519::Identity::generate();
        let envelope = seal("vault/a", 2, "s.root", &[recipient(&identity)]).await;
        (envelope, keyring([identity]))
    }

    #[tokio::test]
    async fn sealed_secret_opens_and_document_hides_it() {
        let (envelope, keyring) = sealed().await;
        let opened = envelope.open("vault/a", 2, &keyring).await.expect("opens");
        assert_eq!(opened.expose_str(), Some("s.root"));
        let text = serde_json::to_string(&envelope).expect("serialises");
        assert!(!text.contains("s.root") && !text.contains(&STANDARD.encode("s.root")));
    }

    #[tokio::test]
    async fn envelope_opens_for_each_recipient_only() {
        let [one, two, other] = std::array::from_fn(|_| age::x25519::Identity::generate());
        let secret = Secret::from("x".to_owned());
        let envelope = seal("a", 1, "x", &[recipient(&one), recipient(&two)]).await;
        assert_eq!(envelope.open("a", 1, &keyring([one])).await.expect("opens"), secret);
        assert_eq!(envelope.open("a", 1, &keyring([two])).await.expect("opens"), secret);
        let error = envelope.open("a", 1, &keyring([other])).await.expect_err("is no recipient");
        assert!(error.advice.is_some_and(|advice| advice.contains("GROUNDWORK_AGE_IDENTITY")));
    }

    #[tokio::test]
    async fn envelope_with_any_changed_byte_is_refused() {
        let (envelope, keyring) = sealed().await;
        let text = serde_json::to_string(&envelope).expect("serialises").into_bytes();
        for position in 0..text.len() {
            let mut text = text.clone();
            text[position] ^= 1;
            let Ok(changed) = serde_json::from_slice::<Envelope>(&text) else { continue };
            assert!(changed.open("vault/a", 2, &keyring).await.is_err(), "byte {position}");
        }
        assert!(envelope.open("vault/b", 2, &keyring).await.is_err(), "another name");
    }

    #[tokio::test]
    async fn older_object_in_place_of_newer_is_refused() {
        let (envelope, keyring) = sealed().await;
        let error = envelope.open("vault/a", 3, &keyring).await.expect_err("rolled forward");
        assert!(error.message.contains("version 2"), "{error}");
        let mut stripped = envelope;
        stripped.header.version = None;
        assert!(stripped.open("vault/a", 3, &keyring).await.is_err(), "the version is authenticated");
    }

    /// As envelopes were written before their version was part of the header.
    #[tokio::test]
    async fn object_without_version_stays_readable() {
        let (envelope, keyring) = sealed().await;
        let key = keyring.unwrap(&envelope.header.recipients, "vault/a").await.expect("unwraps");
        let header = Header { version: None, ..envelope.header };
        let old = Envelope::encrypt(header, &key, &Secret::from("x".to_owned())).expect("seals");
        let text = serde_json::to_string(&old).expect("serialises");
        assert!(!text.contains("version") && !text.contains("bound"));
        let read: Envelope = serde_json::from_str(&text).expect("reads");
        assert!(read.open("vault/a", 1, &keyring).await.is_ok());
    }

    #[tokio::test]
    async fn prepared_key_seals_only_below_its_name() {
        let identity = age::x25519::Identity::generate();
        let (key, _) = SealingKey::wrap("aws/ci/", &[recipient(&identity)]).await;
        let secret = Secret::from("x".to_owned());
        assert!(key.seal("aws/cd/akia1", 1, &secret).is_err());
        let envelope = key.seal("aws/ci/akia1", 1, &secret).expect("seals");
        let keyring = keyring([identity]);
        assert_eq!(envelope.open("aws/ci/akia1", 1, &keyring).await.expect("opens"), secret);
        assert!(envelope.open("aws/ci/akia2", 1, &keyring).await.is_err());
    }

    #[tokio::test]
    async fn widened_object_opens_for_old_and_new_recipients() {
        let [one, two] = std::array::from_fn(|_| age::x25519::Identity::generate());
        let envelope = seal("a", 1, "x", &[recipient(&one)]).await;
        let more = [recipient(&two)];
        let (wide, failures) = envelope.widen(1, &more, &keyring([one.clone()])).await.expect("opens");
        assert!(failures.is_empty());
        for identity in [one, two] {
            assert!(wide.open("a", 1, &keyring([identity])).await.is_ok());
        }
    }

    #[tokio::test]
    async fn changed_recipient_list_is_refused() {
        let (envelope, keyring) = sealed().await;
        let mut more = envelope.clone();
        more.header.recipients.push(envelope.header.recipients[0].clone());
        assert!(more.open("vault/a", 2, &keyring).await.is_err());
    }
}
