//! The addresses that a PKI engine writes into certificates:
//! <https://openbao.org/api-docs/secret/pki/#set-urls>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::notation::Names;
use super::{Object, PlainObject};
use crate::access::Granting;
use crate::proof::Proof;
use crate::providers::vault::risk::UNLISTED;
use crate::resource::Requirement;
use crate::resource::risk::Category::ProtectionOff;
use crate::resource::risk::{Risks, identity, removed, safe};

/// The addresses of an engine's issuers and revocation lists.
pub type PkiUrls = Object<PkiUrlsSpec>;

/// The declared addresses, for all issuers without their own.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PkiUrlsSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// Addresses of the issuer's certificate.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "issuer"))]
    pub issuing_certificates: Names,
    /// Addresses of the revocation list.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "issuer"))]
    pub crl_distribution_points: Names,
    /// Addresses of OCSP responders.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "issuer"))]
    pub ocsp_servers: Names,
    /// The addresses contain `{{issuer_id}}`, `{{cluster_path}}` or `{{cluster_aia_path}}`, which
    /// the server fills in.
    #[serde(default)]
    pub enable_templating: bool,
}

fn mount() -> String {
    "pki".to_owned()
}

impl PlainObject for PkiUrlsSpec {
    const KIND: &'static str = "vault.pki_urls";
    const GRANTS: Granting = Granting::Never("a setting of its mount");
    const ABOUT: &'static str = "The addresses that a PKI engine writes into certificates.";
    const EXAMPLE: &'static str = "\
pki_urls:
  kind: vault.pki_urls
  issuing_certificates: [https://vault.example.internal:8200/v1/pki/ca]
  crl_distribution_points: [https://vault.example.internal:8200/v1/pki/crl]
";
    const RISKS: Risks = &[&[
        identity("mount"),
        removed("crl_distribution_points ocsp_servers").medium(ProtectionOff, UNLISTED),
        safe("issuing_certificates", "clients check the certificate that they find there"),
        safe("enable_templating", "it says how the addresses are written, which are judged themselves"),
    ]];
    const PROOF: Proof = Proof::InSync("it takes effect in the certificates that are issued");
    const IDENTITY: &'static [&'static str] = &["mount"];
    const COMES_WITH_MOUNT: bool = true;
    const PERMANENT: Option<&'static str> =
        Some("the addresses are deleted with their mount; remove the step of the mount instead");

    fn path(&self) -> String {
        format!("{}/config/urls", self.mount)
    }

    fn name(&self) -> &str {
        &self.mount
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.mount", &self.mount)]
    }
}
