//! The certificates and keys of the API server, and the kubeconfig of its administrator.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::json;

use super::super::Error;
use super::super::certificate;
use super::super::error::Doing;
use super::super::home::{Home, write_private};

/// The group that may do everything:
/// <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#user-facing-roles>.
const MASTERS: &str = "system:masters";

/// Where they are.
pub(super) struct Files {
    /// The authority of the server and of its clients.
    pub(super) authority: PathBuf,
    /// The server's certificate.
    pub(super) server: PathBuf,
    /// Its key.
    pub(super) server_key: PathBuf,
    /// The key that signs the tokens of service accounts.
    pub(super) token_key: PathBuf,
    /// Its public half: the server does not find that in the key itself.
    pub(super) token_public: PathBuf,
}

impl Files {
    pub(super) fn of(home: &Home) -> Self {
        let file = |name: &str| home.tls().join(format!("kubernetes-{name}.pem"));
        Self {
            authority: authority(home),
            server: file("server"),
            server_key: file("server-key"),
            token_key: file("token-key"),
            token_public: file("token-public"),
        }
    }
}

/// The certificate of the authority that signed the server's.
pub fn authority(home: &Home) -> PathBuf {
    home.tls().join("kubernetes-ca.pem")
}

/// Writes certificates, keys and the kubeconfig unless they are there. The authority's own key is thrown
/// away: further clients come in with the tokens of service accounts.
pub fn ensure(home: &Home, port: u16) -> Result<(), Error> {
    let files = Files::of(home);
    let kubeconfig = home.kubeconfig();
    // It is written last, so its existence implies the other files.
    if kubeconfig.exists() {
        return Ok(());
    }
    let (authority, issuer) = certificate::authority("Groundwork sandbox Kubernetes authority")?;
    let (server, server_key) = signed(certificate::server("Groundwork sandbox Kubernetes")?, &issuer)?;
    let (admin, admin_key) = signed(admin(), &issuer)?;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "sandbox",
        "contexts": [{ "name": "sandbox", "context": { "cluster": "sandbox", "user": "admin" } }],
        "clusters": [{
            "name": "sandbox",
            "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": BASE64_STANDARD.encode(authority.pem()),
            },
        }],
        "users": [{
            "name": "admin",
            "user": {
                "client-certificate-data": BASE64_STANDARD.encode(admin),
                "client-key-data": BASE64_STANDARD.encode(admin_key),
            },
        }],
    });
    let token_key = KeyPair::generate()?;
    write_private(&files.token_key, token_key.serialize_pem().as_bytes())?;
    write_private(&files.token_public, token_key.public_key_pem().as_bytes())?;
    write_private(&files.server_key, server_key.as_bytes())?;
    write_private(&files.server, server.as_bytes())?;
    write_private(&files.authority, authority.pem().as_bytes())?;
    let text = serde_json::to_vec_pretty(&config).map_err(std::io::Error::from);
    write_private(&kubeconfig, &text.doing(|| format!("write {}", kubeconfig.display()))?)
}

/// A certificate for these parameters and its key, in PEM.
fn signed(params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<(String, String), Error> {
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

/// The common name is the user, the organisation the group:
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates>.
fn admin() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, MASTERS);
    params.distinguished_name.push(DnType::CommonName, "sandbox-admin");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeconfig_is_made_once_and_is_private() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        ensure(&home, 6443).unwrap();
        let first = std::fs::read_to_string(home.kubeconfig()).unwrap();
        assert!(first.contains("https://127.0.0.1:6443"), "{first}");
        let mode = std::fs::metadata(home.kubeconfig()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        ensure(&home, 6443).unwrap();
        assert_eq!(std::fs::read_to_string(home.kubeconfig()).unwrap(), first);
    }
}
