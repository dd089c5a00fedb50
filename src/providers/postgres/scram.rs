//! Passwords as PostgreSQL stores them. They are hashed here, so that the server, its statement log and
//! its extensions never see one.
//! <https://www.postgresql.org/docs/current/catalog-pg-authid.html>, RFC 5802, RFC 7677

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secret::{Secret, random_bytes};

const PREFIX: &str = "SCRAM-SHA-256$";
/// The server's own default.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");
const SALT: usize = 16;

/// The server's record of a password: neither the password nor enough to log in with.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Verifier {
    /// A new verifier of this password.
    pub fn of(password: &Secret) -> Self {
        Self::salted(password, ITERATIONS, &random_bytes(SALT))
    }

    fn salted(password: &Secret, iterations: NonZeroU32, salt: &[u8]) -> Self {
        let mut salted = Zeroizing::new([0; digest::SHA256_OUTPUT_LEN]);
        let prepared = prepared(password);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, &prepared, salted.as_mut_slice());
        let key = hmac::Key::new(hmac::HMAC_SHA256, salted.as_slice());
        let client_key = hmac::sign(&key, b"Client Key");
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: digest::digest(&digest::SHA256, client_key.as_ref()).as_ref().to_vec(),
            server_key: hmac::sign(&key, b"Server Key").as_ref().to_vec(),
        }
    }

    /// Reads what the server stores; `None` for another sort of hash, such as MD5.
    pub fn parse(text: &str) -> Option<Self> {
        let (count_and_salt, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = count_and_salt.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let decode = |text: &str| STANDARD.decode(text).ok();
        Some(Self {
            iterations: iterations.parse().ok()?,
            salt: decode(salt)?,
            stored_key: decode(stored)?,
            server_key: decode(server)?,
        })
    }

    /// Whether it is the verifier of this password.
    pub fn is_of(&self, password: &Secret) -> bool {
        Self::salted(password, self.iterations, &self.salt) == *self
    }

    /// The text that the server stores, and takes in place of a password.
    pub fn text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt, &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        format!("{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }
}

/// The bytes that are hashed. A password that SASLprep refuses is hashed as it is, as libpq does.
fn prepared(password: &Secret) -> Zeroizing<Vec<u8>> {
    let bytes = password.expose_bytes();
    let text = std::str::from_utf8(bytes).ok().and_then(|text| stringprep::saslprep(text).ok());
    Zeroizing::new(text.map_or_else(|| bytes.to_vec(), |text| text.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    /// The example of RFC 7677: its server proves itself with `6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=`.
    #[test]
    fn server_key_signs_the_example_of_the_standard() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let verifier = Verifier::salted(&secret("pencil"), ITERATIONS, &salt);
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let key = hmac::Key::new(hmac::HMAC_SHA256, &verifier.server_key);
        let signature = hmac::sign(&key, message.as_bytes());
        assert_eq!(STANDARD.encode(signature.as_ref()), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn verifier_knows_its_password_and_no_other() {
        let verifier = Verifier::of(&secret("hunter2"));
        let read = Verifier::parse(&verifier.text()).expect("its own notation");
        assert!(read.is_of(&secret("hunter2")) && !read.is_of(&secret("hunter3")));
        assert!(!verifier.text().contains("hunter2"));
        assert!(Verifier::parse("md5a3556571e93b0d20722ba62be61e8c2d").is_none());
    }
}
