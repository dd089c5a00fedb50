//! One key share for one person, who opens it with their own tool, without Groundwork.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::pgp::PublicKey;
use super::recipient::parse_age;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::signing::Seal;

/// The value of [`Handout::format`].
const FORMAT: &str = "groundwork-handout/1";

/// A person who holds one key share, and the key to encrypt it for: either `pgp` or `age`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The person's name, in lower case.
    pub name: String,
    /// An OpenPGP public key, a file beside the plan, binary or armoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pgp: Option<PathBuf>,
    /// An age public key, `age1…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
}

impl Holder {
    /// The key; a file is relative to `folder`.
    ///
    /// # Errors
    /// `Rejected` when the holder does not have exactly one key, or the key cannot be encrypted for.
    pub fn key(&self, folder: &Path) -> Result<HolderKey> {
        match (&self.pgp, &self.age) {
            (Some(path), None) => PublicKey::read(folder, path).map(HolderKey::Pgp),
            (None, Some(key)) => parse_age(key).map(HolderKey::Age),
            _ => Err(Error::new(ErrorKind::Rejected, format!("holder {}", self.name), "has no single key")
                .advice("give each holder either `pgp` or `age`")),
        }
    }
}

/// A holder's public key.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "there are as many as there are holders")]
pub enum HolderKey {
    /// Opened with `age --decrypt`.
    Age(age::x25519::Recipient),
    /// Opened with `gpg --decrypt`.
    Pgp(PublicKey),
}

impl HolderKey {
    /// The age public key, or the PGP key's fingerprint.
    pub fn id(&self) -> String {
        match self {
            Self::Age(key) => key.to_string(),
            Self::Pgp(key) => key.fingerprint(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Age(_) => "age",
            Self::Pgp(_) => "pgp",
        }
    }

    pub(super) fn encrypt(&self, share: &Secret) -> Result<String> {
        match self {
            Self::Age(key) => age::encrypt_and_armor(key, share.expose_bytes())
                .map_err(|source| Error::new(ErrorKind::Local, "age", "cannot encrypt").source(source)),
            Self::Pgp(key) => key.encrypt_armored(share),
        }
    }
}

/// An encrypted share as it is stored: a JSON document. Only the holder can decrypt it, so a digest
/// shows whether it is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handout {
    /// The version of this form.
    pub format: String,
    /// The object's name in custody.
    pub name: String,
    /// When it was sealed (RFC 3339).
    pub created: Timestamp,
    /// `age` or `pgp`.
    pub kind: String,
    /// The holder's key, as [`HolderKey::id`].
    pub holder_key: String,
    /// Which share it is, counted from 1. A run that goes on where another was cut off must not
    /// give one share to two holders.
    pub share: usize,
    /// SHA-256 of the message, in hexadecimal.
    digest: String,
    /// The armoured message.
    message: String,
    /// The signature of the plan's key over all of it. Handouts of older versions of the program have
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seal: Option<Seal>,
}

impl Handout {
    /// Encrypts `secret`, the share number `share`, for one holder.
    ///
    /// # Errors
    /// `Local` when the key cannot encrypt, which a checked key can.
    pub fn seal(name: &str, share: usize, secret: &Secret, key: &HolderKey) -> Result<Self> {
        let message = key.encrypt(secret)?;
        Ok(Self {
            format: FORMAT.to_owned(),
            name: name.to_owned(),
            created: Timestamp::now(),
            kind: key.kind().to_owned(),
            holder_key: key.id(),
            share,
            digest: digest(&message),
            message,
            seal: None,
        })
    }

    /// The message for `gpg --decrypt` or `age --decrypt`.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Reads a stored handout.
    ///
    /// # Errors
    /// `Local` when it is damaged or another object's.
    pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = |why: String| Error::new(ErrorKind::Local, format!("custody: {name}"), why);
        let found: Self = serde_json::from_slice(bytes)
            .map_err(|error| damaged(format!("is not a whole handout: {error}")))?;
        if found.format != FORMAT || found.name != name || found.digest != digest(&found.message) {
            return Err(damaged("was changed since it was sealed".to_owned()));
        }
        Ok(found)
    }
}

fn digest(message: &str) -> String {
    hex::encode(Sha256::digest(message))
}

#[cfg(test)]
mod tests {
    use super::super::pgp::KeyPair;
    use super::*;

    fn share() -> Secret {
        Secret::from("0123abcd".to_owned())
    }

    #[test]
    fn handout_opens_for_holder_and_hides_the_share() {
        let identity = age::x25519::Identity::generate();
        let handout = Handout::seal("a/holders/bob", 2, &share(), &HolderKey::Age(identity.to_public()));
        let handout = handout.expect("seals");
        let bytes = serde_json::to_vec(&handout).expect("plain data");
        assert_eq!(Handout::decode("a/holders/bob", &bytes).expect("whole"), handout);
        assert!(!String::from_utf8_lossy(&bytes).contains("0123abcd"));
        let mut opened = Vec::new();
        let reader = age::armor::ArmoredReader::new(handout.message().as_bytes());
        let decryptor = age::Decryptor::new(reader).expect("age");
        let mut reader =
            decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).expect("for bob");
        std::io::Read::read_to_end(&mut reader, &mut opened).expect("reads");
        assert_eq!(opened, share().expose_bytes());
    }

    #[test]
    fn changed_handout_is_refused() {
        let key = HolderKey::Pgp(KeyPair::generate().unwrap().public_key().unwrap());
        let handout = Handout::seal("a/holders/alice", 1, &share(), &key).expect("seals");
        assert!(handout.message().starts_with("-----BEGIN PGP MESSAGE-----"));
        let text = serde_json::to_string(&handout).expect("plain data");
        let spoiled = text.replace("-----BEGIN PGP MESSAGE-----\\n", "-----BEGIN PGP MESSAGE-----\\n\\n");
        assert!(text != spoiled && Handout::decode("a/holders/alice", spoiled.as_bytes()).is_err());
        assert!(Handout::decode("a/holders/bob", text.as_bytes()).is_err(), "another name");
    }
}
