//! A certificate authority and a server certificate for one sandbox.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::Error;
use super::home::{Home, write_private};

/// Writes `ca.pem`, `server.pem` and `server-key.pem` unless they are there. The authority's own
/// key is thrown away: it signs one certificate only.
pub fn ensure(home: &Home) -> Result<(), Error> {
    // It is written last, so its existence implies the other files.
    if home.ca_cert().exists() {
        return Ok(());
    }
    let (authority, issuer) = authority("Groundwork sandbox authority")?;
    let key = KeyPair::generate()?;
    let server = server("Groundwork sandbox Vault")?.signed_by(&key, &issuer)?;
    write_private(&home.tls().join("server-key.pem"), key.serialize_pem().as_bytes())?;
    write_private(&home.tls().join("server.pem"), server.pem().as_bytes())?;
    write_private(&home.ca_cert(), authority.pem().as_bytes())
}

/// An authority of this name, and what signs with its key.
pub fn authority(name: &str) -> Result<(rcgen::Certificate, Issuer<'static, KeyPair>), Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate, Issuer::new(params, key)))
}

/// The certificate of a server of this name on the loopback interface.
pub fn server(name: &str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A node is a client too when it joins the first one.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_files_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        ensure(&home).unwrap();
        let first = std::fs::read(home.ca_cert()).unwrap();
        assert!(first.starts_with(b"-----BEGIN CERTIFICATE-----"));
        ensure(&home).unwrap();
        assert_eq!(std::fs::read(home.ca_cert()).unwrap(), first);
    }
}
