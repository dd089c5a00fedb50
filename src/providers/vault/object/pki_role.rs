//! Roles of the PKI engine: <https://openbao.org/api-docs/secret/pki/#createupdate-role>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::fields;
use super::super::notation::{Names, Ttl};
use super::super::{VaultClient, prove};
use super::{Object, PlainObject, check_name, yes};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::{Proof, Prover};
use crate::providers::vault::risk::LETS_IN;
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff, Wildcard};
use crate::resource::risk::{
    Risks, added, becomes, changed, identity, includes, loosened, lowered, off, on, turned_off, turned_on,
};
use crate::run::Permission;

/// The certificates that may be requested.
pub type PkiRole = Object<PkiRoleSpec>;

/// The declared fields of a PKI role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PkiRoleSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// The role's name.
    pub name: String,
    /// Domains that certificates may be for.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "identity"))]
    pub allowed_domains: Names,
    /// Certificates may be for the domains themselves.
    #[serde(default)]
    pub allow_bare_domains: bool,
    /// Certificates may be for names below the domains.
    #[serde(default)]
    pub allow_subdomains: bool,
    /// Domains may contain `*` for any text.
    #[serde(default)]
    pub allow_glob_domains: bool,
    /// Certificates may be for wildcards such as `*.example.com`.
    #[serde(default = "yes")]
    pub allow_wildcard_certificates: bool,
    /// Certificates may be for any name.
    #[serde(default)]
    pub allow_any_name: bool,
    /// Certificates may be for `localhost`.
    #[serde(default = "yes")]
    pub allow_localhost: bool,
    /// Certificates may be for IP addresses.
    #[serde(default = "yes")]
    pub allow_ip_sans: bool,
    /// Names must be host names.
    #[serde(default = "yes")]
    pub enforce_hostnames: bool,
    /// Certificates may be used by servers.
    #[serde(default = "yes")]
    pub server_flag: bool,
    /// Certificates may be used by clients.
    #[serde(default = "yes")]
    pub client_flag: bool,
    /// `rsa`, `ec`, `ed25519` or `any`.
    #[serde(default = "rsa")]
    pub key_type: String,
    /// Bits of the key. When absent, the engine chooses for the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_bits: Option<u64>,
    /// The default TTL of certificates; 0 is the engine's default.
    #[serde(default)]
    pub ttl: Ttl,
    /// The maximum TTL of certificates; 0 is the engine's limit.
    #[serde(default)]
    pub max_ttl: Ttl,
    /// Organisations in the subject.
    #[serde(default)]
    pub organization: Names,
    /// Organisational units in the subject.
    #[serde(default)]
    pub ou: Names,
    /// A common name is required.
    #[serde(default = "yes")]
    pub require_cn: bool,
    /// Certificates are not stored, and then cannot be revoked.
    #[serde(default)]
    pub no_store: bool,
    /// Certificates have leases.
    #[serde(default)]
    pub generate_lease: bool,
}

fn mount() -> String {
    "pki".to_owned()
}

fn rsa() -> String {
    "rsa".to_owned()
}

const OF_THE_TYPE: [&str; 3] = ["key_bits", "signature_bits", "use_pss"];

impl PlainObject for PkiRoleSpec {
    const KIND: &'static str = "vault.pki_role";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A role of the PKI engine: the certificates that may be requested.";
    const EXAMPLE: &'static str = "\
internal_servers:
  kind: vault.pki_role
  name: internal
  allowed_domains: [example.internal]
  allow_subdomains: true
  key_type: ec
  key_bits: 256
  max_ttl: 30d
";
    const RISKS: Risks = &[&[
        identity("mount name"),
        includes("allowed_domains", "*").high(Wildcard, "issues certificates for any name"),
        added("allowed_domains").low(BroaderGrant, LETS_IN),
        turned_on("allow_glob_domains allow_wildcard_certificates")
            .medium(BroaderGrant, "issues certificates for more names (`{field}`)"),
        turned_on("allow_bare_domains allow_subdomains allow_localhost allow_ip_sans")
            .low(BroaderGrant, "issues certificates for more names (`{field}`)"),
        on("allow_any_name").high(Wildcard, "issues certificates for any name"),
        off("enforce_hostnames").low(ProtectionOff, "issues certificates for names that are not host names"),
        turned_on("server_flag client_flag")
            .low(BroaderGrant, "its certificates may be used for more (`{field}`)"),
        becomes("key_type", "any").low(ProtectionOff, "signs keys of any type"),
        lowered("key_bits").medium(ProtectionOff, "its keys are shorter"),
        loosened("ttl max_ttl").low(BroaderGrant, "its certificates last longer (`{field}`)"),
        changed("organization ou").low(BroaderGrant, "its certificates have another subject (`{field}`)"),
        turned_off("require_cn").low(ProtectionOff, "its certificates need no common name"),
        on("no_store").medium(ProtectionOff, "its certificates are not stored, and cannot be revoked"),
        turned_off("generate_lease").low(ProtectionOff, "its certificates are not revoked with their token"),
    ]];
    const PROOF: Proof = Proof::Tried("issues a certificate for a minute and revokes it");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const REPLACED_WHOLE: bool = true;

    fn path(&self) -> String {
        format!("{}/roles/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        let known = ["rsa", "ec", "ed25519", "any"].contains(&self.key_type.as_str());
        let kind = (!known).then(|| FieldError::new("key_type", "must be `rsa`, `ec`, `ed25519` or `any`"));
        check_name("name", &self.name).into_iter().chain(kind).collect()
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        prove::engines::certificate_needs(&self.mount, &self.name, self.no_store)
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, _: &Value) {
        prove::engines::certificate(prover, &fields::fields(desired)).await;
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.mount", &self.mount)]
    }

    /// The bits of a key and of its signatures depend on the type of key: the server refuses those
    /// of another type, or they have another meaning.
    fn kept(&self, mut reported: Map<String, Value>, live: &Self) -> Map<String, Value> {
        let same_type = self.key_type == live.key_type;
        reported
            .retain(|name, value| !value.is_null() && (same_type || !OF_THE_TYPE.contains(&name.as_str())));
        reported
    }
}
