//! What a PKI engine writes into certificates: <https://openbao.org/api-docs/secret/pki/#set-urls>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::notation::Names;
use super::{Object, PlainObject};
use crate::resource::Requirement;

/// Where an engine's authorities and revocation lists are found.
pub type PkiUrls = Object<PkiUrlsSpec>;

/// The declared addresses, of all authorities that say nothing else.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PkiUrlsSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// Where the authority's certificate is found.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "issuer"))]
    pub issuing_certificates: Names,
    /// Where the revocation list is found.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "issuer"))]
    pub crl_distribution_points: Names,
    /// Where revocation can be asked for.
    #[serde(default)]
    #[schemars(extend("x-placeholders" = "issuer"))]
    pub ocsp_servers: Names,
    /// The addresses hold `{{issuer_id}}`, `{{cluster_path}}` or `{{cluster_aia_path}}`, which the server
    /// fills in.
    #[serde(default)]
    pub enable_templating: bool,
}

fn mount() -> String {
    "pki".to_owned()
}

impl PlainObject for PkiUrlsSpec {
    const KIND: &'static str = "vault.pki_urls";
    const ABOUT: &'static str = "The addresses that a PKI engine writes into certificates.";
    const EXAMPLE: &'static str = "\
pki_urls:
  kind: vault.pki_urls
  issuing_certificates: [https://vault.example.internal:8200/v1/pki/ca]
  crl_distribution_points: [https://vault.example.internal:8200/v1/pki/crl]
";
    const IDENTITY: &'static [&'static str] = &["mount"];
    const PERMANENT: Option<&'static str> =
        Some("the addresses go away with their mount; remove that step's mount instead");

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
