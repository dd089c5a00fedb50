//! The key pair that Vault encrypts its once-only answers for.
//!
//! A version 4 key (RFC 4880 with the curves of RFC 6637 and "legacy" Ed25519), because that is
//! what the Go library in Vault and OpenBao reads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgp::composed::{
    Deserializable, EncryptionCaps, KeyType, Message, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Password};
use rand_core::{CryptoRng, RngCore};

use crate::resource::{Error, ErrorKind, Result};
use crate::secret::{Secret, random_bytes};

/// A key pair that only decrypts. Its `Debug` shows the fingerprint alone.
pub struct KeyPair(SignedSecretKey);

impl KeyPair {
    /// Makes a new key pair.
    ///
    /// # Errors
    /// `Local`; it does not happen with the fixed parameters used here.
    pub fn generate() -> Result<Self> {
        let subkey = SubkeyParamsBuilder::default()
            .key_type(KeyType::ECDH(ECCCurve::Curve25519Legacy))
            .can_encrypt(EncryptionCaps::All)
            .build()
            .map_err(|error| failed("make a key", error))?;
        let parameters = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("groundwork".to_owned())
            .subkeys(vec![subkey])
            .build()
            .map_err(|error| failed("make a key", error))?;
        parameters.generate(SystemRandom).map(Self).map_err(|error| failed("make a key", error))
    }

    /// The private half, to keep in custody.
    ///
    /// # Errors
    /// `Local`; as [`KeyPair::generate`].
    pub fn to_secret(&self) -> Result<Secret> {
        self.0.to_bytes().map(Secret::new).map_err(|error| failed("write the key", error))
    }

    /// The pair from what [`KeyPair::to_secret`] gave.
    ///
    /// # Errors
    /// `Local` when it is something else.
    pub fn from_secret(secret: &Secret) -> Result<Self> {
        SignedSecretKey::from_bytes(secret.expose_bytes())
            .map(Self)
            .map_err(|error| failed("read the key", error))
    }

    /// The public half as `sys/init` wants it: binary, in base64.
    ///
    /// # Errors
    /// `Local`; as [`KeyPair::generate`].
    pub fn public(&self) -> Result<String> {
        let public = SignedPublicKey::from(self.0.clone());
        public.to_bytes().map(|bytes| STANDARD.encode(bytes)).map_err(|error| failed("write the key", error))
    }

    /// Decrypts a message in base64, as Vault gives shares and the root token.
    ///
    /// # Errors
    /// `Local` when it is no message or is meant for another key.
    pub fn decrypt(&self, message: &str) -> Result<Secret> {
        let bytes = STANDARD.decode(message).map_err(|error| failed("read the message", error))?;
        let message = Message::from_bytes(&bytes[..]).map_err(|error| failed("read the message", error))?;
        let opened = message.decrypt(&Password::empty(), &self.0);
        let mut opened = opened.map_err(|error| failed("decrypt the message", error))?;
        if opened.is_compressed() {
            opened = opened.decompress().map_err(|error| failed("decompress the message", error))?;
        }
        opened.as_data_vec().map(Secret::new).map_err(|error| failed("decrypt the message", error))
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPair({})", self.0.fingerprint())
    }
}

/// Checks that a public key, binary in base64, can be encrypted for. OpenBao takes a key that
/// cannot, fails after it has begun to initialise itself, and must then be wiped.
///
/// # Errors
/// `Rejected` when it cannot be read, is not signed properly, or has no subkey for encryption.
pub fn check_public(key: &str) -> Result<()> {
    let refused = |why: String| {
        Error::new(ErrorKind::Rejected, "pgp key", why)
            .advice("export a key with an encryption subkey: gpg --export KEY | base64")
    };
    let bytes = STANDARD.decode(key).map_err(|error| refused(format!("is not base64: {error}")))?;
    let key =
        SignedPublicKey::from_bytes(&bytes[..]).map_err(|error| refused(format!("is no key: {error}")))?;
    key.verify_bindings().map_err(|error| refused(format!("is not signed properly: {error}")))?;
    let encrypts = key.public_subkeys.iter().any(|subkey| {
        let flagged = |flags: pgp::packet::KeyFlags| flags.encrypt_comms() || flags.encrypt_storage();
        subkey.key.algorithm().can_encrypt()
            && subkey.signatures.iter().any(|signature| flagged(signature.key_flags()))
    });
    if encrypts { Ok(()) } else { Err(refused("has no subkey for encryption".to_owned())) }
}

fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Local, "pgp", format!("cannot {what}: {error}"))
}

/// The operating system's random source, in the shape that the pgp crate wants.
struct SystemRandom;

impl RngCore for SystemRandom {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        let bytes = zeroize::Zeroizing::new(random_bytes(dest.len()));
        dest.copy_from_slice(&bytes);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> std::result::Result<(), rand_core::Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

impl CryptoRng for SystemRandom {}

#[cfg(test)]
mod tests {
    use pgp::composed::MessageBuilder;
    use pgp::crypto::sym::SymmetricKeyAlgorithm;

    use super::*;

    /// What Vault does with a public key.
    fn encrypt(public: &str, text: &str) -> String {
        let key = SignedPublicKey::from_bytes(&STANDARD.decode(public).unwrap()[..]).unwrap();
        let mut builder = MessageBuilder::from_bytes("", text.as_bytes().to_vec())
            .seipd_v1(SystemRandom, SymmetricKeyAlgorithm::AES256);
        builder.encrypt_to_key(SystemRandom, &key.public_subkeys[0]).unwrap();
        STANDARD.encode(builder.to_vec(SystemRandom).unwrap())
    }

    #[test]
    fn a_message_for_the_key_opens_after_the_key_was_kept() {
        let pair = KeyPair::generate().expect("makes");
        let public = pair.public().expect("writes");
        check_public(&public).expect("can be encrypted for");
        let message = encrypt(&public, "deadbeef");
        let kept = KeyPair::from_secret(&pair.to_secret().expect("writes")).expect("reads");
        assert_eq!(kept.decrypt(&message).expect("opens").expose_str(), Some("deadbeef"));
        assert!(KeyPair::generate().expect("makes").decrypt(&message).is_err(), "another key");
    }

    #[test]
    fn a_key_that_cannot_encrypt_is_refused() {
        let parameters = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("signs only".to_owned())
            .build()
            .unwrap();
        let key = SignedPublicKey::from(parameters.generate(SystemRandom).unwrap());
        let error = check_public(&STANDARD.encode(key.to_bytes().unwrap())).expect_err("refused");
        assert!(error.message.contains("no subkey for encryption"), "{error}");
        assert!(check_public("nonsense").is_err());
    }

    #[test]
    fn nothing_private_is_shown() {
        let shown = format!("{:?}", KeyPair::generate().expect("makes"));
        assert!(shown.starts_with("KeyPair(") && shown.len() < 60, "{shown}");
    }
}
