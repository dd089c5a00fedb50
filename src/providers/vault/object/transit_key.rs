//! Keys of the transit engine: <https://openbao.org/api-docs/secret/transit/#create-key>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::fields::Fixed;
use super::super::notation::Ttl;
use super::super::{VaultClient, permissions, prove};
use super::{Object, PlainObject, check_name, check_one_of};
use crate::access::Granting;
use crate::error::{Error, FieldError};
use crate::proof::{Proof, Prover};
use crate::resource::risk::Category::{BroaderGrant, Destroy, ProtectionOff};
use crate::resource::risk::{Risks, fixed, identity, loosened, lowered, on, raised, tightened, turned_on};
use crate::resource::{Replacement, Requirement, Rotation};
use crate::run::{Access, Permission};

/// A key that encrypts or signs, and never leaves Vault.
pub type TransitKey = Object<TransitKeySpec>;

/// The declared fields of a transit key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransitKeySpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// The key's name.
    pub name: String,
    /// The type of key, e.g. `aes256-gcm96`, `chacha20-poly1305`, `ed25519`, `ecdsa-p256`, `rsa-4096`
    /// or `hmac`. Fixed.
    #[serde(rename = "type", default = "aes256")]
    pub algorithm: String,
    /// Bytes of an `hmac` key. Fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_size: Option<u64>,
    /// Each request contains a context, from which its own key is derived. Fixed.
    #[serde(default)]
    pub derived: bool,
    /// The same plaintext and context give the same ciphertext; needs `derived`. Fixed.
    #[serde(default)]
    pub convergent_encryption: bool,
    /// The key can be exported. This cannot be undone.
    #[serde(default)]
    pub exportable: bool,
    /// The key can be backed up in plain text. This cannot be undone.
    #[serde(default)]
    pub allow_plaintext_backup: bool,
    /// The key can be deleted; data encrypted with it is then lost.
    #[serde(default)]
    pub deletion_allowed: bool,
    /// The oldest version that can still decrypt. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_decryption_version: Option<u64>,
    /// The oldest version that can still encrypt; 0 allows only the latest. Not managed when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_encryption_version: Option<u64>,
    /// How often a new version is created; 0 is never, otherwise at least an hour.
    #[serde(default)]
    pub auto_rotate_period: Ttl,
    /// Whether the engine is asked for another one.
    #[serde(skip)]
    #[schemars(skip)]
    rotating: bool,
}

fn mount() -> String {
    "transit".to_owned()
}

fn aes256() -> String {
    "aes256-gcm96".to_owned()
}

/// The types of keys that servers can create.
const TYPES: [&str; 14] = [
    "aes128-gcm96",
    "aes256-gcm96",
    "chacha20-poly1305",
    "xchacha20-poly1305",
    "ed25519",
    "ecdsa-p256",
    "ecdsa-p384",
    "ecdsa-p521",
    "rsa-2048",
    "rsa-3072",
    "rsa-4096",
    "hmac",
    "aes128-cmac",
    "aes256-cmac",
];

const DECIDED: &str =
    "this is decided at the key's creation; create a key under another name, and encrypt its data again";
const KEPT: &str = "the key has `deletion_allowed: false`, so the server does not delete it; declare \
                    `deletion_allowed: true` and apply before removing its step";
const OUT: &str = "an exportable key may already have been exported; create a key under another name instead";

/// Fields that only the creating request accepts.
const AT_FIRST: [&str; 4] = ["type", "key_size", "derived", "convergent_encryption"];

impl PlainObject for TransitKeySpec {
    const KIND: &'static str = "vault.transit_key";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A key of the transit engine, which encrypts or signs without leaving Vault.";
    const EXAMPLE: &'static str = "\
payments_key:
  kind: vault.transit_key
  name: payments
  type: aes256-gcm96
  auto_rotate_period: 90d
";
    const RISKS: Risks = &[&[
        identity("mount name"),
        fixed("type key_size derived convergent_encryption"),
        on("exportable").high(BroaderGrant, "the key can be exported, which cannot be undone"),
        on("allow_plaintext_backup")
            .high(BroaderGrant, "the key can be backed up in plain text, which cannot be undone"),
        turned_on("deletion_allowed")
            .medium(ProtectionOff, "the key can be deleted, and with it what it encrypts"),
        raised("min_decryption_version")
            .medium(Destroy, "what older versions encrypted can no longer be decrypted"),
        lowered("min_decryption_version").low(ProtectionOff, "older versions decrypt again"),
        tightened("min_encryption_version").low(ProtectionOff, "older versions encrypt again"),
        loosened("auto_rotate_period").low(ProtectionOff, "the key is rotated less often, or never"),
    ]];
    const PROOF: Proof = Proof::Tried("encrypts and decrypts, or signs and verifies, a random text");
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement = Replacement::Never(
        "what it has encrypted could no longer be decrypted; `vault write -f MOUNT/keys/NAME/rotate` adds a version and keeps the old ones",
    );
    const ROTATION: Rotation =
        Rotation::AtOnce("the engine adds a version; older versions go on decrypting what they encrypted");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const FIXED: &'static [Fixed] =
        &[("type", DECIDED), ("key_size", DECIDED), ("derived", DECIDED), ("convergent_encryption", DECIDED)];
    const OUTPUTS: &'static [(&'static str, &'static str)] =
        &[("latest_version", "The number of the newest version.")];
    // Creating it again does not fail, whatever its type.

    fn path(&self) -> String {
        format!("{}/keys/{}", self.mount, self.name)
    }

    /// Versions and deletion are set at a path below its own.
    fn permissions(&self, access: Access) -> Vec<Permission> {
        let config = || permissions::write(format!("{}/config", self.path()));
        let versions = self.min_decryption_version.or(self.min_encryption_version);
        let set_later = self.deletion_allowed || versions.is_some();
        match access {
            Access::Update => vec![config()],
            Access::Create => {
                std::iter::once(permissions::write(self.path())).chain(set_later.then(config)).collect()
            }
            Access::Read | Access::Delete | Access::Prove => {
                permissions::at(&self.path(), access, Self::MAKING)
            }
        }
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        prove::engines::transit_needs(&self.mount, &self.name, &self.algorithm)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = check_name("name", &self.name).into_iter().collect();
        errors.extend(check_one_of("type", &self.algorithm, &TYPES));
        if self.convergent_encryption && !self.derived {
            errors.push(FieldError::new("convergent_encryption", "needs `derived: true`"));
        }
        if self.key_size.is_some() && self.algorithm != "hmac" {
            errors.push(FieldError::new("key_size", "is only for keys of type `hmac`").reading("type"));
        }
        if matches!(self.auto_rotate_period, Ttl::Seconds(1..3600)) {
            errors.push(FieldError::new("auto_rotate_period", "must be 0 or at least one hour"));
        }
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.mount", &self.mount)]
    }

    fn broken(told: &Value) -> Option<(&'static str, String)> {
        let deleted = told["soft_deleted"] == true;
        let why = "the key is marked as deleted, and the engine refuses to use it; restore it with \
                   `POST MOUNT/keys/NAME/soft-delete-restore`";
        deleted.then(|| ("soft_deleted", why.to_owned()))
    }

    fn is_absence(refusal: &Error) -> bool {
        refusal.message.contains("could not delete key; not found")
    }

    fn fixed(&self, live: &Self) -> Vec<Fixed> {
        let out = [
            ("exportable", live.exportable && !self.exportable),
            ("allow_plaintext_backup", live.allow_plaintext_backup && !self.allow_plaintext_backup),
        ];
        let out = out.into_iter().filter(|(_, taken_back)| *taken_back).map(|(name, _)| (name, OUT));
        Self::FIXED.iter().copied().chain(out).collect()
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, report: &Value) {
        prove::engines::transit(prover, &desired.mount, &desired.name, report).await;
    }

    fn rotate(&mut self) -> bool {
        self.rotating = true;
        true
    }

    fn rotation(&self) -> Option<String> {
        self.rotating.then(|| format!("{}/rotate", self.path()))
    }

    fn rotated(&self, told: &Value) -> Option<(&'static str, Value, Value)> {
        let latest = told["latest_version"].as_u64().unwrap_or_default();
        self.rotating.then(|| ("latest_version", json!(latest), json!(latest + 1)))
    }

    fn undeletable(&self) -> Option<&'static str> {
        (!self.deletion_allowed).then_some(KEPT)
    }

    /// The engine creates a key with one request and sets versions and deletion with another.
    fn requests(&self, body: Map<String, Value>, live: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        let config = format!("{}/config", self.path());
        if live.is_some() {
            return vec![(config, body)];
        }
        let later = |name: &str| name.starts_with("min_") || name == "deletion_allowed";
        let (later, mut first): (Map<_, _>, Map<_, _>) = body.into_iter().partition(|(name, _)| later(name));
        first.retain(|name, value| AT_FIRST.contains(&name.as_str()) || !value.is_null());
        let plain = later.values().all(|value| *value == Value::Bool(false));
        std::iter::once((self.path(), first)).chain((!plain).then_some((config, later))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::live_of;
    use super::*;
    use crate::resource::Resource;

    fn spec(value: Value) -> TransitKeySpec {
        serde_json::from_value(value).expect("valid")
    }

    fn told() -> Value {
        json!({
            "allow_plaintext_backup": false, "auto_rotate_period": 2_592_000, "deletion_allowed": false,
            "derived": false, "exportable": true, "imported_key": false, "keys": { "1": 1_795_327_812 },
            "latest_version": 1, "min_available_version": 0, "min_decryption_version": 1,
            "min_encryption_version": 0, "name": "k", "soft_deleted": false, "supports_signing": false,
            "type": "aes256-gcm96",
        })
    }

    #[test]
    fn rotation_is_read_in_seconds() {
        let declared = spec(json!({ "name": "k", "exportable": true, "auto_rotate_period": "30d" }));
        assert!(TransitKey::diff(&declared, &live_of(&declared, &told())).is_empty());
    }

    #[test]
    fn export_permission_cannot_be_revoked() {
        let declared = spec(json!({ "name": "k", "auto_rotate_period": "30d" }));
        let diff = TransitKey::diff(&declared, &live_of(&declared, &told()));
        assert_eq!(diff.blocked[0].path, "exportable");
    }

    #[test]
    fn deleted_key_differs_from_declaration() {
        let declared = spec(json!({ "name": "k", "exportable": true, "auto_rotate_period": "30d" }));
        let mut answer = told();
        answer["soft_deleted"] = json!(true);
        let diff = TransitKey::diff(&declared, &live_of(&declared, &answer));
        assert_eq!(diff.blocked[0].path, "soft_deleted");
    }

    #[test]
    fn versions_are_set_after_the_creation() {
        let paths = |declared: Value, live: Option<&TransitKeySpec>| {
            let declared = spec(declared);
            let body = super::super::fields::fields(&declared);
            declared.requests(body, live).into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        assert_eq!(paths(json!({ "name": "k" }), None), ["transit/keys/k"]);
        let deletable = json!({ "name": "k", "deletion_allowed": true });
        assert_eq!(paths(deletable.clone(), None), ["transit/keys/k", "transit/keys/k/config"]);
        assert_eq!(paths(deletable, Some(&spec(json!({ "name": "k" })))), ["transit/keys/k/config"]);
    }
}
