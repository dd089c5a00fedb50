//! Secrets made by Groundwork itself.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// How a secret is made. Without any field: 32 letters and digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// Number of characters.
    #[serde(default = "default_length", deserialize_with = "length")]
    #[schemars(range(min = 8, max = 4096))]
    pub length: usize,
    /// The characters to draw from.
    #[serde(default)]
    pub charset: Charset,
    /// Random bytes in this encoding instead of characters; `length` counts the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Encoding>,
    /// A random UUID (version 4) instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uuid: bool,
    /// A private key instead, as PKCS#8 PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<KeyPair>,
}

/// Refuses lengths that give no secret, or a text that no server takes.
fn length<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        length @ 8..=4096 => Ok(length),
        other => Err(serde::de::Error::custom(format!("`length` is from 8 to 4096, found {other}"))),
    }
}

const fn default_length() -> usize {
    32
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            length: default_length(),
            charset: Charset::default(),
            bytes: None,
            uuid: false,
            key_pair: None,
        }
    }
}

/// A set of characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Charset {
    /// Letters and digits: safe in URLs, shells and YAML.
    #[default]
    Alphanumeric,
    /// Letters, digits and punctuation that needs no escaping in a URL's password: `-._~`.
    UrlSafe,
    /// Every printable ASCII character but the space.
    Printable,
    /// Digits.
    Digits,
}

impl Charset {
    fn characters(self) -> Vec<u8> {
        let printable = b'!'..=b'~';
        match self {
            Self::Alphanumeric => printable.filter(u8::is_ascii_alphanumeric).collect(),
            Self::UrlSafe => printable.filter(|c| c.is_ascii_alphanumeric() || b"-._~".contains(c)).collect(),
            Self::Printable => printable.collect(),
            Self::Digits => printable.filter(u8::is_ascii_digit).collect(),
        }
    }
}

/// How random bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Base64 with padding (RFC 4648, section 4).
    Base64,
}

/// The algorithm of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyPair {
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// RSA with 3072 bits.
    Rsa,
}

impl Generate {
    /// The form in words: `32 characters`.
    pub fn describe(&self) -> String {
        match (self.key_pair, self.uuid, self.bytes) {
            (Some(KeyPair::Ed25519), ..) => "Ed25519 key".to_owned(),
            (Some(KeyPair::Rsa), ..) => "RSA key".to_owned(),
            (None, true, _) => "UUID".to_owned(),
            (None, false, Some(_)) => format!("{} bytes", self.length),
            (None, false, None) => format!("{} characters", self.length),
        }
    }

    /// Makes a new value.
    pub fn make(&self) -> Secret {
        match (self.key_pair, self.uuid, self.bytes) {
            (Some(algorithm), ..) => private_key(algorithm),
            (None, true, _) => Secret::from(uuid::Uuid::new_v4().to_string()),
            (None, false, Some(Encoding::Hex)) => Secret::from(hex::encode(random_bytes(self.length))),
            (None, false, Some(Encoding::Base64)) => Secret::from(STANDARD.encode(random_bytes(self.length))),
            (None, false, None) => random_text(self.length, &self.charset.characters()),
        }
    }
}

/// The public half, as SubjectPublicKeyInfo PEM, of a private key that [`Generate::make`] made.
/// `None` when the secret is not such a key.
pub fn public_key(private: &Secret) -> Option<String> {
    let der = pem_body(private.expose_str()?)?;
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8(&der) {
        let spki = pair.public_key().as_der().ok()?;
        return Some(pem("PUBLIC KEY", spki.as_ref()));
    }
    let pair = rsa::KeyPair::from_pkcs8(&der).ok()?;
    let spki = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key()).ok()?;
    Some(pem("PUBLIC KEY", spki.as_ref()))
}

/// Draws each character with equal probability: bytes past the largest multiple of the set's size
/// are thrown away.
fn random_text(length: usize, characters: &[u8]) -> Secret {
    let limit = 256 - 256 % characters.len();
    let mut text = Vec::with_capacity(length);
    while text.len() < length {
        let drawn = random_bytes(length);
        let usable = drawn.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit);
        text.extend(usable.map(|byte| characters[byte % characters.len()]).take(length - text.len()));
    }
    Secret::new(text)
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness, in which case nothing safe can be made at all.
pub(crate) fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes).expect("the operating system's random source answers");
    bytes
}

fn private_key(algorithm: KeyPair) -> Secret {
    let der = match algorithm {
        KeyPair::Ed25519 => {
            Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1().map(|d| d.as_ref().to_vec()))
        }
        KeyPair::Rsa => rsa::KeyPair::generate(rsa::KeySize::Rsa3072).and_then(|pair| {
            AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).map(|der| der.as_ref().to_vec())
        }),
    };
    Secret::from(pem("PRIVATE KEY", &der.expect("key generation needs only randomness")))
}

/// Textual encoding of RFC 7468: base64 in lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn pem_body(text: &str) -> Option<Vec<u8>> {
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(yaml: serde_json::Value) -> String {
        let generate: Generate = serde_json::from_value(yaml).expect("valid");
        generate.make().expose_str().expect("text").to_owned()
    }

    #[test]
    fn text_has_the_declared_length_and_characters() {
        let text = made(serde_json::json!({ "length": 64, "charset": "digits" }));
        assert!(text.len() == 64 && text.bytes().all(|c| c.is_ascii_digit()), "{text}");
        assert_ne!(made(serde_json::json!({})), made(serde_json::json!({})));
    }

    #[test]
    fn lengths_unfit_for_a_secret_are_refused() {
        for length in [0, 1, 7, 4097] {
            let generate = serde_json::from_value::<Generate>(serde_json::json!({ "length": length }));
            assert!(generate.is_err(), "{length}");
        }
    }

    #[test]
    fn bytes_and_uuid_have_declared_lengths() {
        assert_eq!(made(serde_json::json!({ "length": 16, "bytes": "hex" })).len(), 32);
        assert_eq!(made(serde_json::json!({ "length": 32, "bytes": "base64" })).len(), 44);
        assert_eq!(made(serde_json::json!({ "uuid": true })).len(), 36);
    }

    #[test]
    fn generated_private_keys_yield_a_public_key() {
        for algorithm in ["ed25519", "rsa"] {
            let private = Secret::from(made(serde_json::json!({ "key_pair": algorithm })));
            let public = public_key(&private).expect("a key");
            assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{algorithm}: {public}");
        }
    }
}
