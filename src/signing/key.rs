//! The signing key of a plan, its signatures, and their signers.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, random_bytes};

/// Length of both halves of an Ed25519 key in bytes.
const KEY_LEN: usize = 32;
/// Length of a signature in bytes.
const SIGNATURE_LEN: usize = 64;
/// The beginning of a key's text.
const FORMAT: &str = "groundwork-signing-key/1 ";

/// A signer's Ed25519 public key, written in hexadecimal. It is its own fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signer([u8; KEY_LEN]);

/// The error for a text that is not a fingerprint.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the fingerprint of a signing key, which has 64 hexadecimal digits")]
pub struct InvalidSigner(String);

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Signer {
    type Err = InvalidSigner;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; KEY_LEN];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidSigner(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Signer {
    type Error = InvalidSigner;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Signer> for String {
    fn from(signer: Signer) -> Self {
        signer.to_string()
    }
}

/// A signature with its signer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// The key that is claimed to have made it; see [`Seal::proves`].
    pub signer: Signer,
    /// Base64.
    signature: String,
}

impl Seal {
    /// Reads the two parts of the written form.
    pub fn from_text(signer: &str, signature: &str) -> Option<Self> {
        Some(Self { signer: signer.parse().ok()?, signature: signature.to_owned() })
    }

    /// The signature, base64.
    pub fn signature(&self) -> &str {
        &self.signature
    }

    /// Whether the signer has signed exactly these parts for this purpose.
    pub fn proves(&self, purpose: &str, parts: &[&[u8]]) -> bool {
        let Ok(signature) = STANDARD.decode(&self.signature) else { return false };
        signature.len() == SIGNATURE_LEN
            && UnparsedPublicKey::new(&ED25519, self.signer.0)
                .verify(&message(purpose, parts), &signature)
                .is_ok()
    }
}

/// The private half.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: Secret,
    signer: Signer,
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// `Local` when the system's cryptography fails.
    pub fn generate() -> Result<Self> {
        Self::from_seed(Secret::new(random_bytes(KEY_LEN)))
    }

    fn from_seed(seed: Secret) -> Result<Self> {
        let failed = || Error::new(ErrorKind::Local, "signing key", "is not an Ed25519 key");
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose_bytes()).map_err(|_| failed())?;
        let signer = Signer(pair.public_key().as_ref().try_into().map_err(|_| failed())?);
        Ok(Self { pair, seed, signer })
    }

    /// Reads a text that [`SigningKey::to_secret`] returned.
    ///
    /// # Errors
    /// `Local` when it is not one.
    pub fn from_secret(text: &Secret) -> Result<Self> {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        text.expose_str()
            .and_then(|text| text.trim_end().strip_prefix(FORMAT))
            .and_then(|digits| hex::decode_to_slice(digits, seed.as_mut()).ok())
            .ok_or_else(|| Error::new(ErrorKind::Local, "signing key", "is not a signing key"))?;
        Self::from_seed(Secret::new(seed.to_vec()))
    }

    /// The text in which it is stored.
    pub fn to_secret(&self) -> Secret {
        let digits = Zeroizing::new(hex::encode(self.seed.expose_bytes()));
        Secret::from(format!("{FORMAT}{}", *digits))
    }

    /// The public half.
    pub fn signer(&self) -> Signer {
        self.signer
    }

    /// Signs these parts for this purpose.
    pub fn sign(&self, purpose: &str, parts: &[&[u8]]) -> Seal {
        let signature = self.pair.sign(&message(purpose, parts));
        Seal { signer: self.signer, signature: STANDARD.encode(signature.as_ref()) }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.signer)
    }
}

/// The signed message. Each part has its length in front, so that no bytes can move between parts.
fn message(purpose: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::new();
    for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_proves_only_its_own_parts() {
        let key = SigningKey::generate().expect("a key");
        let seal = key.sign("test", &[b"ab", b"c"]);
        assert!(seal.proves("test", &[b"ab", b"c"]));
        assert!(!seal.proves("test", &[b"a", b"bc"]), "parts do not run together");
        assert!(!seal.proves("other", &[b"ab", b"c"]) && !seal.proves("test", &[b"ab"]));
        let other = Seal { signer: SigningKey::generate().expect("a key").signer(), ..seal.clone() };
        assert!(!other.proves("test", &[b"ab", b"c"]), "another's name on it");
    }

    #[test]
    fn signature_with_any_bit_flipped_proves_nothing() {
        let key = SigningKey::generate().expect("a key");
        let seal = key.sign("test", &[b"x"]);
        let bytes = STANDARD.decode(seal.signature()).expect("base64");
        for position in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[position / 8] ^= 1 << (position % 8);
            let flipped = Seal { signature: STANDARD.encode(bytes), ..seal.clone() };
            assert!(!flipped.proves("test", &[b"x"]), "bit {position}");
        }
        for garbage in ["", "AAAA", "not base64"] {
            assert!(!Seal { signature: garbage.to_owned(), ..seal.clone() }.proves("test", &[b"x"]));
        }
    }

    #[test]
    fn stored_key_is_read_back_unchanged() {
        let key = SigningKey::generate().expect("a key");
        let again = SigningKey::from_secret(&key.to_secret()).expect("a key");
        assert_eq!(again.signer(), key.signer());
        assert_eq!(key.signer().to_string().parse::<Signer>().expect("a fingerprint"), key.signer());
        assert!(SigningKey::from_secret(&Secret::from("x".to_owned())).is_err());
        assert!("abc".parse::<Signer>().is_err());
        let shown = format!("{key:?}");
        assert!(!shown.contains(&hex::encode(key.seed.expose_bytes())), "{shown}");
    }
}
