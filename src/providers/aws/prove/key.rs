//! A KMS key is proven by using it.

use std::collections::BTreeMap;

use super::Aws;
use crate::error::{Error, ErrorKind, Result};
use crate::providers::aws::error::Answer;
use crate::secret::{Secret, random_bytes};

/// A key as its users know it.
pub(in crate::providers::aws) struct Key<'a> {
    /// Its alias.
    pub alias: &'a str,
    /// Its declared algorithm.
    pub spec: &'a str,
    /// Its declared purpose.
    pub usage: &'a str,
    /// Whether it is declared to be enabled.
    pub enabled: bool,
}

/// Encrypts and decrypts through the alias; a pair of keys gives its public key. A key that is declared disabled
/// must refuse.
pub(in crate::providers::aws) async fn prove(prover: &Aws<'_>, key: Key<'_>) {
    let (tried, expected, answer) = match (key.spec, key.usage) {
        ("SYMMETRIC_DEFAULT", _) => {
            ("encrypts and decrypts through its alias", "the same text", round_trip(prover, key.alias).await)
        }
        (_, "GENERATE_VERIFY_MAC") => {
            ("makes an HMAC and verifies it", "a valid HMAC", authenticate(prover, key.alias, key.spec).await)
        }
        _ => ("gives its public key through its alias", "a public key", public_key(prover, key.alias).await),
    };
    match (key.enabled, answer) {
        (true, answer) => {
            if prover.ask(tried, expected, answer).is_some() {
                prover.proven(tried);
            }
        }
        (false, Ok(())) => prover.failed(
            DISABLED,
            "KMS refuses to use the key, which is declared disabled",
            "it is used",
            "find out who enabled it; `groundwork apply` disables it",
        ),
        (false, Err(error)) if error.kind == ErrorKind::Rejected => prover.proven(DISABLED),
        (false, Err(error)) => prover.refused(DISABLED, "KMS says that the key is disabled", &error),
    }
}

const DISABLED: &str = "the disabled key is not used";

async fn round_trip(prover: &Aws<'_>, alias: &str) -> Result<()> {
    let (text, context) = (Secret::new(random_bytes(16)), BTreeMap::new());
    let sealed = prover.kms_encrypt(alias, &text, &context).await?;
    let opened = prover.kms_decrypt(&sealed, &context).await?;
    match opened.expose_bytes() == text.expose_bytes() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Rejected, "kms:Decrypt", "gives another text than was encrypted")),
    }
}

async fn authenticate(prover: &Aws<'_>, alias: &str, spec: &str) -> Result<()> {
    let kms = &prover.write(prover.permit()).kms;
    let algorithm = spec.replace("HMAC_", "HMAC_SHA_");
    let message = aws_sdk_kms::primitives::Blob::new(random_bytes(16));
    let made =
        kms.generate_mac().key_id(alias).message(message.clone()).mac_algorithm(algorithm.as_str().into());
    let made = made.send().await.at("kms:GenerateMac")?;
    let request = kms.verify_mac().key_id(alias).message(message).set_mac(made.mac);
    request.mac_algorithm(algorithm.as_str().into()).send().await.at("kms:VerifyMac").map(drop)
}

async fn public_key(prover: &Aws<'_>, alias: &str) -> Result<()> {
    prover.read().kms.get_public_key().key_id(alias).send().await.at("kms:GetPublicKey").map(drop)
}
