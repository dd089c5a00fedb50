//! The revocation list of a PKI engine:
//! <https://openbao.org/api-docs/secret/pki/#set-revocation-configuration>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::notation::Ttl;
use super::{Object, PlainObject};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::resource::Requirement;
use crate::resource::risk::Category::ProtectionOff;
use crate::resource::risk::{Risks, identity, on, raised, safe, turned_off, turned_on};

/// How an engine publishes revocations.
pub type PkiCrl = Object<PkiCrlSpec>;

/// The declared fields of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PkiCrlSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// How long a list is valid.
    #[serde(default = "three_days")]
    pub expiry: Ttl,
    /// Do not publish a list.
    #[serde(default)]
    pub disable: bool,
    /// Disable OCSP.
    #[serde(default)]
    pub ocsp_disable: bool,
    /// How long an OCSP response is valid.
    #[serde(default = "half_a_day")]
    pub ocsp_expiry: Ttl,
    /// Rebuild the list before it expires, not with each revocation.
    #[serde(default)]
    pub auto_rebuild: bool,
    /// How long before its expiry a list is rebuilt.
    #[serde(default = "half_a_day")]
    pub auto_rebuild_grace_period: Ttl,
    /// Publish delta lists between full lists; needs `auto_rebuild`.
    #[serde(default)]
    pub enable_delta: bool,
    /// How often delta lists are rebuilt.
    #[serde(default = "quarter_of_an_hour")]
    pub delta_rebuild_interval: Ttl,
}

fn mount() -> String {
    "pki".to_owned()
}

const fn three_days() -> Ttl {
    Ttl::Seconds(72 * 3600)
}

const fn half_a_day() -> Ttl {
    Ttl::Seconds(12 * 3600)
}

const fn quarter_of_an_hour() -> Ttl {
    Ttl::Seconds(15 * 60)
}

impl PlainObject for PkiCrlSpec {
    const KIND: &'static str = "vault.pki_crl";
    const GRANTS: Granting = Granting::Never("a setting of its mount");
    const ABOUT: &'static str = "How a PKI engine publishes revocations: CRLs and OCSP responses.";
    const EXAMPLE: &'static str = "\
pki_revocation:
  kind: vault.pki_crl
  expiry: 72h
  auto_rebuild: true
";
    const RISKS: Risks = &[&[
        identity("mount"),
        raised("expiry ocsp_expiry").low(ProtectionOff, "clients learn later of a revocation (`{field}`)"),
        on("disable").medium(ProtectionOff, "no revocation list is published"),
        on("ocsp_disable").low(ProtectionOff, "OCSP does not answer"),
        turned_on("auto_rebuild").low(ProtectionOff, "a revocation is listed only when the list is rebuilt"),
        turned_off("enable_delta").low(ProtectionOff, "no delta lists are published"),
        raised("delta_rebuild_interval")
            .low(ProtectionOff, "clients learn later of a revocation (`{field}`)"),
        safe("auto_rebuild_grace_period", "it only says how long before its end a list is replaced"),
    ]];
    const PROOF: Proof = Proof::InSync("it takes effect when the list is signed again");
    const IDENTITY: &'static [&'static str] = &["mount"];
    const COMES_WITH_MOUNT: bool = true;
    const PERMANENT: Option<&'static str> =
        Some("the configuration is deleted with its mount; remove the step of the mount instead");

    fn path(&self) -> String {
        format!("{}/config/crl", self.mount)
    }

    fn name(&self) -> &str {
        &self.mount
    }

    fn check(&self) -> Vec<FieldError> {
        let alone = self.enable_delta && !self.auto_rebuild;
        alone.then(|| FieldError::new("enable_delta", "needs `auto_rebuild: true`")).into_iter().collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.mount", &self.mount)]
    }
}
