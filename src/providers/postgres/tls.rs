//! TLS as libpq does it, with rustls.
//! <https://www.postgresql.org/docs/current/libpq-ssl.html>

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

use super::settings::SslMode;
use crate::confined_path;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::trust::{self, Grant, Subject, Trust};

/// The certificates by which a server may prove who it is, as they were read.
pub struct Authority {
    path: PathBuf,
    pem: Vec<u8>,
}

impl Authority {
    /// The permission that it takes when a plan names it.
    pub fn grant(&self) -> Grant {
        Grant::new(Subject::Ca, trust::digest(&self.pem))
    }

    /// The SHA-256 of the file, `sha256:…`.
    pub fn fingerprint(&self) -> String {
        format!("sha256:{}", trust::digest(&self.pem))
    }

    /// The authority that a plan names, a file below its folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn declared(folder: &Path, path: &Path) -> Result<Self> {
        Self::of(path, confined_path::read_existing(folder, path, confined_path::KEY))
    }

    fn of(path: &Path, read: io::Result<Vec<u8>>) -> Result<Self> {
        match read {
            Ok(pem) => Ok(Self { path: path.to_owned(), pem }),
            Err(error) => Err(unusable(path, error.to_string())),
        }
    }

    fn add_to(&self, roots: &mut RootCertStore) -> Result<()> {
        for certificate in CertificateDer::pem_slice_iter(&self.pem) {
            let certificate = certificate.map_err(|error| unusable(&self.path, error.to_string()))?;
            roots.add(certificate).map_err(|error| unusable(&self.path, error.to_string()))?;
        }
        match roots.is_empty() {
            true => Err(unusable(&self.path, "there is no certificate in it".to_owned())),
            false => Ok(()),
        }
    }
}

fn unusable(path: &Path, why: String) -> Error {
    Error::new(ErrorKind::Local, format!("read {}", path.display()), why)
        .advice("`postgres.ca_cert` or PGSSLROOTCERT must name a PEM file with the authority's certificate")
}

/// The plan's authority, if the caller allows it; else that of the variable.
///
/// # Errors
/// When it cannot be read; `Denied` when the caller has not allowed the plan's.
pub fn authority(declared: Option<&Path>, folder: &Path, trust: &Trust) -> Result<Option<Authority>> {
    if let Some(path) = declared {
        let found = Authority::declared(folder, path)?;
        let why = format!("{} is the plan's, and would say who the server is", path.display());
        trust.require(&found.grant(), "connect to PostgreSQL", &why)?;
        return Ok(Some(found));
    }
    callers_authority(trust.environment())
}

/// libpq knows the name `system` for the system's authorities.
fn callers_authority(environment: &Environment) -> Result<Option<Authority>> {
    match environment.text("PGSSLROOTCERT").filter(|path| *path != "system") {
        None => Ok(None),
        Some(path) => {
            let path = PathBuf::from(path);
            Authority::of(&path, confined_path::read_caller_file(&path, confined_path::KEY)).map(Some)
        }
    }
}

/// Makes TLS connections that verify the server as `mode` says.
///
/// # Errors
/// When there is no authority to verify it by.
pub fn connector(mode: SslMode, authority: Option<&Authority>) -> Result<Connector> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let any_host = |chain| Arc::new(AnyHost { chain, provider: Arc::clone(&provider) });
    let verifier: Arc<dyn ServerCertVerifier> = match mode {
        SslMode::VerifyFull => web_pki(authority, &provider)?,
        SslMode::VerifyCa => any_host(Some(web_pki(authority, &provider)?)),
        // libpq verifies the chain as soon as there is an authority.
        SslMode::Require if authority.is_some() => any_host(Some(web_pki(authority, &provider)?)),
        SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => any_host(None),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Local, "connect to PostgreSQL", error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Connector(TlsConnector::from(Arc::new(config))))
}

fn web_pki(
    authority: Option<&Authority>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(authority) => authority.add_to(&mut roots)?,
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    built.map_err(|error| {
        Error::new(ErrorKind::Local, "connect to PostgreSQL", format!("no authority can be used: {error}"))
            .advice("declare `postgres.ca_cert`, or install the system's certificates")
    })
}

/// Accepts any host name, and any certificate where there is no chain to verify: these modes protect only against those
/// who read along.
#[derive(Debug)]
struct AnyHost {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        let verified = chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // The chain is verified before the name.
        match verified {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Puts rustls under the client.
#[derive(Clone)]
pub struct Connector(TlsConnector);

impl<S> MakeTlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = ToHost;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<ToHost> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(ToHost { connector: self.0.clone(), name })
    }
}

/// A connection to one host that is about to be made.
pub struct ToHost {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<S> TlsConnect<S> for ToHost
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { Ok(Stream(Box::new(self.connector.connect(self.name, stream).await?))) })
    }
}

/// An encrypted stream.
pub struct Stream<S>(Box<tokio_rustls::client::TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    /// SCRAM without channel binding: the certificate is verified by rustls.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
