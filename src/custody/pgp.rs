//! OpenPGP: the key pair that Vault encrypts its once-only responses for, and people's public keys.
//!
//! The pair is a version 4 key (RFC 4880 with the curves of RFC 6637 and "legacy" Ed25519), because that is
//! what the Go library in Vault and OpenBao reads.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgp::composed::{
    ArmorOptions, Deserializable, EncryptionCaps, KeyType, Message, MessageBuilder, SecretKeyParamsBuilder,
    SignedPublicKey, SignedPublicSubKey, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::SignatureType;
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Password, Timestamp};
use rand_core::{CryptoRng, RngCore};

use crate::confined_path;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, random_bytes};

/// A key pair that only decrypts. Its `Debug` shows only the fingerprint.
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

    /// Reads the pair that [`KeyPair::to_secret`] returned.
    ///
    /// # Errors
    /// `Local` when it is something else.
    pub fn from_secret(secret: &Secret) -> Result<Self> {
        SignedSecretKey::from_bytes(secret.expose_bytes())
            .map(Self)
            .map_err(|error| failed("read the key", error))
    }

    /// The fingerprint in hexadecimal, by which people compare keys.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string()
    }

    /// The public half as `sys/init` wants it: binary, in base64.
    ///
    /// # Errors
    /// `Local`; as [`KeyPair::generate`].
    pub fn public(&self) -> Result<String> {
        let public = SignedPublicKey::from(self.0.clone());
        public.to_bytes().map(|bytes| STANDARD.encode(bytes)).map_err(|error| failed("write the key", error))
    }

    /// The public half as a person's key is used; checks that it can be encrypted for.
    ///
    /// # Errors
    /// `Local`; as [`KeyPair::generate`].
    pub fn public_key(&self) -> Result<PublicKey> {
        let public = SignedPublicKey::from(self.0.clone()).to_bytes();
        PublicKey::parse(&public.map_err(|error| failed("write the key", error))?)
    }

    /// Reads a private key that its owner exported without a passphrase, armoured or binary.
    ///
    /// # Errors
    /// `Local` when it is something else.
    pub fn parse(secret: &Secret) -> Result<Self> {
        let read = SignedSecretKey::from_reader_single(secret.expose_bytes());
        read.map(|(key, _)| Self(key)).map_err(|error| failed("read the private key", error))
    }

    /// Decrypts a message in base64, as Vault gives shares and the root token.
    ///
    /// # Errors
    /// `Local` when it is not a message, or is encrypted for another key.
    pub fn decrypt(&self, message: &str) -> Result<Secret> {
        let bytes = STANDARD.decode(message).map_err(|error| failed("read the message", error))?;
        self.decrypt_bytes(&bytes)
    }

    /// Decrypts an armoured message.
    ///
    /// # Errors
    /// As [`KeyPair::decrypt`].
    pub fn decrypt_armored(&self, message: &str) -> Result<Secret> {
        let read = Message::from_armor(message.as_bytes());
        let (message, _) = read.map_err(|error| failed("read the message", error))?;
        self.open(message)
    }

    /// Decrypts a binary message.
    ///
    /// # Errors
    /// As [`KeyPair::decrypt`].
    pub fn decrypt_bytes(&self, bytes: &[u8]) -> Result<Secret> {
        self.open(Message::from_bytes(bytes).map_err(|error| failed("read the message", error))?)
    }

    fn open(&self, message: Message<'_>) -> Result<Secret> {
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

/// A person's public key that can be encrypted for.
#[derive(Clone)]
pub struct PublicKey(SignedPublicKey);

impl PublicKey {
    /// Reads a key as `gpg --export` writes it, with `--armor` or without.
    ///
    /// # Errors
    /// `Rejected` when it is not a key, is not signed properly, or has no subkey for encryption that
    /// is valid now. OpenBao accepts such a key, fails in the middle of its initialisation, and must
    /// then be wiped.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let (key, _) = SignedPublicKey::from_reader_single(bytes)
            .map_err(|error| refused(format!("is not a public key: {error}")))?;
        key.verify_bindings().map_err(|error| refused(format!("is not signed properly: {error}")))?;
        if !key.details.revocation_signatures.is_empty() {
            return Err(refused("was revoked".to_owned()));
        }
        let key = Self(key);
        match key.encrypting() {
            Some(_) => Ok(key),
            None => Err(refused("has no subkey for encryption that is valid now".to_owned())),
        }
    }

    /// Reads a key from a file below a plan's folder.
    ///
    /// # Errors
    /// As [`PublicKey::parse`], naming the file; `Rejected` too when it cannot be read.
    pub fn read(folder: &Path, path: &Path) -> Result<Self> {
        let named = |error: Error| {
            let named = Error::new(error.kind, format!("pgp key {}", path.display()), error.message);
            match error.advice {
                Some(advice) => named.advice(advice),
                None => named,
            }
        };
        let bytes = confined_path::read_existing(folder, path, confined_path::KEY)
            .map_err(|error| refused(format!("cannot be read: {error}")));
        bytes.and_then(|bytes| Self::parse(&bytes)).map_err(named)
    }

    /// The fingerprint in hexadecimal, by which people compare keys.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string()
    }

    /// A binary message that only the key's owner opens.
    ///
    /// # Errors
    /// `Local`; it does not happen with a key that was checked.
    pub fn encrypt(&self, secret: &Secret) -> Result<Vec<u8>> {
        self.message(secret)?.to_vec(SystemRandom).map_err(|error| failed("encrypt", error))
    }

    /// As [`PublicKey::encrypt`], as text for `gpg --decrypt`.
    ///
    /// # Errors
    /// As [`PublicKey::encrypt`].
    pub fn encrypt_armored(&self, secret: &Secret) -> Result<String> {
        let message = self.message(secret)?.to_armored_string(SystemRandom, ArmorOptions::default());
        message.map_err(|error| failed("encrypt", error))
    }

    fn message(&self, secret: &Secret) -> Result<PgpMessage> {
        let subkey = self.encrypting().ok_or_else(|| refused("cannot encrypt".to_owned()))?;
        let message = MessageBuilder::from_bytes("", secret.expose_bytes().to_vec());
        // Version 1 of encrypted data, because every OpenPGP program in use reads it.
        let mut message = message.seipd_v1(SystemRandom, SymmetricKeyAlgorithm::AES256);
        message.encrypt_to_key(SystemRandom, subkey).map_err(|error| failed("encrypt", error))?;
        Ok(message)
    }

    /// The youngest valid subkey for encryption, which is the one that GnuPG takes.
    fn encrypting(&self) -> Option<&SignedPublicSubKey> {
        let valid = self.0.public_subkeys.iter().filter(|subkey| may_encrypt(subkey));
        valid.max_by_key(|subkey| subkey.key.created_at())
    }
}

type PgpMessage = MessageBuilder<'static, pgp::composed::DummyReader, pgp::composed::EncryptionSeipdV1>;

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// Whether the latest signature of a subkey allows encryption and has not expired.
fn may_encrypt(subkey: &SignedPublicSubKey) -> bool {
    let revoked = subkey.signatures.iter().any(|one| one.typ() == Some(SignatureType::SubkeyRevocation));
    let latest = subkey.signatures.iter().max_by_key(|signature| signature.created());
    latest.filter(|_| !revoked && subkey.key.algorithm().can_encrypt()).is_some_and(|signature| {
        let flags = signature.key_flags();
        let lifetime = signature.key_expiration_time().map(pgp::types::Duration::as_secs).unwrap_or_default();
        let ends = subkey.key.created_at().as_secs().saturating_add(lifetime);
        let lives = lifetime == 0 || ends > Timestamp::now().as_secs();
        lives && (flags.encrypt_comms() || flags.encrypt_storage())
    })
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::Rejected, "pgp key", why)
        .advice("export a key with a valid encryption subkey: gpg --export --armor KEY > keys/NAME.asc")
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
    use super::*;

    #[test]
    fn stored_key_decrypts_its_messages() {
        let pair = KeyPair::generate().expect("makes");
        let public =
            PublicKey::parse(&STANDARD.decode(pair.public().expect("writes")).unwrap()).expect("reads");
        let message =
            STANDARD.encode(public.encrypt(&Secret::from("deadbeef".to_owned())).expect("encrypts"));
        let kept = KeyPair::from_secret(&pair.to_secret().expect("writes")).expect("reads");
        assert_eq!(kept.decrypt(&message).expect("opens").expose_str(), Some("deadbeef"));
        assert!(KeyPair::generate().expect("makes").decrypt(&message).is_err(), "another key");
    }

    #[test]
    fn key_without_encryption_subkey_is_refused() {
        let parameters = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("signs only".to_owned())
            .build()
            .unwrap();
        let key = SignedPublicKey::from(parameters.generate(SystemRandom).unwrap());
        let error = PublicKey::parse(&key.to_bytes().unwrap()).expect_err("refused");
        assert!(error.message.contains("no subkey for encryption"), "{error}");
        assert!(PublicKey::parse(b"nonsense").is_err());
    }

    #[test]
    fn debug_output_hides_the_private_key() {
        let shown = format!("{:?}", KeyPair::generate().expect("makes"));
        assert!(shown.starts_with("KeyPair(") && shown.len() < 60, "{shown}");
    }
}
