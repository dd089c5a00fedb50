//! The CA of an SSH engine: <https://openbao.org/api-docs/secret/ssh/#submit-ca-information>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::fields::Fixed;
use super::super::notation::Pem;
use super::super::server::lacks_ssh_key;
use super::{Object, PlainObject, check_one_of};
use crate::access::Granting;
use crate::error::{Error, FieldError};
use crate::proof::Proof;
use crate::resource::risk::{Risks, fixed, identity, safe};
use crate::resource::{Replacement, Requirement};
use crate::secret::SecretSource;

/// The key with which an SSH engine signs.
pub type SshCa = Object<SshCaSpec>;

/// The declared fields of the CA. The server generates the key unless one is given.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshCaSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// The type of key that the server generates: `ssh-rsa`, `ecdsa-sha2-nistp256`,
    /// `ecdsa-sha2-nistp384`, `ecdsa-sha2-nistp521` or `ssh-ed25519`. Fixed. Not compared when a
    /// key is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
    /// Bits of an RSA key that the server generates. Fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_bits: Option<u64>,
    /// The public half of an existing key. Fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Pem>,
    /// The private half of an existing key. The server never returns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretSource>,
}

fn mount() -> String {
    "ssh".to_owned()
}

const DECIDED: &str =
    "hosts trust this key; mount another engine for the new one, so that both can be trusted for a while";

const KEY_TYPES: [&str; 5] =
    ["ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-ed25519"];

impl PlainObject for SshCaSpec {
    const KIND: &'static str = "vault.ssh_ca";
    const GRANTS: Granting = Granting::Never("certificates are issued through roles");
    const ABOUT: &'static str = "The key with which an SSH engine signs the certificates of users and hosts.";
    const EXAMPLE: &'static str = "\
ssh:
  kind: vault.mount
  path: ssh
  type: ssh
ssh_authority:
  kind: vault.ssh_ca
  key_type: ssh-ed25519
";
    const RISKS: Risks = &[&[
        identity("mount"),
        fixed("key_type key_bits public_key"),
        safe("private_key", "it is sent only when the authority is created"),
    ]];
    const PROOF: Proof = Proof::InSync("its key signs what its roles allow");
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement = Replacement::Never(
        "every host that trusts it would refuse its certificates; mount a second engine beside it, have it trusted, then take the old step out",
    );
    const IDENTITY: &'static [&'static str] = &["mount"];
    const FIXED: &'static [Fixed] = &[("key_type", DECIDED), ("key_bits", DECIDED), ("public_key", DECIDED)];
    const OUTPUTS: &'static [(&'static str, &'static str)] =
        &[("public_key", "The key that hosts and users trust, as an OpenSSH public key.")];
    // Creating it again replaces the key that hosts trust.

    fn path(&self) -> String {
        format!("{}/config/ca", self.mount)
    }

    fn name(&self) -> &str {
        &self.mount
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(key_type) = &self.key_type {
            errors.extend(check_one_of("key_type", key_type, &KEY_TYPES));
        }
        if self.key_bits.is_some() && self.key_type.as_deref() != Some("ssh-rsa") {
            errors
                .push(FieldError::new("key_bits", "is only for keys of type `ssh-rsa`").reading("key_type"));
        }
        if self.public_key.is_some() != self.private_key.is_some() {
            errors.push(FieldError::new("", "`public_key` and `private_key` must be given together"));
        }
        if self.public_key.is_some() && self.key_type.is_some() {
            errors.push(FieldError::new("key_type", "is only for a key that the server generates"));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.mount", &self.mount)]
    }

    fn secrets(&mut self) -> Vec<(&'static str, &mut SecretSource)> {
        self.private_key.iter_mut().map(|source| ("private_key", source)).collect()
    }

    /// The server reports only the public key, which contains the type and the length.
    fn understand(mut told: Value) -> Value {
        let line = told["public_key"].as_str().unwrap_or_default().trim().to_owned();
        told["key_type"] = json!(line.split(' ').next());
        told["key_bits"] = json!(rsa_bits(&line));
        told["public_key"] = json!(line);
        told
    }

    fn is_absence(refusal: &Error) -> bool {
        lacks_ssh_key(refusal)
    }

    fn requests(&self, mut body: Map<String, Value>, _: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        body.insert("generate_signing_key".to_owned(), json!(self.public_key.is_none()));
        vec![(self.path(), body)]
    }
}

/// The bits of an RSA key in OpenSSH's notation: three fields, each after its length in four bytes.
/// The last field is the modulus (RFC 4253, section 6.6).
fn rsa_bits(line: &str) -> Option<usize> {
    let encoded = line.strip_prefix("ssh-rsa ")?.split(' ').next()?;
    let blob = STANDARD.decode(encoded).ok()?;
    let mut rest = blob.as_slice();
    let mut last: &[u8] = &[];
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        (last, rest) = after.split_at_checked(length)?;
    }
    // A leading zero byte keeps the number positive.
    let significant = last.strip_prefix(&[0]).unwrap_or(last);
    Some(significant.len() * 8)
}

#[cfg(test)]
mod tests {
    use super::super::tests::live_of;
    use super::*;
    use crate::error::ErrorKind;
    use crate::resource::Resource;

    #[test]
    fn type_and_length_are_read_from_public_key() {
        let blob = |modulus: &[u8]| {
            let fields: [&[u8]; 3] = [b"ssh-rsa", &[1, 0, 1], modulus];
            let length = |field: &[u8]| u32::try_from(field.len()).expect("short").to_be_bytes();
            STANDARD.encode(fields.map(|field| [&length(field), field].concat()).concat())
        };
        let told =
            json!({ "public_key": format!("ssh-rsa {}\n", blob(&[&[0], [0x80; 256].as_slice()].concat())) });
        let declared = |value: Value| serde_json::from_value::<SshCaSpec>(value).expect("valid");
        let same = declared(json!({ "key_type": "ssh-rsa", "key_bits": 2048 }));
        assert!(SshCa::diff(&same, &live_of(&same, &told)).is_empty());
        let other = declared(json!({ "key_type": "ssh-ed25519" }));
        assert_eq!(SshCa::diff(&other, &live_of(&other, &told)).blocked[0].path, "key_type");
        assert_eq!(rsa_bits("ssh-ed25519 AAAA"), None);
    }

    #[test]
    fn missing_key_is_recognised_for_both_products() {
        for said in ["no default issuer currently configured (400)", "keys haven't been configured yet (400)"]
        {
            assert!(SshCaSpec::is_absence(&Error::new(ErrorKind::Rejected, "GET ssh/config/ca", said)));
        }
        assert!(!SshCaSpec::is_absence(&Error::new(
            ErrorKind::Denied,
            "GET ssh/config/ca",
            "permission denied"
        )));
    }
}
