//! Keys of the TOTP engine: <https://openbao.org/api-docs/secret/totp/#create-key>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{VaultClient, permissions, prove};
use super::{Object, PlainObject, check_name, check_one_of};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::{Proof, Prover};
use crate::resource::Requirement;
use crate::resource::risk::Category::ProtectionOff;
use crate::resource::risk::{Risks, changed, identity, lowered, raised, safe};
use crate::run::Permission;
use crate::secret::SecretSource;

/// A key from which Vault generates one-time codes.
pub type TotpKey = Object<TotpKeySpec>;

/// The declared fields of a TOTP key that another service issued.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TotpKeySpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// The key's name.
    pub name: String,
    /// The key itself, in base 32. The server never returns it: a new value is sent only together
    /// with another change. Not required for an existing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretSource>,
    /// The account that the codes are for.
    pub account_name: String,
    /// The service that asks for the codes.
    #[serde(default)]
    pub issuer: String,
    /// The hash: `SHA1`, `SHA256` or `SHA512`.
    #[serde(default = "sha1")]
    pub algorithm: String,
    /// Digits of a code, 6 or 8.
    #[serde(default = "six")]
    pub digits: u8,
    /// The validity of a code in seconds.
    #[serde(default = "half_a_minute")]
    pub period: u32,
}

fn mount() -> String {
    "totp".to_owned()
}

fn sha1() -> String {
    "SHA1".to_owned()
}

const fn six() -> u8 {
    6
}

const fn half_a_minute() -> u32 {
    30
}

impl TotpKeySpec {
    fn code(&self) -> String {
        format!("{}/code/{}", self.mount, self.name)
    }
}

impl PlainObject for TotpKeySpec {
    const KIND: &'static str = "vault.totp_key";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str =
        "A key that another service issued, from which Vault generates one-time codes.";
    const EXAMPLE: &'static str = "\
registrar_codes:
  kind: vault.totp_key
  name: registrar
  key: { env: REGISTRAR_TOTP_KEY }
  account_name: platform@example.com
  issuer: Registrar
";
    const RISKS: Risks = &[&[
        identity("mount name"),
        safe("key account_name issuer", "it describes the same codes to the service that checks them"),
        changed("algorithm").low(ProtectionOff, "codes are made with another hash"),
        lowered("digits").low(ProtectionOff, "codes are easier to guess"),
        raised("period").low(ProtectionOff, "a code is valid for longer"),
    ]];
    const PROOF: Proof = Proof::Tried("gives a code, which stays good for its owner");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const RESET: &'static [(&'static str, &'static str)] = &[("skew", "1")];
    // Creating it again replaces the key.

    fn path(&self) -> String {
        format!("{}/keys/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        vec![permissions::read(self.code())]
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, _: &Value) {
        prove::engines::code(prover, &desired.code(), desired.digits).await;
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = check_name("name", &self.name).into_iter().collect();
        errors.extend(check_one_of("algorithm", &self.algorithm, &["SHA1", "SHA256", "SHA512"]));
        if ![6, 8].contains(&self.digits) {
            errors.push(FieldError::new("digits", "must be 6 or 8"));
        }
        if self.period == 0 {
            errors.push(FieldError::new("period", "must be more than 0"));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.mount", &self.mount)]
    }

    fn secrets(&mut self) -> Vec<(&'static str, &mut SecretSource)> {
        self.key.iter_mut().map(|source| ("key", source)).collect()
    }
}
