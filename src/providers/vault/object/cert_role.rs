//! Roles of the TLS certificate method: <https://openbao.org/api-docs/auth/cert/#create-ca-certificate-role>.

use serde_json::Value;

use super::super::fields;
use super::super::notation::{Names, Pem};
use super::super::role::{check_role, requirements, role_spec};
use super::super::states::login_role;
use super::super::{VaultClient, prove};
use super::{Object, PlainObject};
use crate::access::{Grant, Granting};
use crate::error::FieldError;
use crate::proof::{Proof, Prover};
use crate::providers::vault::risk::{LETS_IN, LOGIN_RISKS, TOKEN_RISKS};
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff};
use crate::resource::risk::{Risks, changed, identity, removed, unbound, widened};
use crate::run::Permission;

/// A role with which holders of a certificate log in.
pub type CertRole = Object<CertRoleSpec>;

role_spec! {
    /// The declared fields of a certificate role.
    pub struct CertRoleSpec {
        /// The method's path below `auth/`.
        #[serde(default = "mount")]
        pub mount: String,
        /// The role's name.
        pub name: String,
        /// The CA that signed the clients' certificates, or a client's own certificate, as PEM.
        pub certificate: Pem,
        /// Accepted common names, with `*` for any text; an empty list allows all.
        #[serde(default)]
        pub allowed_common_names: Names,
        /// Accepted DNS names; an empty list allows all.
        #[serde(default)]
        pub allowed_dns_sans: Names,
        /// Accepted e-mail addresses; an empty list allows all.
        #[serde(default)]
        pub allowed_email_sans: Names,
        /// Accepted URIs; an empty list allows all.
        #[serde(default)]
        pub allowed_uri_sans: Names,
        /// Accepted organisational units; an empty list allows all.
        #[serde(default)]
        pub allowed_organizational_units: Names,
        /// Extensions that a certificate must have, as `oid:value`.
        #[serde(default)]
        pub required_extensions: Names,
    }
}

fn mount() -> String {
    "cert".to_owned()
}

/// Fields that limit the names in certificates.
const CERTIFICATE_NAMES: &str = "allowed_common_names allowed_dns_sans allowed_email_sans allowed_uri_sans \
                                 allowed_organizational_units";

impl PlainObject for CertRoleSpec {
    const KIND: &'static str = "vault.cert_role";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str =
        "A role of the certificate method, with which holders of a TLS certificate log in.";
    const EXAMPLE: &'static str = "\
web_servers:
  kind: vault.cert_role
  name: web
  certificate: |
    -----BEGIN CERTIFICATE-----
    MIIBszCCAVmgAwIBAgIUQ0VSVElGSUNBVEUgRk9SIEFOIEVYQU1QTEU=
    -----END CERTIFICATE-----
  allowed_common_names: [\"*.web.example.internal\"]
  token_policies: [web]
";
    const RISKS: Risks = &[
        &[
            identity("mount name"),
            changed("certificate").high(BroaderGrant, "takes certificates of another authority"),
            unbound(CERTIFICATE_NAMES).medium(ProtectionOff, "`{field}` no longer limits who is let in"),
            widened(CERTIFICATE_NAMES).low(BroaderGrant, LETS_IN),
            removed("required_extensions").medium(ProtectionOff, "extensions are no longer asked for"),
        ],
        TOKEN_RISKS,
        LOGIN_RISKS,
    ];
    const PROOF: Proof =
        Proof::Tried("logs in with a certificate that the caller gives; the token is compared with the role");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const FOLDS_CASE: bool = true;

    fn path(&self) -> String {
        format!("auth/{}/certs/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn grants(&self) -> Vec<Grant> {
        login_role(&self.mount, &self.name, &self.path(), self)
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = check_role(&self.name, self);
        if self.certificate.is_empty() {
            errors.push(FieldError::new("certificate", "is empty"));
        }
        errors
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        prove::token_needs(&fields::fields(self))
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, _: &Value) {
        let kind = prove::given::Credential::Certificate;
        prove::given::prove(prover, kind, &desired.mount, &fields::fields(desired)).await;
    }

    fn requires(&self) -> Vec<Requirement> {
        requirements(&self.mount, self)
    }
}
